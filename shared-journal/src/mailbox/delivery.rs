//! A message in the mailbox, and its fate.

use std::borrow::Cow;
use std::sync::Arc;

use tokio::sync::oneshot;

use super::duplicates::Follower;
use crate::codec::Payload;
use crate::error::JournalError;
use crate::id::{MessageId, MessageKey, Sequence};
use crate::record::Outcome;

/// What is encoded when a message is accepted.
pub const MESSAGE: &str = "the message";
/// What is encoded when a handler has answered.
pub const REPLY: &str = "the reply";

/// Told when a message's receipt is durable, or that nobody knows.
pub type Acknowledge = oneshot::Sender<Result<(), Arc<JournalError>>>;

/// The adapter's side of a message: who waits for its reply.
pub trait Work: Send + 'static {
    /// Called once, when the fate of the message is known. It runs in a task of the tokio runtime
    /// that drove the actor, or on a thread of the journal where there is none (any more), so
    /// it must be quick and must not block.
    fn resolve(self, resolution: Resolution);
}

/// The fate of a message.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Resolution {
    /// Processed, and durable: the reply may be released.
    Processed,
    /// Given up, and durable: it is a dead letter.
    Failed {
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt died of.
        error: Arc<str>,
    },
    /// The journal stopped before the message's commit was durable. Whether it will be handled is
    /// not known; ask again with the same id.
    Unknown(Arc<JournalError>),
    /// A message under its id was received before; this is what became of that one, durably.
    Recorded(Outcome),
    /// Another message was received under its id. This one is not handled.
    IdReused,
    /// It was not received, and is not handled: [`JournalError::DeadLettersFull`].
    Refused(Arc<JournalError>),
}

/// A message in the mailbox.
#[derive(Debug)]
pub struct Delivery<W> {
    /// The adapter's side. `None` for a message that an earlier process received.
    pub work: Option<W>,
    pub(super) sequence: Sequence,
    pub(super) key: MessageKey,
    pub(super) kind: Cow<'static, str>,
    pub(super) payload: Payload<'static>,
    pub(super) acknowledge: Option<Acknowledge>,
    /// Its duplicates.
    pub(super) followers: Vec<Follower<W>>,
    /// What it is about, if its sender chose an id.
    pub(super) fingerprint: Option<u64>,
    /// The receipt was submitted already.
    pub(super) receipt: bool,
    /// How many attempts failed.
    pub(super) attempts: u32,
    /// It failed before, or may have: handled in a run of its own.
    pub(super) alone: bool,
    /// That it is about to be handled is written, or need not be: if the process dies, its receipt
    /// is not durable.
    pub(super) begun: bool,
    /// The attempt that runs is counted in the journal.
    pub(super) counted: bool,
}

impl<W> Delivery<W> {
    /// One without anybody who waits for it.
    pub(super) fn new(
        sequence: Sequence,
        key: MessageKey,
        kind: Cow<'static, str>,
        payload: Payload<'static>,
    ) -> Self {
        Self {
            work: None,
            sequence,
            key,
            kind,
            payload,
            acknowledge: None,
            followers: Vec::new(),
            fingerprint: None,
            receipt: false,
            attempts: 0,
            alone: false,
            begun: true,
            counted: false,
        }
    }

    /// The stable name of the message's type.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The encoded message.
    #[must_use]
    pub fn payload(&self) -> &Payload<'static> {
        &self.payload
    }

    /// The id of the message, if it has one.
    #[must_use]
    pub fn id(&self) -> Option<MessageId> {
        self.key.id()
    }

    /// Its place in the actor's receipt order.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// How many attempts to handle it have failed so far, in this process and in earlier ones.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }
}

impl<W: Work> Delivery<W> {
    /// The commit with its end, `result`, has its fate: says so to all who wait for it.
    pub(super) fn resolve(
        self,
        fate: &Result<(), Arc<JournalError>>,
        result: &Result<Payload<'static>, Arc<str>>,
    ) {
        if let Some(acknowledge) = self.acknowledge {
            let _ = acknowledge.send(fate.clone());
        }
        let attempts = self.attempts;
        for follower in self.followers {
            follower.resolve(fate.clone().map(|()| match result {
                Ok(reply) => Outcome::Processed(reply.clone()),
                Err(error) => Outcome::Failed { attempts, error: error.to_string() },
            }));
        }
        let Some(work) = self.work else { return };
        work.resolve(match (fate, result) {
            (Ok(()), Ok(_)) => Resolution::Processed,
            (Ok(()), Err(error)) => Resolution::Failed { attempts, error: error.clone() },
            (Err(error), _) => Resolution::Unknown(error.clone()),
        });
    }
}
