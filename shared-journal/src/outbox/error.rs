//! Why something is not in the outbox.

use crate::codec::CodecError;
use crate::id::ActorId;
use crate::timer::TimerId;

/// Why a message is not in the outbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutboxError {
    /// There is nobody who would send it on.
    #[error(
        "{actor} cannot send: its journal is that of one process; run it in a cluster, \
         which may be of one node (shared_journal::reshard moves its journal)"
    )]
    NoRelay {
        /// The sender.
        actor: ActorId,
    },
    /// It was sent where there is no durable actor.
    #[error("this is not called by a durable actor: its methods, futures and intervals can send")]
    NoActor,
    /// The receiver cannot exist.
    #[error("{to} cannot be sent to: {reason}")]
    Address {
        /// The receiver.
        to: ActorId,
        /// What is wrong with its name.
        reason: String,
    },
    /// The actor is an orchestration.
    #[error("{actor} has no timers: it is an orchestration; duroxide's own timers are for those")]
    NoTimers {
        /// The actor.
        actor: ActorId,
    },
    /// The timer is another actor's.
    #[error(
        "{timer} is not a timer of {actor}: an actor cancels its own, Repair::cancel_timer cancels any"
    )]
    OtherTimer {
        /// Who would cancel it.
        actor: ActorId,
        /// The timer.
        timer: TimerId,
    },
    /// The message does not encode.
    #[error("the message to {to} does not encode")]
    Encode {
        /// The receiver.
        to: ActorId,
        /// Why not.
        source: CodecError,
    },
    /// The actor has sent so much that has not arrived that it sends nothing more for now:
    /// [`Limits::outbox_bytes`](crate::Limits::outbox_bytes).
    #[error(
        "{actor} has sent {size} bytes that have not arrived, the limit is {limit}; \
         see Limits::outbox_bytes"
    )]
    Full {
        /// The sender.
        actor: ActorId,
        /// What has not arrived, in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The message is larger than [`Limits::message_bytes`](crate::Limits::message_bytes).
    #[error("the message to {to} has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// The receiver.
        to: ActorId,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A message that should carry a workflow's result does not.
    #[error(
        "the WorkflowResult is not in the message {kind}, or not as it was given: \
         put the whole of it into a field, and look into it when the message comes"
    )]
    Result {
        /// The stable name of the message's type.
        kind: String,
    },
}

impl OutboxError {
    /// Whether the same call can succeed later, when something has arrived. All others are mistakes in
    /// the program.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}
