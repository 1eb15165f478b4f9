//! What an orchestration sends to an actor, and what comes back, as duroxide's history shows them.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cluster::Delivered;
use crate::codec::{Codec, Payload};
use crate::id::{ActorId, MessageId};

/// What an orchestration hands to the activity.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Message {
    actor_type: String,
    actor_id: String,
    /// A UUID: the name of the instance, its execution and the number of the message.
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) message: Value,
    /// The id is the one under which it travels.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    travels: bool,
}

impl Message {
    pub(super) fn new(to: &ActorId, id: MessageId, kind: &str, message: Value) -> Self {
        Self {
            actor_type: to.actor_type().to_owned(),
            actor_id: to.id().to_owned(),
            id: id.to_string(),
            kind: kind.to_owned(),
            message,
            travels: false,
        }
    }

    /// It travels under its id as that is.
    pub(super) fn unchanged(self) -> Self {
        Self { travels: true, ..self }
    }

    /// With the id that it has in an execution that began at this time, for another one to send it again.
    pub(super) fn travelling(self, begun_ms: u64) -> Self {
        Self { id: self.id_in(begun_ms).to_string(), ..self }.unchanged()
    }

    /// The id under which it travels, if it is of an execution that began at this time: an instance that is
    /// deleted and started again under its name has other messages.
    pub(super) fn id_in(&self, begun_ms: u64) -> MessageId {
        if self.travels
            && let Ok(id) = uuid::Uuid::parse_str(&self.id)
        {
            return id.into();
        }
        MessageId::from_key(&format!("{}/{begun_ms}", self.id))
    }

    pub(super) fn to(&self) -> ActorId {
        ActorId::new(&self.actor_type, &self.actor_id)
    }
}

/// What the activity hands back.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Reply(Value),
    /// A reply that JSON has no form for.
    Encoded {
        codec: Codec,
        /// In base64.
        bytes: String,
    },
    Failed(WorkflowError),
    /// The message is in its actor's inbox; the outcome comes as the [event](event) with this id.
    Posted {
        id: String,
    },
    /// It is not, for now.
    Busy {
        reason: String,
    },
}

/// Before the id of a message, in the name of the event that brings its outcome.
const REPLY: &str = "actors:reply/";

/// The external event that brings the outcome of a message.
pub(super) fn event(id: &str) -> String {
    format!("{REPLY}{id}")
}

/// The message whose outcome an external event brings.
pub(super) fn event_id(event: &str) -> Option<&str> {
    event.strip_prefix(REPLY)
}

impl Answer {
    pub(super) fn of(reply: &Payload<'_>) -> Self {
        match reply.to_value() {
            Some(value) => Self::Reply(value),
            None => Self::Encoded { codec: reply.codec(), bytes: STANDARD.encode(reply.bytes()) },
        }
    }

    /// What became of a message. None: that is not known yet.
    pub(super) fn of_delivered(delivered: &Delivered) -> Option<Self> {
        let not_accepted = |reason: &str| WorkflowError::NotAccepted { reason: reason.to_owned() };
        Some(match delivered {
            Delivered::Processed(reply) => Self::of(reply),
            Delivered::Failed { attempts, error } => {
                let (attempts, error) = (*attempts, error.to_string());
                Self::Failed(WorkflowError::DeadLetter { attempts, error })
            }
            Delivered::AlreadyProcessed => Self::Failed(WorkflowError::AlreadyProcessed),
            Delivered::IdReused => {
                Self::Failed(not_accepted("its id was used for another message"))
            }
            Delivered::Refused(reason) => Self::Failed(not_accepted(reason)),
            Delivered::Kept | Delivered::Lost(_) => return None,
        })
    }

    pub(super) fn decode<R: DeserializeOwned>(self) -> Result<R, WorkflowError> {
        match self {
            Self::Reply(value) => decode("the reply", value),
            Self::Encoded { codec: of, bytes } => {
                let bytes = STANDARD.decode(bytes).map_err(|error| codec("the reply", error))?;
                Payload::new(of, bytes).decode().map_err(|error| codec("the reply", error))
            }
            Self::Failed(error) => Err(error),
            Self::Posted { .. } | Self::Busy { .. } => {
                Err(codec("the reply", "it says only that the message was sent"))
            }
        }
    }
}

/// Why an orchestration has no reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WorkflowError {
    /// The message was not accepted: this call is no reason that it is handled.
    #[error("the message was not accepted: {reason}")]
    NotAccepted {
        /// Why not.
        reason: String,
    },
    /// The message is over [`Limits::message_bytes`](crate::Limits::message_bytes). It was not accepted.
    #[error("the message has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes that it takes.
        size: usize,
        /// As many may be.
        limit: usize,
    },
    /// The handler panicked as often as it was allowed to. The message is a dead letter.
    #[error("the message was given up after {attempts} attempts: {error}")]
    DeadLetter {
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt died of.
        error: String,
    },
    /// The message was handled, and there was no room to keep its reply.
    #[error("the message was handled, but its reply is not kept")]
    AlreadyProcessed,
    /// The message or its reply does not encode or decode.
    #[error("{what} does not encode or decode: {error}")]
    Codec {
        /// Which of the two.
        what: String,
        /// Why not.
        error: String,
    },
    /// There was no reply in time. The message may be handled yet.
    #[error("no reply within {0:?}")]
    TimedOut(Duration),
    /// The future was given to a combinator that polls only futures that were woken; in an orchestration nobody
    /// wakes any. The message may be handled.
    #[error(
        "the future is polled by a combinator that waits for wake-ups (FuturesUnordered, or join_all of more than \
         30 futures), which there are none of in an orchestration: use OrchestrationContext::join or select2"
    )]
    Combinator,
    /// duroxide could not run the activity.
    #[error("{0}")]
    Activity(String),
}

impl WorkflowError {
    /// Whether the same message can be sent again, as a new one, without being handled twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NotAccepted { .. })
    }
}

pub(super) fn decode<R: DeserializeOwned>(what: &str, value: Value) -> Result<R, WorkflowError> {
    serde_json::from_value(value).map_err(|error| codec(what, error))
}

pub(super) fn decode_text<R: DeserializeOwned>(what: &str, text: &str) -> Result<R, WorkflowError> {
    serde_json::from_str(text).map_err(|error| codec(what, error))
}

pub(super) fn codec(what: &str, error: impl std::fmt::Display) -> WorkflowError {
    WorkflowError::Codec { what: what.to_owned(), error: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_reply_of_any_codec_comes_back_and_is_json_where_it_can() {
        fn there_and_back<T>(of: Codec, reply: T) -> Value
        where
            T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
        {
            let answer = Answer::of(&Payload::encode(of, &reply).unwrap());
            let text = serde_json::to_string(&answer).unwrap();
            let back: Answer = serde_json::from_str(&text).unwrap();
            assert_eq!(back.decode::<T>().unwrap(), reply);
            serde_json::from_str(&text).unwrap()
        }
        for of in [Codec::Json, Codec::MessagePack] {
            let shown = there_and_back(of, Ok::<_, String>((5, Some("a".to_owned()), 0.1f32)));
            assert_eq!(shown["reply"], serde_json::json!({"Ok": [5, "a", 0.1]}));
            there_and_back(of, u128::MAX);
            there_and_back(of, BTreeMap::from([(1u8, 2)]));
        }
        let infinite = there_and_back(Codec::MessagePack, f64::INFINITY);
        assert_eq!(infinite["encoded"]["codec"], "MessagePack");
        there_and_back(Codec::CompactMessagePack, std::net::IpAddr::from([127, 0, 0, 1]));
    }
}
