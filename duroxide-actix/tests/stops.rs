//! Actors that stop themselves while a handler is not done.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actix::prelude::*;
use duroxide_actix::journal::cluster::{Cluster, SendError};
use duroxide_actix::journal::{DurableMessage, DurableState};
use duroxide_actix::{ActixHost, ClusterActors, DurableActor, DurableContext, WrappedHost};
use serde::{Deserialize, Serialize};
use support::{Store, run};

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum When {
    /// In the handler, which is not done then.
    Before,
    /// In its future, which is done with that.
    After,
    /// The actor ends at once, whatever it has.
    Terminates,
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u32")]
#[durable(name = "stopper.stop")]
struct Stop(When);

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u32")]
#[durable(name = "stopper.add")]
struct Add;

macro_rules! suite {
    ($name:ident, $context:ident, $host:ident, $after:pat) => {
        mod $name {
            use super::*;

            #[derive(DurableState)]
            #[durable(actor_type = "stopper")]
            struct Stopper {
                sum: u32,
                #[durable(skip)]
                begun: Arc<AtomicU32>,
            }

            impl Actor for Stopper {
                type Context = $context<Self>;
            }

            impl DurableActor for Stopper {
                type Messages = (Stop, Add);
            }

            impl Handler<Stop> for Stopper {
                type Result = ResponseActFuture<Self, u32>;
                fn handle(&mut self, Stop(when): Stop, ctx: &mut Self::Context) -> Self::Result {
                    self.begun.fetch_add(1, Ordering::SeqCst);
                    self.sum += 100;
                    match when {
                        When::Before => ctx.stop(),
                        When::Terminates => ctx.terminate(),
                        When::After => {}
                    }
                    let later = tokio::time::sleep(Duration::from_millis(1)).into_actor(self);
                    Box::pin(later.map(move |(), it, ctx| {
                        if when == When::After {
                            ctx.stop();
                        }
                        it.sum
                    }))
                }
            }

            impl Handler<Add> for Stopper {
                type Result = u32;
                fn handle(&mut self, _: Add, _: &mut Self::Context) -> u32 {
                    self.sum += 1;
                    self.sum
                }
            }

            /// What becomes of it, with messages behind it; and how often it began.
            fn stopped(when: When) -> (Result<u32, SendError>, u32) {
                let begun = Arc::<AtomicU32>::default();
                let counter = begun.clone();
                let (told, outcome) = std::sync::mpsc::channel();
                run(async move {
                    let store = Store::new();
                    let host = $host::new(move |_| Stopper { sum: 0, begun: begun.clone() });
                    let cluster = Cluster::builder("stops", 1).host(host);
                    let cluster = cluster.join(store.provider().await).await.unwrap();
                    let actor = cluster.actor::<Stopper>("1");
                    actor.ask(Add).await.unwrap();
                    let (stop, behind) = (actor.clone(), actor.clone());
                    let stop = actix::spawn(async move { stop.ask(Stop(when)).await });
                    let behind = actix::spawn(async move { behind.ask(Add).await });
                    let stopped = stop.await.unwrap();
                    // It holds nobody up.
                    let sum = behind.await.unwrap().unwrap();
                    assert_eq!(sum, if stopped.is_ok() { 102 } else { 2 });
                    assert_eq!(actor.ask(Add).await.unwrap(), sum + 1);
                    told.send(stopped).unwrap();
                    cluster.leave().await.unwrap();
                });
                (outcome.recv().unwrap(), counter.load(Ordering::SeqCst))
            }

            #[test]
            fn a_message_that_stops_its_actor_each_time_ends_as_a_dead_letter() {
                for when in [When::Before, When::Terminates] {
                    let (stopped, begun) = stopped(when);
                    assert!(
                        matches!(stopped, Err(SendError::DeadLetter { attempts: 3, .. })),
                        "{when:?}: {stopped:?}"
                    );
                    assert_eq!(begun, 3, "{when:?}");
                }
            }

            #[test]
            fn one_that_stops_it_in_the_end() {
                let (stopped, begun) = stopped(When::After);
                assert!(matches!((&stopped, begun), $after), "{stopped:?}, {begun}");
            }
        }
    };
}

suite!(context, DurableContext, ActixHost, (Ok(101), 1));

// Actix ends the context before anybody gets at the state.
suite!(wrapper, Context, WrappedHost, (Err(SendError::DeadLetter { attempts: 3, .. }), 3));
