//! Typed references to actors anywhere in a cluster.

use std::fmt;
use std::marker::PhantomData;

use actix::{Handler, Message};
use serde::de::DeserializeOwned;
use shared_journal::cluster::{Cluster, SendError};
use shared_journal::{ActorId, DurableMessage, MessageId, MessageKey};

use crate::actor::DurableActor;

/// References to actors anywhere in a cluster.
pub trait ClusterActors {
    /// The actor of type `A` with this id, on whichever node it runs. It need not exist: an actor
    /// begins with its first message.
    fn actor<A: DurableActor>(&self, id: impl AsRef<str>) -> ActorRef<A>;
}

impl ClusterActors for Cluster {
    fn actor<A: DurableActor>(&self, id: impl AsRef<str>) -> ActorRef<A> {
        ActorRef {
            cluster: self.clone(),
            actor: ActorId::new(A::ACTOR_TYPE, id),
            handles: PhantomData,
        }
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
    /// See [`SendError`]. When the outcome is unknown, the error has the id to
    /// [ask again with](Self::ask_with_id).
    pub async fn ask<M>(&self, message: M) -> Result<M::Result, SendError>
    where
        A: Handler<M>,
        M: Message + DurableMessage,
        M::Result: DeserializeOwned,
    {
        self.ask_as(MessageId::random(), MessageKey::Transient, message).await
    }

    /// As [`ask`](Self::ask), under the caller's own id (an *idempotency key*): a message with an
    /// id that the actor received before, within [`Limits::dedup_age`](shared_journal::Limits::dedup_age), is not handled again and gets
    /// the first reply.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn ask_with_id<M>(&self, id: MessageId, message: M) -> Result<M::Result, SendError>
    where
        A: Handler<M>,
        M: Message + DurableMessage,
        M::Result: DeserializeOwned,
    {
        self.ask_as(id, MessageKey::Caller, message).await
    }

    async fn ask_as<M>(
        &self,
        id: MessageId,
        key: fn(MessageId) -> MessageKey,
        message: M,
    ) -> Result<M::Result, SendError>
    where
        M: Message + DurableMessage,
        M::Result: DeserializeOwned,
    {
        let payload = self.cluster.encode(&message)?;
        let reply = self.cluster.ask(&self.actor, key(id), M::NAME, payload).await?;
        reply.decode().map_err(|error| SendError::Reply { id, error: error.to_string().into() })
    }

    /// Sends a message and waits until its receipt is durable: from then on it will be handled,
    /// whatever dies. The reply goes nowhere.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn tell<M>(&self, message: M) -> Result<(), SendError>
    where
        A: Handler<M>,
        M: Message + DurableMessage,
    {
        let payload = self.cluster.encode(&message)?;
        self.cluster.tell(&self.actor, MessageKey::Anonymous, M::NAME, payload).await
    }

    /// As [`tell`](Self::tell), under the caller's own id.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn tell_with_id<M>(&self, id: MessageId, message: M) -> Result<(), SendError>
    where
        A: Handler<M>,
        M: Message + DurableMessage,
    {
        let payload = self.cluster.encode(&message)?;
        self.cluster.tell(&self.actor, id.into(), M::NAME, payload).await
    }
}
