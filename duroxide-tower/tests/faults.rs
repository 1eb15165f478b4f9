//! Actors on a store that fails in every way it can.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;
use std::time::Duration;

use duroxide_tower::journal::{EventJournal, JournalError, Limits, Position, ShardId};
use duroxide_tower::test_util::{Fault, FaultyActorProvider, MemoryActorProvider};
use duroxide_tower::{
    ActorContext, CallError, DurableActor, DurableActorService, DurableHandle, DurableMessage,
    DurableState, async_trait,
};
use futures::future::join_all;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use tokio::task::JoinHandle;

/// Writes down what it handles.
#[derive(Default, DurableState)]
#[durable(actor_type = "log")]
struct Log {
    numbers: Vec<u64>,
}

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "log.note")]
struct Note(u64);

#[async_trait]
impl DurableActor for Log {
    type Message = Note;
    type Reply = usize;
    type Error = String;

    async fn handle(&mut self, _: &mut ActorContext, Note(number): Note) -> Result<usize, String> {
        self.numbers.push(number);
        Ok(self.numbers.len())
    }
}

type Store = Arc<FaultyActorProvider>;
type Running = JoinHandle<Result<(), Arc<JournalError>>>;

fn store() -> Store {
    FaultyActorProvider::new(MemoryActorProvider::new())
}

async fn open(store: &Store) -> Result<EventJournal, JournalError> {
    let limits = Limits {
        commit_retry: Duration::from_millis(50),
        checkpoint_bytes: 4 << 10,
        ..Limits::default()
    };
    EventJournal::builder().limits(limits).reopen(false).open_on(store.clone()).await
}

async fn start(store: &Store) -> (EventJournal, DurableHandle<Log>, Running) {
    let journal = open(store).await.unwrap();
    let (service, log) = DurableActorService::new(&journal, "1", Log::default()).await.unwrap();
    (journal, log, tokio::spawn(service.run()))
}

async fn note(log: &DurableHandle<Log>, number: u64) -> Result<usize, CallError<String>> {
    log.ask_with_id(u128::from(number), Note(number)).await
}

/// A journal that is opened again has everything, in order, and gives the first replies.
async fn check(store: &Store, replies: &[usize]) {
    let (journal, log, running) = start(store).await;
    for (number, reply) in (1..).zip(replies) {
        assert_eq!(note(&log, number).await.unwrap(), *reply, "message {number}");
    }
    let report = journal.verify().await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    drop(log);
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_retried_happens_once_and_nobody_notices() {
    let store = store();
    let (journal, log, _running) = start(&store).await;
    let faults = [
        Fault::LostAfter,
        Fault::LostBefore,
        Fault::Delayed(Duration::from_millis(1)),
        Fault::Full,
        Fault::LostAfter,
        Fault::LostAfter,
    ];
    store.inject(faults);
    for number in 1..=6 {
        assert_eq!(note(&log, number).await.unwrap(), usize::try_from(number).unwrap());
    }
    assert_eq!(store.outstanding(), 0);
    assert!(journal.stopped().is_none());
    check(&store, &[1, 2, 3, 4, 5, 6]).await;
}

#[tokio::test]
async fn a_store_that_stays_away_stops_the_journal_and_comes_back_with_everything() {
    let store = store();
    let (journal, log, running) = start(&store).await;
    assert_eq!(note(&log, 1).await.unwrap(), 1);
    store.cut_off();
    // It may have been written, for all that anybody knows.
    let unknown = note(&log, 2).await.unwrap_err();
    assert!(matches!(unknown, CallError::OutcomeUnknown { .. }), "{unknown}");
    let stopped = running.await.unwrap().unwrap_err();
    assert!(stopped.is_retryable() && !stopped.is_fenced(), "{stopped}");
    assert!(journal.stopped().is_some());
    let refused = note(&log, 3).await.unwrap_err();
    assert!(matches!(refused, CallError::NotAccepted { .. }), "{refused}");
    let away = open(&store).await.unwrap_err();
    assert!(matches!(&away, JournalError::Store { store, .. } if store == "memory"), "{away}");
    store.heal();
    check(&store, &[1, 2, 3]).await;
}

#[tokio::test]
async fn a_final_failure_stops_at_once_and_releases_nothing() {
    let store = store();
    let (_journal, log, running) = start(&store).await;
    assert_eq!(note(&log, 1).await.unwrap(), 1);
    store.inject([Fault::Failed]);
    assert!(matches!(note(&log, 2).await, Err(CallError::OutcomeUnknown { .. })));
    assert!(!running.await.unwrap().unwrap_err().is_retryable());
    check(&store, &[1, 2]).await;
}

/// A store must not do that; if one does, nothing is made of it.
#[tokio::test]
async fn a_torn_commit_is_corruption_that_names_its_place() {
    for keep in [0, 1, 20, 60] {
        let store = store();
        let (_journal, log, running) = start(&store).await;
        assert_eq!(note(&log, 1).await.unwrap(), 1);
        store.inject([Fault::Torn(keep)]);
        note(&log, 2).await.unwrap_err();
        running.await.unwrap().unwrap_err();
        is_corrupt(&store).await;
    }
}

#[tokio::test]
async fn a_bit_that_flips_on_the_way_is_corruption_that_names_its_place() {
    for bit in [0, 25, 39, 100, 333, 555] {
        let store = store();
        let (journal, log, running) = start(&store).await;
        assert_eq!(note(&log, 1).await.unwrap(), 1);
        store.inject([Fault::Flipped(bit)]);
        // Nobody can know yet, but whoever looks does.
        assert_eq!(note(&log, 2).await.unwrap(), 2);
        assert_eq!(journal.verify().await.unwrap().problems.len(), 1, "bit {bit}");
        drop(log);
        running.await.unwrap().unwrap();
        drop(journal);
        is_corrupt(&store).await;
    }
}

async fn is_corrupt(store: &Store) {
    let error = open(store).await.unwrap_err();
    let JournalError::Corrupt { place, store, .. } = &error else { panic!("{error}") };
    assert_eq!((place.shard, store.as_str()), (ShardId(0), "memory"));
    assert!(place.position > Some(Position(1)), "{error}");
    assert!(!error.is_retryable());
}

/// Many callers, and whatever comes.
#[tokio::test]
async fn of_faults_in_any_order_nothing_is_lost_or_done_twice() {
    for seed in 0..20 {
        let mut random = StdRng::seed_from_u64(seed);
        let store = store();
        let (mut replies, mut sent) = (Vec::<Option<usize>>::new(), 0);
        while sent < 200 {
            store.inject((0..random.random_range(0..12)).map(|_| fault(&mut random)));
            let (_journal, log, running) = start(&store).await;
            // Those whose outcome is unknown, in their order, and new ones.
            sent += random.random_range(1..40);
            replies.resize(sent, None);
            let asks = (1..).zip(&replies).filter(|(_, reply)| reply.is_none());
            let numbers: Vec<u64> = asks.map(|(number, _)| number).collect();
            let answers = join_all(numbers.iter().map(|number| note(&log, *number))).await;
            for (number, answer) in numbers.into_iter().zip(answers) {
                let known = &mut replies[usize::try_from(number).unwrap() - 1];
                *known = answer.ok().or(*known);
            }
            drop(log);
            let _ = running.await.unwrap();
        }
        store.heal();
        let (_journal, log, running) = start(&store).await;
        for (number, reply) in (1..).zip(&replies) {
            let again = note(&log, number).await.unwrap();
            assert_eq!(reply.unwrap_or(again), again, "seed {seed}, message {number}");
        }
        // Each once: the next one is the last.
        assert_eq!(note(&log, u64::MAX).await.unwrap(), sent + 1, "seed {seed}");
        drop(log);
        running.await.unwrap().unwrap();
    }
}

fn fault(random: &mut StdRng) -> Fault {
    match random.random_range(0..10) {
        0..3 => Fault::LostBefore,
        3..6 => Fault::LostAfter,
        6..8 => Fault::Full,
        8 => Fault::Delayed(Duration::from_micros(300)),
        _ => Fault::Failed,
    }
}
