//! Opening a shard: the records, then the tail of the log.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use fail::fail_point;

use super::checkpoint::Log;
use super::clock::Clock;
use super::directory::Directory;
use super::slot::Slots;
use super::{Shared, now_ms};
use crate::envelope::{CommitHeader, decode_commit, entries};
use crate::error::{JournalError, Place};
use crate::id::{Epoch, Position, ShardId};
use crate::provider::{ActorProvider, ShardHead, StoredCommit};
use crate::record::Stamp;
use crate::sabotage::sabotaged;

/// Bytes of log read at a time.
const READ_BYTES: usize = 4 << 20;

/// Reads a shard's log in order and checks that every commit is where and what it says.
pub(crate) struct Scan {
    provider: Arc<dyn ActorProvider>,
    shard: ShardId,
    next: Position,
    from: From,
    epoch: Epoch,
    /// The next commit need not be the one after the last: what was between is truncated.
    gap: bool,
}

/// Where a scan begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// At this commit, which must be there if any later one is.
    Exactly(Position),
    /// At the oldest commit that is kept. Checkpoints may truncate the log while it is read.
    Oldest,
}

/// A commit that was checked.
pub(crate) struct Checked<'c> {
    pub(crate) header: CommitHeader,
    pub(crate) body: &'c [u8],
    /// The log was truncated between this commit and the one before.
    pub(crate) after_gap: bool,
}

impl Scan {
    pub(crate) fn new(provider: Arc<dyn ActorProvider>, shard: ShardId, from: From) -> Self {
        let next = match from {
            From::Exactly(position) => position,
            From::Oldest => Position(1),
        };
        Self { provider, shard, next, from, epoch: Epoch(0), gap: false }
    }

    /// The next commits, in order; none at the end of the log.
    pub(crate) async fn read(&mut self) -> Result<Vec<StoredCommit>, JournalError> {
        let commits = self.provider.read_commits(self.shard, self.next, READ_BYTES).await?;
        if let Some(first) = commits.first()
            && first.position != self.next
        {
            let oldest = self.provider.read_commits(self.shard, Position(1), 1).await?;
            // Nothing is left before it, so what is missing was truncated, if that may be.
            let truncated = oldest.first().is_none_or(|oldest| oldest.position >= first.position);
            self.gap = truncated && self.from == From::Oldest;
        }
        Ok(commits)
    }

    /// Checks a commit that [`read`](Self::read) returned: the next in line, intact, and of no
    /// older epoch than the one before.
    pub(crate) fn check<'c>(
        &mut self,
        commit: &'c StoredCommit,
    ) -> Result<Checked<'c>, JournalError> {
        let place = Place::shard(self.shard).at(commit.position);
        let corrupt = |reason: String| JournalError::Corrupt {
            store: self.provider.location(),
            place: place.clone(),
            reason,
        };
        let after_gap = std::mem::take(&mut self.gap);
        if commit.position != self.next && !after_gap {
            return Err(corrupt(format!("the commit at {:?} is missing", self.next)));
        }
        let (header, body) =
            decode_commit(&commit.bytes).map_err(|error| corrupt(error.to_string()))?;
        if (header.shard, header.position) != (self.shard, commit.position) {
            return Err(corrupt(format!(
                "the row holds the commit of {:?}, {:?}",
                header.shard, header.position
            )));
        }
        if header.epoch < self.epoch {
            return Err(corrupt(format!("{:?} follows the newer {:?}", header.epoch, self.epoch)));
        }
        self.epoch = header.epoch;
        self.next = commit.position.next();
        Ok(Checked { header, body, after_gap })
    }
}

/// Folds the tail of the log into the records.
pub(super) fn recover(shared: &Arc<Shared>, head: ShardHead) -> Result<Directory, JournalError> {
    let started = std::time::Instant::now();
    let mut slots = Slots::after(head.last_actor);
    let from = From::Exactly(head.checkpoint.next());
    let mut scan = Scan::new(shared.provider.clone(), shared.shard, from);
    let mut log = Log {
        oldest: head.oldest.unwrap_or(head.checkpoint.next()),
        covered: head.checkpoint,
        tail: head.checkpoint,
        uncovered: 0,
    };
    let mut last = None;
    loop {
        let commits = pollster::block_on(scan.read())?;
        if commits.is_empty() {
            break;
        }
        for commit in &commits {
            fail_point!("during-recovery");
            let Checked { header, body, .. } = scan.check(commit)?;
            if commit.position == head.tail && sabotaged("sabotage-last-commit") {
                log.tail = commit.position;
                continue;
            }
            fold(shared, &mut slots, &header, body)?;
            last = Some(header.stamp());
            log.tail = commit.position;
            log.uncovered += commit.bytes.len();
        }
    }
    let last = match last {
        // It is kept: a checkpoint leaves the last commit.
        None => last_stamp(shared, head.tail)?,
        last => last,
    };
    let _ = shared.clock.set(Clock::after(last, now_ms()));
    let (mut pending, mut created) = (0, 0);
    for (no, slot) in slots.iter() {
        pending += slot.record.pending.len() as u64;
        created += u64::from(no > head.last_actor);
    }
    shared.counters.recovered_actors.store(head.actors + created, Ordering::Relaxed);
    shared.counters.recovered_pending.store(pending, Ordering::Relaxed);
    shared.queue.committed(0, 0, log.uncovered);
    tracing::info!(
        store = shared.provider.location(),
        shard = %shared.shard,
        epoch = %shared.epoch,
        actors = head.actors + created,
        pending,
        tail_bytes = log.uncovered,
        elapsed = ?started.elapsed(),
        "journal recovered"
    );
    Ok(Directory::new(shared.clone(), slots, log))
}

/// Where and when the commit at `position` was made, if it is kept.
fn last_stamp(shared: &Shared, position: Position) -> Result<Option<Stamp>, JournalError> {
    let from = From::Exactly(position);
    let mut scan = Scan::new(shared.provider.clone(), shared.shard, from);
    let commits = pollster::block_on(scan.read())?;
    match commits.first().filter(|commit| commit.position == position) {
        Some(commit) => Ok(Some(scan.check(commit)?.header.stamp())),
        None => Ok(None),
    }
}

/// Applies the entries of one commit to the slots.
pub(super) fn fold(
    shared: &Shared,
    slots: &mut Slots,
    header: &CommitHeader,
    body: &[u8],
) -> Result<(), JournalError> {
    let place = Place::shard(header.shard).at(header.position);
    let corrupt = |reason: String| JournalError::Corrupt {
        store: shared.provider.location(),
        place: place.clone(),
        reason,
    };
    for entry in entries(header, body) {
        let (no, event) = entry.map_err(|error| corrupt(error.to_string()))?;
        slots.apply(shared, header.stamp(), no, event)?;
    }
    Ok(())
}
