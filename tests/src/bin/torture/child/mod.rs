//! The process that is tortured: a node with all the actors, which does what it is told on its input.

mod actix;
mod tower;
mod traffic;

use std::io::Write;
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Context as _, Result};
use duroxide_actix::journal::cluster::{Cluster, ClusterBuilder, SendError};
use duroxide_actix::journal::{ActorId, Limits, MessageId, Payload};
use futures::FutureExt;
use futures::future::LocalBoxFuture;
use tests::torture::{Act, Answer, Found, Letter, Memory, Order, Reply, Said};
use tokio::io::{AsyncBufReadExt, BufReader};

/// What a process is.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Child {
    adapter: String,
    store: String,
    shards: u32,
    active: NonZeroUsize,
    /// Each of these has the default of a cluster, unless it is given.
    #[arg(long)]
    lease_ms: Option<u64>,
    #[arg(long)]
    checkpoint_bytes: Option<usize>,
    #[arg(long)]
    history_commits: Option<u64>,
    #[arg(long)]
    attempts: Option<u32>,
    #[arg(long)]
    dedup_count: Option<usize>,
    /// Of replies as well.
    #[arg(long)]
    state_bytes: Option<usize>,
    /// The lines of a process for traffic.
    #[arg(long)]
    traffic: Option<String>,
}

impl Child {
    fn builder(&self) -> ClusterBuilder {
        let mut limits = Limits::default();
        limits.attempts = self.attempts.unwrap_or(tests::ATTEMPTS);
        limits.checkpoint_bytes = self.checkpoint_bytes.unwrap_or(limits.checkpoint_bytes);
        limits.history_commits = self.history_commits.unwrap_or(limits.history_commits);
        limits.dedup_count = self.dedup_count.unwrap_or(limits.dedup_count);
        limits.state_bytes = self.state_bytes.unwrap_or(limits.state_bytes);
        limits.reply_bytes = self.state_bytes.unwrap_or(limits.reply_bytes);
        let builder =
            Cluster::builder("torture", self.shards).active_actors(self.active).limits(limits);
        match self.lease_ms {
            Some(lease) => builder.lease(Duration::from_millis(lease)),
            None => builder,
        }
    }
}

/// The actors, through one of the adapters.
trait Actors {
    fn hosts(&self, builder: ClusterBuilder) -> ClusterBuilder;
    /// Waits for the reply if it is an ask, else for the receipt.
    fn send(
        &self,
        cluster: &Cluster,
        actor: u32,
        id: MessageId,
        act: Act,
        ask: bool,
    ) -> LocalBoxFuture<'static, Answer>;
    /// What the actor has done, and its floats.
    fn show(&self, cluster: &Cluster, actor: u32) -> LocalBoxFuture<'static, Result<Memory>>;
    fn name(&self, actor: u32) -> ActorId;
    /// What is in a dead letter.
    fn read(&self, letter: &Payload<'static>) -> Result<Letter>;
}

pub(crate) fn run(child: &Child) -> Result<()> {
    tests::arm()?;
    if let Ok(sabotage) = std::env::var("SABOTAGE") {
        // A name, or a name and when: `sabotage-swallow=9*off->1*return`.
        let (name, when) = sabotage.split_once('=').unwrap_or((&sabotage, "return"));
        fail::cfg(name, when).map_err(anyhow::Error::msg)?;
    }
    if let Some(lines) = &child.traffic {
        return ::actix::System::new().block_on(traffic::obey(child, lines));
    }
    let actors: Box<dyn Actors> = match &*child.adapter {
        "actix" => Box::new(actix::Actix),
        "tower" => Box::new(tower::Tower),
        other => anyhow::bail!("no adapter {other}: actix or tower"),
    };
    ::actix::System::new().block_on(obey(child, &*actors))
}

async fn obey(child: &Child, actors: &dyn Actors) -> Result<()> {
    let store = tests::postgres::open(&child.store).await?;
    let cluster = actors.hosts(child.builder()).join(store).await?;
    say(&Said::Ready)?;
    let mut orders = BufReader::new(tokio::io::stdin()).lines();
    while let Some(order) = orders.next_line().await? {
        match serde_json::from_str(&order)? {
            Order::Message { op, actor, ask, act } => {
                let id = MessageId::from_key(&format!("{actor}/{}/{}", act.sender, act.number));
                let mut answer = actors.send(&cluster, actor, id, act, ask);
                // Polled once now: that is its place in the order.
                match (&mut answer).now_or_never() {
                    Some(answer) => say(&Said::Answer(op, answer))?,
                    None => drop(::actix::spawn(async move { finish(op, answer.await) })),
                }
            }
            Order::Checkpoint { op } => {
                let cluster = cluster.clone();
                ::actix::spawn(async move { finish(op, checkpoint(&cluster).await) });
            }
            Order::Show(count) => show(&cluster, actors, count, child.shards).await?,
            other => anyhow::bail!("an order for traffic: {other:?}"),
        }
    }
    cluster.leave().await?;
    Ok(())
}

fn finish(op: (u32, u64), answer: Answer) {
    if say(&Said::Answer(op, answer)).is_err() {
        // The parent is gone.
        std::process::exit(1);
    }
}

async fn checkpoint(cluster: &Cluster) -> Answer {
    for shard in cluster.own_shards() {
        let Some(journal) = cluster.journal(shard) else { continue };
        if let Err(error) = journal.checkpoint().await {
            return Answer::Unknown(error.to_string());
        }
    }
    Answer::Done
}

/// Waits until nothing is left to do, and shows what every actor has.
async fn show(cluster: &Cluster, actors: &dyn Actors, count: u32, shards: u32) -> Result<()> {
    while cluster.own_shards().len() < shards as usize {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // What waits in inboxes comes before these.
    for actor in 0..count {
        actors.show(cluster, actor).await?;
    }
    // A message may be sent on to a shard that was found idle before; those are not sent on again.
    let mut idle = 0;
    while idle < 2 {
        idle = if is_idle(cluster).await? { idle + 1 } else { 0 };
        tokio::task::yield_now().await;
    }
    for actor in 0..count {
        let Memory { book, floats, .. } = actors.show(cluster, actor).await?;
        let dead = dead_letters(cluster, actors, actor).await?;
        say(&Said::Shown(actor, Found { book, floats: floats.bits(), dead }))?;
    }
    let mut complaints = Vec::new();
    for shard in cluster.own_shards() {
        let journal = cluster.journal(shard).context("the shard is lost")?;
        let report = journal.verify().await?;
        complaints.extend(report.problems.iter().map(ToString::to_string));
    }
    say(&Said::All(complaints))
}

/// Sender, number and attempts of each. They are in the shard of their actor.
async fn dead_letters(
    cluster: &Cluster,
    actors: &dyn Actors,
    actor: u32,
) -> Result<Vec<(u32, u64, u32)>> {
    let mut dead = Vec::new();
    for shard in cluster.own_shards() {
        let journal = cluster.journal(shard).context("the shard is lost")?;
        for letter in journal.dead_letters(&actors.name(actor)).await? {
            let Letter { act, .. } = actors.read(&letter.payload)?;
            dead.push((act.sender, act.number, letter.attempts));
        }
    }
    Ok(dead)
}

async fn is_idle(cluster: &Cluster) -> Result<bool> {
    for shard in cluster.own_shards() {
        let journal = cluster.journal(shard).context("the shard is lost")?;
        if !journal.pending().await?.is_empty() || !journal.with_timers().await?.is_empty() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn replied(reply: &Reply) -> Answer {
    Answer::Replied(reply.place, reply.floats.bits())
}

fn answer_of(error: SendError) -> Answer {
    match error {
        SendError::IdReused { .. } => Answer::Reused,
        SendError::DeadLetter { .. } => Answer::Dead,
        SendError::NotAccepted { .. }
        | SendError::InboxFull { .. }
        | SendError::Unreachable { .. } => Answer::Refused(error.to_string()),
        SendError::OutcomeUnknown { .. } => Answer::Unknown(error.to_string()),
        other => Answer::Wrong(other.to_string()),
    }
}

fn say(said: &Said) -> Result<()> {
    // One write: a killed process leaves whole lines.
    let mut line = serde_json::to_vec(said)?;
    line.push(b'\n');
    std::io::stdout().lock().write_all(&line)?;
    std::io::stdout().flush()?;
    Ok(())
}
