//! Processes with durable actors under torture, and an outside record of what was said: random programs
//! with kills ([`run`]), and a steady load ([`soak`]).

mod book;
mod census;
mod gauge;
mod ghost;
mod memory;
mod place;
mod process;
mod program;
mod record;
mod setup;
mod soak;
mod steps;
pub mod traffic;
mod trial;
mod verdict;
mod wire;

pub use book::{Act, Book, Deed, FIRST_ACTOR, Poison, SOON, Tally, Trap};
pub use gauge::{Quarters, Reading};
pub use memory::{Bits, Floats, Letter, Memory, Reply};
pub use place::Store;
pub use program::{Kill, Op, POINTS, Program, Step};
pub use setup::Setup;
pub use soak::{RATE, Soak, soak};
pub use trial::run;
pub use verdict::Verdict;
pub use wire::{Answer, Found, Order, Said};

/// Bytes that a state or a reply may have, more than any needs.
pub const ROOMY: usize = 64 << 10;
