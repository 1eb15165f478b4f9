//! Actix actors: those with even numbers have a durable context, the others their own.

use actix::prelude::*;
use anyhow::{Context as _, Result};
use duroxide_actix::journal::cluster::{Cluster, ClusterBuilder};
use duroxide_actix::journal::{ActorId, DurableMessage, DurableState, MessageId, Payload};
use duroxide_actix::{
    ActixHost, ActorRef, ClusterActors, DurableActor, DurableContext, DurableEffects, WrappedHost,
};
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use tests::torture::{Act, Answer, Letter, Memory, Reply};

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "Reply")]
#[durable(name = "scribe.quick")]
struct Quick(Letter);

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "Reply")]
#[durable(name = "scribe.slow")]
struct Slow(Letter);

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "Memory")]
#[durable(name = "scribe.show")]
struct Show;

macro_rules! scribe {
    ($name:ident, $context:ident, $actor_type:literal) => {
        struct $name {
            own: u32,
            memory: Memory,
        }

        impl Actor for $name {
            type Context = $context<Self>;
        }

        impl DurableState for $name {
            const ACTOR_TYPE: &'static str = $actor_type;
            type State = Memory;
            fn snapshot(&self) -> impl Serialize {
                self.memory.snapshot()
            }
            fn restore(&mut self, memory: Memory) {
                self.memory = memory;
            }
        }

        impl DurableActor for $name {
            type Messages = (Quick, Slow, Show);
        }

        impl $name {
            fn new(id: &str) -> Self {
                Self { own: id.parse().expect("a number"), memory: Memory::default() }
            }

            fn enter(&mut self, letter: &Letter, ctx: &mut $context<Self>) -> Reply {
                let Self { own, memory } = self;
                let own = *own;
                memory.enter(own, letter, |to, letter| {
                    if to == own {
                        ctx.schedule(tests::torture::SOON, Quick(letter)).expect("a timer");
                        return;
                    }
                    let id = to.to_string();
                    let told = match to % 2 {
                        0 => ctx.actor::<Own>(id).tell(Quick(letter)),
                        _ => ctx.actor::<Wrapped>(id).tell(Quick(letter)),
                    };
                    told.expect("a cluster");
                })
            }
        }

        impl Handler<Quick> for $name {
            type Result = Reply;
            fn handle(&mut self, Quick(letter): Quick, ctx: &mut Self::Context) -> Reply {
                self.enter(&letter, ctx)
            }
        }

        impl Handler<Slow> for $name {
            type Result = ResponseActFuture<Self, Reply>;
            fn handle(&mut self, Slow(letter): Slow, _: &mut Self::Context) -> Self::Result {
                let pause = async move {
                    letter.act.pause().await;
                    letter
                };
                let enter =
                    |letter: Letter, it: &mut Self, ctx: &mut Self::Context| it.enter(&letter, ctx);
                Box::pin(pause.into_actor(self).map(enter))
            }
        }

        impl Handler<Show> for $name {
            type Result = Memory;
            fn handle(&mut self, _: Show, _: &mut Self::Context) -> Memory {
                self.memory.shown()
            }
        }
    };
}

scribe!(Own, DurableContext, "own-scribe");
scribe!(Wrapped, Context, "wrapped-scribe");

pub(super) struct Actix;

impl super::Actors for Actix {
    fn hosts(&self, builder: ClusterBuilder) -> ClusterBuilder {
        builder.host(ActixHost::new(Own::new)).host(WrappedHost::new(Wrapped::new))
    }

    fn send(
        &self,
        cluster: &Cluster,
        actor: u32,
        id: MessageId,
        act: Act,
        ask: bool,
    ) -> LocalBoxFuture<'static, Answer> {
        match actor % 2 {
            0 => send(cluster.actor::<Own>(actor.to_string()), id, act, ask),
            _ => send(cluster.actor::<Wrapped>(actor.to_string()), id, act, ask),
        }
    }

    fn show(&self, cluster: &Cluster, actor: u32) -> LocalBoxFuture<'static, Result<Memory>> {
        let id = actor.to_string();
        let cluster = cluster.clone();
        Box::pin(async move {
            Ok(match actor % 2 {
                0 => cluster.actor::<Own>(id).ask(Show).await?,
                _ => cluster.actor::<Wrapped>(id).ask(Show).await?,
            })
        })
    }

    fn name(&self, actor: u32) -> ActorId {
        let actor_type =
            if actor.is_multiple_of(2) { Own::ACTOR_TYPE } else { Wrapped::ACTOR_TYPE };
        ActorId::new(actor_type, actor.to_string())
    }

    fn read(&self, letter: &Payload<'static>) -> Result<Letter> {
        let quick = letter.decode::<Quick>().map(|Quick(letter)| letter);
        quick.or_else(|_| letter.decode::<Slow>().map(|Slow(letter)| letter)).context("a letter")
    }
}

fn send<A>(to: ActorRef<A>, id: MessageId, act: Act, ask: bool) -> LocalBoxFuture<'static, Answer>
where
    A: DurableActor + Handler<Quick> + Handler<Slow>,
{
    let slow = act.is_slow();
    let letter = Letter::of(act);
    match slow {
        true => Box::pin(deliver(to, id, Slow(letter), ask)),
        false => Box::pin(deliver(to, id, Quick(letter), ask)),
    }
}

async fn deliver<A, M>(to: ActorRef<A>, id: MessageId, message: M, ask: bool) -> Answer
where
    A: DurableActor + Handler<M>,
    M: Message<Result = Reply> + DurableMessage,
{
    let sent = match ask {
        true => to.ask_with_id(id, message).await.map(|reply| super::replied(&reply)),
        false => to.tell_with_id(id, message).await.map(|()| Answer::Done),
    };
    sent.unwrap_or_else(super::answer_of)
}
