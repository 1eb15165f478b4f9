//! How much an actor may have at once: what waits for it, what it did and its state are in one record,
//! and much of it in one commit, and either is one row of the store.
//!
//! The limits bound each of these. With limits far above the defaults all of them together may be more than
//! a row takes. Then the last that came is refused, to this actor only: the writer and the checkpoints
//! write for all actors, and would stop.

use super::delivery::Work;
use super::intake::Mailbox;
use crate::error::JournalError;

/// What a row has of a message beside its payload: names and numbers.
const ENTRY_BYTES: usize = 128;

impl<W: Work> Mailbox<W> {
    /// What the actor has beside its state, and beside what has not arrived of what it sent, in bytes.
    fn beside_state(&self) -> usize {
        let in_progress = self.in_progress.as_ref().map_or(0, |delivery| delivery.size());
        let waiting = self.queue.bytes() + self.arrivals.bytes() + in_progress;
        let count = self.len() + self.run.len();
        waiting + self.run_bytes + self.outbox.bytes() + count * ENTRY_BYTES
    }

    /// Whether one more message of this size can wait.
    ///
    /// # Errors
    /// [`JournalError::TooLarge`].
    pub(super) fn check_room(&self, message: usize) -> Result<(), JournalError> {
        self.session.check_room(self.beside_state() + ENTRY_BYTES + message)
    }

    /// Whether there is room for the state after a run.
    ///
    /// # Errors
    /// [`JournalError::TooLarge`], if the run has made it more: what was too much before, by other limits,
    /// can still become less.
    pub(super) fn check_room_for_state(&self, state: usize) -> Result<(), JournalError> {
        let checked = self.session.check_room_with(state, self.beside_state());
        if checked.is_ok() {
            return checked;
        }
        let handled = self.run.iter().map(|it| it.delivery.payload().bytes().len());
        let handled: usize = handled.sum();
        let made = self.run_bytes.saturating_sub(handled) + self.outbox.bytes() + state;
        let before = self.session.state().map_or(0, |state| state.bytes().len()) + handled;
        if made <= before { Ok(()) } else { checked }
    }
}
