//! How a running actor is asked from outside: to stop, to receive dead letters again and what timers send, and
//! to give up messages that wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use super::alarms::DueTimer;
use super::bell::Bell;
use super::letters::{Batch, ByHand, Letterbox};
use crate::error::JournalError;

/// Of one activation. The directory asks it to stop; whoever sends dead letters again gives it those, and
/// an operator what it is to give up; the adapter listens.
#[derive(Debug, Default)]
pub(crate) struct Halt {
    asked: OnceLock<Arc<JournalError>>,
    listens: AtomicBool,
    bell: Bell,
    letters: Letterbox,
}

impl Halt {
    /// Asks, with the reason. False if nobody has listened so far.
    pub(super) fn ask(&self, reason: Arc<JournalError>) -> bool {
        let _ = self.asked.set(reason);
        self.letters.empty();
        self.bell.ring();
        self.listens.load(Ordering::Acquire)
    }

    pub(crate) fn asked(&self) -> Option<&Arc<JournalError>> {
        self.asked.get()
    }

    /// The task that is woken when there is something new, from here on.
    pub(crate) fn listen(&self, waker: &Waker) {
        self.bell.set(waker);
        self.listens.store(true, Ordering::Release);
    }

    /// There is something new.
    pub(super) fn wake(&self) {
        self.bell.ring();
    }

    /// Gives it letters to receive again, behind those that it has.
    pub(crate) fn give(&self, batch: Batch) {
        self.letters.push_back(batch);
        self.empty_if_asked();
        self.bell.ring();
    }

    /// Tells it of timers that are due.
    pub(super) fn remind(&self, due: Vec<DueTimer>) {
        self.letters.push_due(due);
        self.empty_if_asked();
        self.bell.ring();
    }

    /// Whether it has timers that are due.
    pub(crate) fn has_due(&self) -> bool {
        self.letters.has_due()
    }

    /// The one that comes next.
    pub(crate) fn take_due(&self) -> Option<DueTimer> {
        self.letters.take_due()
    }

    /// Asks it to do something by hand.
    pub(crate) fn do_by_hand(&self, by_hand: ByHand) {
        self.letters.push_by_hand(by_hand);
        self.empty_if_asked();
        self.bell.ring();
    }

    /// What it is to do by hand, if there is something.
    pub(crate) fn take_by_hand(&self) -> Vec<ByHand> {
        if self.letters.has_by_hand() { self.letters.take_by_hand() } else { Vec::new() }
    }

    /// Whether it has letters to receive again.
    pub(crate) fn has_letters(&self) -> bool {
        self.letters.has_letters()
    }

    /// Those that come next.
    pub(crate) fn take_letters(&self) -> Option<Batch> {
        self.letters.take()
    }

    /// There are more of those that were taken.
    pub(crate) fn put_back(&self, batch: Batch) {
        self.letters.push_front(batch);
        self.empty_if_asked();
    }

    /// If it was asked to stop in the same moment nobody takes them.
    fn empty_if_asked(&self) {
        if self.asked.get().is_some() {
            self.letters.empty();
        }
    }
}
