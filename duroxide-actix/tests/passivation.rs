//! An actor that leaves memory while it has more to do than its mailbox holds.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide_actix::journal::cluster::Cluster;
use duroxide_actix::journal::{DurableMessage, DurableState};
use duroxide_actix::{ActixHost, ClusterActors, DurableActor, DurableContext, WrappedHost};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u64")]
#[durable(name = "counter.add")]
struct Add;

/// Is not done before the test says so.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u64")]
#[durable(name = "counter.add-slowly")]
struct AddSlowly;

macro_rules! counter {
    ($name:ident, $context:ident, $actor_type:literal) => {
        #[derive(DurableState)]
        #[durable(actor_type = $actor_type)]
        struct $name {
            count: u64,
            #[durable(skip)]
            gate: Arc<Semaphore>,
        }

        impl Actor for $name {
            type Context = $context<Self>;
        }

        impl DurableActor for $name {
            type Messages = (Add, AddSlowly);
        }

        impl Handler<Add> for $name {
            type Result = u64;
            fn handle(&mut self, _: Add, _: &mut Self::Context) -> u64 {
                self.count += 1;
                self.count
            }
        }

        impl Handler<AddSlowly> for $name {
            type Result = ResponseActFuture<Self, u64>;
            fn handle(&mut self, _: AddSlowly, _: &mut Self::Context) -> Self::Result {
                let gate = self.gate.clone();
                let wait = async move { drop(gate.acquire().await) };
                Box::pin(wait.into_actor(self).map(|(), it, _| {
                    it.count += 1;
                    it.count
                }))
            }
        }
    };
}

counter!(Own, DurableContext, "own");
counter!(Wrapped, Context, "wrapped");

/// More than fit into a mailbox, fewer than are on their way to it.
const MESSAGES: u64 = 40;

async fn everything_is_handled<A>(cluster: Cluster, gate: Arc<Semaphore>)
where
    A: DurableActor + Handler<Add> + Handler<AddSlowly>,
{
    let counter = cluster.actor::<A>("busy");
    let slow = tokio::task::spawn_local({
        let counter = counter.clone();
        async move { counter.ask(AddSlowly).await }
    });
    let quick =
        tokio::task::spawn_local(
            async move { join_all((0..MESSAGES).map(|_| counter.ask(Add))).await },
        );
    // There is room for one: the busy one has to leave when it is done.
    let other = cluster.actor::<A>("other");
    for count in 1..=5 {
        assert_eq!(other.ask(Add).await.unwrap(), count);
    }
    gate.add_permits(1);
    let all = async {
        assert_eq!(slow.await.unwrap().unwrap(), 1);
        for (count, reply) in (2..).zip(quick.await.unwrap()) {
            assert_eq!(reply.unwrap(), count);
        }
        // And it has left: it starts again.
        assert_eq!(cluster.actor::<A>("busy").ask(Add).await.unwrap(), MESSAGES + 2);
    };
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("every reply comes");
    cluster.leave().await.unwrap();
}

async fn provider() -> Arc<SqliteProvider> {
    Arc::new(SqliteProvider::new_in_memory().await.unwrap())
}

#[actix::test]
async fn a_busy_actor_with_a_durable_context_handles_everything_before_it_leaves() {
    let gate = Arc::new(Semaphore::new(0));
    let of = gate.clone();
    let cluster = Cluster::builder("passivation", 1)
        .active_actors(1.try_into().unwrap())
        .host(ActixHost::new(move |_| Own { count: 0, gate: of.clone() }))
        .join(provider().await)
        .await
        .unwrap();
    everything_is_handled::<Own>(cluster, gate).await;
}

#[actix::test]
async fn a_busy_unmodified_actor_handles_everything_before_it_leaves() {
    let gate = Arc::new(Semaphore::new(0));
    let of = gate.clone();
    let cluster = Cluster::builder("passivation", 1)
        .active_actors(1.try_into().unwrap())
        .host(WrappedHost::new(move |_| Wrapped { count: 0, gate: of.clone() }))
        .join(provider().await)
        .await
        .unwrap();
    everything_is_handled::<Wrapped>(cluster, gate).await;
}
