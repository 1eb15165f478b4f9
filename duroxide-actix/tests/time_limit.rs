//! Handlers that are over their time limit, in both contexts.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::cell::Cell;
use std::future::pending;
use std::rc::Rc;
use std::time::Duration;

use actix::prelude::*;
use duroxide_actix::journal::{ActorId, DurableMessage, DurableState, MessageId, StepError};
use duroxide_actix::{
    AskError, DurableActixActor, DurableActor, DurableContext, DurableEffects, DurableSend,
    StartDurable,
};
use serde::{Deserialize, Serialize};

use crate::support::{Store, run};

/// How a handler never comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Way {
    /// A future with the actor, which a handler returns.
    Returned,
    /// One that nothing else runs beside.
    Atomic,
    /// One of `ctx.wait`.
    Waited,
    /// A future without the actor.
    Detached,
    /// A step, so many times, after one that is done.
    Step(u32),
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u64")]
#[durable(name = "limit.add")]
struct Add(u64);

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u64")]
#[durable(name = "limit.hang")]
struct Hang(Way);

/// What the test sees of the world.
#[derive(Clone, Default)]
struct World {
    paid: Rc<Cell<u32>>,
    asked: Rc<Cell<u32>>,
    /// Futures that have the actor and are there.
    alive: Rc<Cell<i32>>,
    /// What became of a step of a future that outlived its handler.
    late: Rc<Cell<Option<bool>>>,
    go_on: Rc<tokio::sync::Notify>,
}

struct Alive(World);

impl Alive {
    fn new(world: &World) -> Self {
        world.alive.set(world.alive.get() + 1);
        Self(world.clone())
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.set(self.0.alive.get() - 1);
    }
}

macro_rules! counter {
    ($counter:ident, $context:ident) => {
        #[derive(Clone)]
        struct $counter {
            count: u64,
            world: World,
        }

        impl Actor for $counter {
            type Context = $context<Self>;
        }

        impl DurableState for $counter {
            const ACTOR_TYPE: &'static str = "counter";
            type State = u64;
            fn snapshot(&self) -> impl Serialize {
                self.count
            }
            fn restore(&mut self, count: u64) {
                self.count = count;
            }
        }

        impl DurableActor for $counter {
            type Messages = (Add, Hang);
            const TIME_LIMIT: Option<Duration> = Some(Duration::from_millis(50));
        }

        impl Handler<Add> for $counter {
            type Result = u64;
            fn handle(&mut self, add: Add, _: &mut Self::Context) -> u64 {
                self.count += add.0;
                self.count
            }
        }

        impl Handler<Hang> for $counter {
            type Result = Response<Self>;
            fn handle(&mut self, Hang(way): Hang, ctx: &mut Self::Context) -> Response<Self> {
                self.count += 100;
                let alive = Alive::new(&self.world);
                let hangs = async move {
                    let _alive = alive;
                    pending::<u64>().await
                };
                let hangs = hangs.into_actor(self);
                match way {
                    Way::Returned => Response::Act(Box::pin(hangs)),
                    Way::Atomic => Response::Atomic(AtomicResponse::new(Box::pin(hangs))),
                    Way::Waited => {
                        ctx.wait(hangs.map(|_, _, _| ()));
                        Response::Act(Box::pin(actix::fut::ready(0)))
                    }
                    Way::Detached => {
                        let (steps, world) = (ctx.steps().unwrap(), self.world.clone());
                        Response::Future(Box::pin(async move {
                            world.go_on.notified().await;
                            let step = steps.step("late", || async { 1 }).await;
                            let is_refused = matches!(step, Err(StepError::NoMessage { .. }));
                            world.late.set(Some(is_refused));
                            pending().await
                        }))
                    }
                    Way::Step(hang) => {
                        let World { paid, asked, .. } = self.world.clone();
                        let pay = ctx.step("pay", move || async move {
                            paid.set(paid.get() + 1);
                        });
                        let ask = ctx.step("ask", move || async move {
                            asked.set(asked.get() + 1);
                            if asked.get() <= hang {
                                pending::<()>().await;
                            }
                        });
                        let both = async move {
                            pay.await.unwrap();
                            ask.await.unwrap();
                        };
                        let done = both.into_actor(self);
                        Response::Act(Box::pin(done.map(|(), act: &mut Self, _| act.count)))
                    }
                }
            }
        }
    };
}

/// What a handler of actix can return.
enum Response<A: Actor> {
    Act(ResponseActFuture<A, u64>),
    Atomic(AtomicResponse<A, u64>),
    Future(ResponseFuture<u64>),
}

impl<A, M> actix::dev::MessageResponse<A, M> for Response<A>
where
    A: Actor<Context: AsyncContext<A>>,
    M: Message<Result = u64>,
{
    fn handle(self, ctx: &mut A::Context, tx: Option<actix::dev::OneshotSender<u64>>) {
        use actix::dev::MessageResponse;
        match self {
            Self::Act(it) => MessageResponse::<A, M>::handle(it, ctx, tx),
            Self::Atomic(it) => MessageResponse::<A, M>::handle(it, ctx, tx),
            Self::Future(it) => MessageResponse::<A, M>::handle(it, ctx, tx),
        }
    }
}

counter!(Own, DurableContext);
counter!(Wrapped, Context);

async fn hangs<A>(address: Addr<A>, world: World)
where
    A: Actor<Context = DurableContext<A>> + Handler<Add> + Handler<Hang>,
{
    assert_eq!(address.send(Add(1)).await.unwrap(), 1);
    let mut sum = 1;
    for (id, way) in [Way::Returned, Way::Atomic, Way::Waited, Way::Detached].iter().enumerate() {
        let id = MessageId::from(id as u128 + 1);
        let (hung, behind) =
            tokio::join!(address.send_with_id(id, Hang(*way)), address.send(Add(1)));
        let Err(AskError::DeadLetter { attempts, error, .. }) = hung else {
            panic!("{way:?}: {hung:?}")
        };
        assert_eq!((attempts, error.contains("limit of 50ms")), (3, true), "{way:?}: {error}");
        sum += 1;
        assert_eq!(behind.unwrap(), sum, "{way:?}: what it did is undone");
        assert_eq!(world.alive.get(), 0, "{way:?}: its futures are gone");
    }
    // The first of those that outlived their handlers.
    world.go_on.notify_one();
    while world.late.get().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.late.get(), Some(true), "its steps are over");

    let paid = address.send(Hang(Way::Step(2))).await.unwrap();
    assert_eq!((paid, world.asked.get(), world.paid.get()), (sum + 100, 3, 1));
    let id = MessageId::from(99);
    let hung = address.send_with_id(id, Hang(Way::Step(100))).await;
    assert!(matches!(hung, Err(AskError::DeadLetter { attempts: 3, .. })), "{hung:?}");
    assert_eq!(address.send(Add(0)).await.unwrap(), sum + 100);
}

#[test]
fn what_never_returns_is_a_dead_letter_and_the_actor_goes_on() {
    run(async {
        let (store, world) = (Store::new(), World::default());
        let journal = store.open().await;
        let own = Own { count: 0, world: world.clone() };
        hangs(own.start_durable(&journal, "1").await.unwrap(), world).await;
        let letters = journal.dead_letters(&ActorId::new("counter", "1")).await.unwrap();
        assert_eq!(letters.len(), 5);
    });
}

#[test]
fn a_wrapped_actor_that_never_returns_is_made_anew() {
    run(async {
        let (store, world) = (Store::new(), World::default());
        let journal = store.open().await;
        let wrapped = Wrapped { count: 0, world: world.clone() };
        let create = move |_: &mut Context<Wrapped>| wrapped.clone();
        hangs(DurableActixActor::start(&journal, "1", create).await.unwrap(), world).await;
    });
}
