//! A journal that has stopped because its store was away is opened again by itself.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use duroxide_tower::journal::{EventJournal, JournalError, Limits, MessageId};
use duroxide_tower::test_util::{Fault, FaultyActorProvider, MemoryActorProvider};
use duroxide_tower::{
    ActorContext, CallError, DurableActor, DurableActorService, DurableHandle, DurableMessage,
    DurableState, async_trait,
};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use support::soon;

/// Writes down what it handles.
struct Log {
    numbers: Vec<u64>,
    started: Arc<AtomicU32>,
    restored: Arc<AtomicU32>,
    gate: Arc<Semaphore>,
    entered: Arc<Semaphore>,
}

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "log.note")]
enum Note {
    Now(u64),
    /// When the gate is open.
    Later(u64),
}

impl DurableState for Log {
    const ACTOR_TYPE: &'static str = "log";
    type State = Vec<u64>;

    fn snapshot(&self) -> impl Serialize {
        &self.numbers
    }

    fn restore(&mut self, numbers: Vec<u64>) {
        self.numbers = numbers;
    }

    fn restored(&mut self) {
        self.restored.fetch_add(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl DurableActor for Log {
    type Message = Note;
    type Reply = Vec<u64>;
    type Error = String;

    async fn started(&mut self, _: &mut ActorContext) {
        self.started.fetch_add(1, Ordering::SeqCst);
    }

    async fn handle(&mut self, _: &mut ActorContext, note: Note) -> Result<Vec<u64>, String> {
        match note {
            Note::Now(number) => self.numbers.push(number),
            Note::Later(number) => {
                self.entered.add_permits(1);
                self.gate.acquire().await.unwrap().forget();
                self.numbers.push(number);
            }
        }
        Ok(self.numbers.clone())
    }
}

type Store = Arc<FaultyActorProvider>;

struct World {
    /// The store itself, as another process has it.
    disk: Arc<MemoryActorProvider>,
    store: Store,
    journal: EventJournal,
    log: DurableHandle<Log>,
    running: JoinHandle<Result<(), Arc<JournalError>>>,
    started: Arc<AtomicU32>,
    restored: Arc<AtomicU32>,
    gate: Arc<Semaphore>,
    entered: Arc<Semaphore>,
}

/// A store is away after two attempts.
async fn open(store: &Store) -> EventJournal {
    let limits = Limits { commit_retry: Duration::ZERO, ..Limits::default() };
    EventJournal::builder().limits(limits).open_on(store.clone()).await.unwrap()
}

impl World {
    async fn new() -> Self {
        let disk = MemoryActorProvider::new();
        let store = FaultyActorProvider::new(disk.clone());
        let journal = open(&store).await;
        let (started, restored) = (Arc::<AtomicU32>::default(), Arc::<AtomicU32>::default());
        let (gate, entered) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let actor = Log {
            numbers: vec![0],
            started: started.clone(),
            restored: restored.clone(),
            gate: gate.clone(),
            entered: entered.clone(),
        };
        let (service, log) = DurableActorService::new(&journal, "1", actor).await.unwrap();
        let running = tokio::spawn(service.run());
        Self { disk, store, journal, log, running, started, restored, gate, entered }
    }

    async fn note(&self, number: u64) -> Result<Vec<u64>, CallError<String>> {
        self.log.ask_with_id(MessageId::from(u128::from(number)), Note::Now(number)).await
    }
}

#[tokio::test]
async fn an_actor_goes_on_from_what_is_durable_with_the_same_handle() {
    let world = World::new().await;
    assert_eq!(world.note(1).await.unwrap(), [0, 1]);
    // Received, and its handler is at work when the store goes.
    let later = world.log.ask_with_id(2, Note::Later(2));
    let later = async { soon("the slow one", later).await };
    let outage = async {
        soon("the handler", world.entered.acquire()).await.unwrap().forget();
        soon("a receipt", world.log.tell_with_id(3, Note::Now(3))).await.unwrap();
        world.store.cut_off();
        let told = soon("an answer", world.log.tell_with_id(4, Note::Now(4))).await.unwrap_err();
        assert!(matches!(told, CallError::OutcomeUnknown { .. }) && told.is_retryable(), "{told}");
        // Sent while the store is away: it waits.
        let waits = world.note(5);
        let healed = async {
            assert!(world.journal.stopped().is_none(), "not for good");
            let away = world.journal.checkpoint().await.unwrap_err();
            assert!(matches!(away, JournalError::Stopped { .. }) && away.is_retryable(), "{away}");
            world.store.heal();
            world.gate.add_permits(10);
        };
        let (waited, ()) = soon("an answer", async { tokio::join!(waits, healed) }).await;
        assert_eq!(waited.unwrap(), [0, 1, 2, 3, 5]);
    };
    let (slow, ()) = tokio::join!(later, outage);
    assert!(matches!(slow, Err(CallError::OutcomeUnknown { .. })), "{slow:?}");
    // Asked again, each has its outcome, and happened once.
    assert_eq!(world.log.ask_with_id(2, Note::Later(2)).await.unwrap(), [0, 1, 2]);
    assert_eq!(world.note(1).await.unwrap(), [0, 1]);
    assert_eq!(world.note(4).await.unwrap(), [0, 1, 2, 3, 5, 4]);
    assert_eq!(world.journal.stats().reopenings, 1);
    assert_eq!(world.started.load(Ordering::SeqCst), 1);
    assert_eq!(world.restored.load(Ordering::SeqCst), 2, "once as it started, once again");
    assert!(world.journal.verify().await.unwrap().is_clean());
    drop(world.log);
    soon("the end", world.running).await.unwrap().unwrap();
}

#[tokio::test]
async fn an_actor_of_which_nothing_was_durable_has_the_state_of_its_construction() {
    let world = World::new().await;
    world.store.inject([Fault::LostBefore, Fault::LostBefore]);
    let unknown = soon("an answer", world.note(1)).await.unwrap_err();
    assert!(matches!(unknown, CallError::OutcomeUnknown { .. }), "{unknown}");
    assert_eq!(soon("an answer", world.note(2)).await.unwrap(), [0, 2]);
    assert_eq!(soon("an answer", world.note(1)).await.unwrap(), [0, 2, 1]);
}

#[tokio::test]
async fn an_idle_actor_learns_that_the_journal_was_opened_again() {
    let world = World::new().await;
    assert_eq!(world.note(1).await.unwrap(), [0, 1]);
    world.store.inject([Fault::LostBefore, Fault::LostBefore]);
    let log = DurableActorService::new(&world.journal, "2", other(&world)).await.unwrap();
    let other = tokio::spawn(log.0.run());
    let unknown = soon("an answer", log.1.ask(Note::Now(7))).await.unwrap_err();
    assert!(matches!(unknown, CallError::OutcomeUnknown { .. }), "{unknown}");
    assert_eq!(soon("an answer", log.1.ask(Note::Now(8))).await.unwrap(), [0, 8]);
    // It had nothing to do with the outage, so nobody is told anything.
    assert_eq!(soon("an answer", world.note(2)).await.unwrap(), [0, 1, 2]);
    drop(log.1);
    soon("the end", other).await.unwrap().unwrap();
}

fn other(world: &World) -> Log {
    Log {
        numbers: vec![0],
        started: Arc::default(),
        restored: Arc::default(),
        gate: world.gate.clone(),
        entered: world.entered.clone(),
    }
}

#[tokio::test]
async fn it_is_tried_again_for_as_long_as_it_fails() {
    let world = World::new().await;
    assert_eq!(world.note(1).await.unwrap(), [0, 1]);
    // Each attempt reads twice before it fails.
    world.store.fail_reads(6);
    world.store.inject([Fault::LostBefore, Fault::LostBefore]);
    world.note(2).await.unwrap_err();
    assert_eq!(soon("an answer", world.note(2)).await.unwrap(), [0, 1, 2]);
    assert_eq!(world.store.failing_reads(), 0);
    assert_eq!(world.journal.stats().reopenings, 1);
}

#[tokio::test]
async fn who_closes_it_meanwhile_is_told_and_it_stays_closed() {
    let world = World::new().await;
    assert_eq!(world.note(1).await.unwrap(), [0, 1]);
    world.store.cut_off();
    world.note(2).await.unwrap_err();
    let closed = world.journal.close().await.unwrap_err();
    assert!(closed.is_retryable(), "{closed}");
    let ended = soon("the end", world.running).await.unwrap().unwrap_err();
    assert!(matches!(&*ended, JournalError::Stopped { .. }), "{ended}");
    assert!(world.journal.stopped().is_some());
    let refused = world.log.ask(Note::Now(3)).await.unwrap_err();
    assert!(matches!(refused, CallError::NotAccepted { .. }), "{refused}");
}

#[tokio::test]
async fn who_was_replaced_while_the_store_was_away_does_not_take_it_back() {
    let world = World::new().await;
    assert_eq!(world.note(1).await.unwrap(), [0, 1]);
    world.store.cut_off();
    world.note(2).await.unwrap_err();
    let newer = EventJournal::builder().open_on(world.disk.clone()).await.unwrap();
    world.store.heal();
    let refused = soon("an answer", world.note(3)).await.unwrap_err();
    assert!(matches!(refused, CallError::NotAccepted { .. }), "{refused}");
    let ended = soon("the end", world.running).await.unwrap().unwrap_err();
    assert!(ended.is_fenced(), "{ended}");
    assert!(world.journal.stopped().unwrap().is_fenced());
    assert_eq!(world.journal.stats().reopenings, 0);
    newer.checkpoint().await.unwrap();
    assert!(newer.stopped().is_none());
    newer.close().await.unwrap();
}

/// Many callers, who ask again, and whatever comes.
#[tokio::test]
async fn through_outages_in_any_order_nothing_is_lost_or_done_twice() {
    for seed in 0..4 {
        let mut random = StdRng::seed_from_u64(seed);
        let world = World::new().await;
        let mut number = 0;
        while number < 100 {
            let faults = (0..random.random_range(0..6)).map(|_| match random.random_range(0..8) {
                0..4 => Fault::LostBefore,
                4..7 => Fault::LostAfter,
                _ => Fault::Full,
            });
            world.store.inject(faults);
            let until = number + random.random_range(1..30);
            let world = &world;
            let asks = (number + 1..=until).map(|number| async move {
                let mut unknown = 0;
                loop {
                    match world.note(number).await {
                        Ok(all) => break assert!(all.contains(&number)),
                        Err(error) => assert!(error.is_retryable(), "{error}"),
                    }
                    unknown += 1;
                    assert!(unknown < 100);
                }
            });
            soon("the answers", join_all(asks)).await;
            number = until;
        }
        world.store.heal();
        let mut all = world.note(0).await.unwrap();
        all.sort_unstable();
        let expected = std::iter::once(0).chain(0..=number).collect::<Vec<_>>();
        assert_eq!(all, expected, "seed {seed}");
        assert!(world.journal.stats().reopenings > 0);
        assert!(world.journal.verify().await.unwrap().is_clean());
    }
}
