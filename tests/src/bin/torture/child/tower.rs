//! Tokio actors.

use anyhow::Result;
use duroxide_actix::journal::MessageId;
use duroxide_actix::journal::cluster::{Cluster, ClusterBuilder};
use duroxide_tower::cluster::AskError;
use duroxide_tower::{
    ActorContext, ClusterActors, DurableActor, DurableMessage, DurableState, TowerHost, async_trait,
};
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use tests::torture::{Act, Answer, Book, Deed};

struct Scribe {
    own: u32,
    book: Book,
}

impl DurableState for Scribe {
    const ACTOR_TYPE: &'static str = "scribe";
    type State = Book;
    fn snapshot(&self) -> impl Serialize {
        &self.book
    }
    fn restore(&mut self, book: Book) {
        self.book = book;
    }
}

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "scribe.command")]
enum Command {
    Act(Act),
    Show,
}

#[derive(Serialize, Deserialize)]
enum Reply {
    Done(u64),
    Shown(Book),
}

#[async_trait]
impl DurableActor for Scribe {
    type Message = Command;
    type Reply = Reply;
    type Error = String;

    async fn handle(&mut self, ctx: &mut ActorContext, command: Command) -> Result<Reply, String> {
        let Command::Act(act) = command else { return Ok(Reply::Shown(self.book.clone())) };
        if act.deed == Deed::Slow {
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        let Self { own, book } = self;
        let done = book.enter(*own, &act, |to, act| {
            ctx.actor::<Self>(to.to_string()).tell(Command::Act(act)).expect("a cluster");
        });
        Ok(Reply::Done(done))
    }
}

pub(super) struct Tower;

impl super::Actors for Tower {
    fn hosts(&self, builder: ClusterBuilder) -> ClusterBuilder {
        builder.host(TowerHost::new(|id| Scribe {
            own: id.parse().expect("a number"),
            book: Book::default(),
        }))
    }

    fn send(
        &self,
        cluster: &Cluster,
        actor: u32,
        id: MessageId,
        act: Act,
        ask: bool,
    ) -> LocalBoxFuture<'static, Answer> {
        let to = cluster.actor::<Scribe>(actor.to_string());
        Box::pin(async move {
            if !ask {
                let told = to.tell_with_id(id, Command::Act(act)).await;
                return told.map_or_else(super::answer_of, |()| Answer::Done);
            }
            match to.ask_with_id(id, Command::Act(act)).await {
                Ok(Reply::Done(done)) => Answer::Replied(done),
                Ok(Reply::Shown(_)) => Answer::Wrong("the reply of another message".into()),
                Err(AskError::Send(error)) => super::answer_of(error),
                Err(other) => Answer::Wrong(other.to_string()),
            }
        })
    }

    fn show(&self, cluster: &Cluster, actor: u32) -> LocalBoxFuture<'static, Result<Book>> {
        let to = cluster.actor::<Scribe>(actor.to_string());
        Box::pin(async move {
            match to.ask(Command::Show).await? {
                Reply::Shown(book) => Ok(book),
                Reply::Done(_) => anyhow::bail!("the reply of another message"),
            }
        })
    }
}
