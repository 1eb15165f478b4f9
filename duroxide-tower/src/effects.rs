//! What a handler does besides changing the state: it sends, and it has side effects.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_journal::workflow::WorkflowResult;
use shared_journal::{
    ActorId, Due, DurableMessage, Missed, Outbox, OutboxError, StepError, TimerId,
};

use crate::actor::{ActorContext, DurableActor};

/// Sending, exactly once, and side effects whose results are recorded. What a handler sends becomes
/// durable with what it does to the state, and is sent on after that. A handler that panics has sent
/// nothing. An error is an outcome like a reply: what its handler sent is sent.
///
/// Only an actor of a [`Cluster`](shared_journal::cluster::Cluster), which may be of one node, can
/// send. Orchestrations need [`workflow::register`](shared_journal::workflow::register) and
/// [`register_orchestrations`](shared_journal::workflow::register_orchestrations) in the runtime.
impl ActorContext {
    /// Runs a side effect and records its result. See [`Steps::step`](shared_journal::Steps::step).
    ///
    /// ```
    /// # use duroxide_tower::{ActorContext, DurableActor, DurableMessage, DurableState, async_trait};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Default, DurableState)]
    /// # #[durable(actor_type = "customer")]
    /// # struct Customer { paid: u32 }
    /// # #[derive(Serialize, Deserialize, DurableMessage)]
    /// # #[durable(name = "customer.pay")]
    /// # struct Pay;
    /// # async fn charge() -> Result<u32, String> { Ok(5) }
    /// #[async_trait]
    /// impl DurableActor for Customer {
    ///     type Message = Pay;
    ///     type Reply = u32;
    ///     type Error = String;
    ///     async fn handle(&mut self, context: &mut ActorContext, _: Pay) -> Result<u32, String> {
    ///         let charged = context.step("charge", || charge()).await;
    ///         let cents = charged.map_err(|error| error.to_string())??;
    ///         self.paid += cents;
    ///         Ok(cents)
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`StepError`].
    pub fn step<T, E, F>(
        &self,
        name: &str,
        effect: E,
    ) -> impl Future<Output = Result<T, StepError>> + use<T, E, F>
    where
        T: Serialize + DeserializeOwned,
        E: FnOnce() -> F,
        F: Future<Output = T>,
    {
        let step = self
            .steps()
            .map(|steps| steps.step(name, effect))
            .ok_or_else(|| StepError::NoMessage { step: name.to_owned() });
        async move { step?.await }
    }

    /// The actor of type `B` with this id, on whichever node it runs, to tell it something.
    #[must_use]
    pub fn actor<B: DurableActor>(&self, id: impl AsRef<str>) -> Receiver<'_, B> {
        let to = ActorId::new(B::ACTOR_TYPE, id);
        Receiver { outbox: self.outbox(), to, is_orchestrated: false, handles: PhantomData }
    }

    /// The actor of type `B` with this id that is an orchestration ([`Orchestrated`](crate::Orchestrated)),
    /// to tell it something. It begins with its first message: a child needs nothing more.
    #[must_use]
    pub fn orchestrated<B: DurableActor>(&self, id: impl AsRef<str>) -> Receiver<'_, B> {
        Receiver { is_orchestrated: true, ..self.actor(id) }
    }

    /// See [`Outbox::start_workflow`].
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    pub fn start_workflow(
        &self,
        orchestration: &str,
        instance: &str,
        input: &str,
    ) -> Result<(), OutboxError> {
        self.outbox().start_workflow(orchestration, instance, input)
    }

    /// Starts an orchestration whose result comes back as a message, made by `message`, usually a
    /// variant of the actor's enum. See [`Outbox::ask_workflow`].
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    pub fn ask_workflow<M: DurableMessage>(
        &self,
        orchestration: &str,
        instance: &str,
        input: &str,
        message: impl FnOnce(WorkflowResult) -> M,
    ) -> Result<(), OutboxError> {
        self.outbox().ask_workflow(orchestration, instance, input, M::NAME, message)
    }

    /// See [`Outbox::raise_event`].
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    pub fn raise_event(&self, instance: &str, queue: &str, data: &str) -> Result<(), OutboxError> {
        self.outbox().raise_event(instance, queue, data)
    }

    /// Sends a message to this actor when it is due: after a `Duration`, or at a `SystemTime`. See
    /// [`Outbox::schedule`].
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    pub fn schedule<M: DurableMessage>(
        &self,
        due: impl Into<Due>,
        message: M,
    ) -> Result<TimerId, OutboxError> {
        self.outbox().schedule(due, M::NAME, &message)
    }

    /// Sends a message to this actor every so long. See [`Outbox::schedule_every`].
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    pub fn schedule_every<M: DurableMessage>(
        &self,
        period: Duration,
        missed: Missed,
        message: M,
    ) -> Result<TimerId, OutboxError> {
        self.outbox().schedule_every(period, missed, M::NAME, &message)
    }

    /// Cancels a timer. See [`Outbox::cancel`].
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    pub fn cancel(&self, timer: &TimerId) -> Result<(), OutboxError> {
        self.outbox().cancel(timer)
    }
}

/// An actor to send to, from the handler of another. See [`ActorContext::actor`].
pub struct Receiver<'c, B> {
    outbox: &'c Outbox,
    to: ActorId,
    is_orchestrated: bool,
    handles: PhantomData<fn(B)>,
}

impl<B> fmt::Debug for Receiver<'_, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.to).finish()
    }
}

impl<B: DurableActor> Receiver<'_, B> {
    /// Sends a message. Messages from one actor to another are handled in the order of these calls.
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    pub fn tell(self, message: B::Message) -> Result<(), OutboxError> {
        if self.is_orchestrated {
            return self.outbox.tell_orchestrated(&self.to, B::Message::NAME, &message);
        }
        self.outbox.tell(&self.to, B::Message::NAME, &message)
    }
}
