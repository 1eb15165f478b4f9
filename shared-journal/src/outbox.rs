//! The outbox: what a handler sends, as part of its commit.
//!
//! A handler puts messages into the [`Outbox`]; the [mailbox](crate::mailbox) writes them with the
//! run that they belong to. So a message is sent if, and only if, the state after its handler is
//! durable: a handler that panics has sent nothing. After the commit a relay sends it on, at least
//! once and under one id, and writes that it arrived. Everything goes to an address of an actor;
//! duroxide's instances have addresses too ([`workflow`](crate::workflow)). What an actor sends to itself
//! later, a [timer](crate::timer), stays in its record until it is due.
//!
//! Not everything in it is a handler's: intervals, streams and messages that are not durable send as
//! well. Each message has its [`Origin`], and only what handlers of the run put there is taken back
//! with them.
//!
//! The idea is the [transactional outbox].
//!
//! [transactional outbox]: https://microservices.io/patterns/data/transactional-outbox.html

mod error;
mod schedule;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedSender;

pub use self::error::OutboxError;
use crate::codec::{Codec, Payload};
use crate::id::{ActorId, ActorNo, MessageId, MessageKey};
use crate::record::OutgoingMessage;
use crate::timers::Timer;
use crate::undelivered::Undelivered;

/// What an entry takes besides its payload and names.
const ENTRY_BYTES: usize = 64;

/// What one actor sends. Adapters get it from [`Mailbox::outbox`](crate::Mailbox::outbox) and give
/// their contexts methods on top of it. Cloning is cheap, and gives the same outbox.
#[derive(Debug, Clone)]
pub struct Outbox {
    shared: Arc<Shared>,
    /// Of what is put there while no handler is known to run.
    origin: Origin,
}

/// How much of an actor may be on its way, and how much is.
#[derive(Debug)]
struct Bound {
    limit: usize,
    undelivered: Arc<Undelivered>,
}

/// Where something that an actor sends comes from: the call of a handler, or, by default, code
/// that is no durable handler's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin(u64);

impl Origin {
    /// Whether it comes from a handler.
    #[must_use]
    pub fn is_handler(self) -> bool {
        self.0 > 0
    }
}

#[derive(Debug)]
struct Shared {
    actor: ActorId,
    /// Of the journal's opening: a journal that is restored from a copy gives numbers again.
    incarnation: MessageId,
    codec: Codec,
    /// Of a message, in bytes.
    limit: usize,
    /// Somebody sends on what is written.
    relayed: bool,
    /// It has no record: its sender is an orchestration.
    is_of_orchestration: bool,
    /// What is sent is decoded and encoded again.
    checked: bool,
    /// How much may be on its way.
    bound: Option<Bound>,
    /// About how much is in it, readable without the lock.
    bytes: AtomicUsize,
    /// Handlers that began.
    handlers: AtomicU64,
    /// The first handler of the run.
    run: AtomicU64,
    /// The handler whose code runs now; none: 0.
    running: AtomicU64,
    /// The handler that is not done; none: 0.
    in_progress: AtomicU64,
    open: Mutex<Open>,
}

#[derive(Debug)]
struct Open {
    /// The number of the last message. What is taken back has never been.
    last: u64,
    put: Vec<(Origin, Put)>,
}

/// What is put into an outbox.
#[derive(Debug)]
pub(crate) enum Put {
    Message(OutgoingMessage),
    /// Under its number.
    Timer(u64, Timer),
    /// Cancels the timer `of`.
    Cancel {
        number: u64,
        of: u64,
    },
}

impl Put {
    fn number(&self) -> u64 {
        match self {
            Self::Message(OutgoingMessage { number, .. })
            | Self::Timer(number, _)
            | Self::Cancel { number, .. } => *number,
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Message(message) => size_of(message),
            Self::Timer(_, timer) => timer.size(),
            // So that something is in the outbox; it does not stay.
            Self::Cancel { .. } => 1,
        }
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
        let open = Mutex::new(Open { last, put: Vec::new() });
        let shared = Shared {
            actor,
            incarnation: MessageId::random(),
            codec,
            limit,
            relayed,
            is_of_orchestration: false,
            checked: false,
            bound: None,
            bytes: AtomicUsize::new(0),
            handlers: AtomicU64::new(0),
            run: AtomicU64::new(1),
            running: AtomicU64::new(0),
            in_progress: AtomicU64::new(0),
            open,
        };
        Self { shared: Arc::new(shared), origin: Origin::default() }
    }

    /// Of an opening that may have others. For one that is new.
    pub(crate) fn of_incarnation(self, incarnation: MessageId) -> Self {
        self.with(|shared| shared.incarnation = incarnation)
    }

    /// In which nothing more is put while so many bytes have not arrived. For one that is new.
    pub(crate) fn bounded(self, limit: usize, undelivered: Arc<Undelivered>) -> Self {
        self.with(|shared| shared.bound = Some(Bound { limit, undelivered }))
    }

    /// Of an actor that is an orchestration, and has no record. For one that is new.
    pub(crate) fn of_orchestration(self) -> Self {
        self.with(|shared| shared.is_of_orchestration = true)
    }

    /// With [checks](crate::EventJournalBuilder::check_values) or without. For one that is new.
    pub(crate) fn checked(self, checked: bool) -> Self {
        self.with(|shared| shared.checked = checked)
    }

    fn with(mut self, change: impl FnOnce(&mut Shared)) -> Self {
        // Nobody else has it yet.
        Arc::get_mut(&mut self.shared).map(change);
        self
    }

    /// The handler of a message begins: what is sent now is its, until it [ends](Self::end).
    pub(crate) fn begin(&self) {
        // Nobody else counts.
        let handler = self.shared.handlers.load(Ordering::Relaxed) + 1;
        self.shared.handlers.store(handler, Ordering::Relaxed);
        self.shared.running.store(handler, Ordering::Relaxed);
    }

    /// The handler that began last is not done.
    pub(crate) fn in_progress(&self) {
        let handler = self.shared.handlers.load(Ordering::Relaxed);
        self.shared.in_progress.store(handler, Ordering::Relaxed);
    }

    /// The handler is done, one way or the other.
    pub(crate) fn end(&self) {
        self.shared.running.store(0, Ordering::Relaxed);
        self.shared.in_progress.store(0, Ordering::Relaxed);
    }

    /// Whose code runs now. For adapters, as all that is about an [`Origin`].
    #[must_use]
    pub fn running(&self) -> Origin {
        Origin(self.shared.running.load(Ordering::Relaxed))
    }

    /// Says whose code runs from now on; returns whose it was before.
    pub fn set_running(&self, origin: Origin) -> Origin {
        Origin(self.shared.running.swap(origin.0, Ordering::Relaxed))
    }

    /// The handler that is not done.
    #[must_use]
    pub fn not_done(&self) -> Origin {
        Origin(self.shared.in_progress.load(Ordering::Relaxed))
    }

    /// Whether it comes from a handler of the run: if one of those fails, it is taken back.
    #[must_use]
    pub fn is_of_run(&self, origin: Origin) -> bool {
        origin.0 >= self.shared.run.load(Ordering::Relaxed)
    }

    /// The same outbox, for code that belongs to a handler and runs later.
    #[must_use]
    pub fn of(&self, origin: Origin) -> Self {
        Self { origin, ..self.clone() }
    }

    /// The sender.
    #[must_use]
    pub fn actor(&self) -> &ActorId {
        &self.shared.actor
    }

    /// Sends a message of the type with the stable name `kind` to an actor. Messages from one actor
    /// to another arrive once and in the order of these calls, whatever dies and however long that takes:
    /// one that the receiver does not accept is sent again, and what comes after it waits.
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    pub fn tell(
        &self,
        to: &ActorId,
        kind: &str,
        message: &(impl Serialize + DeserializeOwned),
    ) -> Result<(), OutboxError> {
        let payload = self.encode(self.shared.codec, to, message)?;
        self.push(|_| Ok(Draft { to: to.clone(), kind: kind.to_owned(), payload })).map(drop)
    }

    pub(crate) fn is_of_orchestration(&self) -> bool {
        self.shared.is_of_orchestration
    }

    pub(crate) fn is_checked(&self) -> bool {
        self.shared.checked
    }

    pub(crate) fn encode<T: Serialize + DeserializeOwned>(
        &self,
        codec: Codec,
        to: &ActorId,
        message: &T,
    ) -> Result<Payload<'static>, OutboxError> {
        let encoded = Payload::encode_checked(codec, message, self.shared.checked);
        encoded.map_err(|source| OutboxError::Encode { to: to.clone(), source })
    }

    /// Sends what is drafted for a number, and returns that.
    pub(crate) fn push(
        &self,
        draft: impl FnOnce(u64) -> Result<Draft, OutboxError>,
    ) -> Result<u64, OutboxError> {
        if !self.shared.relayed {
            return Err(OutboxError::NoRelay { actor: self.actor().clone() });
        }
        self.put(|number| {
            let Draft { to, kind, payload } = draft(number)?;
            if let Some(reason) = to.invalid() {
                return Err(OutboxError::Address { to, reason });
            }
            self.check_size(&to, &payload)?;
            self.check_bound()?;
            let id = self.id(number);
            Ok(Put::Message(OutgoingMessage { number, to, id, kind, payload }))
        })
    }

    fn check_size(&self, to: &ActorId, payload: &Payload<'_>) -> Result<(), OutboxError> {
        let (size, limit) = (payload.bytes().len(), self.shared.limit);
        if size <= limit {
            return Ok(());
        }
        Err(OutboxError::TooLarge { to: to.clone(), size, limit })
    }

    /// Puts in what is made for the next number, and returns that.
    fn put(&self, make: impl FnOnce(u64) -> Result<Put, OutboxError>) -> Result<u64, OutboxError> {
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.last + 1;
        let put = make(number)?;
        self.shared.bytes.fetch_add(put.size(), Ordering::Relaxed);
        let running = self.running();
        open.last = number;
        open.put.push((if running.is_handler() { running } else { self.origin }, put));
        Ok(number)
    }

    fn check_bound(&self) -> Result<(), OutboxError> {
        let Some(Bound { limit, undelivered }) = &self.shared.bound else { return Ok(()) };
        let size = undelivered.bytes() + self.bytes();
        if size < *limit {
            return Ok(());
        }
        Err(OutboxError::Full { actor: self.shared.actor.clone(), size, limit: *limit })
    }

    /// The id of the message with this number.
    pub(crate) fn id(&self, number: u64) -> MessageId {
        MessageId::from_key(&format!("outbox/{}/{number}", self.sender()))
    }

    /// The actor, in this opening of its journal. Its numbers are never given again.
    pub(crate) fn sender(&self) -> String {
        format!("{}#{}", self.shared.actor.path(), self.shared.incarnation)
    }

    /// How many messages wait for the end of the run.
    #[must_use]
    pub fn len(&self) -> usize {
        if self.is_empty() {
            return 0;
        }
        self.shared.open.lock().unwrap_or_else(PoisonError::into_inner).put.len()
    }

    /// Whether nothing waits for the end of the run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// Takes the messages after the first `len` back: their handler failed. What did not come from
    /// a handler stays.
    pub fn truncate(&self, len: usize) {
        if self.is_empty() {
            return;
        }
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        let Open { last, put } = &mut *open;
        let before = put.get(len).map_or(*last, |(_, first)| first.number() - 1);
        let mut index = 0;
        put.retain(|(origin, _)| {
            index += 1;
            index <= len || !self.is_of_run(*origin)
        });
        // As after a crash: whether the handler ran once or twice does not show in what is sent
        // next, unless something that stays has a later number.
        *last = put.get(len..).and_then(<[_]>::last).map_or(before, |(_, kept)| kept.number());
        let bytes = put.iter().map(|(_, put)| put.size()).sum();
        self.shared.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Takes back what the handlers of the run sent.
    pub(crate) fn take_back(&self) {
        self.truncate(0);
    }

    /// About how many bytes wait for the end of the run.
    pub(crate) fn bytes(&self) -> usize {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Takes what is to be written: the run ends.
    pub(crate) fn take(&self) -> Vec<Put> {
        let next = self.shared.handlers.load(Ordering::Relaxed) + 1;
        self.shared.run.store(next, Ordering::Relaxed);
        if self.is_empty() {
            return Vec::new();
        }
        let mut open = self.shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.bytes.store(0, Ordering::Relaxed);
        if let Some(Bound { undelivered, .. }) = &self.shared.bound {
            let stays = open.put.iter().filter(|(_, put)| !matches!(put, Put::Cancel { .. }));
            undelivered.sent(stays.map(|(_, put)| put.size()).sum());
        }
        std::mem::take(&mut open.put).into_iter().map(|(_, put)| put).collect()
    }
}

/// A message to be sent.
pub(crate) struct Draft {
    pub(crate) to: ActorId,
    pub(crate) kind: String,
    pub(crate) payload: Payload<'static>,
}

pub(crate) fn size_of(message: &OutgoingMessage) -> usize {
    message.payload.bytes().len() + message.kind.len() + ENTRY_BYTES
}

/// A message that has left the outbox, and the key under which it arrives.
#[derive(Debug)]
pub(crate) struct Addressed {
    pub(crate) key: MessageKey,
    pub(crate) message: OutgoingMessage,
}

/// What is written of an outbox.
#[derive(Debug)]
pub(crate) enum Written {
    Message(Addressed),
    Timer(u64, Timer),
    Cancelled(u64),
}

/// What one actor has sent, durably.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) no: ActorNo,
    pub(crate) messages: Vec<Addressed>,
    pub(crate) undelivered: Arc<Undelivered>,
}

/// The way to the relay.
pub(crate) type Relay = UnboundedSender<Sent>;

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox() -> Outbox {
        Outbox::new(ActorId::new("a", "1"), Codec::Json, 100, true, 7)
    }

    fn tell(outbox: &Outbox) {
        outbox.tell(&ActorId::new("b", "1"), "note", &0).unwrap();
    }

    fn numbers(outbox: &Outbox) -> Vec<u64> {
        outbox.take().iter().map(Put::number).collect()
    }

    #[test]
    fn only_what_handlers_of_the_run_sent_is_taken_back() {
        let outbox = outbox();
        tell(&outbox);
        outbox.begin();
        tell(&outbox);
        outbox.end();
        tell(&outbox);
        outbox.begin();
        tell(&outbox);
        outbox.end();
        outbox.take_back();
        tell(&outbox);
        // 11 was the last, and was taken back.
        assert_eq!(numbers(&outbox), [8, 10, 11]);
    }

    #[test]
    fn a_number_behind_which_something_stays_is_not_used_again() {
        let outbox = outbox();
        outbox.begin();
        tell(&outbox);
        outbox.end();
        tell(&outbox);
        outbox.take_back();
        tell(&outbox);
        assert_eq!(numbers(&outbox), [9, 10]);
    }

    #[test]
    fn a_handler_of_an_earlier_run_is_not_of_this_one() {
        let outbox = outbox();
        outbox.begin();
        let origin = outbox.running();
        outbox.end();
        assert!(outbox.is_of_run(origin));
        assert!(numbers(&outbox).is_empty());
        assert!(!outbox.is_of_run(origin));
        tell(&outbox.of(origin));
        outbox.take_back();
        assert_eq!(numbers(&outbox), [8]);
    }

    #[test]
    fn what_runs_later_for_a_handler_is_taken_back_with_it() {
        let outbox = outbox();
        outbox.begin();
        let later = outbox.of(outbox.running());
        outbox.in_progress();
        outbox.set_running(Origin::default());
        tell(&later);
        tell(&outbox);
        outbox.take_back();
        assert_eq!(numbers(&outbox), [9]);
    }
}
