//! A node that the failover tests kill, stop, and cut off: it runs actors and sends to all of them.
//!
//! `cluster-child NAME STORE LEASE_MS FIRST_SENDER`; it leaves when its input ends.
//! `cluster-child NAME STORE LEASE_MS show` prints what every actor has.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context as _, Result};
use duroxide_actix::journal::Limits;
use duroxide_actix::journal::cluster::{Cluster, SendError};
use duroxide_actix::{ActixHost, ActorRef, ClusterActors};
use futures::stream::{FuturesOrdered, StreamExt};
use tests::tally::{ACTORS, Add, Get, Said, Show, Tally, now};
use tokio::io::AsyncReadExt;

/// Messages of one sender to one actor on their way at a time.
const IN_FLIGHT: usize = 3;
/// Between two messages of a sender to an actor: what is checked must not be too much.
const PAUSE: Duration = Duration::from_millis(40);
/// Senders of one life: after an error a sender is another one.
const SENDERS: u32 = 1000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, store, lease, action] = &arguments[..] else {
        anyhow::bail!("NAME STORE LEASE_MS FIRST_SENDER|show");
    };
    let lease = Duration::from_millis(lease.parse()?);
    actix::System::new().block_on(async move {
        let cluster = Cluster::builder("tallies", 6)
            .limits(Limits { attempts: tests::ATTEMPTS, ..Limits::default() })
            .node(name)
            .lease(lease)
            .host(ActixHost::new(|_| Tally::default()))
            .join(tests::postgres::open(store).await?)
            .await?;
        if action == "show" {
            return show(&cluster).await;
        }
        let sender: u32 = action.parse().context("the first sender")?;
        println!("ready");
        for actor in 0..ACTORS {
            actix::spawn(send(cluster.actor(actor.to_string()), actor, sender));
        }
        tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
        cluster.leave().await?;
        Ok(())
    })
}

async fn show(cluster: &Cluster) -> Result<()> {
    for actor in 0..ACTORS {
        let tally = cluster.actor::<Tally>(actor.to_string()).ask(Show).await?;
        println!("{}", serde_json::to_string(&tally)?);
    }
    cluster.leave().await?;
    Ok(())
}

/// Sends for ever, some messages ahead of the replies, and says what it does.
async fn send(to: ActorRef<Tally>, actor: u32, first: u32) {
    let mut operation = 0;
    for sender in first..first + SENDERS {
        let mut number = 0;
        let mut waiting = FuturesOrdered::new();
        let error = loop {
            while waiting.len() < IN_FLIGHT {
                operation += 1;
                let add = (operation % 5 != 0).then(|| {
                    number += 1;
                    Add { sender, number }
                });
                let number = add.as_ref().map(|add| add.number);
                waiting.push_back(ask(
                    &to,
                    add,
                    Said::Call { operation, actor, sender, number, at: 0 },
                ));
            }
            if let Some(Err(error)) = waiting.next().await {
                break error;
            }
            tokio::time::sleep(PAUSE).await;
        };
        eprintln!("sender {sender} to {actor}: {error}");
        // What is on its way may still come; the next messages are of another sender.
        while waiting.next().await.is_some() {}
    }
}

async fn ask(to: &ActorRef<Tally>, add: Option<Add>, call: Said) -> Result<(), SendError> {
    let Said::Call { operation, actor, sender, number, .. } = call else { return Ok(()) };
    say(Said::Call { operation, actor, sender, number, at: now() });
    let result = match add {
        Some(add) => to.ask(add).await?,
        None => to.ask(Get).await?,
    };
    say(Said::Return { operation, actor, sender, result, at: now() });
    Ok(())
}

fn say(said: Said) {
    // One write: a killed process leaves whole lines.
    let written = std::io::stdout().write_all(format!("{said}\n").as_bytes());
    if written.is_err() {
        // The parent is gone.
        std::process::exit(1);
    }
}
