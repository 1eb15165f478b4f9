//! What a caller can be told instead of a reply.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shared_journal::{ActorId, CodecError, JournalError, MessageId};

use crate::message::Keyed;

/// Why a call has no reply.
///
/// The variants differ in what the caller may do next: send it anew
/// ([`NotAccepted`](Self::NotAccepted)), ask again with the same id
/// ([`OutcomeUnknown`](Self::OutcomeUnknown)), or take the answer for what it is.
///
/// It is an [`Error`](std::error::Error) if `E` can be displayed, and then fits tower's middleware
/// that works with boxed errors. The text of [`Domain`](Self::Domain) is that of `E`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallError<E> {
    /// The message was not accepted: this call is no reason that it is handled.
    ///
    /// One that was accepted before under the same id is handled as if this call had not been made: what is
    /// refused for its size ([`Limits::message_bytes`](shared_journal::Limits::message_bytes), which may
    /// have been larger then) is not compared with what is known.
    #[error("the message was not accepted")]
    NotAccepted {
        /// Why not.
        #[source]
        reason: Refusal,
    },
    /// The message may have been accepted; whether it is or will be handled is not known. Ask
    /// again with this id: the reply is the first one if there is one, else the message is
    /// handled once.
    #[error("the outcome of message {id} is not known; ask again with this id")]
    OutcomeUnknown {
        /// The message.
        id: MessageId,
        /// What came between.
        source: Interruption,
    },
    /// The message was tried and given up. It is kept as a dead letter; see
    /// [`EventJournal::dead_letters`](shared_journal::EventJournal::dead_letters).
    #[error("message {id} is a dead letter after {attempts} attempts: {error}")]
    DeadLetter {
        /// The message.
        id: MessageId,
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt died of.
        error: Arc<str>,
    },
    /// The service inside a [`DurableLayer`](crate::DurableLayer) had no final outcome for the
    /// request ([`final_when`](crate::DurableLayer::final_when)), or was not ready. It is kept as a
    /// dead letter. A request with the same id takes it from there and tries again.
    #[error("request {id} has no final outcome after {attempts} attempts: {error}")]
    NoFinalOutcome {
        /// The request.
        id: MessageId,
        /// How often it was tried.
        attempts: u32,
        /// The outcome of the last attempt.
        error: Arc<str>,
    },
    /// The id was used before; there was no room to keep what was answered then
    /// ([`Limits::dedup_count`](shared_journal::Limits::dedup_count),
    /// [`dedup_bytes`](shared_journal::Limits::dedup_bytes)). The message was not handled
    /// again.
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
    /// The id was used before, and what was answered then does not decode into today's types. The
    /// message was not handled again.
    #[error("the recorded reply of message {id} does not decode; was its type changed?")]
    Unreadable {
        /// The message.
        id: MessageId,
        /// Why not.
        source: CodecError,
    },
    /// The actor handled the message and answered with this error, durably.
    #[error("{0}")]
    Domain(E),
}

impl<E> CallError<E> {
    /// Whether the same message can be sent again, with the same id, and may succeed: after a
    /// pause if the mailbox was full or a request had no final outcome, else through the handle of a service that was started again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotAccepted { reason } => reason.is_retryable(),
            Self::OutcomeUnknown { .. } | Self::NoFinalOutcome { .. } => true,
            _ => false,
        }
    }

    /// The id to ask again with, or to find the dead letter by.
    #[must_use]
    pub fn message_id(&self) -> Option<MessageId> {
        match self {
            Self::OutcomeUnknown { id, .. }
            | Self::DeadLetter { id, .. }
            | Self::AlreadyProcessed { id }
            | Self::IdReused { id }
            | Self::NoFinalOutcome { id, .. }
            | Self::Unreadable { id, .. } => Some(*id),
            Self::NotAccepted { .. } | Self::Domain(_) => None,
        }
    }

    pub(crate) fn refused(reason: Refusal) -> Self {
        match reason {
            Refusal::IdReused { id } => Self::IdReused { id },
            reason => Self::NotAccepted { reason },
        }
    }

    /// The actor's own error, if that is what this is.
    pub fn into_domain(self) -> Result<E, Self> {
        match self {
            Self::Domain(error) => Ok(error),
            other => Err(other),
        }
    }
}

/// Why a message was not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// As many messages wait as may.
    #[error("the mailbox is full")]
    Full,
    /// The service has ended, or its `run` was dropped.
    #[error("the actor's service has ended")]
    Closed,
    /// The service could not start, or has ended with this error.
    #[error("the actor's service has ended with an error")]
    Failed(#[source] Arc<JournalError>),
    /// The actor has ended with a panic outside of a handler. A lane of a
    /// [`DurableLayer`](crate::DurableLayer) is started again after a pause.
    #[error("{actor} has ended with a panic: {panic}")]
    Panicked {
        /// The actor, or the lane.
        actor: ActorId,
        /// The text of the panic.
        panic: Arc<str>,
    },
    /// A [`DurableLayer`](crate::DurableLayer) has made another service durable under the same
    /// name, which still exists, so nobody could say which of the two a request that was recovered
    /// belongs to.
    #[error(
        "{route} of the durable layer {layer:?} has another service already; clone the durable \
         service, give each route a name of its own with `DurableLayer::for_route`, or apply the \
         layer once, around the whole router"
    )]
    RouteTaken {
        /// The name of the layer.
        layer: Arc<str>,
        /// The name of the route.
        route: Route,
    },
    /// The encoded message is over
    /// [`Limits::message_bytes`](shared_journal::Limits::message_bytes).
    #[error("the message has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The id was used before, for another message.
    #[error("id {id} was used before for another message")]
    IdReused {
        /// The id.
        id: MessageId,
    },
    /// The actor has as many dead letters as it may have: it takes no new message until some are sent
    /// again or discarded ([`JournalError::DeadLettersFull`]).
    #[error(transparent)]
    DeadLettersFull(Box<JournalError>),
    /// What another actor sent comes before one that it sent earlier and that was not accepted
    /// ([`JournalError::EarlyMessage`]).
    #[error(transparent)]
    Early(Box<JournalError>),
    /// The message does not encode.
    #[error("the message does not encode")]
    Encode(#[source] Box<JournalError>),
}

impl Refusal {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Full | Self::Closed | Self::Failed(_) | Self::Panicked { .. })
    }
}

impl From<JournalError> for Refusal {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::TooLarge { size, limit, .. } => Self::TooLarge { size, limit },
            error @ JournalError::DeadLettersFull { .. } => Self::DeadLettersFull(Box::new(error)),
            error @ JournalError::EarlyMessage { .. } => Self::Early(Box::new(error)),
            error => Self::Encode(Box::new(error)),
        }
    }
}

/// What came between a message and the answer to it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Interruption {
    /// The service has ended, or its `run` was dropped, before the answer was durable.
    #[error("the actor's service ended before it answered")]
    Ended,
    /// The journal stopped before the answer was durable.
    #[error("the journal stopped before the answer was durable")]
    Journal(#[source] Arc<JournalError>),
    /// The actor panicked outside of a handler before the answer was durable.
    #[error("{actor} has ended with a panic: {panic}")]
    Panicked {
        /// The actor, or the lane.
        actor: ActorId,
        /// The text of the panic.
        panic: Arc<str>,
    },
}

/// What a [`DurableLayer`](crate::DurableLayer) was applied to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Route {
    /// It has no name.
    Unnamed,
    /// That of [`for_route`](crate::DurableLayer::for_route).
    Named(Arc<str>),
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unnamed => f.write_str("the route without a name"),
            Self::Named(name) => write!(f, "the route {name:?}"),
        }
    }
}

/// The error of the service inside a [`DurableLayer`](crate::DurableLayer), as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("the inner service answered with an error: {message}")]
#[non_exhaustive]
pub struct InnerError {
    /// The text of the service's error.
    pub message: String,
}

/// A message that [`try_ask`](crate::DurableHandle::try_ask) could not send, with the message.
#[derive(thiserror::Error)]
#[error("the message was not accepted")]
pub struct NotSent<M> {
    /// The message, as it was given.
    pub message: Keyed<M>,
    /// Why it was not sent.
    #[source]
    pub reason: Refusal,
}

impl<M> std::fmt::Debug for NotSent<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NotSent").field("reason", &self.reason).finish_non_exhaustive()
    }
}
