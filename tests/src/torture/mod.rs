//! Processes with durable actors under torture, and an outside record of what was said: random programs
//! with kills ([`run`]), and a steady load ([`soak`]).

mod book;
mod census;
mod gauge;
mod place;
mod process;
mod program;
mod record;
mod setup;
mod soak;
mod trial;
mod wire;

pub use book::{Act, Book, Deed, FIRST_ACTOR, Tally};
pub use gauge::{Quarters, Reading};
pub use place::Store;
pub use program::{Kill, Op, POINTS, Program, Step};
pub use record::Verdict;
pub use setup::Setup;
pub use soak::{RATE, Soak, soak};
pub use trial::{run, shrink};
pub use wire::{Answer, Order, Said};
