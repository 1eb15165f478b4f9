//! Random programs against processes that are killed, with an outside record of what was said.

mod book;
mod place;
mod process;
mod program;
mod record;
mod trial;
mod wire;

pub use book::{Act, Book, Deed, FIRST_ACTOR};
pub use place::Store;
pub use program::{Kill, Op, POINTS, Program, Step};
pub use record::Verdict;
pub use trial::{Setup, run, shrink};
pub use wire::{Answer, Order, Said};
