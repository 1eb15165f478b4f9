//! Actix actors, with a context of their own.

use actix::prelude::*;
use duroxide_actix::journal::cluster::{Cluster, ClusterBuilder, SendError};
use duroxide_actix::journal::{DurableState, MessageId};
use duroxide_actix::{ClusterActors, DurableActor, DurableEffects, WrappedHost};
use futures::future::LocalBoxFuture;
use serde::Serialize;
use tests::torture::traffic::{CLERK, Desk, Effect, QUEUE, Receipt, Word, line_name};
use tests::torture::{Answer, SOON};

struct Clerk {
    own: u32,
    desk: Desk,
}

impl Actor for Clerk {
    type Context = Context<Self>;
}

impl DurableState for Clerk {
    const ACTOR_TYPE: &'static str = CLERK;
    type State = Desk;
    fn snapshot(&self) -> impl Serialize {
        &self.desk
    }
    fn restore(&mut self, desk: Desk) {
        self.desk = desk;
    }
}

impl DurableActor for Clerk {
    type Messages = (Word,);
}

impl Handler<Word> for Clerk {
    type Result = Result<Receipt, String>;

    fn handle(&mut self, word: Word, ctx: &mut Self::Context) -> Self::Result {
        let (receipt, effect) = self.desk.handle(self.own, word);
        match effect {
            None => {}
            Some(Effect::Tell(to, word)) => {
                ctx.actor::<Self>(to.to_string()).tell(word).expect("a cluster");
            }
            Some(Effect::Schedule(word)) => drop(ctx.schedule(SOON, word).expect("a cluster")),
            Some(Effect::Ask(work)) => {
                let input = serde_json::to_string(&work).expect("JSON");
                let ended = |result| Word::Ended(work.of, result);
                ctx.ask_workflow("work", &work.name(), &input, ended).expect("a cluster");
            }
            Some(Effect::Raise(line, raised)) => {
                let data = serde_json::to_string(&raised).expect("JSON");
                ctx.raise_event(&line_name(line), QUEUE, &data).expect("a cluster");
            }
        }
        Ok(receipt)
    }
}

pub(super) struct Actix;

impl super::Clerks for Actix {
    fn hosts(&self, builder: ClusterBuilder) -> ClusterBuilder {
        builder.host(WrappedHost::new(|id| Clerk {
            own: id.parse().expect("a number"),
            desk: Desk::default(),
        }))
    }

    fn ask(
        &self,
        cluster: &Cluster,
        actor: u32,
        id: MessageId,
        word: Word,
    ) -> LocalBoxFuture<'static, Result<Receipt, Answer>> {
        let to = cluster.actor::<Clerk>(actor.to_string());
        Box::pin(async move {
            let reply = to.ask_with_id(id, word).await.map_err(crate::child::answer_of)?;
            reply.map_err(Answer::Wrong)
        })
    }

    fn tell(
        &self,
        cluster: &Cluster,
        actor: u32,
        id: MessageId,
        word: Word,
    ) -> LocalBoxFuture<'static, Result<(), SendError>> {
        let to = cluster.actor::<Clerk>(actor.to_string());
        Box::pin(async move { to.tell_with_id(id, word).await })
    }
}
