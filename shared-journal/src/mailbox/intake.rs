//! The mailbox itself, and how messages get into it.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use rustc_hash::FxHashSet;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::arrivals::{Arrival, Arrivals};
use super::attempts::Counting;
use super::delivery::{Acknowledge, Delivery, MESSAGE, REPLY, Resolution, Work};
use super::duplicates::Follower;
use super::run::Handled;
use super::steps::Steps;
use super::told::Told;
use super::waiting::Waiting;
use crate::codec::{Codec, CodecError, Payload};
use crate::engine::Engine;
use crate::error::{JournalError, Place};
use crate::id::{ActorId, MessageKey, Sequence};
use crate::ids::Seen;
use crate::outbox::Outbox;
use crate::record::{PendingMessage, RecordedStep};
use crate::reopen::Door;
use crate::sabotage::sabotaged;
use crate::session::Session;

/// The durable mailbox of one running actor. See the [module](crate::mailbox).
pub struct Mailbox<W: Work> {
    pub(super) session: Session,
    pub(super) door: Arc<Door>,
    pub(super) outbox: Outbox,
    pub(super) steps: Steps,
    pub(super) queue: Waiting<W>,
    pub(super) run: Vec<Handled<W>>,
    /// Bytes of messages and replies in the run.
    pub(super) run_bytes: usize,
    /// The message whose handler is not done.
    pub(super) in_progress: Option<Box<Delivery<W>>>,
    /// Kinds of messages whose handlers were once not done at once. They begin a run of their
    /// own, so that nobody's reply waits for them.
    pub(super) slow: FxHashSet<Cow<'static, str>>,
    /// The last dead letter that was received again.
    pub(super) letters_through: Sequence,
    /// The attempt that is being counted.
    pub(super) counting: Option<Arc<Counting>>,
    /// The task that is woken from outside.
    pub(super) listening: Option<Waker>,
    /// If the adapter answers a close.
    pub(super) answers_closing: bool,
    /// Lines about attempts that failed, and about messages that were given up.
    pub(super) told_failed: Told,
    pub(super) told_given_up: Told,
    /// What waits to be taken in.
    pub(super) arrivals: Arrivals<W>,
}

impl<W: Work> std::fmt::Debug for Mailbox<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox")
            .field("actor", self.session.actor())
            .field("queued", &self.queue.len())
            .field("in_run", &self.run.len())
            .field("in_progress", &self.in_progress.is_some())
            .finish_non_exhaustive()
    }
}

impl<W: Work> Mailbox<W> {
    /// Loads an actor and reserves it.
    pub(crate) async fn activate(
        door: &Arc<Door>,
        engine: Arc<Engine>,
        actor: &ActorId,
    ) -> Result<Self, JournalError> {
        let mut activation = engine.activate(actor.clone()).await?;
        let pending = std::mem::take(&mut activation.pending);
        let steps = std::mem::take(&mut activation.steps);
        metrics::gauge!("journal_active_actors").increment(1.0);
        let session = Session::new(engine, actor.clone(), activation, &pending);
        Ok(Self::new(door.clone(), session, pending, steps))
    }

    fn new(
        door: Arc<Door>,
        session: Session,
        mut pending: Vec<PendingMessage>,
        steps: Vec<RecordedStep>,
    ) -> Self {
        if sabotaged("sabotage-pending-order") {
            pending.reverse();
        }
        let queue = pending
            .into_iter()
            .map(
                |PendingMessage { sequence, key, kind, payload, attempts, fingerprint, .. }| {
                    Delivery {
                        fingerprint,
                        receipt: true,
                        attempts: attempts.unwrap_or(0),
                        alone: attempts.is_some(),
                        begun: false,
                        ..Delivery::new(sequence, key, Cow::Owned(kind), payload)
                    }
                },
            )
            .collect();
        let outbox = session.outbox();
        let steps = Steps::new(&session, steps);
        Self {
            session,
            door,
            outbox,
            steps,
            queue,
            run: Vec::new(),
            run_bytes: 0,
            in_progress: None,
            slow: FxHashSet::default(),
            letters_through: Sequence(0),
            counting: None,
            listening: None,
            answers_closing: false,
            told_failed: Told::default(),
            told_given_up: Told::default(),
            arrivals: Arrivals::default(),
        }
    }

    /// The actor.
    #[must_use]
    pub fn actor(&self) -> &ActorId {
        self.session.actor()
    }

    /// What the actor sends. It is written with the run in which it is put there; what a handler
    /// put there is taken back when that handler panics.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The side effects of the message that is being handled.
    #[must_use]
    pub fn steps(&self) -> &Steps {
        &self.steps
    }

    /// The codec for messages and replies.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.session.engine().shared().codec
    }

    /// The state as it was last captured: what the actor starts with, and what it goes back to
    /// after a panic. None for an actor that never ran.
    #[must_use]
    pub fn state(&self) -> Option<&Payload<'static>> {
        self.session.state()
    }

    /// Where the actor's history stood when it was activated, for error messages.
    #[must_use]
    pub fn place(&self) -> Place {
        self.session.place()
    }

    /// Messages that wait, not counting the one in progress.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len() + self.arrivals.len()
    }

    /// Whether no message waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a message waits for its turn. If not, and the mailbox is not empty, the journal is being
    /// asked whether it knows what waits: see [`poll_news`](Self::poll_news).
    #[must_use]
    pub fn has_next(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether a handler is not done yet.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.in_progress.is_some()
    }

    /// The messages that wait for their turn, in their order. Right after activation these are the
    /// ones that an earlier process received: the adapter checks that it knows their types before it
    /// starts the actor ([`require_known`](Self::require_known)). One that does not decode at its turn
    /// is [given up](Self::give_up).
    pub fn queued(&self) -> impl Iterator<Item = &Delivery<W>> {
        self.queue.iter()
    }

    /// The error for a message whose type the actor does not list.
    #[must_use]
    pub fn unknown(&self, delivery: &Delivery<W>) -> JournalError {
        JournalError::UnknownMessage {
            place: self.session.place().message(delivery.sequence),
            kind: delivery.kind.clone().into_owned(),
        }
    }

    /// The error for a message that does not decode.
    #[must_use]
    pub fn undecodable(&self, delivery: &Delivery<W>, source: CodecError) -> JournalError {
        JournalError::Decode {
            place: self.session.place().message(delivery.sequence),
            what: format!("message of type {}", delivery.kind),
            source,
        }
    }

    /// Whether every waiting message can be decoded, by the names of their types.
    ///
    /// # Errors
    /// [`JournalError::UnknownMessage`] for the first kind that `known` denies.
    pub fn require_known(&self, known: impl Fn(&str) -> bool) -> Result<(), JournalError> {
        match self.queued().find(|delivery| !known(&delivery.kind)) {
            None => Ok(()),
            Some(delivery) => Err(self.unknown(delivery)),
        }
    }

    /// Whether the actor may take its next message; false while too much waits for the disk, or
    /// while that it is about to be handled is being written.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.counting.as_ref().is_none_or(|counting| counting.is_done())
            && self.session.engine().shared().queue.has_room()
    }

    /// Waits until the actor may take its next message, or the journal has ended. Cancel-safe.
    pub fn ready(&self) -> impl Future<Output = ()> + Send + 'static {
        let (counting, shared) = (self.counting.clone(), self.session.engine().shared().clone());
        async move {
            if let Some(counting) = counting {
                counting.wait().await;
            }
            shared.queue.room().await;
        }
    }

    /// Whether what waits, and what is handled, has less than
    /// [`Limits::pending_bytes`](crate::Limits::pending_bytes), and whether with the actor's state there is
    /// room for one message more in a row of the store. If not, take no more for now.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let limits = &self.session.engine().shared().limits;
        let in_progress = self.in_progress.as_ref().map_or(0, |delivery| delivery.size());
        let waiting = self.queue.bytes() + self.arrivals.bytes() + in_progress;
        // If nothing waits there will not be more room: what does not fit is refused.
        waiting < limits.pending_bytes.max(1)
            && (waiting == 0 || self.check_room(limits.message_bytes).is_ok())
    }

    /// Whether a message under this key may be taken. Ask before [`accept`](Self::accept), but not
    /// for what the actor sends to itself: that is not to be lost.
    ///
    /// # Errors
    /// [`JournalError::DeadLettersFull`]: nothing new, until dead letters are sent again or
    /// discarded. What was received before is no new message.
    pub fn check_dead_letters(&self, key: impl Into<MessageKey>) -> Result<(), JournalError> {
        self.session.check_dead(key.into())
    }

    /// Whether somebody has stopped the actor by hand ([`Repair::stop`](crate::Repair::stop)), with the
    /// error that says who and why: the adapter ends the actor, as if the journal had stopped.
    #[must_use]
    pub fn asked_to_stop(&self) -> Option<Arc<JournalError>> {
        self.session.halt().asked().cloned()
    }

    /// Ready with an error when somebody has stopped the actor ([`asked_to_stop`](Self::asked_to_stop)) or
    /// the journal has stopped, and without one when messages were taken in that had to wait for an answer
    /// of the journal, or one that waited was given up by hand ([`Repair::give_up`](crate::Repair::give_up)):
    /// go on with [`next`](Self::next). Registers the task, the last one to ask. An adapter that does not
    /// call this wherever it waits cannot be asked to stop, its messages may wait for ever, and so may whoever
    /// wants one of them given up.
    pub fn poll_news(&mut self, cx: &Context<'_>) -> Poll<Result<(), Arc<JournalError>>> {
        self.listen(cx);
        if let Some(reason) = self.asked_to_stop() {
            return Poll::Ready(Err(reason));
        }
        match self.do_by_hand() {
            Ok(false) => self.poll_arrivals(cx),
            Ok(true) => Poll::Ready(Ok(())),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Makes this the task that is woken from outside.
    pub(super) fn listen(&mut self, cx: &Context<'_>) {
        if self.listening.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            return;
        }
        self.session.halt().listen(cx.waker());
        self.listening = Some(cx.waker().clone());
    }

    /// Encodes [`MESSAGE`] or [`REPLY`] and checks its size: the last moment at which a message can
    /// be refused.
    ///
    /// # Errors
    /// [`JournalError::Encode`], [`JournalError::TooLarge`].
    pub fn encode<T: Serialize + DeserializeOwned>(
        &self,
        what: &'static str,
        value: &T,
    ) -> Result<Payload<'static>, JournalError> {
        let checks = self.checks_values();
        self.encode_with(what, |codec| Payload::encode_checked(codec, value, checks))
    }

    /// Whether handlers get messages, and callers replies, as they were decoded
    /// ([`check_values`](crate::EventJournalBuilder::check_values)). What was encoded elsewhere the
    /// adapter [verifies](Payload::verify_as).
    #[must_use]
    pub fn checks_values(&self) -> bool {
        self.session.engine().shared().checks_values
    }

    /// As [`encode`](Self::encode), for a value that only the caller can encode.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_with(
        &self,
        what: &'static str,
        encode: impl FnOnce(Codec) -> Result<Payload<'static>, CodecError>,
    ) -> Result<Payload<'static>, JournalError> {
        let payload = encode(self.codec()).map_err(|source| JournalError::Encode {
            actor: self.actor().clone(),
            what,
            source,
        })?;
        let limits = &self.session.engine().shared().limits;
        let limit = if what == MESSAGE { limits.message_bytes } else { limits.reply_bytes };
        let size = payload.bytes().len();
        if size > limit && !sabotaged("sabotage-reply-limit") {
            return Err(JournalError::TooLarge { actor: self.actor().clone(), what, size, limit });
        }
        Ok(payload)
    }

    /// Checks the size of a reply that was encoded elsewhere.
    ///
    /// # Errors
    /// [`JournalError::TooLarge`].
    pub fn check_reply(&self, reply: Payload<'static>) -> Result<Payload<'static>, JournalError> {
        self.encode_with(REPLY, |_| Ok(reply))
    }

    /// Puts a message at the end of the mailbox. It is acknowledged, if asked for, when its
    /// receipt is durable. `fingerprint` says what a message with an id of its sender's is about
    /// ([`fingerprint`](super::fingerprint)).
    ///
    /// If only the journal can say whether it knows the id, the message waits for the answer, and what comes
    /// behind it too ([`poll_news`](Self::poll_news)).
    ///
    /// One whose id was received before does not wait for a turn: when its first is done, it is
    /// resolved with what became of that, [`Resolution::Recorded`]. With another message under the id
    /// it is [`Resolution::IdReused`], at once. One that is new, and for which there is no room in a row of
    /// the store, is [`Resolution::Refused`].
    ///
    /// # Errors
    /// The journal has stopped.
    pub fn accept(
        &mut self,
        key: impl Into<MessageKey>,
        kind: &'static str,
        payload: Payload<'static>,
        fingerprint: Option<u64>,
        work: W,
        acknowledge: Option<Acknowledge>,
    ) -> Result<(), Arc<JournalError>> {
        let key = key.into();
        self.arrive(Arrival { work, key, kind, payload, fingerprint, acknowledge })
    }

    /// As [`accept`](Self::accept), for what the actor sends to itself: it does not wait behind what others
    /// have sent.
    ///
    /// # Errors
    /// The journal has stopped. [`JournalError::TooLarge`], if there is no room in a row of the store: then
    /// the actor must stop, and what made it send that is handled again.
    pub fn accept_own(
        &mut self,
        kind: &'static str,
        payload: Payload<'static>,
        work: W,
    ) -> Result<(), Arc<JournalError>> {
        let (key, fingerprint, acknowledge) = (MessageKey::Anonymous, None, None);
        self.check_room(payload.bytes().len())?;
        self.admit(Arrival { work, key, kind, payload, fingerprint, acknowledge })
    }

    /// Gives a message its place in the receipt order, unless its key is known.
    pub(super) fn admit(&mut self, arrival: Arrival<W>) -> Result<(), Arc<JournalError>> {
        let Arrival { work, key, kind, payload, fingerprint, acknowledge } = arrival;
        if let Err(error) = self.check_room(payload.bytes().len())
            && self.session.is_new(key)
        {
            work.resolve(Resolution::Refused(Arc::new(error)));
            return Ok(());
        }
        let sequence = match self.session.admit(key, fingerprint) {
            Ok(sequence) => sequence,
            Err(Seen::Known { first }) => {
                self.follow(key.id(), first, Follower { work, acknowledge });
                return Ok(());
            }
            Err(Seen::Early { missing }) => {
                let actor = self.actor().clone();
                let early = JournalError::EarlyMessage { actor, kind: kind.to_owned(), missing };
                work.resolve(Resolution::Refused(Arc::new(early)));
                return Ok(());
            }
            Err(_) => {
                work.resolve(Resolution::IdReused);
                return Ok(());
            }
        };
        self.queue.push_back(Delivery {
            work: Some(work),
            acknowledge,
            fingerprint,
            ..Delivery::new(sequence, key, Cow::Borrowed(kind), payload)
        });
        if self.is_busy() {
            self.write_receipts()?;
        }
        Ok(())
    }

    /// Waits until everything submitted so far is durable.
    ///
    /// # Errors
    /// The journal stopped before.
    pub fn flushed(
        &mut self,
    ) -> impl Future<Output = Result<(), Arc<JournalError>>> + Send + use<W> {
        let (flushed, durable) = oneshot::channel();
        self.session.when_durable(move |fate| drop(flushed.send(fate)));
        // It is answered in any case.
        async move { durable.await.unwrap_or_else(|_| Err(Arc::new(JournalError::Closed))) }
    }
}

impl<W: Work> Drop for Mailbox<W> {
    fn drop(&mut self) {
        // Whoever is left of a handler runs no more steps.
        self.steps.end();
        self.take_back_attempts();
        if self.answers_closing {
            self.session.engine().shared().closing.leave(self.session.running());
        }
        // The journal keeps what was received; what was only queued is not acknowledged, and its
        // sender sees the channel close.
        let left = self.len() + self.run.len() + usize::from(self.in_progress.is_some());
        if left > 0 {
            tracing::debug!(actor = %self.session.actor(), left, "an actor ends with messages left");
        }
        metrics::gauge!("journal_active_actors").decrement(1.0);
    }
}
