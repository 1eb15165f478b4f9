//! Handlers that are over their time limit.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use duroxide_tower::{
    ActorContext, CallError, DurableActor, DurableActorService, DurableHandle, DurableMessage,
    DurableState, EventJournal, async_trait,
};
use serde::{Deserialize, Serialize};
use shared_journal::ActorId;
use support::{Store, in_memory, soon};

/// What the test sees of the world.
#[derive(Clone, Default)]
struct World {
    paid: Arc<AtomicU32>,
    asked: Arc<AtomicU32>,
}

#[derive(Default)]
struct Payer {
    sum: u32,
    world: World,
}

#[derive(Debug, Clone, Serialize, Deserialize, DurableMessage)]
#[durable(name = "payer.op")]
enum Op {
    Add(u32),
    /// Adds, and waits for ever.
    Hang,
    /// As `Hang`; what it leaves panics as it is dropped.
    HangAndPanic,
    /// A step that is done, and one that is not, so many times.
    Pay {
        hang: u32,
    },
}

struct PanicsAsItIsDropped;

impl Drop for PanicsAsItIsDropped {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

impl DurableState for Payer {
    const ACTOR_TYPE: &'static str = "payer";
    type State = u32;

    fn snapshot(&self) -> impl Serialize {
        self.sum
    }

    fn restore(&mut self, sum: u32) {
        self.sum = sum;
    }
}

#[async_trait]
impl DurableActor for Payer {
    type Message = Op;
    type Reply = u32;
    type Error = ();

    const TIME_LIMIT: Option<Duration> = Some(Duration::from_millis(50));

    async fn handle(&mut self, context: &mut ActorContext, op: Op) -> Result<u32, ()> {
        match op {
            Op::Add(n) => self.sum += n,
            Op::Hang => {
                self.sum += 100;
                std::future::pending().await
            }
            Op::HangAndPanic => {
                let _panics = PanicsAsItIsDropped;
                self.sum += 100;
                std::future::pending().await
            }
            Op::Pay { hang } => {
                let World { paid, asked } = self.world.clone();
                let pay = || async move { paid.fetch_add(1, Ordering::SeqCst) + 1 };
                self.sum += context.step("pay", pay).await.unwrap();
                let ask = || async move {
                    if asked.fetch_add(1, Ordering::SeqCst) < hang {
                        std::future::pending().await
                    }
                };
                context.step("ask", ask).await.unwrap();
            }
        }
        Ok(self.sum)
    }
}

async fn start(journal: &EventJournal, world: &World) -> DurableHandle<Payer> {
    let payer = Payer { sum: 0, world: world.clone() };
    let (service, handle) = DurableActorService::new(journal, "1", payer).await.unwrap();
    drop(tokio::spawn(service.run()));
    handle
}

#[tokio::test]
async fn what_never_returns_is_a_dead_letter_and_the_actor_goes_on() {
    let store = Store::new();
    let journal = store.open().await;
    let payer = start(&journal, &World::default()).await;
    assert_eq!(payer.ask(Op::Add(1)).await.unwrap(), 1);
    for op in [Op::Hang, Op::HangAndPanic] {
        let both = async { tokio::join!(payer.ask(op), payer.ask(Op::Add(1))) };
        let (hung, behind) = soon("the end", both).await;
        let Err(CallError::DeadLetter { attempts, error, .. }) = hung else { panic!("{hung:?}") };
        assert_eq!((attempts, error.contains("limit of 50ms")), (3, true), "{error}");
        behind.unwrap();
    }
    assert_eq!(payer.ask(Op::Add(0)).await.unwrap(), 3, "what it did is undone");
    let letters = journal.dead_letters(&ActorId::new("payer", "1")).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.attempts).collect::<Vec<_>>(), [3, 3]);
    drop((payer, journal));

    let journal = store.open().await;
    let payer = start(&journal, &World::default()).await;
    assert_eq!(soon("the state", payer.ask(Op::Add(0))).await.unwrap(), 3);
}

#[tokio::test]
async fn a_step_that_never_returns_is_tried_again_and_those_before_it_are_not() {
    let journal = in_memory().await;
    let world = World::default();
    let payer = start(&journal, &world).await;
    assert_eq!(soon("the reply", payer.ask(Op::Pay { hang: 2 })).await.unwrap(), 1);
    assert_eq!(world.asked.load(Ordering::SeqCst), 3);
    assert_eq!(world.paid.load(Ordering::SeqCst), 1, "it is recorded");

    let hung = soon("the end", payer.ask(Op::Pay { hang: 100 })).await;
    assert!(matches!(hung, Err(CallError::DeadLetter { attempts: 3, .. })), "{hung:?}");
    assert_eq!(payer.ask(Op::Add(0)).await.unwrap(), 1);
}
