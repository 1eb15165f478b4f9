//! The actor as a tokio actor.

use anyhow::Result;
use duroxide_tower::{ActorContext, DurableActor, DurableActorService, DurableHandle, async_trait};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use shared_journal::{DurableMessage, DurableState, EventJournal};
use tests::protocol::{is_slow, message_id};
use tests::{Entry, Ledger, Slot};

#[derive(Default)]
struct Plain(Ledger);

impl DurableState for Plain {
    const ACTOR_TYPE: &'static str = "ledger";
    type State = Ledger;
    fn snapshot(&self) -> impl Serialize {
        &self.0
    }
    fn restore(&mut self, ledger: Ledger) {
        self.0 = ledger;
    }
}

#[derive(Serialize, Deserialize)]
enum Command {
    Enter(Entry),
    Show,
}

impl DurableMessage for Command {
    const NAME: &'static str = "ledger.command";
}

#[derive(Serialize, Deserialize)]
enum Reply {
    Entered(u64),
    Shown(Ledger),
}

#[async_trait]
impl DurableActor for Plain {
    type Message = Command;
    type Reply = Reply;
    type Error = String;

    async fn handle(&mut self, _: &mut ActorContext, command: Command) -> Result<Reply, String> {
        match command {
            Command::Enter(entry) => {
                if is_slow(entry.number) {
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                }
                Ok(Reply::Entered(self.0.enter(entry)))
            }
            Command::Show => Ok(Reply::Shown(self.0.clone())),
        }
    }
}

struct Handle(DurableHandle<Plain>);

pub(crate) async fn service(
    journal: &EventJournal,
    actor: u32,
) -> Result<impl crate::Actor + 'static> {
    let (service, handle) =
        DurableActorService::new(journal, actor.to_string(), Plain::default()).await?;
    tokio::spawn(service.run());
    Ok(Handle(handle))
}

impl crate::Actor for Handle {
    fn ask(&self, slot: Slot, entry: Entry) -> LocalBoxFuture<'static, Result<u64>> {
        // In the mailbox now, as with actix: the order of the calls is the order of the messages.
        let asked = self.0.try_ask(duroxide_tower::Keyed::new(
            message_id(slot, entry.number),
            Command::Enter(entry),
        ));
        Box::pin(async move {
            match asked.map_err(|error| anyhow::anyhow!("{}", error.reason))?.await? {
                Reply::Entered(reply) => Ok(reply),
                Reply::Shown(_) => anyhow::bail!("not the reply of this message"),
            }
        })
    }

    fn tell(&self, slot: Slot, entry: Entry) -> LocalBoxFuture<'static, Result<()>> {
        let handle = self.0.clone();
        let mut told = Box::pin(async move {
            handle.tell_with_id(message_id(slot, entry.number), Command::Enter(entry)).await
        });
        // Polled once, so that it is in the mailbox before the next message is sent.
        let done = (&mut told).now_or_never();
        Box::pin(async move {
            match done {
                Some(done) => done?,
                None => told.await?,
            };
            Ok(())
        })
    }

    fn show(&self) -> LocalBoxFuture<'static, Result<Ledger>> {
        let handle = self.0.clone();
        Box::pin(async move {
            match handle.ask(Command::Show).await? {
                Reply::Shown(ledger) => Ok(ledger),
                Reply::Entered(_) => anyhow::bail!("not the reply of this message"),
            }
        })
    }
}
