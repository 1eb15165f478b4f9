//! An actor, in its own `Context`, that does everything that an actor can do.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use actix::prelude::*;
use duroxide_actix::journal::TimerId;
use duroxide_actix::journal::workflow::WorkflowResult;
use duroxide_actix::journal::{DurableMessage, DurableState};
use duroxide_actix::{DurableActor, DurableEffects};
use serde::{Deserialize, Serialize};
use tests::tally::{Add, Tally};

/// Told by the hub itself.
const NOTES: u64 = 5;
/// Raised in its workflow.
pub(crate) const EVENTS: u64 = 3;
/// What its tally hears.
pub(crate) const MESSAGES: u64 = NOTES + EVENTS + 1;

/// Who tells a tally: the hub, its workflow, its timer.
pub(crate) const HUB: u32 = 0;
pub(crate) const WORKFLOW: u32 = 1;
pub(crate) const TIMER: u32 = 2;

pub(crate) fn sender(hub: u32, part: u32) -> u32 {
    hub * 10 + part
}

/// What came back.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Seen {
    hub: u32,
    begun: u32,
    charged: Vec<bool>,
    ticks: u32,
    results: Vec<WorkflowResult>,
    timer: Option<TimerId>,
}

impl Seen {
    pub(crate) fn is_done(&self) -> bool {
        self.ticks > 0 && !self.results.is_empty() && !self.charged.is_empty()
    }
}

pub(crate) struct Hub {
    effects: PathBuf,
    seen: Seen,
}

impl Hub {
    pub(crate) fn new(effects: PathBuf) -> Self {
        Self { effects, seen: Seen::default() }
    }
}

impl DurableState for Hub {
    const ACTOR_TYPE: &'static str = "hub";
    type State = Seen;
    fn snapshot(&self) -> impl Serialize {
        &self.seen
    }
    fn restore(&mut self, seen: Seen) {
        self.seen = seen;
    }
}

impl Actor for Hub {
    type Context = Context<Self>;
}

impl DurableActor for Hub {
    type Messages = (Begin, Charge, Tick, Ended, Look);
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "hub.begin")]
pub(crate) struct Begin {
    pub(crate) hub: u32,
}

impl Handler<Begin> for Hub {
    type Result = ();
    fn handle(&mut self, Begin { hub }: Begin, ctx: &mut Self::Context) {
        self.seen.hub = hub;
        self.seen.begun += 1;
        let name = hub.to_string();
        for number in 1..=NOTES {
            let note = Add { sender: sender(hub, HUB), number };
            ctx.actor::<Tally>(&name).tell(note).expect("a cluster");
        }
        let instance = format!("listen/{hub}");
        ctx.ask_workflow("listen", &instance, &name, Ended).expect("a cluster");
        for number in 1..=EVENTS {
            ctx.raise_event(&instance, "numbers", &number.to_string()).expect("a cluster");
        }
        ctx.schedule(Duration::from_millis(30), Tick).expect("a cluster");
        let day = Duration::from_secs(86_400);
        self.seen.timer = Some(ctx.schedule(day, Tick).expect("a cluster"));
        ctx.actor::<Self>(&name).tell(Charge).expect("a cluster");
    }
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "hub.charge")]
pub(crate) struct Charge;

impl Handler<Charge> for Hub {
    type Result = ResponseActFuture<Self, ()>;
    fn handle(&mut self, _: Charge, ctx: &mut Self::Context) -> Self::Result {
        let (path, hub) = (self.effects.clone(), self.seen.hub);
        let charge = move || async move {
            let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).ok()?;
            file.write_all(format!("{hub}\n").as_bytes()).ok()
        };
        let charged = ctx.step("charge", || async move { charge().await.is_some() });
        Box::pin(charged.into_actor(self).map(|charged, hub, _| {
            hub.seen.charged.extend(charged.ok());
        }))
    }
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "hub.tick")]
pub(crate) struct Tick;

impl Handler<Tick> for Hub {
    type Result = ();
    fn handle(&mut self, _: Tick, ctx: &mut Self::Context) {
        self.seen.ticks += 1;
        let note = Add { sender: sender(self.seen.hub, TIMER), number: u64::from(self.seen.ticks) };
        ctx.actor::<Tally>(self.seen.hub.to_string()).tell(note).expect("a cluster");
        if let Some(timer) = self.seen.timer.take() {
            ctx.cancel(&timer).expect("a cluster");
        }
    }
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "hub.ended")]
pub(crate) struct Ended(WorkflowResult);

impl Handler<Ended> for Hub {
    type Result = ();
    fn handle(&mut self, Ended(result): Ended, _: &mut Self::Context) {
        self.seen.results.push(result);
    }
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "Seen")]
#[durable(name = "hub.look")]
pub(crate) struct Look;

impl Handler<Look> for Hub {
    type Result = MessageResult<Look>;
    fn handle(&mut self, _: Look, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.seen.clone())
    }
}
