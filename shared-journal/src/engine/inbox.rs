//! The directory's inbox. Commits pile up in it without waking the directory: folding them is
//! needed only when somebody asks, or when there are enough of them.

use std::collections::VecDeque;
use std::sync::PoisonError;
use std::time::Duration;

use super::request::Mail;
use crate::sync::{Condvar, Mutex, MutexGuard};

/// Commits of so many bytes are folded without being asked for: few enough to stay in the
/// processor's caches, enough to make waking the thread worth it.
const FOLD_BYTES: usize = 256 << 10;

pub(super) struct Inbox {
    fold_bytes: usize,
    mails: Mutex<Mails>,
    arrived: Condvar,
}

#[derive(Default)]
struct Mails {
    queue: VecDeque<Mail>,
    /// Bytes of log in the queue, counted as the writer counts them: it stops at a tail that only
    /// the directory can shorten, so what it counts must wake the directory.
    backlog: usize,
    /// Somebody waits for a commit to be folded.
    eager: bool,
    ended: bool,
}

impl Mails {
    fn wants_attention(&self, fold_bytes: usize) -> bool {
        self.backlog >= fold_bytes
            || (self.eager && !self.queue.is_empty())
            || self.queue.iter().any(|mail| !matches!(mail, Mail::Committed(_)))
    }
}

impl Inbox {
    /// An inbox for checkpoints every `checkpoint_bytes`.
    pub(super) fn new(checkpoint_bytes: usize) -> Self {
        Self {
            fold_bytes: (checkpoint_bytes / 4).clamp(1, FOLD_BYTES),
            mails: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    /// Adds a mail. After [`end`](Self::end) it is dropped, and with it whatever would answer it.
    pub(super) fn send(&self, mail: Mail) {
        let mut mails = self.lock();
        if mails.ended {
            return;
        }
        let before = mails.backlog;
        let attention = match &mail {
            Mail::Committed(commit) => {
                mails.backlog += commit.row_bytes;
                mails.eager || (before < self.fold_bytes && mails.backlog >= self.fold_bytes)
            }
            _ => true,
        };
        mails.queue.push_back(mail);
        drop(mails);
        if attention {
            self.arrived.notify_one();
        }
    }

    /// Waits for mails that want attention, no longer than `patience`, and takes all there are. With `eager`,
    /// a commit is enough.
    pub(super) fn take(&self, eager: bool, patience: Option<Duration>) -> VecDeque<Mail> {
        let mut mails = self.lock();
        mails.eager = eager;
        while !mails.wants_attention(self.fold_bytes) {
            let Some(patience) = patience else {
                mails = self.arrived.wait(mails).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let waited = self.arrived.wait_timeout(mails, patience);
            let (after, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
            mails = after;
            if timeout.timed_out() {
                break;
            }
        }
        mails.backlog = 0;
        std::mem::take(&mut mails.queue)
    }

    /// No more mails are taken.
    pub(super) fn end(&self) {
        let mut mails = self.lock();
        mails.ended = true;
        let left = std::mem::take(&mut mails.queue);
        drop(mails);
        // Outside of the lock: dropping a request wakes its asker.
        drop(left);
    }

    fn lock(&self) -> MutexGuard<'_, Mails> {
        self.mails.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
