//! The counter as a `DurableActorService`.

use anyhow::Result;
use duroxide_actix::journal::{EventJournal, MessageId};
use duroxide_tower::{ActorContext, DurableActor, DurableActorService, DurableHandle, async_trait};

use crate::counter::{Add, Count, Counter};
use crate::load::Side;

#[async_trait]
impl DurableActor for Counter {
    type Message = Add;
    type Reply = u64;
    type Error = ();

    async fn handle(&mut self, _: &mut ActorContext, add: Add) -> Result<u64, ()> {
        Ok(self.0.add(&add))
    }
}

pub(crate) struct Ours(Vec<DurableHandle<Counter>>);

impl Ours {
    /// Starts the counters 0 to `actors`.
    pub(crate) async fn start(
        journal: &EventJournal,
        actors: usize,
        state_bytes: usize,
    ) -> Result<Self> {
        let mut handles = Vec::with_capacity(actors);
        for id in 0..actors {
            let counter = Counter(Count::of(state_bytes));
            let (service, handle) =
                DurableActorService::new(journal, id.to_string(), counter).await?;
            actix::spawn(service.run());
            handles.push(handle);
        }
        Ok(Self(handles))
    }

    /// Asks under a key of the caller's.
    pub(crate) async fn ask_with_id(&self, actor: usize, id: MessageId) -> Result<()> {
        let answer = self.0[actor].ask_with_id(id, Add::sample()).await;
        answer.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        Ok(())
    }

    /// Resolves when the receipt is durable.
    pub(crate) async fn tell(&self, actor: usize) -> Result<()> {
        self.0[actor].tell(Add::sample()).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        Ok(())
    }
}

impl Side for Ours {
    async fn ask(&self, _: usize, actor: usize) -> Result<()> {
        let answer = self.0[actor].ask(Add::sample()).await;
        answer.map_err(|error| anyhow::anyhow!("{error:?}"))?;
        Ok(())
    }
}
