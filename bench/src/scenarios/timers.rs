//! How late the durable timers of actors are.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix::prelude::*;
use anyhow::{Context as _, Result, ensure};
use duroxide::OrchestrationRegistry;
use duroxide::providers::Provider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{Runtime, RuntimeOptions};
use duroxide_actix::journal::cluster::Cluster;
use duroxide_actix::journal::workflow::{for_runtime, register, register_orchestrations};
use duroxide_actix::journal::{DurableMessage, DurableState};
use duroxide_actix::{ClusterActors, DurableActor, DurableEffects, WrappedHost};
use duroxide_pg::PostgresProvider;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use super::postgres::{SCHEMA, clear};
use crate::Common;
use crate::sides::ours::provider;

const ACTORS: u64 = 100;
/// What setting a timer takes at most, started and in duroxide's history.
const SET: Duration = Duration::from_millis(8);

/// Longer than it takes.
const PATIENCE: Duration = Duration::from_secs(1800);

/// What fired, and how late, in milliseconds.
#[derive(Default)]
struct Fired(Mutex<Vec<(u64, f64)>>);

#[derive(DurableState)]
#[durable(actor_type = "clock")]
struct Clock {
    rung: u64,
    #[durable(skip)]
    fired: Arc<Fired>,
}

impl Actor for Clock {
    type Context = Context<Self>;
}

impl DurableActor for Clock {
    type Messages = (Set, Ring);
}

/// Timers to set: their numbers and when they are due, in milliseconds since 1970.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "clock.set")]
struct Set(Vec<Ring>);

#[derive(Message, Clone, Copy, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "clock.ring")]
struct Ring {
    number: u64,
    due_ms: u64,
}

impl Handler<Set> for Clock {
    type Result = ();
    fn handle(&mut self, Set(timers): Set, ctx: &mut Self::Context) {
        for ring in timers {
            let due = UNIX_EPOCH + Duration::from_millis(ring.due_ms);
            ctx.schedule(due, ring).expect("an actor of a cluster can send");
        }
    }
}

impl Handler<Ring> for Clock {
    type Result = ();
    fn handle(&mut self, ring: Ring, _: &mut Self::Context) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let late = now.as_secs_f64() * 1e3 - ring.due_ms as f64;
        self.rung += 1;
        let mut fired = self.fired.0.lock().unwrap_or_else(PoisonError::into_inner);
        fired.push((ring.number, late));
    }
}

pub(crate) async fn run(timers: u64, postgres: bool, common: Common) -> Result<Value> {
    let dir = tempfile::tempdir()?;
    let provider: Arc<dyn Provider> = if postgres {
        let url = std::env::var("DATABASE_URL").context("set DATABASE_URL=postgres://...")?;
        clear(&mut url.parse::<PgConnectOptions>()?.connect().await?).await?;
        Arc::new(PostgresProvider::new_with_schema(&url, Some(SCHEMA)).await?)
    } else {
        provider(&dir.path().join("app.db")).await?
    };
    let fired = Arc::<Fired>::default();
    let of_actors = fired.clone();
    let cluster = Cluster::builder("bench", 4)
        .durability(common.durability.durability())
        .host(WrappedHost::new(move |_| Clock { rung: 0, fired: of_actors.clone() }))
        .join(provider.clone())
        .await?;
    let activities = register(ActivityRegistry::builder(), &cluster).build();
    let orchestrations = register_orchestrations(OrchestrationRegistry::builder()).build();
    let options = RuntimeOptions::default();
    let provider = for_runtime(provider);
    let runtime = Runtime::start_with_options(provider, activities, orchestrations, options).await;

    let begin = SystemTime::now() + SET * u32::try_from(timers)? + Duration::from_secs(1);
    let first_ms = begin.duration_since(UNIX_EPOCH)?.as_millis() as u64;
    let due = |number| first_ms + number * common.seconds * 1000 / timers.max(1);
    let setting = Instant::now();
    for actor in 0..ACTORS {
        let of_actor = (0..timers).filter(|number| number % ACTORS == actor);
        let rings = of_actor.map(|number| Ring { number, due_ms: due(number) }).collect();
        cluster.actor::<Clock>(actor.to_string()).ask(Set(rings)).await?;
    }
    let set_s = setting.elapsed().as_secs_f64();
    let count = || fired.0.lock().unwrap_or_else(PoisonError::into_inner).len() as u64;
    while count() < timers {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let waiting = setting.elapsed() < PATIENCE;

        ensure!(waiting, "{} of {timers} timers fired in {PATIENCE:?}", count());
    }
    // One that fires twice has some time for it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    runtime.shutdown(None).await;
    cluster.leave().await?;
    let mut fired = std::mem::take(&mut *fired.0.lock().unwrap_or_else(PoisonError::into_inner));
    fired.sort_unstable_by_key(|(number, _)| *number);
    let once = fired.iter().map(|(number, _)| *number).eq(0..timers);
    ensure!(once, "{timers} timers fired {} times", fired.len());
    let mut late: Vec<f64> = fired.into_iter().map(|(_, late)| late).collect();
    late.sort_unstable_by(f64::total_cmp);
    let at = |share: f64| late[((late.len() - 1) as f64 * share) as usize].round();
    Ok(json!({
        "scenario": "timers",
        "store": if postgres { "postgres" } else { "sqlite" },
        "timers": timers,
        "within_s": common.seconds,
        "durability": common.durability.name(),
        "set_s": (set_s * 10.0).round() / 10.0,
        "late_ms": { "p50": at(0.5), "p99": at(0.99), "max": at(1.0) },
    }))
}
