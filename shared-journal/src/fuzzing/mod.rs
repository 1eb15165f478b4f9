//! What the fuzz targets under `fuzz/` and the property tests here call. Not part of the API.
//!
//! Each function makes something of any bytes and panics if its property does not hold. The
//! property tests try a thousand of them in every `cargo test`; the fuzz targets look for those
//! that take new ways through the code.

mod envelopes;
mod events;
mod fold;
#[cfg(test)]
mod tests;

pub use envelopes::{damaged, raw, sealed};
pub use fold::fold;

pub use crate::portable::fuzzing::portable;
