//! The live view: a bar for the flights, a line for each node.

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::Context;
use duroxide_actix::journal::ShardId;
use duroxide_actix::journal::cluster::ShardStatus;
use indicatif::{HumanCount, MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

pub(crate) struct View {
    lines: MultiProgress,
    flights: ProgressBar,
    nodes: BTreeMap<String, ProgressBar>,
    /// Answered since the last look, by shard.
    answered: BTreeMap<ShardId, u64>,
    since: Instant,
}

impl View {
    pub(crate) fn new(flights: usize, hidden: bool) -> anyhow::Result<Self> {
        let lines = MultiProgress::new();
        if hidden {
            lines.set_draw_target(ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template("{wide_bar} {human_pos} of {human_len} flights")
            .context("the progress bar")?;
        let flights = lines.add(ProgressBar::new(flights as u64).with_style(style));
        let (nodes, answered) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { lines, flights, nodes, answered, since: Instant::now() })
    }

    pub(crate) fn answered(&mut self, shard: ShardId) {
        *self.answered.entry(shard).or_default() += 1;
        self.flights.inc(1);
    }

    /// Says something above the lines.
    pub(crate) fn say(&self, text: &str) {
        if self.lines.println(text).is_err() || self.flights.is_hidden() {
            eprintln!("{text}");
        }
    }

    /// Shows who has which shards, and what came from them since the last time.
    pub(crate) fn show(&mut self, shards: &[ShardStatus]) -> anyhow::Result<()> {
        let elapsed = self.since.elapsed().as_secs_f64().max(1e-3);
        let mut nodes: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for ShardStatus { shard, node, .. } in shards {
            let (count, answered) = nodes.entry(node.as_deref().unwrap_or("nobody")).or_default();
            *count += 1;
            *answered += self.answered.get(shard).copied().unwrap_or_default();
        }
        self.nodes.retain(|name, line| {
            let stays = nodes.contains_key(name.as_str());
            if !stays {
                line.finish_and_clear();
            }
            stays
        });
        let style = ProgressStyle::with_template("{prefix:<18} {msg}").context("a line")?;
        for (name, (count, answered)) in nodes {
            let line = self.nodes.entry(name.to_owned()).or_insert_with(|| {
                let line = ProgressBar::no_length().with_style(style.clone());
                self.lines.add(line.with_prefix(name.to_owned()))
            });
            let blocks = "■".repeat(usize::try_from(count)?);
            let rate = HumanCount((answered as f64 / elapsed) as u64);
            line.set_message(format!("{blocks:<12} {count:>2} shards {rate:>7} messages/s"));
        }
        self.answered.clear();
        self.since = Instant::now();
        Ok(())
    }

    pub(crate) fn clear(&self) {
        for line in self.nodes.values().chain([&self.flights]) {
            line.finish_and_clear();
        }
    }
}
