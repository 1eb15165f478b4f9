//! Timers without a cluster and without a runtime of duroxide. A test runs itself again as the process to be
//! killed.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix::prelude::*;
use duroxide_actix::journal::cluster::Cluster;
use duroxide_actix::journal::{
    ActorEvent, ActorId, DurableMessage, DurableState, EventJournal, JournalError, MessageKey,
    Missed, ShardId,
};
use duroxide_actix::{
    ActixHost, ClusterActors, DurableActixActor, DurableActor, DurableContext, DurableEffects,
    StartDurable, VirtualActors, WrappedHost,
};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use support::{Store, killed, run};

/// Sets a timer for each of these times, in milliseconds from now.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "clock.set")]
struct Set(Vec<u64>);

/// Sets one that is due every so many milliseconds.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "clock.every")]
struct SetEvery(u64);

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "clock.ring")]
struct Ring(f64);

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "clock.stop")]
struct Stop;

#[derive(Message)]
#[rtype(result = "Vec<u64>")]
struct Rung;

macro_rules! clock {
    ($clock:ident, $context:ident, $name:literal) => {
        #[derive(Default, DurableState)]
        #[durable(actor_type = $name)]
        struct $clock {
            /// The bits of what rang.
            rung: Vec<u64>,
        }

        impl Actor for $clock {
            type Context = $context<Self>;
        }

        impl DurableActor for $clock {
            type Messages = (Set, SetEvery, Ring, Stop);
        }

        impl Handler<Set> for $clock {
            type Result = ();
            fn handle(&mut self, Set(after): Set, ctx: &mut Self::Context) {
                for ms in after {
                    // JSON has no such number.
                    let what = if ms == 0 { f64::NAN } else { ms as f64 };
                    ctx.schedule(Duration::from_millis(ms), Ring(what)).unwrap();
                }
            }
        }

        impl Handler<SetEvery> for $clock {
            type Result = ();
            fn handle(&mut self, SetEvery(ms): SetEvery, ctx: &mut Self::Context) {
                let period = Duration::from_millis(ms);
                ctx.schedule_every(period, Missed::Once, Ring(ms as f64)).unwrap();
            }
        }

        impl Handler<Ring> for $clock {
            type Result = ();
            fn handle(&mut self, Ring(what): Ring, _: &mut Self::Context) {
                self.rung.push(what.to_bits());
            }
        }

        impl Handler<Stop> for $clock {
            type Result = ();
            fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
                ctx.stop();
            }
        }

        impl Handler<Rung> for $clock {
            type Result = Vec<u64>;
            fn handle(&mut self, _: Rung, _: &mut Self::Context) -> Vec<u64> {
                self.rung.clone()
            }
        }
    };
}

clock!(Own, DurableContext, "own");
clock!(Wrapped, Context, "wrapped");

fn bits(rung: impl IntoIterator<Item = f64>) -> Vec<u64> {
    rung.into_iter().map(f64::to_bits).collect()
}

/// What its timers have sent to an actor: the times at which they were due.
async fn fired(journal: &EventJournal, actor: &ActorId) -> Vec<u64> {
    let history: Vec<_> = journal.history(actor).try_collect().await.unwrap();
    let due = history.iter().filter_map(|entry| match entry.event {
        ActorEvent::MessageReceived { key: MessageKey::Timer { due_ms, .. }, .. } => Some(due_ms),
        _ => None,
    });
    due.collect()
}

async fn until_fired(journal: &EventJournal, actor: &ActorId, count: usize) {
    while fired(journal, actor).await.len() < count || !journal.pending().await.unwrap().is_empty()
    {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
fn they_fire_in_their_order_in_a_journal_of_one_process() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let own = Own::default().start_durable(&journal, "1").await.unwrap();
        let wrapped = DurableActixActor::start(&journal, "1", |_| Wrapped::default());
        let wrapped = wrapped.await.unwrap();
        own.send(Set(vec![40, 20, 0])).await.unwrap();
        wrapped.send(Set(vec![40, 20, 0])).await.unwrap();
        let expected = bits([f64::NAN, 20.0, 40.0]);
        for name in ["own", "wrapped"] {
            until_fired(&journal, &ActorId::new(name, "1"), 3).await;
        }
        assert_eq!(own.send(Rung).await.unwrap(), expected);
        // Past the journal: it is no durable message.
        assert_eq!(fired(&journal, &ActorId::new("wrapped", "1")).await.len(), 3);
        assert!(journal.verify().await.unwrap().is_clean());
    });
}

/// Of an actor that was passivated, and of one that has stopped of its own accord.
#[test]
fn an_actor_that_is_not_in_memory_is_started() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let clocks = VirtualActors::new(&journal, 1, |_| Own::default());
        for id in ["passivated", "stopped", "last"] {
            clocks.get(id).await.unwrap().send(Set(vec![300])).await.unwrap();
        }
        clocks.get("stopped").await.unwrap().send(Stop).await.unwrap();
        clocks.get("last").await.unwrap().send(Set(vec![])).await.unwrap();
        for id in ["passivated", "stopped", "last"] {
            until_fired(&journal, &ActorId::new("own", id), 1).await;
        }
        assert_eq!(journal.with_timers().await.unwrap(), []);
        assert_eq!(clocks.len(), 1, "they have pushed nobody out");
    });
}

/// One that nobody has pushed out of the ones used last.
#[test]
fn an_actor_that_has_stopped_itself_is_started() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let clocks = VirtualActors::new(&journal, 10, |_| Own::default());
        for (id, after) in [("soon", 1), ("later", 200)] {
            let clock = clocks.get(id).await.unwrap();
            clock.send(Set(vec![after])).await.unwrap();
            clock.send(Stop).await.unwrap();
        }
        for id in ["soon", "later"] {
            until_fired(&journal, &ActorId::new("own", id), 1).await;
        }
        // Held while it is due, and released.
        let (name, repair) =
            (ActorId::new("own", "held"), journal.repair("ada", "a test").unwrap());
        clocks.get("held").await.unwrap().send(Set(vec![50])).await.unwrap();
        repair.stop(&name).await.unwrap();
        actix::clock::sleep(Duration::from_millis(60)).await;
        repair.release(&name).await.unwrap();
        until_fired(&journal, &name, 1).await;
    });
}

/// How often an actor that cannot be made may be tried in a test: thousands of times if nothing holds it back.
const TRIES: u32 = 30;

fn made(id: &str, tries: &AtomicU32) {
    if id == "bad" {
        tries.fetch_add(1, Ordering::SeqCst);
        panic!("on purpose");
    }
}

/// Sets timers of actors of which one cannot be made afterwards.
async fn set_for_two(journal: &EventJournal) {
    for id in ["bad", "good"] {
        let clock = Own::default().start_durable(journal, id).await.unwrap();
        clock.send(Set(vec![1, 600])).await.unwrap();
    }
}

#[test]
fn an_actor_that_cannot_be_made_holds_up_nobody() {
    run(async {
        let store = Store::new();
        set_for_two(&store.open().await).await;
        let journal = store.open().await;
        let tries = Arc::new(AtomicU32::new(0));
        let of_actors = tries.clone();
        let clocks = VirtualActors::new(&journal, 10, move |id| {
            made(id, &of_actors);
            Own::default()
        });
        until_fired(&journal, &ActorId::new("own", "good"), 2).await;
        assert!((1..TRIES).contains(&tries.load(Ordering::SeqCst)), "{tries:?}");
        let error = clocks.get("bad").await.unwrap_err();
        assert!(matches!(&*error, JournalError::NotMade { reason, .. } if reason == "on purpose"));
    });
}

macro_rules! in_a_cluster {
    ($test:ident, $clock:ident, $host:ident) => {
        #[test]
        fn $test() {
            run(async {
                let store = Store::new();
                let tries = Arc::new(AtomicU32::new(0));
                let node = |broken: bool| {
                    let tries = tries.clone();
                    Cluster::builder("clocks", 1).host($host::new(move |id| {
                        if broken {
                            made(id, &tries);
                        }
                        $clock::default()
                    }))
                };
                let cluster = node(false).join(store.provider().await).await.unwrap();
                for id in ["bad", "good"] {
                    let clock = cluster.actor::<$clock>(id);
                    clock.ask(Set(vec![20, 900])).await.unwrap();
                    clock.ask(Stop).await.unwrap();
                }
                let good = ActorId::new($clock::ACTOR_TYPE, "good");
                until_fired(&cluster.journal(ShardId(0)).unwrap(), &good, 1).await;
                cluster.leave().await.unwrap();
                let cluster = node(true).join(store.provider().await).await.unwrap();
                let journal = loop {
                    match cluster.journal(ShardId(0)) {
                        Some(journal) => break journal,
                        None => actix::clock::sleep(Duration::from_millis(5)).await,
                    }
                };
                until_fired(&journal, &good, 2).await;
                assert!(tries.load(Ordering::SeqCst) < TRIES, "{tries:?}");
                cluster.leave().await.unwrap();
            });
        }
    };
}

in_a_cluster!(
    an_actor_of_a_cluster_is_started_and_one_that_cannot_be_is_not_tried_all_the_time,
    Own,
    ActixHost
);
in_a_cluster!(so_is_one_that_is_wrapped, Wrapped, WrappedHost);

#[test]
fn what_a_killed_process_has_set_fires_once_in_the_next() {
    const ACTORS: u64 = 20;
    let life = |store: Store| async move {
        let journal = store.open().await;
        let clocks = VirtualActors::new(&journal, 5, |_| Own::default());
        for id in 0..ACTORS {
            let clock = clocks.get(id.to_string()).await.unwrap();
            clock.send(Set(vec![0, 10, 200, 3_600_000])).await.unwrap();
            clock.send(SetEvery(40)).await.unwrap();
        }
        // They fire while it is killed.
        std::mem::forget((clocks, journal));
    };
    killed("what_a_killed_process_has_set_fires_once_in_the_next", life, |store| async move {
        let journal = store.open().await;
        let _clocks = VirtualActors::new(&journal, 5, |_| Own::default());
        for id in 0..ACTORS {
            let actor = ActorId::new("own", id.to_string());
            // The three, and more of the periodic one than were due before the kill.
            loop {
                let timers = journal.timers(&actor).await.unwrap();
                if timers.len() == 2 && fired(&journal, &actor).await.len() > 8 {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let fired = fired(&journal, &actor).await;
            let mut once = fired.clone();
            once.sort_unstable();
            once.dedup();
            assert!(fired.len() - once.len() <= 1, "two of them may be due at one time: {fired:?}");
        }
        assert!(journal.verify().await.unwrap().is_clean());
    });
}
