//! A node whose actors send to one another at full rate. The test of lines kills it.
//!
//! `lines-child NAME STORE SOURCES EACH` has every source send so many messages to one tally, waits until
//! they have arrived, and prints what the tally has.

mod source;

use std::time::Duration;

use anyhow::Result;
use duroxide_actix::journal::cluster::Cluster;
use duroxide_actix::journal::{Limits, MessageId};
use duroxide_actix::{ActixHost, ClusterActors, WrappedHost};
use tests::tally::{Get, Show, Tally};

use crate::source::{Begin, Source};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, store, sources, each] = &arguments[..] else {
        anyhow::bail!("NAME STORE SOURCES EACH");
    };
    let (sources, each) = (sources.parse()?, each.parse()?);
    // What `FAILPOINTS` says is broken.
    let _sabotage = fail::FailScenario::setup();
    actix::System::new().block_on(run(name, store, sources, each))
}

async fn run(name: &str, store: &str, sources: u32, each: u64) -> Result<()> {
    let limits = Limits { attempts: tests::ATTEMPTS, ..Limits::default() };
    let cluster = Cluster::builder("lines", 4)
        .limits(limits)
        .node(name)
        .lease(Duration::from_millis(300))
        .host(ActixHost::new(|_| Tally::default()))
        .host(WrappedHost::new(|_| Source::default()))
        .join(tests::postgres::open(store).await?)
        .await?;
    println!("started");
    for number in 0..sources {
        let id = MessageId::from_key(&format!("begin {number}"));
        let begin = Begin { number, each };
        cluster.actor::<Source>(number.to_string()).tell_with_id(id, begin).await?;
    }
    let tally = cluster.actor::<Tally>("all");
    loop {
        match tally.ask(Get).await {
            Ok(count) if count >= u64::from(sources) * each => break,
            // Its inbox may be full of what the sources send.
            Err(error) if !error.is_retryable() => return Err(error.into()),
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    println!("{}", serde_json::to_string(&tally.ask(Show).await?)?);
    cluster.leave().await?;
    Ok(())
}
