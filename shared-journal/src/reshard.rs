//! Moving the actors of a journal into a store with another number of shards.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::cluster::{Founding, check_shards, found, shard_of};
use crate::codec::Codec;
use crate::copy::{
    CopyReport, PART_BYTES, founding_of, keys_after, letters_after, move_letters, records_after,
};
use crate::engine::{
    Engine, Opening, read_key, read_letter, read_record, stored_key, stored_letter,
};
use crate::envelope::{RecordHeader, decode_record, encode_record};
use crate::error::{JournalError, Place};
use crate::id::{ActorNo, Epoch, Position, Sequence, ShardId};
use crate::limits::Limits;
use crate::provider::{ActorKey, ActorProvider, CheckpointPart, StoredRecord, Write};
use crate::record::{ActorRecord, DeadLetter};

/// Copies the actors of a journal into an empty store that is founded as `founding`, and compares
/// them at the end. So the journal of one process becomes that of a cluster, and a cluster gets
/// another number of shards.
///
/// What an actor has comes along: its state, the messages it has received and not handled, recorded
/// replies, dead letters, and letters in its inbox. Its history stays behind, in `from`, which is
/// otherwise left as it is. Whoever has `from` open is fenced. Join the cluster when this has
/// returned, not before. If this fails or is cancelled, empty `to` and begin anew. Get the two stores
/// with [`attach`](crate::attach).
///
/// Needs a tokio runtime.
///
/// # Errors
/// [`JournalError::NotEmpty`], [`JournalError::NotShared`], [`JournalError::Founding`],
/// [`JournalError::InvalidLimits`]; a store that cannot be read or written; a copy that is not what was copied, as [`JournalError::Corrupt`].
pub async fn reshard(
    from: Arc<dyn ActorProvider>,
    to: Arc<dyn ActorProvider>,
    founding: &Founding,
) -> Result<CopyReport, JournalError> {
    check_shards(founding.shards)?;
    let source = founding_of(&from).await?;
    let target =
        to.clone().cluster().ok_or_else(|| JournalError::NotShared { store: to.location() })?;
    found(&*target, founding).await?;
    // Everything that the logs say goes into the records.
    for shard in (0..source.shards).map(ShardId) {
        let engine = Engine::open(
            from.clone(),
            shard,
            Limits::default(),
            Codec::default(),
            Opening::default(),
        )
        .await?;
        engine.close().await?;
    }
    let (shards, letters_from) = (source.shards, from.clone().cluster());
    let moving = Moving { from, to, targets: FxHashMap::default(), founding: founding.clone() };
    // Stores may block.
    let report = tokio::task::spawn_blocking(move || pollster::block_on(moving.run(shards)))
        .await
        .map_err(|_| JournalError::Closed)??;
    if let Some(letters_from) = letters_from {
        for shard in (0..shards).map(ShardId) {
            let of = |actor: &_| shard_of(actor, founding.shards);
            move_letters(&*letters_from, shard, &*target, of).await?;
        }
    }
    Ok(report)
}

struct Moving {
    from: Arc<dyn ActorProvider>,
    to: Arc<dyn ActorProvider>,
    founding: Founding,
    targets: FxHashMap<ShardId, Target>,
}

/// A shard that is filled.
struct Target {
    /// Its actors have the numbers up to this one.
    last: ActorNo,
    part: Vec<StoredRecord>,
    bytes: usize,
    epoch: Epoch,
}

impl Moving {
    async fn run(mut self, shards: u32) -> Result<CopyReport, JournalError> {
        for shard in (0..self.founding.shards).map(ShardId) {
            let head = self.to.open_shard(shard).await?;
            if head.tail > Position(0) || head.actors > 0 {
                return Err(JournalError::NotEmpty { store: self.to.location() });
            }
            let (part, bytes, epoch) = (Vec::new(), 0, head.epoch);
            self.targets.insert(shard, Target { last: ActorNo(0), part, bytes, epoch });
        }
        let mut report = CopyReport { records: 0, commits: 0 };
        for shard in (0..shards).map(ShardId) {
            let mut after = ActorNo(0);
            while let Some(records) = records_after(&*self.from, shard, after).await? {
                after = records.last().map_or(after, |record| record.no);
                report.records += records.len() as u64;
                for record in records {
                    self.add(shard, record).await?;
                }
            }
        }
        for shard in (0..self.founding.shards).map(ShardId) {
            self.save(shard).await?;
        }
        for shard in (0..shards).map(ShardId) {
            self.compare(shard).await?;
        }
        Ok(report)
    }

    /// Gives a record its place in the new store.
    async fn add(&mut self, from: ShardId, record: StoredRecord) -> Result<(), JournalError> {
        let shard = shard_of(&record.actor, self.founding.shards);
        let Some(target) = self.targets.get_mut(&shard) else { return Ok(()) };
        target.last = ActorNo(target.last.0 + 1);
        let corrupt = |reason: String| JournalError::Corrupt {
            store: self.from.location(),
            place: Place::shard(from).of(&record.actor),
            reason,
        };
        let (_, state) = read_record(&*self.from, from, &record)?;
        let header = RecordHeader {
            shard,
            no: target.last,
            // There is no log before it.
            position: Position(0),
            actor: record.actor.clone(),
        };
        let bytes = encode_record(&header, &state).map_err(|error| corrupt(error.to_string()))?;
        let no = target.last;
        target.bytes += bytes.len();
        let from_no = record.no;
        target.part.push(StoredRecord { no, bytes, ..record });
        let (epoch, full) = (target.epoch, target.bytes >= PART_BYTES);
        self.move_dead_letters((from, from_no), &state, (shard, no), epoch).await?;
        self.move_keys((from, from_no), (shard, no), epoch).await?;
        if full {
            self.save(shard).await?;
        }
        Ok(())
    }

    /// Those in rows, and those in a record of an old version.
    async fn move_dead_letters(
        &self,
        (from, from_no): (ShardId, ActorNo),
        state: &ActorRecord,
        (shard, no): (ShardId, ActorNo),
        epoch: Epoch,
    ) -> Result<(), JournalError> {
        let store = |letters: Vec<DeadLetter>| async move {
            let stored = letters.iter().map(|letter| stored_letter(shard, no, letter));
            let letters = stored.collect::<Result<_, _>>().map_err(|error| {
                let (store, place) = (self.from.location(), Place::shard(from).of_no(from_no));
                JournalError::Corrupt { store, place, reason: error.to_string() }
            })?;
            let part = CheckpointPart { letters, ..CheckpointPart::default() };
            self.to.write(&Write { shard, epoch, append: None, checkpoint: Some(&part) }).await
        };
        let mut sent = Sequence(0);
        while let Some(rows) = letters_after(&*self.from, from, from_no, sent).await? {
            sent = rows.last().map_or(sent, |row| row.sequence);
            let known = rows.iter().filter(|row| state.dead.contains(row.sequence));
            let letters = known.map(|row| read_letter(&*self.from, from, row));
            store(letters.collect::<Result<_, _>>()?).await?;
        }
        for letter in state.dead.to_save() {
            store(vec![letter.clone()]).await?;
        }
        Ok(())
    }

    async fn move_keys(
        &self,
        (from, from_no): (ShardId, ActorNo),
        (shard, no): (ShardId, ActorNo),
        epoch: Epoch,
    ) -> Result<(), JournalError> {
        let mut moved = None;
        while let Some(rows) = keys_after(&*self.from, from, from_no, moved).await? {
            moved = rows.last().map(|row| row.id);
            let mut keys = Vec::with_capacity(rows.len());
            for row in &rows {
                let recorded = read_key(&*self.from, from, row)?;
                keys.push(stored_key(shard, no, &recorded).map_err(|error| {
                    let (store, place) = (self.from.location(), Place::shard(from).of_no(from_no));
                    JournalError::Corrupt { store, place, reason: error.to_string() }
                })?);
            }
            let part = CheckpointPart { keys, ..CheckpointPart::default() };
            self.to.write(&Write { shard, epoch, append: None, checkpoint: Some(&part) }).await?;
        }
        Ok(())
    }

    async fn save(&mut self, shard: ShardId) -> Result<(), JournalError> {
        let Some(target) = self.targets.get_mut(&shard) else { return Ok(()) };
        target.bytes = 0;
        let records = std::mem::take(&mut target.part);
        let part = CheckpointPart { records, ..CheckpointPart::default() };
        let (epoch, checkpoint) = (target.epoch, Some(&part));
        self.to.write(&Write { shard, epoch, append: None, checkpoint }).await
    }

    /// Every record of the source is in the target, with the same content.
    async fn compare(&self, shard: ShardId) -> Result<(), JournalError> {
        let mut after = ActorNo(0);
        while let Some(records) = records_after(&*self.from, shard, after).await? {
            for record in &records {
                let place = shard_of(&record.actor, self.founding.shards);
                let copied = self.to.load_record(place, ActorKey::Name(&record.actor)).await?;
                let content = |it: &StoredRecord| decode_record(&it.bytes).map(|(_, state)| state);
                let same = copied.is_some_and(|copied| content(&copied) == content(record));
                let same = same
                    && self.same_letters(shard, record, place).await?
                    && self.same_keys(shard, record, place).await?;
                if !same {
                    return Err(JournalError::Corrupt {
                        store: self.to.location(),
                        place: Place::shard(place).of(&record.actor),
                        reason: format!("the copy is not what is in {}", self.from.location()),
                    });
                }
            }
            after = records.last().map_or(after, |record| record.no);
        }
        Ok(())
    }

    /// Every dead letter that the record lists is in the target, as it was.
    async fn same_letters(
        &self,
        shard: ShardId,
        record: &StoredRecord,
        place: ShardId,
    ) -> Result<bool, JournalError> {
        let (_, state) = read_record(&*self.from, shard, record)?;
        let key = ActorKey::Name(&record.actor);
        let Some(copied) = self.to.load_record(place, key).await? else { return Ok(false) };
        let (mut seen, mut count) = (Sequence(0), 0);
        while let Some(letters) = letters_after(&*self.to, place, copied.no, seen).await? {
            for stored in &letters {
                let letter = read_letter(&*self.to, place, stored)?;
                if self.letter(shard, record.no, &state, letter.sequence).await?.as_ref()
                    != Some(&letter)
                {
                    return Ok(false);
                }
                seen = letter.sequence;
                count += 1;
            }
        }
        Ok(count == state.dead.len())
    }

    /// Every idempotency key in a row is in the target, as it was.
    async fn same_keys(
        &self,
        shard: ShardId,
        record: &StoredRecord,
        place: ShardId,
    ) -> Result<bool, JournalError> {
        let key = ActorKey::Name(&record.actor);
        let Some(copied) = self.to.load_record(place, key).await? else { return Ok(false) };
        let mut seen = None;
        loop {
            let ours = keys_after(&*self.from, shard, record.no, seen).await?;
            let theirs = keys_after(&*self.to, place, copied.no, seen).await?;
            let (Some(ours), Some(theirs)) = (&ours, &theirs) else { return Ok(ours == theirs) };
            let read_ours = ours.iter().map(|row| read_key(&*self.from, shard, row));
            let read_theirs = theirs.iter().map(|row| read_key(&*self.to, place, row));
            if read_ours.collect::<Result<Vec<_>, _>>()?
                != read_theirs.collect::<Result<Vec<_>, _>>()?
            {
                return Ok(false);
            }
            seen = ours.last().map(|row| row.id);
        }
    }

    /// A dead letter of the source, in its record or in a row.
    async fn letter(
        &self,
        shard: ShardId,
        no: ActorNo,
        state: &ActorRecord,
        sequence: Sequence,
    ) -> Result<Option<DeadLetter>, JournalError> {
        if let Some(letter) = state.dead.unsaved(sequence) {
            return Ok(Some(letter.clone()));
        }
        let before = Sequence(sequence.0.saturating_sub(1));
        let stored = self.from.load_letters(shard, no, before, 1).await?.into_iter().next();
        let stored = stored.filter(|it| it.sequence == sequence && state.dead.contains(sequence));
        stored.map(|it| read_letter(&*self.from, shard, &it)).transpose()
    }
}
