//! Messages that encode and do not decode: each ends as a dead letter, and what is before and behind it
//! is handled.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::Path;
use std::sync::Arc;

use duroxide::providers::sqlite::SqliteProvider;
use duroxide_tower::{
    ActorContext, CallError, DurableActor, DurableActorService, DurableHandle, DurableMessage,
    DurableState, EventJournal, async_trait,
};
use serde::{Deserialize, Serialize};
use shared_journal::ActorId;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

#[derive(Debug, Serialize, Deserialize, DurableMessage)]
#[durable(name = "basket.op")]
enum Op {
    Add(u64),
    /// Adds after the gate was passed.
    Slow(u64),
    /// Adds the items. Without any it does not decode.
    Items {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        items: Vec<u64>,
    },
    /// Panics, which is why it is decoded.
    Panic {
        #[serde(skip_serializing_if = "Vec::is_empty")]
        items: Vec<u64>,
    },
}

#[derive(DurableState)]
#[durable(actor_type = "basket")]
struct Basket {
    sum: u64,
    #[durable(skip)]
    gate: Arc<Semaphore>,
}

#[async_trait]
impl DurableActor for Basket {
    type Message = Op;
    type Reply = u64;
    type Error = ();

    async fn handle(&mut self, _: &mut ActorContext, op: Op) -> Result<u64, ()> {
        match op {
            Op::Add(n) => self.sum += n,
            Op::Slow(n) => {
                self.gate.acquire().await.unwrap().forget();
                self.sum += n;
            }
            Op::Items { items } => self.sum += items.iter().sum::<u64>(),
            Op::Panic { items } => panic!("{items:?} on purpose"),
        }
        Ok(self.sum)
    }
}

async fn journal(folder: &Path) -> EventJournal {
    let url = format!("sqlite:{}?mode=rwc", folder.join("app.db").display());
    EventJournal::open(Arc::new(SqliteProvider::new(&url, None).await.unwrap())).await.unwrap()
}

type Run = JoinHandle<Result<(), Arc<duroxide_tower::JournalError>>>;

async fn start(journal: &EventJournal, permits: usize) -> (DurableHandle<Basket>, Run) {
    let basket = Basket { sum: 0, gate: Arc::new(Semaphore::new(permits)) };
    let (service, basket) = DurableActorService::new(journal, "1", basket).await.unwrap();
    (basket, tokio::spawn(service.run()))
}

async fn dead(journal: &EventJournal) -> Vec<(u64, u32, String)> {
    let letters = journal.dead_letters(&ActorId::new("basket", "1")).await.unwrap();
    letters.into_iter().map(|it| (it.sequence.0, it.attempts, it.error)).collect()
}

#[tokio::test]
async fn what_waits_and_does_not_decode_becomes_a_dead_letter_and_does_not_lock_its_actor() {
    let folder = tempfile::tempdir().unwrap();
    {
        let journal = journal(folder.path()).await;
        let (basket, run) = start(&journal, 0).await;
        basket.tell(Op::Slow(1)).await.unwrap();
        for op in [Op::Add(10), Op::Items { items: vec![] }, Op::Items { items: vec![100] }] {
            basket.tell(op).await.unwrap();
        }
        run.abort();
        assert!(run.await.unwrap_err().is_cancelled());
    }
    for _ in 0..2 {
        let journal = journal(folder.path()).await;
        let (basket, run) = start(&journal, 10).await;
        assert_eq!(basket.ask(Op::Add(0)).await.unwrap(), 111);
        let letters = dead(&journal).await;
        let [(3, 1, error)] = &letters[..] else { panic!("{letters:?}") };
        assert!(error.contains("basket/1") && error.contains("message 3"), "{error}");
        assert!(error.contains("basket.op") && error.contains("missing field"), "{error}");
        drop(basket);
        run.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn what_is_tried_again_and_does_not_decode_becomes_a_dead_letter() {
    let folder = tempfile::tempdir().unwrap();
    let journal = journal(folder.path()).await;
    let (basket, _run) = start(&journal, 0).await;
    let ops = [Op::Add(1), Op::Panic { items: vec![] }, Op::Add(2), Op::Items { items: vec![] }];
    let asked: Vec<_> = ops.into_iter().map(|op| basket.try_ask(op).unwrap()).collect();
    let answers = futures::future::join_all(asked).await;
    assert!(
        matches!(
            &answers[..],
            [Ok(1), Err(CallError::DeadLetter { attempts: 2, error, .. }), Ok(3), _]
                if error.contains("missing field")
        ),
        "{answers:?}"
    );
    let letters = dead(&journal).await;
    // The last one was not handled before the panic, and its value was still there.
    assert_eq!(letters.iter().map(|it| it.0).collect::<Vec<_>>(), [2], "{letters:?}");
    assert!(matches!(answers[3], Ok(3)), "{answers:?}");
}
