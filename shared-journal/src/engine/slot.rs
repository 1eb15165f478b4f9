//! The actors that the directory has in memory: those that run, and those that changed since the
//! last checkpoint.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::Shared;
use super::alarms::{Alarms, Told};
use super::asked::Asked;
use super::running::Running;
use crate::aged::Aged;
use crate::dead::{DeadLetters, Summary};
use crate::envelope::{RecordHeader, decode_record, encode_record};
use crate::error::{JournalError, Place};
use crate::event::{ActorEvent, RepairAction};
use crate::id::{ActorId, ActorNo, MessageKey, Position, ShardId};
use crate::provider::{ActorKey, ActorProvider, RecordFilter, StoredRecord};
use crate::rare::Rare;
use crate::record::{ActorRecord, Stamp};

/// Of records with a small state.
const RECORDS_A_PAGE: usize = 10;

pub(super) struct Slot {
    pub(super) actor: ActorId,
    pub(super) record: ActorRecord,
    /// The last commit that changed the record.
    pub(super) changed: Position,
    /// Changed since it was last saved.
    pub(super) dirty: bool,
    /// Reserved by a running actor.
    pub(super) active: bool,
    /// None while it is repaired.
    pub(super) running: Option<Arc<Running>>,
    pub(super) asked: Asked,
    /// While it runs: the timers that it was told of, and whose messages it has not received.
    pub(super) told: Rare<Told>,
}

impl Slot {
    /// When the next timer is due that it is not told of.
    fn next_alarm(&self) -> Option<u64> {
        if self.told.is_empty() {
            return self.record.timers.next_ms();
        }
        let others = self.record.timers.iter().filter(|(number, _)| !self.told.contains(number));
        others.map(|(_, timer)| timer.due_ms).min()
    }
}

#[derive(Default)]
pub(super) struct Slots {
    pub(super) alarms: Alarms,
    by_no: FxHashMap<ActorNo, Slot>,
    by_name: FxHashMap<ActorId, ActorNo>,
    last: ActorNo,
    /// How many changed since they were last saved.
    dirty: usize,
    /// The dead letters of actors that are not in memory, as far as they are known.
    letters: FxHashMap<ActorNo, Summary>,
    /// Those of recorded actors with greater numbers are not. None: all are known.
    letters_known: Option<ActorNo>,
}

impl Slots {
    /// Empty; the next new actor gets the number after `last`.
    pub(super) fn after(last: ActorNo) -> Self {
        Self { last, letters_known: Some(ActorNo(0)), ..Self::default() }
    }

    pub(super) fn get(&self, no: ActorNo) -> Option<&Slot> {
        self.by_no.get(&no)
    }

    pub(super) fn get_mut(&mut self, no: ActorNo) -> Option<&mut Slot> {
        self.by_no.get_mut(&no)
    }

    /// The dead letters of an actor that is in memory.
    pub(super) fn dead(&mut self, no: ActorNo) -> Option<&mut DeadLetters> {
        self.by_no.get_mut(&no).map(|slot| &mut *slot.record.dead)
    }

    /// The older keys of an actor that is in memory.
    pub(super) fn aged(&mut self, no: ActorNo) -> Option<&mut Aged> {
        self.by_no.get_mut(&no).map(|slot| &mut *slot.record.aged)
    }

    /// The dead letters of all actors that are known to have some.
    pub(super) fn letters(&self) -> impl Iterator<Item = Summary> + '_ {
        let in_memory = self.by_no.values().filter_map(|slot| slot.record.dead.summary());
        in_memory.chain(self.letters.values().copied())
    }

    /// Gets to know the dead letters of recorded actors, of so many at a time.
    pub(super) fn learn_letters(
        &mut self,
        shared: &Shared,
        limit: usize,
    ) -> Result<(), JournalError> {
        let Some(after) = self.letters_known else { return Ok(()) };
        let (provider, shard) = (&shared.provider, shared.shard);
        let listing = provider.list_records(shard, RecordFilter::DeadLetters, after, limit);
        let listed = pollster::block_on(listing)?;
        for actor in &listed {
            if self.by_no.contains_key(&actor.no) || self.letters.contains_key(&actor.no) {
                continue;
            }
            let key = ActorKey::No(actor.no);
            if let Some(stored) = pollster::block_on(provider.load_record(shard, key))? {
                let (_, record) = read_record(&**provider, shard, &stored)?;
                self.rest(actor.no, &record);
            }
        }
        self.letters_known = listed.last().filter(|_| listed.len() == limit).map(|it| it.no);
        Ok(())
    }

    /// The actor is not in memory.
    fn rest(&mut self, no: ActorNo, record: &ActorRecord) {
        if let Some(letters) = record.dead.summary() {
            self.letters.insert(no, letters);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ActorNo, &Slot)> {
        self.by_no.iter().map(|(no, slot)| (*no, slot))
    }

    /// Finds an actor by name, in memory or in its stored record.
    pub(super) fn find(
        &mut self,
        shared: &Shared,
        actor: &ActorId,
    ) -> Result<Option<ActorNo>, JournalError> {
        if let Some(no) = self.by_name.get(actor) {
            return Ok(Some(*no));
        }
        let key = ActorKey::Name(actor);
        match pollster::block_on(shared.provider.load_record(shared.shard, key))? {
            Some(stored) => Ok(Some(self.insert_stored(shared, &stored)?.0)),
            None => Ok(None),
        }
    }

    /// A new actor under the next number.
    pub(super) fn create(&mut self, actor: ActorId) -> ActorNo {
        let no = ActorNo(self.last.0 + 1);
        self.insert(no, actor, ActorRecord::default());
        no
    }

    /// Applies an event of the commit at `position` to the record of `no`, which is loaded if it
    /// is not in memory.
    pub(super) fn apply(
        &mut self,
        shared: &Shared,
        stamp: Stamp,
        no: ActorNo,
        event: ActorEvent<'_>,
    ) -> Result<(), JournalError> {
        let position = stamp.position;
        if !self.by_no.contains_key(&no) {
            self.load(shared, position, no, &event)?;
        }
        let Some(slot) = self.by_no.get_mut(&no) else {
            return Ok(());
        };
        // A record that a checkpoint saved before it was finished is ahead of the log.
        if slot.changed >= position && !slot.dirty {
            return Ok(());
        }
        let answered = slot.asked.answered_by(&event, &slot.record);
        match &event {
            ActorEvent::MessageReceived { key: MessageKey::Timer { number, .. }, .. }
            | ActorEvent::TimerCancelled { number } => {
                slot.told.remove(number);
                self.alarms.touch(no);
            }
            ActorEvent::TimerSet { .. } | ActorEvent::Repaired { .. } => self.alarms.touch(no),
            _ => {}
        }
        let by_others = matches!(
            event,
            ActorEvent::DeadLetterDiscarded { .. }
                | ActorEvent::Repaired { action: RepairAction::DeadLetterEdited { .. }, .. }
        );
        let before = by_others.then(|| slot.record.dead.totals());
        slot.record.apply(event, stamp, shared.window()).map_err(|source| {
            JournalError::IllegalHistory {
                store: shared.provider.location(),
                place: Place::shard(shared.shard).at(position).of(&slot.actor).of_no(no),
                source,
            }
        })?;
        slot.asked.answer(&answered, &slot.record);
        if let (Some(running), Some(before)) = (&slot.running, before) {
            running.dead.changed(before, slot.record.dead.totals());
        }
        slot.changed = position;
        self.dirty += usize::from(!slot.dirty);
        slot.dirty = true;
        Ok(())
    }

    /// The record of `no` is saved as it was at `saved`.
    pub(super) fn saved(&mut self, no: ActorNo, saved: Position) {
        if let Some(slot) = self.by_no.get_mut(&no)
            && slot.changed == saved
        {
            self.dirty -= usize::from(slot.dirty);
            slot.dirty = false;
        }
        self.evict(no);
    }

    /// About how many pages of the store a checkpoint of what changed would write: records that
    /// change at random are on as many pages, until they are on all there are.
    pub(super) fn pages_to_save(&self) -> usize {
        let all = usize::try_from(self.last.0).unwrap_or(usize::MAX) / RECORDS_A_PAGE;
        self.dirty.min(all)
    }

    /// Forgets what need not be in memory.
    pub(super) fn evict(&mut self, no: ActorNo) {
        if let Some(slot) = self.by_no.get(&no)
            && !slot.active
            && !slot.dirty
            && slot.asked.is_empty()
            && let Some(slot) = self.by_no.remove(&no)
        {
            self.by_name.remove(&slot.actor);
            self.rest(no, &slot.record);
        }
    }

    /// An actor that is in memory, or recorded.
    pub(super) fn loaded(
        &mut self,
        shared: &Shared,
        no: ActorNo,
    ) -> Result<Option<&mut Slot>, JournalError> {
        if !self.by_no.contains_key(&no) {
            let key = ActorKey::No(no);
            let stored = pollster::block_on(shared.provider.load_record(shared.shard, key))?;
            return stored
                .map(|stored| self.insert_stored(shared, &stored).map(|(_, slot)| slot))
                .transpose();
        }
        Ok(self.by_no.get_mut(&no))
    }

    /// When a timer of a recorded actor is due.
    pub(super) fn learn_timer(&mut self, no: ActorNo, due_ms: Option<u64>) {
        // What is in memory is newer.
        if self.by_no.contains_key(&no) {
            self.alarms.touch(no);
        } else {
            self.alarms.set(no, due_ms);
        }
    }

    /// Something of the actor changes that its timers depend on, if it has any.
    pub(super) fn touch_timers(&mut self, no: ActorNo) {
        if self.by_no.get(&no).is_some_and(|slot| !slot.record.timers.is_empty()) {
            self.alarms.touch(no);
        }
    }

    /// Looks at the timers of actors of which something has changed.
    pub(super) fn settle_timers(&mut self, shared: &Shared) -> Result<(), JournalError> {
        for no in self.alarms.take_touched() {
            self.loaded(shared, no)?;
            self.settle_timer(no);
            self.evict(no);
        }
        Ok(())
    }

    /// Looks at the timers of an actor that is in memory.
    pub(super) fn settle_timer(&mut self, no: ActorNo) {
        if let Some(slot) = self.by_no.get(&no) {
            self.alarms.found(no);
            self.alarms.set(no, slot.next_alarm());
        }
    }

    fn load(
        &mut self,
        shared: &Shared,
        position: Position,
        no: ActorNo,
        event: &ActorEvent<'_>,
    ) -> Result<(), JournalError> {
        let stored =
            pollster::block_on(shared.provider.load_record(shared.shard, ActorKey::No(no)))?;
        match (stored, event) {
            (Some(stored), _) => self.insert_stored(shared, &stored).map(|_| ()),
            (None, ActorEvent::Spawned { actor }) => {
                self.insert(no, actor.clone(), ActorRecord::default());
                Ok(())
            }
            (None, event) => Err(JournalError::Corrupt {
                store: shared.provider.location(),
                place: Place::shard(shared.shard).at(position).of_no(no),
                reason: format!(
                    "{} of an actor that is neither recorded nor spawned",
                    event.name()
                ),
            }),
        }
    }

    fn insert_stored(
        &mut self,
        shared: &Shared,
        stored: &StoredRecord,
    ) -> Result<(ActorNo, &mut Slot), JournalError> {
        let (header, record) = read_record(&*shared.provider, shared.shard, stored)?;
        let slot = self.insert(stored.no, stored.actor.clone(), record);
        slot.changed = header.position;
        Ok((stored.no, slot))
    }

    fn insert(&mut self, no: ActorNo, actor: ActorId, record: ActorRecord) -> &mut Slot {
        self.last = self.last.max(no);
        self.letters.remove(&no);
        self.by_name.insert(actor.clone(), no);
        self.by_no.entry(no).or_insert(Slot {
            actor,
            record,
            changed: Position::default(),
            dirty: false,
            active: false,
            running: None,
            asked: Asked::default(),
            told: Rare::default(),
        })
    }
}

/// Decodes a stored record and checks that it is where it belongs.
pub(crate) fn read_record(
    provider: &dyn ActorProvider,
    shard: ShardId,
    stored: &StoredRecord,
) -> Result<(RecordHeader, ActorRecord), JournalError> {
    let corrupt = |reason: String| JournalError::Corrupt {
        store: provider.location(),
        place: Place::shard(shard).of(&stored.actor).of_no(stored.no),
        reason,
    };
    let (header, record) =
        decode_record(&stored.bytes).map_err(|error| corrupt(error.to_string()))?;
    if (header.shard, header.no) != (shard, stored.no) || header.actor != stored.actor {
        return Err(corrupt(format!(
            "the row holds the record of {}, {:?}, {:?}",
            header.actor, header.shard, header.no
        )));
    }
    Ok((header, record))
}

/// The stored form of a slot that is complete up to `position`.
pub(super) fn stored_record(
    shared: &Shared,
    position: Position,
    no: ActorNo,
    slot: &Slot,
) -> Result<StoredRecord, JournalError> {
    let header = RecordHeader { shard: shared.shard, no, position, actor: slot.actor.clone() };
    let bytes = encode_record(&header, &slot.record)
        .map_err(|error| shared.store_error("encode a record", error))?;
    Ok(StoredRecord {
        no,
        actor: slot.actor.clone(),
        pending: (slot.record.pending.len() + slot.record.outbox.len()) as u64,
        dead_letters: slot.record.dead.len() as u64,
        due_ms: slot.record.timers.next_ms(),
        bytes,
    })
}
