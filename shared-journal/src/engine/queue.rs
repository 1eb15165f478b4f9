//! Where runs wait for the writer: everything that arrives while one commit is being written
//! forms the next.

use std::sync::{Arc, PoisonError};

use tokio::sync::Notify;

use super::gate::{Gate, Release, Releases};
use crate::error::JournalError;
use crate::provider::CheckpointPart;
use crate::sync::{AtomicU64, AtomicUsize, Condvar, Mutex, MutexGuard, Ordering};

/// How often the journal was submitted to; a submission is known by this number.
pub(crate) type Ticket = u64;

/// What one commit is made of.
#[derive(Default)]
pub(crate) struct Batch {
    /// Encoded entries, one after the other.
    pub(crate) entries: Vec<u8>,
    pub(crate) count: u64,
    pub(crate) releases: Releases,
    /// The last submission in it.
    pub(crate) ticket: Ticket,
    pub(crate) checkpoint: Option<CheckpointPart>,
}

impl Batch {
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0 && self.checkpoint.is_none()
    }
}

pub(crate) struct Queue {
    open: Mutex<Open>,
    work: Condvar,
    /// How much there is for the writer to do, readable without the lock; see
    /// [`gathered`](Self::gathered).
    gathered: AtomicU64,
    /// The last submission that is durable.
    durable: AtomicU64,
    /// Bytes submitted and not yet durable.
    waiting: AtomicUsize,
    waiting_limit: usize,
    room: Notify,
    /// Bytes of log since the last finished checkpoint.
    tail: AtomicUsize,
    tail_limit: usize,
    /// 1 when it was stopped: known without the lock, and before anybody is told of it.
    stopped: AtomicU64,
}

struct Open {
    batch: Batch,
    ticket: Ticket,
    state: State,
    /// The writer waits to be woken.
    asleep: bool,
}

enum State {
    Open,
    /// No more submissions; what is there is still written.
    Closing,
    Stopped(Arc<JournalError>),
}

impl Queue {
    pub(crate) fn new(waiting_limit: usize, tail_limit: usize) -> Self {
        Self {
            open: Mutex::new(Open {
                batch: Batch::default(),
                ticket: 0,
                state: State::Open,
                asleep: false,
            }),
            work: Condvar::new(),
            gathered: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            waiting_limit,
            room: Notify::new(),
            tail: AtomicUsize::new(0),
            tail_limit,
            stopped: AtomicU64::new(0),
        }
    }

    /// Adds a run to the commit that is forming. `release` is called in any case, also when this
    /// fails.
    pub(crate) fn submit(
        &self,
        entries: &[u8],
        count: u64,
        gate: Option<&Gate>,
        release: Release,
    ) -> Result<Ticket, Arc<JournalError>> {
        let mut open = self.lock();
        let refusal = match &open.state {
            State::Open => None,
            State::Closing => Some(Arc::new(JournalError::Closed)),
            State::Stopped(error) => Some(error.clone()),
        };
        if let Some(error) = refusal {
            drop(open);
            release(Err(error.clone()));
            return Err(error);
        }
        open.ticket += 1;
        let ticket = open.ticket;
        let batch = &mut open.batch;
        batch.entries.extend_from_slice(entries);
        batch.count += count;
        batch.releases.push(gate, release);
        batch.ticket = ticket;
        self.gathered.store(batch.count, Ordering::Release);
        self.hold(entries.len());
        self.wake(open);
        Ok(ticket)
    }

    /// Hands a part of a checkpoint to the writer. At most one is on its way at a time.
    pub(crate) fn offer_part(&self, part: CheckpointPart) {
        let mut open = self.lock();
        open.batch.checkpoint = Some(part);
        self.gathered.store(u64::MAX, Ordering::Release);
        self.wake(open);
    }

    /// The events that wait for the writer; everything, if something else than events waits.
    pub(crate) fn gathered(&self) -> u64 {
        self.gathered.load(Ordering::Acquire)
    }

    fn wake(&self, open: MutexGuard<'_, Open>) {
        let asleep = open.asleep;
        drop(open);
        if asleep {
            self.work.notify_one();
        }
    }

    /// Waits for work; `None` when the queue is closed and empty, or stopped.
    pub(crate) fn take(&self) -> Option<Batch> {
        let mut open = self.lock();
        loop {
            if matches!(open.state, State::Stopped(_)) {
                return None;
            }
            // Too long a tail: only the checkpoint that shortens it goes on.
            let stalled = self.tail.load(Ordering::Acquire) > self.tail_limit
                && open.batch.checkpoint.is_none();
            if !open.batch.is_empty() && !stalled {
                self.gathered.store(0, Ordering::Release);
                return Some(std::mem::take(&mut open.batch));
            }
            if matches!(open.state, State::Closing) && open.batch.is_empty() {
                return None;
            }
            open.asleep = true;
            open = self.work.wait(open).unwrap_or_else(PoisonError::into_inner);
            open.asleep = false;
        }
    }

    /// Something of so many bytes waits for what is submitted to be durable.
    pub(crate) fn hold(&self, bytes: usize) {
        self.waiting.fetch_add(bytes, Ordering::Relaxed);
    }

    /// It waits no more.
    pub(crate) fn let_go(&self, bytes: usize) {
        self.waiting.fetch_sub(bytes, Ordering::AcqRel);
        self.room.notify_waiters();
    }

    /// Bytes that are submitted and not durable, and of what waits for them.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// The last submission made.
    pub(crate) fn ticket(&self) -> Ticket {
        self.lock().ticket
    }

    /// No more submissions are taken.
    pub(crate) fn close(&self) {
        let mut open = self.lock();
        if matches!(open.state, State::Open) {
            open.state = State::Closing;
        }
        self.gathered.store(u64::MAX, Ordering::Release);
        self.wake(open);
        self.room.notify_waiters();
    }

    /// Ends the journal: what waits is released with the error, and so is all that comes.
    pub(crate) fn stop(&self, error: &Arc<JournalError>) {
        let mut open = self.lock();
        if !matches!(open.state, State::Stopped(_)) {
            open.state = State::Stopped(error.clone());
        }
        self.stopped.store(1, Ordering::Release);
        let batch = std::mem::take(&mut open.batch);
        self.gathered.store(u64::MAX, Ordering::Release);
        self.wake(open);
        batch.releases.fail(error);
        self.room.notify_waiters();
    }

    /// Why nothing can be submitted, if so.
    pub(crate) fn refusal(&self) -> Option<Arc<JournalError>> {
        match &self.lock().state {
            State::Open => None,
            State::Closing => Some(Arc::new(JournalError::Closed)),
            State::Stopped(error) => Some(error.clone()),
        }
    }

    /// Why it was stopped, if it was.
    pub(crate) fn stopped(&self) -> Option<Arc<JournalError>> {
        if self.stopped.load(Ordering::Acquire) == 0 { None } else { self.refusal() }
    }

    /// Accounts for a commit of everything up to `ticket`: `entries` bytes of entries in a row of `row`
    /// bytes. Before its releases.
    pub(crate) fn committed(&self, ticket: Ticket, entries: usize, row: usize) {
        self.durable.store(ticket, Ordering::Release);
        self.tail.fetch_add(row, Ordering::AcqRel);
        self.let_go(entries);
    }

    /// The last submission that is durable. To wait until the directory has folded it takes no commit.
    pub(crate) fn durable(&self) -> Ticket {
        self.durable.load(Ordering::Acquire)
    }

    /// Accounts for a finished checkpoint.
    pub(crate) fn shorten_tail(&self, bytes: usize) {
        // Under the lock: between the writer's look at the tail and its wait, the wake-up would be
        // lost.
        let open = self.lock();
        self.tail.fetch_sub(bytes, Ordering::AcqRel);
        self.wake(open);
    }

    /// Whether an actor may take its next message.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) <= self.waiting_limit
    }

    /// Waits until an actor may take its next message, or the journal has ended.
    pub(crate) async fn room(&self) {
        loop {
            // Made before the check: it hears of a commit between the two.
            let notified = self.room.notified();
            if self.has_room() || self.refusal().is_some() {
                return;
            }
            notified.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
