//! The process that the crash tests kill.
//!
//! `crash-child ADAPTER STORE send ["ACTOR SENDER ACKNOWLEDGED"]...` sends for ever;
//! `crash-child ADAPTER STORE show` prints what the actors have.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;

use anyhow::{Context as _, Result};
use futures::future::LocalBoxFuture;
use shared_journal::portable::PortableActorProvider;
use shared_journal::{EventJournal, EventJournalBuilder, Limits};
use tests::protocol::{ACTORS, IN_FLIGHT, Line, PORTABLE, SENDERS, is_tell};
use tests::{Entry, Ledger, Slot};

mod adapter;

/// An actor, through one of the adapters.
trait Actor {
    fn ask(&self, slot: Slot, entry: Entry) -> LocalBoxFuture<'static, Result<u64>>;
    fn tell(&self, slot: Slot, entry: Entry) -> LocalBoxFuture<'static, Result<()>>;
    fn show(&self) -> LocalBoxFuture<'static, Result<Ledger>>;
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("ADAPTER STORE send|show");
    let (adapter, store, action) = (next()?, next()?, next()?);
    let acknowledged = arguments.map(|text| parse(&text)).collect::<Result<BTreeMap<_, _>>>()?;
    tests::arm()?;
    actix::System::new().block_on(async move {
        // Small, so that a short life has many checkpoints.
        let limits = Limits {
            checkpoint_bytes: 16 << 10,
            history_commits: 10,
            attempts: tests::ATTEMPTS,
            ..Limits::default()
        };
        let journal = open(&store, EventJournal::builder().limits(limits)).await?;
        let mut actors: Vec<Box<dyn Actor>> = Vec::new();
        for actor in 0..ACTORS {
            actors.push(match &*adapter {
                "actix-context" => Box::new(adapter::actix::context(&journal, actor).await?),
                "actix-wrapper" => Box::new(adapter::actix::wrapper(&journal, actor).await?),
                "tower" => Box::new(adapter::tower::service(&journal, actor).await?),
                other => anyhow::bail!("no adapter {other}"),
            });
        }
        match &*action {
            "show" => show(&journal, &actors).await,
            _ => send(&actors, &acknowledged).await,
        }
    })
}

/// The journal at a path or an address, or in the history of the provider there.
async fn open(store: &str, builder: EventJournalBuilder) -> Result<EventJournal> {
    let Some(store) = store.strip_prefix(PORTABLE) else {
        return Ok(builder.open(tests::postgres::open(store).await?).await?);
    };
    fail::cfg("short-segments", "return").map_err(anyhow::Error::msg)?;
    let provider = tests::postgres::open(store).await?;
    Ok(builder.open_on(PortableActorProvider::new(provider)).await?)
}

fn parse(text: &str) -> Result<(Slot, u64)> {
    let numbers = text.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
    let [actor, sender, number] = numbers[..] else { anyhow::bail!("{text:?}") };
    Ok((Slot { actor: u32::try_from(actor)?, sender: u32::try_from(sender)? }, number))
}

fn say(line: Line) -> Result<()> {
    // One write: a killed process leaves whole lines.
    std::io::stdout().write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}

async fn show(journal: &EventJournal, actors: &[Box<dyn Actor>]) -> Result<()> {
    // What was received before is handled first.
    while !journal.pending().await?.is_empty() {
        tokio::task::yield_now().await;
    }
    for (actor, it) in actors.iter().enumerate() {
        println!("{actor} {}", serde_json::to_string(&it.show().await?)?);
    }
    let report = journal.verify().await?;
    anyhow::ensure!(report.is_clean(), "the journal has problems: {:?}", report.problems);
    Ok(())
}

/// All senders at once, for ever.
async fn send(actors: &[Box<dyn Actor>], acknowledged: &BTreeMap<Slot, u64>) -> Result<()> {
    say(Line::Ready)?;
    let mut senders = Vec::new();
    for sender in 0..SENDERS {
        for (actor, it) in (0..).zip(actors) {
            let slot = Slot { actor, sender };
            let from = acknowledged.get(&slot).copied().unwrap_or_default();
            senders.push(send_to(&**it, slot, from));
        }
    }
    futures::future::try_join_all(senders).await?;
    Ok(())
}

enum Waiting {
    Ask(u64, LocalBoxFuture<'static, Result<u64>>),
    Tell(u64, LocalBoxFuture<'static, Result<()>>),
}

/// Sends one message after the other, some of them ahead of the replies, and says what came back,
/// in order. Begins a little before what was acknowledged: those are asked again.
async fn send_to(actor: &dyn Actor, slot: Slot, acknowledged: u64) -> Result<()> {
    let mut waiting = VecDeque::new();
    let mut number = acknowledged.saturating_sub(4);
    loop {
        while (waiting.len() as u64) < IN_FLIGHT {
            number += 1;
            let entry = Entry { sender: slot.sender, number };
            waiting.push_back(if is_tell(number) {
                Waiting::Tell(number, actor.tell(slot, entry))
            } else {
                Waiting::Ask(number, actor.ask(slot, entry))
            });
        }
        match waiting.pop_front() {
            Some(Waiting::Ask(number, reply)) => say(Line::Replied(slot, number, reply.await?))?,
            Some(Waiting::Tell(number, receipt)) => {
                receipt.await?;
                say(Line::Received(slot, number))?;
            }
            None => {}
        }
    }
}
