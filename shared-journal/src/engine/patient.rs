//! A store whose reads are tried again, as the writer tries writes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::retry::Retry;
use crate::cluster::ClusterStore;
use crate::error::JournalError;
use crate::id::{ActorNo, MessageId, Position, Sequence, ShardId};
use crate::owner::Owner;
use crate::provider::{
    ActorKey, ActorProvider, ListedActor, RecordFilter, ShardHead, StoredCommit, StoredKey,
    StoredLetter, StoredRecord, Write,
};
use crate::sync::sleep;

/// Everything that reads a shard reads through this: recovery, the directory, histories, `verify`.
///
/// It blocks between attempts, so it is used from threads that may: the engine's, and those of
/// `spawn_blocking`.
pub(crate) struct Patient {
    store: Arc<dyn ActorProvider>,
    limit: Duration,
}

impl Patient {
    pub(crate) fn new(store: Arc<dyn ActorProvider>, limit: Duration) -> Arc<Self> {
        Arc::new(Self { store, limit })
    }

    async fn read<T, F: Future<Output = Result<T, JournalError>>>(
        &self,
        mut attempt: impl FnMut() -> F,
    ) -> Result<T, JournalError> {
        let mut retry = Retry::new(self.limit);
        loop {
            let error = match attempt().await {
                Err(error) if error.is_retryable() => error,
                outcome => return outcome,
            };
            let Some(pause) = retry.again() else { return Err(error) };
            let cause: &(dyn std::error::Error + 'static) = &error;
            tracing::warn!(error = cause, ?pause, "the store refused a read; trying again");
            metrics::counter!("journal_read_retries_total").increment(1);
            sleep(pause);
        }
    }
}

#[async_trait]
impl ActorProvider for Patient {
    fn location(&self) -> String {
        self.store.location()
    }

    fn row_bytes(&self) -> usize {
        self.store.row_bytes()
    }

    fn cluster(self: Arc<Self>) -> Option<Arc<dyn ClusterStore>> {
        self.store.clone().cluster()
    }

    /// An opening whose outcome is unknown is done again: the epoch goes up twice.
    async fn open_shard(&self, shard: ShardId) -> Result<ShardHead, JournalError> {
        self.read(|| self.store.open_shard(shard)).await
    }

    async fn read_head(&self, shard: ShardId) -> Result<Option<ShardHead>, JournalError> {
        self.read(|| self.store.read_head(shard)).await
    }

    async fn owner(&self, shard: ShardId) -> Result<Option<Owner>, JournalError> {
        self.read(|| self.store.owner(shard)).await
    }

    /// The writer repeats its writes itself.
    async fn write(&self, write: &Write<'_>) -> Result<(), JournalError> {
        self.store.write(write).await
    }

    async fn read_commits(
        &self,
        shard: ShardId,
        from: Position,
        max_bytes: usize,
    ) -> Result<Vec<StoredCommit>, JournalError> {
        self.read(|| self.store.read_commits(shard, from, max_bytes)).await
    }

    async fn load_record(
        &self,
        shard: ShardId,
        actor: ActorKey<'_>,
    ) -> Result<Option<StoredRecord>, JournalError> {
        self.read(|| self.store.load_record(shard, actor)).await
    }

    async fn list_records(
        &self,
        shard: ShardId,
        filter: RecordFilter,
        after: ActorNo,
        limit: usize,
    ) -> Result<Vec<ListedActor>, JournalError> {
        self.read(|| self.store.list_records(shard, filter, after, limit)).await
    }

    async fn load_letters(
        &self,
        shard: ShardId,
        no: ActorNo,
        after: Sequence,
        max_bytes: usize,
    ) -> Result<Vec<StoredLetter>, JournalError> {
        self.read(|| self.store.load_letters(shard, no, after, max_bytes)).await
    }

    async fn load_keys(
        &self,
        shard: ShardId,
        no: ActorNo,
        ids: &[MessageId],
    ) -> Result<Vec<StoredKey>, JournalError> {
        self.read(|| self.store.load_keys(shard, no, ids)).await
    }

    async fn list_keys(
        &self,
        shard: ShardId,
        no: ActorNo,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<StoredKey>, JournalError> {
        self.read(|| self.store.list_keys(shard, no, after, limit)).await
    }

    async fn check(&self) -> Result<Vec<String>, JournalError> {
        self.read(|| self.store.check()).await
    }
}

#[cfg(test)]
#[cfg(feature = "test-util")]
mod tests {
    use crate::sum::Sum;
    use futures::TryStreamExt;

    use crate::EventJournal;
    use crate::error::JournalError;
    use crate::id::{ActorId, MessageId};
    use crate::limits::Limits;
    use crate::mailbox::{Mailbox, Resolution, Work};
    use crate::provider::ActorProvider;
    use crate::test_util::{FaultyActorProvider, MemoryActorProvider};

    struct Nobody;

    impl Work for Nobody {
        fn resolve(self, _: Resolution) {}
    }

    fn actor() -> ActorId {
        ActorId::new("counter", "1")
    }

    /// An actor with one message, processed or not.
    async fn activate(journal: &EventJournal) -> Result<Mailbox<Nobody>, JournalError> {
        let mut mailbox = journal.activate::<Nobody>(&actor()).await?;
        mailbox.baseline(&Sum(0))?;
        Ok(mailbox)
    }

    async fn use_all(journal: &EventJournal, reads: impl Fn()) -> Result<(), JournalError> {
        reads();
        let mut mailbox = activate(journal).await?;
        let payload = mailbox.encode("the message", &1)?;
        let id = Some(MessageId::from(7));
        mailbox.accept(id, "add", payload, None, Nobody, None).unwrap();
        if let Some(delivery) = mailbox.next().unwrap() {
            let reply = mailbox.encode("the reply", &1)?;
            mailbox.processed(delivery, reply);
            let _ = mailbox.end_run(&mut Sum(1)).unwrap();
        }
        drop(mailbox);
        reads();
        journal.outcome(&actor(), MessageId::from(7)).await?;
        journal.checkpoint().await?;
        reads();
        journal.actors().await?;
        reads();
        journal.pending().await?;
        reads();
        journal.history(&actor()).try_collect::<Vec<_>>().await?;
        reads();
        let report = journal.verify().await?;
        assert!(report.is_clean() && report.records > 0, "{report:?}");
        Ok(())
    }

    #[tokio::test]
    async fn a_read_that_may_succeed_later_is_tried_again() {
        let store = FaultyActorProvider::new(MemoryActorProvider::new());
        for failures in [1, 1, 3] {
            // Two lives: the second reads what the first has left.
            store.fail_reads(failures);
            let journal = EventJournal::builder().open_on(store.clone()).await.unwrap();
            assert_eq!(store.failing_reads(), 0);
            use_all(&journal, || store.fail_reads(failures)).await.unwrap();
            assert_eq!(store.failing_reads(), 0, "each of them read");
            assert!(journal.stopped().is_none());
            journal.close().await.unwrap();
        }
    }

    /// One retry, whatever the limit; then the error, which names the store and what it was.
    #[tokio::test]
    async fn a_store_that_stays_away_is_told_after_one_retry_at_least() {
        let store = FaultyActorProvider::new(MemoryActorProvider::new());
        let open = || {
            let limits = Limits { commit_retry: std::time::Duration::ZERO, ..Limits::default() };
            EventJournal::builder().limits(limits).open_on(store.clone())
        };
        store.fail_reads(1);
        let journal = open().await.unwrap();
        store.fail_reads(2);
        let error = journal.actors().await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        assert!(error.to_string().contains(&store.location()), "{error}");
        assert!(journal.stopped().is_none(), "nothing was to be written");
        journal.actors().await.unwrap();
        store.fail_reads(2);
        assert!(open().await.unwrap_err().is_retryable());
    }
}
