//! The counter as a plain actix actor in memory, on an arbiter of its own.

use actix::prelude::*;
use anyhow::Result;

use crate::counter::{Add, Count, STATE_BYTES};
use crate::load::Side;

pub(crate) struct Plain(Count);

impl Actor for Plain {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1024);
    }
}

impl Handler<Add> for Plain {
    type Result = u64;
    fn handle(&mut self, add: Add, _: &mut Self::Context) -> u64 {
        self.0.add(&add)
    }
}

pub(crate) struct Memory {
    addresses: Vec<Addr<Plain>>,
    _arbiter: Arbiter,
}

impl Memory {
    pub(crate) fn start(actors: usize) -> Self {
        let arbiter = Arbiter::new();
        let start =
            |_| Plain::start_in_arbiter(&arbiter.handle(), |_| Plain(Count::of(STATE_BYTES)));
        Self { addresses: (0..actors).map(start).collect(), _arbiter: arbiter }
    }
}

/// Plain actors on the current arbiter.
pub(crate) fn start_here(actors: usize) -> Vec<Addr<Plain>> {
    (0..actors).map(|_| Plain(Count::of(STATE_BYTES)).start()).collect()
}

impl Side for Memory {
    async fn ask(&self, _: usize, actor: usize) -> Result<()> {
        self.addresses[actor].send(Add::sample()).await?;
        Ok(())
    }
}
