//! A journal that has stopped because its store was away is opened again by itself, in both contexts.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use duroxide_actix::journal::test_util::{Fault, FaultyActorProvider, MemoryActorProvider};
use duroxide_actix::journal::{
    DurableMessage, DurableState, EventJournal, JournalError, Limits, MessageId,
};
use duroxide_actix::{
    AskError, DurableActixActor, DurableActor, DurableContext, DurableSend, StartDurable,
};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::support::run;

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "Vec<u64>")]
#[durable(name = "reopen.note")]
struct Note(u64);

/// Is noted when the gate is open.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "Vec<u64>")]
#[durable(name = "reopen.later")]
struct Later(u64);

/// Is not durable.
#[derive(Message)]
#[rtype(result = "Vec<u64>")]
struct Show;

/// What the test sees of the world.
#[derive(Clone, Default)]
struct World {
    started: Rc<Cell<u32>>,
    restored: Rc<Cell<u32>>,
    entered: Rc<Notify>,
    gate: Rc<Notify>,
    is_open: Rc<Cell<bool>>,
}

macro_rules! log {
    ($log:ident, $context:ident) => {
        #[derive(Clone)]
        struct $log {
            numbers: Vec<u64>,
            world: World,
        }

        impl Actor for $log {
            type Context = $context<Self>;
            fn started(&mut self, _: &mut Self::Context) {
                self.world.started.set(self.world.started.get() + 1);
            }
        }

        impl DurableState for $log {
            const ACTOR_TYPE: &'static str = "log";
            type State = Vec<u64>;
            fn snapshot(&self) -> impl Serialize {
                &self.numbers
            }
            fn restore(&mut self, numbers: Vec<u64>) {
                self.numbers = numbers;
            }
            fn restored(&mut self) {
                self.world.restored.set(self.world.restored.get() + 1);
            }
        }

        impl DurableActor for $log {
            type Messages = (Note, Later);
        }

        impl Handler<Note> for $log {
            type Result = Vec<u64>;
            fn handle(&mut self, note: Note, _: &mut Self::Context) -> Vec<u64> {
                self.numbers.push(note.0);
                self.numbers.clone()
            }
        }

        impl Handler<Later> for $log {
            type Result = ResponseActFuture<Self, Vec<u64>>;
            fn handle(&mut self, later: Later, _: &mut Self::Context) -> Self::Result {
                let world = self.world.clone();
                let passed = async move {
                    world.entered.notify_one();
                    if !world.is_open.get() {
                        world.gate.notified().await;
                    }
                };
                Box::pin(passed.into_actor(self).map(move |(), act: &mut Self, _| {
                    act.numbers.push(later.0);
                    act.numbers.clone()
                }))
            }
        }

        impl Handler<Show> for $log {
            type Result = Vec<u64>;
            fn handle(&mut self, _: Show, _: &mut Self::Context) -> Vec<u64> {
                self.numbers.clone()
            }
        }
    };
}

log!(Own, DurableContext);
log!(Wrapped, Context);

struct Stores {
    disk: Arc<MemoryActorProvider>,
    store: Arc<FaultyActorProvider>,
    journal: EventJournal,
}

impl Stores {
    /// A store is away after two attempts.
    async fn new() -> Self {
        let disk = MemoryActorProvider::new();
        let store = FaultyActorProvider::new(disk.clone());
        let limits = Limits { commit_retry: Duration::ZERO, ..Limits::default() };
        let journal = EventJournal::builder().limits(limits).open_on(store.clone()).await.unwrap();
        Self { disk, store, journal }
    }
}

async fn own(journal: &EventJournal, world: &World) -> Addr<Own> {
    let own = Own { numbers: vec![0], world: world.clone() };
    own.start_durable(journal, "1").await.unwrap()
}

async fn wrapped(journal: &EventJournal, world: &World) -> Addr<DurableActixActor<Wrapped>> {
    let wrapped = Wrapped { numbers: vec![0], world: world.clone() };
    DurableActixActor::start(journal, "1", move |_| wrapped.clone()).await.unwrap()
}

fn id(number: u64) -> MessageId {
    MessageId::from(u128::from(number))
}

fn is_unknown<T: std::fmt::Debug>(answer: &Result<T, AskError>) -> bool {
    matches!(answer, Err(error @ AskError::OutcomeUnknown { .. }) if error.is_retryable())
}

async fn goes_on<A>(address: Addr<A>, stores: Stores, world: World)
where
    A: Actor<Context = DurableContext<A>> + Handler<Note> + Handler<Later> + Handler<Show>,
{
    let Stores { store, journal, .. } = stores;
    // Nothing of it is durable yet.
    store.inject([Fault::LostBefore, Fault::LostBefore]);
    let unknown = address.send_with_id(id(1), Note(1)).await;
    assert!(is_unknown(&unknown), "{unknown:?}");
    assert_eq!(address.send_with_id(id(1), Note(1)).await.unwrap(), [0, 1]);

    let slow = address.send_with_id(id(2), Later(2));
    let outage = async {
        world.entered.notified().await;
        address.tell_with_id(id(3), Note(3)).await.unwrap();
        store.cut_off();
        let told = address.tell_with_id(id(4), Note(4)).await;
        assert!(is_unknown(&told), "{told:?}");
        // Sent while the store is away: they wait.
        let waits = address.send_with_id(id(5), Note(5));
        let shows = address.send(Show);
        let healed = async {
            assert!(journal.stopped().is_none(), "not for good");
            let away = journal.checkpoint().await.unwrap_err();
            assert!(matches!(away, JournalError::Stopped { .. }) && away.is_retryable(), "{away}");
            world.is_open.set(true);
            store.heal();
        };
        let (waited, shown, ()) = tokio::join!(waits, shows, healed);
        assert_eq!(waited.unwrap(), [0, 1, 2, 3, 5]);
        let shown = shown.unwrap();
        // It is not durable: it may come between any two that are, and never before what is restored.
        assert!([0, 1, 2, 3, 5].starts_with(&shown) && shown.len() >= 2, "{shown:?}");
    };
    let (slow, ()) = tokio::join!(slow, outage);
    assert!(is_unknown(&slow), "{slow:?}");
    assert_eq!(address.send_with_id(id(2), Later(2)).await.unwrap(), [0, 1, 2]);
    assert_eq!(address.send_with_id(id(4), Note(4)).await.unwrap(), [0, 1, 2, 3, 5, 4]);
    assert_eq!(journal.stats().reopenings, 2);
    assert_eq!(world.restored.get(), 3, "once as it started, and twice again");
    assert!(journal.verify().await.unwrap().is_clean());
}

#[test]
fn an_actor_goes_on_from_what_is_durable_with_the_same_address() {
    run(async {
        let (stores, world) = (Stores::new().await, World::default());
        goes_on(own(&stores.journal, &world).await, stores, world.clone()).await;
        assert_eq!(world.started.get(), 1);
    });
}

#[test]
fn a_wrapped_actor_goes_on_as_a_new_one_behind_the_same_address() {
    run(async {
        let (stores, world) = (Stores::new().await, World::default());
        goes_on(wrapped(&stores.journal, &world).await, stores, world.clone()).await;
        assert_eq!(world.started.get(), 3, "it is made anew");
    });
}

/// Many callers, who ask again, and whatever comes.
async fn through_outages<A>(address: Addr<A>, stores: Stores)
where
    A: Actor<Context = DurableContext<A>> + Handler<Note>,
{
    let (mut number, mut random) = (0, 7_u64);
    while number < 100 {
        let faults = (0..number % 6).map(|_| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if random >> 63 == 0 { Fault::LostBefore } else { Fault::LostAfter }
        });
        stores.store.inject(faults);
        let until = number + 11;
        let address = &address;
        let asks = (number + 1..=until).map(|number| async move {
            loop {
                match address.send_with_id(id(number), Note(number)).await {
                    Ok(all) => break assert!(all.contains(&number)),
                    Err(error) => assert!(error.is_retryable(), "{error:?}"),
                }
            }
        });
        join_all(asks).await;
        number = until;
    }
    stores.store.heal();
    let mut all = address.send_with_id(id(1000), Note(1000)).await.unwrap();
    all.sort_unstable();
    assert_eq!(all, (0..=number).chain([1000]).collect::<Vec<_>>());
    assert!(stores.journal.stats().reopenings > 0);
}

#[test]
fn through_outages_in_any_order_nothing_is_lost_or_done_twice() {
    run(async {
        let (stores, world) = (Stores::new().await, World::default());
        through_outages(own(&stores.journal, &world).await, stores).await;
        let stores = Stores::new().await;
        through_outages(wrapped(&stores.journal, &world).await, stores).await;
    });
}

async fn is_replaced<A>(address: Addr<A>, stores: Stores)
where
    A: Actor<Context = DurableContext<A>> + Handler<Note>,
{
    assert_eq!(address.send(Note(1)).await.unwrap(), [0, 1]);
    stores.store.cut_off();
    assert!(is_unknown(&address.send_with_id(id(2), Note(2)).await));
    let newer = EventJournal::builder().open_on(stores.disk.clone()).await.unwrap();
    stores.store.heal();
    let refused = address.send_with_id(id(3), Note(3)).await.unwrap_err();
    assert!(matches!(refused, AskError::NotAccepted { .. }), "{refused:?}");
    assert!(stores.journal.stopped().unwrap().is_fenced());
    while address.connected() {
        tokio::task::yield_now().await;
    }
    newer.checkpoint().await.unwrap();
    assert!(newer.stopped().is_none());
}

#[test]
fn who_was_replaced_while_the_store_was_away_does_not_take_it_back() {
    run(async {
        let (stores, world) = (Stores::new().await, World::default());
        is_replaced(own(&stores.journal, &world).await, stores).await;
        let stores = Stores::new().await;
        is_replaced(wrapped(&stores.journal, &world).await, stores).await;
    });
}
