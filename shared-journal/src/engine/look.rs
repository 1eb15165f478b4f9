//! Reading a shard as its owner would recover it, without becoming its owner.

use std::sync::Arc;

use super::checkpoint::Log;
use super::directory::Directory;
use super::open::{Opening, shared};
use super::patient::Patient;
use super::recover::{Checked, From, Scan, fold};
use super::slot::Slots;
use super::{Page, Shared};
use crate::codec::Codec;
use crate::error::JournalError;
use crate::id::{ActorId, ActorNo, Epoch, Position, Sequence, ShardId};
use crate::limits::Limits;
use crate::provider::{ActorProvider, RecordFilter, ShardHead};
use crate::record::{ActorRecord, DeadLetter};

/// So often the owner may truncate what is read here before it was read.
const ATTEMPTS: u32 = 50;

/// A shard as it was at a position of its log.
pub(crate) struct Look {
    directory: Directory,
    epoch: Epoch,
}

/// What is read through, as the owner's threads read. It never writes.
pub(crate) fn reading(
    store: Arc<dyn ActorProvider>,
    shard: ShardId,
    epoch: Epoch,
    limits: Limits,
) -> Arc<Shared> {
    let store = Patient::new(store, limits.commit_retry);
    shared(store, shard, epoch, limits, Codec::default(), &Opening::default())
}

impl Look {
    /// Reads the shard, up to the end of the log as it is now at least; None if it was never opened.
    /// Blocks.
    pub(crate) fn read(
        store: &Arc<dyn ActorProvider>,
        shard: ShardId,
        limits: &Limits,
    ) -> Result<Option<Self>, JournalError> {
        let mut before = None;
        for attempt in 1.. {
            let shared = reading(store.clone(), shard, Epoch(0), limits.clone());
            let Some(head) = pollster::block_on(shared.provider.read_head(shard))? else {
                return Ok(None);
            };
            match fold_tail(&shared, head) {
                Ok(directory) => return Ok(Some(Self { directory, epoch: head.epoch })),
                // What looks like damage may be the work of the owner, which truncates what is read
                // here. If nothing has changed since the last attempt, it is damage.
                Err(error) if before == Some(head) || attempt == ATTEMPTS => return Err(error),
                Err(error) if is_damage(&error) => before = Some(head),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// The last commit that is in it.
    pub(crate) fn position(&self) -> Position {
        self.directory.position()
    }

    /// The epoch of the owner at the beginning.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// A part of a listing. Blocks.
    pub(crate) fn list(
        &self,
        filter: RecordFilter,
        after: ActorNo,
        limit: usize,
    ) -> Result<Page, JournalError> {
        self.directory.list(filter, after, limit)
    }

    /// An actor's record, and how far it is. Blocks.
    pub(crate) fn actor(
        &mut self,
        actor: &ActorId,
    ) -> Result<Option<(ActorNo, Position, ActorRecord)>, JournalError> {
        let at_least = self.position();
        let read =
            |no, slot: &super::slot::Slot| (no, slot.changed.max(at_least), slot.record.clone());
        self.directory.with(actor, read)
    }

    /// The dead letters of an actor after `after`, some of them; none at the end. Blocks.
    pub(crate) fn dead_letters(
        &mut self,
        actor: &ActorId,
        after: Sequence,
    ) -> Result<Vec<DeadLetter>, JournalError> {
        self.directory.dead_letters(actor, after, usize::MAX)
    }
}

fn is_damage(error: &JournalError) -> bool {
    matches!(error, JournalError::Corrupt { .. } | JournalError::IllegalHistory { .. })
}

fn fold_tail(shared: &Arc<Shared>, head: ShardHead) -> Result<Directory, JournalError> {
    let mut slots = Slots::after(head.last_actor);
    let from = From::Exactly(head.checkpoint.next());
    let mut scan = Scan::new(shared.provider.clone(), shared.shard, from);
    let mut tail = head.checkpoint;
    // Not to the end of the log, which an owner at work moves on.
    while tail < head.tail {
        let commits = pollster::block_on(scan.read())?;
        if commits.is_empty() {
            // Truncated, by a checkpoint that has these.
            return Err(JournalError::Corrupt {
                store: shared.provider.location(),
                place: crate::error::Place::shard(shared.shard).at(tail.next()),
                reason: format!("the log ends before {:?}", head.tail),
            });
        }
        for commit in &commits {
            let Checked { header, body, .. } = scan.check(commit)?;
            fold(shared, &mut slots, &header, body)?;
            tail = commit.position;
        }
    }
    let oldest = head.oldest.unwrap_or(head.checkpoint.next());
    let log = Log { oldest, covered: head.checkpoint, tail, uncovered: 0 };
    Ok(Directory::new(shared.clone(), slots, log))
}

#[cfg(test)]
#[cfg(feature = "test-util")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::*;
    use crate::EventJournal;
    use crate::id::MessageId;
    use crate::mailbox::{Resolution, Work};
    use crate::provider::{
        ActorKey, ListedActor, StoredCommit, StoredKey, StoredLetter, StoredRecord, Write,
    };
    use crate::sum::Sum;
    use crate::test_util::MemoryActorProvider;

    const SHARD: ShardId = ShardId(0);

    struct Nobody;

    impl Work for Nobody {
        fn resolve(self, _: Resolution) {}
    }

    /// A store whose heads are read at one moment and all else at a later one, when the owner has gone on.
    struct Moving {
        heads: Vec<Arc<MemoryActorProvider>>,
        looked: AtomicUsize,
        rest: Arc<MemoryActorProvider>,
        /// A commit that is not there.
        missing: Option<Position>,
    }

    #[async_trait]
    impl ActorProvider for Moving {
        fn location(&self) -> String {
            self.rest.location()
        }
        async fn open_shard(&self, _: ShardId) -> Result<ShardHead, JournalError> {
            panic!("a look opens nothing")
        }
        async fn write(&self, _: &Write<'_>) -> Result<(), JournalError> {
            panic!("a look writes nothing")
        }
        async fn read_head(&self, shard: ShardId) -> Result<Option<ShardHead>, JournalError> {
            let looked = self.looked.fetch_add(1, Ordering::Relaxed);
            self.heads.get(looked).unwrap_or(&self.rest).read_head(shard).await
        }
        async fn read_commits(
            &self,
            shard: ShardId,
            from: Position,
            max_bytes: usize,
        ) -> Result<Vec<StoredCommit>, JournalError> {
            let mut commits = self.rest.read_commits(shard, from, max_bytes).await?;
            commits.retain(|commit| Some(commit.position) != self.missing);
            Ok(commits)
        }
        async fn load_record(
            &self,
            shard: ShardId,
            actor: ActorKey<'_>,
        ) -> Result<Option<StoredRecord>, JournalError> {
            self.rest.load_record(shard, actor).await
        }
        async fn list_records(
            &self,
            shard: ShardId,
            filter: RecordFilter,
            after: ActorNo,
            limit: usize,
        ) -> Result<Vec<ListedActor>, JournalError> {
            self.rest.list_records(shard, filter, after, limit).await
        }
        async fn load_keys(
            &self,
            shard: ShardId,
            no: ActorNo,
            ids: &[MessageId],
        ) -> Result<Vec<StoredKey>, JournalError> {
            self.rest.load_keys(shard, no, ids).await
        }

        async fn list_keys(
            &self,
            shard: ShardId,
            no: ActorNo,
            after: Option<MessageId>,
            limit: usize,
        ) -> Result<Vec<StoredKey>, JournalError> {
            self.rest.list_keys(shard, no, after, limit).await
        }
        async fn load_letters(
            &self,
            shard: ShardId,
            no: ActorNo,
            after: Sequence,
            max_bytes: usize,
        ) -> Result<Vec<StoredLetter>, JournalError> {
            self.rest.load_letters(shard, no, after, max_bytes).await
        }
        async fn check(&self) -> Result<Vec<String>, JournalError> {
            self.rest.check().await
        }
    }

    fn actor() -> ActorId {
        ActorId::new("counter", "1")
    }

    /// A store in which a counter counted to 12, and was checkpointed at 5 and 10, so that little of the
    /// log is kept.
    async fn counted() -> Arc<MemoryActorProvider> {
        let store = MemoryActorProvider::new();
        let limits = Limits { history_commits: 1, ..Limits::default() };
        let journal = EventJournal::builder().limits(limits).open_on(store.clone()).await.unwrap();
        let mut mailbox = journal.activate::<Nobody>(&actor()).await.unwrap();
        mailbox.baseline(&Sum(0)).unwrap();
        for number in 1..=12 {
            let payload = mailbox.encode("the message", &1).unwrap();
            mailbox.accept(None, "add", payload, None, Nobody, None).unwrap();
            let delivery = mailbox.next().unwrap().unwrap();
            let reply = mailbox.encode("the reply", &number).unwrap();
            mailbox.processed(delivery, reply);
            let _ = mailbox.end_run(&mut Sum(number)).unwrap();
            if number % 5 == 0 {
                journal.checkpoint().await.unwrap();
            } else {
                // Until it is durable: a commit of its own.
                journal.actors().await.unwrap();
            }
        }
        store
    }

    fn count(look: &mut Look) -> u64 {
        let (_, position, record) = look.actor(&actor()).unwrap().unwrap();
        assert!(position >= look.position());
        record.state.unwrap().decode().unwrap()
    }

    #[tokio::test]
    async fn whatever_the_owner_does_between_two_reads_a_look_is_whole() {
        let store = counted().await;
        let moments = store.writes();
        for before in 1..=moments {
            for after in before..=moments {
                let moving: Arc<dyn ActorProvider> = Arc::new(Moving {
                    heads: vec![store.as_of(before)],
                    looked: AtomicUsize::new(0),
                    rest: store.as_of(after),
                    missing: None,
                });
                let least = Look::read(&(store.as_of(before) as _), SHARD, &Limits::default());
                let least = least.unwrap().unwrap();
                let mut look = Look::read(&moving, SHARD, &Limits::default()).unwrap().unwrap();
                assert!(look.position() >= least.position());
                if least.position() > Position(0) {
                    let mut least = least;
                    assert!(count(&mut look) >= count(&mut least), "{before} {after}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_commit_that_is_missing_without_a_change_of_the_head_is_damage() {
        let store = counted().await;
        let head = store.read_head(SHARD).await.unwrap().unwrap();
        let damaged: Arc<dyn ActorProvider> = Arc::new(Moving {
            heads: Vec::new(),
            looked: AtomicUsize::new(0),
            rest: store,
            missing: Some(head.tail),
        });
        let Err(error) = Look::read(&damaged, SHARD, &Limits::default()) else {
            panic!("it is not whole")
        };
        assert!(matches!(error, JournalError::Corrupt { .. }), "{error:?}");
    }
}
