//! An activity of the user's, alone and beside orchestrations that ask slow actors, on one runtime with two
//! workers and one SQLite store.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use duroxide::providers::Provider;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide::runtime::RuntimeOptions;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::{ActivityContext, Client, OrchestrationContext, OrchestrationRegistry};
use duroxide_tower::journal::cluster::Cluster;
use duroxide_tower::journal::workflow::{for_runtime, start};
use duroxide_tower::{
    ActorContext, DurableActor, DurableMessage, DurableState, TowerHost, WorkflowActors,
    async_trait,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::Common;
use crate::load::{percentile, rounded};

/// Slow handlers wait here.
static GATE: Semaphore = Semaphore::const_new(0);

#[derive(Default, DurableState)]
#[durable(actor_type = "slow")]
struct Slow {}

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "slow.wait")]
struct Wait;

#[async_trait]
impl DurableActor for Slow {
    type Message = Wait;
    type Reply = ();
    type Error = String;

    async fn handle(&mut self, _: &mut ActorContext, _: Wait) -> Result<(), String> {
        GATE.acquire().await.map_err(|error| error.to_string())?.forget();
        Ok(())
    }
}

async fn ask(ctx: OrchestrationContext, actor: String) -> Result<String, String> {
    let asked = ctx.actor::<Slow>(actor).ask(Wait).await;
    asked.map_err(|error| error.to_string())?.map(|()| "done".to_owned())
}

async fn work(ctx: OrchestrationContext, _: String) -> Result<String, String> {
    ctx.schedule_activity("work", "").await
}

pub(crate) async fn run(asks: usize, common: Common) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let url = format!("sqlite:{}?mode=rwc", folder.path().join("app.db").display());
    let provider: Arc<dyn Provider> = for_runtime(Arc::new(SqliteProvider::new(&url, None).await?));
    let cluster = Cluster::builder("bench", 4)
        .durability(common.durability.durability())
        .host(TowerHost::new(|_| Slow::default()))
        .join(provider.clone())
        .await?;
    let nothing = async |_: ActivityContext, input: String| Ok(input);
    let activities = ActivityRegistry::builder().register("work", nothing);
    let orchestrations =
        OrchestrationRegistry::builder().register("ask", ask).register("work", work);
    let options = RuntimeOptions { worker_concurrency: 2, ..RuntimeOptions::default() };
    let client = Client::new(provider.clone());
    let runtime = start(provider, &cluster, activities, orchestrations, options).await;

    let time = Duration::from_secs(common.seconds * common.rounds as u64);
    let alone = works(&client, "alone", time).await?;
    for number in 0..asks {
        client.start_orchestration(format!("ask/{number}"), "ask", number.to_string()).await?;
    }
    // When the last one has been started the first ones wait for their actors.
    loop {
        let depths = client.get_queue_depths().await?;
        if depths.orchestrator_queue + depths.worker_queue == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let beside = works(&client, "beside", time).await?;
    GATE.add_permits(asks);
    let patience = Duration::from_secs(600);
    for number in 0..asks {
        client.wait_for_orchestration(&format!("ask/{number}"), patience).await?;
    }
    runtime.shutdown(None).await;
    cluster.leave().await?;
    let p50 = |it: &[Duration]| percentile(it, 0.5).as_secs_f64() * 1e3;
    Ok(json!({
        "scenario": "asks",
        "asks": asks,
        "workflow_ms_p50": { "alone": rounded(p50(&alone), 1), "beside": rounded(p50(&beside), 1) },
        "ratio": rounded(p50(&beside) / p50(&alone), 2),
    }))
}

/// What an orchestration with one activity takes, from its start to its end, one after the other.
async fn works(client: &Client, name: &str, time: Duration) -> Result<Vec<Duration>> {
    let begin = Instant::now();
    let mut taken = Vec::new();
    while begin.elapsed() < time || taken.is_empty() {
        let instance = format!("{name}/{}", taken.len());
        let started = Instant::now();
        client.start_orchestration(&instance, "work", "").await?;
        client.wait_for_orchestration(&instance, Duration::from_secs(600)).await?;
        taken.push(started.elapsed());
    }
    taken.sort_unstable();
    Ok(taken)
}
