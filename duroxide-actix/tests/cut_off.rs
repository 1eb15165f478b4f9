//! A shard that goes to another node takes its handlers with it: none runs on both.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix::prelude::*;
use duroxide_actix::journal::cluster::{Cluster, ClusterBuilder};
use duroxide_actix::journal::{DurableMessage, DurableState, Limits};
use duroxide_actix::{ActixHost, ClusterActors, DurableActor, DurableContext, WrappedHost};
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use support::{Store, run};

/// Handlers that began, that are at work, and that ever were at the same time.
#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
}

struct AtWork(Arc<Counts>);

impl AtWork {
    fn begin(counts: &Arc<Counts>) -> Self {
        counts.begun.fetch_add(1, Ordering::SeqCst);
        let now = counts.now.fetch_add(1, Ordering::SeqCst) + 1;
        counts.most.fetch_max(now, Ordering::SeqCst);
        Self(counts.clone())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

/// The first attempt never ends by itself.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u64")]
#[durable(name = "worker.work")]
struct Work;

/// The same, while the actor's context waits for the handler.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u64")]
#[durable(name = "worker.atomic")]
struct Atomic;

/// The same, with a reply that is there already.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u64")]
#[durable(name = "worker.wait")]
struct Wait;

macro_rules! suite {
    ($name:ident, $context:ident, $host:ident) => {
        mod $name {
            use super::*;

            struct Worker(Arc<Counts>);

            impl Actor for Worker {
                type Context = $context<Self>;
            }

            impl DurableState for Worker {
                const ACTOR_TYPE: &'static str = "worker";
                type State = ();
                fn snapshot(&self) -> impl Serialize {}
                fn restore(&mut self, (): ()) {}
            }

            impl DurableActor for Worker {
                type Messages = (Work, Atomic, Wait);
            }

            impl Worker {
                fn work(&self) -> impl Future<Output = u64> + use<> {
                    let at_work = AtWork::begin(&self.0);
                    let is_first = self.0.begun.load(Ordering::SeqCst) == 1;
                    async move {
                        let _at_work = at_work;
                        if is_first { pending().await } else { 7 }
                    }
                }
            }

            impl Handler<Work> for Worker {
                type Result = ResponseActFuture<Self, u64>;
                fn handle(&mut self, _: Work, _: &mut Self::Context) -> Self::Result {
                    Box::pin(self.work().into_actor(self))
                }
            }

            impl Handler<Atomic> for Worker {
                type Result = AtomicResponse<Self, u64>;
                fn handle(&mut self, _: Atomic, _: &mut Self::Context) -> Self::Result {
                    AtomicResponse::new(Box::pin(self.work().into_actor(self)))
                }
            }

            impl Handler<Wait> for Worker {
                type Result = u64;
                fn handle(&mut self, _: Wait, ctx: &mut Self::Context) -> u64 {
                    ctx.wait(self.work().map(drop).into_actor(self));
                    7
                }
            }

            fn node(counts: &Arc<Counts>) -> ClusterBuilder {
                let counts = counts.clone();
                // What is cut off was no attempt.
                Cluster::builder("work", 1)
                    .lease(Duration::from_secs(2))
                    .limits(Limits { attempts: 1, ..Limits::default() })
                    .host($host::new(move |_| Worker(counts.clone())))
            }

            #[test]
            fn a_handler_that_is_at_work_is_cut_off_before_another_node_runs_it() {
                cut_off(Work);
            }

            #[test]
            fn so_is_one_for_which_the_context_waits() {
                cut_off(Atomic);
                cut_off(Wait);
            }

            fn cut_off<M>(message: M)
            where
                Worker: Handler<M>,
                M: Message<Result = u64> + DurableMessage + Send + 'static,
            {
                run(async {
                    let (store, counts) = (Store::new(), Arc::<Counts>::default());
                    let here = node(&counts).join(store.provider().await).await.unwrap();
                    while here.own_shards().is_empty() {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    let there = node(&counts).join(store.provider().await).await.unwrap();
                    let worker = there.actor::<Worker>("1");
                    let asking = actix::spawn(async move { worker.ask(message).await });
                    while counts.begun.load(Ordering::SeqCst) == 0 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    here.leave().await.unwrap();
                    assert_eq!(asking.await.unwrap().unwrap(), 7);
                    assert_eq!(counts.begun.load(Ordering::SeqCst), 2);
                    assert_eq!(counts.most.load(Ordering::SeqCst), 1, "at the same time");
                });
            }
        }
    };
}

suite!(context, DurableContext, ActixHost);

suite!(wrapper, Context, WrappedHost);
