//! How a journal is opened.

use std::sync::Arc;

use duroxide::providers::Provider;

use crate::attach::attach_aside;
use crate::cluster::{Founding, found};
use crate::codec::Codec;
use crate::engine::Retry;
use crate::error::JournalError;
use crate::id::ShardId;
use crate::journal::{EventJournal, SHARD};
use crate::limits::{Durability, Limits};
use crate::provider::ActorProvider;
use crate::reopen::Door;

/// Opens a journal with other limits, durability or codec than the defaults.
///
/// ```
/// # use std::sync::Arc;
/// # use duroxide::providers::sqlite::SqliteProvider;
/// use shared_journal::{Codec, Durability, EventJournal, Limits};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let provider = Arc::new(SqliteProvider::new_in_memory().await?);
/// let journal = EventJournal::builder()
///     .durability(Durability::ProcessCrash)
///     .codec(Codec::MessagePack)
///     .limits(Limits { attempts: 5, ..Limits::default() })
///     .open(provider)
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct EventJournalBuilder {
    pub(crate) limits: Limits,
    pub(crate) durability: Durability,
    pub(crate) codec: Codec,
    pub(crate) check_values: bool,
    pub(crate) keeps_stopped: bool,
}

impl EventJournalBuilder {
    /// Other limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// What a commit survives. The default is a power cut.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = durability;
        self
    }

    /// How messages, replies and states are encoded from now on. The default is MessagePack.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.codec = codec;
        self
    }

    /// Whether everything that is stored (states, messages, replies, results of steps) is decoded and
    /// encoded again before, and compared. The default is no. For tests: it takes several times as
    /// long to encode.
    ///
    /// A value that does not pass is a failure as one that does not encode, with
    /// [`CodecError::Refused`](crate::CodecError::Refused): it does not decode, or is another value
    /// when it does. This is what becomes of some of `#[serde(skip_deserializing, skip_serializing_if,
    /// untagged, flatten, deny_unknown_fields, with)]`. Another order of a set or a map is the same
    /// value. Handlers get messages, and callers replies, as they were decoded, so that a field that is
    /// not stored (`#[serde(skip)]`) is missing now and not only after a crash.
    ///
    /// What nothing shows: that a field of a state is not stored, before
    /// `survive_crashes` of the feature `test-util` or a crash; and a loss after which the value encodes as
    /// before, if no handler or caller notices it.
    #[must_use]
    pub fn check_values(mut self, check: bool) -> Self {
        self.check_values = check;
        self
    }

    /// Whether a journal that has stopped is opened again by itself, if its error is retryable
    /// ([`JournalError::is_retryable`]): the store was busy, full or away for longer than
    /// [`Limits::commit_retry`]. The default is true.
    ///
    /// It is tried for as long as there are handles and actors, after 50 ms at first and every 30 s at
    /// last, with a line in the log each time, and counted by `journal_reopened_total`. Meanwhile every
    /// call of the journal itself fails with the retryable [`JournalError::Stopped`]. Running actors stay,
    /// with their addresses: they go back to what is durable, and messages wait in front of them. Whoever
    /// waited for an outcome when it stopped is told that it is unknown.
    ///
    /// After [`JournalError::Fenced`] a journal is never opened again by itself, nor if somebody else has
    /// opened it while it was stopped: that is found out first, and is the error it ends with. Nor is a
    /// shard of a [`Cluster`](crate::cluster::Cluster), which claims its shards by itself.
    #[must_use]
    pub fn reopen(mut self, reopen: bool) -> Self {
        self.keeps_stopped = !reopen;
        self
    }

    /// Opens the journal that belongs to a duroxide provider.
    ///
    /// # Errors
    /// As [`EventJournal::open`].
    pub async fn open(self, provider: Arc<dyn Provider>) -> Result<EventJournal, JournalError> {
        // Before a file is made.
        self.limits.check()?;
        let store = attach_aside(provider, self.durability).await?;
        self.open_on(store).await
    }

    /// Opens the journal on a store of its own. Its durability is the provider's.
    ///
    /// # Errors
    /// As [`EventJournal::open`].
    pub async fn open_on(
        self,
        provider: Arc<dyn ActorProvider>,
    ) -> Result<EventJournal, JournalError> {
        self.limits.check()?;
        if let Some(store) = provider.clone().cluster() {
            let mut retry = Retry::new(self.limits.commit_retry);
            let wanted = Founding { cluster: String::new(), shards: 1 };
            while let Err(error) = found(&*store, &wanted).await {
                match retry.again().filter(|_| error.is_retryable()) {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(error),
                }
            }
        }
        self.open_shard(provider, SHARD).await
    }

    /// Opens one shard of a store.
    pub(crate) async fn open_shard(
        self,
        provider: Arc<dyn ActorProvider>,
        shard: ShardId,
    ) -> Result<EventJournal, JournalError> {
        Ok(EventJournal { door: Door::open(provider, shard, self).await? })
    }
}
