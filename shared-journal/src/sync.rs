//! What the threads of a shard wait on. `tests/schedules` puts [shuttle]'s in its place, and runs
//! the same sources in many orders of their steps.
//!
//! [shuttle]: https://docs.rs/shuttle

pub(crate) use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::sync::{Condvar, Mutex, MutexGuard};
pub(crate) use std::thread::sleep;
