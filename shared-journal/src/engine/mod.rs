//! The engine of one shard: a queue, a writer thread, a directory thread.
//!
//! ```text
//! actors -> Queue -> Writer -> store            (what a reply waits for)
//!                      |-> releases -> callers  (the output gate)
//!                      '-> Directory            (the durable truth in memory: recovery,
//!                                                activations, recorded replies, checkpoints)
//! ```
//!
//! The directory folds what is durable, and nothing else, with the same function that recovers a
//! shard. So a checkpoint cannot contain what a crash would undo, and starting an actor is the
//! same after a crash, after a stop and the first time.

mod alarms;
mod answer;
mod asked;
mod at_work;
mod bell;
mod checkpoint;
mod clock;
mod closing;
mod directory;
mod gate;
mod gauges;
mod halt;
mod inbox;
mod keys;
mod letters;
mod look;
mod open;
mod pace;
mod patient;
mod queue;
#[cfg(test)]
mod queue_tests;
mod recover;
mod request;
mod retry;
mod running;
mod sizes;
mod slot;
mod watch;
mod writer;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak, mpsc};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::time::timeout;

pub(crate) use self::alarms::DueTimer;
pub(crate) use self::answer::Answer;
pub(crate) use self::at_work::AtWork;
use self::clock::Clock;
pub(crate) use self::closing::Closing;
use self::gate::Gates;
pub(crate) use self::gate::{Fate, Gate, Release};
use self::gauges::Gauges;
pub(crate) use self::halt::Halt;
use self::inbox::Inbox;
pub(crate) use self::keys::{read_key, stored_key};
use self::letters::Changes;
pub(crate) use self::letters::{
    Batch, ByHand, Letters, Receiver, Wanted, read_letter, stored_letter,
};
pub(crate) use self::look::{Look, reading};
pub(crate) use self::open::Opening;
use self::open::{no_thread, spawn, start};
use self::queue::Queue;
pub(crate) use self::queue::Ticket;
pub(crate) use self::recover::{Checked, From, Scan};
pub(crate) use self::request::{Activation, Durable, Keep, Lease, Page};
use self::request::{Mail, Purpose, Request};
pub(crate) use self::retry::Retry;
pub(crate) use self::running::Running;
pub(crate) use self::slot::read_record;
use self::watch::Watch;
use crate::codec::{Codec, Payload};
use crate::envelope::push_entry;
use crate::error::{BoxError, JournalError};
use crate::event::ActorEvent;
use crate::id::{ActorId, ActorNo, Epoch, MessageId, Sequence, ShardId};
use crate::limits::Limits;
use crate::mailbox::error_text;
use crate::outbox::{Relay, Sent};
use crate::provider::{ActorProvider, CheckpointPart, RecordFilter, Write};
use crate::record::{ActorRecord, Outcome, RecordedOutcome};
use crate::recovery::Window;
use crate::reopen::Door;
use crate::undelivered::AllUndelivered;

/// What the threads of one shard share.
pub(crate) struct Shared {
    pub(crate) provider: Arc<dyn ActorProvider>,
    pub(crate) shard: ShardId,
    pub(crate) epoch: Epoch,
    pub(crate) limits: Limits,
    pub(crate) codec: Codec,
    pub(crate) queue: Queue,
    pub(crate) gates: Gates,
    pub(crate) closing: Closing,
    directory: Inbox,
    /// Where to say what was sent, if anybody sends it on.
    pub(crate) relay: OnceLock<Relay>,
    /// What is stored is decoded and encoded again.
    /// Chosen at random at each opening.
    pub(crate) incarnation: MessageId,
    pub(crate) checks_values: bool,
    /// Side effects that are not recorded do not happen.
    #[cfg(feature = "test-util")]
    pub(crate) rehearsal: OnceLock<()>,
    /// No timer fires.
    #[cfg(feature = "test-util")]
    pub(crate) rests: OnceLock<()>,
    /// Set when the shard is recovered.
    clock: OnceLock<Clock>,
    pub(crate) at_work: AtWork,
    pub(crate) watch: Watch,
    pub(crate) counters: Arc<Counters>,
    pub(crate) gauges: Gauges,
    letter_changes: Changes,
    undelivered: AllUndelivered,
    /// Whom to tell of the end.
    pub(crate) door: OnceLock<Weak<Door>>,
}

/// What [`JournalStats`](crate::JournalStats) is read from.
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) recovered_actors: AtomicU64,
    pub(crate) recovered_pending: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) dead_letters: AtomicU64,
    pub(crate) checkpoints: AtomicU64,
    pub(crate) reopenings: AtomicU64,
}

impl Shared {
    fn window(&self) -> Window {
        window(&self.limits)
    }

    /// The journal's time: see [`Clock`].
    pub(crate) fn clock_ms(&self) -> u64 {
        self.clock.get().map_or(0, Clock::now_ms)
    }

    /// Keys of before this time are forgotten.
    fn oldest_key_ms(&self) -> u64 {
        self.clock_ms().saturating_sub(self.window().age_ms)
    }

    fn store_error(&self, operation: &'static str, source: impl Into<BoxError>) -> JournalError {
        JournalError::Store {
            store: self.provider.location(),
            operation,
            retryable: false,
            source: source.into(),
        }
    }

    /// Ends the journal: nothing that is not durable by now is released.
    fn stop(&self, error: JournalError) -> Arc<JournalError> {
        let error = self.named(error);
        tracing::error!(error = error_text(&error), shard = %self.shard, "the journal has stopped");
        metrics::counter!("journal_stopped_total").increment(1);
        let stopped = Arc::new(JournalError::Stopped { source: Arc::new(error) });
        self.queue.stop(&stopped);
        if let Some(door) = self.door.get().and_then(Weak::upgrade) {
            door.has_stopped(self.epoch, &stopped);
        }
        stopped
    }

    /// What looks like damage may be the work of a newer owner, which truncates what is read here.
    fn fenced_or(&self, error: JournalError) -> JournalError {
        if !matches!(error, JournalError::Corrupt { .. }) {
            return error;
        }
        let nothing = CheckpointPart::default();
        let write = Write {
            shard: self.shard,
            epoch: self.epoch,
            append: None,
            checkpoint: Some(&nothing),
        };
        match pollster::block_on(self.provider.write(&write)) {
            Err(fenced) if fenced.is_fenced() => self.named(fenced),
            _ => error,
        }
    }

    /// Says who the newer owner is, if the store knows.
    fn named(&self, mut error: JournalError) -> JournalError {
        if let JournalError::Fenced { by: by @ None, .. } = &mut error
            && let Ok(owner) = pollster::block_on(self.provider.owner(self.shard))
        {
            *by = owner.map(Box::new);
        }
        error
    }

    pub(crate) fn count_duplicate(&self) {
        self.counters.duplicates.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("journal_duplicates_total").increment(1);
    }

    pub(crate) fn count_dead_letter(&self) {
        self.counters.dead_letters.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("journal_dead_letters_total").increment(1);
    }
}

pub(crate) fn window(limits: &Limits) -> Window {
    Window {
        count: limits.dedup_count,
        generated: limits.generated_ids(),
        bytes: limits.dedup_bytes,
        age_ms: u64::try_from(limits.dedup_age.as_millis()).unwrap_or(u64::MAX),
    }
}

/// The handle of a running shard. Dropping it ends the threads after what was submitted is
/// written.
pub(crate) struct Engine {
    shared: Arc<Shared>,
    /// The watch ends when this is dropped.
    _watched: mpsc::Sender<()>,
}

impl Engine {
    /// Becomes the owner of `shard` and recovers it.
    pub(crate) async fn open(
        provider: Arc<dyn ActorProvider>,
        shard: ShardId,
        limits: Limits,
        codec: Codec,
        opening: Opening,
    ) -> Result<Self, JournalError> {
        let (opened, outcome) = oneshot::channel();
        let runtime = tokio::runtime::Handle::try_current().ok();
        let location = provider.clone();
        let spawned = spawn("journal-directory", move || {
            // A provider may need the runtime's timers and sockets.
            let _runtime = runtime.as_ref().map(tokio::runtime::Handle::enter);
            let started = start(provider, shard, limits, codec, opening)
                .and_then(|(shared, directory)| Ok((Self::watched(shared)?, directory)));
            match started {
                Ok((engine, directory)) => {
                    // If nobody waits any more the engine is dropped, which closes the queue.
                    let _ = opened.send(Ok(engine));
                    directory.run();
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            }
        });
        spawned.map_err(|error| no_thread(&*location, error))?;
        outcome.await.map_err(|_| JournalError::Closed)?
    }

    /// A handle, and the thread that looks for handlers that take long.
    fn watched(shared: Arc<Shared>) -> Result<Self, JournalError> {
        let (watched, ended) = mpsc::channel();
        let engine = Self { shared: shared.clone(), _watched: watched };
        let slow = shared.limits.slow_handler;
        if slow < Duration::MAX {
            let watching = shared.clone();
            spawn("journal-watch", move || watching.watch.run(slow, &ended))
                .map_err(|error| no_thread(&*shared.provider, error))?;
        }
        Ok(engine)
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Loads an actor and reserves it for the caller.
    pub(crate) async fn activate(&self, actor: ActorId) -> Result<Activation, JournalError> {
        let purpose = Purpose::Run;
        self.shared.ask(|reply| Request::Activate { actor, purpose, reply }).await?
    }

    /// As [`activate`](Self::activate), of an actor that is held too.
    pub(crate) async fn activate_for_repair(
        &self,
        actor: ActorId,
    ) -> Result<Activation, JournalError> {
        let purpose = Purpose::Repair;
        self.shared.ask(|reply| Request::Activate { actor, purpose, reply }).await?
    }

    /// Looks at what is known of an actor, if it exists.
    pub(crate) async fn look<T: Send + 'static>(
        &self,
        actor: ActorId,
        look: impl FnOnce(&ActorRecord) -> T + Send + 'static,
    ) -> Result<Option<T>, JournalError> {
        let seen = self.shared.ask(|reply| Request::Look {
            actor,
            look: Box::new(move |record| {
                // If nobody waits any more, nobody is to see it.
                drop(reply.send(record.map(|record| record.map(look))));
            }),
        });
        seen.await?
    }

    /// Asks a held actor to stop, and waits until it has.
    pub(crate) async fn stop(&self, actor: ActorId) -> Result<(), JournalError> {
        self.shared.ask(|reply| Request::Stop { actor, reply }).await?
    }

    /// The outcome of a message; waits for it if the message was received and not yet processed.
    pub(crate) async fn outcome(
        &self,
        actor: ActorId,
        id: MessageId,
    ) -> Result<Option<Outcome>, JournalError> {
        self.shared.ask(|reply| Request::Outcome { actor, id, reply }).await?
    }

    /// The number of an actor, if it exists.
    pub(crate) async fn number(&self, actor: ActorId) -> Result<Option<ActorNo>, JournalError> {
        self.shared.ask(|reply| Request::Number { actor, reply }).await?
    }

    /// What an actor has sent and is not known to have arrived.
    pub(crate) async fn outbox(&self, actor: ActorId) -> Result<Option<Sent>, JournalError> {
        self.shared.ask(|reply| Request::Outbox { actor, reply }).await?
    }

    /// Writes that messages of an outbox have arrived.
    pub(crate) async fn delivered(&self, no: ActorNo, numbers: &[u64]) -> Result<(), JournalError> {
        let delivered =
            numbers.iter().map(|number| ActorEvent::MessageDelivered { number: *number });
        self.write(no, &delivered.collect::<Vec<_>>()).await
    }

    /// Writes the result of a step.
    pub(crate) async fn step(
        &self,
        no: ActorNo,
        sequence: Sequence,
        name: &str,
        result: &Payload<'static>,
    ) -> Result<(), JournalError> {
        let (step, result) = (Cow::Borrowed(name), result.as_borrowed());
        self.write(no, &[ActorEvent::StepRecorded { sequence, step, result }]).await
    }

    /// Writes events of an actor that need not be in its runs, and waits until they are durable.
    pub(crate) async fn write(
        &self,
        no: ActorNo,
        events: &[ActorEvent<'_>],
    ) -> Result<(), JournalError> {
        let outcome = self.shared.submit_events(no, events)?;
        outcome.await.map_err(|_| JournalError::Closed)?.map_err(unshare)
    }

    pub(crate) async fn list(
        &self,
        filter: RecordFilter,
        after: ActorNo,
        limit: usize,
    ) -> Result<Page, JournalError> {
        self.shared.ask(|reply| Request::List { filter, after, limit, reply }).await?
    }

    /// Makes a checkpoint and waits for its end.
    pub(crate) async fn checkpoint(&self, history: Keep) -> Result<(), JournalError> {
        self.shared.ask(|reply| Request::Checkpoint { history, reply }).await
    }

    /// Takes no more submissions and waits until everything is written.
    pub(crate) async fn close(&self) -> Result<(), JournalError> {
        self.shared.ask_actors().await;
        match self.checkpoint(Keep::Usual).await {
            // Closed before: that is what was asked for.
            Ok(()) | Err(JournalError::Closed) => {}
            Err(error) => return Err(error),
        }
        self.finish().await
    }

    /// As [`close`](Self::close), without a checkpoint, for the next owner: actors that do not end within
    /// `patience` are cut off, so that none runs here while that one runs it.
    pub(crate) async fn hand_over(&self, patience: Duration) -> Result<(), JournalError> {
        let alone = |reason| self.shared.ask(|reply| Request::Alone { reason, reply });
        let closed = Arc::new(JournalError::Closed);
        if timeout(patience, alone(None)).await.is_err()
            && timeout(patience, alone(Some(closed))).await.is_err()
        {
            tracing::warn!(
                shard = %self.shared.shard,
                "handlers do not let themselves be cut off: they block their threads, and may be at work when \
                 their messages are handled again by the next owner"
            );
        }
        self.finish().await
    }

    async fn finish(&self) -> Result<(), JournalError> {
        self.shared.ask_actors().await;
        // An orderly end is no attempt of those whose handlers it cuts off.
        for (no, event) in self.shared.at_work.take_back_all() {
            let mut entry = Vec::new();
            push_entry(&mut entry, no, &event)
                .map_err(|error| self.shared.store_error("encode an event", error))?;
            if self.shared.queue.submit(&entry, 1, None, Box::new(|_| {})).is_err() {
                break;
            }
        }
        self.shared.queue.close();
        match self.shared.ask(|reply| Request::WriterDone { reply }).await {
            // The directory has ended, which it does after the writer has.
            Ok(()) | Err(JournalError::Closed) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.queue.close();
    }
}

impl Shared {
    /// Sends a request that is answered after everything submitted so far is durable.
    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, JournalError> {
        let (reply, answer) = oneshot::channel();
        let after = self.queue.ticket();
        self.directory.send(Mail::Request { after, request: request(reply) });
        match answer.await {
            Ok(answer) => Ok(answer),
            // The directory has ended: say why.
            Err(_) => Err(self.queue.refusal().map_or(JournalError::Closed, unshare)),
        }
    }

    /// Lets running actors submit what they have, before the queue closes.
    async fn ask_actors(&self) {
        if self.queue.refusal().is_some() {
            return;
        }
        let silent = self.closing.ask().await;
        if silent > 0 {
            tracing::warn!(
                shard = %self.shard,
                silent,
                "the journal closes and has not heard from some of its actors; what they changed \
                 since their last commit, outside of handlers, is not stored"
            );
        }
    }

    /// Submits events of an actor.
    fn submit_events(
        &self,
        no: ActorNo,
        events: &[ActorEvent<'_>],
    ) -> Result<Durable, JournalError> {
        let mut entries = Vec::new();
        for event in events {
            push_entry(&mut entries, no, event)
                .map_err(|error| self.store_error("encode an event", error))?;
        }
        let (durable, outcome) = oneshot::channel();
        let release = Box::new(move |outcome| drop(durable.send(outcome)));
        self.queue.submit(&entries, events.len() as u64, None, release).map_err(unshare)?;
        Ok(outcome)
    }

    /// Shows an actor's record, if it exists, when everything submitted so far is durable. Dropped
    /// if the journal ends before.
    pub(crate) fn look(&self, actor: ActorId, look: request::Look) {
        let after = self.queue.ticket();
        self.directory.send(Mail::Request { after, request: Request::Look { actor, look } });
    }

    /// Looks at the timers when this submission is durable.
    pub(crate) fn look_at_timers(&self, after: Ticket) {
        self.directory.send(Mail::Request { after, request: Request::Fold { folded: None } });
    }

    /// Waits until everything submitted so far is folded.
    pub(crate) async fn folded(&self) -> Result<(), JournalError> {
        self.ask(|folded| Request::Fold { folded: Some(folded) }).await
    }

    /// From here on actors with timers that are due are asked for there, when they do not run.
    pub(crate) fn add_starter(&self, starter: UnboundedSender<ActorId>) {
        let after = self.queue.durable();
        self.directory.send(Mail::Request { after, request: Request::AddStarter { starter } });
    }

    /// Answers with what is recorded under keys of an actor, after the submission `after` is folded.
    pub(crate) fn recorded(
        &self,
        actor: ActorId,
        ids: Vec<MessageId>,
        after: Ticket,
        answer: Answer<Vec<Option<RecordedOutcome>>>,
    ) {
        let request = Request::Recorded { actor, ids, answer };
        self.directory.send(Mail::Request { after, request });
    }
}

/// An owned error from a shared one.
pub(crate) fn unshare(error: Arc<JournalError>) -> JournalError {
    Arc::try_unwrap(error).unwrap_or_else(|error| match &*error {
        JournalError::Closed => JournalError::Closed,
        JournalError::Stopped { source } => JournalError::Stopped { source: source.clone() },
        _ => JournalError::Stopped { source: error },
    })
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
