//! Asks beside a reader that walks histories and a checkpoint that never ends.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use duroxide_actix::journal::{ActorId, EventJournal, Limits};
use futures::StreamExt;
use serde_json::{Value, json};

use super::WARM_UP;
use crate::Common;
use crate::counter::STATE_BYTES;
use crate::load::{Shape, ask, median, rounded};
use crate::sides::ours;

pub(crate) async fn run(common: Common) -> Result<Value> {
    let (load, folder) = (Shape::S3.load(), tempfile::tempdir()?);
    let time = Duration::from_secs(common.seconds);
    // No checkpoint of its own accord in a round.
    let limits = Limits { checkpoint_bytes: 2 << 30, tail_bytes: 4 << 30, ..Limits::default() };
    let path = folder.path().join("ours.db");
    let (_provider, journal) = ours::open(&path, common.durability.durability(), limits).await?;
    let side = Rc::new(ours::Ours::start(&journal, load.actors, STATE_BYTES).await?);
    ask(&side, load, WARM_UP).await?;
    let (mut alone, mut beside) = (Vec::new(), Vec::new());
    let events = Rc::new(Cell::new(0));
    for _ in 0..common.rounds {
        journal.checkpoint().await?;
        alone.push(ask(&side, load, time).await?);
        let reading = actix::spawn(read(journal.clone(), load.actors, events.clone()));
        let saving = actix::spawn(save(journal.clone()));
        beside.push(ask(&side, load, time).await?);
        reading.abort();
        saving.abort();
    }
    let (alone, beside) = (median(alone)?, median(beside)?);
    Ok(json!({
        "scenario": "contend",
        "durability": common.durability.name(),
        "alone": alone,
        "beside": beside,
        "events_read": events.get(),
        "checkpoints": journal.stats().checkpoints,
        "ratio": {
            "p99": rounded(beside.p99_us / alone.p99_us, 2),
            "per_s": rounded(beside.per_s / alone.per_s, 2),
        },
    }))
}

/// Walks one history after the other.
async fn read(journal: EventJournal, actors: usize, events: Rc<Cell<u64>>) -> Result<()> {
    loop {
        for actor in 0..actors {
            let mut history = journal.history(&ActorId::new("counter", actor.to_string()));
            while let Some(event) = history.next().await {
                event?;
                events.set(events.get() + 1);
            }
        }
    }
}

async fn save(journal: EventJournal) -> Result<()> {
    loop {
        journal.checkpoint().await?;
    }
}
