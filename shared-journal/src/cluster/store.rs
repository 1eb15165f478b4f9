//! What a store must do for several nodes: leases, inboxes, replies.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedReceiver;

use crate::error::JournalError;
use crate::id::{ActorId, ShardId};
use crate::provider::ActorProvider;

/// The most letters that a store returns at a time.
pub const LETTERS_AT_ONCE: usize = 1024;

/// A store that nodes can share.
///
/// None of this is needed for what the journal promises: a commit of an owner that was replaced is
/// refused by its epoch, whatever the leases say. Leases decide who tries.
///
/// Methods may block for as long as a write takes. Futures are driven in tasks of a tokio runtime.
#[async_trait]
pub trait ClusterStore: ActorProvider {
    /// Gives a new store its name and its number of shards, for ever. Returns what it has: what was
    /// given, or what somebody gave it before.
    ///
    /// # Errors
    /// The store cannot be read or written.
    async fn found(&self, founding: &Founding) -> Result<Founding, JournalError>;

    /// Leases a shard to `node` for so long, if nobody else's lease runs. False: somebody's does.
    ///
    /// # Errors
    /// The store cannot be written.
    async fn claim(
        &self,
        shard: ShardId,
        node: &str,
        lease: Duration,
    ) -> Result<bool, JournalError>;

    /// Lets the leases that `node` has for these shards run for so long from now.
    ///
    /// # Errors
    /// The store cannot be written.
    async fn renew(
        &self,
        shards: &[ShardId],
        node: &str,
        lease: Duration,
    ) -> Result<(), JournalError>;

    /// Ends the lease that `node` has for a shard. If it goes `to` somebody, it is theirs to claim
    /// for so long, and everybody's after that.
    ///
    /// # Errors
    /// The store cannot be written.
    async fn release(
        &self,
        shard: ShardId,
        node: &str,
        to: Option<(&str, Duration)>,
    ) -> Result<(), JournalError>;

    /// Asks whoever has a shard to hand it over to `node`. The wish is forgotten after so long: who
    /// wished it may be gone.
    ///
    /// # Errors
    /// The store cannot be written.
    async fn want(&self, shard: ShardId, node: &str, wish: Duration) -> Result<(), JournalError>;

    /// The leases of all shards that anybody ever had, in their order.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn leases(&self) -> Result<Vec<Lease>, JournalError>;

    /// Appends letters to the inbox of a shard, in this order, atomically. A letter is numbered
    /// when it is taken up; of those numbers none becomes visible after a greater one.
    ///
    /// `None` for a letter that is refused because its actor has `limit` letters already, which
    /// senders that post at the same moment may exceed by what they post.
    ///
    /// # Errors
    /// The store cannot be written. If the error is retryable the letters may be there.
    async fn post(
        &self,
        shard: ShardId,
        letters: &[StoredLetter],
        limit: u64,
    ) -> Result<Vec<Option<u64>>, JournalError>;

    /// Reads letters in the order of their numbers, beginning after `after`, until at least
    /// `max_bytes` or [`LETTERS_AT_ONCE`] are read, or there are no more.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn take(
        &self,
        shard: ShardId,
        after: u64,
        max_bytes: usize,
    ) -> Result<Vec<(u64, StoredLetter)>, JournalError>;

    /// Reads the letters to one actor, in the order of their numbers, beginning after `after`, until at least
    /// `max_bytes` or [`LETTERS_AT_ONCE`] are read, or there are no more.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn letters_to(
        &self,
        shard: ShardId,
        actor: &ActorId,
        after: u64,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, JournalError>;

    /// Removes letters from an inbox and leaves replies for clients: at once, or the replies first.
    /// A client copes with a reply that comes twice.
    ///
    /// # Errors
    /// The store cannot be written.
    async fn settle(
        &self,
        shard: ShardId,
        letters: &[u64],
        replies: &[StoredReply],
    ) -> Result<(), JournalError>;

    /// The replies for a client, after those in `done` were removed.
    ///
    /// # Errors
    /// The store cannot be read or written.
    async fn collect(
        &self,
        client: &str,
        done: &[u64],
    ) -> Result<Vec<(u64, Vec<u8>)>, JournalError>;

    /// Removes replies older than that, for clients that are gone.
    ///
    /// # Errors
    /// The store cannot be written.
    async fn forget_replies(&self, older_than: Duration) -> Result<(), JournalError>;

    /// Hears of letters and replies as they come, as long as that is possible: the channel ends
    /// with the connection. `None` if the store cannot tell, so that its users have to look.
    ///
    /// # Errors
    /// The store cannot be reached.
    async fn listen(&self, client: &str) -> Result<Option<UnboundedReceiver<Note>>, JournalError>;
}

/// What a store is told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Founding {
    /// The name of the cluster; empty for a journal of one process.
    pub cluster: String,
    /// The number of shards.
    pub shards: u32,
}

impl std::fmt::Display for Founding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.cluster.as_str(), self.shards) {
            ("", 1) => write!(f, "the journal of one process"),
            ("", shards) => write!(f, "a journal of {shards} shards"),
            (cluster, shards) => write!(f, "cluster {cluster:?} of {shards} shards"),
        }
    }
}

/// Who has a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The shard.
    pub shard: ShardId,
    /// The node, or nobody.
    pub node: Option<String>,
    /// Whether the lease runs, by the clock of the store.
    pub runs: bool,
    /// Who asks for it.
    pub wanted_by: Option<String>,
}

/// A letter as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredLetter {
    /// The addressee.
    pub actor: ActorId,
    /// The envelope.
    pub bytes: Vec<u8>,
}

/// A reply as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReply {
    /// Who waits for it.
    pub client: String,
    /// The envelope.
    pub bytes: Vec<u8>,
}

/// What a store tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Note {
    /// There are letters for a shard.
    Letters(ShardId),
    /// There are replies for this client.
    Replies,
}
