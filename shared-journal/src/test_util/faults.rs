//! A store that fails when it is told to.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use crate::error::JournalError;
use crate::id::{ActorNo, MessageId, Position, Sequence, ShardId};
use crate::owner::Owner;
use crate::provider::{
    ActorKey, ActorProvider, ListedActor, RecordFilter, ShardHead, StoredCommit, StoredKey,
    StoredLetter, StoredRecord, Write,
};

/// What becomes of one write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// The connection is lost before the write: nothing is written. Retryable.
    LostBefore,
    /// The connection is lost after the write: it is there, and the writer does not know.
    /// Retryable.
    LostAfter,
    /// The store is full: nothing is written. Retryable.
    Full,
    /// Nothing is written, and trying again is of no use.
    Failed,
    /// Only the first so many bytes of the commit get to the store, and its writer dies. Final. Behind
    /// a [`LostAfter`](Self::LostAfter) it hits the same commit again, and a store refuses other bytes in
    /// the same place.
    Torn(usize),
    /// The commit is written with this bit turned over, counted from its first byte, modulo its length,
    /// and nobody learns of it. Behind a [`LostAfter`](Self::LostAfter) as above.
    Flipped(usize),
    /// It takes so long, and is well.
    Delayed(Duration),
}

/// A store around another one, for a journal of one process, that goes wrong as a test says.
///
/// ```
/// use shared_journal::EventJournal;
/// use shared_journal::test_util::{Fault, FaultyActorProvider, MemoryActorProvider};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = FaultyActorProvider::new(MemoryActorProvider::new());
/// let journal = EventJournal::builder().open_on(store.clone()).await?;
/// // The next three writes.
/// store.inject([Fault::LostBefore, Fault::LostAfter, Fault::Full]);
/// # Ok(())
/// # }
/// ```
pub struct FaultyActorProvider {
    inner: Arc<dyn ActorProvider>,
    faults: Mutex<VecDeque<Fault>>,
    /// Reads that are yet to fail.
    reads: AtomicUsize,
    cut_off: AtomicBool,
}

impl std::fmt::Debug for FaultyActorProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyActorProvider").field("faults", &self.faults).finish_non_exhaustive()
    }
}

impl FaultyActorProvider {
    /// Around a store; nothing goes wrong yet.
    #[must_use]
    pub fn new(inner: Arc<dyn ActorProvider>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            faults: Mutex::default(),
            reads: AtomicUsize::new(0),
            cut_off: AtomicBool::new(false),
        })
    }

    /// What becomes of the next writes of commits, one after the other, behind those that were
    /// injected before.
    pub fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).extend(faults);
    }

    /// The next so many reads find the connection lost, as openings of a shard do. Retryable.
    pub fn fail_reads(&self, count: usize) {
        self.reads.store(count, Ordering::Release);
    }

    /// How many reads are yet to fail.
    #[must_use]
    pub fn failing_reads(&self) -> usize {
        self.reads.load(Ordering::Acquire)
    }

    /// How many faults of writes have not happened yet.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The store is away: nothing reaches it, reads neither.
    pub fn cut_off(&self) {
        self.cut_off.store(true, Ordering::Release);
    }

    /// The store is there, and nothing goes wrong any more.
    pub fn heal(&self) {
        self.fail_reads(0);
        self.faults.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.cut_off.store(false, Ordering::Release);
    }

    fn reach(&self, operation: &'static str) -> Result<&dyn ActorProvider, JournalError> {
        if self.cut_off.load(Ordering::Acquire) {
            return Err(self.fail(operation, true, "the store is away"));
        }
        Ok(&*self.inner)
    }

    fn read(&self, operation: &'static str) -> Result<&dyn ActorProvider, JournalError> {
        let fewer = |left: usize| left.checked_sub(1);
        match self.reads.fetch_update(Ordering::AcqRel, Ordering::Acquire, fewer) {
            Ok(_) => Err(self.fail(operation, true, "the connection was lost")),
            Err(_) => self.reach(operation),
        }
    }

    fn fail(&self, operation: &'static str, retryable: bool, reason: &str) -> JournalError {
        let (store, source) = (self.inner.location(), reason.into());
        JournalError::Store { store, operation, retryable, source }
    }
}

#[async_trait]
impl ActorProvider for FaultyActorProvider {
    fn location(&self) -> String {
        self.inner.location()
    }

    fn row_bytes(&self) -> usize {
        self.inner.row_bytes()
    }

    async fn open_shard(&self, shard: ShardId) -> Result<ShardHead, JournalError> {
        self.read("open shard")?.open_shard(shard).await
    }

    async fn read_head(&self, shard: ShardId) -> Result<Option<ShardHead>, JournalError> {
        self.read("read a shard's head")?.read_head(shard).await
    }

    async fn owner(&self, shard: ShardId) -> Result<Option<Owner>, JournalError> {
        self.read("read a shard's owner")?.owner(shard).await
    }

    async fn write(&self, write: &Write<'_>) -> Result<(), JournalError> {
        const COMMIT: &str = "commit";
        let inner = self.reach(COMMIT)?;
        let Some((position, bytes)) = write.append else { return inner.write(write).await };
        let fault = self.faults.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let mut bytes = Cow::Borrowed(bytes);
        match fault {
            Some(Fault::LostBefore) => {
                return Err(self.fail(COMMIT, true, "the connection was lost"));
            }
            Some(Fault::Full) => return Err(self.fail(COMMIT, true, "the store is full")),
            Some(Fault::Failed) => return Err(self.fail(COMMIT, false, "the store has failed")),
            Some(Fault::Torn(keep)) => bytes.to_mut().truncate(keep),
            Some(Fault::Flipped(bit)) => {
                let place = bit / 8 % bytes.len().max(1);
                if let Some(byte) = bytes.to_mut().get_mut(place) {
                    *byte ^= 1 << (bit % 8);
                }
            }
            // The journal's thread, which may block.
            Some(Fault::Delayed(time)) => std::thread::sleep(time),
            Some(Fault::LostAfter) | None => {}
        }
        inner.write(&Write { append: Some((position, &bytes)), ..*write }).await?;
        match fault {
            Some(Fault::LostAfter) => Err(self.fail(COMMIT, true, "the connection was lost")),
            Some(Fault::Torn(_)) => Err(self.fail(COMMIT, false, "the power is gone")),
            _ => Ok(()),
        }
    }

    async fn read_commits(
        &self,
        shard: ShardId,
        from: Position,
        max_bytes: usize,
    ) -> Result<Vec<StoredCommit>, JournalError> {
        self.read("read the log")?.read_commits(shard, from, max_bytes).await
    }

    async fn load_record(
        &self,
        shard: ShardId,
        actor: ActorKey<'_>,
    ) -> Result<Option<StoredRecord>, JournalError> {
        self.read("load an actor")?.load_record(shard, actor).await
    }

    async fn list_records(
        &self,
        shard: ShardId,
        filter: RecordFilter,
        after: ActorNo,
        limit: usize,
    ) -> Result<Vec<ListedActor>, JournalError> {
        self.read("list actors")?.list_records(shard, filter, after, limit).await
    }

    async fn load_letters(
        &self,
        shard: ShardId,
        no: ActorNo,
        after: Sequence,
        max_bytes: usize,
    ) -> Result<Vec<StoredLetter>, JournalError> {
        self.read("load dead letters")?.load_letters(shard, no, after, max_bytes).await
    }

    async fn load_keys(
        &self,
        shard: ShardId,
        no: ActorNo,
        ids: &[MessageId],
    ) -> Result<Vec<StoredKey>, JournalError> {
        self.read("load keys")?.load_keys(shard, no, ids).await
    }

    async fn list_keys(
        &self,
        shard: ShardId,
        no: ActorNo,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<StoredKey>, JournalError> {
        self.read("list keys")?.list_keys(shard, no, after, limit).await
    }

    async fn check(&self) -> Result<Vec<String>, JournalError> {
        self.read("check")?.check().await
    }
}
