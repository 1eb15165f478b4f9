//! How a running actor is woken from outside.

use std::sync::{Mutex, PoisonError};
use std::task::Waker;

/// Wakes the task that was set last, as often as it is rung. An actor looks whether it is still the same
/// task, and so pays nothing for it with each message: a waker that is taken by each wake-up would have
/// to be set again in each poll.
#[derive(Debug, Default)]
pub(crate) struct Bell(Mutex<Option<Waker>>);

impl Bell {
    /// Look at what it rings for after this, not before: what came meanwhile rings for nobody.
    pub(crate) fn set(&self, waker: &Waker) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(waker.clone());
    }

    /// After what it is rung for, or the task would find nothing.
    pub(crate) fn ring(&self) {
        // Not under the lock: a waker may run code that comes back here.
        let waker = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        waker.into_iter().for_each(Waker::wake);
    }
}
