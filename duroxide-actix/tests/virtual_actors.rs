//! Virtual actors: started when they are needed, passivated when there are too many.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use actix::prelude::*;
use duroxide_actix::journal::{ActorId, DurableMessage, DurableState, JournalError};
use duroxide_actix::{DurableActor, DurableContext, VirtualActors};
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use support::{Store, gone, run};

#[derive(Default)]
struct Counter {
    count: u64,
}

impl Actor for Counter {
    type Context = DurableContext<Self>;
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Add(u64);

impl DurableMessage for Add {
    const NAME: &'static str = "add";
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Stop;

impl DurableMessage for Stop {
    const NAME: &'static str = "stop";
}

impl DurableState for Counter {
    const ACTOR_TYPE: &'static str = "counter";
    type State = u64;
    fn snapshot(&self) -> impl Serialize {
        self.count
    }
    fn restore(&mut self, count: u64) {
        self.count = count;
    }
}

impl DurableActor for Counter {
    type Messages = (Add, Stop);
}

impl Handler<Add> for Counter {
    type Result = u64;
    fn handle(&mut self, add: Add, _: &mut Self::Context) -> u64 {
        self.count += add.0;
        self.count
    }
}

impl Handler<Stop> for Counter {
    type Result = ();
    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

#[test]
fn any_number_of_actors_exists_and_as_many_as_said_are_in_memory() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counters = VirtualActors::new(&journal, 3, |_| Counter::default());
        for round in 1..=3 {
            for id in 0..20_u64 {
                let counter = counters.get(id.to_string()).await.unwrap();
                assert_eq!(counter.send(Add(id)).await.unwrap(), id * round);
                drop(counter);
                assert!(counters.len() <= 3, "{} in memory", counters.len());
            }
        }
        // Those that were passivated have really gone: somebody else may have them.
        gone(&journal, &ActorId::new("counter", "0")).await;
    });
}

#[test]
fn mail_that_is_left_at_passivation_is_handled() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counters = VirtualActors::new(&journal, 1, |_| Counter::default());
        let a = counters.get("a").await.unwrap();
        let replies: Vec<_> = (0..10).map(|_| a.send(Add(1))).collect();
        drop(a);
        counters.get("b").await.unwrap();
        let replies = futures::future::join_all(replies).await;
        assert_eq!(*replies.last().unwrap().as_ref().unwrap(), 10);
        assert_eq!(counters.get("a").await.unwrap().send(Add(0)).await.unwrap(), 10);
    });
}

#[test]
fn an_address_that_somebody_keeps_keeps_its_actor() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counters = VirtualActors::new(&journal, 1, |_| Counter::default());
        let kept = counters.get("a").await.unwrap();
        for id in ["b", "c", "d"] {
            counters.get(id).await.unwrap();
        }
        let again = counters.get("a").await.unwrap();
        assert_eq!(kept.send(Add(1)).await.unwrap(), 1);
        assert_eq!(again.send(Add(1)).await.unwrap(), 2);
        assert_eq!(kept, again, "not a second one");
    });
}

#[test]
fn all_who_ask_at_once_get_the_same_actor() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counters = VirtualActors::new(&journal, 8, |_| Counter::default());
        let asks =
            (0..50).map(|_| async { counters.get("a").await.unwrap().send(Add(1)).await.unwrap() });
        let mut replies = futures::future::join_all(asks).await;
        replies.sort_unstable();
        assert_eq!(replies, (1..=50).collect::<Vec<_>>());
    });
}

#[test]
fn an_actor_that_stopped_is_started_again() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counters = VirtualActors::new(&journal, 8, |_| Counter::default());
        let counter = counters.get("a").await.unwrap();
        assert_eq!(counter.send(Add(5)).await.unwrap(), 5);
        counter.send(Stop).await.unwrap();
        while counter.connected() {
            tokio::task::yield_now().await;
        }
        drop(counter);
        assert_eq!(counters.get("a").await.unwrap().send(Add(1)).await.unwrap(), 6);
    });
}

#[test]
fn a_start_that_fails_is_tried_again() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counters = VirtualActors::new(&journal, 8, |_| Counter::default());
        let elsewhere = VirtualActors::new(&journal, 8, |_| Counter::default());
        let counter = elsewhere.get("a").await.unwrap();
        let error = counters.get("a").await.unwrap_err();
        assert!(matches!(*error, JournalError::AlreadyActive { .. }), "{error}");
        drop((counter, elsewhere));
        gone(&journal, &ActorId::new("counter", "a")).await;
        assert_eq!(counters.get("a").await.unwrap().send(Add(1)).await.unwrap(), 1);
    });
}

#[test]
fn a_start_that_nobody_waits_for_keeps_nothing() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counters = VirtualActors::new(&journal, 8, |_| Counter::default());
        assert!(counters.get("a").now_or_never().is_none(), "it has to be loaded");
        drop(counters);
        gone(&journal, &ActorId::new("counter", "a")).await;
    });
}

#[test]
fn a_start_that_its_first_caller_gave_up_is_taken_up_by_the_next() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counters = VirtualActors::new(&journal, 8, |_| Counter::default());
        assert!(counters.get("a").now_or_never().is_none(), "it has to be loaded");
        assert_eq!(counters.get("a").await.unwrap().send(Add(1)).await.unwrap(), 1);
    });
}
