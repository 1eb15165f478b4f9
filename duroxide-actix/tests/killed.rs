//! What a killed process leaves to the next. A test runs itself again as the process to be killed.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::cell::Cell;
use std::sync::Arc;

use actix::prelude::*;
use duroxide_actix::journal::{DurableMessage, DurableState, EventJournal};
use duroxide_actix::{
    DurableActixActor, DurableActor, DurableContext, DurableSend, RESUMED_AT_ONCE, StartDurable,
    VirtualActors,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::support::{Store, killed};

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u64")]
#[durable(name = "killed.add")]
struct Add;

/// Waits for the test before it adds.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u64")]
#[durable(name = "killed.add_late")]
struct AddLate;

/// Adds in a future that nobody waits for.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u64")]
#[durable(name = "killed.spawn_add")]
struct SpawnAdd;

#[derive(Message)]
#[rtype(result = "u64")]
struct Count;

macro_rules! counter {
    ($counter:ident, $context:ident, $name:literal) => {
        #[derive(DurableState)]
        #[durable(actor_type = $name)]
        struct $counter {
            count: u64,
            #[durable(skip)]
            gate: Arc<Semaphore>,
        }

        impl $counter {
            fn new(gate: &Arc<Semaphore>) -> Self {
                Self { count: 0, gate: gate.clone() }
            }
        }

        impl Actor for $counter {
            type Context = $context<Self>;
        }

        impl DurableActor for $counter {
            type Messages = (Add, AddLate, SpawnAdd);
        }

        impl Handler<Add> for $counter {
            type Result = u64;
            fn handle(&mut self, _: Add, _: &mut Self::Context) -> u64 {
                self.count += 1;
                self.count
            }
        }

        impl Handler<AddLate> for $counter {
            type Result = ResponseActFuture<Self, u64>;
            fn handle(&mut self, _: AddLate, _: &mut Self::Context) -> Self::Result {
                let gate = self.gate.clone();
                let open = async move { drop(gate.acquire().await) };
                Box::pin(open.into_actor(self).map(|(), it, _| {
                    it.count += 1;
                    it.count
                }))
            }
        }

        impl Handler<SpawnAdd> for $counter {
            type Result = u64;
            fn handle(&mut self, _: SpawnAdd, ctx: &mut Self::Context) -> u64 {
                let later = tokio::task::yield_now().into_actor(self);
                ctx.spawn(later.map(|(), it, _| it.count += 1));
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

counter!(Own, DurableContext, "own");
counter!(Wrapped, Context, "wrapped");

fn open() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(1))
}

fn shut() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(0))
}

/// More than are resumed at once, and more than fit into memory.
const ACTORS: u64 = 3 * RESUMED_AT_ONCE as u64;

async fn told(store: Store) {
    let journal = store.open().await;
    for id in 0..ACTORS {
        let counter = Own::new(&shut()).start_durable(&journal, id.to_string()).await.unwrap();
        for _ in 0..3 {
            counter.tell(AddLate).await.unwrap();
        }
    }
}

async fn nothing_is_pending(journal: &EventJournal) {
    while !journal.pending().await.unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn virtual_actors_resume_by_themselves() {
    killed("virtual_actors_resume_by_themselves", told, |store| async move {
        let journal = store.open().await;
        assert_eq!(journal.pending().await.unwrap().len() as u64, ACTORS);
        let counters = VirtualActors::new(&journal, 4, |_| Own::new(&open()));
        nothing_is_pending(&journal).await;
        assert!(counters.is_empty(), "they have pushed nobody out");
        for id in 0..ACTORS {
            let counter = counters.get(id.to_string()).await.unwrap();
            assert_eq!(counter.send(Count).await.unwrap(), 3);
        }
    });
}

#[test]
fn an_actor_that_is_asked_for_while_it_resumes_is_one() {
    killed("an_actor_that_is_asked_for_while_it_resumes_is_one", told, |store| async move {
        let journal = store.open().await;
        let counters = VirtualActors::new(&journal, 1000, |_| Own::new(&open()));
        let asks = (0..ACTORS).map(|id| {
            let counters = &counters;
            async move { counters.get(id.to_string()).await.unwrap().send(Add).await.unwrap() }
        });
        assert_eq!(futures::future::join_all(asks).await, vec![4; ACTORS as usize]);
        assert_eq!(counters.len() as u64, ACTORS);
    });
}

#[test]
fn actors_that_do_not_get_on_do_not_hold_up_the_others() {
    let name = "actors_that_do_not_get_on_do_not_hold_up_the_others";
    killed(name, told, |store| async move {
        let journal = store.open().await;
        // As many as are resumed at once never end, and one cannot be made.
        let made = Cell::new(0);
        let _counters = VirtualActors::new(&journal, 4, move |_| {
            made.set(made.get() + 1);
            Own::new(&if made.get() <= RESUMED_AT_ONCE { shut() } else { open() })
        });
        while journal.pending().await.unwrap().len() > RESUMED_AT_ONCE {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn a_future_that_was_left_behind_and_done_is_done() {
    let name = "a_future_that_was_left_behind_and_done_is_done";
    let life = |store: Store| async move {
        let journal = store.open().await;
        let own = Own::new(&open()).start_durable(&journal, "1").await.unwrap();
        let create = |_: &mut Context<Wrapped>| Wrapped::new(&open());
        let wrapped = DurableActixActor::start(&journal, "1", create).await.unwrap();
        own.send(SpawnAdd).await.unwrap();
        wrapped.send(SpawnAdd).await.unwrap();
        while own.send(Count).await.unwrap() + wrapped.send(Count).await.unwrap() < 2 {
            tokio::task::yield_now().await;
        }
        // Behind what was submitted; nobody else sends anything.
        journal.checkpoint().await.unwrap();
    };
    killed(name, life, |store| async move {
        let journal = store.open().await;
        let own = Own::new(&open()).start_durable(&journal, "1").await.unwrap();
        let create = |_: &mut Context<Wrapped>| Wrapped::new(&open());
        let wrapped = DurableActixActor::start(&journal, "1", create).await.unwrap();
        assert_eq!((own.send(Count).await.unwrap(), wrapped.send(Count).await.unwrap()), (1, 1));
    });
}
