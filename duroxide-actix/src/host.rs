//! What the driver needs of a context.

use actix::dev::AsyncContextParts;
use actix::{Actor, ActorContext, ActorState, AsyncContext, Context};
use shared_journal::{MessageId, Origin};

use crate::driver::Offer;
use crate::effects::Effects;

/// A context that a driver can run in: actix's, or ours.
pub(crate) trait Host<A: Actor<Context = Self>>: AsyncContext<A> {
    /// How many messages may wait.
    fn capacity(&mut self) -> usize;

    /// The handler of a message begins.
    fn enter(&mut self, _: Option<MessageId>) {}

    /// A handler has returned.
    fn leave(&mut self) {}

    /// What the actor sent to itself with `notify`.
    fn take_notified(&mut self) -> Vec<(Origin, Offer<A>)> {
        Vec::new()
    }

    /// No handler may begin: the actor stops, or waits for a future.
    fn is_held(&self) -> bool {
        self.waiting()
    }

    /// The actor waits for a future, and would go on after it.
    fn has_waits(&self) -> bool;

    /// What the handlers of the run did has not happened: the futures that they spawned end.
    fn taken_back(&mut self) {}

    /// The mailbox was replaced.
    fn reopened(&mut self, _: Effects) {}

    /// What the handlers of the run did has happened.
    fn run_ended(&mut self) {}
}

impl<A: Actor<Context = Self>> Host<A> for Context<A> {
    fn capacity(&mut self) -> usize {
        self.parts().capacity()
    }

    fn has_waits(&self) -> bool {
        self.waiting() && self.state() == ActorState::Running
    }
}
