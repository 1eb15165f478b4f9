//! `cargo run --release -p bench -- compare --shape s1|s2|s3 [--seconds N] [--rounds N] [--json]`:
//! asks per second with durability by this workspace, and by one sqlx transaction a message. Both
//! sides in one run, in turn, with a power cut survived by either; medians and their ratio.

mod counter;
mod handwritten;
mod load;
mod ours;

use std::time::Duration;

use actix::prelude::*;
use anyhow::Result;
use clap::Parser;

use crate::load::{Shape, ask, median};

#[derive(Parser)]
enum Command {
    /// Asks per second, against one transaction a message.
    Compare {
        /// The shape of the load.
        #[arg(long)]
        shape: Shape,
        /// Seconds a round and side.
        #[arg(long, default_value_t = 2)]
        seconds: u64,
        /// Rounds.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// One line of JSON.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> Result<()> {
    let Command::Compare { shape, seconds, rounds, json } = Command::parse();
    actix::System::new().block_on(async move {
        let folder = tempfile::tempdir()?;
        let pool = handwritten::open(&folder.path().join("handwritten.db")).await?;
        let by_hand: Vec<_> =
            (0..shape.actors()).map(|id| handwritten::Counter::new(id, &pool).start()).collect();
        let journal = ours::open(&folder.path().join("ours.db")).await?;
        let ours = ours::start(&journal, shape.actors()).await?;
        let (time, warm_up) = (Duration::from_secs(seconds), Duration::from_millis(200));
        ask(shape, &ours, warm_up).await?;
        ask(shape, &by_hand, warm_up).await?;
        let (mut our_rounds, mut hand_rounds) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            our_rounds.push(ask(shape, &ours, time).await?);
            hand_rounds.push(ask(shape, &by_hand, time).await?);
        }
        let (ours, by_hand) = (median(our_rounds)?, median(hand_rounds)?);
        let ratio = ours.per_s / by_hand.per_s;
        if json {
            let side = |round: load::Round| {
                serde_json::json!({
                    "per_s": round.per_s.round(),
                    "p50_us": round.p50_us.round(),
                    "p99_us": round.p99_us.round(),
                })
            };
            let line = serde_json::json!({
                "shape": format!("{shape:?}").to_lowercase(),
                "adapter": "actix",
                "durability": "power-loss",
                "ours": side(ours),
                "handwritten": side(by_hand),
                "ratio": { "handwritten": (ratio * 10.0).round() / 10.0 },
            });
            println!("{line}");
        } else {
            for (name, round) in [("ours", ours), ("by hand", by_hand)] {
                println!(
                    "{name:8} {:10.0} asks/s   p50 {:8.0} us   p99 {:8.0} us",
                    round.per_s, round.p50_us, round.p99_us
                );
            }
            println!("ratio    {ratio:10.1}");
        }
        Ok(())
    })
}
