//! The other process: what `recover` kills, and what `scale` measures the memory of.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use duroxide_actix::journal::Limits;
use serde_json::json;

use crate::counter::STATE_BYTES;
use crate::load::{Choice, Load, Side, ask, rounded};
use crate::sides::{memory, ours};
use crate::{Survives, output};

const CALLERS: usize = 256;

#[derive(Args)]
pub(crate) struct Child {
    #[arg(long)]
    store: PathBuf,
    #[arg(long)]
    actors: usize,
    #[arg(long)]
    durability: Survives,
    #[command(subcommand)]
    task: Task,
}

#[derive(clap::Subcommand)]
enum Task {
    /// Sends so many messages, says so, and goes on, or stops cleanly.
    Send {
        #[arg(long)]
        messages: usize,
        #[arg(long)]
        stop: bool,
    },
    /// Asks over all actors; prints throughput, memory and disk.
    Measure {
        #[arg(long)]
        seconds: u64,
    },
}

impl Child {
    pub(crate) async fn run(self) -> Result<()> {
        match self.task {
            Task::Send { messages, stop } => self.send(messages, stop).await,
            Task::Measure { seconds } => self.measure(Duration::from_secs(seconds)).await,
        }
    }

    async fn send(&self, messages: usize, stop: bool) -> Result<()> {
        let durability = self.durability.durability();
        let (_provider, journal) = ours::open(&self.store, durability, Limits::default()).await?;
        let side = Rc::new(ours::Ours::start(&journal, self.actors, STATE_BYTES).await?);
        let callers: Vec<_> = (0..CALLERS)
            .map(|caller| {
                let (side, actors) = (side.clone(), self.actors);
                actix::spawn(async move {
                    let mut choice = Choice::new(caller);
                    for sent in 0.. {
                        if caller == 0 && sent == messages.div_ceil(CALLERS) {
                            // The parent kills while the others go on.
                            println!("sent");
                        }
                        if stop && sent >= messages.div_ceil(CALLERS) {
                            break;
                        }
                        side.ask(caller, choice.next(actors)).await?;
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        for caller in callers {
            caller.await??;
        }
        Ok(journal.close().await?)
    }

    async fn measure(&self, time: Duration) -> Result<()> {
        let before = resident()?;
        let plain = memory::start_here(self.actors);
        tokio::task::yield_now().await;
        let in_memory = resident()?.saturating_sub(before);
        drop(plain);
        // Let the plain actors end; their memory is used again.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        let durability = self.durability.durability();
        let (_provider, journal) = ours::open(&self.store, durability, Limits::default()).await?;
        let begin = Instant::now();
        let side = Rc::new(ours::Ours::start(&journal, self.actors, STATE_BYTES).await?);
        let started = begin.elapsed();
        journal.checkpoint().await?;
        let durable = resident()?.saturating_sub(before);
        let load = Load { actors: self.actors, callers: CALLERS };
        let round = ask(&side, load, time).await?;
        journal.checkpoint().await?;
        let mut messages = round.per_s * time.as_secs_f64() + self.actors as f64;
        let once = disk(&self.store)?;
        let again = ask(&side, load, time).await?;
        journal.checkpoint().await?;
        let twice = disk(&self.store)?;
        messages += again.per_s * time.as_secs_f64();
        let line = json!({
            "actors": self.actors,
            "per_s": rounded(round.per_s.max(again.per_s), 0),
            "p50_us": rounded(round.p50_us, 1),
            "p99_us": rounded(round.p99_us, 1),
            "start_s": rounded(started.as_secs_f64(), 2),
            "idle_bytes_per_actor": durable / self.actors,
            "plain_actix_bytes_per_actor": in_memory / self.actors,
            "store_bytes": once,
            "store_bytes_after_twice_the_messages": twice,
            "store_bytes_per_message": rounded(twice as f64 / messages, 1),
        });
        output::print(&line, true);
        Ok(())
    }
}

/// Bytes of memory of this process.
fn resident() -> Result<usize> {
    let pages = std::fs::read_to_string("/proc/self/statm")?;
    let pages: usize = pages.split(' ').nth(1).unwrap_or_default().parse()?;
    Ok(pages * 4096)
}

/// Bytes of the journal's files next to `store`.
fn disk(store: &std::path::Path) -> Result<u64> {
    let mut bytes = 0;
    for name in ["actors.db", "actors.db-wal"] {
        bytes += std::fs::metadata(store.with_extension(name)).map_or(0, |file| file.len());
    }
    Ok(bytes)
}
