//! Tokio actors.

use duroxide_actix::journal::MessageId;
use duroxide_actix::journal::cluster::{Cluster, ClusterBuilder, SendError};
use duroxide_tower::cluster::AskError;
use duroxide_tower::{
    ActorContext, ClusterActors, DurableActor, DurableState, TowerHost, async_trait,
};
use futures::future::LocalBoxFuture;
use serde::Serialize;
use tests::torture::traffic::{CLERK, Desk, Effect, QUEUE, Receipt, Word, line_name};
use tests::torture::{Answer, SOON};

struct Clerk {
    own: u32,
    desk: Desk,
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

#[async_trait]
impl DurableActor for Clerk {
    type Message = Word;
    type Reply = Receipt;
    type Error = String;

    async fn handle(&mut self, ctx: &mut ActorContext, word: Word) -> Result<Receipt, String> {
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

pub(super) struct Tower;

impl super::Clerks for Tower {
    fn hosts(&self, builder: ClusterBuilder) -> ClusterBuilder {
        builder.host(TowerHost::new(|id| Clerk {
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
            to.ask_with_id(id, word).await.map_err(|error| match error {
                AskError::Send(error) => crate::child::answer_of(error),
                other => Answer::Wrong(other.to_string()),
            })
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
