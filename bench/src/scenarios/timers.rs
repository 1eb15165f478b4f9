//! How late the durable timers of actors are.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use actix::prelude::*;
use anyhow::{Context as _, Result, ensure};
use duroxide::providers::Provider;
use duroxide_actix::journal::cluster::Cluster;
use duroxide_actix::journal::mailbox::{Resolution, Work};
use duroxide_actix::journal::{ActorId, DurableMessage, DurableState, Limits, Mailbox};
use duroxide_actix::{ClusterActors, DurableActor, DurableEffects, WrappedHost};
use duroxide_pg::PostgresProvider;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

use super::postgres::{SCHEMA, clear};
use super::scale::child_on;
use crate::Common;
use crate::load::rounded;
use crate::sides::ours::{self, provider};

const ACTORS: u64 = 100;
/// What setting a timer takes at most.
const SET: Duration = Duration::from_micros(200);
/// Actors with a timer that are made at a time.
const AT_ONCE: u64 = 1000;

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
        .join(provider)
        .await?;

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

/// Timers that wait for a year, one an actor: what they take in memory, at the opening, and from the asks of
/// others. Beside it the same actors without timers.
pub(crate) async fn waiting(timers: u64, common: Common) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let mut lines = Vec::new();
    for set in [false, true] {
        let store = folder.path().join(format!("{set}.db"));
        make(&store, timers, set, common).await?;
        let seconds = common.seconds.to_string();
        lines.push(child_on(&store, timers, common, &["reopen", "--seconds", &seconds])?);
    }
    let of = |line: &Value, name: &str| line[name].as_f64().unwrap_or(f64::NAN);
    let bytes = of(&lines[1], "bytes") - of(&lines[0], "bytes");
    Ok(json!({
        "scenario": "timers",
        "waiting": timers,
        "bytes_per_timer": rounded(bytes / timers as f64, 1),
        "open_s": [of(&lines[0], "open_s"), of(&lines[1], "open_s")],
        "per_s": [of(&lines[0], "per_s"), of(&lines[1], "per_s")],
        "ratio": { "per_s": rounded(of(&lines[1], "per_s") / of(&lines[0], "per_s"), 2) },
    }))
}

struct Nobody;

impl Work for Nobody {
    fn resolve(self, _: Resolution) {}
}

/// A journal with so many actors.
async fn make(store: &Path, actors: u64, set: bool, common: Common) -> Result<()> {
    let durability = common.durability.durability();
    let (_provider, journal) = ours::open(store, durability, Limits::default()).await?;
    let year = Duration::from_secs(365 * 86_400);
    for first in (0..actors).step_by(AT_ONCE as usize) {
        let journal = &journal;
        let some = (first..actors.min(first + AT_ONCE)).map(|actor| async move {
            let name = ActorId::new(Clock::ACTOR_TYPE, actor.to_string());
            let mut mailbox: Mailbox<Nobody> = journal.activate(&name).await?;
            let mut clock = Clock { rung: 0, fired: Arc::default() };
            mailbox.baseline(&clock)?;
            if set {
                let ring = Ring { number: actor, due_ms: 0 };
                mailbox.outbox().schedule(year, Ring::NAME, &ring)?;
            }
            let _ = mailbox.capture(&mut clock)?;
            anyhow::Ok(())
        });
        futures::future::try_join_all(some).await?;
    }
    Ok(journal.close().await?)
}
