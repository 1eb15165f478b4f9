//! The counter as a tokio loop that is durable by hand: one transaction a message.

use anyhow::{Context as _, Result};
use sqlx::SqlitePool;
use tokio::sync::{mpsc, oneshot};

use super::handwritten::store;
use crate::counter::{Add, Count, STATE_BYTES};
use crate::load::Side;

type Ask = (Add, oneshot::Sender<u64>);

pub(crate) struct Handwritten(Vec<mpsc::Sender<Ask>>);

impl Handwritten {
    pub(crate) fn start(pool: &SqlitePool, actors: usize) -> Self {
        let start = |id| {
            let (sender, receiver) = mpsc::channel(1024);
            actix::spawn(run(id as i64, pool.clone(), receiver));
            sender
        };
        Self((0..actors).map(start).collect())
    }
}

async fn run(id: i64, pool: SqlitePool, mut receiver: mpsc::Receiver<Ask>) {
    let mut state = Count::of(STATE_BYTES);
    while let Some((add, reply)) = receiver.recv().await {
        let mut next = state.clone();
        let answer = next.add(&add);
        if let Err(error) = store(&pool, id, &add, &next).await {
            eprintln!("the hand-written actor stops: {error}");
            return;
        }
        state = next;
        let _ = reply.send(answer);
    }
}

impl Side for Handwritten {
    async fn ask(&self, _: usize, actor: usize) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.0[actor].send((Add::sample(), reply)).await.ok().context("the actor has ended")?;
        answer.await?;
        Ok(())
    }
}
