//! A process whose actors send to actors, ask workflows, raise events, set timers and have side
//! effects, beside actors that are orchestrations. The effects tests kill it.
//!
//! `effects-child STORE HUBS` begins what was not begun, waits until all is done, and prints what each
//! hub, each tally and each sum has seen. Side effects are lines in the file STORE.effects.

mod hub;
mod sum;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{Runtime, RuntimeOptions};
use duroxide::{OrchestrationContext, OrchestrationRegistry};
use duroxide_actix::journal::cluster::Cluster;
use duroxide_actix::journal::workflow::{
    for_runtime, next_event, register, register_orchestrations,
};
use duroxide_actix::journal::{Limits, MessageId};
use duroxide_actix::{ActixHost, ClusterActors, WorkflowActors, WrappedHost};
use duroxide_tower::Orchestrated;
use tests::tally::{Add, Show, Tally};

use self::hub::{Begin, EVENTS, Hub, Look};
use self::sum::{Plus, Sum};

/// Longer than it takes.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [store, hubs] = &arguments[..] else { anyhow::bail!("STORE HUBS") };
    tests::arm()?;
    let hubs = hubs.parse()?;
    // What is lost would be waited for for ever.
    let run = async move { tokio::time::timeout(PATIENCE, run(store, hubs)).await? };
    actix::System::new().block_on(run)
}

async fn run(store: &str, hubs: u32) -> Result<()> {
    let provider = for_runtime(tests::postgres::open(store).await?);
    let effects = PathBuf::from(format!("{store}.effects"));
    let cluster = Cluster::builder("hubs", 3)
        .limits(Limits { attempts: tests::ATTEMPTS, ..Limits::default() })
        .lease(Duration::from_millis(300))
        .host(ActixHost::new(|_| Tally::default()))
        .host(WrappedHost::new(move |_| Hub::new(effects.clone())))
        .join(provider.clone())
        .await?;
    let sums = Orchestrated::new(|_| Sum::default());
    let activities = sums.activity(register(ActivityRegistry::builder(), &cluster)).build();
    let orchestrations = register_orchestrations(OrchestrationRegistry::builder());
    let orchestrations = sums.orchestration(orchestrations).register("listen", listen).build();
    let options = RuntimeOptions {
        dispatcher_min_poll_interval: Duration::from_millis(20),
        worker_concurrency: 4,
        // What a killed process had under way is soon the next one's.
        worker_lock_timeout: Duration::from_millis(1000),
        worker_lock_renewal_buffer: Duration::from_millis(300),
        orchestrator_lock_timeout: Duration::from_millis(1000),
        orchestrator_lock_renewal_buffer: Duration::from_millis(300),
        ..RuntimeOptions::default()
    };
    let runtime = Runtime::start_with_options(provider, activities, orchestrations, options).await;
    println!("started");
    for hub in 0..hubs {
        let begin = MessageId::from_key(&format!("begin {hub}"));
        cluster.actor::<Hub>(hub.to_string()).tell_with_id(begin, Begin { hub }).await?;
    }
    for hub in 0..hubs {
        let sum = sums.actor(&cluster, hub.to_string());
        for number in 1..=3 {
            let id = MessageId::from_key(&format!("plus {number}"));
            sum.tell_with_id(id, Plus(number)).await?;
        }
    }
    for hub in 0..hubs {
        let seen = loop {
            let seen = cluster.actor::<Hub>(hub.to_string()).ask(Look).await?;
            let tally = cluster.actor::<Tally>(hub.to_string()).ask(Show).await?;
            if seen.is_done() && tally.count >= hub::MESSAGES {
                break seen;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        println!("{}", serde_json::to_string(&seen)?);
    }
    for hub in 0..hubs {
        let tally = cluster.actor::<Tally>(hub.to_string()).ask(Show).await?;
        println!("{}", serde_json::to_string(&tally)?);
    }
    for hub in 0..hubs {
        // The same in every process: a recorded reply, if there is one.
        let last = MessageId::from_key("last");
        let sum = sums.actor(&cluster, hub.to_string()).ask_with_id(last, Plus(4)).await?;
        println!("{}", serde_json::to_string(&sum)?);
    }
    runtime.shutdown(None).await;
    cluster.leave().await?;
    Ok(())
}

/// Hears the events of its hub, tells the tally of each, of the first by asking, and returns their sum.
async fn listen(ctx: OrchestrationContext, hub: String) -> Result<String, String> {
    let tally = ctx.actor::<Tally>(&hub);
    let sender = hub::sender(hub.parse().map_err(|_| "no hub".to_owned())?, hub::WORKFLOW);
    let mut sum = 0;
    for number in 1..=EVENTS {
        sum += next_event(&ctx, "numbers").await.parse::<u64>().map_err(|e| e.to_string())?;
        let add = Add { sender, number };
        let told = if number == 1 { tally.ask(add).await.map(drop) } else { tally.tell(add).await };
        told.map_err(|error| error.to_string())?;
    }
    Ok(sum.to_string())
}
