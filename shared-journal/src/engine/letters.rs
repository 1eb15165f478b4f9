//! Dead letters between the record that knows of them and the store that has them; and who may change
//! them.
//!
//! Letters are discarded, edited and sent again while their actor runs, by several at once. Each decides
//! by what it has read. So that no letter goes two ways, a change is submitted only if nobody has
//! submitted another since that was read ([`Shared::change_letters`]).

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustc_hash::FxHashMap;
use tokio::sync::oneshot;

use super::alarms::DueTimer;
use super::queue::Ticket;
use super::request::{Activation, Request};
use super::running::Running;
use super::slot::Slot;
use super::{Durable, Engine, Shared, unshare};
use crate::envelope::{DEAD, DeadRow, decode_value, encode_value};
use crate::error::{JournalError, Place};
use crate::event::ActorEvent;
use crate::id::{ActorId, ActorNo, Sequence, ShardId};
use crate::provider::{ActorProvider, StoredLetter};
use crate::record::DeadLetter;

/// Read at a time, at most so many bytes, but always one letter.
const PAGE_BYTES: u64 = 4 << 20;

/// Letters as they were when everything up to a submission was folded.
pub(crate) struct Letters {
    pub(crate) read_at: Ticket,
    pub(crate) letters: Vec<DeadLetter>,
}

/// Who receives letters that are sent again, or gives a message up.
pub(crate) enum Receiver {
    /// The actor, which runs.
    Running(Arc<Running>),
    /// Whoever asked: the actor does not run, and nobody starts it meanwhile.
    Asker(Box<Activation>),
}

/// Letters on their way to the actor that receives them again, from whoever sends them.
pub(crate) struct Batch {
    pub(crate) read_at: Ticket,
    pub(crate) letters: VecDeque<DeadLetter>,
    /// How many of them are submitted.
    pub(crate) submitted: Arc<AtomicUsize>,
    /// Told when all of them are durable, or why they are not. If it is dropped, those that were not
    /// submitted are to be read again.
    pub(crate) durable: oneshot::Sender<Result<(), Arc<JournalError>>>,
}

impl Batch {
    /// With the number of those that are submitted, and what it is told.
    pub(crate) fn new(letters: Letters) -> (Self, Arc<AtomicUsize>, Durable) {
        let (durable, outcome) = oneshot::channel();
        let submitted = Arc::<AtomicUsize>::default();
        let Letters { read_at, letters } = letters;
        let batch =
            Self { read_at, letters: letters.into(), submitted: submitted.clone(), durable };
        (batch, submitted, outcome)
    }
}

/// What somebody wants a running actor to do by hand.
pub(crate) struct ByHand {
    pub(crate) what: Wanted,
    /// Who wants it.
    pub(crate) by: String,
    pub(crate) why: String,
    /// Told when it is done, durably, or why it is not. If it is dropped, the actor has ended.
    pub(crate) durable: oneshot::Sender<Result<(), Arc<JournalError>>>,
}

#[derive(Clone, Copy)]
pub(crate) enum Wanted {
    /// To give up a message that waits.
    GiveUp(Sequence),
    /// To cancel a timer.
    Cancel(u64),
}

/// Where a running actor finds letters that it is to receive again, timers that are due, and what it is to do by
/// hand. Most never find anything.
#[derive(Default)]
pub(super) struct Letterbox {
    /// Known without the lock.
    has_letters: AtomicBool,
    has_by_hand: AtomicBool,
    has_due: AtomicBool,
    inside: Mutex<Option<Box<Inside>>>,
}

#[derive(Default)]
struct Inside {
    batches: VecDeque<Batch>,
    by_hand: Vec<ByHand>,
    due: VecDeque<DueTimer>,
}

impl Letterbox {
    pub(super) fn has_letters(&self) -> bool {
        self.has_letters.load(Ordering::Acquire)
    }

    pub(super) fn has_by_hand(&self) -> bool {
        self.has_by_hand.load(Ordering::Acquire)
    }

    pub(super) fn push_back(&self, batch: Batch) {
        let mut inside = self.lock();
        inside.get_or_insert_default().batches.push_back(batch);
        self.has_letters.store(true, Ordering::Release);
    }

    pub(super) fn push_front(&self, batch: Batch) {
        let mut inside = self.lock();
        inside.get_or_insert_default().batches.push_front(batch);
        self.has_letters.store(true, Ordering::Release);
    }

    pub(super) fn push_by_hand(&self, by_hand: ByHand) {
        let mut inside = self.lock();
        inside.get_or_insert_default().by_hand.push(by_hand);
        self.has_by_hand.store(true, Ordering::Release);
    }

    pub(super) fn has_due(&self) -> bool {
        self.has_due.load(Ordering::Acquire)
    }

    pub(super) fn push_due(&self, due: Vec<DueTimer>) {
        let mut inside = self.lock();
        inside.get_or_insert_default().due.extend(due);
        self.has_due.store(true, Ordering::Release);
    }

    pub(super) fn take_due(&self) -> Option<DueTimer> {
        let mut inside = self.lock();
        let due = &mut inside.as_mut()?.due;
        let next = due.pop_front();
        self.has_due.store(!due.is_empty(), Ordering::Release);
        next
    }

    /// Those that come next, and that somebody still waits for.
    pub(super) fn take(&self) -> Option<Batch> {
        let mut inside = self.lock();
        let batches = &mut inside.as_mut()?.batches;
        let mut next = batches.pop_front();
        while next.as_ref().is_some_and(|batch| batch.durable.is_closed()) {
            next = batches.pop_front();
        }
        self.has_letters.store(!batches.is_empty(), Ordering::Release);
        next
    }

    pub(super) fn take_by_hand(&self) -> Vec<ByHand> {
        let mut inside = self.lock();
        self.has_by_hand.store(false, Ordering::Release);
        inside.as_mut().map(|inside| std::mem::take(&mut inside.by_hand)).unwrap_or_default()
    }

    /// Whoever sends or wants something has to look for another receiver.
    pub(super) fn empty(&self) {
        let mut inside = self.lock();
        self.has_letters.store(false, Ordering::Release);
        self.has_by_hand.store(false, Ordering::Release);
        self.has_due.store(false, Ordering::Release);
        *inside = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Inside>>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Letterbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Letterbox")
            .field("has_letters", &self.has_letters())
            .field("has_by_hand", &self.has_by_hand())
            .finish_non_exhaustive()
    }
}

/// Who changed letters is known of so many actors; of others it is assumed that somebody did.
const CHANGES_KNOWN: usize = 1024;

/// The last submissions that changed the letters of actors.
#[derive(Default)]
pub(crate) struct Changes(Mutex<Known>);

#[derive(Default)]
struct Known {
    last: FxHashMap<ActorNo, Ticket>,
    /// What came before this is not known.
    since: Ticket,
}

impl Known {
    /// Whether letters that were read then may be others by now.
    fn is_changed(&self, no: ActorNo, read_at: Ticket) -> bool {
        self.last.get(&no).copied().unwrap_or(self.since) > read_at
    }

    fn changed(&mut self, no: ActorNo, at: Ticket) {
        self.last.insert(no, at);
    }

    fn forget(&mut self, through: Ticket) {
        if self.last.len() > CHANGES_KNOWN {
            self.last.retain(|_, last| *last > through);
            self.since = self.since.max(through);
        }
    }
}

impl Changes {
    /// Whoever reads letters from here on sees what was changed up to `through`.
    pub(super) fn folded(&self, through: Ticket) {
        self.lock().forget(through);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Submits a change of the letters of an actor, unless somebody has submitted another since they
    /// were read: then it does nothing, and they are to be read again. `read_at` includes the change
    /// afterwards.
    pub(crate) fn change_letters<T>(
        &self,
        no: ActorNo,
        read_at: &mut Ticket,
        submit: impl FnOnce() -> T,
    ) -> Option<T> {
        let mut changes = self.letter_changes.lock();
        if changes.is_changed(no, *read_at) {
            return None;
        }
        let submitted = submit();
        *read_at = self.queue.ticket();
        changes.changed(no, *read_at);
        Some(submitted)
    }

    /// The letters of an actor that does not run may be others from here on.
    pub(crate) fn letters_changed(&self, no: ActorNo) {
        self.letter_changes.lock().changed(no, self.queue.ticket());
    }
}

/// The stored form of a letter.
pub(crate) fn stored_letter(
    shard: ShardId,
    no: ActorNo,
    letter: &DeadLetter,
) -> Result<StoredLetter, postcard::Error> {
    let bytes = encode_value(DEAD, &DeadRow { shard, no, letter })?;
    Ok(StoredLetter { no, sequence: letter.sequence, bytes })
}

/// Decodes a stored letter and checks that it is where it belongs.
pub(crate) fn read_letter(
    provider: &dyn ActorProvider,
    shard: ShardId,
    stored: &StoredLetter,
) -> Result<DeadLetter, JournalError> {
    let corrupt = |reason: String| JournalError::Corrupt {
        store: provider.location(),
        place: Place::shard(shard).of_no(stored.no).message(stored.sequence),
        reason,
    };
    let row: DeadRow =
        decode_value(DEAD, &stored.bytes).map_err(|error| corrupt(error.to_string()))?;
    if (row.shard, row.no, row.letter.sequence) != (shard, stored.no, stored.sequence) {
        return Err(corrupt(format!(
            "the row holds the dead letter {} of {:?}, {:?}",
            row.letter.sequence, row.no, row.shard
        )));
    }
    Ok(row.letter)
}

/// The letters of an actor after `after`: at most `limit` and [`PAGE_BYTES`] of them, and none if
/// there is none.
pub(super) fn page(
    shared: &Shared,
    no: ActorNo,
    slot: &Slot,
    after: Sequence,
    limit: usize,
) -> Result<Vec<DeadLetter>, JournalError> {
    let dead = &slot.record.dead;
    let (mut letters, mut bytes) = (Vec::new(), 0);
    // Rows that were read ahead, and may be of letters that are gone.
    let mut rows = Vec::new().into_iter();
    for (sequence, indexed) in dead.after(after).take(limit) {
        bytes += indexed.bytes;
        if bytes > PAGE_BYTES && !letters.is_empty() {
            break;
        }
        if let Some(letter) = dead.unsaved(sequence) {
            letters.push(letter.clone());
            continue;
        }
        let found = rows.find(|row: &StoredLetter| row.sequence >= sequence);
        let found = match found {
            Some(row) => Some(row),
            None => {
                let wanted = dead.after(before(sequence)).take(limit - letters.len());
                let wanted = wanted.fold(0_u64, |sum, (_, it)| sum.saturating_add(it.bytes));
                let max_bytes = usize::try_from(wanted.clamp(1, PAGE_BYTES)).unwrap_or(usize::MAX);
                rows = pollster::block_on(shared.provider.load_letters(
                    shared.shard,
                    no,
                    before(sequence),
                    max_bytes,
                ))?
                .into_iter();
                rows.next()
            }
        };
        match found.filter(|row| row.sequence == sequence) {
            Some(row) => letters.push(read_letter(&*shared.provider, shared.shard, &row)?),
            None => {
                return Err(JournalError::Corrupt {
                    store: shared.provider.location(),
                    place: Place::shard(shared.shard).of(&slot.actor).of_no(no).message(sequence),
                    reason: "the dead letter is missing".to_owned(),
                });
            }
        }
    }
    Ok(letters)
}

fn before(sequence: Sequence) -> Sequence {
    Sequence(sequence.0.saturating_sub(1))
}

impl Engine {
    /// As [`write`](Self::write), of events that change dead letters. False if others have changed
    /// some since they were read: read them again.
    pub(crate) async fn write_letters(
        &self,
        no: ActorNo,
        mut read_at: Ticket,
        events: &[ActorEvent<'_>],
    ) -> Result<bool, JournalError> {
        let submit = || self.shared.submit_events(no, events);
        let Some(outcome) = self.shared.change_letters(no, &mut read_at, submit) else {
            return Ok(false);
        };
        outcome?.await.map_err(|_| JournalError::Closed)?.map_err(unshare)?;
        self.shared.folded().await?;
        Ok(true)
    }

    /// Dead letters of an actor, beginning after `after`: at most `limit`, and not more than is good
    /// to have in memory. None if there is none.
    pub(crate) async fn dead_letters(
        &self,
        actor: ActorId,
        after: Sequence,
        limit: usize,
    ) -> Result<Letters, JournalError> {
        self.shared.ask(|reply| Request::DeadLetters { actor, after, limit, reply }).await?
    }

    /// Who can receive dead letters of an actor again, or give up what it has received.
    pub(crate) async fn receiver(&self, actor: ActorId) -> Result<Receiver, JournalError> {
        self.shared.ask(|reply| Request::Receiver { actor, reply }).await?
    }

    /// Throws dead letters away, the oldest first, and says how many: a part of them if there are
    /// many, 0 if there is none.
    pub(crate) async fn discard(
        &self,
        actor: ActorId,
        range: RangeInclusive<Sequence>,
    ) -> Result<usize, JournalError> {
        let (count, durable) =
            self.shared.ask(|reply| Request::Discard { actor, range, reply }).await??;
        durable.await.map_err(|_| JournalError::Closed)?.map_err(unshare)?;
        // A running actor that has no more room for letters learns that it has.
        self.shared.folded().await?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_any_more_is_taken_for_changed() {
        let (mut known, actors) = (Known::default(), CHANGES_KNOWN as u64 + 1);
        for n in 1..=actors {
            known.changed(ActorNo(n), n);
        }
        known.forget(actors - 1);
        assert_eq!(known.last.len(), 1, "the others are folded");
        for (no, read_at, changed) in [
            (1, 0, true),
            (1, actors - 2, true),
            (1, actors - 1, false),
            (actors, actors - 1, true),
        ] {
            assert_eq!(known.is_changed(ActorNo(no), read_at), changed, "{no} read at {read_at}");
        }
    }
}
