//! Messages whose handling fails in other ways than by a panic of the handler: each ends as a dead
//! letter, and what is before and behind it is handled.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;

use duroxide::providers::sqlite::SqliteProvider;
use duroxide_tower::{
    ActorContext, CallError, DurableActor, DurableActorService, DurableHandle, DurableMessage,
    DurableState, EventJournal, async_trait,
};
use serde::ser::Error as _;
use serde::{Deserialize, Serialize, Serializer};
use shared_journal::{ActorId, Limits};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum How {
    Panics,
    /// And once more when what it panicked with is dropped.
    PanicsTwice,
    SnapshotPanics,
    StateDoesNotEncode,
    StatePanics,
    StateIsTooLarge,
    ReplyDoesNotEncode,
    ReplyPanics,
    ReplyIsTooLarge,
}

const ALL: [How; 9] = [
    How::Panics,
    How::PanicsTwice,
    How::SnapshotPanics,
    How::StateDoesNotEncode,
    How::StatePanics,
    How::StateIsTooLarge,
    How::ReplyDoesNotEncode,
    How::ReplyPanics,
    How::ReplyIsTooLarge,
];

fn limits() -> Limits {
    Limits { state_bytes: 1000, reply_bytes: 1000, ..Limits::default() }
}

#[derive(Serialize, Deserialize)]
enum Op {
    Add(u64),
    /// Adds after the gate was passed.
    Slow(u64),
    Break(How),
    /// As `Break`, after the gate was passed.
    SlowBreak(How),
}

impl DurableMessage for Op {
    const NAME: &'static str = "glass.op";
}

#[derive(Clone)]
struct Glass {
    sum: u64,
    /// What is wrong with the state.
    broken: Option<How>,
    /// Derived from the sum, not stored.
    double: u64,
    gate: Arc<Semaphore>,
}

/// Panics as it is dropped.
struct Twice;

impl Drop for Twice {
    fn drop(&mut self) {
        panic!("once more");
    }
}

struct Stored(u64, Option<How>);

impl Serialize for Stored {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1 {
            Some(How::StateDoesNotEncode) => Err(S::Error::custom("a state on purpose")),
            Some(How::StatePanics) => panic!("a state on purpose"),
            Some(How::StateIsTooLarge) => vec![1_u64; 1000].serialize(serializer),
            _ => [self.0].serialize(serializer),
        }
    }
}

impl DurableState for Glass {
    const ACTOR_TYPE: &'static str = "glass";
    type State = [u64; 1];

    fn snapshot(&self) -> impl Serialize {
        assert_ne!(self.broken, Some(How::SnapshotPanics), "a snapshot on purpose");
        Stored(self.sum, self.broken)
    }

    fn restore(&mut self, [sum]: [u64; 1]) {
        self.sum = sum;
        self.broken = None;
    }

    fn restored(&mut self) {
        self.double = 2 * self.sum;
    }
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Reply(u64, Option<How>);

impl Serialize for Reply {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.1 {
            Some(How::ReplyDoesNotEncode) => Err(S::Error::custom("a reply on purpose")),
            Some(How::ReplyPanics) => panic!("a reply on purpose"),
            Some(How::ReplyIsTooLarge) => vec![1_u64; 1000].serialize(serializer),
            how => (self.0, how).serialize(serializer),
        }
    }
}

#[async_trait]
impl DurableActor for Glass {
    type Message = Op;
    type Reply = Reply;
    type Error = String;

    async fn handle(&mut self, _: &mut ActorContext, op: Op) -> Result<Reply, String> {
        assert_eq!(self.double, 2 * self.sum, "what is derived went back with the state");
        if matches!(op, Op::Slow(_) | Op::SlowBreak(_)) {
            self.gate.acquire().await.unwrap().forget();
        }
        let broken = match op {
            Op::Add(n) | Op::Slow(n) => {
                self.sum += n;
                self.double += 2 * n;
                None
            }
            Op::Break(how) | Op::SlowBreak(how) => {
                self.sum += 1000;
                self.double += 2000;
                self.broken = Some(how);
                assert_ne!(how, How::Panics, "a handler on purpose");
                if how == How::PanicsTwice {
                    std::panic::panic_any(Twice);
                }
                Some(how)
            }
        };
        Ok(Reply(self.sum, broken))
    }
}

struct Running {
    glass: DurableHandle<Glass>,
    run: JoinHandle<Result<(), Arc<duroxide_tower::JournalError>>>,
    gate: Arc<Semaphore>,
}

impl Running {
    async fn start(journal: &EventJournal) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        let glass = Glass { sum: 0, broken: None, double: 0, gate: gate.clone() };
        let (service, glass) = DurableActorService::new(journal, "1", glass).await.unwrap();
        Self { glass, run: tokio::spawn(service.run()), gate }
    }
}

async fn journal(path: &std::path::Path) -> EventJournal {
    let url = format!("sqlite:{}?mode=rwc", path.display());
    let provider = Arc::new(SqliteProvider::new(&url, None).await.unwrap());
    EventJournal::builder().limits(limits()).open(provider).await.unwrap()
}

async fn dead(journal: &EventJournal) -> Vec<(u32, String)> {
    let letters = journal.dead_letters(&ActorId::new("glass", "1")).await.unwrap();
    letters.into_iter().map(|letter| (letter.attempts, letter.error)).collect()
}

/// Poison first, last and in the middle of a run.
#[tokio::test]
async fn poison_of_every_kind_ends_and_spares_the_others() {
    for how in ALL {
        for place in 0..3 {
            let folder = tempfile::tempdir().unwrap();
            let journal = journal(&folder.path().join("app.db")).await;
            let running = Running::start(&journal).await;
            let ops = (0..3).map(|n| if n == place { Op::Break(how) } else { Op::Add(n + 1) });
            // All in the channel before the first is handled: one run.
            let asked: Vec<_> = ops.map(|op| running.glass.try_ask(op).unwrap()).collect();
            let answers = futures::future::join_all(asked).await;
            let refused = answers
                .iter()
                .filter(|it| matches!(it, Err(CallError::DeadLetter { attempts: 3, .. })));
            assert_eq!(refused.count(), 1, "{how:?} {answers:?}");
            let sum = [1, 2, 3].iter().sum::<u64>() - (place + 1);
            let Reply(found, _) = running.glass.ask(Op::Add(0)).await.unwrap();
            assert_eq!(found, sum, "{how:?} at {place}");
            let letters = dead(&journal).await;
            assert_eq!(letters.len(), 1, "{how:?}: {letters:?}");
            if how != How::StateIsTooLarge && how != How::ReplyIsTooLarge {
                let said = if how == How::PanicsTwice { "without a text" } else { "on purpose" };
                assert!(letters[0].1.contains(said), "{letters:?}");
            }
        }
    }
}

/// Behind a slow handler its receipt is durable, and each start meets it again.
#[tokio::test]
async fn poison_that_was_received_ends_after_a_restart_too() {
    for how in ALL {
        for slow_break in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("app.db");
            let first = journal(&path).await;
            let running = Running::start(&first).await;
            drop(running.glass.try_ask(Op::Slow(1)).unwrap());
            let poison = if slow_break { Op::SlowBreak(how) } else { Op::Break(how) };
            running.glass.tell(poison).await.unwrap();
            running.glass.tell(Op::Add(10)).await.unwrap();
            running.run.abort();
            assert!(running.run.await.unwrap_err().is_cancelled());

            let second = journal(&path).await;
            let running = Running::start(&second).await;
            running.gate.add_permits(100);
            let Reply(sum, _) = running.glass.ask(Op::Add(100)).await.unwrap();
            assert_eq!(sum, 111, "{how:?}");
            assert_eq!(dead(&second).await.len(), 1, "{how:?}");
            drop(running.glass);
            running.run.await.unwrap().unwrap();

            let third = journal(&path).await;
            let running = Running::start(&third).await;
            let Reply(sum, _) = running.glass.ask(Op::Add(0)).await.unwrap();
            assert_eq!(sum, 111, "{how:?}");
        }
    }
}

#[tokio::test]
async fn a_state_over_its_limit_can_be_made_smaller() {
    #[derive(Serialize, Deserialize)]
    struct Shrink(usize);
    impl DurableMessage for Shrink {
        const NAME: &'static str = "heap.shrink";
    }
    struct Heap(Vec<u8>);
    impl DurableState for Heap {
        const ACTOR_TYPE: &'static str = "heap";
        type State = String;
        fn snapshot(&self) -> impl Serialize {
            "x".repeat(self.0.len())
        }
        fn restore(&mut self, heap: String) {
            self.0 = heap.into_bytes();
        }
    }
    #[async_trait]
    impl DurableActor for Heap {
        type Message = Shrink;
        type Reply = usize;
        type Error = String;
        async fn handle(&mut self, _: &mut ActorContext, to: Shrink) -> Result<usize, String> {
            self.0.resize(to.0, 0);
            Ok(self.0.len())
        }
    }
    let provider = Arc::new(SqliteProvider::new_in_memory().await.unwrap());
    for (state_bytes, sizes) in [
        (5000, vec![(4000, true)]),
        (1000, vec![(3000, true), (3500, false), (3000, true), (900, true), (1100, false)]),
    ] {
        let limits = Limits { state_bytes, attempts: 1, ..Limits::default() };
        let builder = EventJournal::builder().limits(limits);
        let journal = builder.open(provider.clone()).await.unwrap();
        let (service, heap) =
            DurableActorService::new(&journal, "1", Heap(Vec::new())).await.unwrap();
        let run = tokio::spawn(service.run());
        for (size, fits) in sizes {
            assert_eq!(heap.ask(Shrink(size)).await.is_ok(), fits, "{size}");
        }
        drop(heap);
        run.await.unwrap().unwrap();
    }
}
