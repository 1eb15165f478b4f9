//! Tokio actors on the nodes of a cluster.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use shared_journal::cluster::{Answering, Cluster, Delivered, Host, Hosted, Parcel, SendError};
use shared_journal::mailbox::Acknowledge;
use shared_journal::mailbox::error_text;
use shared_journal::{
    ActorId, Codec, DurableMessage, EventJournal, JournalError, MessageId, MessageKey, Payload,
    Types,
};
use tokio::sync::mpsc;

use crate::actor::DurableActor;
use crate::error::{CallError, Refusal};
use crate::limits::DEFAULT_CAPACITY;
use crate::message::{Caller, IntoRequest, Request};
use crate::service::DurableActorService;
use crate::types::ActorTypes;

/// Runs the actors of type `A` on a node, each in a task of the tokio runtime.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use duroxide_tower::{ActorContext, DurableActor, DurableMessage, DurableState, async_trait};
/// # use serde::{Deserialize, Serialize};
/// use duroxide_tower::journal::cluster::Cluster;
/// use duroxide_tower::{ClusterActors, TowerHost};
/// # #[derive(Default, DurableState)]
/// # #[durable(actor_type = "account")]
/// # struct Account { balance: i64 }
/// # #[derive(Serialize, Deserialize, DurableMessage)]
/// # #[durable(name = "account.deposit")]
/// # struct Deposit(i64);
/// # #[async_trait]
/// # impl DurableActor for Account {
/// #     type Message = Deposit;
/// #     type Reply = i64;
/// #     type Error = String;
/// #     async fn handle(&mut self, _: &mut ActorContext, m: Deposit) -> Result<i64, String> {
/// #         self.balance += m.0;
/// #         Ok(self.balance)
/// #     }
/// # }
/// # async fn example(provider: Arc<dyn duroxide::providers::Provider>) -> Result<(), Box<dyn std::error::Error>> {
///
/// let cluster = Cluster::builder("bank", 64)
///     .host(TowerHost::new(|_id| Account::default()))
///     .join(provider)
///     .await?;
/// let balance = cluster.actor::<Account>("42").ask(Deposit(5)).await?;
/// # Ok(())
/// # }
/// ```
pub struct TowerHost<A> {
    create: Arc<dyn Fn(&str) -> A + Send + Sync>,
}

impl<A> fmt::Debug for TowerHost<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerHost").finish_non_exhaustive()
    }
}

impl<A: DurableActor> TowerHost<A> {
    /// `create` constructs an actor, given its id, before its state is put into it.
    pub fn new(create: impl Fn(&str) -> A + Send + Sync + 'static) -> Self {
        Self { create: Arc::new(create) }
    }
}

#[async_trait]
impl<A: DurableActor> Host for TowerHost<A> {
    fn actor_type(&self) -> &'static str {
        A::ACTOR_TYPE
    }

    fn types(&self) -> Types {
        Types::new().actor::<A>()
    }

    async fn start(
        &self,
        journal: &EventJournal,
        id: &str,
    ) -> Result<Box<dyn Hosted>, Arc<JournalError>> {
        let (parcels, receiver) = mpsc::channel(DEFAULT_CAPACITY);
        let actor = (self.create)(id);
        let service = DurableActorService::from_receiver(journal, id, actor, receiver).await?;
        tokio::spawn(async move {
            let actor = service.actor().clone();
            match service.run().await {
                Ok(()) => {}
                // Its shard goes to another node.
                Err(error) if matches!(*error, JournalError::Closed) => {
                    tracing::debug!(%actor, "an actor is cut off");
                }
                Err(error) => {
                    tracing::error!(%actor, error = error_text(&error), "an actor has ended with an error");
                }
            }
        });
        Ok(Box::new(HostedActor::<A> { parcels }))
    }
}

/// An actor that a node runs.
struct HostedActor<A: DurableActor> {
    parcels: mpsc::Sender<Opened<A>>,
}

#[async_trait]
impl<A: DurableActor> Hosted for HostedActor<A> {
    async fn deliver(&mut self, parcel: Parcel) -> Result<(), Parcel> {
        // Before it is taken apart: the actor may have stopped.
        let Ok(place) = self.parcels.reserve().await else { return Err(parcel) };
        let Parcel { key, kind, payload, acknowledge, answer } = parcel;
        let refused = |reason: String| Delivered::Refused(reason.into());
        if kind != A::Message::NAME {
            let reason = format!("the actor does not know messages of type {kind:?}");
            answer.answer(refused(reason));
            return Ok(());
        }
        let message = match payload.decode::<A::Message>() {
            Ok(message) => message,
            Err(error) => {
                answer.answer(refused(format!("the message does not decode: {error}")));
                return Ok(());
            }
        };
        place.send(Opened { message, key, codec: payload.codec(), acknowledge, answer });
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.parcels.is_closed()
    }
}

/// A parcel that was opened.
struct Opened<A: DurableActor> {
    message: A::Message,
    key: MessageKey,
    codec: Codec,
    acknowledge: Option<Acknowledge>,
    answer: Answering,
}

impl<A: DurableActor> IntoRequest<A> for Opened<A> {
    fn into_request(self) -> Request<A> {
        let Self { message, key, codec, acknowledge, answer } = self;
        let callback = move |answered| answer.answer(delivered::<A>(codec, answered));
        Request { message, key, caller: Caller::Callback(Box::new(callback)), acknowledge }
    }
}

fn delivered<A: DurableActor>(
    codec: Codec,
    answered: Result<A::Reply, CallError<A::Error>>,
) -> Delivered {
    let outcome = match answered {
        Ok(reply) => Ok(reply),
        Err(CallError::Domain(error)) => Err(error),
        Err(CallError::DeadLetter { attempts, error, .. }) => {
            return Delivered::Failed { attempts, error };
        }
        Err(CallError::AlreadyProcessed { .. }) => return Delivered::AlreadyProcessed,
        Err(CallError::IdReused { .. }) => return Delivered::IdReused,
        Err(CallError::Unreadable { source, .. }) => {
            return Delivered::Refused(error_text(&source).into());
        }
        Err(CallError::NotAccepted {
            reason:
                reason @ (Refusal::TooLarge { .. }
                | Refusal::Encode(_)
                | Refusal::DeadLettersFull(_)
                | Refusal::Early(_)),
        }) => return Delivered::Refused(error_text(&reason).into()),
        Err(_) => return Delivered::Lost(None),
    };
    match Payload::encode(codec, &outcome) {
        Ok(reply) => Delivered::Processed(reply),
        Err(error) => Delivered::Refused(error.to_string().into()),
    }
}

/// References to actors anywhere in a cluster.
pub trait ClusterActors {
    /// The actor of type `A` with this id, on whichever node it runs. It need not exist: an actor
    /// begins with its first message.
    fn actor<A: DurableActor>(&self, id: impl AsRef<str>) -> ActorRef<A>;
}

impl ClusterActors for Cluster {
    fn actor<A: DurableActor>(&self, id: impl AsRef<str>) -> ActorRef<A> {
        let actor = ActorId::new(A::ACTOR_TYPE, id);
        ActorRef { cluster: self.clone(), actor, handles: PhantomData }
    }
}

/// An actor anywhere in a cluster. Cloning is cheap.
///
/// The messages of one sender are handled in the order of its calls, as far as a call has been
/// polled once before the next is made. Between senders there is no order, not even for a message
/// that was sent after another was acknowledged: that one may still wait in an inbox.
pub struct ActorRef<A> {
    cluster: Cluster,
    actor: ActorId,
    handles: PhantomData<fn(A)>,
}

impl<A> Clone for ActorRef<A> {
    fn clone(&self) -> Self {
        Self { cluster: self.cluster.clone(), actor: self.actor.clone(), handles: PhantomData }
    }
}

impl<A> fmt::Debug for ActorRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ActorRef").field(&self.actor).finish()
    }
}

/// Why an [`ActorRef`] has no reply.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AskError<E> {
    /// The actor handled the message and answered with this error, durably.
    #[error("{0}")]
    Domain(E),
    /// The message did not get through, or its reply did not.
    #[error(transparent)]
    Send(#[from] SendError),
}

impl<E> AskError<E> {
    /// Whether the same call, with the same id, can succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Send(error) if error.is_retryable())
    }
}

impl<A: DurableActor> ActorRef<A> {
    /// The name of the actor.
    #[must_use]
    pub fn actor_id(&self) -> &ActorId {
        &self.actor
    }

    /// Sends a message and waits for its reply, which is durable then.
    ///
    /// Cancel-safe as [`Cluster::ask`].
    ///
    /// # Errors
    /// See [`AskError`]. When the outcome is unknown, the error has the id to
    /// [ask again with](Self::ask_with_id).
    pub async fn ask(&self, message: A::Message) -> Result<A::Reply, AskError<A::Error>> {
        self.ask_as(MessageId::random(), MessageKey::Transient, message).await
    }

    /// As [`ask`](Self::ask), under the caller's own id (an *idempotency key*): a message with an
    /// id that the actor received before, within [`Limits::dedup_age`](shared_journal::Limits::dedup_age), is not handled again and gets
    /// the first reply.
    ///
    /// # Errors
    /// See [`AskError`].
    pub async fn ask_with_id(
        &self,
        id: impl Into<MessageId>,
        message: A::Message,
    ) -> Result<A::Reply, AskError<A::Error>> {
        self.ask_as(id.into(), MessageKey::Caller, message).await
    }

    async fn ask_as(
        &self,
        id: MessageId,
        key: fn(MessageId) -> MessageKey,
        message: A::Message,
    ) -> Result<A::Reply, AskError<A::Error>> {
        let payload = self.cluster.encode(&message)?;
        let reply = self.cluster.ask(&self.actor, key(id), A::Message::NAME, payload).await?;
        let outcome = reply.decode::<Result<A::Reply, A::Error>>();
        outcome
            .map_err(|error| SendError::Reply { id, error: error.to_string().into() })?
            .map_err(AskError::Domain)
    }

    /// Sends a message and waits until its receipt is durable: from then on it will be handled,
    /// whatever dies. The reply goes nowhere.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn tell(&self, message: A::Message) -> Result<(), SendError> {
        let payload = self.cluster.encode(&message)?;
        self.cluster.tell(&self.actor, MessageKey::Anonymous, A::Message::NAME, payload).await
    }

    /// As [`tell`](Self::tell), under the caller's own id.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn tell_with_id(
        &self,
        id: impl Into<MessageId>,
        message: A::Message,
    ) -> Result<(), SendError> {
        let payload = self.cluster.encode(&message)?;
        let key = MessageKey::Caller(id.into());
        self.cluster.tell(&self.actor, key, A::Message::NAME, payload).await
    }
}
