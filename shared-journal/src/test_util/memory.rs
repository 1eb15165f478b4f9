//! A store in memory that remembers how it came about.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;

use crate::error::JournalError;
use crate::id::{ActorNo, Epoch, MessageId, Position, Sequence, ShardId};
use crate::key_table::KeyTable;
use crate::provider::{
    ActorKey, ActorProvider, CheckpointPart, ListedActor, RecordFilter, ShardHead, StoredCommit,
    StoredKey, StoredLetter, StoredRecord, Write,
};

/// A store in memory, for one process and for tests.
///
/// It keeps every write, so a test can have the store that a crash would have left at any moment:
///
/// ```
/// use shared_journal::EventJournal;
/// use shared_journal::test_util::MemoryActorProvider;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = MemoryActorProvider::new();
/// let journal = EventJournal::builder().open_on(store.clone()).await?;
/// // … actors that work on it …
/// for writes in 0..=store.writes() {
///     let after_a_crash = EventJournal::builder().open_on(store.as_of(writes)).await?;
///     // … and what they find there …
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct MemoryActorProvider {
    disk: Mutex<Disk>,
}

#[derive(Debug, Default)]
struct Disk {
    shards: BTreeMap<ShardId, Shard>,
    steps: Vec<Step>,
}

#[derive(Debug, Default)]
struct Shard {
    epoch: Epoch,
    checkpoint: Position,
    log: BTreeMap<Position, Vec<u8>>,
    records: BTreeMap<ActorNo, StoredRecord>,
    letters: BTreeMap<(ActorNo, Sequence), StoredLetter>,
    keys: KeyTable,
}

/// What changed the store.
#[derive(Debug, Clone)]
enum Step {
    Opened(ShardId),
    Written(ShardId, Option<(Position, Vec<u8>)>, Option<CheckpointPart>),
}

impl MemoryActorProvider {
    /// An empty store.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// How often the store was changed. Being opened is a change too.
    #[must_use]
    pub fn writes(&self) -> usize {
        self.disk().steps.len()
    }

    /// Another store, as this one was after so many writes: what a crash would have left then.
    #[must_use]
    pub fn as_of(&self, writes: usize) -> Arc<Self> {
        let mut disk = Disk::default();
        for step in self.disk().steps.iter().take(writes) {
            disk.apply(step.clone());
        }
        Arc::new(Self { disk: Mutex::new(disk) })
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    fn apply(&mut self, step: Step) {
        self.steps.push(step.clone());
        match step {
            Step::Opened(shard) => {
                let epoch = &mut self.shards.entry(shard).or_default().epoch;
                *epoch = Epoch(epoch.0 + 1);
            }
            Step::Written(shard, append, part) => {
                let shard = self.shards.entry(shard).or_default();
                shard.log.extend(append);
                if let Some(part) = part {
                    let CheckpointPart { records, letters, removed_letters, .. } = part;
                    let CheckpointPart { checkpoint, truncate_before, .. } = part;
                    let CheckpointPart { keys, keys_of, keys_before, .. } = part;
                    shard.records.extend(records.into_iter().map(|record| (record.no, record)));
                    let letters = letters.into_iter();
                    shard.letters.extend(letters.map(|it| ((it.no, it.sequence), it)));
                    for gone in removed_letters {
                        shard.letters.remove(&gone);
                    }
                    keys_of.into_iter().for_each(|no| shard.keys.delete_of(no));
                    keys_before.into_iter().for_each(|ms| shard.keys.delete_before(ms));
                    keys.into_iter().for_each(|key| shard.keys.insert(key));
                    shard.checkpoint = checkpoint.unwrap_or(shard.checkpoint);
                    if let Some(before) = truncate_before {
                        shard.log = shard.log.split_off(&before);
                    }
                }
            }
        }
    }
}

impl Shard {
    fn head(&self) -> ShardHead {
        let last = self.log.last_key_value().map_or(Position(0), |(position, _)| *position);
        ShardHead {
            epoch: self.epoch,
            checkpoint: self.checkpoint,
            oldest: self.log.first_key_value().map(|(position, _)| *position),
            tail: last.max(self.checkpoint),
            last_actor: self.records.last_key_value().map_or(ActorNo(0), |(no, _)| *no),
            actors: self.records.len() as u64,
        }
    }
}

#[async_trait]
impl ActorProvider for MemoryActorProvider {
    fn location(&self) -> String {
        "memory".to_owned()
    }

    fn row_bytes(&self) -> usize {
        usize::MAX
    }

    async fn open_shard(&self, shard: ShardId) -> Result<ShardHead, JournalError> {
        let mut disk = self.disk();
        disk.apply(Step::Opened(shard));
        Ok(disk.shards.entry(shard).or_default().head())
    }

    async fn read_head(&self, shard: ShardId) -> Result<Option<ShardHead>, JournalError> {
        Ok(self.disk().shards.get(&shard).map(Shard::head))
    }

    async fn write(&self, write: &Write<'_>) -> Result<(), JournalError> {
        let mut disk = self.disk();
        let stored = disk.shards.get(&write.shard).filter(|shard| shard.epoch == write.epoch);
        let fenced = || JournalError::Fenced { shard: write.shard, epoch: write.epoch, by: None };
        let log = &stored.ok_or_else(fenced)?.log;
        // Of an earlier attempt, or of somebody else.
        let there = write.append.and_then(|(position, bytes)| Some((log.get(&position)?, bytes)));
        if there.is_some_and(|(stored, bytes)| stored != bytes) {
            return Err(fenced());
        }
        if there.is_some() && write.checkpoint.is_none() {
            return Ok(());
        }
        let append = write.append.map(|(position, bytes)| (position, bytes.to_vec()));
        disk.apply(Step::Written(write.shard, append, write.checkpoint.cloned()));
        Ok(())
    }

    async fn read_commits(
        &self,
        shard: ShardId,
        from: Position,
        max_bytes: usize,
    ) -> Result<Vec<StoredCommit>, JournalError> {
        let disk = self.disk();
        let (mut commits, mut bytes_read) = (Vec::new(), 0);
        let log = disk.shards.get(&shard).into_iter().flat_map(|shard| shard.log.range(from..));
        for (position, bytes) in log {
            if bytes_read >= max_bytes {
                break;
            }
            bytes_read += bytes.len();
            commits.push(StoredCommit { position: *position, bytes: bytes.clone() });
        }
        Ok(commits)
    }

    async fn load_record(
        &self,
        shard: ShardId,
        actor: ActorKey<'_>,
    ) -> Result<Option<StoredRecord>, JournalError> {
        let disk = self.disk();
        let Some(shard) = disk.shards.get(&shard) else { return Ok(None) };
        Ok(match actor {
            ActorKey::No(no) => shard.records.get(&no).cloned(),
            ActorKey::Name(name) => shard.records.values().find(|it| it.actor == *name).cloned(),
        })
    }

    async fn list_records(
        &self,
        shard: ShardId,
        filter: RecordFilter,
        after: ActorNo,
        limit: usize,
    ) -> Result<Vec<ListedActor>, JournalError> {
        let disk = self.disk();
        let Some(shard) = disk.shards.get(&shard) else { return Ok(Vec::new()) };
        let listed = shard.records.range(ActorNo(after.0 + 1)..).map(|(_, record)| record);
        let wanted = listed.filter(|record| match filter {
            RecordFilter::All => true,
            RecordFilter::Pending => record.pending > 0,
            RecordFilter::DeadLetters => record.dead_letters > 0,
            RecordFilter::Timers => record.due_ms.is_some(),
        });
        let actor = |it: &StoredRecord| ListedActor {
            no: it.no,
            actor: it.actor.clone(),
            due_ms: it.due_ms,
        };
        Ok(wanted.take(limit).map(actor).collect())
    }

    async fn load_letters(
        &self,
        shard: ShardId,
        no: ActorNo,
        after: Sequence,
        max_bytes: usize,
    ) -> Result<Vec<StoredLetter>, JournalError> {
        let disk = self.disk();
        let (mut letters, mut bytes_read) = (Vec::new(), 0);
        let range = (Bound::Excluded((no, after)), Bound::Included((no, Sequence(u64::MAX))));
        let stored = disk.shards.get(&shard).into_iter();
        for letter in stored.flat_map(|shard| shard.letters.range(range)).map(|(_, it)| it) {
            if bytes_read >= max_bytes {
                break;
            }
            bytes_read += letter.bytes.len();
            letters.push(letter.clone());
        }
        Ok(letters)
    }

    async fn load_keys(
        &self,
        shard: ShardId,
        no: ActorNo,
        ids: &[MessageId],
    ) -> Result<Vec<StoredKey>, JournalError> {
        let disk = self.disk();
        Ok(disk.shards.get(&shard).map_or_else(Vec::new, |shard| shard.keys.load(no, ids)))
    }

    async fn list_keys(
        &self,
        shard: ShardId,
        no: ActorNo,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<StoredKey>, JournalError> {
        let disk = self.disk();
        let shard = disk.shards.get(&shard);
        Ok(shard.map_or_else(Vec::new, |shard| shard.keys.list(no, after, limit)))
    }

    async fn check(&self) -> Result<Vec<String>, JournalError> {
        Ok(Vec::new())
    }
}
