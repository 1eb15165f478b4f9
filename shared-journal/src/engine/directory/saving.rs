//! The directory's checkpoints: when one begins, and what it goes on with.

use std::sync::atomic::Ordering;

use super::super::checkpoint::{Checkpoint, Progress, is_due};
use super::super::request::Keep;
use super::super::sizes::Sizes;
use super::Directory;
use crate::error::JournalError;
use crate::id::Position;

impl Directory {
    /// Begins a checkpoint if one is due, or wanted.
    pub(super) fn keep_saving(&mut self) -> Result<(), JournalError> {
        if self.checkpoint.is_none()
            && (is_due(&self.shared.limits, self.slots.pages_to_save(), self.log.uncovered)
                || !self.next_checkpoint.is_empty())
        {
            self.begin_checkpoint()?;
        }
        Ok(())
    }

    fn begin_checkpoint(&mut self) -> Result<(), JournalError> {
        let waiting = std::mem::take(&mut self.next_checkpoint);
        let history = match std::mem::replace(&mut self.keep, Keep::Usual) {
            Keep::Usual => self.shared.limits.history_commits,
            Keep::Nothing => 1,
        };
        let from = self.log.oldest_of(history);
        self.measure(from)?;
        let keep = self.sizes.keep(from);
        let checkpoint = Checkpoint::plan(&self.slots, self.log, keep, waiting);
        // It covers what is there by now; the next begins where it ends.
        self.log.covered = self.log.tail;
        self.log.uncovered = 0;
        self.write_part(checkpoint)
    }

    /// Gets to know the sizes of the commits from `from` on: those of earlier owners are read, once.
    fn measure(&mut self, from: Position) -> Result<(), JournalError> {
        const READ_BYTES: usize = 4 << 20;
        let known = self.sizes.first().unwrap_or(self.log.tail.next());
        if from >= known || self.shared.limits.history_bytes == usize::MAX {
            return Ok(());
        }
        let (mut older, mut next) = (Sizes::new(self.shared.limits.history_bytes), from);
        while next < known {
            let (provider, shard) = (&self.shared.provider, self.shared.shard);
            let commits = pollster::block_on(provider.read_commits(shard, next, READ_BYTES))?;
            let Some(last) = commits.last() else { break };
            next = last.position.next();
            for commit in commits.iter().filter(|commit| commit.position < known) {
                older.push(commit.position, commit.bytes.len());
            }
        }
        self.sizes.prepend(older);
        Ok(())
    }

    pub(super) fn part_saved(&mut self) -> Result<(), JournalError> {
        let Some(mut checkpoint) = self.checkpoint.take() else {
            return Ok(());
        };
        let Progress::Finished { oldest, covers } = checkpoint.part_saved(&mut self.slots) else {
            return self.write_part(checkpoint);
        };
        self.log.oldest = oldest;
        self.shared.queue.shorten_tail(covers);
        self.shared.counters.checkpoints.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("journal_checkpoints_total").increment(1);
        let now = self.shared.clock_ms();
        self.shared.gauges.checkpoint_ms.store(now, Ordering::Relaxed);
        for waiting in checkpoint.waiting {
            let _ = waiting.send(());
        }
        Ok(())
    }

    fn write_part(&mut self, mut checkpoint: Checkpoint) -> Result<(), JournalError> {
        let part = checkpoint.next_part(&self.shared, &self.slots, self.log.tail)?;
        self.checkpoint = Some(checkpoint);
        self.shared.queue.offer_part(part);
        Ok(())
    }
}
