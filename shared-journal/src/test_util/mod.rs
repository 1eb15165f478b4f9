//! A kit for testing actors: without a database, through crashes, and against recorded journals.
//!
//! - [`Stage`]: one actor on a journal in memory, given messages: its replies, its state, what it sends,
//!   and whether a crash at any moment would have changed any of them. duroxide-actix and duroxide-tower
//!   have a `Scenario` with types on top of it.
//! - [`rehearse`]: a recorded journal, played through the program of today.
//! - [`crash_at`]: named points at which a process of yours dies.
//! - [`FaultyActorProvider`]: a store whose writes fail, are lost, delayed, torn, or changed.
//! - [`MemoryActorProvider`]: a store in memory, and as it was after any of its writes.
//!
//! The feature `test-util`; not for production. docs/testing.md of the repository shows how to use it.

mod crash_point;
mod crashes;
mod deviation;
mod faults;
mod look;
mod memory;
mod piece;
mod recording;
mod rehearsal;
mod sent;
mod stage;
mod value;

pub use crash_point::{CRASH_POINTS, crash_at};
pub use deviation::{Aspect, Deviation, Moment};
pub use faults::{Fault, FaultyActorProvider};
pub use memory::MemoryActorProvider;
pub(crate) use rehearsal::UNRECORDED_STEP;
pub use rehearsal::{Rehearsal, rehearse};
pub use sent::Sent;
pub use stage::Stage;
