//! Checkpoints: saving the records that changed, so that the log before them can go.
//!
//! The directory sends one part at a time to the writer, which puts it into the transaction of its
//! next commit, or into one of its own when nothing else is to be written. A part holds records as
//! they are when it is made; all of them contain at least the commits up to the checkpoint's
//! beginning, so that is the position the last part declares. A crash between two parts leaves
//! records that are ahead of the old position, and recovery skips what they contain already.

use tokio::sync::oneshot;

use super::Shared;
use super::slot::{Slots, stored_record};
use crate::error::JournalError;
use crate::id::{ActorNo, Position};
use crate::limits::Limits;
use crate::provider::{CheckpointPart, FinishCheckpoint};

/// A part ends after so many records, or so many bytes: about a millisecond of writing.
const PART_RECORDS: usize = 256;
const PART_BYTES: usize = 256 << 10;

/// What SQLite writes at a time.
const PAGE_BYTES: usize = 4096;

/// Whether a checkpoint is due, which would write so many pages, with so many bytes of log since the
/// last.
///
/// Every [`checkpoint_bytes`](Limits::checkpoint_bytes), as long as it writes less than twice the
/// log it makes superfluous. With very many actors that change at random it would write a page for
/// each; then it waits, at most until half of the log's limit is reached, and each page it writes
/// holds more that changed.
pub(super) fn is_due(limits: &Limits, pages: usize, uncovered: usize) -> bool {
    uncovered >= limits.checkpoint_bytes
        && (uncovered >= pages.saturating_mul(PAGE_BYTES / 2) || uncovered >= limits.tail_bytes / 2)
}

pub(super) struct Checkpoint {
    begin: Position,
    /// Bytes of log that this checkpoint makes superfluous.
    pub(super) covers: usize,
    /// The actors to save, in the order of their numbers: neighbours share a page.
    todo: std::vec::IntoIter<ActorNo>,
    /// What the part on its way holds, and how far each record had come when it was made.
    saving: Vec<(ActorNo, Position)>,
    finishing: bool,
    pub(super) waiting: Vec<oneshot::Sender<()>>,
}

impl Checkpoint {
    /// Plans a checkpoint of everything that changed up to `begin`.
    pub(super) fn plan(
        slots: &Slots,
        begin: Position,
        covers: usize,
        waiting: Vec<oneshot::Sender<()>>,
    ) -> Self {
        let mut todo: Vec<_> =
            slots.iter().filter(|(_, slot)| slot.dirty).map(|(no, _)| no).collect();
        todo.sort_unstable();
        let todo = todo.into_iter();
        Self { begin, covers, todo, saving: Vec::new(), finishing: false, waiting }
    }

    /// The next part to write. `folded` is the last commit that the slots contain.
    pub(super) fn next_part(
        &mut self,
        shared: &Shared,
        slots: &Slots,
        folded: Position,
    ) -> Result<CheckpointPart, JournalError> {
        let mut part = CheckpointPart::default();
        let mut bytes = 0;
        while part.records.len() < PART_RECORDS && bytes < PART_BYTES {
            let Some(no) = self.todo.next() else {
                let kept = shared.limits.history_commits;
                let truncate_before = Position((self.begin.0 + 1).saturating_sub(kept));
                part.finish = Some(FinishCheckpoint { checkpoint: self.begin, truncate_before });
                self.finishing = true;
                break;
            };
            let Some(slot) = slots.get(no) else { continue };
            let record = stored_record(shared, folded, no, slot)?;
            bytes += record.bytes.len();
            self.saving.push((no, slot.changed));
            part.records.push(record);
        }
        Ok(part)
    }

    /// The part is durable: what did not change meanwhile is clean. True if it was the last.
    pub(super) fn part_saved(&mut self, slots: &mut Slots) -> bool {
        for (no, saved) in self.saving.drain(..) {
            slots.saved(no, saved);
        }
        self.finishing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_waits_for_more_only_while_it_would_write_too_much() {
        let limits =
            Limits { checkpoint_bytes: 32 << 20, tail_bytes: 256 << 20, ..Limits::default() };
        assert!(!is_due(&limits, 10, 31 << 20), "too early");
        assert!(is_due(&limits, 10, 32 << 20), "few actors");
        assert!(is_due(&limits, 10_000, 32 << 20), "pages of twice the log");
        assert!(!is_due(&limits, 100_000, 32 << 20), "a page for every other message");
        assert!(is_due(&limits, 100_000, 128 << 20), "half of what the log may have");
    }
}
