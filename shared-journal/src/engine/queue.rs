//! Where runs wait for the writer: everything that arrives while one commit is being written
//! forms the next, or the next few, if it is more than is good to have in one row.

use std::collections::VecDeque;
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

/// A commit takes no more submissions when it would have more bytes of entries than this: it is one row
/// of the store, and the next commit is not to wait long for it. A submission that is larger is a commit
/// of its own.
const BATCH_BYTES: usize = 64 << 20;

/// The bytes of a batch in a store with rows of this size.
pub(crate) fn batch_bytes(row_bytes: usize) -> usize {
    BATCH_BYTES.min(row_bytes / 2)
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
    batch_limit: usize,
    room: Notify,
    /// Bytes of log since the last finished checkpoint.
    tail: AtomicUsize,
    tail_limit: usize,
    /// 1 when it was stopped: known without the lock, and before anybody is told of it.
    stopped: AtomicU64,
}

struct Open {
    /// Those that take no more, the oldest first.
    full: VecDeque<Batch>,
    /// The one that forms. It is empty only if there are no full ones.
    batch: Batch,
    part: Option<CheckpointPart>,
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

impl Open {
    fn is_empty(&self) -> bool {
        self.batch.count == 0 && self.part.is_none()
    }

    /// See [`Queue::gathered`].
    fn gathered(&self) -> u64 {
        if self.part.is_some() || !self.full.is_empty() { u64::MAX } else { self.batch.count }
    }

    /// What is written next. A part of a checkpoint goes with the events, or before them if both would be
    /// too much at once: a store may send them to its server as one statement.
    fn next(&mut self, limit: usize) -> Batch {
        let events = self.full.front().unwrap_or(&self.batch);
        let part = self.part.as_ref().map_or(0, CheckpointPart::bytes);
        let alone = part > 0 && events.entries.len().saturating_add(part) > limit;
        let mut batch = if alone {
            Batch::default()
        } else {
            self.full.pop_front().unwrap_or_else(|| std::mem::take(&mut self.batch))
        };
        batch.checkpoint = self.part.take();
        batch
    }
}

impl Queue {
    /// `batch_limit` is that of [`batch_bytes`].
    pub(crate) fn new(waiting_limit: usize, tail_limit: usize, batch_limit: usize) -> Self {
        Self {
            open: Mutex::new(Open {
                full: VecDeque::new(),
                batch: Batch::default(),
                part: None,
                ticket: 0,
                state: State::Open,
                asleep: false,
            }),
            work: Condvar::new(),
            gathered: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            waiting: AtomicUsize::new(0),
            waiting_limit,
            batch_limit,
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
        let waiting = open.batch.entries.len();
        if waiting > 0 && waiting.saturating_add(entries.len()) > self.batch_limit {
            let full = std::mem::take(&mut open.batch);
            open.full.push_back(full);
        }
        let batch = &mut open.batch;
        batch.entries.extend_from_slice(entries);
        batch.count += count;
        batch.releases.push(gate, release);
        batch.ticket = ticket;
        self.gathered.store(open.gathered(), Ordering::Release);
        self.hold(entries.len());
        self.wake(open);
        Ok(ticket)
    }

    /// Hands a part of a checkpoint to the writer. At most one is on its way at a time.
    pub(crate) fn offer_part(&self, part: CheckpointPart) {
        let mut open = self.lock();
        open.part = Some(part);
        self.gathered.store(open.gathered(), Ordering::Release);
        self.wake(open);
    }

    /// The events that wait for the writer; everything, if something else than events waits, or a batch
    /// that takes no more.
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
            let stalled =
                self.tail.load(Ordering::Acquire) > self.tail_limit && open.part.is_none();
            if !open.is_empty() && !stalled {
                let batch = open.next(self.batch_limit);
                self.gathered.store(open.gathered(), Ordering::Release);
                return Some(batch);
            }
            if matches!(open.state, State::Closing) && open.is_empty() {
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
        let mut batches = std::mem::take(&mut open.full);
        batches.push_back(std::mem::take(&mut open.batch));
        open.part = None;
        self.gathered.store(u64::MAX, Ordering::Release);
        self.wake(open);
        for batch in batches {
            batch.releases.fail(error);
        }
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
