//! `EventJournal`: the door to everything else.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use duroxide::providers::Provider;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use crate::builder::EventJournalBuilder;
use crate::engine::{Engine, Keep};
use crate::error::JournalError;
use crate::history::History;
use crate::id::{ActorId, ActorNo, Epoch, MessageId, Sequence, ShardId};
use crate::limits::Limits;
use crate::mailbox::{Mailbox, Work};
use crate::provider::RecordFilter;
use crate::record::{DeadLetter, Outcome};
use crate::reopen::Door;
use crate::repair::Repair;
use crate::resend::resend;
use crate::stats::JournalStats;
use crate::timer::SetTimer;
use crate::types::Types;
use crate::verify::{VerifyReport, verify};

/// The embedded journal has one shard.
pub(crate) const SHARD: ShardId = ShardId(0);

/// A durable journal of actors, next to a duroxide store.
///
/// Cloning is cheap; the journal lives until the last clone and the last running actor are gone.
/// Of several journals on one store the one opened last is the owner: the others fail with
/// [`JournalError::Fenced`] at their next commit and release nothing of it.
///
/// ```
/// use std::sync::Arc;
/// use duroxide::providers::sqlite::SqliteProvider;
/// use shared_journal::EventJournal;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let provider = Arc::new(SqliteProvider::new_in_memory().await?);
/// let journal = EventJournal::open(provider).await?;
/// assert_eq!(journal.stats().recovered_actors, 0);
/// journal.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct EventJournal {
    pub(crate) door: Arc<Door>,
}

impl std::fmt::Debug for EventJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventJournal")
            .field("store", &self.location())
            .field("epoch", &self.epoch())
            .finish_non_exhaustive()
    }
}

impl EventJournal {
    /// Opens the journal that belongs to a duroxide provider, with the defaults of
    /// [`Limits`], [`Durability`](crate::Durability) and [`Codec`](crate::Codec).
    ///
    /// For a `SqliteProvider` on `app.db` the journal is `app.actors.db`, made if it is missing. For
    /// the `PostgresProvider` of duroxide-pg (feature `postgres`) it is in tables of its own, in the
    /// same schema. For any other provider it is in the provider's own history
    /// ([`portable`](crate::portable)).
    ///
    /// When this returns, everything in the store is recovered, and earlier owners are fenced.
    ///
    /// # Errors
    /// [`JournalError::UnsupportedProvider`], [`JournalError::InvalidLimits`], or whatever is wrong
    /// with the store: it cannot be opened, is not a journal, is of a newer version, is corrupt, or is
    /// where it cannot be ([`JournalError::BesideLink`], [`JournalError::NetworkFileSystem`]).
    pub async fn open(provider: Arc<dyn Provider>) -> Result<Self, JournalError> {
        Self::builder().open(provider).await
    }

    /// A journal with other limits, durability or codec.
    #[must_use]
    pub fn builder() -> EventJournalBuilder {
        EventJournalBuilder::default()
    }

    /// Where the journal is stored.
    #[must_use]
    pub fn location(&self) -> String {
        self.engine().shared().provider.location()
    }

    /// The engine that runs now, or the last one that did.
    pub(crate) fn engine(&self) -> Arc<Engine> {
        self.door.engine()
    }

    /// How many times the store was opened, this time included.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.engine().shared().epoch
    }

    /// The limits it was opened with.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        self.door.limits()
    }

    /// Loads an actor and makes the caller its only writer in this process, until the mailbox is
    /// dropped. For adapters; applications start actors through duroxide-actix or duroxide-tower.
    ///
    /// Messages that an earlier process received and did not process are in the mailbox already.
    ///
    /// # Errors
    /// [`JournalError::AlreadyActive`], [`JournalError::InvalidActorId`], a corrupt record, or the
    /// journal has stopped.
    pub async fn activate<W: Work>(&self, actor: &ActorId) -> Result<Mailbox<W>, JournalError> {
        Mailbox::activate(&self.door, self.engine(), actor).await
    }

    /// The recorded outcome of a message. Waits for it if the message was received and not yet
    /// processed; None if its id is unknown, or older than [`Limits::dedup_age`](crate::Limits::dedup_age).
    ///
    /// # Errors
    /// The store cannot be read, or the journal has stopped.
    pub async fn outcome(
        &self,
        actor: &ActorId,
        id: MessageId,
    ) -> Result<Option<Outcome>, JournalError> {
        self.engine().outcome(actor.clone(), id).await
    }

    /// All actors, in the order in which they were first spawned. Also the names that those have left
    /// which are [`deleted`](Self::deleted).
    ///
    /// # Errors
    /// The store cannot be read, or the journal has stopped.
    pub async fn actors(&self) -> Result<Vec<ActorId>, JournalError> {
        self.list(RecordFilter::All).await
    }

    /// The actors that have something left to do: messages received and not processed, or sent and
    /// not known to have arrived. Start them after a restart, so that what was promised is done.
    ///
    /// # Errors
    /// As [`actors`](Self::actors).
    pub async fn pending(&self) -> Result<Vec<ActorId>, JournalError> {
        self.list(RecordFilter::Pending).await
    }

    /// The actors that have dead letters.
    ///
    /// # Errors
    /// As [`actors`](Self::actors).
    pub async fn with_dead_letters(&self) -> Result<Vec<ActorId>, JournalError> {
        self.list(RecordFilter::DeadLetters).await
    }

    /// The actors that have timers.
    ///
    /// # Errors
    /// As [`actors`](Self::actors).
    pub async fn with_timers(&self) -> Result<Vec<ActorId>, JournalError> {
        self.list(RecordFilter::Timers).await
    }

    /// The timers of an actor, running or not, the one that is due next first. One that is due stays until
    /// its actor has received its message. [`Repair::cancel_timer`] cancels one.
    ///
    /// # Errors
    /// As [`actors`](Self::actors).
    pub async fn timers(&self, actor: &ActorId) -> Result<Vec<SetTimer>, JournalError> {
        let name = actor.clone();
        let engine = self.engine();
        let timers = engine.look(actor.clone(), move |record| record.timers.listed(&name));
        Ok(timers.await?.unwrap_or_default())
    }

    /// For whoever starts actors when they are needed: actors with timers that are due, while they do not run.
    /// Those that are there already come at once, and each comes again every second until it is started, or later
    /// if there are thousands. None when the journal has stopped: one that opens itself again is to be asked again.
    #[must_use]
    pub fn awaited(&self) -> UnboundedReceiver<ActorId> {
        let (starter, awaited) = unbounded_channel();
        self.engine().shared().add_starter(starter);
        awaited
    }

    /// The names of actors that were deleted ([`Repair::delete`]) and not spawned again. Reads the record of
    /// every actor, one after the other: of many this takes its time.
    ///
    /// # Errors
    /// As [`actors`](Self::actors).
    pub async fn deleted(&self) -> Result<Vec<ActorId>, JournalError> {
        let (engine, mut deleted) = (self.engine(), Vec::new());
        for actor in self.actors().await? {
            let looked = engine.look(actor.clone(), |record| record.deleted).await?;
            deleted.extend(looked.filter(|deleted| *deleted).map(|_| actor));
        }
        Ok(deleted)
    }

    async fn list(&self, filter: RecordFilter) -> Result<Vec<ActorId>, JournalError> {
        const PAGE: usize = 4096;
        let (mut actors, mut after) = (Vec::new(), Some(ActorNo(0)));
        while let Some(begin) = after {
            let page = self.engine().list(filter, begin, PAGE).await?;
            actors.extend(page.actors.into_iter().map(|listed| listed.actor));
            after = page.next;
        }
        Ok(actors)
    }

    /// The messages that an actor gave up, oldest first. They are kept until they are sent again
    /// or discarded.
    ///
    /// Reads all of them into memory, which may be [`Limits::dead_letter_bytes`] and more; see
    /// [`dead_letters_page`](Self::dead_letters_page).
    ///
    /// # Errors
    /// As [`actors`](Self::actors).
    pub async fn dead_letters(&self, actor: &ActorId) -> Result<Vec<DeadLetter>, JournalError> {
        let (mut all, mut after) = (Vec::new(), Sequence(0));
        loop {
            let page = self.dead_letters_page(actor, after, usize::MAX).await?;
            let Some(last) = page.last() else { return Ok(all) };
            after = last.sequence;
            all.extend(page);
        }
    }

    /// As [`dead_letters`](Self::dead_letters), but only those after `after`, and at most `limit` or
    /// 4 MiB of them, whatever is reached first; one letter is always read. Begin with
    /// `Sequence(0)`, go on with the sequence of the last; none is the end.
    ///
    /// # Errors
    /// As [`actors`](Self::actors).
    pub async fn dead_letters_page(
        &self,
        actor: &ActorId,
        after: Sequence,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, JournalError> {
        Ok(self.engine().dead_letters(actor.clone(), after, limit).await?.letters)
    }

    /// Receives a dead letter again, as a new message without an id. If the actor runs it is handled
    /// behind what waits there; else when the actor starts.
    ///
    /// # Errors
    /// [`JournalError::NoSuchDeadLetter`], or as
    /// [`resend_dead_letters`](Self::resend_dead_letters).
    pub async fn resend_dead_letter(
        &self,
        actor: &ActorId,
        sequence: Sequence,
    ) -> Result<(), JournalError> {
        match self.resend_dead_letters(actor, sequence..=sequence).await? {
            0 => Err(JournalError::NoSuchDeadLetter { actor: actor.clone(), sequence }),
            _ => Ok(()),
        }
    }

    /// Receives the dead letters in `range` again, in their order, as new messages without ids, and says
    /// how many there were. If the actor runs they are handled behind what waits there; else when it
    /// starts. Those that fail again meanwhile are not sent once more, and those that somebody else
    /// sends or discards in the same moment go one way.
    ///
    /// A running actor takes them as it has room for messages, so this waits for it. When it returns
    /// all are received, durably. If it is cancelled, or fails, the oldest of them may have been
    /// received, and the others are dead letters as before.
    ///
    /// # Errors
    /// [`JournalError::UnknownMessage`]: the running actor does not list the type of one of them, and
    /// would not start with it. Or the journal has stopped.
    pub async fn resend_dead_letters(
        &self,
        actor: &ActorId,
        range: RangeInclusive<Sequence>,
    ) -> Result<usize, JournalError> {
        // The same all the time: what is read from one is not written to the next.
        resend(&self.engine(), actor, range).await
    }

    /// Throws a dead letter away.
    ///
    /// # Errors
    /// [`JournalError::NoSuchDeadLetter`], or the journal has stopped.
    pub async fn discard_dead_letter(
        &self,
        actor: &ActorId,
        sequence: Sequence,
    ) -> Result<(), JournalError> {
        match self.engine().discard(actor.clone(), sequence..=sequence).await? {
            0 => Err(JournalError::NoSuchDeadLetter { actor: actor.clone(), sequence }),
            _ => Ok(()),
        }
    }

    /// Throws the dead letters in `range` away, and says how many there were. The actor may run. If
    /// this is cancelled, a part of them is gone.
    ///
    /// # Errors
    /// The journal has stopped; the oldest of them may be gone.
    pub async fn discard_dead_letters(
        &self,
        actor: &ActorId,
        range: RangeInclusive<Sequence>,
    ) -> Result<usize, JournalError> {
        let mut all = 0;
        loop {
            match self.engine().discard(actor.clone(), range.clone()).await? {
                0 => return Ok(all),
                count => all += count,
            }
        }
    }

    /// Mends by hand, in the name of `by` and because of `why`; both are in the history of what is
    /// mended.
    ///
    /// # Errors
    /// [`JournalError::InvalidRepair`]: one of them is empty or too long.
    pub fn repair(
        &self,
        by: impl Into<String>,
        why: impl Into<String>,
    ) -> Result<Repair, JournalError> {
        Repair::new(self.clone(), by.into(), why.into())
    }

    /// The history of an actor, from the oldest commit that is kept
    /// ([`Limits::history_commits`]) to the newest at the time it gets there.
    pub fn history(&self, actor: &ActorId) -> History {
        History::new(self.engine(), actor.clone())
    }

    /// Reads everything and checks it: envelopes, checksums, positions, epochs, every record and
    /// every history, and the store's own structures; and that what actors would start with is what its
    /// codec writes. Writes nothing; runs beside the actors.
    ///
    /// # Errors
    /// The store cannot be read. What is read and wrong is in the report.
    pub async fn verify(&self) -> Result<VerifyReport, JournalError> {
        self.verify_with(&Types::new()).await
    }

    /// As [`verify`](Self::verify); and decodes the states, pending messages and dead letters of the
    /// actors whose types are known. One that does not decode is a problem in the report
    /// ([`JournalError::Decode`], [`JournalError::UnknownMessage`]).
    ///
    /// # Errors
    /// As [`verify`](Self::verify).
    pub async fn verify_with(&self, types: &Types) -> Result<VerifyReport, JournalError> {
        verify(self.engine().shared(), types).await
    }

    /// Saves what changed, so that the log before it can go, and waits for it. The journal does
    /// this by itself every [`Limits::checkpoint_bytes`].
    ///
    /// # Errors
    /// The journal has stopped.
    pub async fn checkpoint(&self) -> Result<(), JournalError> {
        self.engine().checkpoint(Keep::Usual).await
    }

    /// Makes a checkpoint, takes nothing more, and waits until everything is written. Actors that
    /// still run submit what they have (for a second at most), and then find the journal closed.
    ///
    /// Without it nothing durable is lost; the next start has more to read.
    ///
    /// # Errors
    /// The journal had stopped.
    pub async fn close(&self) -> Result<(), JournalError> {
        self.door.close().await
    }

    /// As [`close`](Self::close), without a checkpoint: the next owner does not have to wait for it. Actors that
    /// do not end within `patience` are cut off.
    pub(crate) async fn hand_over(&self, patience: Duration) -> Result<(), JournalError> {
        self.engine().hand_over(patience).await
    }

    /// Why the journal takes nothing more, if it does not. None while it is being opened again
    /// ([`EventJournalBuilder::reopen`]).
    #[must_use]
    pub fn stopped(&self) -> Option<Arc<JournalError>> {
        self.door.ended()
    }

    /// Counts since this journal was opened.
    #[must_use]
    pub fn stats(&self) -> JournalStats {
        let counters = self.door.counters();
        JournalStats {
            recovered_actors: counters.recovered_actors.load(Ordering::Relaxed),
            recovered_pending: counters.recovered_pending.load(Ordering::Relaxed),
            duplicates: counters.duplicates.load(Ordering::Relaxed),
            dead_letters: counters.dead_letters.load(Ordering::Relaxed),
            checkpoints: counters.checkpoints.load(Ordering::Relaxed),
            reopenings: counters.reopenings.load(Ordering::Relaxed),
        }
    }
}
