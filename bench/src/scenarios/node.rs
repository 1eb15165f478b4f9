//! A node of a cluster on PostgreSQL, in a process of its own: what `cluster --nodes` starts.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use duroxide_actix::ActixHost;
use duroxide_actix::journal::ActorId;
use duroxide_actix::journal::cluster::Cluster;
use duroxide_pg::PostgresProvider;
use tokio::io::{AsyncBufReadExt, BufReader};

use super::cluster::Anywhere;
use super::postgres::SCHEMA;
use crate::Survives;
use crate::counter::{Count, Counter, STATE_BYTES};
use crate::load::{Load, ask};

/// Twice as many as the most nodes.
pub(super) const SHARDS: u32 = 16;
/// Between two looks whether every node has its share.
const LOOK: Duration = Duration::from_millis(50);

/// Joins, says "ready" when every shard is where it stays, and then asks as it is told, a line each time: whom, how
/// many callers, how many milliseconds. It answers with a line of JSON, and leaves at the end of the input.
pub(super) async fn run(
    index: usize,
    owners: usize,
    actors: usize,
    durability: Survives,
) -> Result<()> {
    let url = std::env::var("DATABASE_URL").context("set DATABASE_URL=postgres://...")?;
    let provider = Arc::new(PostgresProvider::new_with_schema(&url, Some(SCHEMA)).await?);
    let mut builder = Cluster::builder("bench", SHARDS)
        .durability(durability.durability())
        .inbox_letters(1 << 20);
    if index < owners {
        builder = builder.host(ActixHost::new(|_| Counter(Count::of(STATE_BYTES))));
    }
    let node = builder.join(provider).await?;
    println!("joined");
    while !shared_evenly(&node, owners).await? {
        tokio::time::sleep(LOOK).await;
    }
    let here = counters(&node, index, if index < owners { actors } else { 0 }, true);
    let there = counters(&node, index, if owners == 1 && index == 0 { 0 } else { actors }, false);
    println!("ready");
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let [whom, callers, ms] = line.split(' ').collect::<Vec<_>>()[..] else {
            bail!("no command: {line}");
        };
        let side = if whom == "here" { &here } else { &there };
        let callers = callers.parse()?;
        let load = Load { actors: if callers == 1 { 1 } else { actors }, callers };
        let round = ask(side, load, Duration::from_millis(ms.parse()?)).await?;
        println!("{}", serde_json::to_string(&round)?);
    }
    Ok(node.leave().await?)
}

/// Whether each has its share: then no shard moves any more.
async fn shared_evenly(node: &Cluster, owners: usize) -> Result<bool> {
    let mut shares = BTreeMap::<String, usize>::new();
    for owner in node.shards().await?.into_iter().filter_map(|shard| shard.node) {
        *shares.entry(owner).or_default() += 1;
    }
    let share = SHARDS as usize / owners;
    let own = shares.get(node.node()).copied().unwrap_or_default();
    let even = shares.len() == owners && shares.values().all(|it| *it == share);
    Ok(even && node.own_shards().len() == own)
}

/// Some that run on this node, or on others.
fn counters(node: &Cluster, index: usize, actors: usize, here: bool) -> Rc<Anywhere> {
    let own = node.own_shards();
    let ids = (0..).map(|id| format!("{index}-{id}"));
    let ids = ids
        .filter(|id| own.contains(&node.shard_of(&ActorId::new("counter", id.as_str()))) == here);
    Rc::new(Anywhere::new(node, ids.take(actors)))
}
