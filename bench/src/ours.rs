//! The same actor with `DurableContext`.

use std::path::Path;
use std::sync::Arc;

use actix::prelude::*;
use anyhow::Result;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide_actix::journal::{DurableMessage, DurableState, EventJournal};
use duroxide_actix::{DurableActor, DurableContext, StartDurable};
use serde::Serialize;

use crate::counter::{Add, Count};

#[derive(Default)]
pub(crate) struct Counter(Count);

impl Actor for Counter {
    type Context = DurableContext<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1024);
    }
}

impl DurableMessage for Add {
    const NAME: &'static str = "counter.add";
}

impl DurableState for Counter {
    const ACTOR_TYPE: &'static str = "counter";
    type State = Count;
    fn snapshot(&self) -> impl Serialize {
        &self.0
    }
    fn restore(&mut self, state: Count) {
        self.0 = state;
    }
}

impl DurableActor for Counter {
    type Messages = (Add,);
}

impl Handler<Add> for Counter {
    type Result = u64;
    fn handle(&mut self, add: Add, _: &mut Self::Context) -> u64 {
        self.0.add(&add)
    }
}

pub(crate) async fn open(path: &Path) -> Result<EventJournal> {
    let url = format!("sqlite:{}?mode=rwc", path.display());
    let provider = Arc::new(SqliteProvider::new(&url, None).await?);
    Ok(EventJournal::open(provider).await?)
}

pub(crate) async fn start(journal: &EventJournal, actors: usize) -> Result<Vec<Addr<Counter>>> {
    let mut started = Vec::new();
    for id in 0..actors {
        started.push(Counter::default().start_durable(journal, id.to_string()).await?);
    }
    Ok(started)
}
