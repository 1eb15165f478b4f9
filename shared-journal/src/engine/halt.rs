//! How a running actor is asked from outside: to stop, and to receive dead letters again.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

use super::letters::{Batch, Letterbox};
use crate::error::JournalError;

/// Of one activation. The directory asks it to stop, and whoever sends dead letters again gives it
/// those; the adapter listens.
#[derive(Debug, Default)]
pub(crate) struct Halt {
    asked: OnceLock<Arc<JournalError>>,
    listens: AtomicBool,
    waker: AtomicWaker,
    letters: Letterbox,
}

impl Halt {
    /// Asks, with the reason. False if nobody has listened so far.
    pub(super) fn ask(&self, reason: Arc<JournalError>) -> bool {
        // The reason before the wake-up, or the actor would find nothing.
        let _ = self.asked.set(reason);
        self.letters.empty();
        self.waker.wake();
        self.listens.load(Ordering::Acquire)
    }

    pub(crate) fn asked(&self) -> Option<&Arc<JournalError>> {
        self.asked.get()
    }

    /// Ready when it was asked; registers the task in any case.
    pub(crate) fn poll_asked(&self, cx: &Context<'_>) -> Poll<Arc<JournalError>> {
        self.waker.register(cx.waker());
        self.listens.store(true, Ordering::Release);
        self.asked.get().map_or(Poll::Pending, |reason| Poll::Ready(reason.clone()))
    }

    /// Gives it letters to receive again, behind those that it has.
    pub(crate) fn give(&self, batch: Batch) {
        self.letters.push_back(batch);
        self.empty_if_asked();
        self.waker.wake();
    }

    /// Whether it has such letters; registers the task in any case.
    pub(crate) fn has_letters(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.letters.is_filled()
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
