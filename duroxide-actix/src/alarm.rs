//! How an actor learns that the journal stopped while it was idle.

use std::sync::{Arc, OnceLock};
use std::task::Context;

use futures::task::AtomicWaker;
use shared_journal::JournalError;

/// Rung by the first message of an actor whose commit failed: what the actor has in memory is no
/// longer what the journal has, so it must not answer anybody from it.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    error: OnceLock<Arc<JournalError>>,
    waker: AtomicWaker,
}

impl Alarm {
    pub(crate) fn ring(&self, error: Arc<JournalError>) {
        // The error before the wake-up, or the actor would find nothing.
        let _ = self.error.set(error);
        self.waker.wake();
    }

    /// The error, if it rang; registers the task in any case.
    pub(crate) fn heard(&self, cx: &Context<'_>) -> Option<&Arc<JournalError>> {
        self.waker.register(cx.waker());
        self.error.get()
    }
}
