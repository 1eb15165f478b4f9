//! Actix's usual idioms in both kinds of durable actors: intervals, `ctx.spawn`, `ctx.wait`, `notify`,
//! and what a crash leaves of them.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::prelude::*;
use duroxide_actix::journal::{ActorId, DurableMessage, DurableState, EventJournal, Limits};
use duroxide_actix::{DurableActixActor, DurableActor, DurableContext, DurableSend, StartDurable};
use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::support::{Store, run};

/// What the actor and its test share outside of the state.
#[derive(Clone)]
struct World {
    gate: Arc<Semaphore>,
    /// How often the handlers that fail have run.
    tries: Arc<AtomicUsize>,
    /// How often the state was encoded.
    snapshots: Arc<AtomicUsize>,
    ticks: Arc<AtomicUsize>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            gate: Arc::new(Semaphore::new(0)),
            tries: Arc::default(),
            snapshots: Arc::default(),
            ticks: Arc::default(),
        }
    }
}

macro_rules! messages {
    ($($name:ident -> $stored:literal;)*) => {$(
        #[derive(Message, Serialize, Deserialize, DurableMessage)]
        #[rtype(result = "u64")]
        #[durable(name = $stored)]
        struct $name;
    )*};
}

messages! {
    Add -> "idioms.add";
    SpawnAdd -> "idioms.spawn_add";
    SpawnAddAtOnce -> "idioms.spawn_add_at_once";
    WaitAdd -> "idioms.wait_add";
    SpawnPanic -> "idioms.spawn_panic";
    WaitPanic -> "idioms.wait_panic";
    PanicTwice -> "idioms.panic_twice";
    AddSlowly -> "idioms.add_slowly";
}

/// Not durable.
#[derive(Message)]
#[rtype(result = "u64")]
enum Plain {
    Count,
    Add,
    Spawn,
    /// Adds on every tick of an interval.
    Interval,
    /// Does nothing on every tick of an interval.
    Idle,
    /// Adds on the first tick of an interval, and panics on the second.
    PanicLater,
    /// Waits for ever.
    Wait,
}

macro_rules! suite {
    ($name:ident, $context:ident, $address:ty, $start:expr) => {
        mod $name {
            use super::*;

            struct Counter {
                count: u64,
                world: World,
            }

            impl Counter {
                fn add(&mut self) -> u64 {
                    self.count += 1;
                    self.count
                }

                fn bump(&mut self) {
                    self.count += 1;
                }

                /// Resolves when the test says so.
                fn gate(&self) -> impl ActorFuture<Self, Output = ()> + use<> {
                    let gate = self.world.gate.clone();
                    async move { gate.acquire_owned().await.unwrap().forget() }.into_actor(self)
                }
            }

            impl DurableState for Counter {
                const ACTOR_TYPE: &'static str = "counter";
                type State = u64;
                fn snapshot(&self) -> impl Serialize {
                    self.world.snapshots.fetch_add(1, Ordering::SeqCst);
                    self.count
                }
                fn restore(&mut self, count: u64) {
                    self.count = count;
                }
            }

            impl DurableActor for Counter {
                type Messages = (
                    Add,
                    SpawnAdd,
                    SpawnAddAtOnce,
                    WaitAdd,
                    SpawnPanic,
                    WaitPanic,
                    PanicTwice,
                    AddSlowly,
                );
            }

            impl Actor for Counter {
                type Context = $context<Self>;
                fn started(&mut self, _: &mut Self::Context) {
                    self.count += self.world.ticks.load(Ordering::SeqCst) as u64;
                }
            }

            impl Handler<Add> for Counter {
                type Result = u64;
                fn handle(&mut self, _: Add, _: &mut Self::Context) -> u64 {
                    self.add()
                }
            }

            impl Handler<SpawnAdd> for Counter {
                type Result = u64;
                fn handle(&mut self, _: SpawnAdd, ctx: &mut Self::Context) -> u64 {
                    ctx.spawn(self.gate().map(|(), it, _| it.bump()));
                    self.count
                }
            }

            impl Handler<SpawnAddAtOnce> for Counter {
                type Result = u64;
                fn handle(&mut self, _: SpawnAddAtOnce, ctx: &mut Self::Context) -> u64 {
                    ctx.spawn(async {}.into_actor(self).map(|(), it, _| it.bump()));
                    self.count
                }
            }

            impl Handler<WaitAdd> for Counter {
                type Result = u64;
                fn handle(&mut self, _: WaitAdd, ctx: &mut Self::Context) -> u64 {
                    ctx.wait(self.gate().map(|(), it, _| it.bump()));
                    self.count
                }
            }

            impl Handler<SpawnPanic> for Counter {
                type Result = u64;
                fn handle(&mut self, _: SpawnPanic, ctx: &mut Self::Context) -> u64 {
                    ctx.spawn(self.gate().map(|(), it, _| {
                        it.count += 1000;
                        panic!("left behind, on purpose");
                    }));
                    self.add()
                }
            }

            impl Handler<WaitPanic> for Counter {
                type Result = u64;
                fn handle(&mut self, _: WaitPanic, ctx: &mut Self::Context) -> u64 {
                    self.count += 1000;
                    ctx.wait(tokio::task::yield_now().into_actor(self).map(|(), it, _| {
                        let tries = it.world.tries.fetch_add(1, Ordering::SeqCst);
                        assert!(tries > 0, "in a wait, on purpose");
                        it.count -= 999;
                    }));
                    7
                }
            }

            impl Handler<PanicTwice> for Counter {
                type Result = u64;
                fn handle(&mut self, _: PanicTwice, ctx: &mut Self::Context) -> u64 {
                    // What an attempt that failed left behind does nothing any more.
                    ctx.spawn(tokio::task::yield_now().into_actor(self).map(|(), it, _| {
                        it.world.ticks.fetch_add(1, Ordering::SeqCst);
                    }));
                    self.count += 1000;
                    let tries = self.world.tries.fetch_add(1, Ordering::SeqCst);
                    assert!(tries >= 2, "on purpose");
                    self.count -= 999;
                    self.count
                }
            }

            impl Handler<AddSlowly> for Counter {
                type Result = ResponseActFuture<Self, u64>;
                fn handle(&mut self, _: AddSlowly, _: &mut Self::Context) -> Self::Result {
                    Box::pin(self.gate().map(|(), it, _| it.add()))
                }
            }

            impl Handler<Plain> for Counter {
                type Result = u64;
                fn handle(&mut self, plain: Plain, ctx: &mut Self::Context) -> u64 {
                    const TICK: Duration = Duration::from_millis(1);
                    match plain {
                        Plain::Count => {}
                        Plain::Add => self.bump(),
                        Plain::Spawn => {
                            ctx.spawn(self.gate().map(|(), it, _| it.bump()));
                        }
                        Plain::Interval => {
                            ctx.run_interval(TICK, |it, _| it.bump());
                        }
                        Plain::PanicLater => {
                            let mut begun = false;
                            ctx.run_interval(TICK, move |it, _| {
                                // Two ticks may be due in one poll.
                                let is_to_panic = it.world.ticks.load(Ordering::SeqCst) > 0;
                                if is_to_panic || !std::mem::replace(&mut begun, true) {
                                    it.bump();
                                }
                                assert!(!is_to_panic, "in an interval, on purpose");
                            });
                        }
                        Plain::Wait => ctx.wait(std::future::pending().into_actor(self)),
                        Plain::Idle => {
                            ctx.run_interval(TICK, |it, _| {
                                it.world.ticks.fetch_add(1, Ordering::SeqCst);
                            });
                        }
                    }
                    self.count
                }
            }

            async fn start(journal: &EventJournal, world: &World) -> $address {
                let world = world.clone();
                let start = $start;
                start(journal, world).await
            }

            fn actor() -> ActorId {
                ActorId::new("counter", "1")
            }

            /// Waits until the actor in memory counts so far.
            async fn counts(counter: &$address, count: u64) {
                while counter.send(Plain::Count).await.unwrap() < count {
                    tokio::task::yield_now().await;
                }
            }

            /// Everything submitted is durable; what the actor says now is what a crash leaves.
            async fn after_a_crash(store: &Store, journal: &EventJournal) -> u64 {
                journal.checkpoint().await.unwrap();
                let journal = store.open().await;
                let counter = start(&journal, &World::default()).await;
                counter.send(Plain::Count).await.unwrap()
            }

            async fn events(journal: &EventJournal) -> Vec<&'static str> {
                let entries = journal.history(&actor()).map(Result::unwrap);
                entries.map(|entry| entry.event.name()).collect().await
            }

            #[test]
            fn a_message_that_is_not_durable_changes_the_state_durably() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let counter = start(&journal, &World::default()).await;
                    assert_eq!(counter.send(Plain::Add).await.unwrap(), 1);
                    assert_eq!(after_a_crash(&store, &journal).await, 1);
                });
            }

            #[test]
            fn what_a_future_that_was_left_behind_changes_is_captured_when_it_has() {
                run(async {
                    let store = Store::new();
                    let world = World::default();
                    let journal = store.open().await;
                    let counter = start(&journal, &world).await;
                    assert_eq!(counter.send(SpawnAdd).await.unwrap(), 0);
                    counter.send(Plain::Spawn).await.unwrap();
                    world.gate.add_permits(2);
                    counts(&counter, 2).await;
                    assert_eq!(after_a_crash(&store, &journal).await, 2);
                });
            }

            #[test]
            fn a_future_that_is_done_at_once_is_captured_too() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let counter = start(&journal, &World::default()).await;
                    assert_eq!(counter.send(SpawnAddAtOnce).await.unwrap(), 0);
                    assert_eq!(after_a_crash(&store, &journal).await, 1);
                });
            }

            #[test]
            fn what_an_interval_changes_is_captured() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let counter = start(&journal, &World::default()).await;
                    counter.send(Plain::Interval).await.unwrap();
                    counts(&counter, 5).await;
                    assert!(after_a_crash(&store, &journal).await >= 5);
                });
            }

            #[test]
            fn an_interval_goes_on_being_captured_when_nobody_can_send_any_more() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let counter = start(&journal, &World::default()).await;
                    counter.send(Plain::Interval).await.unwrap();
                    drop(counter);
                    let captured = || async { events(&journal).await.len() };
                    let before = captured().await;
                    while captured().await < before + 3 {
                        tokio::task::yield_now().await;
                    }
                });
            }

            #[test]
            fn what_changes_nothing_writes_nothing() {
                run(async {
                    let store = Store::new();
                    let world = World::default();
                    let journal = store.open().await;
                    let counter = start(&journal, &world).await;
                    counter.send(Plain::Idle).await.unwrap();
                    while world.ticks.load(Ordering::SeqCst) < 5 {
                        tokio::task::yield_now().await;
                    }
                    assert!(events(&journal).await.is_empty(), "it has done nothing yet");
                    counter.send(Add).await.unwrap();
                    let before = events(&journal).await;
                    let ticks = world.ticks.load(Ordering::SeqCst);
                    while world.ticks.load(Ordering::SeqCst) < ticks + 5 {
                        tokio::task::yield_now().await;
                    }
                    assert_eq!(events(&journal).await, before);
                });
            }

            #[test]
            fn a_durable_message_has_its_state_encoded_once() {
                run(async {
                    let store = Store::new();
                    let world = World::default();
                    let journal = store.open().await;
                    let counter = start(&journal, &world).await;
                    counter.send(Add).await.unwrap();
                    let before = world.snapshots.load(Ordering::SeqCst);
                    for _ in 0..10 {
                        counter.send(Add).await.unwrap();
                    }
                    assert_eq!(world.snapshots.load(Ordering::SeqCst) - before, 10);
                });
            }

            #[test]
            fn a_handler_that_waits_is_done_when_the_wait_is() {
                run(async {
                    let store = Store::new();
                    let world = World::default();
                    let journal = store.open().await;
                    let counter = start(&journal, &world).await;
                    let waiting = counter.send(WaitAdd);
                    counter.tell(WaitAdd).now_or_never_is_none().await;
                    // Both are received, and neither is processed.
                    while journal.pending().await.unwrap().is_empty() {
                        tokio::task::yield_now().await;
                    }
                    assert!(!events(&journal).await.contains(&"MessageProcessed"));

                    // A crash in the wait: the message is handled again.
                    let journal = store.open().await;
                    drop(waiting);
                    let world = World::default();
                    let counter = start(&journal, &world).await;
                    world.gate.add_permits(2);
                    counts(&counter, 1).await;
                    assert!(after_a_crash(&store, &journal).await >= 1);
                });
            }

            #[test]
            fn the_reply_of_a_handler_that_waits_comes_after_the_wait() {
                run(async {
                    let store = Store::new();
                    let world = World::default();
                    let journal = store.open().await;
                    let counter = start(&journal, &world).await;
                    world.gate.add_permits(1);
                    assert_eq!(counter.send(WaitAdd).await.unwrap(), 0);
                    // So what the wait did is durable with it.
                    let journal = store.open().await;
                    let counter = start(&journal, &World::default()).await;
                    assert_eq!(counter.send(Plain::Count).await.unwrap(), 1);
                });
            }

            #[test]
            fn a_panic_in_a_wait_is_the_handlers() {
                run(async {
                    let store = Store::new();
                    let world = World::default();
                    let journal = store.open().await;
                    let counter = start(&journal, &world).await;
                    assert_eq!(counter.send(Add).await.unwrap(), 1);
                    assert_eq!(counter.send(WaitPanic).await.unwrap(), 7);
                    assert_eq!(counter.send(Add).await.unwrap(), 3);
                    assert_eq!(world.tries.load(Ordering::SeqCst), 2);
                });
            }

            #[test]
            fn close_keeps_what_was_changed_while_somebody_has_the_address() {
                run(async {
                    let store = Store::new();
                    let world = World::default();
                    let journal = store.open().await;
                    let counter = start(&journal, &world).await;
                    counter.send(SpawnAdd).await.unwrap();
                    // Not yet polled when the close begins.
                    world.gate.add_permits(1);
                    counter.do_send(Plain::Add);
                    journal.close().await.unwrap();
                    let journal = store.open().await;
                    let after = start(&journal, &World::default()).await;
                    assert_eq!(after.send(Plain::Count).await.unwrap(), 2);
                    drop(counter);
                });
            }

            #[test]
            fn close_does_not_wait_for_a_handler_that_is_not_done() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let counter = start(&journal, &World::default()).await;
                    counter.tell(AddSlowly).await.unwrap();
                    journal.close().await.unwrap();
                    let journal = store.open().await;
                    let world = World::default();
                    let counter = start(&journal, &world).await;
                    world.gate.add_permits(1);
                    assert_eq!(counter.send(Add).await.unwrap(), 2);
                });
            }

            #[test]
            fn close_does_not_wait_for_a_wait_without_an_end() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let counter = start(&journal, &World::default()).await;
                    counter.send(Add).await.unwrap();
                    counter.send(Plain::Wait).await.unwrap();
                    journal.close().await.unwrap();
                    let journal = store.open().await;
                    let counter = start(&journal, &World::default()).await;
                    assert_eq!(counter.send(Add).await.unwrap(), 2);
                });
            }

            #[test]
            fn a_panic_of_an_interval_ends_the_actor_with_what_was_captured() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let world = World::default();
                    let counter = start(&journal, &world).await;
                    counter.send(Add).await.unwrap();
                    counter.send(Plain::PanicLater).await.unwrap();
                    while counter.send(Plain::Count).await.unwrap() < 2 {
                        tokio::task::yield_now().await;
                    }
                    world.ticks.store(1, Ordering::SeqCst);
                    while counter.send(Plain::Count).await.is_ok() {
                        tokio::task::yield_now().await;
                    }
                    crate::support::gone(&journal, &actor()).await;
                    let counter = start(&journal, &World::default()).await;
                    assert_eq!(counter.send(Plain::Count).await.unwrap(), 2, "not what panicked");
                });
            }

            #[test]
            fn what_started_changes_is_captured() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let world = World::default();
                    world.ticks.store(7, Ordering::SeqCst);
                    let counter = start(&journal, &world).await;
                    assert_eq!(counter.send(Plain::Count).await.unwrap(), 7);
                    assert_eq!(after_a_crash(&store, &journal).await, 7);
                });
            }

            #[test]
            fn a_state_that_a_given_up_message_did_not_change_is_captured_behind_it() {
                run(async {
                    let store = Store::new();
                    let limits = Limits { attempts: 1, ..Limits::default() };
                    let journal = store.open_with(limits).await.unwrap();
                    let counter = start(&journal, &World::default()).await;
                    let failing = counter.send(PanicTwice);
                    counter.do_send(Plain::Add);
                    assert!(failing.await.is_err());
                    assert_eq!(after_a_crash(&store, &journal).await, 1);
                });
            }
        }
    };
}

/// For futures that are to be started and not awaited.
trait Begun {
    async fn now_or_never_is_none(self);
}

impl<F: Future> Begun for F {
    async fn now_or_never_is_none(self) {
        assert!(futures::FutureExt::now_or_never(self).is_none());
    }
}

suite!(context, DurableContext, Addr<Counter>, |journal, world: World| async move {
    Counter { count: 0, world }.start_durable(journal, "1").await.unwrap()
});

suite!(wrapper, Context, Addr<DurableActixActor<Counter>>, |journal, world: World| async move {
    let create = move |_: &mut Context<Counter>| Counter { count: 0, world: world.clone() };
    DurableActixActor::start(journal, "1", create).await.unwrap()
});
