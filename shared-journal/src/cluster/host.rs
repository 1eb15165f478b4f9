//! What an adapter does for a node: it runs actors.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

#[cfg(feature = "test-util")]
use super::error::SendError;
use super::node::Cluster;
use crate::codec::Payload;
use crate::error::JournalError;
#[cfg(feature = "test-util")]
use crate::id::MessageId;
use crate::id::MessageKey;
use crate::journal::EventJournal;
use crate::mailbox::Acknowledge;
use crate::types::Types;

/// Runs the actors of one type on a node. Adapters implement it; applications get one from
/// duroxide-actix or duroxide-tower.
#[async_trait]
pub trait Host: Send + Sync + 'static {
    /// The type of the actors.
    fn actor_type(&self) -> &'static str;

    /// Whether its actors write receipts to the journal. What is sent to those that do not stays in
    /// the inbox of their shard until they have answered, even if they are on the sender's node.
    fn has_receipts(&self) -> bool {
        true
    }

    /// Whether a sender that is on no node waits for the outcome of its message. If not, a message that its actor
    /// refuses stays in the inbox, as one that is told.
    fn awaits(&self, _to: &str) -> bool {
        true
    }

    /// Brings the outcome of a message to its sender that is on no node: an instance of duroxide. `to` says which, as
    /// the letter did. Returns when the letter may go. False: it stays, for the next owner of its shard.
    ///
    /// Dropping the future brings nothing, or what is under way.
    async fn reply(&self, _to: &str, _outcome: &Delivered) -> bool {
        true
    }

    /// The node has joined.
    fn joined(&self, _cluster: &Cluster) {}

    /// The types of its actors, their messages and their replies, as far as they are known: the kit for
    /// tests tells sets from lists by them. Those that it does not have are compared as lists.
    fn types(&self) -> Types {
        Types::new()
    }

    /// Starts an actor in the journal of its shard, with the state it had.
    ///
    /// # Errors
    /// As [`EventJournal::activate`]; a state that does not decode, a pending message of an unknown type.
    async fn start(
        &self,
        journal: &EventJournal,
        id: &str,
    ) -> Result<Box<dyn Hosted>, Arc<JournalError>>;
}

/// An actor that runs. It leaves memory when this is dropped, after what was delivered is handled.
#[async_trait]
pub trait Hosted: Send + 'static {
    /// Puts a message into the actor's mailbox, when there is room. Messages are handled in the
    /// order of these calls.
    ///
    /// # Errors
    /// The actor has stopped; the message comes back.
    async fn deliver(&mut self, parcel: Parcel) -> Result<(), Parcel>;

    /// Whether the actor takes nothing more, as far as is known: it is started anew when one of its timers is
    /// due.
    fn has_ended(&self) -> bool {
        false
    }
}

/// A message for an actor.
#[derive(Debug)]
pub struct Parcel {
    /// Its id.
    pub key: MessageKey,
    /// The stable name of its type.
    pub kind: String,
    /// The message.
    pub payload: Payload<'static>,
    /// Told when its receipt is durable.
    pub acknowledge: Option<Acknowledge>,
    /// Told what became of it.
    pub answer: Answering,
}

/// What became of a message.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Delivered {
    /// It was handled, and that is durable.
    Processed(Payload<'static>),
    /// It was given up: it is a dead letter.
    Failed {
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt died of.
        error: Arc<str>,
    },
    /// It was received before, and there was no room to keep its reply.
    AlreadyProcessed,
    /// Its id was used before, for another message. It was not accepted.
    IdReused,
    /// It was not accepted and never can be: too large, or of a type that the actor does not know.
    Refused(Arc<str>),
    /// It stays in its inbox until its receiver takes it from there.
    Kept,
    /// The actor or its journal ended before.
    Lost(Option<Arc<JournalError>>),
}

#[cfg(feature = "test-util")]
impl Delivered {
    /// What the sender of the message gets.
    pub(crate) fn into_reply(self, id: MessageId) -> Result<Payload<'static>, SendError> {
        Err(match self {
            Self::Processed(reply) => return Ok(reply),
            Self::Failed { attempts, error } => SendError::DeadLetter { id, attempts, error },
            Self::AlreadyProcessed => SendError::AlreadyProcessed { id },
            Self::IdReused => SendError::IdReused { id },
            Self::Refused(reason) => SendError::NotAccepted { reason },
            Self::Kept => SendError::OutcomeUnknown { id, source: None },
            Self::Lost(source) => SendError::OutcomeUnknown { id, source },
        })
    }
}

/// Where the outcome of a message is awaited. Dropping it says that the message is lost.
#[derive(Debug)]
pub struct Answering(Option<Waiting>);

#[derive(Debug)]
struct Waiting {
    sender: oneshot::Sender<Answered>,
    place: Option<Place>,
    again: Option<Again>,
}

/// A message's place among those that an actor has and whose senders do not know their outcome.
pub(crate) type Place = OwnedSemaphorePermit;
/// What became of a message, and its place, to be kept until that is known.
pub(crate) type Answered = (Delivered, Option<Place>);

/// What a lane keeps of a message that its actor has: the actor may end before the message is handled.
#[derive(Debug)]
struct Again {
    number: u64,
    key: MessageKey,
    kind: String,
    payload: Payload<'static>,
    way_back: WayBack,
}

/// The way of messages back to a lane.
#[derive(Debug, Clone)]
pub(super) struct WayBack {
    pub(super) lost: UnboundedSender<(u64, Parcel)>,
    /// How many messages the actor has. One that comes back is in `lost` before it is not counted.
    pub(super) under_way: Arc<AtomicUsize>,
}

impl Parcel {
    /// If the actor ends before it is handled, it comes back to its lane with this number.
    pub(super) fn come_back(&mut self, number: u64, way_back: &WayBack) {
        let Self { key, kind, payload, answer, .. } = self;
        let Some(waiting) = &mut answer.0 else { return };
        way_back.under_way.fetch_add(1, Ordering::AcqRel);
        let (key, kind, payload) = (*key, kind.clone(), payload.clone());
        waiting.again = Some(Again { number, key, kind, payload, way_back: way_back.clone() });
    }
}

impl Answering {
    pub(crate) fn new() -> (Self, oneshot::Receiver<Answered>) {
        let (sender, receiver) = oneshot::channel();
        (Self(Some(Waiting { sender, place: None, again: None })), receiver)
    }

    pub(super) fn take_place(&mut self, place: Place) {
        if let Some(waiting) = &mut self.0 {
            waiting.place = Some(place);
        }
    }

    /// Says what became of the message.
    pub fn answer(mut self, delivered: Delivered) {
        self.settle(delivered);
    }

    fn settle(&mut self, delivered: Delivered) {
        let Some(Waiting { sender, place, again }) = self.0.take() else { return };
        let Some(Again { number, key, kind, payload, way_back }) = again else {
            // Nobody waits any more: what was done is done.
            let _ = sender.send((delivered, place));
            return;
        };
        if let Delivered::Lost(None) = delivered {
            let answer = Self(Some(Waiting { sender, place, again: None }));
            // Its receipt is known with its outcome.
            let parcel = Parcel { key, kind, payload, acknowledge: None, answer };
            // Without its lane it is lost.
            let _ = way_back.lost.send((number, parcel));
        } else {
            let _ = sender.send((delivered, place));
        }
        way_back.under_way.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.settle(Delivered::Lost(None));
    }
}
