//! The directory: a thread that knows every actor as the durable log has it.

mod ringing;
mod saving;

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::oneshot;

use super::checkpoint::{Checkpoint, Log};
use super::gauges::{LETTERS_LEARNED, SCAN_PAUSE};
use super::letters::{Letters, Receiver};
use super::recover::fold;
use super::request::{
    Activation, Committed, Discarded, Keep, Lease, Look, Mail, Page, Purpose, Reply, Request,
};
use super::running::Running;
use super::sizes::Sizes;
use super::slot::{Slot, Slots};
use super::{Shared, Ticket, keys, letters};
use crate::envelope::CommitHeader;
use crate::error::JournalError;
use crate::event::ActorEvent;
use crate::id::{ActorId, ActorNo, MessageId, MessageKey, Position, Sequence};
use crate::mailbox::error_text;
use crate::outbox::Sent;
use crate::provider::{ListedActor, RecordFilter};
use crate::rare::Rare;
use crate::record::{DeadLetter, Outcome, RecordedOutcome};

/// One request discards no more letters than this: commits stay small.
const DISCARDED_AT_ONCE: usize = 4096;

pub(super) struct Directory {
    shared: Arc<Shared>,
    slots: Slots,
    /// How many actors are active.
    active: usize,
    /// The log up to what the slots contain.
    log: Log,
    sizes: Sizes,
    /// The last submission that the slots contain.
    ticket: Ticket,
    /// Requests that wait for a submission to be folded.
    waiting: Vec<(Ticket, Request)>,
    checkpoint: Option<Checkpoint>,
    /// Whoever asked for a checkpoint while one was running.
    next_checkpoint: Vec<oneshot::Sender<()>>,
    /// How much of the log the next checkpoint leaves.
    keep: Keep,
    writer_done: Vec<oneshot::Sender<()>>,
    /// When it looks at all actors again, at the soonest.
    next_scan: Instant,
    /// The store could not be read for a request, which waits for the end.
    failed: Option<JournalError>,
}

/// Ends the directory: whoever still waits learns from the queue why there is no answer.
struct End(Arc<Shared>);

impl Drop for End {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop(self.0.store_error("read", "the directory thread panicked"));
        }
        self.0.directory.end();
    }
}

/// Whether the thread goes on.
enum Flow {
    Continue,
    End,
}

impl Directory {
    pub(super) fn new(shared: Arc<Shared>, slots: Slots, log: Log) -> Self {
        let sizes = Sizes::new(shared.limits.history_bytes);
        Self {
            shared,
            slots,
            active: 0,
            log,
            sizes,
            ticket: 0,
            waiting: Vec::new(),
            checkpoint: None,
            next_checkpoint: Vec::new(),
            keep: Keep::Usual,
            writer_done: Vec::new(),
            next_scan: Instant::now(),
            failed: None,
        }
    }

    pub(super) fn position(&self) -> Position {
        self.log.tail
    }

    /// The thread's whole life.
    pub(super) fn run(mut self) {
        // Also when this thread panics: nobody may wait for a directory that is gone.
        let end = End(self.shared.clone());
        if let Err(error) = self.work() {
            let stopped = end.0.stop(error);
            self.end_actors(&stopped);
        }
    }

    fn work(&mut self) -> Result<(), JournalError> {
        loop {
            // Before the first wait: a long tail that was recovered holds the writer up.
            self.keep_saving()?;
            let pause = self.ring()?;
            let eager = !self.waiting.is_empty();
            for mail in self.shared.directory.take(eager, pause) {
                if let Flow::End = self.receive(mail)? {
                    return Ok(());
                }
            }
            self.serve_waiting()?;
        }
    }

    /// What actors have in memory is not what the journal has: those that are idle learn it too.
    fn end_actors(&self, error: &Arc<JournalError>) {
        for running in self.slots.iter().filter_map(|(_, slot)| slot.running.as_ref()) {
            running.halt.ask(error.clone());
        }
    }

    fn receive(&mut self, mail: Mail) -> Result<Flow, JournalError> {
        match mail {
            Mail::Committed(commit) => self.fold(&commit)?,
            Mail::PartSaved => self.part_saved()?,
            Mail::Measure => self.measure_actors(),
            Mail::Request { after, request } => self.waiting.push((after, request)),
            Mail::Stopped(error) => {
                tracing::debug!(error = error_text(&error), "directory ends");
                self.end_actors(&error);
                return Ok(Flow::End);
            }
            Mail::WriterDone => {
                for waiting in self.writer_done.drain(..) {
                    let _ = waiting.send(());
                }
                return Ok(Flow::End);
            }
        }
        Ok(Flow::Continue)
    }

    fn measure_actors(&mut self) {
        let begun = Instant::now();
        if begun < self.next_scan {
            return self.shared.gauges.not_now();
        }
        if let Err(error) = self.slots.learn_letters(&self.shared, LETTERS_LEARNED) {
            // Whoever needs these records meets it too.
            tracing::debug!(error = error_text(&error), "dead letters are not counted");
        }
        self.shared.gauges.scan(&self.slots, self.shared.limits.dedup_count);
        self.next_scan = begun + begun.elapsed() * SCAN_PAUSE;
    }

    fn fold(&mut self, commit: &Committed) -> Result<(), JournalError> {
        let header = CommitHeader {
            shard: self.shared.shard,
            position: commit.position,
            epoch: self.shared.epoch,
            at_ms: commit.at_ms,
            entries: commit.count,
            clock_ms: commit.clock_ms,
        };
        fold(&self.shared, &mut self.slots, &header, &commit.entries)?;
        self.log.tail = commit.position;
        self.shared.gauges.folded.store(commit.position.0, Ordering::Relaxed);
        self.log.uncovered += commit.row_bytes;
        self.sizes.push(commit.position, commit.row_bytes);
        self.ticket = commit.ticket;
        Ok(())
    }

    fn serve_waiting(&mut self) -> Result<(), JournalError> {
        let mut later = Vec::new();
        // The end of an actor first: somebody may wait for it.
        self.waiting.sort_by_key(|(_, request)| !matches!(request, Request::Deactivate { .. }));
        for (after, request) in std::mem::take(&mut self.waiting) {
            if after > self.ticket {
                later.push((after, request));
            } else if let Some(request) = self.serve(request)? {
                later.push((after, request));
            }
        }
        self.waiting = later;
        self.failed.take().map_or(Ok(()), Err)
    }

    /// Answers a request, or gives it back because its time has not come.
    fn serve(&mut self, request: Request) -> Result<Option<Request>, JournalError> {
        match request {
            Request::Activate { actor, purpose, reply } => {
                match self.activate(&actor, purpose).transpose() {
                    None => return Ok(Some(Request::Activate { actor, purpose, reply })),
                    // If nobody waits any more, the lease in the answer is dropped with it.
                    Some(activated) => drop(reply.send(activated)),
                }
            }
            Request::Look { actor, look } => self.look(&actor, look),
            Request::Stop { actor, reply } => match self.stop(&actor) {
                Ok(false) if !reply.is_closed() => {
                    return Ok(Some(Request::Stop { actor, reply }));
                }
                Ok(_) => drop(reply.send(Ok(()))),
                Err(error) => drop(reply.send(Err(error))),
            },
            Request::Deactivate { no } => self.deactivate(no),
            Request::Alone { reason, reply } => {
                reason.iter().for_each(|reason| self.end_actors(reason));
                if self.active > 0 && !reply.is_closed() {
                    return Ok(Some(Request::Alone { reason: None, reply }));
                }
                drop(reply.send(Ok(())));
            }
            Request::Outcome { actor, id, reply } => self.outcome(&actor, id, reply),
            Request::Recorded { actor, ids, answer } => match self.recorded(&actor, &ids) {
                Ok(found) => answer.give(Ok(found)),
                Err(error) => {
                    self.failed = Some(error);
                    return Ok(Some(Request::Recorded { actor, ids, answer }));
                }
            },
            Request::Number { actor, reply } => {
                drop(reply.send(self.with(&actor, |no, _| no)));
            }
            Request::Outbox { actor, reply } => {
                let shared = self.shared.clone();
                let sent = self.with(&actor, |no, slot| Sent {
                    no,
                    messages: slot.record.lines.address_again(&actor, &slot.record.outbox),
                    undelivered: shared.undelivered.of(
                        no,
                        &slot.record.outbox,
                        &slot.record.timers,
                    ),
                });
                drop(reply.send(sent));
            }
            Request::DeadLetters { actor, after, limit, reply } => {
                let read_at = self.ticket;
                self.shared.letter_changes.folded(read_at);
                let letters = self.dead_letters(&actor, after, limit);
                drop(reply.send(letters.map(|letters| Letters { read_at, letters })));
            }
            Request::Receiver { actor, reply } => match self.receiver(&actor).transpose() {
                None => return Ok(Some(Request::Receiver { actor, reply })),
                Some(receiver) => drop(reply.send(receiver)),
            },
            Request::Discard { actor, range, reply } => {
                match self.discard(&actor, range.clone()).transpose() {
                    None => return Ok(Some(Request::Discard { actor, range, reply })),
                    Some(submitted) => drop(reply.send(submitted)),
                }
            }
            Request::List { filter, after, limit, reply } => {
                drop(reply.send(self.list(filter, after, limit)));
            }
            Request::Checkpoint { history, reply } => {
                if history == Keep::Nothing {
                    self.keep = history;
                }
                self.next_checkpoint.push(reply);
            }
            Request::WriterDone { reply } => self.writer_done.push(reply),
            Request::Fold { folded } => {
                if let Some(folded) = folded {
                    let _ = folded.send(());
                }
            }
            Request::AddStarter { starter } => self.slots.alarms.add_starter(starter),
        }
        Ok(None)
    }

    /// None if it is being repaired: that ends in a moment.
    fn activate(
        &mut self,
        actor: &ActorId,
        purpose: Purpose,
    ) -> Result<Option<Activation>, JournalError> {
        let reserved = || actor.is_reserved().then(|| "its type is reserved".to_owned());
        if let Some(reason) = actor.invalid().or_else(reserved) {
            return Err(JournalError::InvalidActorId { actor: actor.clone(), reason });
        }
        let no = match self.slots.find(&self.shared, actor)? {
            Some(no) => no,
            None => self.slots.create(actor.clone()),
        };
        self.slots.touch_timers(no);
        let Some(slot) = self.slots.get_mut(no).filter(|slot| !slot.active) else {
            return match self.slots.get(no).and_then(|slot| slot.running.as_ref()) {
                Some(_) => Err(JournalError::AlreadyActive { actor: actor.clone() }),
                None => Ok(None),
            };
        };
        if let Some(held) = slot.record.held.as_ref().filter(|_| purpose == Purpose::Run) {
            let error = held.error(actor);
            self.slots.evict(no);
            return Err(error);
        }
        slot.active = true;
        self.active += 1;
        let running = Running::new(actor.clone(), &slot.record.dead);
        if purpose == Purpose::Run {
            slot.running = Some(running.clone());
            self.shared.watch.add(&running);
        }
        let record = &slot.record;
        let undelivered = self.shared.undelivered.of(no, &record.outbox, &record.timers);
        Ok(Some(Activation {
            lease: Lease { shared: self.shared.clone(), no },
            running,
            spawned: record.spawned,
            position: slot.changed,
            received: record.received,
            sent: record.sent,
            undelivered,
            lines: record.lines.clone(),
            timers: record.timers.set_timers(),
            state: record.state.clone(),
            pending: record.pending.iter().cloned().collect(),
            steps: record.steps.clone(),
            newest: [&record.window, &record.generated]
                .map(|window| window.iter().next_back().map_or(0, |newest| newest.outcome.size())),
            aged_ms: record.aged.newest_ms(),
            window: {
                let callers = record.window.iter();
                let callers =
                    callers.map(|it| (MessageKey::Caller(it.id), it.at_ms, it.fingerprint));
                let generated = record.generated.iter().chain(&record.transient.recorded);
                let generated =
                    generated.map(|it| (MessageKey::Generated(it.id), it.at_ms, it.fingerprint));
                callers.chain(generated).collect()
            },
        }))
    }

    /// Who can receive letters of an actor again. None if that is known in a moment.
    fn receiver(&mut self, actor: &ActorId) -> Result<Option<Receiver>, JournalError> {
        let running = self.with(actor, |_, slot| slot.running.clone())?.flatten();
        match running {
            // It stops.
            Some(running) if running.halt.asked().is_some() => Ok(None),
            Some(running) => Ok(Some(Receiver::Running(running))),
            None => {
                let activated = self.activate(actor, Purpose::Repair)?;
                Ok(activated.map(|it| Receiver::Asker(Box::new(it))))
            }
        }
    }

    fn deactivate(&mut self, no: ActorNo) {
        if let Some(slot) = self.slots.get_mut(no) {
            self.active -= usize::from(slot.active);
            slot.active = false;
            slot.running = None;
            slot.told = Rare::default();
            if !slot.record.timers.is_empty() {
                self.slots.settle_timer(no);
            }
        }
        self.slots.evict(no);
    }

    fn look(&mut self, actor: &ActorId, look: Look) {
        let found = self.slots.find(&self.shared, actor);
        match found {
            Ok(Some(no)) => {
                look(Ok(self.slots.get(no).map(|slot| &slot.record)));
                self.slots.evict(no);
            }
            Ok(None) => look(Ok(None)),
            Err(error) => look(Err(error)),
        }
    }

    /// Whether the actor does not run, or is not held any more. If it runs, it is asked to stop.
    fn stop(&mut self, actor: &ActorId) -> Result<bool, JournalError> {
        let known = self.with(actor, |_, slot| {
            let Some(held) = slot.record.held.as_ref().filter(|_| slot.active) else {
                return Ok(true);
            };
            match &slot.running {
                Some(running) if !running.halt.ask(Arc::new(held.error(actor))) => {
                    Err(JournalError::CannotStop { actor: actor.clone() })
                }
                // One that is being repaired is left alone in a moment.
                _ => Ok(false),
            }
        })?;
        known.unwrap_or_else(|| Err(JournalError::NoSuchActor { actor: actor.clone() }))
    }

    /// Answers with the outcome of a message; later, if it is pending.
    fn outcome(&mut self, actor: &ActorId, id: MessageId, reply: Reply<Option<Outcome>>) {
        let no = match self.slots.find(&self.shared, actor) {
            Ok(no) => no,
            Err(error) => return drop(reply.send(Err(error))),
        };
        let Some((no, slot)) = no.and_then(|no| Some((no, self.slots.get_mut(no)?))) else {
            return drop(reply.send(Ok(None)));
        };
        if slot.record.outcome(id).is_none() && slot.record.is_pending(id) {
            slot.asked.push(id, reply);
        } else {
            let recorded = keys::recorded(&self.shared, no, slot, &[id]);
            let outcome = recorded.map(|found| found.into_iter().flatten().next());
            drop(reply.send(outcome.map(|found| found.map(|it| it.outcome))));
        }
        self.slots.evict(no);
    }

    fn recorded(
        &mut self,
        actor: &ActorId,
        ids: &[MessageId],
    ) -> Result<Vec<Option<RecordedOutcome>>, JournalError> {
        let shared = self.shared.clone();
        let found = self.with(actor, |no, slot| keys::recorded(&shared, no, slot, ids))?;
        found.unwrap_or_else(|| Ok(Vec::new()))
    }

    pub(super) fn dead_letters(
        &mut self,
        actor: &ActorId,
        after: Sequence,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, JournalError> {
        let shared = self.shared.clone();
        let read = self.with(actor, |no, slot| letters::page(&shared, no, slot, after, limit))?;
        read.unwrap_or_else(|| Ok(Vec::new()))
    }

    /// None if others change letters of the actor: what is left of them is known in a moment.
    fn discard(
        &mut self,
        actor: &ActorId,
        range: RangeInclusive<Sequence>,
    ) -> Result<Option<Discarded>, JournalError> {
        let known = self.with(actor, |no, slot| {
            let letters = slot.record.dead.in_range(range).take(DISCARDED_AT_ONCE);
            (no, letters.collect::<Vec<_>>())
        })?;
        let (no, letters) = known.unwrap_or_default();
        if letters.is_empty() {
            let (durable, outcome) = oneshot::channel();
            let _ = durable.send(Ok(()));
            return Ok(Some((0, outcome)));
        }
        let event = |sequence: &Sequence| ActorEvent::DeadLetterDiscarded { sequence: *sequence };
        let events: Vec<_> = letters.iter().map(event).collect();
        let (shared, mut read_at) = (&self.shared, self.ticket);
        shared.letter_changes.folded(read_at);
        let submit = || shared.submit_events(no, &events);
        let outcome = shared.change_letters(no, &mut read_at, submit).transpose()?;
        Ok(outcome.map(|outcome| (events.len(), outcome)))
    }

    /// A page of actors, and where the next one begins, if there is one.
    pub(super) fn list(
        &self,
        filter: RecordFilter,
        after: ActorNo,
        limit: usize,
    ) -> Result<Page, JournalError> {
        let stored = pollster::block_on(self.shared.provider.list_records(
            self.shared.shard,
            filter,
            after,
            limit,
        ))?;
        let next = stored.last().filter(|_| stored.len() == limit).map(|listed| listed.no);
        // What is in memory is newer than its record.
        let mut actors: Vec<_> =
            stored.into_iter().filter(|listed| self.slots.get(listed.no).is_none()).collect();
        let in_page = |no: ActorNo| no > after && next.is_none_or(|next| no <= next);
        for (no, slot) in self.slots.iter().filter(|(no, _)| in_page(*no)) {
            let matches = match filter {
                // The store lists both.
                RecordFilter::All => slot.record.spawned || slot.record.deleted,
                RecordFilter::Pending => {
                    !slot.record.pending.is_empty() || !slot.record.outbox.is_empty()
                }
                RecordFilter::DeadLetters => !slot.record.dead.is_empty(),
                RecordFilter::Timers => !slot.record.timers.is_empty(),
            };
            if matches {
                let due_ms = slot.record.timers.next_ms();
                actors.push(ListedActor { no, actor: slot.actor.clone(), due_ms });
            }
        }
        actors.sort_unstable_by_key(|listed| listed.no);
        Ok(Page { actors, next })
    }

    /// Looks at an actor, if it exists, without keeping it in memory longer than needed.
    pub(super) fn with<T>(
        &mut self,
        actor: &ActorId,
        look: impl FnOnce(ActorNo, &Slot) -> T,
    ) -> Result<Option<T>, JournalError> {
        let Some(no) = self.slots.find(&self.shared, actor)? else {
            return Ok(None);
        };
        let seen = self.slots.get(no).map(|slot| look(no, slot));
        self.slots.evict(no);
        Ok(seen)
    }
}
