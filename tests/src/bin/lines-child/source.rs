//! An actor that sends as fast as it can.

use actix::prelude::*;
use duroxide_actix::journal::{DurableMessage, DurableState};
use duroxide_actix::{DurableActor, DurableEffects};
use serde::{Deserialize, Serialize};
use tests::tally::{Add, Tally};

/// Sent by one call of a handler.
const AT_ONCE: u64 = 10;

#[derive(Debug, Default, Clone, Serialize, Deserialize, DurableState)]
#[durable(actor_type = "source")]
pub(crate) struct Source {
    number: u32,
    sent: u64,
    each: u64,
}

impl Actor for Source {
    type Context = Context<Self>;
}

impl DurableActor for Source {
    type Messages = (Begin, More);
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "source.begin")]
pub(crate) struct Begin {
    pub(crate) number: u32,
    pub(crate) each: u64,
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "source.more")]
pub(crate) struct More;

impl Source {
    fn send(&mut self, ctx: &mut Context<Self>) {
        for _ in 0..AT_ONCE.min(self.each - self.sent) {
            self.sent += 1;
            let add = Add { sender: self.number, number: self.sent };
            ctx.actor::<Tally>("all").tell(add).expect("a cluster");
        }
        if self.sent < self.each {
            ctx.actor::<Self>(self.number.to_string()).tell(More).expect("a cluster");
        }
    }
}

impl Handler<Begin> for Source {
    type Result = ();
    fn handle(&mut self, Begin { number, each }: Begin, ctx: &mut Self::Context) {
        (self.number, self.each) = (number, each);
        self.send(ctx);
    }
}

impl Handler<More> for Source {
    type Result = ();
    fn handle(&mut self, _: More, ctx: &mut Self::Context) {
        self.send(ctx);
    }
}
