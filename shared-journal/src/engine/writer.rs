//! The writer: one thread that turns batches into commits and opens the output gate.
//!
//! The order is the promise: encode, write, durable, and only then release. A batch that fails
//! stops the journal; nothing of it or after it is released.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use fail::fail_point;

use super::pace::Pace;
use super::queue::Batch;
use super::request::{Committed, Mail};
use super::retry::Retry;
use super::{Shared, now_ms};
use crate::envelope::{CommitHeader, encode_commit};
use crate::error::JournalError;
use crate::id::Position;
use crate::provider::Write;
use crate::sabotage::sabotaged;
use crate::sync::sleep;

pub(super) struct Writer {
    shared: Arc<Shared>,
    tail: Position,
    row: Vec<u8>,
    pace: Pace,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, tail: Position) -> Self {
        Self { shared, tail, row: Vec::new(), pace: Pace::new() }
    }

    /// The thread's whole life.
    pub(super) fn run(mut self) {
        let _end = StopOnPanic(self.shared.clone());
        loop {
            self.pace.gather(&self.shared.queue);
            let Some(mut batch) = self.shared.queue.take() else { break };
            self.pace.taken();
            if let Err(error) = self.commit(&mut batch) {
                // The queue first: whoever learns of the failure finds the journal stopped.
                let stopped = self.shared.stop(error);
                batch.releases.fail(&stopped);
                self.shared.directory.send(Mail::Stopped(stopped));
                return;
            }
        }
        self.shared.directory.send(Mail::WriterDone);
    }

    fn commit(&mut self, batch: &mut Batch) -> Result<(), JournalError> {
        let started = Instant::now();
        let position = self.tail.next();
        let (at_ms, clock_ms) = (now_ms(), self.shared.clock_ms());
        if batch.count > 0 {
            let header = CommitHeader {
                shard: self.shared.shard,
                position,
                epoch: self.shared.epoch,
                at_ms,
                entries: batch.count,
                clock_ms,
            };
            if let Err(error) = encode_commit(&header, &batch.entries, &mut self.row) {
                return Err(self.shared.store_error("encode a commit", error));
            }
        }
        if sabotaged("sabotage-early-reply") {
            std::mem::take(&mut batch.releases).open();
            // Until callers have them: a process that dies now has lied.
            sleep(Duration::from_millis(20));
        }
        fail_point!("before-append");
        let write = Write {
            shard: self.shared.shard,
            epoch: self.shared.epoch,
            append: (batch.count > 0).then_some((position, &self.row[..])),
            checkpoint: batch.checkpoint.as_ref(),
        };
        self.write(&write)?;
        fail_point!("after-append");
        if batch.count > 0 {
            self.tail = position;
            self.shared.gauges.durable.store(position.0, Ordering::Relaxed);
            self.shared.queue.committed(batch.ticket, batch.entries.len(), self.row.len());
            let took = started.elapsed();
            metrics::histogram!("journal_commit_seconds").record(took);
            metrics::counter!("journal_committed_bytes_total").increment(self.row.len() as u64);
            metrics::counter!("journal_committed_events_total").increment(batch.count);
            fail_point!("before-reply");
            std::mem::take(&mut batch.releases).open();
            self.pace.committed(batch.count, took);
            self.shared.directory.send(Mail::Committed(Committed {
                position,
                at_ms,
                clock_ms,
                ticket: batch.ticket,
                row_bytes: self.row.len(),
                count: batch.count,
                entries: std::mem::take(&mut batch.entries),
            }));
        }
        if batch.checkpoint.is_some() {
            fail_point!("during-checkpoint");
            self.shared.directory.send(Mail::PartSaved);
        }
        Ok(())
    }

    /// Repeats a write while the store says that it may succeed later.
    fn write(&self, write: &Write<'_>) -> Result<(), JournalError> {
        if sabotaged("sabotage-swallow") {
            return Ok(());
        }
        let mut retry = Retry::new(self.shared.limits.commit_retry);
        loop {
            match pollster::block_on(self.shared.provider.write(write)) {
                Err(error) if error.is_retryable() => {
                    let Some(pause) = retry.again() else { return Err(error) };
                    let cause: &(dyn std::error::Error + 'static) = &error;
                    tracing::warn!(
                        error = cause,
                        ?pause,
                        "the store refused a commit; trying again"
                    );
                    metrics::counter!("journal_commit_retries_total").increment(1);
                    sleep(pause);
                }
                Err(JournalError::Fenced { .. }) if sabotaged("sabotage-fence") => return Ok(()),
                outcome => return outcome,
            }
        }
    }
}

/// A release runs code of the user's types. If one panics, nobody is left waiting for a writer
/// that is gone.
struct StopOnPanic(Arc<Shared>);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let stopped = self.0.stop(self.0.store_error("write", "the writer thread panicked"));
            self.0.directory.send(Mail::Stopped(stopped));
        }
    }
}
