//! The counter as a plain duroxide orchestration: an instance an actor, an event a message, the
//! replies in its key-value store.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide::runtime::Runtime;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::{Client, OrchestrationContext, OrchestrationRegistry};
use serde::{Deserialize, Serialize};

use crate::counter::{Add, Count, STATE_BYTES};
use crate::load::{Load, Side};

/// Messages in an execution; the unread ones are carried over, at most 100.
const TURNS: usize = 50;

/// A message, and where its reply goes.
#[derive(Serialize, Deserialize)]
struct Ask {
    caller: usize,
    number: u64,
    add: Add,
}

pub(crate) struct Orchestration {
    client: Client,
    runtime: Arc<Runtime>,
    numbers: Vec<std::cell::Cell<u64>>,
}

/// What this side can stand of a shape: an instance fails when it finds about 100 messages in one
/// turn, keeps at most 150 keys, and takes its time to start.
pub(crate) fn bounded(load: Load) -> Load {
    Load { actors: load.actors.min(50), callers: load.callers.min(64) }
}

impl Orchestration {
    pub(crate) async fn start(path: &Path, load: Load) -> Result<Self> {
        let url = format!("sqlite:{}?mode=rwc", path.display());
        let provider = Arc::new(SqliteProvider::new(&url, None).await?);
        let orchestrations = OrchestrationRegistry::builder().register("counter", counter).build();
        let activities = ActivityRegistry::builder().build();
        let runtime = Runtime::start_with_store(provider.clone(), activities, orchestrations).await;
        let client = Client::new(provider);
        let state = serde_json::to_string(&Count::of(STATE_BYTES))?;
        for actor in 0..load.actors {
            client.start_orchestration(name(actor), "counter", state.clone()).await?;
        }
        let numbers = vec![std::cell::Cell::new(0); load.callers];
        let started = Self { client, runtime, numbers };
        // Each answers once: from here on no event is dropped for want of its instance.
        for actor in 0..load.actors {
            while started.client.get_kv_value(&name(actor), "ready").await?.is_none() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(started)
    }

    pub(crate) async fn stop(&self) {
        self.runtime.clone().shutdown(None).await;
    }
}

fn name(actor: usize) -> String {
    format!("counter-{actor}")
}

async fn counter(ctx: OrchestrationContext, input: String) -> Result<String, String> {
    let mut state: Count = serde_json::from_str(&input).map_err(|error| error.to_string())?;
    ctx.set_kv_value("ready", "1");
    for _ in 0..TURNS {
        let ask = ctx.dequeue_event("asks").await;
        let ask: Ask = serde_json::from_str(&ask).map_err(|error| error.to_string())?;
        state.add(&ask.add);
        ctx.set_kv_value(format!("caller-{}", ask.caller), ask.number.to_string());
    }
    let state = serde_json::to_string(&state).map_err(|error| error.to_string())?;
    ctx.continue_as_new(state).await
}

impl Side for Orchestration {
    async fn ask(&self, caller: usize, actor: usize) -> Result<()> {
        let number = self.numbers[caller].get() + 1;
        self.numbers[caller].set(number);
        let instance = name(actor);
        let ask = serde_json::to_string(&Ask { caller, number, add: Add::sample() })?;
        self.client.enqueue_event(&instance, "asks", ask).await?;
        let (key, wanted) = (format!("caller-{caller}"), number.to_string());
        while self.client.get_kv_value(&instance, &key).await?.as_deref() != Some(&wanted) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }
}
