//! The outbox: what a handler sends, as part of its commit.
//!
//! A handler puts messages into the [`Outbox`]; the [mailbox](crate::mailbox) writes them with the
//! run that they belong to. So a message is sent if, and only if, the state after its handler is
//! durable: a handler that panics has sent nothing. After the commit a relay sends it on, at least
//! once and under one id, and writes that it arrived. Everything goes to an address of an actor;
//! duroxide's instances have addresses too ([`workflow`](crate::workflow)).
//!
//! The idea is the [transactional outbox].
//!
//! [transactional outbox]: https://microservices.io/patterns/data/transactional-outbox.html

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::mpsc::UnboundedSender;

use crate::codec::{Codec, CodecError, Payload};
use crate::id::{ActorId, ActorNo, MessageId};
use crate::record::OutgoingMessage;

/// What an entry takes besides its payload and names.
const ENTRY_BYTES: usize = 64;

/// What one actor sends. Adapters get it from [`Mailbox::outbox`](crate::Mailbox::outbox) and give
/// their contexts methods on top of it. Cloning is cheap, and gives the same outbox.
#[derive(Debug, Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    actor: ActorId,
    codec: Codec,
    /// Of a message, in bytes.
    limit: usize,
    /// Somebody sends on what is written.
    relayed: bool,
    /// About how much is in it, readable without the lock.
    bytes: AtomicUsize,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    /// The number of the last message. What is taken back has never been.
    last: u64,
    messages: Vec<OutgoingMessage>,
}

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
    /// The message does not encode.
    #[error("the message to {to} does not encode")]
    Encode {
        /// The receiver.
        to: ActorId,
        /// Why not.
        source: CodecError,
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
    /// Whether the same call can succeed later: never, each is a mistake in the program.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        false
    }
}

impl Outbox {
    pub(crate) fn new(
        actor: ActorId,
        codec: Codec,
        limit: usize,
        relayed: bool,
        last: u64,
    ) -> Self {
        let open = Mutex::new(Open { last, messages: Vec::new() });
        let bytes = AtomicUsize::new(0);
        Self { shared: Arc::new(Shared { actor, codec, limit, relayed, bytes, open }) }
    }

    /// The sender.
    #[must_use]
    pub fn actor(&self) -> &ActorId {
        &self.shared.actor
    }

    /// Sends a message of the type with the stable name `kind` to an actor. Messages from one actor
    /// to another arrive in the order of these calls, unless the receiver's inbox on another node is
    /// full: what was refused then is sent again, and may come later than what was not.
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    pub fn tell(
        &self,
        to: &ActorId,
        kind: &str,
        message: &impl Serialize,
    ) -> Result<(), OutboxError> {
        let encoded = Payload::encode(self.shared.codec, message);
        let payload = encoded.map_err(|source| OutboxError::Encode { to: to.clone(), source })?;
        self.push(|_| Ok(Draft { to: to.clone(), kind: kind.to_owned(), payload })).map(drop)
    }

    /// Sends what is drafted for a number, and returns that.
    pub(crate) fn push(
        &self,
        draft: impl FnOnce(u64) -> Result<Draft, OutboxError>,
    ) -> Result<u64, OutboxError> {
        let Shared { actor, limit, .. } = &*self.shared;
        if !self.shared.relayed {
            return Err(OutboxError::NoRelay { actor: actor.clone() });
        }
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.last + 1;
        let Draft { to, kind, payload } = draft(number)?;
        if let Some(reason) = to.invalid() {
            return Err(OutboxError::Address { to, reason });
        }
        let (size, limit) = (payload.bytes().len(), *limit);
        if size > limit {
            return Err(OutboxError::TooLarge { to, size, limit });
        }
        let id = self.id(number);
        let message = OutgoingMessage { number, to, id, kind, payload };
        self.shared.bytes.fetch_add(size_of(&message), Ordering::Relaxed);
        open.last = number;
        open.messages.push(message);
        Ok(number)
    }

    /// The id of the message with this number.
    pub(crate) fn id(&self, number: u64) -> MessageId {
        MessageId::from_key(&format!("outbox/{}/{number}", self.shared.actor.path()))
    }

    /// How many messages wait for the end of the run.
    #[must_use]
    pub fn len(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).messages.len()
    }

    /// Whether nothing waits for the end of the run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Takes the messages after the first `len` back: their handler failed.
    pub fn truncate(&self, len: usize) {
        if self.is_empty() {
            return;
        }
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        // As after a crash: whether the handler ran once or twice does not show in what is sent next.
        open.last = open.messages.get(len).map_or(open.last, |first| first.number - 1);
        open.messages.truncate(len);
        self.shared.bytes.store(open.messages.iter().map(size_of).sum(), Ordering::Relaxed);
    }

    /// About how many bytes wait for the end of the run.
    pub(crate) fn bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Takes what is to be written.
    pub(crate) fn take(&self) -> Vec<OutgoingMessage> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.bytes.store(0, Ordering::Relaxed);
        std::mem::take(&mut open.messages)
    }
}

/// A message to be sent.
pub(crate) struct Draft {
    pub(crate) to: ActorId,
    pub(crate) kind: String,
    pub(crate) payload: Payload<'static>,
}

fn size_of(message: &OutgoingMessage) -> usize {
    message.payload.bytes().len() + message.kind.len() + ENTRY_BYTES
}

/// What one actor has sent, durably.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) no: ActorNo,
    pub(crate) messages: Vec<OutgoingMessage>,
}

/// The way to the relay.
pub(crate) type Relay = UnboundedSender<Sent>;
