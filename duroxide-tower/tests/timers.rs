//! Timers in a journal of one process, without a runtime of duroxide.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::time::Duration;

use duroxide_tower::{
    ActorContext, CallError, DurableActor, DurableActorService, DurableHandle, DurableMessage,
    DurableState, EventJournal, async_trait,
};
use serde::{Deserialize, Serialize};
use shared_journal::{ActorId, Missed, TimerId};
use support::{Store, soon};

#[derive(Default, DurableState)]
#[durable(actor_type = "clock")]
struct Clock {
    rung: Vec<u64>,
    every: Option<TimerId>,
}

#[derive(Debug, Clone, Serialize, Deserialize, DurableMessage)]
#[durable(name = "clock.op")]
enum Op {
    /// After so many milliseconds; then it may panic.
    After(u64, bool),
    /// Every so many.
    Every(u64),
    Cancel,
    Ring(u64),
    /// Takes so many milliseconds.
    Slow(u64),
    Rung,
}

#[async_trait]
impl DurableActor for Clock {
    type Message = Op;
    type Reply = Vec<u64>;
    type Error = String;

    async fn handle(&mut self, ctx: &mut ActorContext, op: Op) -> Result<Vec<u64>, String> {
        match op {
            Op::After(ms, panics) => {
                ctx.schedule(Duration::from_millis(ms), Op::Ring(ms)).unwrap();
                assert!(!panics, "on purpose");
            }
            Op::Every(ms) => {
                let period = Duration::from_millis(ms);
                self.every = Some(ctx.schedule_every(period, Missed::Once, Op::Ring(ms)).unwrap());
            }
            Op::Cancel => {
                let timer = self.every.take().ok_or("there is none")?;
                ctx.cancel(&timer).map_err(|error| error.to_string())?;
            }
            Op::Ring(ms) => self.rung.push(ms),
            Op::Slow(ms) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Op::Rung => {}
        }
        Ok(self.rung.clone())
    }
}

async fn start(journal: &EventJournal) -> DurableHandle<Clock> {
    let (service, handle) = DurableActorService::new(journal, "1", Clock::default()).await.unwrap();
    drop(tokio::spawn(service.run()));
    handle
}

async fn until(clock: &DurableHandle<Clock>, wanted: impl Fn(&[u64]) -> bool) -> Vec<u64> {
    soon("what the timers send", async {
        loop {
            let rung = clock.ask(Op::Rung).await.unwrap();
            if wanted(&rung) {
                return rung;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
}

#[tokio::test]
async fn they_fire_also_behind_a_slow_handler_and_not_after_a_panic() {
    let (store, actor) = (Store::new(), ActorId::new("clock", "1"));
    let journal = store.open().await;
    let clock = start(&journal).await;
    let panicked = clock.ask(Op::After(1, true)).await.unwrap_err();
    assert!(matches!(panicked, CallError::DeadLetter { .. }), "{panicked:?}");
    clock.ask(Op::After(20, false)).await.unwrap();
    clock.ask(Op::After(0, false)).await.unwrap();
    clock.ask(Op::Slow(40)).await.unwrap();
    let mut rung = until(&clock, |rung| rung.len() == 2).await;
    // The first may have been due before the second was set.
    rung.sort_unstable();
    assert_eq!(rung, [0, 20]);
    assert_eq!(journal.timers(&actor).await.unwrap(), []);
}

#[tokio::test]
async fn they_outlive_the_journal_and_are_cancelled() {
    let (store, actor) = (Store::new(), ActorId::new("clock", "1"));
    let journal = store.open().await;
    let clock = start(&journal).await;
    clock.ask(Op::Every(5)).await.unwrap();
    clock.ask(Op::After(3_600_000, false)).await.unwrap();
    let before = until(&clock, |rung| rung.len() > 2).await.len();
    // As in a crash: what is opened next fences it.
    let journal = store.open().await;
    assert_eq!(journal.timers(&actor).await.unwrap().len(), 2);
    let clock = start(&journal).await;
    until(&clock, |rung| rung.len() > before + 2).await;
    let rung = clock.ask(Op::Cancel).await.unwrap();
    assert_eq!(journal.timers(&actor).await.unwrap().len(), 1);
    clock.ask(Op::Slow(20)).await.unwrap();
    // What was received before that may still have waited.
    assert!(clock.ask(Op::Rung).await.unwrap().len() <= rung.len() + 1);
    assert!(journal.verify().await.unwrap().is_clean());
}
