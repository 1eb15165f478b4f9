//! What can go wrong between a caller and a durable actor.

use std::sync::{Arc, Mutex, PoisonError};

use shared_journal::{JournalError, MessageId};

/// Why a message that was sent with [`DurableSend`](crate::DurableSend) has no reply.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// The message was not accepted: this call is no reason that it is handled. Sending it anew is safe.
    ///
    /// One that was accepted before under the same id is handled as if this call had not been made: what is refused
    /// for its size ([`Limits::message_bytes`](shared_journal::Limits::message_bytes), which may have been
    /// larger then) is not compared with what is known.
    #[error("the message was not accepted: {reason}")]
    NotAccepted {
        /// Why not.
        reason: Arc<str>,
        /// The journal's error, if it was the journal that refused.
        #[source]
        source: Option<Arc<JournalError>>,
    },
    /// The message may have been accepted; whether it is or will be handled is not known. Ask again with
    /// the same id: it is handled once.
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
    /// to keep its reply ([`Limits::dedup_count`](shared_journal::Limits::dedup_count),
    /// [`dedup_bytes`](shared_journal::Limits::dedup_bytes)).
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
    /// The actor does not list messages of this type as durable, so neither an id nor a durable
    /// acknowledgement means anything. The message was not handled; send it with `Addr::send`.
    #[error(
        "{message} is not in the list of the actor's durable messages; send it with Addr::send"
    )]
    NotDurable {
        /// The message's type.
        message: &'static str,
    },
    /// The recorded reply does not decode into today's type.
    #[error("the recorded reply of message {id} does not decode: {error}")]
    Reply {
        /// The message.
        id: MessageId,
        /// Why not.
        error: Arc<str>,
    },
}

impl AskError {
    /// Whether the same call, with the same id, can succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::NotAccepted { source, .. } => {
                source.as_ref().is_none_or(|source| source.is_retryable())
            }
            Self::OutcomeUnknown { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn refused(error: Arc<JournalError>) -> Self {
        Self::NotAccepted { reason: error.to_string().into(), source: Some(error) }
    }
}

/// Where an envelope leaves word for its sender: actix's reply channel carries results only.
#[derive(Debug)]
pub(crate) struct Fate {
    id: MessageId,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Queued,
    Accepted,
    Known(AskError),
}

impl Fate {
    pub(crate) fn new(id: MessageId) -> Self {
        Self { id, state: Mutex::new(State::Queued) }
    }

    pub(crate) fn id(&self) -> MessageId {
        self.id
    }

    /// From here on the message may be handled even if nobody ever hears of it.
    pub(crate) fn accepted(&self) {
        self.set(State::Accepted);
    }

    pub(crate) fn failed(&self, error: AskError) {
        self.set(State::Known(error));
    }

    /// Why there is no reply.
    pub(crate) fn error(&self) -> AskError {
        match &*self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Queued => {
                AskError::NotAccepted { reason: "the actor has stopped".into(), source: None }
            }
            State::Accepted => AskError::OutcomeUnknown { id: self.id, source: None },
            State::Known(error) => error.clone(),
        }
    }

    fn set(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}
