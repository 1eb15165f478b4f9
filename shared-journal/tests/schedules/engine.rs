//! The sources of the writer, with stand-ins for what they hand on to: a store in memory, a
//! directory that counts, and no pace.

#![expect(dead_code, reason = "the rest of the engine is not here")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use shared_journal::{Epoch, JournalError, Limits, ShardId};

use self::inbox::Inbox;
use self::queue::Queue;
use crate::store::Store;

#[path = "../../src/engine/gate.rs"]
mod gate;
#[path = "../../src/engine/inbox.rs"]
mod inbox;
#[path = "../../src/engine/queue.rs"]
mod queue;
#[path = "../../src/engine/retry.rs"]
mod retry;
#[path = "../../src/engine/writer.rs"]
mod writer;

pub(crate) use self::request::Mail;
use self::writer::Writer;

pub(crate) mod request {
    use std::sync::Arc;

    use shared_journal::{JournalError, Position};
    use shuttle::sync::mpsc::Sender;

    use super::queue::Ticket;

    pub(crate) struct Committed {
        pub(crate) position: Position,
        pub(crate) at_ms: u64,
        pub(crate) clock_ms: u64,
        pub(crate) ticket: Ticket,
        pub(crate) row_bytes: usize,
        pub(crate) count: u64,
        pub(crate) entries: Vec<u8>,
    }

    pub(crate) enum Mail {
        Committed(Committed),
        PartSaved,
        /// Waits for the submissions up to a ticket.
        Request(Ticket, Sender<()>),
        Stopped(Arc<JournalError>),
        WriterDone,
    }
}

/// The writer takes what is there.
mod pace {
    use std::time::Duration;

    use super::queue::Queue;

    pub(super) struct Pace;

    impl Pace {
        pub(super) fn new() -> Self {
            Self
        }

        pub(super) fn committed(&mut self, _events: u64, _took: Duration) {}

        pub(super) fn gather(&mut self, queue: &Queue) {
            let _ = queue.gathered();
        }

        pub(super) fn taken(&mut self) {}
    }
}

#[derive(Default)]
pub(crate) struct Gauges {
    durable: std::sync::atomic::AtomicU64,
}

/// As the engine's, without what only the directory uses.
pub(crate) struct Shared {
    pub(crate) gauges: Gauges,
    pub(crate) provider: Store,
    pub(crate) shard: ShardId,
    pub(crate) epoch: Epoch,
    pub(crate) limits: Limits,
    pub(crate) queue: Queue,
    directory: Inbox,
}

impl Shared {
    pub(crate) fn new(store: Store, waiting_limit: usize, tail_limit: usize) -> Arc<Self> {
        // So long that the clock decides nothing.
        let limits = Limits { commit_retry: Duration::from_secs(1 << 20), ..Limits::default() };
        Arc::new(Self {
            provider: store,
            shard: ShardId(0),
            epoch: Epoch(1),
            limits,
            queue: Queue::new(waiting_limit, tail_limit, BATCH_BYTES),
            directory: Inbox::new(tail_limit / 2),
            gauges: Gauges::default(),
        })
    }

    pub(crate) fn clock_ms(&self) -> u64 {
        0
    }

    fn store_error(
        &self,
        operation: &'static str,
        source: impl Into<shared_journal::BoxError>,
    ) -> JournalError {
        let (store, source) = ("the test's store".to_owned(), source.into());
        JournalError::Store { store, operation, retryable: false, source }
    }

    pub(crate) fn stop(&self, error: JournalError) -> Arc<JournalError> {
        let stopped = Arc::new(JournalError::Stopped { source: Arc::new(error) });
        self.queue.stop(&stopped);
        stopped
    }

    /// To the directory.
    pub(crate) fn send(&self, mail: Mail) {
        self.directory.send(mail);
    }

    /// The directory's next mails.
    pub(crate) fn mails(&self, eager: bool) -> VecDeque<Mail> {
        self.directory.take(eager, None)
    }

    /// The directory takes no more.
    pub(crate) fn directory_ends(&self) {
        self.directory.end();
    }

    /// The writer's thread.
    pub(crate) fn write(self: Arc<Self>) {
        Writer::new(self, shared_journal::Position(0)).run();
    }
}

/// A batch takes two entries, so that there are some that take no more.
const BATCH_BYTES: usize = 2;

fn now_ms() -> u64 {
    0
}
