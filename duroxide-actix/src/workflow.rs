//! Actors, as orchestrations see them.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use actix::{Handler, Message};
use duroxide::OrchestrationContext;
use futures::future::BoxFuture;
use serde::de::DeserializeOwned;
use shared_journal::workflow::{WorkflowActor, WorkflowError};
use shared_journal::{ActorId, DurableMessage};

use crate::actor::DurableActor;

/// Actors for orchestrations. The runtime needs the activities of
/// [`workflow::register`](shared_journal::workflow::register).
///
/// ```no_run
/// # use actix::prelude::*;
/// # use duroxide_actix::journal::{DurableMessage, DurableState};
/// # use duroxide_actix::DurableActor;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default, DurableState)]
/// # #[durable(actor_type = "account")]
/// # struct Account { balance: i64 }
/// # impl Actor for Account { type Context = Context<Self>; }
/// # impl DurableActor for Account { type Messages = (Deposit,); }
/// # #[derive(Message, Serialize, Deserialize, DurableMessage)]
/// # #[rtype(result = "i64")]
/// # #[durable(name = "account.deposit")]
/// # struct Deposit(i64);
/// # impl Handler<Deposit> for Account {
/// #     type Result = i64;
/// #     fn handle(&mut self, deposit: Deposit, _: &mut Self::Context) -> i64 {
/// #         self.balance += deposit.0;
/// #         self.balance
/// #     }
/// # }
/// use duroxide::OrchestrationContext;
/// use duroxide_actix::WorkflowActors;
///
/// async fn transfer(ctx: OrchestrationContext, amount: i64) -> Result<i64, String> {
///     let from = ctx.actor::<Account>("42").ask(Deposit(-amount)).await;
///     from.map_err(|error| error.to_string())?;
///     let to = ctx.actor::<Account>("43").ask(Deposit(amount)).await;
///     to.map_err(|error| error.to_string())
/// }
/// ```
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
    /// Sends a message and waits for its reply. An actor's own error is a value of the reply's
    /// type.
    ///
    /// # Errors
    /// See [`WorkflowError`].
    pub fn ask<M>(&self, message: M) -> BoxFuture<'static, Result<M::Result, WorkflowError>>
    where
        A: Handler<M>,
        M: Message + DurableMessage,
        M::Result: DeserializeOwned + Send,
    {
        self.actor.ask(M::NAME, &message)
    }

    /// As [`ask`](Self::ask), for at most so long.
    ///
    /// # Errors
    /// See [`WorkflowError`].
    pub fn ask_within<M>(
        &self,
        time: Duration,
        message: M,
    ) -> BoxFuture<'static, Result<M::Result, WorkflowError>>
    where
        A: Handler<M>,
        M: Message + DurableMessage,
        M::Result: DeserializeOwned + Send,
    {
        self.actor.ask_within(time, M::NAME, &message)
    }

    /// Sends a message and waits until it is durable that it will be handled.
    ///
    /// # Errors
    /// See [`WorkflowError`].
    pub fn tell<M>(&self, message: M) -> BoxFuture<'static, Result<(), WorkflowError>>
    where
        A: Handler<M>,
        M: Message + DurableMessage,
    {
        self.actor.tell(M::NAME, &message)
    }
}
