//! The history of one actor, as a stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::Stream;
use futures::future::BoxFuture;

use crate::engine::{Checked, Engine, From, Scan};
use crate::envelope::entries;
use crate::error::{JournalError, Place};
use crate::event::ActorEvent;
use crate::id::{ActorId, ActorNo, Epoch, Position, ShardId};
use crate::provider::ActorProvider;

/// One event of an actor, and where and when it became durable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryEntry {
    /// The commit that made it durable.
    pub position: Position,
    /// The owner that wrote it.
    pub epoch: Epoch,
    /// When, in milliseconds since 1970 by the clock of the owner.
    pub at_ms: u64,
    /// The event.
    pub event: ActorEvent<'static>,
}

/// A stream of [`HistoryEntry`]. It ends at the newest commit; an error ends it too.
///
/// Reads a few megabytes of log at a time, in short transactions, so a slow reader holds nothing
/// up. Dropping it at any time is fine.
#[must_use = "a stream does nothing unless it is polled"]
pub struct History {
    reading: BoxFuture<'static, Result<Reader, JournalError>>,
    found: VecDeque<HistoryEntry>,
    ended: bool,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").field("buffered", &self.found.len()).finish_non_exhaustive()
    }
}

struct Reader {
    store: Arc<dyn ActorProvider>,
    actor: ActorId,
    no: Option<ActorNo>,
    scan: Scan,
    found: VecDeque<HistoryEntry>,
    at_end: bool,
}

impl History {
    pub(crate) fn new(engine: Arc<Engine>, actor: ActorId) -> Self {
        let shared = engine.shared();
        let (store, shard, name) = (shared.provider.clone(), shared.shard, actor.clone());
        let number = Box::pin(async move { engine.number(name).await });
        Self::read(store, shard, actor, number)
    }

    /// From a store that blocks between attempts. `number` is that of the actor, if there is one.
    pub(crate) fn read(
        store: Arc<dyn ActorProvider>,
        shard: ShardId,
        actor: ActorId,
        number: BoxFuture<'static, Result<Option<ActorNo>, JournalError>>,
    ) -> Self {
        let scan = Scan::new(store.clone(), shard, From::Oldest);
        let reading = async move {
            let no = number.await?;
            let at_end = no.is_none();
            Reader { store, actor, no, scan, found: VecDeque::new(), at_end }.read().await
        };
        Self { reading: Box::pin(reading), found: VecDeque::new(), ended: false }
    }
}

impl Reader {
    /// Reads on until something of the actor is found or the log ends.
    async fn read(mut self) -> Result<Self, JournalError> {
        while self.found.is_empty() && !self.at_end {
            // Reads of an embedded store block: not on the caller's thread.
            let mut scan = self.scan;
            let (commits, scan) = match tokio::runtime::Handle::try_current() {
                Ok(runtime) => {
                    let task = runtime.spawn_blocking(move || {
                        let commits = pollster::block_on(scan.read());
                        (commits, scan)
                    });
                    task.await.map_err(|_| JournalError::Closed)?
                }
                Err(_) => (scan.read().await, scan),
            };
            self.scan = scan;
            let commits = commits?;
            self.at_end = commits.is_empty();
            for commit in &commits {
                let Checked { header, body, .. } = self.scan.check(commit)?;
                for entry in entries(&header, body) {
                    let (no, event) = entry.map_err(|error| JournalError::Corrupt {
                        store: self.store.location(),
                        place: Place::shard(header.shard).at(header.position).of(&self.actor),
                        reason: error.to_string(),
                    })?;
                    if Some(no) == self.no {
                        self.found.push_back(HistoryEntry {
                            position: header.position,
                            epoch: header.epoch,
                            at_ms: header.at_ms,
                            event: event.into_owned(),
                        });
                    }
                }
            }
        }
        Ok(self)
    }
}

impl Stream for History {
    type Item = Result<HistoryEntry, JournalError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(entry) = self.found.pop_front() {
                return Poll::Ready(Some(Ok(entry)));
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match std::task::ready!(self.reading.as_mut().poll(cx)) {
                Ok(mut reader) => {
                    self.found = std::mem::take(&mut reader.found);
                    self.ended = reader.at_end;
                    if !reader.at_end {
                        self.reading = Box::pin(reader.read());
                    }
                }
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
    }
}
