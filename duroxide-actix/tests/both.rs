//! What holds for an actor with `DurableContext` and for a wrapped one alike.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::prelude::*;
use duroxide_actix::journal::{
    ActorId, DurableMessage, DurableState, JournalError, Limits, MessageId, Sequence,
};
use duroxide_actix::{
    AskError, DurableActixActor, DurableActor, DurableContext, DurableSend, StartDurable,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::support::{Store, gone, run};

/// What the handlers of a test see of the outside.
#[derive(Clone, Default)]
struct World {
    /// Lets slow handlers go on.
    gate: Arc<Notify>,
    /// A slow handler has begun.
    begun: Arc<Notify>,
    panics: Arc<AtomicUsize>,
    started: Arc<AtomicUsize>,
    stopped: Arc<AtomicUsize>,
    ticks: Arc<AtomicUsize>,
}

mod result {
    pub(crate) type Log = Vec<String>;
    pub(crate) type Fallible = Result<u64, String>;
}

macro_rules! messages {
    ($($name:ident($($field:ty),*) -> $result:literal, $stored:literal;)*) => {$(
        #[derive(Message, Serialize, Deserialize, Clone)]
        #[rtype(result = $result)]
        struct $name($($field),*);
        impl DurableMessage for $name {
            const NAME: &'static str = $stored;
        }
    )*};
}

messages! {
    Append(String) -> "usize", "log.append";
    Fallible(bool) -> "result::Fallible", "log.fallible";
    InMessageResult(String) -> "result::Log", "log.message_result";
    InFuture(String) -> "usize", "log.future";
    InActFuture(String) -> "usize", "log.act_future";
    Atomic(String) -> "usize", "log.atomic";
    InResponse(String, bool) -> "usize", "log.response";
    InActorResponse(String, bool) -> "usize", "log.actor_response";
    Slow(String) -> "usize", "log.slow";
    Panic(String, u32) -> "usize", "log.panic";
    PanicLater(String, u32) -> "usize", "log.panic_later";
}

/// Without lines it encodes and does not decode.
#[derive(Message, Serialize, Deserialize, Clone)]
#[rtype(result = "usize")]
struct Sparse {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<String>,
}

impl DurableMessage for Sparse {
    const NAME: &'static str = "log.sparse";
}

/// Not durable: a question.
#[derive(Message)]
#[rtype(result = "result::Log")]
struct Read;

#[derive(Message)]
#[rtype(result = "()")]
struct Stop;

/// The suite, for one kind of context.
macro_rules! suite {
    ($name:ident, $context:ident, $address:ty, $start:expr) => {
        mod $name {
            use super::*;

            struct Log {
                lines: Vec<String>,
                world: World,
            }

            impl Log {
                fn new(world: &World) -> Self {
                    Self { lines: Vec::new(), world: world.clone() }
                }

                fn push(&mut self, line: &str) -> usize {
                    self.lines.push(line.to_owned());
                    self.lines.len()
                }
            }

            impl DurableState for Log {
                const ACTOR_TYPE: &'static str = "log";
                type State = Vec<String>;
                fn snapshot(&self) -> impl Serialize {
                    &self.lines
                }
                fn restore(&mut self, lines: Vec<String>) {
                    self.lines = lines;
                }
            }

            impl DurableActor for Log {
                type Messages = (
                    Append,
                    Fallible,
                    InMessageResult,
                    InFuture,
                    InActFuture,
                    Atomic,
                    InResponse,
                    InActorResponse,
                    Slow,
                    Panic,
                    PanicLater,
                    Sparse,
                );
            }

            impl Actor for Log {
                type Context = $context<Self>;
                fn started(&mut self, ctx: &mut Self::Context) {
                    self.world.started.fetch_add(1, Ordering::SeqCst);
                    // `started` sees the recovered state.
                    if self.lines.len() == 3 {
                        self.world.ticks.store(333, Ordering::SeqCst);
                    }
                    ctx.set_mailbox_capacity(4);
                    ctx.run_interval(Duration::from_millis(1), |act, _| {
                        act.world.ticks.fetch_add(1, Ordering::SeqCst);
                    });
                }
                fn stopped(&mut self, _: &mut Self::Context) {
                    self.world.stopped.fetch_add(1, Ordering::SeqCst);
                }
            }

            impl Handler<Append> for Log {
                type Result = usize;
                fn handle(&mut self, message: Append, _: &mut Self::Context) -> usize {
                    self.push(&message.0)
                }
            }

            impl Handler<Sparse> for Log {
                type Result = usize;
                fn handle(&mut self, message: Sparse, _: &mut Self::Context) -> usize {
                    self.lines.extend(message.lines);
                    self.lines.len()
                }
            }

            impl Handler<Fallible> for Log {
                type Result = Result<u64, String>;
                fn handle(&mut self, message: Fallible, _: &mut Self::Context) -> Self::Result {
                    if message.0 { Ok(7) } else { Err("no".into()) }
                }
            }

            impl Handler<InMessageResult> for Log {
                type Result = MessageResult<InMessageResult>;
                fn handle(&mut self, it: InMessageResult, _: &mut Self::Context) -> Self::Result {
                    self.push(&it.0);
                    MessageResult(self.lines.clone())
                }
            }

            impl Handler<InFuture> for Log {
                type Result = ResponseFuture<usize>;
                fn handle(&mut self, message: InFuture, _: &mut Self::Context) -> Self::Result {
                    let length = self.push(&message.0);
                    Box::pin(async move {
                        tokio::task::yield_now().await;
                        length
                    })
                }
            }

            impl Handler<InActFuture> for Log {
                type Result = ResponseActFuture<Self, usize>;
                fn handle(&mut self, it: InActFuture, _: &mut Self::Context) -> Self::Result {
                    Box::pin(
                        tokio::task::yield_now()
                            .into_actor(self)
                            .map(move |(), act, _| act.push(&it.0)),
                    )
                }
            }

            impl Handler<Atomic> for Log {
                type Result = AtomicResponse<Self, usize>;
                fn handle(&mut self, it: Atomic, _: &mut Self::Context) -> Self::Result {
                    AtomicResponse::new(Box::pin(
                        tokio::task::yield_now()
                            .into_actor(self)
                            .map(move |(), act, _| act.push(&it.0)),
                    ))
                }
            }

            impl Handler<InResponse> for Log {
                type Result = Response<usize>;
                fn handle(&mut self, it: InResponse, _: &mut Self::Context) -> Self::Result {
                    let length = self.push(&it.0);
                    if it.1 {
                        Response::fut(async move {
                            tokio::task::yield_now().await;
                            length
                        })
                    } else {
                        Response::reply(length)
                    }
                }
            }

            impl Handler<InActorResponse> for Log {
                type Result = ActorResponse<Self, usize>;
                fn handle(&mut self, it: InActorResponse, _: &mut Self::Context) -> Self::Result {
                    if it.1 {
                        let later = tokio::task::yield_now().into_actor(self);
                        ActorResponse::r#async(later.map(move |(), act, _| act.push(&it.0)))
                    } else {
                        ActorResponse::reply(self.push(&it.0))
                    }
                }
            }

            impl Handler<Slow> for Log {
                type Result = ResponseActFuture<Self, usize>;
                fn handle(&mut self, it: Slow, _: &mut Self::Context) -> Self::Result {
                    let world = self.world.clone();
                    Box::pin(
                        async move {
                            world.begun.notify_one();
                            world.gate.notified().await;
                        }
                        .into_actor(self)
                        .map(move |(), act, _| act.push(&it.0)),
                    )
                }
            }

            impl Handler<Panic> for Log {
                type Result = usize;
                fn handle(&mut self, it: Panic, _: &mut Self::Context) -> usize {
                    self.push("half done");
                    let before = self.world.panics.fetch_add(1, Ordering::SeqCst);
                    assert!(before >= it.1 as usize, "on purpose");
                    self.push(&it.0)
                }
            }

            impl Handler<PanicLater> for Log {
                type Result = ResponseActFuture<Self, usize>;
                fn handle(&mut self, it: PanicLater, _: &mut Self::Context) -> Self::Result {
                    self.push("half done");
                    Box::pin(tokio::task::yield_now().into_actor(self).map(move |(), act, _| {
                        let before = act.world.panics.fetch_add(1, Ordering::SeqCst);
                        assert!(before >= it.1 as usize, "later, on purpose");
                        act.push(&it.0)
                    }))
                }
            }

            impl Handler<Read> for Log {
                type Result = Vec<String>;
                fn handle(&mut self, _: Read, _: &mut Self::Context) -> Vec<String> {
                    self.lines.clone()
                }
            }

            impl Handler<Stop> for Log {
                type Result = ();
                fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
                    self.push("stopping");
                    ctx.stop();
                }
            }

            async fn start(
                journal: &duroxide_actix::journal::EventJournal,
                world: &World,
            ) -> Result<$address, JournalError> {
                let world = world.clone();
                let start = $start;
                start(journal, world).await
            }

            fn actor() -> ActorId {
                ActorId::new("log", "1")
            }

            fn append(line: &str) -> Append {
                Append(line.into())
            }

            #[test]
            fn state_is_there_before_started_and_before_the_first_message() {
                run(async {
                    let store = Store::new();
                    let world = World::default();
                    let journal = store.open().await;
                    let log = start(&journal, &world).await.unwrap();
                    for line in ["a", "b", "c"] {
                        log.send(append(line)).await.unwrap();
                    }
                    let journal = store.open().await;
                    let world = World::default();
                    let log = start(&journal, &world).await.unwrap();
                    assert_eq!(log.send(Read).await.unwrap(), ["a", "b", "c"]);
                    assert!(world.ticks.load(Ordering::SeqCst) >= 333);
                    assert_eq!(log.send(append("d")).await.unwrap(), 4);
                });
            }

            #[test]
            fn every_response_type_works_and_is_durable() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let log = start(&journal, &World::default()).await.unwrap();
                    assert_eq!(log.send(Fallible(true)).await.unwrap(), Ok(7));
                    assert_eq!(log.send(Fallible(false)).await.unwrap(), Err("no".into()));
                    let lines = log.send(InMessageResult("1".into())).await.unwrap();
                    assert_eq!(lines, ["1"]);
                    assert_eq!(log.send(InFuture("2".into())).await.unwrap(), 2);
                    assert_eq!(log.send(InActFuture("3".into())).await.unwrap(), 3);
                    assert_eq!(log.send(Atomic("4".into())).await.unwrap(), 4);
                    assert_eq!(log.send(InResponse("5".into(), false)).await.unwrap(), 5);
                    assert_eq!(log.send(InResponse("6".into(), true)).await.unwrap(), 6);
                    assert_eq!(log.send(InActorResponse("7".into(), false)).await.unwrap(), 7);
                    assert_eq!(log.send(InActorResponse("8".into(), true)).await.unwrap(), 8);
                    let journal = store.open().await;
                    let log = start(&journal, &World::default()).await.unwrap();
                    let lines = log.send(Read).await.unwrap();
                    assert_eq!(lines, ["1", "2", "3", "4", "5", "6", "7", "8"]);
                });
            }

            #[test]
            fn durable_messages_keep_their_order_whatever_their_response_type() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let log = start(&journal, &World::default()).await.unwrap();
                    let mut expected = Vec::new();
                    for n in 0..50 {
                        let line = n.to_string();
                        match n % 4 {
                            0 => log.do_send(Append(line.clone())),
                            1 => log.do_send(InActFuture(line.clone())),
                            2 => log.do_send(Atomic(line.clone())),
                            _ => log.do_send(InFuture(line.clone())),
                        }
                        expected.push(line);
                    }
                    expected.push("end".into());
                    assert_eq!(log.send(append("end")).await.unwrap(), 51);
                    assert_eq!(log.send(Read).await.unwrap(), expected);
                });
            }

            #[test]
            fn the_same_id_gets_the_first_reply_also_after_a_restart() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let log = start(&journal, &World::default()).await.unwrap();
                    let id = MessageId::from_key("k");
                    assert_eq!(log.send_with_id(id, append("once")).await.unwrap(), 1);
                    assert_eq!(log.send(append("more")).await.unwrap(), 2);
                    assert_eq!(log.send_with_id(id, append("once")).await.unwrap(), 1);
                    let journal = store.open().await;
                    let log = start(&journal, &World::default()).await.unwrap();
                    assert_eq!(log.send_with_id(id, append("once")).await.unwrap(), 1);
                    log.tell_with_id(id, append("once")).await.unwrap();
                    assert_eq!(log.send(Read).await.unwrap(), ["once", "more"]);
                    assert_eq!(journal.stats().duplicates, 2);
                });
            }

            #[test]
            fn a_duplicate_of_a_message_in_progress_waits_for_the_same_reply() {
                run(async {
                    let store = Store::new();
                    let world = World::default();
                    let journal = store.open().await;
                    let log = start(&journal, &world).await.unwrap();
                    let id = MessageId::from(1);
                    let first = log.send_with_id(id, Slow("s".into()));
                    world.begun.notified().await;
                    let second = log.send_with_id(id, Slow("s".into()));
                    let both = futures::future::join(first, second);
                    let (both, ()) = futures::future::join(both, async {
                        // The second is in the mailbox; a question behind it says when it is seen.
                        log.send(Read).await.unwrap();
                        world.gate.notify_one();
                    })
                    .await;
                    assert_eq!((both.0.unwrap(), both.1.unwrap()), (1, 1));
                });
            }

            #[test]
            fn a_duplicate_that_is_told_has_its_receipt_before_the_first_is_done() {
                run(async {
                    let store = Store::new();
                    let world = World::default();
                    let journal = store.open().await;
                    let log = start(&journal, &world).await.unwrap();
                    let id = MessageId::from(1);
                    let first = log.send_with_id(id, Slow("s".into()));
                    world.begun.notified().await;
                    log.tell_with_id(id, Slow("s".into())).await.unwrap();
                    world.gate.notify_one();
                    assert_eq!(first.await.unwrap(), 1);
                });
            }

            #[test]
            fn a_duplicate_of_what_a_stopped_actor_does_not_handle_is_let_go() {
                run(async {
                    let store = Store::new();
                    let world = World::default();
                    let journal = store.open().await;
                    let log = start(&journal, &world).await.unwrap();
                    log.tell(Slow("s".into())).await.unwrap();
                    world.begun.notified().await;
                    let id = MessageId::from(1);
                    log.tell_with_id(id, append("behind")).await.unwrap();
                    let again = log.send_with_id(id, append("behind"));
                    let third = log.send_with_id(id, append("behind"));
                    log.send(Stop).await.unwrap();
                    for answer in [again.await, third.await] {
                        let error = answer.unwrap_err();
                        assert!(matches!(error, AskError::OutcomeUnknown { .. }), "{error:?}");
                    }
                    crate::support::gone(&journal, &actor()).await;
                    let world = World::default();
                    let log = start(&journal, &world).await.unwrap();
                    world.gate.notify_one();
                    let first = log.send_with_id(id, append("behind")).await.unwrap();
                    let read = log.send(Read).await.unwrap();
                    assert_eq!(read.iter().filter(|it| *it == "behind").count(), 1, "{first}");
                });
            }

            #[test]
            fn what_was_told_is_handled_after_a_restart_in_order() {
                run(async {
                    let store = Store::new();
                    let world = World::default();
                    let journal = store.open().await;
                    let log = start(&journal, &world).await.unwrap();
                    log.tell(append("a")).await.unwrap();
                    log.tell(Slow("slow".into())).await.unwrap();
                    log.tell(append("b")).await.unwrap();
                    log.tell(append("c")).await.unwrap();
                    let read = log.send(Read).await.unwrap();
                    assert_eq!(read, ["a"], "the slow one holds the durable ones back, not this");

                    let journal = store.open().await;
                    assert_eq!(journal.pending().await.unwrap(), [actor()]);
                    let world = World::default();
                    let log = start(&journal, &world).await.unwrap();
                    world.begun.notified().await;
                    world.gate.notify_one();
                    assert_eq!(log.send(append("d")).await.unwrap(), 5);
                    assert_eq!(log.send(Read).await.unwrap(), ["a", "slow", "b", "c", "d"]);
                });
            }

            #[test]
            fn a_dropped_send_does_not_cancel_what_was_accepted() {
                run(async {
                    let store = Store::new();
                    let world = World::default();
                    let journal = store.open().await;
                    let log = start(&journal, &world).await.unwrap();
                    let slow = log.send(Slow("slow".into()));
                    world.begun.notified().await;
                    drop(slow);
                    drop(log.send(append("dropped in the mailbox")));
                    world.gate.notify_one();
                    assert_eq!(log.send(append("last")).await.unwrap(), 3);
                });
            }

            #[test]
            fn a_panic_goes_back_and_tries_again() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let world = World::default();
                    let log = start(&journal, &world).await.unwrap();
                    let before = log.send(append("before"));
                    let panics = log.send(Panic("late success".into(), 2));
                    let after = log.send(append("after"));
                    assert_eq!(before.await.unwrap(), 1);
                    assert_eq!(panics.await.unwrap(), 3);
                    assert_eq!(after.await.unwrap(), 4);
                    let lines = log.send(Read).await.unwrap();
                    assert_eq!(lines, ["before", "half done", "late success", "after"]);
                    assert!(journal.dead_letters(&actor()).await.unwrap().is_empty());
                });
            }

            #[test]
            fn a_poison_message_becomes_a_dead_letter_and_the_actor_goes_on() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let world = World::default();
                    let log = start(&journal, &world).await.unwrap();
                    log.send(append("before")).await.unwrap();
                    let id = MessageId::from(5);
                    let error = log.send_with_id(id, Panic("never".into(), 99)).await.unwrap_err();
                    let AskError::DeadLetter { attempts: 3, error, .. } = error else {
                        panic!("{error}");
                    };
                    assert_eq!(&*error, "on purpose");
                    assert!(log.send(Panic("never".into(), 99)).await.is_err(), "without an id");
                    assert_eq!(log.send(append("after")).await.unwrap(), 2);
                    let letters = journal.dead_letters(&actor()).await.unwrap();
                    assert_eq!(letters.len(), 2);
                    assert_eq!(letters[0].kind, "log.panic");
                    // Asked again with its id, it is not tried again.
                    let tries = world.panics.load(Ordering::SeqCst);
                    let again = log.send_with_id(id, Panic("never".into(), 99)).await.unwrap_err();
                    assert!(matches!(again, AskError::DeadLetter { .. }), "{again}");
                    assert_eq!(world.panics.load(Ordering::SeqCst), tries);
                });
            }

            #[test]
            fn a_panic_in_a_handlers_future_counts_as_the_handlers() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let world = World::default();
                    let log = start(&journal, &world).await.unwrap();
                    log.send(append("before")).await.unwrap();
                    let late = log.send(PanicLater("success".into(), 1)).await.unwrap();
                    assert_eq!(late, 3);
                    world.panics.store(0, Ordering::SeqCst);
                    let id = MessageId::from(6);
                    let error =
                        log.send_with_id(id, PanicLater("no".into(), 99)).await.unwrap_err();
                    let AskError::DeadLetter { error, .. } = error else { panic!("{error}") };
                    assert_eq!(&*error, "later, on purpose");
                    assert_eq!(log.send(append("after")).await.unwrap(), 4);
                    let lines = log.send(Read).await.unwrap();
                    assert_eq!(lines, ["before", "half done", "success", "after"]);
                });
            }

            #[test]
            fn stop_keeps_the_state_and_says_so_in_the_history() {
                use futures::StreamExt;
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let world = World::default();
                    let log = start(&journal, &world).await.unwrap();
                    log.send(append("a")).await.unwrap();
                    log.send(Stop).await.unwrap();
                    gone(&journal, &actor()).await;
                    assert!(log.send(append("too late")).await.is_err());
                    assert_eq!(world.stopped.load(Ordering::SeqCst), 1);
                    let last = journal.history(&actor()).map(Result::unwrap).collect::<Vec<_>>();
                    assert_eq!(last.await.last().unwrap().event.name(), "ActorStopped");
                    let log = start(&journal, &world).await.unwrap();
                    assert_eq!(log.send(Read).await.unwrap(), ["a", "stopping"]);
                });
            }

            #[test]
            fn mailbox_capacity_is_honoured() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let world = World::default();
                    let log = start(&journal, &world).await.unwrap();
                    log.do_send(Slow("slow".into()));
                    world.begun.notified().await;
                    // Capacity is 4: four accepted behind the slow one, four in the mailbox, and
                    // one or two on their way between them.
                    let mut taken = 0;
                    let full = loop {
                        match log.try_send(append("x")) {
                            Ok(()) => taken += 1,
                            Err(SendError::Full(message)) => break message,
                            Err(error) => panic!("{error}"),
                        }
                        // Everything that can move does.
                        for _ in 0..20 {
                            tokio::task::yield_now().await;
                        }
                        assert!(taken < 300, "the mailbox has no end");
                    };
                    assert!((8..=12).contains(&taken), "{taken} taken with a capacity of 4");
                    assert_eq!(full.0, "x");
                    let waiting = log.send(full);
                    world.gate.notify_one();
                    assert_eq!(waiting.await.unwrap(), taken + 2, "nothing is lost");
                });
            }

            #[test]
            fn a_recipient_sends_durably() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let recipient: Recipient<Append> =
                        start(&journal, &World::default()).await.unwrap().recipient();
                    recipient.send(append("a")).await.unwrap();
                    recipient.do_send(append("b"));
                    recipient.try_send(append("c")).unwrap();
                    recipient.send(append("d")).await.unwrap();
                    let journal = store.open().await;
                    let log = start(&journal, &World::default()).await.unwrap();
                    assert_eq!(log.send(Read).await.unwrap(), ["a", "b", "c", "d"]);
                });
            }

            #[test]
            fn a_fenced_owner_releases_nothing_and_its_actors_stop() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let world = World::default();
                    let log = start(&journal, &world).await.unwrap();
                    log.send(append("a")).await.unwrap();
                    let newer = store.open().await;
                    let id = MessageId::from(3);
                    let error = log.send_with_id(id, append("lost")).await.unwrap_err();
                    let AskError::OutcomeUnknown { source: Some(source), .. } = &error else {
                        panic!("{error}");
                    };
                    assert!(source.is_fenced() && error.is_retryable(), "{source}");
                    // Not even a question is answered from what is not durable.
                    while log.connected() {
                        if let Ok(lines) = log.send(Read).await {
                            assert_eq!(lines, ["a", "lost"], "in the instant before the alarm");
                        }
                        tokio::task::yield_now().await;
                    }
                    let log = start(&newer, &World::default()).await.unwrap();
                    assert_eq!(log.send_with_id(id, append("lost")).await.unwrap(), 2);
                    assert_eq!(log.send(Read).await.unwrap(), ["a", "lost"]);
                });
            }

            #[test]
            fn too_large_a_message_is_refused_with_a_typed_error() {
                run(async {
                    let store = Store::new();
                    let limits = Limits { message_bytes: 20, ..Limits::default() };
                    let journal = store.open_with(limits).await.unwrap();
                    let log = start(&journal, &World::default()).await.unwrap();
                    let id = MessageId::from(1);
                    let error = log.send_with_id(id, append(&"x".repeat(30))).await.unwrap_err();
                    let AskError::NotAccepted { source: Some(source), .. } = &error else {
                        panic!("{error}");
                    };
                    assert!(matches!(**source, JournalError::TooLarge { limit: 20, .. }));
                    assert_eq!(log.send(append("small")).await.unwrap(), 1);
                });
            }

            #[test]
            fn what_is_refused_for_its_size_says_nothing_of_what_was_accepted_under_its_id() {
                run(async {
                    let store = Store::new();
                    let (id, text) = (MessageId::from(1), "x".repeat(30));
                    for (message_bytes, accepted) in [(1000, true), (20, false), (1000, true)] {
                        let limits = Limits { message_bytes, ..Limits::default() };
                        let journal = store.open_with(limits).await.unwrap();
                        let log = start(&journal, &World::default()).await.unwrap();
                        match log.send_with_id(id, append(&text)).await {
                            Ok(length) => assert!(accepted && length == 1, "handled once"),
                            Err(AskError::NotAccepted { .. }) => assert!(!accepted),
                            Err(error) => panic!("{error}"),
                        }
                        assert_eq!(log.send(Read).await.unwrap(), std::slice::from_ref(&text));
                    }
                });
            }

            #[test]
            fn an_unknown_message_in_the_journal_stops_the_start_and_loses_nothing() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let world = World::default();
                    let log = start(&journal, &world).await.unwrap();
                    log.tell(Slow("slow".into())).await.unwrap();

                    let journal = store.open().await;
                    let error = Other::default().start_durable(&journal, "1").await.unwrap_err();
                    let text = error.to_string();
                    assert!(matches!(error, JournalError::UnknownMessage { .. }), "{text}");
                    assert!(text.contains("log/1") && text.contains("log.slow"), "{text}");
                    assert!(text.contains("shard 0, position"), "{text}");

                    // Another world: in the old one the fenced actor still waits at the gate.
                    let world = World::default();
                    let log = start(&journal, &world).await.unwrap();
                    world.gate.notify_one();
                    assert_eq!(log.send(append("after")).await.unwrap(), 2);
                });
            }

            #[test]
            fn it_is_stopped_by_hand_and_goes_on_when_it_is_released() {
                for busy in [false, true] {
                    run(async move {
                        let store = Store::new();
                        let journal = store.open().await;
                        let world = World::default();
                        let log = start(&journal, &world).await.unwrap();
                        let name = ActorId::new("log", "1");
                        assert_eq!(log.send(append("a")).await.unwrap(), 1);
                        if busy {
                            log.tell(Slow("slow".into())).await.unwrap();
                            log.tell(append("b")).await.unwrap();
                        }
                        let repair = journal.repair("ada", "a test").unwrap();
                        repair.stop(&name).await.unwrap();
                        log.send(append("lost")).await.unwrap_err();
                        let held = start(&journal, &World::default()).await.unwrap_err();
                        assert!(matches!(held, JournalError::Held { .. }), "{held}");
                        if busy {
                            repair.give_up(&name, Sequence(2)).await.unwrap();
                        }
                        let journal = store.open().await;
                        start(&journal, &World::default()).await.unwrap_err();
                        journal.repair("ada", "another").unwrap().release(&name).await.unwrap();
                        let log = start(&journal, &World::default()).await.unwrap();
                        let expected: &[&str] = if busy { &["a", "b", "c"] } else { &["a", "c"] };
                        assert_eq!(log.send(append("c")).await.unwrap(), expected.len());
                        assert_eq!(log.send(Read).await.unwrap(), expected);
                    });
                }
            }

            #[test]
            fn a_message_that_does_not_decode_becomes_a_dead_letter_and_does_not_lock_its_actor() {
                run(async {
                    let store = Store::new();
                    let journal = store.open_unchecked().await;
                    let world = World::default();
                    let log = start(&journal, &world).await.unwrap();
                    let sparse = |lines: &[&str]| Sparse {
                        lines: lines.iter().map(|&line| line.to_owned()).collect(),
                    };
                    log.tell(Slow("slow".into())).await.unwrap();
                    log.tell(append("a")).await.unwrap();
                    log.tell(sparse(&[])).await.unwrap();
                    log.tell(sparse(&["b"])).await.unwrap();

                    let journal = store.open_unchecked().await;
                    let world = World::default();
                    world.gate.notify_one();
                    let log = start(&journal, &world).await.unwrap();
                    assert_eq!(log.send(append("c")).await.unwrap(), 4);
                    assert_eq!(log.send(Read).await.unwrap(), ["slow", "a", "b", "c"]);
                    let letters = journal.dead_letters(&ActorId::new("log", "1")).await.unwrap();
                    let [letter] = &letters[..] else { panic!("{letters:?}") };
                    assert_eq!((letter.sequence.0, letter.attempts), (3, 1));
                    let text = &letter.error;
                    assert!(text.contains("log/1") && text.contains("message 3"), "{text}");
                    assert!(text.contains("log.sparse") && text.contains("missing"), "{text}");
                });
            }

            #[test]
            fn a_state_that_does_not_decode_stops_the_start_and_loses_nothing() {
                run(async {
                    let store = Store::new();
                    let journal = store.open_unchecked().await;
                    let log = start(&journal, &World::default()).await.unwrap();
                    log.send(append("a")).await.unwrap();
                    let journal = store.open_unchecked().await;
                    let error = Other::default().start_durable(&journal, "1").await.unwrap_err();
                    assert!(matches!(error, JournalError::Decode { .. }), "{error}");
                    assert!(error.to_string().contains("log/1"), "{error}");
                    let log = start(&journal, &World::default()).await.unwrap();
                    assert_eq!(log.send(Read).await.unwrap(), ["a"]);
                });
            }
        }
    };
}

/// Another actor under the same name, as after a careless upgrade.
#[derive(Default)]
struct Other {
    number: u64,
}

impl Actor for Other {
    type Context = DurableContext<Self>;
}

impl DurableState for Other {
    const ACTOR_TYPE: &'static str = "log";
    type State = u64;
    fn snapshot(&self) -> impl Serialize {
        self.number
    }
    fn restore(&mut self, number: u64) {
        self.number = number;
    }
}

impl DurableActor for Other {
    type Messages = (Append,);
}

impl Handler<Append> for Other {
    type Result = usize;
    fn handle(&mut self, _: Append, _: &mut Self::Context) -> usize {
        0
    }
}

suite!(context, DurableContext, Addr<Log>, |journal, world: World| async move {
    Log::new(&world).start_durable(journal, "1").await
});

suite!(wrapper, Context, Addr<DurableActixActor<Log>>, |journal, world: World| async move {
    DurableActixActor::start(journal, "1", move |_| Log::new(&world)).await
});
