//! What can go wrong between a sender and an actor on some node.

use std::sync::Arc;

use crate::error::JournalError;
use crate::id::{ActorId, MessageId};

/// Why a message that was sent through a [`Cluster`](super::Cluster) has no reply.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The message was not accepted: this call is no reason that it is handled. Sending it anew is safe.
    ///
    /// One that was accepted before under the same id is handled as if this call had not been made: what is refused
    /// for its size ([`Limits::message_bytes`](crate::Limits::message_bytes), which may have been
    /// larger then) is not compared with what is known.
    #[error("the message was not accepted: {reason}")]
    NotAccepted {
        /// Why not.
        reason: Arc<str>,
    },
    /// As many letters wait for the actor as may. The message was not accepted; try again when
    /// the actor has caught up.
    #[error("the inbox of {actor} is full: {limit} letters wait in it")]
    InboxFull {
        /// The actor.
        actor: ActorId,
        /// The limit.
        limit: u64,
    },
    /// A handler asks an actor that waits for the handler's own actor, or is it: none of them would get a reply.
    /// The message was not accepted. Send it with `tell`, or ask after the handler.
    ///
    /// It is found if all of the actors wait on this node, in handlers of duroxide-tower. Elsewhere such handlers wait for
    /// ever, and are named in the log as handlers that are at work for long.
    #[error("{actor} cannot be asked from here: it would wait for itself, through {way:?}")]
    Deadlock {
        /// The actor that was asked.
        actor: ActorId,
        /// Who waits for whom, from it to the actor that asks.
        way: Vec<ActorId>,
    },
    /// The store could not be reached for [`Limits::commit_retry`](crate::Limits::commit_retry), and nothing was
    /// sent to it. The message was not accepted; send it again, under this id or a new one.
    #[error("message {id} was not accepted, as the store cannot be reached")]
    Unreachable {
        /// The id that it had.
        id: MessageId,
        /// Why not.
        #[source]
        source: Arc<JournalError>,
    },
    /// The message may have been accepted. Ask again with the same id: it is handled once.
    #[error("the outcome of message {id} is unknown; ask again with this id")]
    OutcomeUnknown {
        /// The id to ask again with.
        id: MessageId,
        /// What came in between.
        #[source]
        source: Option<Arc<JournalError>>,
    },
    /// The handler panicked as often as it was allowed to. The message is a dead letter.
    #[error("message {id} was given up after {attempts} attempts: {error}")]
    DeadLetter {
        /// The message.
        id: MessageId,
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt died of.
        error: Arc<str>,
    },
    /// A message with this id was received before, so it was not handled again; there was no room
    /// to keep its reply ([`Limits::dedup_count`](crate::Limits::dedup_count),
    /// [`dedup_bytes`](crate::Limits::dedup_bytes)).
    #[error(
        "message {id} was handled before, but its reply is not kept; see Limits::dedup_count and dedup_bytes"
    )]
    AlreadyProcessed {
        /// The message.
        id: MessageId,
    },
    /// The id was used before, for another message. This one was not handled and will not be; send
    /// it under an id of its own.
    #[error("id {id} was used before for another message; this one needs an id of its own")]
    IdReused {
        /// The id.
        id: MessageId,
    },
    /// The reply does not decode into today's type.
    #[error("the reply of message {id} does not decode: {error}")]
    Reply {
        /// The message.
        id: MessageId,
        /// Why not.
        error: Arc<str>,
    },
}

impl SendError {
    /// Whether the same call, with the same id, can succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::InboxFull { .. } | Self::OutcomeUnknown { .. } => true,
            Self::Unreachable { source, .. } => source.is_retryable(),
            _ => false,
        }
    }
}
