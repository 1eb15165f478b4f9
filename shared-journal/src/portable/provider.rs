//! `ActorProvider` over write-once slots.

use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use duroxide::providers::Provider;
use rustc_hash::FxHashMap;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

use super::entry::{Commit, Entry, Key, Letter, Record, Written};
use super::inbox::{Inbox, Replies};
use super::leases::Leases;
use super::log::Log;
use super::shard::Shard;
use super::slots::Slots;
use crate::cluster::ClusterStore;
use crate::error::JournalError;
use crate::id::{ActorNo, Epoch, MessageId, Position, Sequence, ShardId};
use crate::owner::Owner;
use crate::provider::{
    ActorKey, ActorProvider, CheckpointPart, ListedActor, RecordFilter, ShardHead, StoredCommit,
    StoredKey, StoredLetter, StoredRecord, Write,
};

/// A journal in the history of any duroxide provider.
///
/// [`EventJournal::open`](crate::EventJournal::open) makes it for a provider that has no store of
/// its own here. To have it for one that has, hand it to
/// [`open_on`](crate::EventJournalBuilder::open_on):
///
/// ```
/// # use std::sync::Arc;
/// # use duroxide::providers::sqlite::SqliteProvider;
/// use shared_journal::EventJournal;
/// use shared_journal::portable::PortableActorProvider;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let provider = Arc::new(SqliteProvider::new_in_memory().await?);
/// let store = PortableActorProvider::new(provider);
/// let journal = EventJournal::builder().open_on(store).await?;
/// # Ok(())
/// # }
/// ```
pub struct PortableActorProvider {
    pub(super) slots: Slots,
    shards: Logs<ShardId, Opened>,
    pub(super) leases: AsyncMutex<Log<Leases>>,
    pub(super) inboxes: Logs<ShardId, Log<Inbox>>,
    pub(super) replies: Logs<String, Log<Replies>>,
}

/// The log of a shard, and the epoch in which this process opened the shard, if it did.
struct Opened {
    log: Log<Shard>,
    owned: Option<Epoch>,
}

/// Logs that are made when they are first wanted.
pub(super) struct Logs<K, L>(Mutex<FxHashMap<K, Arc<AsyncMutex<L>>>>);

impl<K: Hash + Eq, L> Logs<K, L> {
    fn new() -> Self {
        Self(Mutex::default())
    }

    pub(super) async fn get(&self, key: K, new: impl FnOnce() -> L) -> OwnedMutexGuard<L> {
        let log = {
            let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            logs.entry(key).or_insert_with(|| Arc::new(AsyncMutex::new(new()))).clone()
        };
        log.lock_owned().await
    }
}

impl std::fmt::Debug for PortableActorProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PortableActorProvider")
            .field("store", &self.slots.store())
            .finish_non_exhaustive()
    }
}

impl PortableActorProvider {
    /// The journal in `provider`'s history. Nothing is read or written before it is used.
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>) -> Arc<Self> {
        Arc::new(Self {
            slots: Slots::new(provider),
            shards: Logs::new(),
            leases: AsyncMutex::new(Log::new(ShardId(0), "actor-journal/leases".into())),
            inboxes: Logs::new(),
            replies: Logs::new(),
        })
    }

    async fn log(&self, shard: ShardId) -> OwnedMutexGuard<Opened> {
        let root = || format!("actor-journal/{shard}");
        self.shards.get(shard, || Opened { log: Log::new(shard, root()), owned: None }).await
    }

    /// The log to read from. The owner knows all that is in it; others look first.
    async fn view(&self, shard: ShardId) -> Result<OwnedMutexGuard<Opened>, JournalError> {
        let mut opened = self.log(shard).await;
        if opened.owned != Some(opened.log.state.epoch) {
            opened.log.catch_up(&self.slots).await?;
        }
        Ok(opened)
    }
}

#[async_trait]
impl ActorProvider for PortableActorProvider {
    fn location(&self) -> String {
        self.slots.store().to_owned()
    }

    /// In base64 it is longer, by a third.
    fn row_bytes(&self) -> usize {
        600_000_000
    }

    fn cluster(self: Arc<Self>) -> Option<Arc<dyn ClusterStore>> {
        Some(self)
    }

    async fn open_shard(&self, shard: ShardId) -> Result<ShardHead, JournalError> {
        let mut opened = self.log(shard).await;
        let Opened { log, owned } = &mut *opened;
        log.catch_up(&self.slots).await?;
        loop {
            let epoch = Epoch(log.state.epoch.0 + 1);
            if log
                .append(&self.slots, Entry::Opened { epoch, by: Some(Owner::this_process()) })
                .await?
            {
                *owned = Some(epoch);
                return Ok(log.state.head());
            }
        }
    }

    async fn read_head(&self, shard: ShardId) -> Result<Option<ShardHead>, JournalError> {
        if !self.log(shard).await.log.exists(&self.slots).await? {
            return Ok(None);
        }
        let head = self.view(shard).await?.log.state.head();
        Ok((head.epoch > Epoch(0)).then_some(head))
    }

    async fn owner(&self, shard: ShardId) -> Result<Option<Owner>, JournalError> {
        if !self.log(shard).await.log.exists(&self.slots).await? {
            return Ok(None);
        }
        let mut opened = self.log(shard).await;
        opened.log.catch_up(&self.slots).await?;
        Ok(opened.log.state.owner.clone())
    }

    async fn write(&self, write: &Write<'_>) -> Result<(), JournalError> {
        let log = &mut self.view(write.shard).await?.log;
        let nothing = CheckpointPart::default();
        let part = write.checkpoint.unwrap_or(&nothing);
        loop {
            let fenced =
                || JournalError::Fenced { shard: write.shard, epoch: write.epoch, by: None };
            if log.state.epoch != write.epoch {
                return Err(fenced());
            }
            let append = match write.append {
                Some((position, batch)) => match log.state.commit(position) {
                    Some(there) if there == batch => None,
                    Some(_) => return Err(fenced()),
                    None => Some(Commit { position, batch: batch.to_vec() }),
                },
                None => None,
            };
            let written = Written {
                commits: append.into_iter().collect(),
                records: part.records.iter().map(Record::from).collect(),
                letters: part.letters.iter().map(Letter::from).collect(),
                removed_letters: part.removed_letters.clone(),
                keys: part.keys.iter().map(Key::from).collect(),
                keys_of: part.keys_of,
                keys_before: part.keys_before,
                checkpoint: part.checkpoint,
                truncate_before: part.truncate_before,
            };
            // Whoever asks for nothing asks whether he is still the owner.
            if log.append(&self.slots, Entry::Written(written)).await? {
                log.compact(&self.slots).await;
                return Ok(());
            }
        }
    }

    async fn read_commits(
        &self,
        shard: ShardId,
        from: Position,
        max_bytes: usize,
    ) -> Result<Vec<StoredCommit>, JournalError> {
        Ok(self.view(shard).await?.log.state.commits(from, max_bytes))
    }

    async fn load_record(
        &self,
        shard: ShardId,
        actor: ActorKey<'_>,
    ) -> Result<Option<StoredRecord>, JournalError> {
        let opened = self.view(shard).await?;
        Ok(match actor {
            ActorKey::Name(name) => opened.log.state.record_of(name),
            ActorKey::No(no) => opened.log.state.record(no),
        }
        .cloned())
    }

    async fn list_records(
        &self,
        shard: ShardId,
        filter: RecordFilter,
        after: ActorNo,
        limit: usize,
    ) -> Result<Vec<ListedActor>, JournalError> {
        Ok(self.view(shard).await?.log.state.list(filter, after, limit))
    }

    async fn load_letters(
        &self,
        shard: ShardId,
        no: ActorNo,
        after: Sequence,
        max_bytes: usize,
    ) -> Result<Vec<StoredLetter>, JournalError> {
        Ok(self.view(shard).await?.log.state.letters(no, after, max_bytes))
    }

    async fn load_keys(
        &self,
        shard: ShardId,
        no: ActorNo,
        ids: &[MessageId],
    ) -> Result<Vec<StoredKey>, JournalError> {
        Ok(self.view(shard).await?.log.state.keys.load(no, ids))
    }

    async fn list_keys(
        &self,
        shard: ShardId,
        no: ActorNo,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<StoredKey>, JournalError> {
        Ok(self.view(shard).await?.log.state.keys.list(no, after, limit))
    }

    /// The provider's business.
    async fn check(&self) -> Result<Vec<String>, JournalError> {
        Ok(Vec::new())
    }
}
