//! The counter with `DurableContext`.

use std::path::Path;
use std::sync::Arc;

use actix::prelude::*;
use anyhow::Result;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide_actix::journal::{Durability, EventJournal, Limits};
use duroxide_actix::{DurableActor, DurableContext, DurableSend, StartDurable, VirtualActors};

use crate::counter::{Add, Count, Counter};
use crate::load::Side;

impl Actor for Counter {
    type Context = DurableContext<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1024);
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

/// duroxide's provider at `path`.
pub(crate) async fn provider(path: &Path) -> Result<Arc<SqliteProvider>> {
    let url = format!("sqlite:{}?mode=rwc", path.display());
    Ok(Arc::new(SqliteProvider::new(&url, None).await?))
}

/// Opens the provider at `path`, and its journal.
pub(crate) async fn open(
    path: &Path,
    durability: Durability,
    limits: Limits,
) -> Result<(Arc<SqliteProvider>, EventJournal)> {
    let provider = provider(path).await?;
    let journal = EventJournal::builder()
        .durability(durability)
        .limits(limits)
        .open(provider.clone())
        .await?;
    Ok((provider, journal))
}

pub(crate) struct Ours(Vec<Addr<Counter>>);

impl Ours {
    /// Starts the counters 0 to `actors`, and asks each once, so that all of them exist.
    pub(crate) async fn start(
        journal: &EventJournal,
        actors: usize,
        state_bytes: usize,
    ) -> Result<Self> {
        let mut started = Vec::with_capacity(actors);
        let ids: Vec<usize> = (0..actors).collect();
        // Many at a time: one after the other would be a commit each.
        for ids in ids.chunks(1000) {
            let some = futures::future::try_join_all(ids.iter().map(|id| async move {
                let counter = Counter(Count::of(state_bytes));
                let address = counter.start_durable(journal, id.to_string()).await?;
                address.send(Add::sample()).await?;
                anyhow::Ok(address)
            }));
            started.extend(some.await?);
        }
        Ok(Self(started))
    }

    /// Resolves when the receipt is durable.
    pub(crate) async fn tell(&self, actor: usize) -> Result<()> {
        Ok(self.0[actor].tell(Add::sample()).await?)
    }
}

impl Side for Ours {
    async fn ask(&self, _: usize, actor: usize) -> Result<()> {
        self.0[actor].send(Add::sample()).await?;
        Ok(())
    }
}

/// Counters of which some are in memory.
pub(crate) struct Virtual(VirtualActors<Counter>);

impl Virtual {
    /// Asks each of the counters 0 to `actors` once, so that all of them exist.
    pub(crate) async fn start(
        journal: &EventJournal,
        actors: usize,
        capacity: usize,
        state_bytes: usize,
    ) -> Result<Self> {
        let create = move |_: &str| Counter(Count::of(state_bytes));
        let side = Self(VirtualActors::new(journal, capacity, create));
        let ids: Vec<usize> = (0..actors).collect();
        for ids in ids.chunks(1000) {
            futures::future::try_join_all(ids.iter().map(|id| side.ask(0, *id))).await?;
        }
        Ok(side)
    }
}

impl Side for Virtual {
    async fn ask(&self, _: usize, actor: usize) -> Result<()> {
        let counter = self.0.get(actor.to_string()).await?;
        counter.send(Add::sample()).await?;
        Ok(())
    }
}
