//! Messages on their way to a service, and who waits for the answer.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use shared_journal::mailbox::{Acknowledge, Resolution, Work};
use shared_journal::{MessageId, MessageKey, Outcome};
use tokio::sync::oneshot;

use crate::actor::DurableActor;
use crate::error::{CallError, Interruption, Refusal};
use crate::shared::Shared;

/// A message with the caller's own id, the unit of exactly-once.
///
/// A plain message becomes one without an id, and gets a new id when it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed<M> {
    /// The id, if the caller chose one.
    pub id: Option<MessageId>,
    /// The message.
    pub message: M,
}

impl<M> Keyed<M> {
    /// A message under an id. A second message with the same id to the same actor is not handled,
    /// within [`Limits::dedup_age`](shared_journal::Limits::dedup_age); its caller gets the recorded reply of the first.
    pub fn new(id: impl Into<MessageId>, message: M) -> Self {
        Self { id: Some(id.into()), message }
    }
}

impl<M> From<M> for Keyed<M> {
    fn from(message: M) -> Self {
        Self { id: None, message }
    }
}

/// What a caller is answered.
pub(crate) type Answer<R, E> = Result<R, CallError<E>>;

/// Who waits for the answer to a message.
pub(crate) enum Caller<R, E> {
    Ask(oneshot::Sender<Answer<R, E>>),
    /// Waits for the receipt only; this tells why there will be none.
    Tell(oneshot::Sender<Refusal>),
    Callback(Box<dyn FnOnce(Answer<R, E>) + Send>),
    Nobody,
}

impl<R, E> Caller<R, E> {
    /// Runs in a task of the runtime, or on the journal's writer thread.
    pub(crate) fn answer(self, answer: Answer<R, E>) {
        match (self, answer) {
            // A caller that does not wait any more is no error: what it sent is handled.
            (Self::Ask(caller), answer) => drop(caller.send(answer)),
            (Self::Callback(callback), answer) => {
                // A panic here would end the writer, and with it the journal.
                if catch_unwind(AssertUnwindSafe(|| callback(answer))).is_err() {
                    tracing::error!("a reply callback panicked");
                }
            }
            (Self::Tell(_) | Self::Nobody, _) => {}
        }
    }

    pub(crate) fn refuse(self, reason: Refusal) {
        match self {
            Self::Tell(caller) => drop(caller.send(reason)),
            caller => caller.answer(Err(CallError::refused(reason))),
        }
    }
}

/// A message for a durable actor, taken apart from its reply channel.
pub struct Request<A: DurableActor> {
    pub(crate) message: A::Message,
    pub(crate) key: MessageKey,
    pub(crate) caller: Caller<A::Reply, A::Error>,
    pub(crate) acknowledge: Option<Acknowledge>,
}

impl<A: DurableActor> Request<A> {
    /// A message with a reply. The callback is called once, when the answer is durable or known
    /// to be impossible; it runs where replies are released and must not block. It is dropped
    /// without a call if the service ends before, which closes a channel that it owns.
    pub fn ask(
        message: A::Message,
        reply: impl FnOnce(Result<A::Reply, CallError<A::Error>>) + Send + 'static,
    ) -> Self {
        Self {
            message,
            key: MessageKey::Anonymous,
            caller: Caller::Callback(Box::new(reply)),
            acknowledge: None,
        }
    }

    /// A message whose sender does not wait for an answer.
    pub fn tell(message: A::Message) -> Self {
        Self { message, key: MessageKey::Anonymous, caller: Caller::Nobody, acknowledge: None }
    }

    /// The message's id, if its sender has one; else it gets a new one.
    #[must_use]
    pub fn id(mut self, id: impl Into<MessageId>) -> Self {
        self.key = MessageKey::Caller(id.into());
        self
    }
}

impl<A: DurableActor> fmt::Debug for Request<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Takes a message of a loop that you already have apart: what is stored, and where the reply
/// goes. See [`DurableActorService::from_receiver`](crate::DurableActorService::from_receiver).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be taken apart into a message for `{A}` and its reply channel",
    note = "implement `IntoRequest<{A}>` for the message type of your loop"
)]
pub trait IntoRequest<A: DurableActor>: Send + 'static {
    /// Called once for each message, by the service, before anything is stored. It must be quick
    /// and must not panic: a panic ends the service.
    fn into_request(self) -> Request<A>;
}

/// What travels from a [`DurableHandle`](crate::DurableHandle) to its service.
///
/// If it is dropped on the way, because the service has ended, its caller learns that the message
/// was not accepted.
pub struct Envelope<M, R, E> {
    key: MessageKey,
    message: M,
    caller: InTransit<R, E>,
    acknowledge: Option<Acknowledge>,
}

impl<M, R, E> Envelope<M, R, E> {
    pub(crate) fn new(
        key: MessageKey,
        message: M,
        caller: Caller<R, E>,
        acknowledge: Option<Acknowledge>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { key, message, caller: InTransit { caller: Some(caller), shared }, acknowledge }
    }

    /// Takes a message back that was not sent; its caller is told nothing.
    pub(crate) fn into_message(self) -> M {
        self.caller.arrived();
        self.message
    }
}

impl<A: DurableActor> IntoRequest<A> for Envelope<A::Message, A::Reply, A::Error> {
    fn into_request(self) -> Request<A> {
        Request {
            message: self.message,
            key: self.key,
            caller: self.caller.arrived(),
            acknowledge: self.acknowledge,
        }
    }
}

impl<M, R, E> fmt::Debug for Envelope<M, R, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Envelope").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The caller of a message that no service has taken yet.
struct InTransit<R, E> {
    caller: Option<Caller<R, E>>,
    shared: Arc<Shared>,
}

impl<R, E> InTransit<R, E> {
    fn arrived(mut self) -> Caller<R, E> {
        self.caller.take().unwrap_or(Caller::Nobody)
    }
}

impl<R, E> Drop for InTransit<R, E> {
    fn drop(&mut self) {
        if let Some(caller) = self.caller.take() {
            caller.refuse(self.shared.refusal());
        }
    }
}

/// An accepted message in the journal's mailbox.
pub(crate) struct Pending<M, R, E> {
    pub(crate) id: MessageId,
    /// For the first attempt; later ones decode what was stored.
    pub(crate) message: Option<M>,
    /// What the handler answered. Waits here until it is durable.
    pub(crate) answer: Option<Result<R, E>>,
    pub(crate) caller: Caller<R, E>,
    pub(crate) shared: Arc<Shared>,
}

impl<M, R, E> Work for Pending<M, R, E>
where
    M: Send + 'static,
    R: DeserializeOwned + Send + 'static,
    E: DeserializeOwned + Send + 'static,
{
    fn resolve(self, resolution: Resolution) {
        let id = self.id;
        let answer = match (resolution, self.answer) {
            (Resolution::Processed, Some(answer)) => answer.map_err(CallError::Domain),
            (Resolution::Recorded(outcome), _) => recorded(id, outcome),
            (Resolution::Refused(error), _) => {
                let refusal = Arc::try_unwrap(error).map_or_else(Refusal::Failed, Refusal::from);
                return self.caller.refuse(refusal);
            }
            (Resolution::IdReused, _) => return self.caller.refuse(Refusal::IdReused { id }),
            (Resolution::Failed { attempts, error }, _) => {
                Err(CallError::DeadLetter { id, attempts, error })
            }
            (Resolution::Unknown(error), _) => {
                let source = Interruption::Journal(error);
                Err(CallError::OutcomeUnknown { id, source })
            }
            (_, _) => Err(self.shared.unknown(id)),
        };
        self.caller.answer(answer);
    }
}

/// The answer to a message whose id was received before.
fn recorded<R, E>(id: MessageId, outcome: Outcome) -> Answer<R, E>
where
    R: DeserializeOwned,
    E: DeserializeOwned,
{
    match outcome {
        Outcome::Processed(reply) => match reply.decode::<Result<R, E>>() {
            Ok(answer) => answer.map_err(CallError::Domain),
            Err(source) => Err(CallError::Unreadable { id, source }),
        },
        Outcome::Failed { attempts, error } => {
            Err(CallError::DeadLetter { id, attempts, error: error.into() })
        }
        _ => Err(CallError::AlreadyProcessed { id }),
    }
}
