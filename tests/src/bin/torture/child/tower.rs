//! Tokio actors.

use anyhow::Result;
use duroxide_actix::journal::cluster::{Cluster, ClusterBuilder};
use duroxide_actix::journal::{ActorId, MessageId, Payload};
use duroxide_tower::cluster::AskError;
use duroxide_tower::{
    ActorContext, ClusterActors, DurableActor, DurableMessage, DurableState, TowerHost, async_trait,
};
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use tests::torture::{Act, Answer, Letter, Memory, Reply};

struct Scribe {
    own: u32,
    memory: Memory,
}

impl DurableState for Scribe {
    const ACTOR_TYPE: &'static str = "scribe";
    type State = Memory;
    fn snapshot(&self) -> impl Serialize {
        self.memory.snapshot()
    }
    fn restore(&mut self, memory: Memory) {
        self.memory = memory;
    }
}

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "scribe.command")]
enum Command {
    Act(Letter),
    Show,
}

#[derive(Serialize, Deserialize)]
enum Answered {
    Done(Reply),
    Shown(Memory),
}

#[async_trait]
impl DurableActor for Scribe {
    type Message = Command;
    type Reply = Answered;
    type Error = String;

    async fn handle(
        &mut self,
        ctx: &mut ActorContext,
        command: Command,
    ) -> Result<Answered, String> {
        let Command::Act(letter) = command else {
            return Ok(Answered::Shown(self.memory.shown()));
        };
        if letter.act.is_slow() {
            letter.act.pause().await;
        }
        let Self { own, memory } = self;
        let own = *own;
        let done = memory.enter(own, &letter, |to, letter| {
            if to == own {
                ctx.schedule(tests::torture::SOON, Command::Act(letter)).expect("a timer");
                return;
            }
            ctx.actor::<Self>(to.to_string()).tell(Command::Act(letter)).expect("a cluster");
        });
        Ok(Answered::Done(done))
    }
}

pub(super) struct Tower;

impl super::Actors for Tower {
    fn hosts(&self, builder: ClusterBuilder) -> ClusterBuilder {
        builder.host(TowerHost::new(|id| Scribe {
            own: id.parse().expect("a number"),
            memory: Memory::default(),
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
        let command = Command::Act(Letter::of(act));
        Box::pin(async move {
            if !ask {
                let told = to.tell_with_id(id, command).await;
                return told.map_or_else(super::answer_of, |()| Answer::Done);
            }
            match to.ask_with_id(id, command).await {
                Ok(Answered::Done(reply)) => super::replied(&reply),
                Ok(Answered::Shown(_)) => Answer::Wrong("the reply of another message".into()),
                Err(AskError::Send(error)) => super::answer_of(error),
                Err(other) => Answer::Wrong(other.to_string()),
            }
        })
    }

    fn show(&self, cluster: &Cluster, actor: u32) -> LocalBoxFuture<'static, Result<Memory>> {
        let to = cluster.actor::<Scribe>(actor.to_string());
        Box::pin(async move {
            match to.ask(Command::Show).await? {
                Answered::Shown(memory) => Ok(memory),
                Answered::Done(_) => anyhow::bail!("the reply of another message"),
            }
        })
    }

    fn name(&self, actor: u32) -> ActorId {
        ActorId::new(Scribe::ACTOR_TYPE, actor.to_string())
    }

    fn read(&self, letter: &Payload<'static>) -> Result<Letter> {
        match letter.decode()? {
            Command::Act(letter) => Ok(letter),
            Command::Show => anyhow::bail!("a letter that only asks"),
        }
    }
}
