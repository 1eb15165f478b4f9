//! Much at once, with a store whose rows are small: what is too large for a row is one actor's failure.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use tokio::sync::mpsc;

use shared_journal::mailbox::{MESSAGE, REPLY, Resolution, StepError, Work};
use shared_journal::provider::{
    ActorKey, ActorProvider, ListedActor, RecordFilter, ShardHead, StoredCommit, StoredKey,
    StoredLetter, StoredRecord, Write,
};
use shared_journal::sqlite::SqliteActorProvider;
use shared_journal::{
    ActorId, ActorNo, Durability, DurableState, EventJournal, JournalError, Limits, Mailbox,
    MessageId, Position, Sequence, ShardId,
};

const MIB: usize = 1 << 20;
/// A write may have so many bytes.
const ROW: usize = 4 * MIB;

/// SQLite with small rows, which writes nothing while a test holds it.
struct Small {
    inner: Arc<dyn ActorProvider>,
    hold: Mutex<()>,
}

#[async_trait]
impl ActorProvider for Small {
    fn location(&self) -> String {
        self.inner.location()
    }
    fn row_bytes(&self) -> usize {
        ROW
    }
    async fn open_shard(&self, shard: ShardId) -> Result<ShardHead, JournalError> {
        self.inner.open_shard(shard).await
    }
    async fn read_head(&self, shard: ShardId) -> Result<Option<ShardHead>, JournalError> {
        self.inner.read_head(shard).await
    }
    async fn write(&self, write: &Write<'_>) -> Result<(), JournalError> {
        drop(self.hold.lock());
        let size = write.append.map_or(0, |(_, row)| row.len())
            + write.checkpoint.map_or(0, |part| part.bytes());
        if size > ROW {
            let (store, source) = (self.location(), "string or blob too big".into());
            return Err(JournalError::Store {
                store,
                operation: "commit",
                retryable: false,
                source,
            });
        }
        self.inner.write(write).await
    }
    async fn read_commits(
        &self,
        shard: ShardId,
        from: Position,
        max_bytes: usize,
    ) -> Result<Vec<StoredCommit>, JournalError> {
        self.inner.read_commits(shard, from, max_bytes).await
    }
    async fn load_record(
        &self,
        shard: ShardId,
        actor: ActorKey<'_>,
    ) -> Result<Option<StoredRecord>, JournalError> {
        self.inner.load_record(shard, actor).await
    }
    async fn list_records(
        &self,
        shard: ShardId,
        filter: RecordFilter,
        after: ActorNo,
        limit: usize,
    ) -> Result<Vec<ListedActor>, JournalError> {
        self.inner.list_records(shard, filter, after, limit).await
    }
    async fn load_letters(
        &self,
        shard: ShardId,
        no: ActorNo,
        after: Sequence,
        max_bytes: usize,
    ) -> Result<Vec<StoredLetter>, JournalError> {
        self.inner.load_letters(shard, no, after, max_bytes).await
    }
    async fn load_keys(
        &self,
        shard: ShardId,
        no: ActorNo,
        ids: &[MessageId],
    ) -> Result<Vec<StoredKey>, JournalError> {
        self.inner.load_keys(shard, no, ids).await
    }
    async fn list_keys(
        &self,
        shard: ShardId,
        no: ActorNo,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<StoredKey>, JournalError> {
        self.inner.list_keys(shard, no, after, limit).await
    }
    async fn check(&self) -> Result<Vec<String>, JournalError> {
        self.inner.check().await
    }
}

/// A state of any size.
#[derive(Default)]
struct Text(String);

impl DurableState for Text {
    const ACTOR_TYPE: &'static str = "text";
    type State = String;

    fn snapshot(&self) -> impl Serialize {
        &self.0
    }

    fn restore(&mut self, text: String) {
        self.0 = text;
    }
}

#[derive(Clone)]
struct Told(mpsc::UnboundedSender<Resolution>);

impl Work for Told {
    fn resolve(self, resolution: Resolution) {
        let _ = self.0.send(resolution);
    }
}

/// An actor whose messages are what its state is to be.
struct Actor {
    mailbox: Mailbox<Told>,
    text: Text,
    told: mpsc::UnboundedSender<Resolution>,
    resolutions: mpsc::UnboundedReceiver<Resolution>,
}

impl Actor {
    async fn start(journal: &EventJournal, id: &str) -> Self {
        let mut mailbox = journal.activate(&ActorId::new("text", id)).await.unwrap();
        let mut text = Text::default();
        mailbox.restore(&mut text).unwrap();
        mailbox.baseline(&text).unwrap_or_else(|error| panic!("{error}"));
        let (told, resolutions) = mpsc::unbounded_channel();
        Self { mailbox, text, told, resolutions }
    }

    fn send(&mut self, id: u128, bytes: usize) {
        let payload = self.mailbox.encode(MESSAGE, &"x".repeat(bytes)).unwrap();
        let (id, work) = (MessageId::from(id), Told(self.told.clone()));
        self.mailbox.accept(id, "text", payload, None, work, None).unwrap();
    }

    /// Handles what waits; each time the state becomes so large.
    fn handle(&mut self, state: usize) {
        while !self.mailbox.is_empty() {
            while let Some(delivery) = self.mailbox.next().unwrap() {
                self.text.0 = "y".repeat(state);
                let reply = self.mailbox.encode(REPLY, &state).unwrap();
                self.mailbox.processed(delivery, reply);
            }
            let _ = self.mailbox.end_run(&mut self.text).unwrap();
        }
    }

    /// Changes the state.
    fn change(&mut self, id: u128, state: usize) {
        self.send(id, 1);
        self.handle(state);
    }

    async fn resolution(&mut self) -> Resolution {
        let next = tokio::time::timeout(Duration::from_secs(20), self.resolutions.recv());
        next.await.unwrap().unwrap()
    }

    async fn is_processed(&mut self) {
        let resolution = self.resolution().await;
        assert!(matches!(resolution, Resolution::Processed), "{resolution:?}");
    }
}

struct World {
    folder: tempfile::TempDir,
    store: Arc<Small>,
    journal: EventJournal,
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, journal) = open(folder.path()).await;
        Self { folder, store, journal }
    }

    /// Everything is written: a checkpoint too, and what another owner finds.
    async fn reopened(self) -> Self {
        self.journal.checkpoint().await.unwrap();
        self.journal.close().await.unwrap();
        let (store, journal) = open(self.folder.path()).await;
        Self { store, journal, ..self }
    }
}

async fn open(folder: &std::path::Path) -> (Arc<Small>, EventJournal) {
    let path = folder.join("app.db");
    let inner = SqliteActorProvider::open(path, Durability::ProcessCrash).unwrap();
    let store = Arc::new(Small { inner, hold: Mutex::default() });
    let limits = Limits {
        message_bytes: 64 * MIB,
        state_bytes: 64 * MIB,
        dedup_bytes: MIB / 16,
        dead_letters: 100,
        attempts: 1,
        ..Limits::default()
    };
    let journal = EventJournal::builder().limits(limits).open_on(store.clone()).await.unwrap();
    (store, journal)
}

fn is_too_large(error: &JournalError) -> bool {
    matches!(error, JournalError::TooLarge { .. })
}

#[tokio::test]
async fn many_large_states_at_once_are_more_than_one_commit() {
    let world = World::new().await;
    let mut actors = Vec::new();
    for id in 0..12 {
        actors.push(Actor::start(&world.journal, &id.to_string()).await);
    }
    {
        let _hold = world.store.hold.lock().unwrap();
        for actor in &mut actors {
            actor.change(1, MIB * 9 / 10);
        }
    }
    for actor in &mut actors {
        actor.is_processed().await;
    }
    // And records of them, with a commit.
    world.journal.checkpoint().await.unwrap();
    drop(actors);
    let world = world.reopened().await;
    for id in 0..12 {
        let actor = Actor::start(&world.journal, &id.to_string()).await;
        assert_eq!(actor.text.0.len(), MIB * 9 / 10);
    }
}

#[tokio::test]
async fn a_run_that_is_too_large_for_a_row_fails_for_its_actor() {
    let world = World::new().await;
    let mut other = Actor::start(&world.journal, "other").await;
    let mut actor = Actor::start(&world.journal, "large").await;
    actor.change(1, 3 * MIB);
    actor.is_processed().await;
    actor.change(2, 4 * MIB);
    let resolution = actor.resolution().await;
    let Resolution::Failed { error, .. } = resolution else { panic!("{resolution:?}") };
    assert!(error.contains("all that it has at once"), "{error}");
    assert_eq!(actor.text.0.len(), 3 * MIB);
    // The state alone would fit, and so would the message.
    actor.send(3, MIB / 4);
    actor.handle(MIB * 33 / 10);
    assert!(matches!(actor.resolution().await, Resolution::Failed { .. }));
    actor.change(4, MIB);
    actor.is_processed().await;
    other.change(1, 1);
    other.is_processed().await;
    drop((actor, other));
    let world = world.reopened().await;
    assert_eq!(Actor::start(&world.journal, "large").await.text.0.len(), MIB);
}

#[tokio::test]
async fn a_message_without_room_beside_the_state_is_refused() {
    let world = World::new().await;
    let mut actor = Actor::start(&world.journal, "large").await;
    actor.change(1, 3 * MIB);
    actor.is_processed().await;
    assert!(actor.mailbox.has_room(), "nothing waits");
    actor.send(2, MIB);
    let resolution = actor.resolution().await;
    assert!(
        matches!(&resolution, Resolution::Refused(error) if is_too_large(error)),
        "{resolution:?}"
    );
    actor.send(1, MIB);
    let resolution = actor.resolution().await;
    assert!(matches!(resolution, Resolution::Recorded(_)), "a known key: {resolution:?}");
    actor.send(3, MIB / 8);
    assert!(!actor.mailbox.has_room(), "a message may have 64 MiB");
    actor.handle(2 * MIB);
    actor.is_processed().await;
    actor.send(2, MIB);
    actor.handle(MIB);
    actor.is_processed().await;
    drop(actor);
    world.reopened().await;
}

#[tokio::test]
async fn an_actor_that_sends_too_much_to_itself_stops_and_no_other() {
    let world = World::new().await;
    let mut other = Actor::start(&world.journal, "other").await;
    let mut actor = Actor::start(&world.journal, "large").await;
    actor.change(1, MIB);
    actor.is_processed().await;
    actor.send(2, 1);
    let delivery = actor.mailbox.next().unwrap().unwrap();
    actor.text.0.clear();
    let reply = actor.mailbox.encode(REPLY, &1).unwrap();
    actor.mailbox.processed(delivery, reply);
    let mut sent = (0..10).map(|_| {
        let payload = actor.mailbox.encode(MESSAGE, &"x".repeat(MIB / 2)).unwrap();
        actor.mailbox.accept_own("text", payload, Told(actor.told.clone()))
    });
    let error = sent.find_map(Result::err).unwrap();
    assert!(is_too_large(&error), "{error}");
    drop(actor);
    other.change(1, 1);
    other.is_processed().await;
    drop(other);
    let world = world.reopened().await;
    let actor = Actor::start(&world.journal, "large").await;
    assert_eq!((actor.text.0.len(), actor.mailbox.len()), (MIB, 0), "as it was before");
}

#[tokio::test]
async fn what_an_actor_sends_to_itself_counts_with_the_state_that_sends_it() {
    let world = World::new().await;
    let mut other = Actor::start(&world.journal, "other").await;
    let mut actor = Actor::start(&world.journal, "large").await;
    actor.send(1, 1);
    let delivery = actor.mailbox.next().unwrap().unwrap();
    let reply = actor.mailbox.encode(REPLY, &1).unwrap();
    actor.mailbox.processed(delivery, reply);
    actor.text.0 = "y".repeat(3 * MIB);
    let sealed = actor.mailbox.seal(&mut actor.text).unwrap().unwrap();
    let payload = actor.mailbox.encode(MESSAGE, &"x".repeat(2 * MIB)).unwrap();
    actor.mailbox.accept_own("text", payload, Told(actor.told.clone())).unwrap();
    let error = actor.mailbox.submit_sealed(sealed).unwrap_err();
    assert!(is_too_large(&error), "{error}");
    assert!(matches!(actor.resolution().await, Resolution::Unknown(_)));
    other.change(1, 1);
    other.is_processed().await;
    drop((actor, other));
    world.reopened().await;
}

#[tokio::test]
async fn results_of_steps_keep_to_their_part_of_a_row() {
    let world = World::new().await;
    let mut actor = Actor::start(&world.journal, "steps").await;
    actor.send(1, 1);
    let delivery = actor.mailbox.next().unwrap().unwrap();
    let steps = actor.mailbox.steps().clone();
    actor.mailbox.in_progress(delivery).unwrap();
    let step = |name: &'static str, bytes: usize| steps.step(name, async move || "z".repeat(bytes));
    assert_eq!(step("one", ROW / 32).await.unwrap().len(), ROW / 32);
    let error = step("two", ROW / 32).await.unwrap_err();
    assert!(matches!(error, StepError::TooLarge { .. }), "{error}");
    assert_eq!(step("three", 10).await.unwrap().len(), 10);
    let delivery = actor.mailbox.take_in_progress().unwrap();
    let reply = actor.mailbox.encode(REPLY, &1).unwrap();
    actor.mailbox.processed(delivery, reply);
    let _ = actor.mailbox.end_run(&mut actor.text).unwrap();
    actor.is_processed().await;
    drop(actor);
    world.reopened().await;
}

#[tokio::test]
async fn a_large_letter_and_its_large_record_are_two_parts_of_a_checkpoint() {
    let world = World::new().await;
    let mut actor = Actor::start(&world.journal, "dead").await;
    actor.send(1, 3 * MIB);
    let delivery = actor.mailbox.next().unwrap().unwrap();
    actor.mailbox.failed(delivery, "boom", &mut actor.text).unwrap();
    let _ = actor.mailbox.end_run(&mut actor.text).unwrap();
    assert!(matches!(actor.resolution().await, Resolution::Failed { .. }));
    actor.change(2, 3 * MIB);
    actor.is_processed().await;
    drop(actor);
    let world = world.reopened().await;
    let letters = world.journal.dead_letters(&ActorId::new("text", "dead")).await.unwrap();
    assert_eq!(letters.len(), 1);
}

#[tokio::test]
async fn dead_letters_without_room_stay_dead_letters() {
    let world = World::new().await;
    let name = ActorId::new("text", "dead");
    let all = || Sequence(0)..=Sequence(u64::MAX);
    let mut actor = Actor::start(&world.journal, "dead").await;
    for id in 1..=3 {
        actor.send(id, 3 * MIB / 2);
        let delivery = actor.mailbox.next().unwrap().unwrap();
        actor.mailbox.failed(delivery, "boom", &mut actor.text).unwrap();
        let _ = actor.mailbox.end_run(&mut actor.text).unwrap();
        assert!(matches!(actor.resolution().await, Resolution::Failed { .. }));
    }
    drop(actor);
    let world = world.reopened().await;
    let error = world.journal.resend_dead_letters(&name, all()).await.unwrap_err();
    assert!(is_too_large(&error), "{error}");
    assert_eq!(world.journal.dead_letters(&name).await.unwrap().len(), 1);
    let actor = Actor::start(&world.journal, "dead").await;
    assert_eq!(actor.mailbox.len(), 2);
    drop(actor);
    world.reopened().await;
}
