//! A duroxide runtime with timers and activities beside the journal at full load, on one store.

use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Result;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide::runtime::Runtime;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::{ActivityContext, Client, OrchestrationContext, OrchestrationRegistry};
use duroxide_actix::journal::Limits;
use serde_json::{Value, json};
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};

use super::WARM_UP;
use crate::Common;
use crate::counter::STATE_BYTES;
use crate::load::{Shape, ask, percentile, rounded};
use crate::sides::ours;

/// Orchestrations at a time.
const INSTANCES: usize = 20;

/// To start one; SQLite waits a while in each.
const MOST_TRIES: u32 = 100;

const TIMER: Duration = Duration::from_millis(200);

pub(crate) async fn run(common: Common) -> Result<Value> {
    let warnings = Arc::new(AtomicU64::new(0));
    let subscriber = tracing_subscriber::registry().with(Locked(warnings.clone()));
    tracing::subscriber::set_global_default(subscriber)?;
    let folder = tempfile::tempdir()?;
    let (store, durability) = (folder.path().join("app.db"), common.durability.durability());
    let (provider, journal) = ours::open(&store, durability, Limits::default()).await?;
    let load = Shape::S3.load();
    let side = Rc::new(ours::Ours::start(&journal, load.actors, STATE_BYTES).await?);
    let time = Duration::from_secs(common.seconds * common.rounds as u64);
    ask(&side, load, WARM_UP).await?;
    let actors_alone = ask(&side, load, time).await?;
    let workflows = Workflows::start(provider).await;
    let alone = workflows.run(time, "alone").await?;
    // duroxide's own dispatchers are in each other's way too.
    let warned_alone = warnings.swap(0, Ordering::Relaxed);
    let (together, actors_together) =
        futures::try_join!(workflows.run(time, "together"), ask(&side, load, time))?;
    workflows.runtime.clone().shutdown(None).await;
    Ok(json!({
        "scenario": "coexist",
        "durability": common.durability.name(),
        "asks": { "alone": actors_alone, "together": actors_together },
        "timer_late_ms": { "alone": alone.timers, "together": together.timers },
        "activity_ms": { "alone": alone.activities, "together": together.activities },
        "timer_late_p99_more_ms": rounded(
            together.timers["p99"].as_f64().unwrap_or_default()
                - alone.timers["p99"].as_f64().unwrap_or_default(),
            1
        ),
        "locked_warnings": {
            "alone": warned_alone,
            "together": warnings.load(Ordering::Relaxed),
        },
    }))
}

struct Workflows {
    runtime: Arc<Runtime>,
    client: Client,
    measured: Arc<Mutex<Measured>>,
}

#[derive(Default)]
struct Measured {
    /// Until when they go on.
    end: Option<Instant>,
    timers: Vec<Duration>,
    activities: Vec<Duration>,
}

struct Latencies {
    timers: Value,
    activities: Value,
}

impl Workflows {
    async fn start(provider: Arc<SqliteProvider>) -> Self {
        let measured = Arc::new(Mutex::new(Measured::default()));
        let orchestrations =
            OrchestrationRegistry::builder().register("tick", tick(measured.clone())).build();
        let activities = ActivityRegistry::builder()
            .register("nothing", |_: ActivityContext, input: String| async move { Ok(input) })
            .build();
        let runtime = Runtime::start_with_store(provider.clone(), activities, orchestrations).await;
        Self { runtime, client: Client::new(provider), measured }
    }

    /// Timers and activities for as long as told.
    async fn run(&self, time: Duration, name: &str) -> Result<Latencies> {
        *lock(&self.measured) =
            Measured { end: Some(Instant::now() + time), ..Measured::default() };
        let instances: Vec<_> = (0..INSTANCES).map(|number| format!("{name}-{number}")).collect();
        for instance in &instances {
            // The store may be locked by duroxide's own dispatchers.
            let mut tries = 0;
            while let Err(error) = self.client.start_orchestration(instance, "tick", "").await {
                tries += 1;
                anyhow::ensure!(error.is_retryable() && tries < MOST_TRIES, error);
            }
        }
        for instance in &instances {
            self.client.wait_for_orchestration(instance, time + Duration::from_secs(60)).await?;
        }
        let measured = std::mem::take(&mut *lock(&self.measured));
        let of = |mut taken: Vec<Duration>| {
            taken.sort_unstable();
            let ms = |share| rounded(percentile(&taken, share).as_secs_f64() * 1e3, 1);
            json!({ "p50": ms(0.5), "p99": ms(0.99), "count": taken.len() })
        };
        Ok(Latencies { timers: of(measured.timers), activities: of(measured.activities) })
    }
}

type Outcome = std::pin::Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// A timer and an activity, measured from the outside: an orchestration that is replayed runs its
/// code again, so only what is new is counted. Begins anew until the time is over.
fn tick(measured: Arc<Mutex<Measured>>) -> impl Fn(OrchestrationContext, String) -> Outcome {
    let begun = Arc::new(Mutex::new(std::collections::HashMap::<String, Instant>::new()));
    move |ctx, _| {
        let (measured, begun) = (measured.clone(), begun.clone());
        let key = format!("{}/{}", ctx.instance_id(), ctx.execution_id());
        Box::pin(async move {
            let first = |step: &str| {
                *lock(&begun).entry(format!("{key}/{step}")).or_insert_with(Instant::now)
            };
            let set = first("timer");
            ctx.schedule_timer(TIMER).await;
            let fired = first("activity");
            ctx.schedule_activity("nothing", "").await?;
            let done = first("end");
            let over = {
                let mut measured = lock(&measured);
                measured.timers.push((fired - set).saturating_sub(TIMER));
                measured.activities.push(done - fired);
                measured.end.is_none_or(|end| Instant::now() >= end)
            };
            if over { Ok(String::new()) } else { ctx.continue_as_new("").await }
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Counts what is logged about a locked database.
struct Locked(Arc<AtomicU64>);

impl<S: tracing::Subscriber> Layer<S> for Locked {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Search(bool);
        impl Visit for Search {
            fn record_debug(&mut self, _: &Field, value: &dyn std::fmt::Debug) {
                self.0 |= format!("{value:?}").contains("database is locked");
            }
        }
        let mut search = Search(false);
        event.record(&mut search);
        self.0.fetch_add(u64::from(search.0), Ordering::Relaxed);
    }

    /// What is logged in detail is not looked at: that would be the load.
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }
}
