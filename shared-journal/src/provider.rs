//! The storage contract: what a store must do for the journal.
//!
//! A provider stores bytes; it does not look into them. It keeps two things a shard: a log of
//! commits, and one record per actor that checkpoints replace, with
//! the dead letters and the older idempotency keys of the actor beside it, a row each. [`sqlite`](crate::sqlite) is one
//! implementation; those of others show with `provider_test` (a feature) that they keep the contract.

use std::sync::Arc;

use async_trait::async_trait;

use crate::cluster::ClusterStore;
use crate::error::JournalError;
use crate::id::{ActorId, ActorNo, Epoch, MessageId, Position, Sequence, ShardId};
use crate::owner::Owner;

/// A store for shards.
///
/// The engine calls [`open_shard`](Self::open_shard) and [`write`](Self::write) from threads of its
/// own, one call at a time, so an implementation may block in them. Reads are also called from tasks
/// of the application (histories), and a block there holds up that task's thread. All futures are
/// driven inside the tokio runtime that opened the journal, if there was one.
#[async_trait]
pub trait ActorProvider: Send + Sync + 'static {
    /// Where the data is, for error messages: a path, or a database and schema.
    fn location(&self) -> String;

    /// The largest envelope that it can hold, in bytes. An actor that would need a larger one is refused
    /// what makes it so large; the store never sees it. The default is 900 MB: what fits into a row of SQLite
    /// (1 GB) and of PostgreSQL (1 GiB), with room for what is around it.
    fn row_bytes(&self) -> usize {
        900_000_000
    }

    /// The same store for several nodes, if it can be shared.
    fn cluster(self: Arc<Self>) -> Option<Arc<dyn ClusterStore>> {
        None
    }

    /// Becomes the owner of a shard.
    ///
    /// Atomically adds one to the shard's epoch and reads its head. At return the new epoch is
    /// durable: every [`write`](Self::write) of an older epoch fails with
    /// [`JournalError::Fenced`] from here on.
    ///
    /// # Errors
    /// The store cannot be read or written.
    async fn open_shard(&self, shard: ShardId) -> Result<ShardHead, JournalError>;

    /// Reads a shard's head and changes nothing: its owner stays its owner. None if the shard was never
    /// opened. The epoch is that of the owner.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn read_head(&self, shard: ShardId) -> Result<Option<ShardHead>, JournalError>;

    /// Who opened the shard last. A store need not keep that.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn owner(&self, _shard: ShardId) -> Result<Option<Owner>, JournalError> {
        Ok(None)
    }

    /// Does everything in `write` atomically, if `write.epoch` is still the shard's epoch.
    ///
    /// At return it is as durable as the provider was configured for. Repeating a write that was
    /// applied is a success and changes nothing; so a write whose outcome is unknown is simply
    /// repeated.
    ///
    /// # Errors
    /// - [`JournalError::Fenced`]: a newer owner exists; nothing was written.
    /// - [`JournalError::Store`] with `retryable`: nothing was written, or the outcome is unknown;
    ///   the same write may be repeated.
    /// - Any other error is final: the engine stops and releases nothing of this write.
    async fn write(&self, write: &Write<'_>) -> Result<(), JournalError>;

    /// Reads commits in the order of their positions, beginning with the first at or after
    /// `from`, until at least `max_bytes` are read or the log ends. An empty answer is the end.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn read_commits(
        &self,
        shard: ShardId,
        from: Position,
        max_bytes: usize,
    ) -> Result<Vec<StoredCommit>, JournalError>;

    /// Reads the record of one actor as the last checkpoint left it.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn load_record(
        &self,
        shard: ShardId,
        actor: ActorKey<'_>,
    ) -> Result<Option<StoredRecord>, JournalError>;

    /// Lists recorded actors in the order of their numbers, beginning after `after`, at most
    /// `limit` of them.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn list_records(
        &self,
        shard: ShardId,
        filter: RecordFilter,
        after: ActorNo,
        limit: usize,
    ) -> Result<Vec<ListedActor>, JournalError>;

    /// Reads dead letters of one actor in the order of their sequences, beginning with the first
    /// after `after`, until at least `max_bytes` are read or there is none. An empty answer is the
    /// end.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn load_letters(
        &self,
        shard: ShardId,
        no: ActorNo,
        after: Sequence,
        max_bytes: usize,
    ) -> Result<Vec<StoredLetter>, JournalError>;

    /// Reads those of these idempotency keys of an actor that are there, in any order.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn load_keys(
        &self,
        shard: ShardId,
        no: ActorNo,
        ids: &[MessageId],
    ) -> Result<Vec<StoredKey>, JournalError>;

    /// Reads idempotency keys of one actor in the order of their numbers, beginning with the first after
    /// `after`, at most `limit` of them.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn list_keys(
        &self,
        shard: ShardId,
        no: ActorNo,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<StoredKey>, JournalError>;

    /// Lets the store check its own structures. Returns what it complains of.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn check(&self) -> Result<Vec<String>, JournalError>;
}

/// A shard as its new owner finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardHead {
    /// The epoch of the owner: the new one, of a shard that was opened.
    pub epoch: Epoch,
    /// The records contain every commit up to this one.
    pub checkpoint: Position,
    /// The oldest commit that is kept, if there is one.
    pub oldest: Option<Position>,
    /// The last commit of the log, or the checkpoint if there is none after it.
    pub tail: Position,
    /// The greatest actor number in the records, 0 if there is none.
    pub last_actor: ActorNo,
    /// How many actors are recorded.
    pub actors: u64,
}

/// One atomic write.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// The shard.
    pub shard: ShardId,
    /// The epoch of the writer.
    pub epoch: Epoch,
    /// A commit to append, and its position: always the one after the log's last.
    pub append: Option<(Position, &'a [u8])>,
    /// A part of a checkpoint to save.
    pub checkpoint: Option<&'a CheckpointPart>,
}

/// A part of a checkpoint. Parts are saved one by one, so records of one checkpoint may differ in
/// position; each says its own.
#[derive(Debug, Clone, Default)]
pub struct CheckpointPart {
    /// Records to insert or replace.
    pub records: Vec<StoredRecord>,
    /// Dead letters to insert or replace. The record of their actor may come in a later part, or not
    /// at all.
    pub letters: Vec<StoredLetter>,
    /// Dead letters to delete, if they are there. None of them is in `letters`.
    pub removed_letters: Vec<(ActorNo, Sequence)>,
    /// Idempotency keys to insert or replace. The record of their actor may come in a later part, or not
    /// at all.
    pub keys: Vec<StoredKey>,
    /// An actor whose keys can go: some thousands at a time. None of them is in `keys`.
    pub keys_of: Option<ActorNo>,
    /// Keys from before this time can go, whosever they are: some thousands at a time, the oldest first.
    /// Then `keys` is empty.
    pub keys_before: Option<u64>,
    /// From here on the records contain every commit up to this one. Set when all are saved.
    pub checkpoint: Option<Position>,
    /// Commits before this one can go: a few at a time, the oldest first.
    pub truncate_before: Option<Position>,
}

impl CheckpointPart {
    /// The bytes of all envelopes in it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let records: usize = self.records.iter().map(|it| it.bytes.len()).sum();
        let letters: usize = self.letters.iter().map(|it| it.bytes.len()).sum();
        let keys: usize = self.keys.iter().map(|it| it.bytes.len()).sum();
        records + letters + keys
    }
}

/// A commit as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCommit {
    /// Its place.
    pub position: Position,
    /// The envelope.
    pub bytes: Vec<u8>,
}

/// A record as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// The actor's number.
    pub no: ActorNo,
    /// The actor's name.
    pub actor: ActorId,
    /// Messages received and not processed, so that they can be listed.
    pub pending: u64,
    /// Dead letters, so that they can be listed.
    pub dead_letters: u64,
    /// When its next timer is due, in milliseconds since 1970, if it has one.
    pub due_ms: Option<u64>,
    /// The envelope.
    pub bytes: Vec<u8>,
}

/// A dead letter as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLetter {
    /// The number of its actor.
    pub no: ActorNo,
    /// Its place in the actor's receipt order.
    pub sequence: Sequence,
    /// The envelope.
    pub bytes: Vec<u8>,
}

/// An idempotency key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// The number of its actor.
    pub no: ActorNo,
    /// The key.
    pub id: MessageId,
    /// When its outcome was recorded, in milliseconds by the clock of the journal.
    pub at_ms: u64,
    /// The envelope.
    pub bytes: Vec<u8>,
}

/// An actor in a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedActor {
    /// The actor's number.
    pub no: ActorNo,
    /// The actor's name.
    pub actor: ActorId,
    /// When its next timer is due, in milliseconds since 1970, if it has one.
    pub due_ms: Option<u64>,
}

/// How a record is looked up.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum ActorKey<'a> {
    /// By name.
    Name(&'a ActorId),
    /// By number.
    No(ActorNo),
}

/// Which records are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordFilter {
    /// All.
    All,
    /// Those with messages received and not processed.
    Pending,
    /// Those with dead letters.
    DeadLetters,
    /// Those with timers. A shard that is opened lists them all, so this should not read their records.
    Timers,
}
