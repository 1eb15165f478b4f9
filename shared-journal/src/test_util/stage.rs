//! One actor on a store in memory.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::mpsc::unbounded_channel;

use super::look::Look;
use super::memory::MemoryActorProvider;
use super::sent::Sent;
use crate::cluster::{Answering, Delivered, Host, Hosted, Parcel, SendError, start_hosted};
use crate::codec::{Codec, Payload};
use crate::dead::DeadLetters;
use crate::engine::stored_letter;
use crate::envelope::{RecordHeader, encode_record};
use crate::error::JournalError;
use crate::id::{ActorId, ActorNo, MessageId, MessageKey, Position, ShardId};
use crate::journal::EventJournal;
use crate::limits::{Limits, MAX_OUTCOME_BYTES, MAX_VALUE_BYTES};
use crate::mailbox::error_text;
use crate::provider::{ActorProvider, CheckpointPart, StoredRecord, Write};
use crate::record::{ActorRecord, DeadLetter};
use crate::types::Types;

const SHARD: ShardId = ShardId(0);
/// The actor is alone in its journal.
const NO: ActorNo = ActorNo(1);
/// How often a message is given again to an actor that stops of its own accord.
const ATTEMPTS: usize = 3;

/// One actor that is given messages, on a journal in memory.
///
/// It runs as in production: through the [`Host`] of its adapter, with group commit, runs and output
/// gate, and with the default [`Limits`]; only the store is another, and values are
/// [checked](crate::EventJournalBuilder::check_values). Nothing that it sends leaves:
/// [`sent`](Self::sent) shows it.
///
/// Adapters have a `Scenario` with types on top of this. Needs a tokio runtime.
pub struct Stage {
    host: Arc<dyn Host>,
    actor: ActorId,
    store: Arc<MemoryActorProvider>,
    /// The writes to the store before the actor began.
    begin: usize,
    before: Before,
    journal: EventJournal,
    hosted: Option<Box<dyn Hosted>>,
    /// What it was given, and what became of that.
    played: Vec<(Given, Delivered)>,
}

/// How an actor begins.
#[derive(Clone, Default)]
pub(super) struct Before {
    pub(super) record: ActorRecord,
    pub(super) codec: Codec,
    /// Steps that are not recorded panic, and nothing is too large.
    pub(super) rehearsal: bool,
}

/// A message that the actor was given.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) key: MessageKey,
    pub(super) kind: String,
    pub(super) payload: Payload<'static>,
}

impl std::fmt::Debug for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stage").field("actor", &self.actor).finish_non_exhaustive()
    }
}

impl Stage {
    /// Starts the actor with this id, for the first time.
    ///
    /// # Errors
    /// The actor does not start.
    pub async fn new(host: impl Host, id: impl AsRef<str>) -> Result<Self, Arc<JournalError>> {
        let actor = ActorId::new(host.actor_type(), id);
        Self::of(Arc::new(host), actor, Before::default()).await
    }

    /// Starts the actor with a state that an earlier version of it, perhaps, has left.
    ///
    /// # Errors
    /// The state does not encode, or does not decode into the actor's.
    pub async fn with_state(
        host: impl Host,
        id: impl AsRef<str>,
        state: &impl Serialize,
    ) -> Result<Self, Arc<JournalError>> {
        let actor = ActorId::new(host.actor_type(), id);
        let state = Payload::encode(Codec::default(), state).map_err(|source| {
            JournalError::Encode { actor: actor.clone(), what: "the state", source }
        })?;
        let record = ActorRecord { spawned: true, state: Some(state), ..ActorRecord::default() };
        Self::of(Arc::new(host), actor, Before { record, ..Before::default() }).await
    }

    /// Starts an actor of which something is known.
    pub(super) async fn of(
        host: Arc<dyn Host>,
        actor: ActorId,
        before: Before,
    ) -> Result<Self, Arc<JournalError>> {
        let store = MemoryActorProvider::new();
        if before.record.spawned {
            save(&store, &actor, &before.record).await?;
        }
        let begin = store.writes();
        Self::begin(host, actor, store, begin, before).await
    }

    async fn begin(
        host: Arc<dyn Host>,
        actor: ActorId,
        store: Arc<MemoryActorProvider>,
        begin: usize,
        before: Before,
    ) -> Result<Self, Arc<JournalError>> {
        let builder = EventJournal::builder()
            .codec(before.codec)
            .limits(limits(before.rehearsal))
            .check_values(true)
            // What is set here is of one engine.
            .reopen(false);
        let journal = builder.open_on(store.clone()).await?;
        let engine = journal.engine();
        let shared = engine.shared();
        // To nobody: the history has it.
        let (relay, _) = unbounded_channel();
        let _ = shared.relay.set(relay);
        // Nor does a timer fire: a test would not say when.
        let _ = shared.rests.set(());
        if before.rehearsal {
            let _ = shared.rehearsal.set(());
        }
        let hosted = Some(start_hosted(&*host, &journal, &actor).await?);
        Ok(Self { host, actor, store, begin, before, journal, hosted, played: Vec::new() })
    }

    /// The actor's name.
    #[must_use]
    pub fn actor(&self) -> &ActorId {
        &self.actor
    }

    /// The journal, for whatever else it can tell.
    #[must_use]
    pub fn journal(&self) -> &EventJournal {
        &self.journal
    }

    /// Gives the actor a message, and waits for its durable reply. Without an `id` the message gets
    /// one of its own.
    ///
    /// Cancel-safe: a message that nobody waits for any more is handled all the same.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn ask<T: DeserializeOwned>(
        &mut self,
        id: Option<MessageId>,
        kind: &str,
        message: &impl Serialize,
    ) -> Result<T, SendError> {
        let not_accepted = |reason: String| SendError::NotAccepted { reason: reason.into() };
        let payload = Payload::encode(Codec::default(), message)
            .map_err(|error| not_accepted(format!("the message does not encode: {error}")))?;
        // Not random, so that a handler sees the same in every run of a test.
        let own = MessageId::from_key(&format!("stage/{}/{}", self.actor, self.played.len()));
        let key = id.map_or(MessageKey::Generated(own), MessageKey::Caller);
        let id = id.unwrap_or(own);
        let given = Given { key, kind: kind.to_owned(), payload };
        let delivered = self.give(given).await.map_err(|error| not_accepted(error_text(&error)))?;
        let reply = delivered.into_reply(id)?;
        reply.decode().map_err(|error| SendError::Reply { id, error: error.to_string().into() })
    }

    /// Gives the actor a message, and waits for what becomes of it.
    pub(super) async fn give(&mut self, given: Given) -> Result<Delivered, Arc<JournalError>> {
        // Before anything is waited for: it may be handled though nobody waits any more.
        let place = self.played.len();
        self.played.push((given.clone(), Delivered::Lost(None)));
        for _ in 0..ATTEMPTS {
            let delivered = self.deliver(given.clone()).await?;
            // One that stopped may have it, and handles it when it is started again. Without an id it
            // would be another message then.
            let again = matches!(delivered, Delivered::Lost(None))
                && given.key != MessageKey::Anonymous
                && self.journal.stopped().is_none();
            self.played[place].1 = delivered;
            if !again {
                break;
            }
            self.hosted = None;
        }
        Ok(self.played[place].1.clone())
    }

    async fn deliver(&mut self, given: Given) -> Result<Delivered, Arc<JournalError>> {
        let (answer, outcome) = Answering::new();
        let Given { key, kind, payload } = given;
        let mut parcel = Parcel { key, kind, payload, acknowledge: None, answer };
        loop {
            let hosted = match &mut self.hosted {
                Some(hosted) => hosted,
                None => {
                    let started = start_hosted(&*self.host, &self.journal, &self.actor).await?;
                    self.hosted.insert(started)
                }
            };
            match hosted.deliver(parcel).await {
                Ok(()) => break,
                // It stopped of its own accord.
                Err(returned) => parcel = returned,
            }
            self.hosted = None;
            if let Some(stopped) = self.journal.stopped() {
                return Err(stopped);
            }
        }
        Ok(outcome.await.map_or(Delivered::Lost(None), |(delivered, _)| delivered))
    }

    /// The process dies: what is durable stays, and the actor starts again.
    ///
    /// Hooks of the actor that ends, such as `stopped`, may still run; nothing that they do counts.
    ///
    /// # Errors
    /// The actor does not start again.
    pub async fn crash(&mut self) -> Result<(), Arc<JournalError>> {
        let mut after = self.after(self.store.writes()).await?;
        after.played = std::mem::take(&mut self.played);
        *self = after;
        Ok(())
    }

    /// The actor as a crash behind so many writes would have left it, without what it was given.
    pub(super) async fn after(&self, writes: usize) -> Result<Self, Arc<JournalError>> {
        let (host, actor) = (self.host.clone(), self.actor.clone());
        Self::begin(host, actor, self.store.as_of(writes), self.begin, self.before.clone()).await
    }

    /// The moments at which it can die: behind so many writes.
    pub(super) fn moments(&self) -> std::ops::RangeInclusive<usize> {
        self.begin..=self.store.writes()
    }

    /// The types of the actor.
    pub(super) fn types(&self) -> Types {
        self.host.types()
    }

    /// What it was given, and what became of that.
    pub(super) fn played(&self) -> &[(Given, Delivered)] {
        &self.played
    }

    /// What its history says, when everything that it received is done.
    pub(super) async fn look(&self) -> Result<Look, JournalError> {
        Look::at(&self.journal, &self.actor, self.before.record.state.clone()).await
    }

    /// The state, as it is stored; null if it was never captured. It is captured with every message,
    /// before the reply is released; before the first one that may happen or not. Waits for messages
    /// that the actor has sent to itself.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn state(&self) -> Result<Value, JournalError> {
        Ok(self.look().await?.state())
    }

    /// What the actor has sent, in order. Messages of handlers that panicked are not among it.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn sent(&self) -> Result<Vec<Sent>, JournalError> {
        Ok(self.look().await?.sent)
    }

    /// The messages that it gave up.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, JournalError> {
        self.journal.dead_letters(&self.actor).await
    }
}

/// The whole history is read, and no id is forgotten.
fn limits(rehearsal: bool) -> Limits {
    let default = Limits {
        history_commits: u64::MAX,
        dedup_count: 1 << 20,
        dedup_bytes: usize::try_from(MAX_OUTCOME_BYTES).unwrap_or(usize::MAX),
        dedup_age: std::time::Duration::MAX,
        ..Limits::default()
    };
    if !rehearsal {
        return default;
    }
    // What was accepted was not too large for the limits it met.
    let any = usize::try_from(MAX_VALUE_BYTES).unwrap_or(usize::MAX);
    Limits { message_bytes: any, reply_bytes: any, state_bytes: any, ..default }
}

/// Puts an actor's record into an empty store.
async fn save(
    store: &MemoryActorProvider,
    actor: &ActorId,
    record: &ActorRecord,
) -> Result<(), JournalError> {
    let header = RecordHeader { shard: SHARD, no: NO, position: Position(0), actor: actor.clone() };
    let fail = |error: postcard::Error| JournalError::Store {
        store: store.location(),
        operation: "encode a record",
        retryable: false,
        source: error.into(),
    };
    // The letters that an earlier checkpoint moved into rows are not here.
    let dead = record.dead.to_save().cloned().collect::<DeadLetters>().into();
    let record = ActorRecord { dead, ..record.clone() };
    let letters = record.dead.to_save().map(|letter| stored_letter(SHARD, NO, letter));
    let letters = letters.collect::<Result<_, _>>().map_err(fail)?;
    let bytes = encode_record(&header, &record).map_err(fail)?;
    let (actor, due_ms) = (actor.clone(), None);
    let record = StoredRecord { no: NO, actor, pending: 0, dead_letters: 0, due_ms, bytes };
    let part = CheckpointPart { records: vec![record], letters, ..CheckpointPart::default() };
    let epoch = store.open_shard(SHARD).await?.epoch;
    store.write(&Write { shard: SHARD, epoch, append: None, checkpoint: Some(&part) }).await
}
