//! A month of flights from New York, sent to aircraft on three nodes. One of them is killed on the
//! way and another one is added; the totals are those of `fleet`.
//!
//! ```text
//! DATABASE_URL=postgres://postgres@localhost/test cargo run --release -p examples --bin cluster
//! ```
//!
//! The aircraft are plain Actix actors. Where each of them runs is the cluster's business.

#[path = "../fleet/aircraft.rs"]
mod aircraft;
mod durable;
#[path = "../fleet/flights.rs"]
mod flights;
mod node;
mod options;
mod view;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use duroxide_actix::journal::MessageId;
use duroxide_actix::journal::cluster::Cluster;
use duroxide_actix::{ActorRef, ClusterActors};
use futures::stream::{FuturesUnordered, StreamExt};
use serde::Serialize;

use crate::aircraft::{Aircraft, GetTotals};
use crate::flights::{Entry, UNASSIGNED};
use crate::node::Node;
use crate::options::{Options, Role};
use crate::view::View;

/// How many flights are on their way at a time.
const IN_FLIGHT: usize = 1000;
/// How often the view changes.
const LOOK: Duration = Duration::from_millis(250);

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::ERROR)
        .with_writer(std::io::stderr)
        .init();
    actix::System::new().block_on(async move {
        match &options.role {
            Some(Role::Node { name }) => node::run(name, &options.store).await,
            Some(Role::Drop) => node::drop_schema(&options.store).await,
            None => lead(&options).await,
        }
    })
}

/// The totals of the fleet. Its JSON begins as that of `fleet` does.
#[derive(Debug, Default, Serialize)]
struct Summary {
    flights: u64,
    /// Without those that have no tail number.
    aircraft: u64,
    cancelled: u64,
    air_minutes: u64,
    miles: u64,
    worst_arr_delay: Option<i32>,
    nodes: usize,
    killed: usize,
    flights_per_s: u64,
}

async fn lead(options: &Options) -> anyhow::Result<()> {
    let entries = flights::read(&options.data)?.collect::<anyhow::Result<Vec<_>>>()?;
    let mut nodes = ["anna", "bert", "carl"]
        .into_iter()
        .map(|name| Node::start(name, &options.store))
        .collect::<anyhow::Result<Vec<_>>>()?;
    // This process runs no aircraft: it only sends.
    let cluster = node::builder("sender").join(node::provider(&options.store).await?).await?;
    wait_for(&cluster, nodes.len()).await?;

    let mut view = View::new(entries.len(), options.json)?;
    let tail_numbers: BTreeSet<_> = entries.iter().map(|entry| entry.aircraft.clone()).collect();
    let (count, began) = (entries.len(), Instant::now());
    let mut entries = entries.into_iter();
    let mut answers = FuturesUnordered::new();
    let (mut answered, mut killed) = (0, 0);
    let mut looks = tokio::time::interval(LOOK);
    while answered < count {
        while answers.len() < IN_FLIGHT
            && let Some(Entry { row, aircraft: tail_number, flight }) = entries.next()
        {
            let aircraft: ActorRef<Aircraft> = cluster.actor(&tail_number);
            answers.push(async move {
                // The row is the same in every run on this file.
                let id = MessageId::from(u128::from(row));
                let answer = aircraft.ask_with_id(id, flight).await;
                answer.with_context(|| format!("row {row}, aircraft {tail_number}"))?;
                anyhow::Ok(aircraft)
            });
        }
        tokio::select! {
            Some(answer) = answers.next() => {
                view.answered(cluster.shard_of(answer?.actor_id()));
                answered += 1;
                if answered == count / 3 {
                    let victim = &mut nodes[1];
                    victim.kill().await?;
                    killed += 1;
                    view.say(&format!("killed {} after {answered} flights", victim.name));
                }
                if answered == count * 2 / 3 {
                    nodes.push(Node::start("dora", &options.store)?);
                    view.say(&format!("added dora after {answered} flights"));
                }
            }
            _ = looks.tick() => view.show(&cluster.shards().await?)?,
        }
    }
    let elapsed = began.elapsed();
    let mut summary = Summary {
        nodes: nodes.len(),
        killed,
        flights_per_s: (count as f64 / elapsed.as_secs_f64()) as u64,
        ..Summary::default()
    };
    add_totals(&cluster, &tail_numbers, &mut summary).await?;
    view.clear();
    for node in nodes.into_iter().filter(|node| node.name != "bert") {
        node.leave().await?;
    }
    if options.json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        println!("{summary:#?}");
    }
    Ok(())
}

/// Waits until so many nodes have shards.
async fn wait_for(cluster: &Cluster, nodes: usize) -> anyhow::Result<()> {
    loop {
        let shards = cluster.shards().await?;
        let owners: BTreeSet<_> = shards.iter().filter_map(|it| it.node.as_deref()).collect();
        if owners.len() >= nodes && shards.iter().all(|it| it.node.is_some()) {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks every aircraft, a thousand at a time.
async fn add_totals(
    cluster: &Cluster,
    tail_numbers: &BTreeSet<String>,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let asked = futures::stream::iter(tail_numbers).map(|tail_number| async move {
        let aircraft: ActorRef<Aircraft> = cluster.actor(tail_number);
        (tail_number, aircraft.ask(GetTotals).await)
    });
    let mut answers = asked.buffer_unordered(IN_FLIGHT);
    while let Some((tail_number, totals)) = answers.next().await {
        let totals = totals.with_context(|| format!("aircraft {tail_number}"))?;
        summary.flights += totals.flights;
        summary.aircraft += u64::from(tail_number != UNASSIGNED);
        summary.cancelled += totals.cancelled;
        summary.air_minutes += totals.air_minutes;
        summary.miles += totals.miles;
        summary.worst_arr_delay = summary.worst_arr_delay.max(totals.worst_arr_delay);
    }
    Ok(())
}
