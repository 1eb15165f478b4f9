//! What the crash tests and their child process agree on.
//!
//! A child process runs durable actors and senders and is killed; the parent keeps an outside
//! record of what the child said before it died, and checks the promises against it.

mod ledger;
mod parent;
pub mod protocol;

pub use ledger::{Entry, Ledger, Slot};
pub use parent::{Kill, KilledBy, Parent, Totals};

/// The examples of the README compile.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
