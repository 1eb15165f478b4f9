//! The actor as an actix actor, both ways.

use actix::prelude::*;
use anyhow::Result;
use duroxide_actix::{DurableActixActor, DurableActor, DurableContext, DurableSend, StartDurable};
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use shared_journal::{DurableMessage, DurableState, EventJournal};
use tests::protocol::{is_slow, message_id};
use tests::{Entry, Ledger, Slot};

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct Enter(Entry);

impl DurableMessage for Enter {
    const NAME: &'static str = "ledger.enter";
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
struct EnterSlowly(Entry);

impl DurableMessage for EnterSlowly {
    const NAME: &'static str = "ledger.enter_slowly";
}

#[derive(Message)]
#[rtype(result = "Ledger")]
struct Show;

macro_rules! ledger_actor {
    ($name:ident, $context:ident) => {
        #[derive(Default)]
        struct $name(Ledger);

        impl actix::Actor for $name {
            type Context = $context<Self>;
            fn started(&mut self, ctx: &mut Self::Context) {
                // Actix keeps a sender's order only as long as the mailbox has room.
                ctx.set_mailbox_capacity(64);
            }
        }

        impl DurableState for $name {
            const ACTOR_TYPE: &'static str = "ledger";
            type State = Ledger;
            fn snapshot(&self) -> impl Serialize {
                &self.0
            }
            fn restore(&mut self, ledger: Ledger) {
                self.0 = ledger;
            }
        }

        impl DurableActor for $name {
            type Messages = (Enter, EnterSlowly);
        }

        impl Handler<Enter> for $name {
            type Result = u64;
            fn handle(&mut self, message: Enter, _: &mut Self::Context) -> u64 {
                self.0.enter(message.0)
            }
        }

        impl Handler<EnterSlowly> for $name {
            type Result = ResponseActFuture<Self, u64>;
            fn handle(&mut self, message: EnterSlowly, _: &mut Self::Context) -> Self::Result {
                let pause = async {
                    for _ in 0..20 {
                        tokio::task::yield_now().await;
                    }
                };
                Box::pin(pause.into_actor(self).map(move |(), act, _| act.0.enter(message.0)))
            }
        }

        impl Handler<Show> for $name {
            type Result = MessageResult<Show>;
            fn handle(&mut self, _: Show, _: &mut Self::Context) -> Self::Result {
                MessageResult(self.0.clone())
            }
        }
    };
}

ledger_actor!(OwnContext, DurableContext);
ledger_actor!(Wrapped, Context);

struct Handle<A: actix::Actor>(Addr<A>);

pub(crate) async fn context(
    journal: &EventJournal,
    actor: u32,
) -> Result<impl crate::Actor + 'static> {
    Ok(Handle(OwnContext::default().start_durable(journal, actor.to_string()).await?))
}

pub(crate) async fn wrapper(
    journal: &EventJournal,
    actor: u32,
) -> Result<impl crate::Actor + 'static> {
    let create = |_: &mut _| Wrapped::default();
    Ok(Handle(DurableActixActor::start(journal, actor.to_string(), create).await?))
}

impl<A> crate::Actor for Handle<A>
where
    A: actix::Actor<Context = DurableContext<A>>
        + Handler<Enter>
        + Handler<EnterSlowly>
        + Handler<Show>,
{
    fn ask(&self, slot: Slot, entry: Entry) -> LocalBoxFuture<'static, Result<u64>> {
        let id = message_id(slot, entry.number);
        if is_slow(entry.number) {
            let reply = self.0.send_with_id(id, EnterSlowly(entry));
            Box::pin(async move { Ok(reply.await?) })
        } else {
            let reply = self.0.send_with_id(id, Enter(entry));
            Box::pin(async move { Ok(reply.await?) })
        }
    }

    fn tell(&self, slot: Slot, entry: Entry) -> LocalBoxFuture<'static, Result<()>> {
        let id = message_id(slot, entry.number);
        if is_slow(entry.number) {
            let receipt = self.0.tell_with_id(id, EnterSlowly(entry));
            Box::pin(async move { Ok(receipt.await?) })
        } else {
            let receipt = self.0.tell_with_id(id, Enter(entry));
            Box::pin(async move { Ok(receipt.await?) })
        }
    }

    fn show(&self) -> LocalBoxFuture<'static, Result<Ledger>> {
        let ledger = self.0.send(Show);
        Box::pin(async move { Ok(ledger.await?) })
    }
}
