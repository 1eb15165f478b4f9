//! What only an actor with `DurableContext` can do: send to itself durably, and end by itself.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::time::Duration;

use actix::prelude::*;
use duroxide_actix::journal::{ActorId, DurableMessage, DurableState, Limits};
use duroxide_actix::{AskError, DurableActor, DurableContext, DurableSend, StartDurable};
use serde::{Deserialize, Serialize};

use crate::support::{Store, gone, run};

#[derive(Default)]
struct Counter {
    count: u64,
    /// Does not stop when it is told to.
    stubborn: bool,
    /// How often a handler that panics was tried.
    tries: u32,
    /// Its state cannot be stored.
    is_spoilt: bool,
    /// Notifies itself so often when it has started.
    notifies: u64,
}

impl Actor for Counter {
    type Context = DurableContext<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        if self.notifies == 0 {
            return;
        }
        for _ in 0..self.notifies {
            ctx.notify(Add(1));
        }
        ctx.run_interval(Duration::from_millis(1), |it, ctx| {
            if it.notifies > 0 {
                it.notifies -= 1;
                ctx.notify(Add(1));
            }
        });
    }
    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        if self.stubborn { Running::Continue } else { Running::Stop }
    }
}

impl DurableState for Counter {
    const ACTOR_TYPE: &'static str = "counter";
    type State = u64;
    fn snapshot(&self) -> impl Serialize {
        assert!(!self.is_spoilt, "on purpose");
        self.count
    }
    fn restore(&mut self, count: u64) {
        self.count = count;
        self.is_spoilt = false;
    }
}

impl DurableActor for Counter {
    type Messages =
        (Add, AddTwice, AddLater, AddThenPanic, TellId, Forever, LeaveBehind, AddAndStop, Spoil);
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Add(u64);

/// Adds now, and once more through a message to itself.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct AddTwice(u64);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct AddLater(u64);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct AddThenPanic(u64);

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Option<u64>")]
struct TellId;

/// Sends itself to itself.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Forever;

/// Leaves a future behind that notifies; then it panics so often. Or the future does.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u64")]
#[durable(name = "counter.leave_behind")]
struct LeaveBehind {
    panics: u32,
    then_panic: bool,
}

/// Sends itself a message, and has a state that cannot be stored, twice.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "counter.spoil")]
struct Spoil;

/// Waits, adds, and stops the actor in the wait.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u64")]
#[durable(name = "counter.add_and_stop")]
struct AddAndStop;

#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

/// Sends itself a durable message, though it is not durable.
#[derive(Message)]
#[rtype(result = "()")]
struct NotifyAdd(u64);

#[derive(Message)]
#[rtype(result = "u64")]
struct Count;

#[derive(Message)]
#[rtype(result = "()")]
struct AddInPassing(u64);

impl DurableMessage for Add {
    const NAME: &'static str = "counter.add";
}

impl DurableMessage for TellId {
    const NAME: &'static str = "counter.tell_id";
}

impl DurableMessage for Forever {
    const NAME: &'static str = "counter.forever";
}

impl Handler<TellId> for Counter {
    type Result = Option<u64>;
    fn handle(&mut self, _: TellId, ctx: &mut Self::Context) -> Option<u64> {
        ctx.message_id().map(|id| u64::try_from(id.as_u128()).unwrap())
    }
}

impl Handler<Forever> for Counter {
    type Result = ();
    fn handle(&mut self, forever: Forever, ctx: &mut Self::Context) {
        ctx.notify(forever);
    }
}

impl Handler<LeaveBehind> for Counter {
    type Result = u64;
    fn handle(&mut self, it: LeaveBehind, ctx: &mut Self::Context) -> u64 {
        let LeaveBehind { panics, then_panic } = it;
        let later = tokio::task::yield_now().into_actor(self);
        ctx.spawn(later.map(move |(), counter, ctx: &mut Self::Context| {
            ctx.notify(Add(100));
            if then_panic {
                counter.count += 1000;
                panic!("left behind, on purpose");
            }
        }));
        self.count += 1;
        self.tries += 1;
        assert!(self.tries > panics, "on purpose");
        self.count
    }
}

impl Handler<Spoil> for Counter {
    type Result = ();
    fn handle(&mut self, _: Spoil, ctx: &mut Self::Context) {
        ctx.notify(Add(1));
        self.tries += 1;
        self.is_spoilt = self.tries < 3;
    }
}

impl Handler<AddAndStop> for Counter {
    type Result = u64;
    fn handle(&mut self, _: AddAndStop, ctx: &mut Self::Context) -> u64 {
        let later = tokio::task::yield_now().into_actor(self);
        ctx.wait(later.map(|(), counter, ctx: &mut Self::Context| {
            counter.count += 1;
            ctx.stop();
        }));
        7
    }
}

impl Handler<NotifyAdd> for Counter {
    type Result = ();
    fn handle(&mut self, add: NotifyAdd, ctx: &mut Self::Context) {
        ctx.notify(Add(add.0));
    }
}

impl Handler<Stop> for Counter {
    type Result = ();
    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

impl DurableMessage for AddTwice {
    const NAME: &'static str = "counter.add_twice";
}

impl DurableMessage for AddLater {
    const NAME: &'static str = "counter.add_later";
}

impl DurableMessage for AddThenPanic {
    const NAME: &'static str = "counter.add_then_panic";
}

impl Handler<Add> for Counter {
    type Result = u64;
    fn handle(&mut self, add: Add, _: &mut Self::Context) -> u64 {
        self.count += add.0;
        self.count
    }
}

impl Handler<AddTwice> for Counter {
    type Result = u64;
    fn handle(&mut self, add: AddTwice, ctx: &mut Self::Context) -> u64 {
        self.count += add.0;
        ctx.notify(Add(add.0));
        self.count
    }
}

impl Handler<AddLater> for Counter {
    type Result = ();
    fn handle(&mut self, add: AddLater, ctx: &mut Self::Context) {
        ctx.notify_later(Add(add.0), Duration::from_millis(1));
    }
}

impl Handler<AddThenPanic> for Counter {
    type Result = ();
    fn handle(&mut self, add: AddThenPanic, ctx: &mut Self::Context) {
        ctx.notify(Add(add.0));
        panic!("on purpose");
    }
}

impl Handler<Count> for Counter {
    type Result = u64;
    fn handle(&mut self, _: Count, _: &mut Self::Context) -> u64 {
        self.count
    }
}

impl Handler<AddInPassing> for Counter {
    type Result = ();
    fn handle(&mut self, add: AddInPassing, _: &mut Self::Context) {
        self.count += add.0;
    }
}

fn actor() -> ActorId {
    ActorId::new("counter", "1")
}

#[test]
fn a_message_to_itself_is_in_the_commit_of_the_message_that_sent_it() {
    use futures::StreamExt;
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        assert_eq!(counter.send(AddTwice(5)).await.unwrap(), 5);
        // The reply is out, so both messages are durable.
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        assert_eq!(counter.send(Count).await.unwrap(), 10);
        let entries: Vec<_> = journal.history(&actor()).map(Result::unwrap).collect().await;
        let of = |name: &str| {
            let of = entries.iter().filter(|entry| entry.event.name() == name);
            of.map(|entry| entry.position).collect::<Vec<_>>()
        };
        let received = of("MessageReceived");
        assert_eq!(received.len(), 2);
        assert_eq!(received[0], received[1], "one commit");
    });
}

#[test]
fn what_a_panicking_handler_sent_to_itself_was_never_sent() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        assert!(counter.send(AddThenPanic(5)).await.is_err());
        assert_eq!(counter.send(Add(1)).await.unwrap(), 1);
    });
}

#[test]
fn a_late_message_to_itself_is_durable_when_its_time_has_come() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        counter.send(AddLater(5)).await.unwrap();
        while counter.send(Count).await.unwrap() == 0 {
            tokio::task::yield_now().await;
        }
        counter.send(Add(0)).await.unwrap();
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        assert_eq!(counter.send(Count).await.unwrap(), 5);
    });
}

#[test]
fn an_actor_ends_with_its_last_address_and_keeps_its_state() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        counter.do_send(Add(5));
        // Changed by a message that is not durable: captured at the end.
        counter.do_send(AddInPassing(10));
        drop(counter);
        gone(&journal, &actor()).await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        assert_eq!(counter.send(Count).await.unwrap(), 15);
    });
}

#[test]
fn a_message_to_itself_is_in_that_commit_whatever_the_length_of_a_run() {
    run(async {
        let store = Store::new();
        let limits = Limits { run_messages: 1, ..Limits::default() };
        let journal = store.open_with(limits).await.unwrap();
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        assert_eq!(counter.send(AddTwice(5)).await.unwrap(), 5);
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        while counter.send(Count).await.unwrap() != 10 {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_panic_behind_a_message_to_itself_does_not_send_it_twice() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        // One run: the first is handled again after the panic of the second.
        let first = counter.send(AddTwice(5));
        let second = counter.send(AddThenPanic(100));
        let (first, second) = futures::future::join(first, second).await;
        assert_eq!(first.unwrap(), 5);
        assert!(second.is_err());
        assert_eq!(counter.send(Add(1)).await.unwrap(), 11);
    });
}

#[test]
fn the_same_id_twice_at_once_is_handled_once() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        let both = futures::future::join(
            counter.send_with_id(7.into(), Add(5)),
            counter.send_with_id(7.into(), Add(5)),
        );
        let (first, second) = both.await;
        assert_eq!((first.unwrap(), second.unwrap()), (5, 5));
        assert_eq!(counter.send(Count).await.unwrap(), 5);
    });
}

#[test]
fn a_message_with_an_id_or_an_acknowledgement_must_be_durable() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        let told = counter.tell(AddInPassing(1)).await.unwrap_err();
        assert!(matches!(told, AskError::NotDurable { .. }) && !told.is_retryable(), "{told}");
        let asked = counter.send_with_id(1.into(), AddInPassing(1)).await.unwrap_err();
        assert!(matches!(asked, AskError::NotDurable { .. }), "{asked}");
        assert_eq!(counter.send(Count).await.unwrap(), 0, "not handled");
    });
}

#[test]
fn a_handler_knows_the_id_of_its_message() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        assert_eq!(counter.send_with_id(77.into(), TellId).await.unwrap(), Some(77));
        assert_eq!(counter.send(TellId).await.unwrap(), None);
    });
}

#[test]
fn an_actor_that_decides_to_go_on_goes_on() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let stubborn = Counter { stubborn: true, ..Counter::default() };
        let counter = stubborn.start_durable(&journal, "1").await.unwrap();
        counter.send(Stop).await.unwrap();
        assert_eq!(counter.send(Add(5)).await.unwrap(), 5);
        assert_eq!(counter.send(Count).await.unwrap(), 5);
    });
}

#[test]
fn a_loop_of_messages_to_itself_lets_others_through() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        counter.do_send(Forever);
        for _ in 0..3 {
            counter.send(Count).await.unwrap();
        }
        counter.send(Stop).await.unwrap();
        gone(&journal, &actor()).await;
    });
}

#[test]
fn a_panic_takes_back_nothing_that_others_sent_to_the_actor() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counter = Counter { notifies: 30, ..Counter::default() };
        let counter = counter.start_durable(&journal, "1").await.unwrap();
        // `started` and the interval send 30 each, and so does a handler that is not durable.
        for _ in 0..30 {
            counter.do_send(NotifyAdd(1));
            assert!(counter.send(AddThenPanic(1000)).await.is_err());
        }
        while counter.send(Count).await.unwrap() < 90 {
            counter.send(AddThenPanic(1000)).await.unwrap_err();
        }
        assert_eq!(counter.send(Count).await.unwrap(), 90);
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        assert_eq!(counter.send(Count).await.unwrap(), 90);
    });
}

#[test]
fn what_a_failed_attempt_left_behind_sends_nothing() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        let left = LeaveBehind { panics: 2, then_panic: false };
        assert_eq!(counter.send(left).await.unwrap(), 1);
        while counter.send(Count).await.unwrap() < 101 {
            tokio::task::yield_now().await;
        }
        assert_eq!(counter.send(Add(0)).await.unwrap(), 101, "one of three futures is left");
    });
}

#[test]
fn a_future_that_was_left_behind_and_panics_leaves_nothing_in_the_state() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        let left = LeaveBehind { panics: 0, then_panic: true };
        assert_eq!(counter.send(left).await.unwrap(), 1);
        for n in 1..20 {
            // The actor goes on.
            let count = counter.send(Add(0)).await.unwrap();
            assert!(count == 1 || count == 101, "{n}: {count}");
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_stop_in_a_wait_ends_the_message_and_the_actor() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        assert_eq!(counter.send(AddAndStop).await.unwrap(), 7);
        gone(&journal, &actor()).await;
        assert!(journal.pending().await.unwrap().is_empty());
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        assert_eq!(counter.send(Count).await.unwrap(), 1);
    });
}

#[test]
fn what_a_run_whose_state_cannot_be_stored_sent_to_itself_is_sent_once() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counter = Counter::default().start_durable(&journal, "1").await.unwrap();
        counter.send(Spoil).await.unwrap();
        assert_eq!(counter.send(Add(10)).await.unwrap(), 11);
    });
}
