//! A node with actors and duroxide's runtime, which has both talk to each other.

mod actix;
mod anew;
mod tower;
mod workflows;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use duroxide::providers::Provider;
use duroxide::runtime::RuntimeOptions;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::{Client, OrchestrationRegistry};
use duroxide_actix::journal::cluster::{Cluster, ClusterBuilder, SendError};
use duroxide_actix::journal::workflow::{for_runtime, start};
use duroxide_actix::journal::{ActorId, MessageId};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tests::torture::traffic::{CLERK, Desk, Instance, Note, Receipt, Word};
use tests::torture::{Answer, Order, Said};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc::unbounded_channel;

use super::{Child, answer_of, finish, say};

/// How long duroxide leaves to a dead process what it had under way.
const LOCK: Duration = Duration::from_millis(500);
/// Before the end of that it is renewed.
const RENEWAL: Duration = Duration::from_millis(200);

/// The actors, through one of the adapters.
pub(super) trait Clerks {
    fn hosts(&self, builder: ClusterBuilder) -> ClusterBuilder;
    fn ask(
        &self,
        cluster: &Cluster,
        actor: u32,
        id: MessageId,
        word: Word,
    ) -> LocalBoxFuture<'static, Result<Receipt, Answer>>;
    fn tell(
        &self,
        cluster: &Cluster,
        actor: u32,
        id: MessageId,
        word: Word,
    ) -> LocalBoxFuture<'static, Result<(), SendError>>;
}

/// Runs it, with these lines.
pub(super) async fn obey(child: &Child, lines: &str) -> Result<()> {
    // duroxide would log between our lines.
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let clerks: Box<dyn Clerks> = match &*child.adapter {
        "actix" => Box::new(self::actix::Actix),
        _ => Box::new(self::tower::Tower),
    };
    let provider = for_runtime(tests::postgres::open(&child.store).await?);
    let cluster = clerks.hosts(child.builder()).join(provider.clone()).await?;
    let orchestrations = workflows::register(OrchestrationRegistry::builder());
    let activities = ActivityRegistry::builder();
    let runtime = start(provider.clone(), &cluster, activities, orchestrations, options()).await;
    let lines: Vec<Instance> = serde_json::from_str(lines)?;
    for line in lines {
        anew::begin(&provider, &line).await?;
    }
    let (renew, mut renewals) = unbounded_channel::<((u32, u64), Instance)>();
    let store = provider.clone();
    ::actix::spawn(async move {
        // In their order.
        while let Some((op, instance)) = renewals.recv().await {
            finish(op, anew::renew(&store, &instance).await);
        }
    });
    say(&Said::Ready)?;
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        match serde_json::from_str(&order)? {
            Order::Note { op, to, key, ask, note } => {
                let mut answer = send(&*clerks, &cluster, to, key, ask, note);
                // Polled once now: that is its place in the order.
                match (&mut answer).now_or_never() {
                    Some(answer) => say(&Said::Answer(op, answer))?,
                    None => drop(::actix::spawn(async move { finish(op, answer.await) })),
                }
            }
            Order::Renew { op, instance } => renew.send((op, instance))?,
            Order::Look { actors, settled } => {
                if settled {
                    settle(&cluster, &provider, child.shards).await?;
                }
                let desks = desks(&*clerks, &cluster, actors).await?;
                let complaints =
                    if settled { complaints(&cluster, actors).await? } else { Vec::new() };
                say(&Said::Desks(desks, complaints))?;
            }
            other => anyhow::bail!("an order for others: {other:?}"),
        }
    }
    runtime.shutdown(None).await;
    cluster.leave().await?;
    Ok(())
}

fn options() -> RuntimeOptions {
    RuntimeOptions {
        dispatcher_min_poll_interval: Duration::from_millis(10),
        worker_concurrency: 4,
        worker_lock_timeout: LOCK,
        worker_lock_renewal_buffer: RENEWAL,
        orchestrator_lock_timeout: LOCK,
        orchestrator_lock_renewal_buffer: RENEWAL,
        // Here a death is not their fault.
        max_attempts: 1000,
        ..RuntimeOptions::default()
    }
}

fn send(
    clerks: &dyn Clerks,
    cluster: &Cluster,
    to: u32,
    key: u64,
    ask: bool,
    note: Note,
) -> LocalBoxFuture<'static, Answer> {
    // The same for two actors sometimes.
    let id = MessageId::from_key(&key.to_string());
    if ask {
        let asked = clerks.ask(cluster, to, id, Word::Note(note));
        Box::pin(asked.map(|asked| asked.map_or_else(|answer| answer, Answer::Noted)))
    } else {
        let told = clerks.tell(cluster, to, id, Word::Note(note));
        Box::pin(told.map(|told| told.map_or_else(answer_of, |()| Answer::Done)))
    }
}

async fn desks(clerks: &dyn Clerks, cluster: &Cluster, actors: u32) -> Result<BTreeMap<u32, Desk>> {
    let mut desks = BTreeMap::new();
    for actor in 0..actors {
        match clerks.ask(cluster, actor, MessageId::random(), Word::Show).await {
            Ok(Receipt::Shown(desk)) => drop(desks.insert(actor, desk)),
            other => anyhow::bail!("{actor} shows {other:?}"),
        }
    }
    Ok(desks)
}

/// Waits until nothing is left to do, and what a dead process had under way would have been done again.
async fn settle(cluster: &Cluster, provider: &Arc<dyn Provider>, shards: u32) -> Result<()> {
    let client = Client::new(provider.clone());
    // There is nothing to be seen of what must not happen.
    tokio::time::sleep(LOCK).await;
    let mut idle = 0;
    while idle < 2 {
        let depths = client.get_queue_depths().await?;
        let all = cluster.own_shards().len() == shards as usize;
        let now = all && depths.worker_queue == 0 && super::is_idle(cluster).await?;
        idle = if now { idle + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}

/// What the journals complain of, and letters of actors that nobody should have.
async fn complaints(cluster: &Cluster, actors: u32) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    for shard in cluster.own_shards() {
        let journal = cluster.journal(shard).context("the shard is lost")?;
        let report = journal.verify().await?;
        complaints.extend(report.problems.iter().map(ToString::to_string));
        for actor in 0..actors {
            let actor = ActorId::new(CLERK, actor.to_string());
            let dead = journal.dead_letters(&actor).await?;
            complaints.extend(dead.iter().map(|letter| format!("{actor}: {}", letter.error)));
        }
    }
    Ok(complaints)
}
