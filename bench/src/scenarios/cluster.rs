//! Asks per second through a cluster: of its only node, of a node that has none of the actors, and
//! without a cluster.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use duroxide_actix::journal::Limits;
use duroxide_actix::journal::cluster::{Cluster, ClusterBuilder};
use duroxide_actix::{ActixHost, ActorRef, ClusterActors};
use serde_json::{Value, json};

use super::WARM_UP;
use crate::Common;
use crate::counter::{Add, Count, Counter, STATE_BYTES};
use crate::load::{Shape, Side, ask, median, rounded};
use crate::sides::ours::{Ours, open, provider};

const SHARDS: u32 = 4;

/// Counters anywhere in a cluster.
pub(super) struct Anywhere(Vec<ActorRef<Counter>>);

impl Anywhere {
    pub(super) fn new(cluster: &Cluster, ids: impl Iterator<Item = String>) -> Self {
        Self(ids.map(|id| cluster.actor(id)).collect())
    }
}

impl Side for Anywhere {
    async fn ask(&self, _: usize, actor: usize) -> Result<()> {
        self.0[actor].ask(Add::sample()).await?;
        Ok(())
    }
}

pub(crate) async fn run(shape: Shape, common: Common) -> Result<Value> {
    let (dir, nodes) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let load = shape.load();
    let time = Duration::from_secs(common.seconds);
    let durability = common.durability.durability();
    let (_, journal) = open(&dir.path().join("app.db"), durability, Limits::default()).await?;
    let direct = Rc::new(Ours::start(&journal, load.actors, STATE_BYTES).await?);

    let builder = || -> ClusterBuilder {
        Cluster::builder("bench", SHARDS).durability(durability).inbox_letters(1 << 20)
    };
    let store = nodes.path().join("app.db");
    let node = builder().host(ActixHost::new(|_| Counter(Count::of(STATE_BYTES))));
    let node = node.join(provider(&store).await?).await?;
    while node.own_shards().len() < SHARDS as usize {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let elsewhere = builder().join(provider(&store).await?).await?;
    let ids = || (0..load.actors).map(|id| id.to_string());
    let here = Rc::new(Anywhere::new(&node, ids()));
    let there = Rc::new(Anywhere::new(&elsewhere, ids()));
    ask(&direct, load, WARM_UP).await?;
    ask(&here, load, WARM_UP).await?;
    ask(&there, load, WARM_UP).await?;
    let (mut of_direct, mut of_here, mut of_there) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..common.rounds {
        of_direct.push(ask(&direct, load, time).await?);
        of_here.push(ask(&here, load, time).await?);
        of_there.push(ask(&there, load, time).await?);
    }
    node.leave().await?;
    journal.close().await?;
    let (direct, here, there) = (median(of_direct)?, median(of_here)?, median(of_there)?);
    Ok(json!({
        "scenario": "cluster",
        "shape": shape.name(),
        "durability": common.durability.name(),
        "direct": direct,
        "here": here,
        "elsewhere": there,
        "ratio": {
            "here": rounded(here.per_s / direct.per_s, 3),
            "elsewhere": rounded(there.per_s / direct.per_s, 3),
        },
    }))
}
