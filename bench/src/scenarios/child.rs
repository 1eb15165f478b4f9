//! The other process: what `recover` kills, what `scale` measures the memory of, and the nodes of `cluster`.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use duroxide_actix::journal::{ActorId, EventJournal, Limits};
use serde_json::{Value, json};

use super::node;
use crate::counter::STATE_BYTES;
use crate::load::{Choice, Load, Side, ask, callers, rounded};
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
        /// Only so many actors in memory.
        #[arg(long)]
        capacity: Option<usize>,
    },
    /// Opens a store that is there; prints how long that took, its memory, and asks of a thousand counters.
    Reopen {
        #[arg(long)]
        seconds: u64,
    },
    /// A node of a cluster on PostgreSQL, that asks as it is told.
    Node {
        #[arg(long)]
        index: usize,
        /// So many have actors: those that come first.
        #[arg(long)]
        nodes: usize,
    },
    /// Plain actix actors in memory, for comparison; prints their memory.
    Plain,
}

impl Child {
    pub(crate) async fn run(self) -> Result<()> {
        match self.task {
            Task::Send { messages, stop } => self.send(messages, stop).await,
            Task::Measure { seconds, capacity } => {
                self.measure(Duration::from_secs(seconds), capacity).await
            }
            Task::Reopen { seconds } => self.reopen(Duration::from_secs(seconds)).await,
            Task::Node { index, nodes } => {
                node::run(index, nodes, self.actors, self.durability).await
            }
            Task::Plain => {
                let before = resident()?;
                let _plain = memory::start_here(self.actors);
                tokio::task::yield_now().await;
                println!("{}", resident()?.saturating_sub(before) / self.actors);
                Ok(())
            }
        }
    }

    async fn send(&self, messages: usize, stop: bool) -> Result<()> {
        let durability = self.durability.durability();
        let (_provider, journal) = ours::open(&self.store, durability, Limits::default()).await?;
        let side = Rc::new(ours::Ours::start(&journal, self.actors, STATE_BYTES).await?);
        let each = messages.div_ceil(CALLERS);
        let sent = callers(CALLERS, |caller| {
            let (side, actors) = (side.clone(), self.actors);
            async move {
                let mut choice = Choice::new(caller);
                for sent in 0.. {
                    if caller == 0 && sent == each {
                        // The parent kills while the others go on.
                        println!("sent");
                    }
                    if stop && sent >= each {
                        break;
                    }
                    side.ask(caller, choice.next(actors)).await?;
                }
                Ok(())
            }
        });
        sent.await?;
        Ok(journal.close().await?)
    }

    async fn measure(&self, time: Duration, capacity: Option<usize>) -> Result<()> {
        let actors = self.actors;
        let before = resident()?;
        let durability = self.durability.durability();
        let (_provider, journal) = ours::open(&self.store, durability, Limits::default()).await?;
        let begin = Instant::now();
        let line = match capacity {
            Some(capacity) => {
                let side = ours::Virtual::start(&journal, actors, capacity, STATE_BYTES).await?;
                self.asks(&journal, side, begin.elapsed(), before, time).await?
            }
            None => {
                let side = ours::Ours::start(&journal, actors, STATE_BYTES).await?;
                self.asks(&journal, side, begin.elapsed(), before, time).await?
            }
        };
        output::print(&line, true);
        Ok(())
    }

    async fn reopen(&self, time: Duration) -> Result<()> {
        const COUNTERS: usize = 1000;
        let before = resident()?;
        let durability = self.durability.durability();
        let begin = Instant::now();
        let (_provider, journal) = ours::open(&self.store, durability, Limits::default()).await?;
        let opened = begin.elapsed();
        // It has looked at the timers when it answers.
        journal.outcome(&ActorId::new("clock", "0"), 1.into()).await?;
        let bytes = resident()?.saturating_sub(before);
        let side = Rc::new(ours::Ours::start(&journal, COUNTERS, STATE_BYTES).await?);
        let round = ask(&side, Load { actors: COUNTERS, callers: CALLERS }, time).await?;
        let line = json!({
            "open_s": rounded(opened.as_secs_f64(), 2),
            "bytes": bytes,
            "per_s": rounded(round.per_s, 0),
        });
        output::print(&line, true);
        Ok(())
    }

    async fn asks<S: Side>(
        &self,
        journal: &EventJournal,
        side: S,
        started: Duration,
        before: usize,
        time: Duration,
    ) -> Result<Value> {
        let (actors, side) = (self.actors, Rc::new(side));
        journal.checkpoint().await?;
        let idle = resident()?.saturating_sub(before);
        let load = Load { actors, callers: CALLERS };
        let round = ask(&side, load, time).await?;
        journal.checkpoint().await?;
        let once = disk(&self.store)?;
        let again = ask(&side, load, time).await?;
        journal.checkpoint().await?;
        let twice = disk(&self.store)?;
        let messages = (round.per_s + again.per_s) * time.as_secs_f64() + actors as f64;
        Ok(json!({
            "actors": actors,
            "per_s": rounded(round.per_s.max(again.per_s), 0),
            "p50_us": rounded(round.p50_us, 1),
            "p99_us": rounded(round.p99_us, 1),
            "start_s": rounded(started.as_secs_f64(), 2),
            "idle_bytes_per_actor": idle / actors,
            "store_bytes": once,
            "store_bytes_after_twice_the_messages": twice,
            "store_bytes_per_message": rounded(twice as f64 / messages, 1),
        }))
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
