//! How cost grows with the size of the state: one actor, 64 callers, with a capture a run and with
//! a capture a message.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use duroxide_actix::journal::Limits;
use serde_json::{Value, json};

use super::WARM_UP;
use crate::Common;
use crate::load::{Shape, ask, median, rounded};
use crate::sides::ours;

pub(crate) async fn run(sizes: &[usize], common: Common) -> Result<Value> {
    let mut lines = Vec::new();
    for bytes in sizes {
        lines.push(size(*bytes, common).await?);
    }
    Ok(json!({ "scenario": "state", "durability": common.durability.name(), "states": lines }))
}

async fn size(bytes: usize, common: Common) -> Result<Value> {
    let (load, folder) = (Shape::S2.load(), tempfile::tempdir()?);
    let (time, durability) = (Duration::from_secs(common.seconds), common.durability.durability());
    let path = folder.path().join("runs.db");
    let (_one, journal) = ours::open(&path, durability, Limits::default()).await?;
    let by_run = Rc::new(ours::Ours::start(&journal, 1, bytes).await?);
    let limits = Limits { run_messages: 1, ..Limits::default() };
    let path = folder.path().join("messages.db");
    let (_two, journal) = ours::open(&path, durability, limits).await?;
    let by_message = Rc::new(ours::Ours::start(&journal, 1, bytes).await?);
    let (mut runs, mut messages) = (Vec::new(), Vec::new());
    ask(&by_run, load, WARM_UP).await?;
    ask(&by_message, load, WARM_UP).await?;
    for _ in 0..common.rounds {
        runs.push(ask(&by_run, load, time).await?);
        messages.push(ask(&by_message, load, time).await?);
    }
    let (runs, messages) = (median(runs)?, median(messages)?);
    Ok(json!({
        "bytes": bytes,
        "capture_per_run": runs,
        "capture_per_message": messages,
        "ratio": rounded(runs.per_s / messages.per_s, 1),
    }))
}
