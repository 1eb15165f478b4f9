//! What the driver needs of a context.

use actix::{Actor, AsyncContext, Context};
use shared_journal::MessageId;

use crate::driver::Offer;

/// A context that a driver can run in: actix's, or ours.
pub(crate) trait Host<A: Actor<Context = Self>>: AsyncContext<A> {
    /// The handler of a message begins.
    fn enter(&mut self, _: Option<MessageId>) {}

    /// A handler has returned. What it sent to itself with `notify` is part of its run.
    fn leave(&mut self) -> Vec<Offer<A>> {
        Vec::new()
    }

    /// What the actor sent to itself outside of a handler.
    fn take_notified(&mut self) -> Vec<Offer<A>> {
        Vec::new()
    }

    /// No handler may begin: the actor stops, or waits for a future.
    fn is_held(&self) -> bool {
        self.waiting()
    }

    /// What the last future of a handler panicked with.
    fn last_panic(&mut self) -> Option<String> {
        None
    }
}

impl<A: Actor<Context = Self>> Host<A> for Context<A> {}
