//! Reading a shard as its owner would recover it, without becoming its owner.

use std::sync::Arc;

use super::checkpoint::Log;
use super::directory::Directory;
use super::patient::Patient;
use super::recover::{Checked, From, Scan, fold};
use super::slot::Slots;
use super::{Page, Shared, shared};
use crate::codec::Codec;
use crate::error::JournalError;
use crate::id::{ActorId, ActorNo, Epoch, Position, ShardId};
use crate::limits::Limits;
use crate::provider::{ActorProvider, RecordFilter, ShardHead};
use crate::record::ActorRecord;

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
    shared(store, shard, epoch, limits, Codec::default())
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
