//! Looking into a journal without owning it.

use std::sync::{Arc, Mutex, PoisonError};

use duroxide::providers::Provider;

use crate::attach::attach_to_read_aside;
use crate::codec::Payload;
use crate::engine::{Look, reading};
use crate::error::JournalError;
use crate::history::History;
use crate::id::{ActorId, ActorNo, Epoch, Position, Sequence, ShardId};
use crate::limits::Limits;
use crate::owner::Owner;
use crate::provider::{ActorProvider, RecordFilter};
use crate::record::{DeadLetter, PendingMessage};
use crate::timer::SetTimer;
use crate::types::Types;
use crate::verify::{VerifyReport, verify};

/// Reads the journal of a process that may be at work, and leaves it alone: nothing is fenced, made,
/// migrated or locked.
///
/// ```
/// use std::sync::Arc;
/// use duroxide::providers::sqlite::SqliteProvider;
/// use shared_journal::{EventJournal, JournalReader};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let provider = Arc::new(SqliteProvider::new_in_memory().await?);
/// let journal = EventJournal::open(provider.clone()).await?;
/// // In this process or another:
/// let reader = JournalReader::open(provider).await?;
/// let view = reader.view().await?;
/// println!("{} actors up to {:?}", view.actors().await?.len(), view.position());
/// assert!(reader.verify().await?.is_clean());
/// # drop(journal);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct JournalReader {
    store: Arc<dyn ActorProvider>,
    shard: ShardId,
    limits: Limits,
}

impl std::fmt::Debug for JournalReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalReader")
            .field("store", &self.store.location())
            .field("shard", &self.shard)
            .finish_non_exhaustive()
    }
}

impl JournalReader {
    /// The journal that belongs to a duroxide provider: shard 0, the only one of
    /// [`EventJournal`](crate::EventJournal).
    ///
    /// # Errors
    /// [`JournalError::NoJournal`]; the store cannot be read, is something else, or is of a newer
    /// version.
    pub async fn open(provider: Arc<dyn Provider>) -> Result<Self, JournalError> {
        let name = provider.name().to_owned();
        let store = attach_to_read_aside(provider).await?;
        Ok(Self::open_on(store.ok_or(JournalError::NoJournal { store: name })?))
    }

    /// The journal in a store.
    #[must_use]
    pub fn open_on(store: Arc<dyn ActorProvider>) -> Self {
        Self { store, shard: ShardId(0), limits: Limits::default() }
    }

    /// Another shard, of a cluster's store.
    #[must_use]
    pub fn shard(&self, shard: ShardId) -> Self {
        Self { shard, ..self.clone() }
    }

    /// The owner's limits, if they are not the defaults: the dedup window is part of what is read.
    #[must_use]
    pub fn limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Where the journal is stored.
    #[must_use]
    pub fn location(&self) -> String {
        self.store.location()
    }

    /// The process that opened the journal last, if the store keeps it. Whether it is alive is not
    /// known.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn owner(&self) -> Result<Option<Owner>, JournalError> {
        let this = self.clone();
        aside(move || pollster::block_on(this.store.owner(this.shard))).await
    }

    /// Reads the records and the log, as they are now. Costs what a recovery costs.
    ///
    /// # Errors
    /// [`JournalError::NoJournal`] if nobody has opened the shard yet; the store cannot be read, or is
    /// corrupt; or its owner truncates the log faster than it can be read.
    pub async fn view(&self) -> Result<JournalView, JournalError> {
        let this = self.clone();
        let store = self.location();
        let look = aside(move || Look::read(&this.store, this.shard, &this.limits)).await?;
        let look = look.ok_or(JournalError::NoJournal { store })?;
        let (position, epoch) = (look.position(), look.epoch());
        Ok(JournalView { look: Arc::new(Mutex::new(look)), position, epoch })
    }

    /// The history of an actor, as [`EventJournal::history`](crate::EventJournal::history).
    pub fn history(&self, actor: &ActorId) -> History {
        let shared = reading(self.store.clone(), self.shard, Epoch(0), self.limits.clone());
        let (this, name) = (self.clone(), actor.clone());
        let number = async move {
            let look = match this.view().await {
                Ok(view) => view.look,
                Err(JournalError::NoJournal { .. }) => return Ok(None),
                Err(error) => return Err(error),
            };
            let found = aside(move || lock(&look).actor(&name)).await?;
            Ok(found.map(|(no, ..)| no))
        };
        History::read(shared.provider.clone(), self.shard, actor.clone(), Box::pin(number))
    }

    /// Reads everything and checks it, as [`EventJournal::verify`](crate::EventJournal::verify).
    ///
    /// # Errors
    /// As [`view`](Self::view). What is read and wrong is in the report.
    pub async fn verify(&self) -> Result<VerifyReport, JournalError> {
        self.verify_with(&Types::new()).await
    }

    /// As [`EventJournal::verify_with`](crate::EventJournal::verify_with).
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub async fn verify_with(&self, types: &Types) -> Result<VerifyReport, JournalError> {
        let this = self.clone();
        let head = aside(move || pollster::block_on(this.store.read_head(this.shard))).await?;
        if head.is_none() {
            return Err(JournalError::NoJournal { store: self.location() });
        }
        let shared = reading(self.store.clone(), self.shard, Epoch(0), self.limits.clone());
        verify(&shared, types).await
    }
}

/// A shard as it was at a position of its log.
///
/// Actors that did not change between the last checkpoint and that position are read from the store
/// when they are asked for. Their owner may have gone on meanwhile: then they are newer, never older.
#[derive(Clone)]
pub struct JournalView {
    look: Arc<Mutex<Look>>,
    position: Position,
    epoch: Epoch,
}

impl std::fmt::Debug for JournalView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JournalView")
            .field("position", &self.position)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// An actor as its journal has it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ActorView {
    /// The actor.
    pub actor: ActorId,
    /// Everything up to this commit is in it.
    pub position: Position,
    /// The last message that was received.
    pub received: Sequence,
    /// The state after everything that was processed, if it was ever captured.
    pub state: Option<Payload<'static>>,
    /// Received and neither processed nor given up, in the order of receipt.
    pub pending: Vec<PendingMessage>,
    /// Given up, oldest first.
    pub dead_letters: Vec<DeadLetter>,
    /// Its timers, the one that is due next first.
    pub timers: Vec<SetTimer>,
}

impl JournalView {
    /// The last commit that was read.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// How many times the journal was opened by its owners.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// All actors, in the order in which they were first spawned. Also the names that deleted ones have
    /// left.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn actors(&self) -> Result<Vec<ActorId>, JournalError> {
        self.list(RecordFilter::All).await
    }

    /// The actors that have something left to do.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn pending(&self) -> Result<Vec<ActorId>, JournalError> {
        self.list(RecordFilter::Pending).await
    }

    /// The actors that have dead letters.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn with_dead_letters(&self) -> Result<Vec<ActorId>, JournalError> {
        self.list(RecordFilter::DeadLetters).await
    }

    /// The actors that have timers.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn with_timers(&self) -> Result<Vec<ActorId>, JournalError> {
        self.list(RecordFilter::Timers).await
    }

    /// One actor; None if there is none of this name.
    ///
    /// # Errors
    /// The store cannot be read, or the record is corrupt.
    pub async fn actor(&self, actor: &ActorId) -> Result<Option<ActorView>, JournalError> {
        let (look, name) = (self.look.clone(), actor.clone());
        aside(move || {
            let mut look = lock(&look);
            let Some((_, position, record)) = look.actor(&name)? else { return Ok(None) };
            let mut dead_letters: Vec<DeadLetter> = Vec::new();
            loop {
                let after = dead_letters.last().map_or(Sequence(0), |letter| letter.sequence);
                let page = look.dead_letters(&name, after)?;
                if page.is_empty() {
                    break;
                }
                dead_letters.extend(page);
            }
            Ok(Some(ActorView {
                timers: record.timers.listed(&name),
                actor: name,
                position,
                received: record.received,
                state: record.state,
                pending: record.pending.into(),
                dead_letters,
            }))
        })
        .await
    }

    async fn list(&self, filter: RecordFilter) -> Result<Vec<ActorId>, JournalError> {
        const PAGE: usize = 4096;
        let look = self.look.clone();
        aside(move || {
            let look = lock(&look);
            let (mut actors, mut after) = (Vec::new(), Some(ActorNo(0)));
            while let Some(begin) = after {
                let page = look.list(filter, begin, PAGE)?;
                actors.extend(page.actors.into_iter().map(|listed| listed.actor));
                after = page.next;
            }
            Ok(actors)
        })
        .await
    }
}

fn lock(look: &Mutex<Look>) -> std::sync::MutexGuard<'_, Look> {
    look.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads of an embedded store block: not on the caller's thread.
async fn aside<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, JournalError> + Send + 'static,
) -> Result<T, JournalError> {
    tokio::task::spawn_blocking(read).await.map_err(|_| JournalError::Closed)?
}
