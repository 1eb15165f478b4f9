//! Ways to a wrapped actor that go past its journal: its own address, and actix's registries.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::cell::RefCell;

use actix::prelude::*;
use duroxide_actix::journal::{DurableMessage, DurableState, EventJournal};
use duroxide_actix::{
    DurableActixActor, DurableActor, DurableContext, DurableEffects, InnerAddress, StartDurable,
};
use serde::{Deserialize, Serialize};

use crate::support::{Store, run};

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u64")]
#[durable(name = "past.add")]
struct Add(u64);

#[derive(Message)]
#[rtype(result = "u64")]
struct Count;

/// What a broker has of its subscribers.
#[derive(Clone)]
struct Given<A: Actor> {
    inner: Addr<A>,
    durable: Option<Recipient<Add>>,
}

macro_rules! counter {
    ($counter:ident, $context:ident, $given:ident, $inner:expr) => {
        thread_local! {
            /// By `create` or `service_started`, and by `started`.
            static $given: RefCell<Vec<Given<$counter>>> = const { RefCell::new(Vec::new()) };
        }

        #[derive(Default, DurableState)]
        #[durable(actor_type = "counter")]
        struct $counter {
            count: u64,
        }

        impl $counter {
            fn give(ctx: &mut $context<Self>) {
                let given = Given { inner: ctx.address(), durable: ctx.durable_recipient() };
                $given.with_borrow_mut(|all| all.push(given));
            }
        }

        impl Actor for $counter {
            type Context = $context<Self>;
            fn started(&mut self, ctx: &mut Self::Context) {
                Self::give(ctx);
            }
        }

        impl DurableActor for $counter {
            type Messages = (Add,);
            const INNER_ADDRESS: InnerAddress = $inner;
        }

        impl Handler<Add> for $counter {
            type Result = u64;
            fn handle(&mut self, add: Add, _: &mut Self::Context) -> u64 {
                self.count += add.0;
                self.count
            }
        }

        impl Handler<Count> for $counter {
            type Result = u64;
            fn handle(&mut self, _: Count, _: &mut Self::Context) -> u64 {
                self.count
            }
        }
    };
}

counter!(Own, DurableContext, OWN, InnerAddress::Refuse);
counter!(Wrapped, Context, WRAPPED, InnerAddress::Refuse);
counter!(Open, Context, OPEN, InnerAddress::Plain);

impl actix::Supervised for Wrapped {}
impl ArbiterService for Wrapped {}

/// Of the system, not of an arbiter.
#[derive(Default, DurableState)]
#[durable(actor_type = "service")]
struct Service {
    count: u64,
}

impl Actor for Service {
    type Context = Context<Self>;
}

impl actix::Supervised for Service {}
impl SystemService for Service {
    fn service_started(&mut self, ctx: &mut Self::Context) {
        assert!(DurableActixActor::address_in(ctx).is_some());
    }
}

impl DurableActor for Service {
    type Messages = (Add,);
}

impl Handler<Add> for Service {
    type Result = u64;
    fn handle(&mut self, add: Add, _: &mut Self::Context) -> u64 {
        self.count += add.0;
        self.count
    }
}

async fn wrapped(journal: &EventJournal) -> Addr<DurableActixActor<Wrapped>> {
    let create = |ctx: &mut Context<Wrapped>| {
        Wrapped::give(ctx);
        Wrapped::default()
    };
    DurableActixActor::start(journal, "1", create).await.unwrap()
}

async fn ten_are_there_after_a_crash(store: &Store, durable: Recipient<Add>) {
    for count in 1..=10 {
        assert_eq!(durable.send(Add(1)).await.unwrap(), count);
    }
    let journal = store.open().await;
    let counter = wrapped(&journal).await;
    assert_eq!(counter.send(Count).await.unwrap(), 10);
}

#[test]
fn the_durable_recipient_is_there_in_create_and_in_started() {
    run(async {
        let (store, other) = (Store::new(), Store::new());
        let (journal, elsewhere) = (store.open().await, other.open().await);
        let _counters = (wrapped(&journal).await, wrapped(&elsewhere).await);
        // Of each by `create` and by `started`.
        let given = WRAPPED.take();
        assert_eq!(given.len(), 4);
        ten_are_there_after_a_crash(&store, given[0].durable.clone().unwrap()).await;
        ten_are_there_after_a_crash(&other, given[3].durable.clone().unwrap()).await;
    });
}

#[test]
fn an_actor_with_a_durable_context_has_one_address() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let _counter = Own::default().start_durable(&journal, "1").await.unwrap();
        let given = OWN.take().remove(0);
        assert_eq!(given.inner.send(Add(4)).await.unwrap(), 4);
        assert_eq!(given.durable.unwrap().send(Add(1)).await.unwrap(), 5);
        let journal = store.open().await;
        let counter = Own::default().start_durable(&journal, "1").await.unwrap();
        assert_eq!(counter.send(Count).await.unwrap(), 5);
    });
}

#[test]
fn the_inner_address_refuses() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counter = wrapped(&journal).await;
        for Given { inner, .. } in WRAPPED.take() {
            for _ in 0..40 {
                assert_eq!(inner.send(Add(1)).await.unwrap_err(), MailboxError::Closed);
            }
            assert_eq!(inner.send(Count).await.unwrap_err(), MailboxError::Closed);
        }
        assert_eq!(counter.send(Count).await.unwrap(), 0, "nothing was handled");
    });
}

#[test]
fn an_inner_address_that_is_open_handles_as_actix_does() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let counter = DurableActixActor::start(&journal, "1", |_| Open::default()).await.unwrap();
        let inner = OPEN.take().remove(0).inner;
        assert_eq!(inner.send(Add(1)).await.unwrap(), 1);
        assert_eq!(counter.send(Count).await.unwrap(), 1);
        // What it changed is captured all the same.
        journal.checkpoint().await.unwrap();
        let journal = store.open().await;
        let counter = DurableActixActor::start(&journal, "1", |_| Open::default()).await.unwrap();
        assert_eq!(counter.send(Count).await.unwrap(), 1);
    });
}

#[test]
fn a_forgotten_registry_of_the_arbiter_starts_no_second_actor() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let _counter = wrapped(&journal).await;
        WRAPPED.take();
        let forgotten = Wrapped::from_registry();
        assert_eq!(forgotten.send(Add(1)).await.unwrap_err(), MailboxError::Closed);
        assert!(WRAPPED.take().is_empty(), "none was started");
        // Also when the durable one has gone.
        drop(_counter);
        assert_eq!(forgotten.send(Add(1)).await.unwrap_err(), MailboxError::Closed);
    });
}

#[test]
fn a_plain_actor_that_a_registry_has_started_does_not_keep_the_durable_one_from_starting() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let plain = Wrapped::from_registry();
        assert_eq!(plain.send(Add(1)).await.unwrap(), 1, "nobody knows of it yet");
        let given = WRAPPED.take().remove(0);
        assert!(given.durable.is_none(), "it is not durable");
        let counter = wrapped(&journal).await;
        assert_eq!(counter.send(Add(1)).await.unwrap(), 1);
    });
}

#[test]
fn a_forgotten_registry_of_the_system_starts_no_second_actor() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let service = DurableActixActor::<Service>::start_service(&journal, "1").await.unwrap();
        assert_eq!(service.send(Add(1)).await.unwrap(), 1);
        let forgotten = Service::from_registry();
        assert_eq!(forgotten.send(Add(1)).await.unwrap_err(), MailboxError::Closed);
    });
}
