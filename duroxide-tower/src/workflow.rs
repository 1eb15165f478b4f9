//! Actors, as orchestrations see them.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use duroxide::OrchestrationContext;
use futures::future::BoxFuture;
use shared_journal::workflow::{WorkflowActor, WorkflowError};
use shared_journal::{ActorId, DurableMessage};

use crate::actor::DurableActor;

/// Actors for orchestrations. The runtime needs the activities of
/// [`workflow::register`](shared_journal::workflow::register).
pub trait WorkflowActors {
    /// The actor of type `A` with this id, on whichever node it runs.
    fn actor<A: DurableActor>(&self, id: impl AsRef<str>) -> WorkflowActorRef<A>;
}

impl WorkflowActors for OrchestrationContext {
    fn actor<A: DurableActor>(&self, id: impl AsRef<str>) -> WorkflowActorRef<A> {
        let actor = WorkflowActor::new(self, ActorId::new(A::ACTOR_TYPE, id));
        WorkflowActorRef { actor, handles: PhantomData }
    }
}

/// What an actor answered: its reply, or its own error.
pub type Answer<A> = Result<<A as DurableActor>::Reply, <A as DurableActor>::Error>;

/// An actor, as an orchestration sees it. What is said of [`WorkflowActor`] applies.
pub struct WorkflowActorRef<A> {
    actor: WorkflowActor,
    handles: PhantomData<fn(A)>,
}

impl<A> fmt::Debug for WorkflowActorRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.actor.fmt(f)
    }
}

impl<A: DurableActor> WorkflowActorRef<A> {
    /// Sends a message and waits for the answer. The actor's own error is a value.
    ///
    /// # Errors
    /// See [`WorkflowError`].
    pub fn ask(&self, message: A::Message) -> BoxFuture<'static, Result<Answer<A>, WorkflowError>> {
        self.actor.ask(A::Message::NAME, &message)
    }

    /// As [`ask`](Self::ask), for at most so long.
    ///
    /// # Errors
    /// See [`WorkflowError`].
    pub fn ask_within(
        &self,
        time: Duration,
        message: A::Message,
    ) -> BoxFuture<'static, Result<Answer<A>, WorkflowError>> {
        self.actor.ask_within(time, A::Message::NAME, &message)
    }

    /// Sends a message and waits until it is durable that it will be handled.
    ///
    /// # Errors
    /// See [`WorkflowError`].
    pub fn tell(&self, message: A::Message) -> BoxFuture<'static, Result<(), WorkflowError>> {
        self.actor.tell(A::Message::NAME, &message)
    }
}
