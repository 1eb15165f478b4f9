//! A newer owner that comes while an older one recovers.

use std::sync::Arc;

use async_trait::async_trait;

use super::Suite;
use super::store::{Owner, SHARD};
use crate::error::JournalError;
use crate::id::{ActorNo, MessageId, Position, Sequence, ShardId};
use crate::journal::EventJournal;
use crate::provider::{
    ActorKey, ActorProvider, CheckpointPart, ListedActor, RecordFilter, ShardHead, StoredCommit,
    StoredKey, StoredLetter, StoredRecord, Write,
};

/// Before the log is read, somebody else opens the shard and truncates all but its last commit.
struct Interloper(Arc<dyn ActorProvider>);

#[async_trait]
impl ActorProvider for Interloper {
    fn location(&self) -> String {
        self.0.location()
    }

    fn row_bytes(&self) -> usize {
        self.0.row_bytes()
    }

    async fn open_shard(&self, shard: ShardId) -> Result<ShardHead, JournalError> {
        let head = self.0.open_shard(shard).await?;
        let rival = self.0.open_shard(shard).await?;
        let truncated =
            CheckpointPart { truncate_before: Some(rival.tail), ..CheckpointPart::default() };
        let (epoch, checkpoint) = (rival.epoch, Some(&truncated));
        self.0.write(&Write { shard, epoch, append: None, checkpoint }).await?;
        Ok(head)
    }

    async fn read_head(&self, shard: ShardId) -> Result<Option<ShardHead>, JournalError> {
        self.0.read_head(shard).await
    }

    async fn write(&self, write: &Write<'_>) -> Result<(), JournalError> {
        self.0.write(write).await
    }

    async fn read_commits(
        &self,
        shard: ShardId,
        from: Position,
        max_bytes: usize,
    ) -> Result<Vec<StoredCommit>, JournalError> {
        self.0.read_commits(shard, from, max_bytes).await
    }

    async fn load_record(
        &self,
        shard: ShardId,
        actor: ActorKey<'_>,
    ) -> Result<Option<StoredRecord>, JournalError> {
        self.0.load_record(shard, actor).await
    }

    async fn list_records(
        &self,
        shard: ShardId,
        filter: RecordFilter,
        after: ActorNo,
        limit: usize,
    ) -> Result<Vec<ListedActor>, JournalError> {
        self.0.list_records(shard, filter, after, limit).await
    }

    async fn load_letters(
        &self,
        shard: ShardId,
        no: ActorNo,
        after: Sequence,
        max_bytes: usize,
    ) -> Result<Vec<StoredLetter>, JournalError> {
        self.0.load_letters(shard, no, after, max_bytes).await
    }

    async fn load_keys(
        &self,
        shard: ShardId,
        no: ActorNo,
        ids: &[MessageId],
    ) -> Result<Vec<StoredKey>, JournalError> {
        self.0.load_keys(shard, no, ids).await
    }

    async fn list_keys(
        &self,
        shard: ShardId,
        no: ActorNo,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<StoredKey>, JournalError> {
        self.0.list_keys(shard, no, after, limit).await
    }

    async fn check(&self) -> Result<Vec<String>, JournalError> {
        self.0.check().await
    }
}

pub(super) fn an_owner_that_is_replaced_while_it_recovers_is_fenced(suite: &Suite<'_>) {
    let store = (suite.open)();
    let owner = Owner::of(store.clone(), SHARD);
    for position in 1..=3 {
        owner.append(position, b"never read by the one that is fenced");
    }
    let opened =
        suite.runtime.block_on(EventJournal::builder().open_on(Arc::new(Interloper(store))));
    let error = opened.expect_err("a newer owner exists");
    assert!(error.is_fenced(), "{error:?}");
}
