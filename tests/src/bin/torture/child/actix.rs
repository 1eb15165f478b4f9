//! Actix actors: those with even numbers have a durable context, the others their own.

use actix::prelude::*;
use anyhow::Result;
use duroxide_actix::journal::cluster::{Cluster, ClusterBuilder};
use duroxide_actix::journal::{DurableMessage, DurableState, MessageId};
use duroxide_actix::{
    ActixHost, ActorRef, ClusterActors, DurableActor, DurableContext, DurableEffects, WrappedHost,
};
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use tests::torture::{Act, Answer, Book, Deed};

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u64")]
#[durable(name = "scribe.quick")]
struct Quick(Act);

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u64")]
#[durable(name = "scribe.slow")]
struct Slow(Act);

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "Book")]
#[durable(name = "scribe.show")]
struct Show;

macro_rules! scribe {
    ($name:ident, $context:ident, $actor_type:literal) => {
        struct $name {
            own: u32,
            book: Book,
        }

        impl Actor for $name {
            type Context = $context<Self>;
        }

        impl DurableState for $name {
            const ACTOR_TYPE: &'static str = $actor_type;
            type State = Book;
            fn snapshot(&self) -> impl Serialize {
                &self.book
            }
            fn restore(&mut self, book: Book) {
                self.book = book;
            }
        }

        impl DurableActor for $name {
            type Messages = (Quick, Slow, Show);
        }

        impl $name {
            fn new(id: &str) -> Self {
                Self { own: id.parse().expect("a number"), book: Book::default() }
            }
        }

        impl Handler<Quick> for $name {
            type Result = u64;
            fn handle(&mut self, Quick(act): Quick, ctx: &mut Self::Context) -> u64 {
                let Self { own, book } = self;
                book.enter(*own, &act, |to, act| {
                    let id = to.to_string();
                    let told = match to % 2 {
                        0 => ctx.actor::<Own>(id).tell(Quick(act)),
                        _ => ctx.actor::<Wrapped>(id).tell(Quick(act)),
                    };
                    told.expect("a cluster");
                })
            }
        }

        impl Handler<Slow> for $name {
            type Result = ResponseActFuture<Self, u64>;
            fn handle(&mut self, Slow(act): Slow, _: &mut Self::Context) -> Self::Result {
                let pause = async {
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                };
                let enter = move |(), it: &mut Self, _: &mut Self::Context| {
                    it.book.enter(it.own, &act, |_, _| {})
                };
                Box::pin(pause.into_actor(self).map(enter))
            }
        }

        impl Handler<Show> for $name {
            type Result = MessageResult<Show>;
            fn handle(&mut self, _: Show, _: &mut Self::Context) -> Self::Result {
                MessageResult(self.book.clone())
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

    fn show(&self, cluster: &Cluster, actor: u32) -> LocalBoxFuture<'static, Result<Book>> {
        let id = actor.to_string();
        let cluster = cluster.clone();
        Box::pin(async move {
            Ok(match actor % 2 {
                0 => cluster.actor::<Own>(id).ask(Show).await?,
                _ => cluster.actor::<Wrapped>(id).ask(Show).await?,
            })
        })
    }
}

fn send<A>(to: ActorRef<A>, id: MessageId, act: Act, ask: bool) -> LocalBoxFuture<'static, Answer>
where
    A: DurableActor + Handler<Quick> + Handler<Slow>,
{
    match act.deed {
        Deed::Slow => Box::pin(deliver(to, id, Slow(act), ask)),
        _ => Box::pin(deliver(to, id, Quick(act), ask)),
    }
}

async fn deliver<A, M>(to: ActorRef<A>, id: MessageId, message: M, ask: bool) -> Answer
where
    A: DurableActor + Handler<M>,
    M: Message<Result = u64> + DurableMessage,
{
    let sent = match ask {
        true => to.ask_with_id(id, message).await.map(Answer::Replied),
        false => to.tell_with_id(id, message).await.map(|()| Answer::Done),
    };
    sent.unwrap_or_else(super::answer_of)
}
