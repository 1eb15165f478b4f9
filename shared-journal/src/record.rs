//! What the journal knows of one actor: the result of its history so far.

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize};

use crate::aged::Aged;
use crate::codec::Payload;
use crate::dead::DeadLetters;
use crate::error::JournalError;
use crate::id::{ActorId, Epoch, MessageId, MessageKey, Position, Sequence};
use crate::lines::Lines;
use crate::outcomes::Outcomes;
use crate::rare::Rare;
use crate::timers::Timers;

/// What an actor's history adds up to. Checkpoints store it; recovery continues it.
///
/// Stored whole, in the order of its fields: a change needs a new version of the envelope.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ActorRecord {
    /// `Spawned` was seen.
    pub(crate) spawned: bool,
    /// The actor stopped of its own will, and nothing was received since.
    pub(crate) stopped: bool,
    /// The last message received.
    pub(crate) received: Sequence,
    /// The state after everything processed, if it was ever captured.
    #[serde(deserialize_with = "owned_option")]
    pub(crate) state: Option<Payload<'static>>,
    /// Received and neither processed nor failed, in the order of receipt.
    pub(crate) pending: VecDeque<PendingMessage>,
    /// The recorded outcomes of messages whose senders chose an id, oldest first: the dedup
    /// window.
    pub(crate) window: Rare<Outcomes>,
    /// The same for generated ids.
    pub(crate) generated: Rare<Outcomes>,
    /// The outcomes of the last commit whose senders are in the owner's process and have no id of
    /// their own. Since version 3.
    pub(crate) transient: Transient,
    /// Messages that were given up: their index. In versions 1 and 2 they are here themselves.
    pub(crate) dead: Rare<DeadLetters>,
    /// The number of the last message put in the outbox.
    pub(crate) sent: u64,
    /// Sent and not delivered.
    pub(crate) outbox: VecDeque<OutgoingMessage>,
    /// The results of steps of pending messages. Since version 2.
    pub(crate) steps: Vec<RecordedStep>,
    /// It cannot be started. Since version 3.
    pub(crate) held: Option<Box<Held>>,
    /// It was deleted, and not spawned again. Its counters go on, so that nothing that is derived from
    /// them is used twice. Since version 3.
    pub(crate) deleted: bool,
    /// The keys that have left `window` by count. Since version 4.
    pub(crate) aged: Rare<Aged>,
    /// What it has received from other actors, and sent to them. Since version 5.
    pub(crate) lines: Lines,
    /// Its timers. Since version 6.
    pub(crate) timers: Rare<Timers>,
}

/// Who holds an actor, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) by: String,
    pub(crate) why: String,
}

impl Held {
    pub(crate) fn error(&self, actor: &ActorId) -> JournalError {
        let Self { by, why } = self.clone();
        JournalError::Held { actor: actor.clone(), by, why }
    }
}

/// Where and when a commit was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    pub(crate) position: Position,
    pub(crate) epoch: Epoch,
    /// Milliseconds since 1970 by the clock of the owner.
    pub(crate) at_ms: u64,
    /// Milliseconds by the journal's own clock, which does not go back and does not jump ahead.
    pub(crate) clock_ms: u64,
}

/// Outcomes of one commit. As soon as its owner has made another one, their senders have them; if
/// the owner never did, a sender may have been told that its outcome is unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Transient {
    pub(crate) position: Position,
    pub(crate) epoch: Epoch,
    pub(crate) recorded: Vec<RecordedOutcome>,
}

/// The result of a side effect of a pending message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedStep {
    pub(crate) sequence: Sequence,
    pub(crate) name: String,
    #[serde(deserialize_with = "owned")]
    pub(crate) result: Payload<'static>,
}

/// A message that was received and not yet processed.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PendingMessage {
    /// Its place in the receipt order.
    pub sequence: Sequence,
    /// Its id, if it has one.
    pub key: MessageKey,
    /// The stable name of the message's type.
    pub kind: String,
    /// The message.
    #[serde(deserialize_with = "owned")]
    pub payload: Payload<'static>,
    /// How many attempts were counted: None if no earlier process began to handle it, 0 if one
    /// began to handle it together with others. Since version 3.
    pub attempts: Option<u32>,
    /// What it is about, for a message with an id of its sender's. Since version 3.
    pub(crate) fingerprint: Option<u64>,
    /// The commit that has its receipt, while that is known.
    #[serde(skip)]
    pub(crate) received_at: Position,
    /// When, in milliseconds by the journal's clock; 0 if that is not known.
    #[serde(skip)]
    pub(crate) received_ms: u64,
}

/// What is stored of them is the same.
impl PartialEq for PendingMessage {
    fn eq(&self, other: &Self) -> bool {
        let Self { sequence, key, kind, payload, attempts, fingerprint, .. } = self;
        (sequence, key, kind, payload) == (&other.sequence, &other.key, &other.kind, &other.payload)
            && (attempts, fingerprint) == (&other.attempts, &other.fingerprint)
    }
}

impl Eq for PendingMessage {}

/// A message that was given up after its last attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadLetter {
    /// Its place in the receipt order.
    pub sequence: Sequence,
    /// Its id, if it had one.
    pub id: Option<MessageId>,
    /// The stable name of the message's type.
    pub kind: String,
    /// The message.
    #[serde(deserialize_with = "owned")]
    pub payload: Payload<'static>,
    /// How often it was tried.
    pub attempts: u32,
    /// What the last attempt died of.
    pub error: String,
    /// When it was given up, in milliseconds since 1970 by the clock of the process.
    pub at_ms: u64,
}

impl DeadLetter {
    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        Self::size_of(&self.kind, &self.payload, &self.error)
    }

    /// That of one that is made of these.
    pub(crate) fn size_of(kind: &str, payload: &Payload<'_>, error: &str) -> usize {
        kind.len() + payload.bytes().len() + error.len()
    }
}

/// A message on its way to another actor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OutgoingMessage {
    pub(crate) number: u64,
    pub(crate) to: ActorId,
    /// [`ON_A_LINE`], or the id under which it arrives: what goes to an instance, and what versions
    /// before 5 sent.
    pub(crate) id: MessageId,
    pub(crate) kind: String,
    #[serde(deserialize_with = "owned")]
    pub(crate) payload: Payload<'static>,
}

/// The id of a message that has its number on a [line](crate::lines) instead.
pub(crate) const ON_A_LINE: MessageId = MessageId::nil();

/// An entry of the dedup window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordedOutcome {
    pub(crate) id: MessageId,
    /// By the journal's clock.
    pub(crate) at_ms: u64,
    pub(crate) outcome: Outcome,
    /// Since version 3.
    pub(crate) fingerprint: Option<u64>,
}

/// How the handling of a message ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Outcome {
    /// It was processed, and this is the reply.
    Processed(#[serde(deserialize_with = "owned")] Payload<'static>),
    /// It was given up; it is a dead letter.
    Failed {
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt died of: its beginning, or nothing, if there was no more room for it
        /// ([`Limits::dedup_bytes`](crate::Limits::dedup_bytes),
        /// [`dedup_count`](crate::Limits::dedup_count)).
        error: String,
    },
    /// It was processed; there was no more room for its reply
    /// ([`Limits::dedup_bytes`](crate::Limits::dedup_bytes),
    /// [`dedup_count`](crate::Limits::dedup_count)).
    AlreadyProcessed,
}

impl Outcome {
    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Processed(reply) => reply.bytes().len(),
            Self::Failed { error, .. } => error.len(),
            Self::AlreadyProcessed => 0,
        }
    }

    pub(crate) fn is_shrunk(&self) -> bool {
        match self {
            Self::Processed(_) => false,
            Self::Failed { error, .. } => error.is_empty(),
            Self::AlreadyProcessed => true,
        }
    }

    /// What is left of it when there is no room: what happened, not what was said.
    pub(crate) fn shrink(&mut self) {
        match self {
            Self::Failed { error, .. } => *error = String::new(),
            _ => *self = Self::AlreadyProcessed,
        }
    }
}

impl ActorRecord {
    /// Whether a message with this id waits.
    pub(crate) fn is_pending(&self, id: MessageId) -> bool {
        self.pending.iter().any(|message| message.key.id() == Some(id))
    }

    /// What is recorded under this id, if it is in memory.
    pub(crate) fn recorded(&self, id: MessageId) -> Option<&RecordedOutcome> {
        let newest_first = self.window.iter().rev().chain(self.generated.iter().rev());
        let mut newest_first = newest_first.chain(self.transient.recorded.iter().rev());
        newest_first.find(|entry| entry.id == id).or_else(|| self.aged.unsaved(id))
    }

    /// The outcome that is recorded under this id, if it is in memory.
    pub(crate) fn outcome(&self, id: MessageId) -> Option<&Outcome> {
        self.recorded(id).map(|entry| &entry.outcome)
    }
}

pub(crate) fn owned<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Payload<'static>, D::Error> {
    Payload::deserialize(deserializer).map(Payload::into_owned)
}

fn owned_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Payload<'static>>, D::Error> {
    Option::<Payload<'de>>::deserialize(deserializer)
        .map(|payload| payload.map(Payload::into_owned))
}
