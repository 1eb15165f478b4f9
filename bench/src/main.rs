//! `cargo run --release -p bench -- SCENARIO [--json] [--seconds N] [--rounds N]
//! [--durability power-loss|process-crash]`: what durability costs.
//!
//! Every comparison runs its sides in one process, in turn, for several rounds, and prints medians
//! and ratios. `docs/performance.md` has the results.

mod counter;
mod load;
mod output;
mod plot;
mod scenarios;
mod sides;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Parser, ValueEnum};
use duroxide_actix::journal::Durability;

use crate::load::Shape;
use crate::scenarios::{
    asks, cluster, coexist, compare, contend, keys, nodes, portable, postgres, recover, scale,
    state, tell, timers,
};

#[derive(Parser)]
enum Command {
    /// Asks per second: ours, by hand, in memory, as an orchestration, and what the disk allows.
    Compare {
        /// The shape of the load.
        #[arg(long)]
        shape: Shape,
        /// Which of our adapters.
        #[arg(long, default_value = "actix")]
        adapter: Adapter,
        #[command(flatten)]
        common: Common,
    },
    /// Messages per second whose senders wait for the durable receipt only.
    Tell {
        /// The shape of the load.
        #[arg(long)]
        shape: Shape,
        /// Which of our adapters.
        #[arg(long, default_value = "actix")]
        adapter: Adapter,
        #[command(flatten)]
        common: Common,
    },
    /// Asks over more and more actors; memory and disk for each.
    Scale {
        /// How many actors.
        #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000,1000000")]
        actors: Vec<usize>,
        /// Only so many in memory; the others are passivated.
        #[arg(long)]
        capacity: Option<usize>,
        #[command(flatten)]
        common: Common,
    },
    /// From opening the store of a killed process to the first reply.
    Recover {
        /// How many actors.
        #[arg(long, default_value_t = 100_000)]
        actors: usize,
        /// How many messages they had.
        #[arg(long, default_value_t = 1_000_000)]
        messages: usize,
        #[command(flatten)]
        common: Common,
    },
    /// How cost grows with the size of the state.
    State {
        /// Bytes of state.
        #[arg(long, value_delimiter = ',', default_value = "100,10000,1000000")]
        bytes: Vec<usize>,
        #[command(flatten)]
        common: Common,
    },
    /// Timers and activities of duroxide beside the journal at full load.
    Coexist {
        #[command(flatten)]
        common: Common,
    },
    /// A workflow with an activity, alone and beside so many that ask actors which take their time.
    Asks {
        /// How many.
        #[arg(long, default_value_t = 1000)]
        asks: usize,
        #[command(flatten)]
        common: Common,
    },
    /// Asks beside readers and checkpoints.
    Contend {
        #[command(flatten)]
        common: Common,
    },
    /// Asks with new keys of a caller's, with so many keys in rows and with none.
    Keys {
        /// How many.
        #[arg(long, default_value_t = 1_000_000)]
        keys: u64,
        #[command(flatten)]
        common: Common,
    },
    /// Asks per second through a cluster, from the actors' node and from another one.
    Cluster {
        /// The shape of the load; with `--nodes`, of each node's.
        #[arg(long)]
        shape: Shape,
        /// Instead: between 1, 2, 4, 8 or 16 nodes on the PostgreSQL server of `DATABASE_URL`.
        #[arg(long)]
        nodes: Option<usize>,
        #[command(flatten)]
        common: Common,
    },
    /// How late durable timers of actors are that are due within so many seconds.
    Timers {
        /// How many.
        #[arg(long, default_value_t = 10_000)]
        timers: u64,
        /// On the PostgreSQL server of `DATABASE_URL`.
        #[arg(long)]
        postgres: bool,
        /// Instead: what so many take that wait for a year, one an actor, on SQLite.
        #[arg(long)]
        waiting: Option<u64>,
        #[command(flatten)]
        common: Common,
    },
    /// Asks per second in a provider's history, and in SQLite tables of our own.
    Portable {
        /// The shape of the load.
        #[arg(long)]
        shape: Shape,
        #[command(flatten)]
        common: Common,
    },
    /// Asks per second on the PostgreSQL server of `DATABASE_URL`: ours, by hand, a raw row.
    Postgres {
        /// The shape of the load.
        #[arg(long)]
        shape: Shape,
        #[command(flatten)]
        common: Common,
    },
    /// Draws plots and prints tables from lines of JSON that the scenarios printed.
    Plot {
        /// The file with the lines.
        lines: PathBuf,
        /// The folder for the plots.
        #[arg(long, default_value = "docs/performance")]
        out: PathBuf,
    },
    /// The process that `recover` kills and `scale` measures, or a node.
    #[command(hide = true)]
    Child(scenarios::Child),
}

/// What all scenarios have.
#[derive(Args, Debug, Clone, Copy)]
struct Common {
    /// Seconds a round and side.
    #[arg(long, default_value_t = 2)]
    seconds: u64,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// What a commit survives.
    #[arg(long, default_value = "power-loss")]
    durability: Survives,
    /// One line of JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Survives {
    PowerLoss,
    ProcessCrash,
}

impl Survives {
    fn durability(self) -> Durability {
        match self {
            Self::PowerLoss => Durability::PowerLoss,
            Self::ProcessCrash => Durability::ProcessCrash,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::PowerLoss => "power-loss",
            Self::ProcessCrash => "process-crash",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Adapter {
    Actix,
    Tower,
}

impl Adapter {
    fn name(self) -> &'static str {
        match self {
            Self::Actix => "actix",
            Self::Tower => "tower",
        }
    }
}

fn main() -> Result<()> {
    let command = Command::parse();
    if !matches!(command, Command::Coexist { .. }) {
        // duroxide sets up a subscriber of its own otherwise, and its warnings get in the way of
        // the lines. `coexist` counts them.
        tracing::subscriber::set_global_default(tracing_subscriber::registry())?;
    }
    actix::System::new().block_on(async move {
        let (json, line) = match command {
            Command::Compare { shape, adapter, common } => {
                (common.json, compare::run(shape, adapter, common).await?)
            }
            Command::Tell { shape, adapter, common } => {
                (common.json, tell::run(shape, adapter, common).await?)
            }
            Command::Scale { actors, capacity, common } => {
                (common.json, scale::run(&actors, capacity, common).await?)
            }
            Command::Recover { actors, messages, common } => {
                (common.json, recover::run(actors, messages, common).await?)
            }
            Command::State { bytes, common } => (common.json, state::run(&bytes, common).await?),
            Command::Coexist { common } => (common.json, coexist::run(common).await?),
            Command::Asks { asks, common } => (common.json, asks::run(asks, common).await?),
            Command::Contend { common } => (common.json, contend::run(common).await?),
            Command::Keys { keys, common } => (common.json, keys::run(keys, common).await?),
            Command::Cluster { shape, nodes: Some(nodes), common } => {
                (common.json, nodes::run(shape, nodes, common).await?)
            }
            Command::Cluster { shape, common, .. } => {
                (common.json, cluster::run(shape, common).await?)
            }
            Command::Timers { waiting: Some(timers), common, .. } => {
                (common.json, timers::waiting(timers, common).await?)
            }
            Command::Timers { timers, postgres, common, .. } => {
                (common.json, timers::run(timers, postgres, common).await?)
            }
            Command::Portable { shape, common } => {
                (common.json, portable::run(shape, common).await?)
            }
            Command::Postgres { shape, common } => {
                (common.json, postgres::run(shape, common).await?)
            }
            Command::Plot { lines, out } => return plot::run(&lines, &out),
            Command::Child(child) => return child.run().await,
        };
        output::print(&line, json);
        Ok(())
    })
}
