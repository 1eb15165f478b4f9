//! One actor of a shard is slow or ends itself: the others go on.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::time::Duration;

use actix::prelude::*;
use duroxide_actix::journal::cluster::Cluster;
use duroxide_actix::journal::{DurableMessage, DurableState};
use duroxide_actix::{ActixHost, ActorRef, ClusterActors, DurableActor, DurableContext};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use support::{Store, run};
use tokio::sync::Semaphore;

/// What a test waits for at most: nothing that is measured.
const PATIENCE: Duration = Duration::from_secs(60);

/// One for each test.
static HELD: [Semaphore; 2] = [const { Semaphore::const_new(0) }; 2];

#[derive(Default, Serialize, Deserialize, Clone, DurableState)]
#[durable(actor_type = "counter")]
struct Counter {
    count: u64,
}

impl Actor for Counter {
    type Context = DurableContext<Self>;
}

impl DurableActor for Counter {
    type Messages = (Add, Hold, Quit);
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u64")]
#[durable(name = "counter.add")]
struct Add;

/// Takes as long as the test wants.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "counter.hold")]
struct Hold(usize);

/// The actor ends itself.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "counter.quit")]
struct Quit;

impl Handler<Add> for Counter {
    type Result = u64;
    fn handle(&mut self, _: Add, _: &mut Self::Context) -> u64 {
        self.count += 1;
        self.count
    }
}

impl Handler<Hold> for Counter {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, Hold(test): Hold, _: &mut Self::Context) -> Self::Result {
        Box::pin(async move { HELD[test].acquire().await.unwrap().forget() })
    }
}

impl Handler<Quit> for Counter {
    type Result = ();
    fn handle(&mut self, _: Quit, ctx: &mut Self::Context) {
        ctx.stop();
    }
}

async fn join(store: &Store) -> Cluster {
    Cluster::builder("counters", 1)
        .host(ActixHost::new(|_| Counter::default()))
        .join(store.provider().await)
        .await
        .unwrap()
}

/// An ask that waits until the test lets it go.
fn hold(test: usize, actor: &ActorRef<Counter>) -> tokio::task::JoinHandle<()> {
    let actor = actor.clone();
    actix::spawn(async move { actor.ask(Hold(test)).await.unwrap() })
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it hangs")
}

#[test]
fn what_an_actor_had_as_it_ended_is_handled_though_another_is_slow() {
    run(async {
        let store = Store::new();
        let cluster = join(&store).await;
        let slow = hold(0, &cluster.actor("slow"));
        let quitter = cluster.actor::<Counter>("quitter");
        for round in 0..3 {
            // They are in its mailbox as it ends.
            let (quit, added) = soon(async {
                let adds = join_all((0..100).map(|_| quitter.ask(Add)));
                futures::join!(quitter.ask(Quit), adds)
            })
            .await;
            quit.unwrap();
            let added: Vec<u64> = added.into_iter().map(Result::unwrap).collect();
            let first = round * 100;
            assert_eq!(added, (first + 1..=first + 100).collect::<Vec<_>>(), "once, in order");
        }
        assert_eq!(soon(cluster.actor::<Counter>("other").ask(Add)).await.unwrap(), 1);
        HELD[0].add_permits(1);
        soon(slow).await.unwrap();
        cluster.leave().await.unwrap();
    });
}

#[test]
fn any_number_that_waits_for_one_actor_does_not_hold_up_another() {
    run(async {
        let store = Store::new();
        let cluster = join(&store).await;
        let slow = cluster.actor::<Counter>("slow");
        let held = hold(1, &slow);
        let waiting: Vec<_> = (0..6000)
            .map(|_| {
                let slow = slow.clone();
                actix::spawn(async move { slow.ask(Add).await.unwrap() })
            })
            .collect();
        for count in 1..=10 {
            let other = cluster.actor::<Counter>("other");
            assert_eq!(soon(other.ask(Add)).await.unwrap(), count);
        }
        HELD[1].add_permits(1);
        soon(held).await.unwrap();
        let counts = soon(join_all(waiting)).await;
        let counts: Vec<u64> = counts.into_iter().map(Result::unwrap).collect();
        assert_eq!(counts, (1..=6000).collect::<Vec<_>>(), "once, in order");
        cluster.leave().await.unwrap();
    });
}
