//! Moving a journal from one store to another.

use std::sync::Arc;

use crate::cluster::{ClusterStore, Founding, found};
use crate::error::{JournalError, Place};
use crate::id::{ActorId, ActorNo, MessageId, Position, Sequence, ShardId};
use crate::provider::{
    ActorKey, ActorProvider, CheckpointPart, RecordFilter, ShardHead, StoredCommit, StoredKey,
    StoredLetter, StoredRecord, Write,
};

/// Moved at a time: so many bytes, of the log or of records, and no more records than that.
pub(crate) const PART_BYTES: usize = 1 << 20;
const PART_RECORDS: usize = 256;
/// Some hundred bytes each.
const PART_KEYS: usize = 4096;

/// What [`copy`] moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct CopyReport {
    /// Records of actors, as the last checkpoint left them.
    pub records: u64,
    /// Commits of the log.
    pub commits: u64,
}

/// Copies a journal into an empty store, and compares the two at the end. The copy has the same
/// name and the same number of shards; [`reshard`](crate::reshard) changes those. Letters in inboxes
/// come along.
///
/// Whoever has the journal at `from` open is fenced, so nothing is added to it meanwhile; `from` is
/// otherwise left as it is. Open `to` when this has returned, not before: a part of a journal looks
/// like a journal. If this fails or is cancelled, empty `to` and begin anew. Get the two stores with
/// [`attach`](crate::attach).
///
/// Needs a tokio runtime. If the future is dropped the copying goes on to its end.
///
/// # Errors
/// [`JournalError::NotEmpty`]; [`JournalError::Founding`] if the new store is another cluster's,
/// [`JournalError::NotShared`] if it cannot have several shards; a store that cannot be read or written; a copy that is not what was
/// copied, as [`JournalError::Corrupt`].
pub async fn copy(
    from: Arc<dyn ActorProvider>,
    to: Arc<dyn ActorProvider>,
) -> Result<CopyReport, JournalError> {
    let founding = founding_of(&from).await?;
    match to.clone().cluster() {
        Some(store) => found(&*store, &founding).await?,
        None if founding.shards == 1 => {}
        None => return Err(JournalError::NotShared { store: to.location() }),
    }
    let letters = from.clone().cluster().zip(to.clone().cluster());
    let shards = founding.shards;
    // Stores may block.
    let copying = tokio::task::spawn_blocking(move || {
        let mut report = CopyReport { records: 0, commits: 0 };
        for shard in (0..shards).map(ShardId) {
            let copied = pollster::block_on(copy_shard(&*from, &*to, shard))?;
            report.records += copied.records;
            report.commits += copied.commits;
        }
        Ok(report)
    });
    let report = copying.await.map_err(|_| JournalError::Closed)??;
    if let Some((from, to)) = letters {
        for shard in (0..shards).map(ShardId) {
            move_letters(&*from, shard, &*to, |_| shard).await?;
        }
    }
    Ok(report)
}

/// What a store is: the journal of one process, if it does not say.
pub(crate) async fn founding_of(store: &Arc<dyn ActorProvider>) -> Result<Founding, JournalError> {
    let one = Founding { cluster: String::new(), shards: 1 };
    match store.clone().cluster() {
        Some(store) => store.found(&one).await,
        None => Ok(one),
    }
}

/// Copies the letters of an inbox, in their order.
pub(crate) async fn move_letters(
    from: &dyn ClusterStore,
    shard: ShardId,
    to: &dyn ClusterStore,
    place: impl Fn(&ActorId) -> ShardId,
) -> Result<(), JournalError> {
    let mut after = 0;
    loop {
        let letters = from.take(shard, after, PART_BYTES).await?;
        let Some((last, _)) = letters.last() else { return Ok(()) };
        after = *last;
        for (_, letter) in letters {
            to.post(place(&letter.actor), &[letter], u64::MAX >> 1).await?;
        }
    }
}

async fn copy_shard(
    from: &dyn ActorProvider,
    to: &dyn ActorProvider,
    shard: ShardId,
) -> Result<CopyReport, JournalError> {
    let source = from.open_shard(shard).await?;
    let mut target = to.open_shard(shard).await?;
    if target.tail > Position(0) || target.actors > 0 {
        return Err(JournalError::NotEmpty { store: to.location() });
    }
    // No commit of the log may be of a newer epoch than the next owner's.
    while target.epoch < source.epoch {
        target = to.open_shard(shard).await?;
    }
    let nothing = Write { shard, epoch: target.epoch, append: None, checkpoint: None };
    let mut report = CopyReport { records: 0, commits: 0 };

    let mut next = Position(0);
    while let Some(commits) = commits_from(from, shard, next).await? {
        for commit in &commits {
            let append = Some((commit.position, &commit.bytes[..]));
            to.write(&Write { append, ..nothing }).await?;
            next = commit.position.next();
        }
        report.commits += commits.len() as u64;
    }
    let mut after = ActorNo(0);
    while let Some(records) = records_after(from, shard, after).await? {
        after = records.last().map_or(after, |record| record.no);
        report.records += records.len() as u64;
        for record in &records {
            let mut sent = Sequence(0);
            while let Some(letters) = letters_after(from, shard, record.no, sent).await? {
                sent = letters.last().map_or(sent, |letter| letter.sequence);
                let part = CheckpointPart { letters, ..CheckpointPart::default() };
                to.write(&Write { checkpoint: Some(&part), ..nothing }).await?;
            }
            let mut moved = None;
            while let Some(keys) = keys_after(from, shard, record.no, moved).await? {
                moved = keys.last().map(|key| key.id);
                let part = CheckpointPart { keys, ..CheckpointPart::default() };
                to.write(&Write { checkpoint: Some(&part), ..nothing }).await?;
            }
        }
        let part = CheckpointPart { records, ..CheckpointPart::default() };
        to.write(&Write { checkpoint: Some(&part), ..nothing }).await?;
    }
    let last = CheckpointPart { checkpoint: Some(source.checkpoint), ..CheckpointPart::default() };
    to.write(&Write { checkpoint: Some(&last), ..nothing }).await?;
    compare(from, to, shard, source).await?;
    Ok(report)
}

/// Reads both from the beginning.
async fn compare(
    from: &dyn ActorProvider,
    to: &dyn ActorProvider,
    shard: ShardId,
    source: ShardHead,
) -> Result<(), JournalError> {
    let differs = |place: Place| JournalError::Corrupt {
        store: to.location(),
        place,
        reason: format!("the copy is not what is in {}", from.location()),
    };
    let mut next = Position(0);
    while let Some(commits) = commits_from(from, shard, next).await? {
        let copied = commits_from(to, shard, next).await?.unwrap_or_default();
        if copied != commits {
            return Err(differs(Place::shard(shard).at(next)));
        }
        next = commits.last().map_or(next, |commit| commit.position.next());
    }
    let mut after = ActorNo(0);
    while let Some(records) = records_after(from, shard, after).await? {
        let copied = records_after(to, shard, after).await?.unwrap_or_default();
        if copied != records {
            return Err(differs(Place::shard(shard).of_no(after)));
        }
        for record in &records {
            let mut seen = Sequence(0);
            while let Some(letters) = letters_after(from, shard, record.no, seen).await? {
                if letters_after(to, shard, record.no, seen).await?.as_ref() != Some(&letters) {
                    return Err(differs(Place::shard(shard).of_no(record.no).message(seen)));
                }
                seen = letters.last().map_or(seen, |letter| letter.sequence);
            }
            let mut seen = None;
            while let Some(keys) = keys_after(from, shard, record.no, seen).await? {
                if keys_after(to, shard, record.no, seen).await?.as_ref() != Some(&keys) {
                    return Err(differs(Place::shard(shard).of_no(record.no)));
                }
                seen = keys.last().map(|key| key.id);
            }
        }
        after = records.last().map_or(after, |record| record.no);
    }
    let copied = to.open_shard(shard).await?;
    let same = ShardHead { epoch: copied.epoch, ..source };
    if copied == same { Ok(()) } else { Err(differs(Place::shard(shard))) }
}

async fn commits_from(
    store: &dyn ActorProvider,
    shard: ShardId,
    next: Position,
) -> Result<Option<Vec<StoredCommit>>, JournalError> {
    let commits = store.read_commits(shard, next, PART_BYTES).await?;
    Ok((!commits.is_empty()).then_some(commits))
}

pub(crate) async fn letters_after(
    store: &dyn ActorProvider,
    shard: ShardId,
    no: ActorNo,
    after: Sequence,
) -> Result<Option<Vec<StoredLetter>>, JournalError> {
    let letters = store.load_letters(shard, no, after, PART_BYTES).await?;
    Ok((!letters.is_empty()).then_some(letters))
}

pub(crate) async fn keys_after(
    store: &dyn ActorProvider,
    shard: ShardId,
    no: ActorNo,
    after: Option<MessageId>,
) -> Result<Option<Vec<StoredKey>>, JournalError> {
    let keys = store.list_keys(shard, no, after, PART_KEYS).await?;
    Ok((!keys.is_empty()).then_some(keys))
}

pub(crate) async fn records_after(
    store: &dyn ActorProvider,
    shard: ShardId,
    after: ActorNo,
) -> Result<Option<Vec<StoredRecord>>, JournalError> {
    let listed = store.list_records(shard, RecordFilter::All, after, PART_RECORDS).await?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    for actor in listed {
        if bytes >= PART_BYTES {
            break;
        }
        let record = store.load_record(shard, ActorKey::No(actor.no)).await?;
        bytes += record.as_ref().map_or(0, |record| record.bytes.len());
        records.extend(record);
    }
    Ok((!records.is_empty()).then_some(records))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ActorId;
    use crate::limits::Durability;
    use crate::sqlite::SqliteActorProvider;

    #[tokio::test]
    async fn large_records_are_moved_a_few_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str| {
            SqliteActorProvider::open(folder.path().join(name), Durability::ProcessCrash).unwrap()
        };
        let (from, to) = (open("from.db"), open("to.db"));
        let owner = from.open_shard(ShardId(0)).await.unwrap();
        let record = |no: u64| StoredRecord {
            no: ActorNo(no),
            actor: ActorId::new("large", no.to_string()),
            pending: 0,
            dead_letters: 0,
            due_ms: None,
            bytes: vec![7; PART_BYTES / 2],
        };
        let records = (1..=9).map(record).collect();
        let part = CheckpointPart { records, ..CheckpointPart::default() };
        let write =
            Write { shard: ShardId(0), epoch: owner.epoch, append: None, checkpoint: Some(&part) };
        from.write(&write).await.unwrap();
        let first = records_after(&*from, ShardId(0), ActorNo(0)).await.unwrap().unwrap();
        assert_eq!(first.len(), 2, "about {PART_BYTES} bytes");
        assert_eq!(copy(from, to).await.unwrap(), CopyReport { records: 9, commits: 0 });
    }
}
