//! The journal in any duroxide provider, through the `Provider` trait alone: it is kept in the
//! provider's own history, as events of instances that no runtime runs.
//!
//! # Slots
//!
//! A *slot* is an execution of an instance with one event in it, and can be written once: of two
//! writers one finds its value there when it reads the slot back, and the other finds that it has
//! lost. That is all this needs of a provider, and it is compare-and-set.
//!
//! A *log* is a row of slots, numbered from 1. Whoever writes to it has read everything before, so
//! what is in slot *n* was decided with the knowledge of the slots before *n*: opening a shard is an
//! entry, and an owner whose commit lost its slot to one knows that it is fenced.
//!
//! # Segments
//!
//! A log only grows. So it is cut into segments, each an instance. When a segment has more in it
//! that is over than that is not, the owner writes all that lives to a new one, seals the old one with an
//! entry that names the new, notes the new one in the *root* (a row of slots that is never deleted),
//! and deletes the old one. Deleted slots can be written again, by an owner that slept through all
//! of this; so nobody trusts a slot, full or empty, before he has seen that the root still ends
//! where it did.
//!
//! # Limits
//!
//! Every state is in memory, in a map of its shard, and is read from the store when the shard is
//! opened. Commits are as durable as the provider's own: duroxide's SQLite provider survives a
//! killed process and not a power cut, whatever
//! [`Durability`](crate::Durability) says.

mod cluster;
mod entry;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod inbox;
mod leases;
mod log;
mod provider;
mod shard;
mod slots;

pub use provider::PortableActorProvider;
