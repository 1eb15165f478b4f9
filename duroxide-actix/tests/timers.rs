//! Timers without a cluster and without a runtime of duroxide. A test runs itself again as the process to be
//! killed.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use actix::prelude::*;
use duroxide_actix::journal::{
    ActorEvent, ActorId, DurableMessage, DurableState, EventJournal, MessageKey, Missed,
};
use duroxide_actix::{
    DurableActixActor, DurableActor, DurableContext, DurableEffects, StartDurable, VirtualActors,
};
use futures::TryStreamExt;
use serde::{Deserialize, Serialize};
use support::{Store, run};

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

/// Says that the process may be killed.
const READY: &str = "ready to be killed";
const STORE: &str = "KILLED_STORE";

#[test]
fn what_a_killed_process_has_set_fires_once_in_the_next() {
    const ACTORS: u64 = 20;
    if let Ok(store) = std::env::var(STORE) {
        return run(async {
            let journal = Store::of(&store).open().await;
            let clocks = VirtualActors::new(&journal, 5, |_| Own::default());
            for id in 0..ACTORS {
                let clock = clocks.get(id.to_string()).await.unwrap();
                clock.send(Set(vec![0, 10, 200, 3_600_000])).await.unwrap();
                clock.send(SetEvery(40)).await.unwrap();
            }
            println!("\n{READY}");
            std::future::pending::<()>().await;
        });
    }
    let store = Store::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_a_killed_process_has_set_fires_once_in_the_next", "--nocapture"])
        .env(STORE, store.database())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    let is_ready = said.lines().any(|line| line.unwrap().ends_with(READY));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_ready, "the process ended before it was killed");
    run(async {
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
