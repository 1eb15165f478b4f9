//! From opening the store of a process that was killed under full load to the first reply, and the
//! same after a clean stop.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::Result;
use duroxide_actix::StartDurable;
use duroxide_actix::journal::Limits;
use serde_json::{Value, json};

use crate::Common;
use crate::counter::{Add, Count, Counter, STATE_BYTES};
use crate::load::rounded;
use crate::sides::ours;

pub(crate) async fn run(actors: usize, messages: usize, common: Common) -> Result<Value> {
    let mut line = json!({
        "scenario": "recover",
        "durability": common.durability.name(),
        "actors": actors,
        "messages": messages,
    });
    for (name, stop) in [("killed", false), ("stopped", true)] {
        let folder = tempfile::tempdir()?;
        let store = folder.path().join("app.db");
        live(&store, actors, messages, stop, common)?;
        line[name] = first_reply(&store, common).await?;
    }
    Ok(line)
}

/// Lets a child send, and kills it under load, or waits for its clean stop.
fn live(store: &Path, actors: usize, messages: usize, stop: bool, common: Common) -> Result<()> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .arg("child")
        .arg("--store")
        .arg(store)
        .args(["--actors", &actors.to_string()])
        .args(["--durability", common.durability.name(), "send"])
        .args(["--messages", &messages.to_string()])
        .stdout(Stdio::piped());
    if stop {
        command.arg("--stop");
    }
    let mut child = command.spawn()?;
    if let Some(stdout) = child.stdout.take() {
        let mut said = String::new();
        BufReader::new(stdout).read_line(&mut said)?;
        anyhow::ensure!(said == "sent\n", "the child said {said:?}");
    }
    if !stop {
        child.kill()?;
    }
    let status = child.wait()?;
    anyhow::ensure!(status.success() == stop, "the child ended with {status}");
    Ok(())
}

async fn first_reply(store: &Path, common: Common) -> Result<Value> {
    let begin = Instant::now();
    let durability = common.durability.durability();
    let (_provider, journal) = ours::open(store, durability, Limits::default()).await?;
    let opened = begin.elapsed();
    let counter = Counter(Count::of(STATE_BYTES)).start_durable(&journal, "0").await?;
    counter.send(Add::sample()).await?;
    let replied = begin.elapsed();
    Ok(json!({
        "open_ms": rounded(opened.as_secs_f64() * 1e3, 1),
        "first_reply_ms": rounded(replied.as_secs_f64() * 1e3, 1),
        "recovered_actors": journal.stats().recovered_actors,
    }))
}
