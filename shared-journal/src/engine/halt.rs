//! How a running actor is asked from outside: to stop, to receive dead letters again, and to give up
//! messages that wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Waker;

use super::bell::Bell;
use super::letters::{Batch, GiveUp, Letterbox};
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

    /// Asks it to give a message up.
    pub(crate) fn give_up(&self, give_up: GiveUp) {
        self.letters.push_give_up(give_up);
        self.empty_if_asked();
        self.bell.ring();
    }

    /// What it is to give up, if there is something.
    pub(crate) fn take_give_ups(&self) -> Vec<GiveUp> {
        if self.letters.has_give_ups() { self.letters.take_give_ups() } else { Vec::new() }
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
