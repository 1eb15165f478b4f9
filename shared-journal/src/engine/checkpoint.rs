//! Checkpoints: saving the records that changed, so that the log before them can go.
//!
//! The directory sends one part at a time to the writer, which puts it into the transaction of its
//! next commit, or into one of its own when nothing else is to be written. A part holds records as
//! they are when it is made; all of them contain at least the commits up to the checkpoint's
//! beginning, so that is the position the last part declares. Dead letters are rows of their own,
//! saved before the record that lists them, and deleted with the record that does not. A crash between two parts leaves
//! records that are ahead of the old position, and recovery skips what they contain already.
//! Then the log goes, a few commits with every part: freeing the pages of a long log at once would
//! make a commit wait for longer than a disk does. A crash leaves the rest to the next checkpoint.

use tokio::sync::oneshot;

use super::Shared;
use super::keys::stored_key;
use super::letters::stored_letter;
use super::queue::batch_bytes;
use super::slot::{Slot, Slots, stored_record};
use crate::error::JournalError;
use crate::id::{ActorNo, MessageId, Position, Sequence};
use crate::limits::Limits;
use crate::provider::CheckpointPart;
use crate::sabotage::sabotaged;

/// A part ends after so many records, or so many bytes: about a millisecond of writing.
const PART_RECORDS: usize = 256;
const PART_BYTES: usize = 256 << 10;

/// For so many keys that a checkpoint saves, one of its last parts lets old ones go. The store deletes
/// more than that at a time, so what is too old does not pile up.
const KEYS_A_DELETION: usize = 1024;

/// A part truncates about so many bytes of log.
const TRUNCATE_BYTES: u64 = 1 << 20;

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

/// The log as a checkpoint finds it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    /// The oldest commit that is kept.
    pub(super) oldest: Position,
    /// The last one that the checkpoint before contains.
    pub(super) covered: Position,
    /// The last one.
    pub(super) tail: Position,
    /// Bytes after `covered`.
    pub(super) uncovered: usize,
}

pub(super) struct Checkpoint {
    /// As it was when the checkpoint began, except for what it truncated, the part on its way
    /// included.
    log: Log,
    /// The actors to save, in the order of their numbers: neighbours share a page.
    todo: std::iter::Peekable<std::vec::IntoIter<ActorNo>>,
    /// What the part on its way holds, and how far each record had come when it was made.
    saving: Vec<(ActorNo, Position)>,
    /// The dead letters in it, and those that it deletes.
    letters: Vec<(ActorNo, Sequence)>,
    removed: Vec<(ActorNo, Sequence)>,
    /// The keys in it, and when they were recorded; and the actors without rows of before a clear.
    keys: Vec<(ActorNo, MessageId, u64)>,
    cleared: Vec<(ActorNo, u64)>,
    /// How often old keys are still to be deleted, in 1/[`KEYS_A_DELETION`].
    old_keys: usize,
    saved: bool,
    /// The oldest commit that is kept at the end.
    keep: Position,
    pub(super) waiting: Vec<oneshot::Sender<()>>,
}

/// How far a checkpoint has come.
pub(super) enum Progress {
    /// There is more to write.
    Unfinished,
    /// The log before the first is gone, and so many bytes need no recovery any more.
    Finished { oldest: Position, covers: usize },
}

impl Checkpoint {
    /// Plans a checkpoint of everything that changed up to the log's tail, and the end of the log
    /// before `keep`.
    pub(super) fn plan(
        slots: &Slots,
        log: Log,
        keep: Position,
        waiting: Vec<oneshot::Sender<()>>,
    ) -> Self {
        let mut todo: Vec<_> =
            slots.iter().filter(|(_, slot)| slot.dirty).map(|(no, _)| no).collect();
        todo.sort_unstable();
        Self {
            log,
            todo: todo.into_iter().peekable(),
            saving: Vec::new(),
            letters: Vec::new(),
            removed: Vec::new(),
            keys: Vec::new(),
            cleared: Vec::new(),
            old_keys: KEYS_A_DELETION,
            saved: false,
            keep,
            waiting,
        }
    }

    /// The next part to write. `folded` is the last commit that the slots contain.
    pub(super) fn next_part(
        &mut self,
        shared: &Shared,
        slots: &Slots,
        folded: Position,
    ) -> Result<CheckpointPart, JournalError> {
        let mut part = CheckpointPart::default();
        let (mut bytes, most) = (0, batch_bytes(shared.provider.row_bytes()));
        while part.records.len() < PART_RECORDS && bytes < PART_BYTES {
            let Some(no) = self.todo.peek().copied() else {
                part.checkpoint = (!self.saved).then_some(self.log.tail);
                if sabotaged("sabotage-checkpoint") {
                    part.checkpoint = part.checkpoint.map(Position::next);
                }
                self.saved = true;
                self.log.oldest = self.log.truncated().min(self.keep);
                part.truncate_before = Some(self.log.oldest);
                if self.old_keys > 0 && part.keys.is_empty() {
                    self.old_keys = self.old_keys.saturating_sub(KEYS_A_DELETION);
                    part.keys_before = Some(shared.oldest_key_ms());
                }
                break;
            };
            let Some(slot) = slots.get(no) else {
                self.todo.next();
                continue;
            };
            // The letters before the record that knows of them: a crash between the two leaves rows
            // that the log gives again.
            let mut unsaved = slot.record.dead.to_save().peekable();
            while bytes < PART_BYTES
                && let Some(letter) = unsaved.next()
            {
                let letter = stored_letter(shared.shard, no, letter)
                    .map_err(|error| shared.store_error("encode a dead letter", error))?;
                bytes += letter.bytes.len();
                self.letters.push((no, letter.sequence));
                part.letters.push(letter);
            }
            if unsaved.peek().is_some()
                || !self.add_keys(shared, no, slot, &mut part, &mut bytes)?
            {
                break;
            }
            let record = stored_record(shared, folded, no, slot)?;
            if bytes > 0 && bytes + record.bytes.len() > most {
                // A store may send a part as one statement.
                break;
            }
            self.todo.next();
            bytes += record.bytes.len();
            self.saving.push((no, slot.changed));
            part.records.push(record);
            part.removed_letters.extend(slot.record.dead.to_delete().map(|it| (no, it)));
        }
        self.removed.clone_from(&part.removed_letters);
        Ok(part)
    }

    /// Adds the keys of an actor that are in no window any more. False if there are more.
    fn add_keys(
        &mut self,
        shared: &Shared,
        no: ActorNo,
        slot: &Slot,
        part: &mut CheckpointPart,
        bytes: &mut usize,
    ) -> Result<bool, JournalError> {
        let aged = &slot.record.aged;
        if let Some(cleared) = aged.to_delete() {
            let left = shared.provider.list_keys(shared.shard, no, None, 1);
            if !pollster::block_on(left)?.is_empty() {
                part.keys_of = Some(no);
                return Ok(false);
            }
            self.cleared.push((no, cleared));
        }
        let mut unsaved = aged.to_save();
        while *bytes < PART_BYTES {
            let Some(recorded) = unsaved.next() else { return Ok(true) };
            let key = stored_key(shared.shard, no, recorded)
                .map_err(|error| shared.store_error("encode a key", error))?;
            *bytes += key.bytes.len();
            self.old_keys += 1;
            self.keys.push((no, key.id, key.at_ms));
            part.keys.push(key);
        }
        Ok(unsaved.next().is_none())
    }

    /// The part is durable: what did not change meanwhile is clean.
    pub(super) fn part_saved(&mut self, slots: &mut Slots) -> Progress {
        for (no, letter) in self.letters.drain(..) {
            slots.dead(no).into_iter().for_each(|dead| dead.saved(letter));
        }
        for (no, letter) in self.removed.drain(..) {
            slots.dead(no).into_iter().for_each(|dead| dead.deleted(letter));
        }
        for (no, id, at_ms) in self.keys.drain(..) {
            slots.aged(no).into_iter().for_each(|aged| aged.saved(id, at_ms));
        }
        for (no, cleared) in self.cleared.drain(..) {
            slots.aged(no).into_iter().for_each(|aged| aged.deleted(cleared));
        }
        for (no, saved) in self.saving.drain(..) {
            slots.saved(no, saved);
        }
        if self.saved && self.log.oldest == self.keep && self.old_keys == 0 {
            Progress::Finished { oldest: self.log.oldest, covers: self.log.uncovered }
        } else {
            Progress::Unfinished
        }
    }
}

impl Log {
    /// The oldest of the last `history` commits. The last one stays: the journal's clock goes on
    /// from it.
    pub(super) fn oldest_of(&self, history: u64) -> Position {
        Position((self.tail.0 + 1).saturating_sub(history.max(1))).max(self.oldest)
    }

    /// The oldest commit that is kept when about [`TRUNCATE_BYTES`] more have gone.
    fn truncated(&self) -> Position {
        let commits = self.tail.0.saturating_sub(self.covered.0);
        let bytes = (self.uncovered as u64).max(1);
        Position(self.oldest.0 + (TRUNCATE_BYTES.saturating_mul(commits) / bytes).max(1))
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

    #[test]
    fn a_long_log_is_truncated_about_a_megabyte_at_a_time() {
        let log = |commits: u64, uncovered| Log {
            oldest: Position(5),
            covered: Position(10),
            tail: Position(10 + commits),
            uncovered,
        };
        assert_eq!(log(1000, 100 << 20).truncated(), Position(15));
        assert_eq!(log(1000, 1 << 20).truncated(), Position(1005));
        assert_eq!(log(2, 100 << 20).truncated(), Position(6), "never none");
        assert_eq!(log(0, 0).truncated(), Position(6), "an empty log");
    }
}
