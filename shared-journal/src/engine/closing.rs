//! What running actors have changed and not submitted, asked for before the journal closes.
//!
//! An adapter whose actors change their state outside of handlers listens
//! ([`Mailbox::poll_closing`](crate::Mailbox::poll_closing)); the close rings, and waits until each
//! has answered or is gone, but not longer than [`PATIENCE`]: an actor whose thread is blocked must
//! not hold it up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::Context;
use std::time::Duration;

use futures::task::AtomicWaker;
use tokio::sync::Notify;

/// How long a close waits for actors to say what they have.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Closing {
    /// How often a close asked.
    asked: AtomicU64,
    listeners: Mutex<Vec<Weak<Listener>>>,
    answered: Notify,
}

/// A running actor that listens.
pub(crate) struct Listener {
    closing: Arc<Closing>,
    waker: AtomicWaker,
    answered: AtomicU64,
}

impl Closing {
    /// Begins to listen. A close that asked before is not heard.
    pub(crate) fn listen(self: &Arc<Self>) -> Arc<Listener> {
        let mut listeners = self.lock();
        let listener = Arc::new(Listener {
            closing: self.clone(),
            waker: AtomicWaker::new(),
            answered: AtomicU64::new(self.asked.load(Ordering::Acquire)),
        });
        if listeners.len() == listeners.capacity() {
            // Before it grows: those that are gone make room.
            listeners.retain(|listener| listener.strong_count() > 0);
        }
        listeners.push(Arc::downgrade(&listener));
        listener
    }

    /// Asks everybody and waits for the answers. Returns how many did not come.
    pub(crate) async fn ask(&self) -> usize {
        let (asked, listeners) = {
            // Under the lock: who begins to listen now need not answer.
            let listeners = self.lock();
            (self.asked.fetch_add(1, Ordering::AcqRel) + 1, listeners.clone())
        };
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            listener.waker.wake();
        }
        let missing = || {
            let silent = |it: &Arc<Listener>| it.answered.load(Ordering::Acquire) < asked;
            listeners.iter().filter_map(Weak::upgrade).filter(silent).count()
        };
        let all = async {
            loop {
                let notified = self.answered.notified();
                tokio::pin!(notified);
                // Before the look, so that no answer is missed between the two.
                notified.as_mut().enable();
                if missing() == 0 {
                    return;
                }
                notified.await;
            }
        };
        // Without a runtime of tokio's there is no clock to wait by.
        if missing() > 0 && tokio::runtime::Handle::try_current().is_ok() {
            let _ = tokio::time::timeout(PATIENCE, all).await;
        }
        missing()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Listener>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// Whether a close asks; registers the task in any case.
    pub(crate) fn is_asked(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.answered.load(Ordering::Acquire) < self.closing.asked.load(Ordering::Acquire)
    }

    /// What there was is submitted.
    pub(crate) fn answer(&self) {
        self.answered.store(self.closing.asked.load(Ordering::Acquire), Ordering::Release);
        self.closing.answered.notify_waiters();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.closing.answered.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::task::noop_waker_ref;

    use super::*;

    #[tokio::test]
    async fn a_close_waits_for_those_who_listen_and_for_nobody_else() {
        let closing = Arc::new(Closing::default());
        assert_eq!(closing.ask().now_or_never(), Some(0), "nobody listens");
        let (one, other) = (closing.listen(), closing.listen());
        let cx = Context::from_waker(noop_waker_ref());
        assert!(!one.is_asked(&cx));
        let mut asking = Box::pin(closing.ask());
        assert!(asking.as_mut().now_or_never().is_none());
        assert!(one.is_asked(&cx) && other.is_asked(&cx));
        one.answer();
        assert!(!one.is_asked(&cx));
        assert!(asking.as_mut().now_or_never().is_none());
        drop(other);
        assert_eq!(asking.now_or_never(), Some(0));
    }

    #[tokio::test]
    async fn who_does_not_answer_does_not_hold_it_up() {
        let closing = Arc::new(Closing::default());
        let _silent = closing.listen();
        assert_eq!(closing.ask().await, 1);
    }
}
