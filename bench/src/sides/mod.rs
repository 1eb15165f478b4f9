//! The sides of a comparison: the same counter, durable in different ways or not at all.

pub(crate) mod handwritten;
pub(crate) mod handwritten_postgres;
pub(crate) mod handwritten_tokio;
pub(crate) mod limit;
pub(crate) mod memory;
pub(crate) mod memory_tokio;
pub(crate) mod orchestration;
pub(crate) mod ours;
pub(crate) mod ours_tower;
