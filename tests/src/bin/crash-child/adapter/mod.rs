//! The same actor through every adapter.

pub(crate) mod actix;
pub(crate) mod tower;
