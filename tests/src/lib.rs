//! What the tests of the whole agree on: crash tests with their child process, and those that use
//! PostgreSQL.
//!
//! A child process runs durable actors and senders and is killed; the parent keeps an outside
//! record of what the child said before it died, and checks the promises against it.

mod arm;
mod ledger;
mod parent;
pub mod postgres;
pub mod protocol;
pub mod proxy;
pub mod setting;
pub mod tally;
pub mod torture;

pub use arm::arm;
pub use ledger::{Entry, Ledger, Slot};
pub use parent::{Kill, KilledBy, Parent, Totals};

/// Attempts at a message in processes that are killed all the time: here a death is not its fault.
pub const ATTEMPTS: u32 = 20;

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

/// And those of the operators' handbook.
#[cfg(doctest)]
#[doc = include_str!("../../docs/operations.md")]
struct Operations;

/// And those about testing.
#[cfg(doctest)]
#[doc = include_str!("../../docs/testing.md")]
struct Testing;
