//! `DurableActixActor`: durability around an actor that is not changed at all.
//!
//! ```text
//! Addr<DurableActixActor<A>> -> shell (our context) -> Queue -> Pump -> A in its own Context<A>
//! ```
//!
//! The shell is what callers see: it takes messages from its mailbox and puts them into a queue.
//! The pump is a future in the wrapped actor's own context, where it has `&mut A` and
//! `&mut Context<A>`, and hands them to the driver. The keeper runs that context, and makes a new
//! actor when a future of a handler panics: the context cannot be entered again after that.

mod inner;
mod keeper;
mod pump;
mod queue;
mod shell;
mod turn;

pub use self::shell::{DurableActixActor, Forward};
