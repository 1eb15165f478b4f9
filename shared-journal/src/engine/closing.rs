//! What running actors have changed and not submitted, asked for before the journal closes.
//!
//! An adapter whose actors change their state outside of handlers listens
//! ([`Mailbox::poll_closing`](crate::Mailbox::poll_closing)); the close rings, and waits until each
//! has answered or is gone, but not longer than [`PATIENCE`]: an actor whose thread is blocked must
//! not hold it up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;

use super::running::Running;

/// How long a close waits for actors to say what they have.
const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Default)]
pub(crate) struct Closing {
    /// How often a close asked.
    asked: AtomicU64,
    listeners: Mutex<Vec<Weak<Running>>>,
    answered: Notify,
}

/// The last close that a running actor has answered.
#[derive(Default)]
pub(crate) struct Answered(AtomicU64);

impl Closing {
    /// The actor begins to listen. A close that asked before is not heard.
    pub(crate) fn listen(&self, running: &Arc<Running>) {
        let mut listeners = self.lock();
        running.closing.0.store(self.asked.load(Ordering::Acquire), Ordering::Release);
        if listeners.len() == listeners.capacity() {
            // Before it grows: those that are gone make room.
            listeners.retain(|listener| listener.strong_count() > 0);
        }
        listeners.push(Arc::downgrade(running));
    }

    /// Whether a close asks an actor that listens. It is woken for that as for everything else.
    pub(crate) fn asks(&self, running: &Running) -> bool {
        running.closing.0.load(Ordering::Acquire) < self.asked.load(Ordering::Acquire)
    }

    /// What the actor had is submitted.
    pub(crate) fn answer(&self, running: &Running) {
        running.closing.0.store(self.asked.load(Ordering::Acquire), Ordering::Release);
        self.answered.notify_waiters();
    }

    /// The actor ends.
    pub(crate) fn leave(&self, running: &Running) {
        running.closing.0.store(u64::MAX, Ordering::Release);
        self.answered.notify_waiters();
    }

    /// Asks everybody and waits for the answers. Returns how many did not come.
    pub(crate) async fn ask(&self) -> usize {
        let (asked, listeners) = {
            // Under the lock: who begins to listen now need not answer.
            let listeners = self.lock();
            (self.asked.fetch_add(1, Ordering::AcqRel) + 1, listeners.clone())
        };
        for listener in listeners.iter().filter_map(Weak::upgrade) {
            listener.halt.wake();
        }
        let missing = || {
            let silent = |it: &Arc<Running>| it.closing.0.load(Ordering::Acquire) < asked;
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

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Running>>> {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::dead::DeadLetters;
    use crate::id::ActorId;

    fn running() -> Arc<Running> {
        Running::new(ActorId::new("one", "1"), &DeadLetters::default())
    }

    #[tokio::test]
    async fn a_close_waits_for_those_who_listen_and_for_nobody_else() {
        let closing = Arc::new(Closing::default());
        assert_eq!(closing.ask().now_or_never(), Some(0), "nobody listens");
        let (one, other) = (running(), running());
        [&one, &other].into_iter().for_each(|it| closing.listen(it));
        assert!(!closing.asks(&one));
        let mut asking = Box::pin(closing.ask());
        assert!(asking.as_mut().now_or_never().is_none());
        assert!(closing.asks(&one) && closing.asks(&other));
        closing.answer(&one);
        assert!(!closing.asks(&one));
        assert!(asking.as_mut().now_or_never().is_none());
        closing.leave(&other);
        assert_eq!(asking.now_or_never(), Some(0));
    }

    #[tokio::test]
    async fn who_does_not_answer_does_not_hold_it_up() {
        let closing = Arc::new(Closing::default());
        let silent = running();
        closing.listen(&silent);
        assert_eq!(closing.ask().await, 1);
    }
}
