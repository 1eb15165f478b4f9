//! A shard as its log tells it.

use std::collections::BTreeMap;
use std::ops::Bound;

use rustc_hash::FxHashMap;

use super::entry::{Commit, Entry, Key, Letter, Record, Written};
use super::log::State;
use crate::id::{ActorId, ActorNo, Epoch, Position, Sequence};
use crate::key_table::KeyTable;
use crate::owner::Owner;
use crate::provider::{
    ListedActor, RecordFilter, ShardHead, StoredCommit, StoredLetter, StoredRecord,
};

/// Moved at a time when all that lives is written again: so many bytes.
const PART_BYTES: usize = 1 << 20;

/// What the entries of a log come to.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) epoch: Epoch,
    pub(super) owner: Option<Owner>,
    checkpoint: Position,
    log: BTreeMap<Position, Vec<u8>>,
    records: BTreeMap<ActorNo, StoredRecord>,
    numbers: FxHashMap<ActorId, ActorNo>,
    letters: BTreeMap<(ActorNo, Sequence), Vec<u8>>,
    pub(super) keys: KeyTable,
    bytes: usize,
}

impl State for Shard {
    type Entry = Entry;

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Opened { epoch, by } => {
                self.epoch = epoch;
                self.owner = by;
            }
            Entry::Written(written) => self.write(written),
        }
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    /// In parts of about a megabyte.
    fn whole(&self) -> Vec<Entry> {
        let mut parts = Parts::default();
        parts.with_room_for(0).checkpoint = Some(self.checkpoint);
        for (position, batch) in &self.log {
            let commit = Commit { position: *position, batch: batch.clone() };
            parts.with_room_for(batch.len()).commits.push(commit);
        }
        for record in self.records.values() {
            parts.with_room_for(record.bytes.len()).records.push(Record::from(record));
        }
        for ((no, sequence), bytes) in &self.letters {
            let letter = Letter { no: *no, sequence: *sequence, letter: bytes.clone() };
            parts.with_room_for(bytes.len()).letters.push(letter);
        }
        for key in self.keys.iter() {
            parts.with_room_for(key.bytes.len()).keys.push(Key::from(key));
        }
        let opened = Entry::Opened { epoch: self.epoch, by: self.owner.clone() };
        std::iter::once(opened).chain(parts.done.into_iter().map(Entry::Written)).collect()
    }
}

impl Shard {
    /// Takes in what an owner wrote. To do so again changes nothing.
    fn write(&mut self, written: Written) {
        for Commit { position, batch } in written.commits {
            self.bytes += batch.len();
            let twin = self.log.insert(position, batch);
            self.bytes -= twin.map_or(0, |batch| batch.len());
        }
        for record in written.records.into_iter().map(StoredRecord::from) {
            self.bytes += record.bytes.len();
            self.numbers.insert(record.actor.clone(), record.no);
            let replaced = self.records.insert(record.no, record);
            self.bytes -= replaced.map_or(0, |record| record.bytes.len());
        }
        for Letter { no, sequence, letter } in written.letters {
            self.bytes += letter.len();
            let replaced = self.letters.insert((no, sequence), letter);
            self.bytes -= replaced.map_or(0, |letter| letter.len());
        }
        for gone in written.removed_letters {
            let removed = self.letters.remove(&gone);
            self.bytes -= removed.map_or(0, |letter| letter.len());
        }
        written.keys_of.into_iter().for_each(|no| self.keys.delete_of(no));
        written.keys_before.into_iter().for_each(|ms| self.keys.delete_before(ms));
        written.keys.into_iter().for_each(|key| self.keys.insert(key.into()));
        self.checkpoint = written.checkpoint.unwrap_or(self.checkpoint);
        if let Some(before) = written.truncate_before {
            let kept = self.log.split_off(&before);
            let gone = std::mem::replace(&mut self.log, kept);
            self.bytes -= gone.values().map(Vec::len).sum::<usize>();
        }
    }

    pub(super) fn head(&self) -> ShardHead {
        let tail = self.log.last_key_value().map_or(Position(0), |(position, _)| *position);
        ShardHead {
            epoch: self.epoch,
            checkpoint: self.checkpoint,
            oldest: self.log.first_key_value().map(|(position, _)| *position),
            tail: tail.max(self.checkpoint),
            last_actor: self.records.last_key_value().map_or(ActorNo(0), |(no, _)| *no),
            actors: self.records.len() as u64,
        }
    }

    pub(super) fn commit(&self, position: Position) -> Option<&[u8]> {
        self.log.get(&position).map(Vec::as_slice)
    }

    pub(super) fn commits(&self, from: Position, max_bytes: usize) -> Vec<StoredCommit> {
        let (mut commits, mut bytes_read) = (Vec::new(), 0);
        for (position, batch) in self.log.range(from..) {
            if bytes_read >= max_bytes {
                break;
            }
            bytes_read += batch.len();
            commits.push(StoredCommit { position: *position, bytes: batch.clone() });
        }
        commits
    }

    pub(super) fn letters(
        &self,
        no: ActorNo,
        after: Sequence,
        max_bytes: usize,
    ) -> Vec<StoredLetter> {
        let (mut letters, mut bytes_read) = (Vec::new(), 0);
        let range = (Bound::Excluded((no, after)), Bound::Included((no, Sequence(u64::MAX))));
        for ((no, sequence), bytes) in self.letters.range(range) {
            if bytes_read >= max_bytes {
                break;
            }
            bytes_read += bytes.len();
            letters.push(StoredLetter { no: *no, sequence: *sequence, bytes: bytes.clone() });
        }
        letters
    }

    pub(super) fn record(&self, no: ActorNo) -> Option<&StoredRecord> {
        self.records.get(&no)
    }

    pub(super) fn record_of(&self, actor: &ActorId) -> Option<&StoredRecord> {
        self.record(*self.numbers.get(actor)?)
    }

    pub(super) fn list(
        &self,
        filter: RecordFilter,
        after: ActorNo,
        limit: usize,
    ) -> Vec<ListedActor> {
        let matches = |record: &&StoredRecord| match filter {
            RecordFilter::All => true,
            RecordFilter::Pending => record.pending > 0,
            RecordFilter::DeadLetters => record.dead_letters > 0,
            RecordFilter::Timers => record.due_ms.is_some(),
        };
        let after = self.records.range(ActorNo(after.0.saturating_add(1))..);
        after
            .map(|(_, record)| record)
            .filter(matches)
            .take(limit)
            .map(|record| ListedActor {
                no: record.no,
                actor: record.actor.clone(),
                due_ms: record.due_ms,
            })
            .collect()
    }
}

#[derive(Default)]
struct Parts {
    done: Vec<Written>,
    room: usize,
}

impl Parts {
    fn with_room_for(&mut self, bytes: usize) -> &mut Written {
        if self.done.is_empty() || self.room == 0 {
            self.done.push(Written::default());
            self.room = PART_BYTES;
        }
        self.room = self.room.saturating_sub(bytes);
        let last = self.done.len() - 1;
        &mut self.done[last]
    }
}
