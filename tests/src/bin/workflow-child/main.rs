//! A process with a node and a duroxide runtime, whose orchestrations ask actors. The workflow tests
//! kill it.
//!
//! `workflow-child STORE ORCHESTRATIONS ACTORS` starts what was not started, waits until all is
//! done, and prints what each actor has counted.

use std::time::Duration;

use anyhow::{Context as _, Result};
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{OrchestrationStatus, Runtime, RuntimeOptions};
use duroxide::{Client, OrchestrationContext, OrchestrationRegistry};
use duroxide_actix::journal::Limits;
use duroxide_actix::journal::cluster::Cluster;
use duroxide_actix::journal::workflow::{for_runtime, register};
use duroxide_actix::{ActixHost, ClusterActors, WorkflowActors};
use tests::tally::{Add, Show, Tally};

/// Messages of an orchestration to its actor: three one after the other, the last one told.
const MESSAGES: u64 = 3;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, orchestrations, actors] = &arguments[..] else {
        anyhow::bail!("STORE ORCHESTRATIONS ACTORS");
    };
    let (orchestrations, actors): (u32, u32) = (orchestrations.parse()?, actors.parse()?);
    actix::System::new().block_on(run(store, orchestrations, actors))
}

async fn run(store: &str, orchestrations: u32, actors: u32) -> Result<()> {
    let provider = for_runtime(tests::postgres::open(store).await?);
    let cluster = Cluster::builder("tallies", 3)
        .limits(Limits { attempts: tests::ATTEMPTS, ..Limits::default() })
        .lease(Duration::from_millis(300))
        .host(ActixHost::new(|_| Tally::default()))
        .join(provider.clone())
        .await?;
    let activities = register(ActivityRegistry::builder(), &cluster).build();
    let registry = OrchestrationRegistry::builder().register("count", count).build();
    let options = RuntimeOptions {
        worker_concurrency: 4,
        // What a killed process had under way is soon the next one's.
        worker_lock_timeout: Duration::from_millis(1000),
        worker_lock_renewal_buffer: Duration::from_millis(300),
        orchestrator_lock_timeout: Duration::from_millis(1000),
        orchestrator_lock_renewal_buffer: Duration::from_millis(300),
        ..RuntimeOptions::default()
    };
    let runtime = Runtime::start_with_options(provider.clone(), activities, registry, options);
    let runtime = runtime.await;
    let client = Client::new(provider);
    for number in 0..orchestrations {
        let input = format!("{} {number}", number % actors);
        // A second start is ignored.
        client.start_orchestration(instance(number), "count", input).await?;
    }
    println!("started");
    for number in 0..orchestrations {
        let instance = instance(number);
        let status = client.wait_for_orchestration(&instance, Duration::from_secs(300)).await?;
        let completed = matches!(status, OrchestrationStatus::Completed { .. });
        anyhow::ensure!(completed, "{number}: {status:?}");
    }
    for actor in 0..actors {
        let tally = cluster.actor::<Tally>(actor.to_string()).ask(Show).await?;
        println!("{}", serde_json::to_string(&tally)?);
    }
    runtime.shutdown(None).await;
    cluster.leave().await?;
    Ok(())
}

fn instance(number: u32) -> String {
    format!("count-{number}")
}

/// Sends its messages to its actor; what comes twice or out of order the actor notes.
async fn count(ctx: OrchestrationContext, input: String) -> Result<String, String> {
    let (actor, sender) = input.split_once(' ').context("no sender").map_err(|e| e.to_string())?;
    let sender: u32 = sender.parse().map_err(|_| "no number".to_owned())?;
    let actor = ctx.actor::<Tally>(actor);
    for number in 1..MESSAGES {
        actor.ask(Add { sender, number }).await.map_err(|error| error.to_string())?;
    }
    let last = Add { sender, number: MESSAGES };
    actor.tell(last).await.map_err(|error| error.to_string())?;
    Ok(String::new())
}
