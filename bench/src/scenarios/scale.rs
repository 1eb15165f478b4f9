//! More and more actors, each number in a process of its own, so that memory is told apart.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::Common;
use crate::load::rounded;

pub(crate) async fn run(sizes: &[usize], capacity: Option<usize>, common: Common) -> Result<Value> {
    let mut lines = Vec::new();
    for actors in sizes {
        let seconds = common.seconds.to_string();
        let mut measure = vec!["measure", "--seconds", &seconds];
        let limit = capacity.map(|capacity| capacity.to_string());
        if let Some(limit) = &limit {
            measure.extend(["--capacity", limit]);
        }
        let mut line = child(*actors, common, &measure)?;
        line["plain_actix_bytes_per_actor"] = child(*actors, common, &["plain"])?;
        lines.push(line);
    }
    let per_s = |line: Option<&Value>| line.and_then(|line| line["per_s"].as_f64());
    let first = per_s(lines.first()).context("no size")?;
    let last = per_s(lines.last()).context("no size")?;
    Ok(json!({
        "scenario": "scale",
        "durability": common.durability.name(),
        "capacity": capacity,
        "sizes": lines,
        "ratio": { "per_s": rounded(last / first, 2) },
    }))
}

fn child(actors: usize, common: Common, task: &[&str]) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    child_on(&folder.path().join("app.db"), actors as u64, common, task)
}

/// Runs a task in a process of its own, on a store.
pub(super) fn child_on(store: &Path, actors: u64, common: Common, task: &[&str]) -> Result<Value> {
    let output = Command::new(std::env::current_exe()?)
        .arg("child")
        .arg("--store")
        .arg(store)
        .args(["--actors", &actors.to_string()])
        .args(["--durability", common.durability.name()])
        .args(task)
        .output()?;
    anyhow::ensure!(
        output.status.success(),
        "the child ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(serde_json::from_slice(&output.stdout)?)
}
