//! How a running actor is asked from outside to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

use crate::error::JournalError;

/// Of one activation. The directory asks, the adapter listens.
#[derive(Debug, Default)]
pub(crate) struct Halt {
    asked: OnceLock<Arc<JournalError>>,
    listens: AtomicBool,
    waker: AtomicWaker,
}

impl Halt {
    /// Asks, with the reason. False if nobody has listened so far.
    pub(super) fn ask(&self, reason: Arc<JournalError>) -> bool {
        // The reason before the wake-up, or the actor would find nothing.
        let _ = self.asked.set(reason);
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
}
