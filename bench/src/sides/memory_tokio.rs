//! The counter as a plain tokio loop in memory, on a thread of its own.

use anyhow::{Context as _, Result};
use tokio::sync::{mpsc, oneshot};

use crate::counter::{Add, Count, STATE_BYTES};
use crate::load::Side;

type Ask = (Add, oneshot::Sender<u64>);

pub(crate) struct Memory(Vec<mpsc::Sender<Ask>>);

impl Memory {
    pub(crate) fn start(actors: usize) -> Result<Self> {
        let (senders, receivers): (Vec<_>, Vec<_>) =
            (0..actors).map(|_| mpsc::channel::<Ask>(1024)).unzip();
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        std::thread::spawn(move || {
            let local = tokio::task::LocalSet::new();
            for mut receiver in receivers {
                local.spawn_local(async move {
                    let mut state = Count::of(STATE_BYTES);
                    while let Some((add, reply)) = receiver.recv().await {
                        let _ = reply.send(state.add(&add));
                    }
                });
            }
            // Ends when the senders are gone.
            runtime.block_on(local);
        });
        Ok(Self(senders))
    }
}

impl Side for Memory {
    async fn ask(&self, _: usize, actor: usize) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.0[actor].send((Add::sample(), reply)).await.ok().context("the actor has ended")?;
        answer.await?;
        Ok(())
    }
}
