//! What is sent by something else than the handler that fails stays, in both kinds of actors.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide_actix::journal::cluster::Cluster;
use duroxide_actix::journal::{DurableMessage, DurableState};
use duroxide_actix::{
    ActixHost, ActorRef, ClusterActors, DurableActor, DurableContext, DurableEffects, WrappedHost,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

const NOTES: u64 = 30;

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "sends.note")]
struct Note(u64);

/// Sends a note that never counts, and panics: at once, or later.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "sends.poison")]
struct Poison {
    later: bool,
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "Vec<u64>")]
#[durable(name = "sends.show")]
struct Show;

macro_rules! actor {
    ($actor:ident, $context:ident, $name:literal) => {
        #[derive(Default, Clone, DurableState)]
        #[durable(actor_type = $name)]
        struct $actor {
            notes: Vec<u64>,
            /// What its interval has sent. Not in the state, which goes back when a handler fails.
            #[durable(skip)]
            sent: u64,
            #[durable(skip)]
            is_sender: bool,
            #[durable(skip)]
            ticked: Arc<Notify>,
        }

        impl Actor for $actor {
            type Context = $context<Self>;
            fn started(&mut self, ctx: &mut Self::Context) {
                if !self.is_sender {
                    return;
                }
                ctx.run_interval(Duration::from_millis(1), |it, ctx| {
                    if it.sent < NOTES {
                        ctx.actor::<Self>("receiver").tell(Note(it.sent)).unwrap();
                        it.sent += 1;
                        it.ticked.notify_one();
                    }
                });
            }
        }

        impl DurableActor for $actor {
            type Messages = (Note, Poison, Show);
        }

        impl Handler<Note> for $actor {
            type Result = ();
            fn handle(&mut self, note: Note, _: &mut Self::Context) {
                self.notes.push(note.0);
            }
        }

        impl Handler<Poison> for $actor {
            type Result = ResponseActFuture<Self, ()>;
            fn handle(&mut self, poison: Poison, ctx: &mut Self::Context) -> Self::Result {
                ctx.actor::<Self>("receiver").tell(Note(1000)).unwrap();
                assert!(poison.later, "on purpose");
                let ticked = self.ticked.clone();
                let all = self.sent == NOTES;
                // So that something is sent while it is not done.
                let later = async move {
                    if !all {
                        ticked.notified().await;
                    }
                };
                Box::pin(later.into_actor(self).map(|(), _, ctx: &mut Self::Context| {
                    ctx.actor::<Self>("receiver").tell(Note(2000)).unwrap();
                    panic!("later, on purpose");
                }))
            }
        }

        impl Handler<Show> for $actor {
            type Result = MessageResult<Show>;
            fn handle(&mut self, _: Show, _: &mut Self::Context) -> Self::Result {
                MessageResult(self.notes.clone())
            }
        }
    };
}

actor!(Own, DurableContext, "own");
actor!(Wrapped, Context, "wrapped");

async fn join() -> Cluster {
    let provider = Arc::new(SqliteProvider::new_in_memory().await.unwrap());
    Cluster::builder("sends", 1)
        .host(ActixHost::new(|id| Own { is_sender: id == "sender", ..Own::default() }))
        .host(WrappedHost::new(|id| Wrapped { is_sender: id == "sender", ..Wrapped::default() }))
        .join(provider)
        .await
        .unwrap()
}

/// Fails again and again, until everything that the interval sent is there.
async fn notes_stay<A>(cluster: &Cluster, later: bool) -> Vec<u64>
where
    A: DurableActor + Handler<Show> + Handler<Poison> + Handler<Note>,
{
    let sender: ActorRef<A> = cluster.actor("sender");
    let receiver: ActorRef<A> = cluster.actor("receiver");
    loop {
        sender.ask(Poison { later }).await.unwrap_err();
        let notes = receiver.ask(Show).await.unwrap();
        if notes.last() == Some(&(NOTES - 1)) || notes.iter().any(|note| *note >= NOTES) {
            return notes;
        }
    }
}

fn all() -> Vec<u64> {
    (0..NOTES).collect()
}

fn run<F: Future<Output = ()>>(test: F) {
    actix::System::new().block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test).await.expect("the test hangs");
    });
}

#[test]
fn an_interval_with_a_durable_context() {
    run(async {
        let cluster = join().await;
        assert_eq!(notes_stay::<Own>(&cluster, false).await, all());
        cluster.leave().await.unwrap();
    });
}

#[test]
fn an_interval_of_a_wrapped_actor() {
    run(async {
        let cluster = join().await;
        assert_eq!(notes_stay::<Wrapped>(&cluster, false).await, all());
        cluster.leave().await.unwrap();
    });
}

#[test]
fn an_interval_beside_a_future_that_fails_with_a_durable_context() {
    run(async {
        let cluster = join().await;
        assert_eq!(notes_stay::<Own>(&cluster, true).await, all());
        cluster.leave().await.unwrap();
    });
}

#[test]
fn an_interval_beside_a_future_that_fails_of_a_wrapped_actor() {
    run(async {
        let cluster = join().await;
        // It is made anew, so the interval begins anew: what it sent is there each time.
        let sender: ActorRef<Wrapped> = cluster.actor("sender");
        let receiver: ActorRef<Wrapped> = cluster.actor("receiver");
        for _ in 0..5 {
            sender.ask(Poison { later: true }).await.unwrap_err();
        }
        // Each of 15 attempts had an interval beside it; what that sent arrives some time later.
        loop {
            let notes = receiver.ask(Show).await.unwrap();
            assert!(notes.iter().all(|note| *note < NOTES), "{notes:?}");
            if notes.iter().filter(|note| **note == 0).count() >= 15 {
                break;
            }
        }
        cluster.leave().await.unwrap();
    });
}
