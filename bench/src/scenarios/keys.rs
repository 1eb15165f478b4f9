//! What a caller's key costs: one actor, messages with new keys, with so many keys in rows already and
//! with none.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use duroxide_actix::journal::{EventJournal, Limits, MessageId};
use serde_json::{Value, json};

use super::WARM_UP;
use crate::Common;
use crate::counter::STATE_BYTES;
use crate::load::{Load, Shape, Side, ask, median, rounded};
use crate::sides::{ours, ours_tower};

/// Keys at a time while rows are made.
const FILLING: Duration = Duration::from_millis(500);

/// A counter that is asked with a new random key each time.
struct Keyed(ours_tower::Ours);

impl Side for Keyed {
    async fn ask(&self, _: usize, actor: usize) -> Result<()> {
        self.0.ask_with_id(actor, MessageId::random()).await
    }
}

pub(crate) async fn run(keys: u64, common: Common) -> Result<Value> {
    let folder = tempfile::tempdir()?;
    let (time, durability) = (Duration::from_secs(common.seconds), common.durability.durability());
    // Forgotten as soon as they are done.
    let limits = Limits { dedup_age: Duration::ZERO, ..Limits::default() };
    let (_one, journal) = ours::open(&folder.path().join("young.db"), durability, limits).await?;
    let young = Rc::new(Keyed(ours_tower::Ours::start(&journal, 1, STATE_BYTES).await?));
    let path = folder.path().join("old.db");
    let (_two, journal) = ours::open(&path, durability, Limits::default()).await?;
    let old = Rc::new(Keyed(ours_tower::Ours::start(&journal, 1, STATE_BYTES).await?));
    let Some((rows, bytes)) = fill(&old, &journal, &path.with_extension("actors.db"), keys).await?
    else {
        anyhow::bail!("no rows");
    };
    let mut lines = Vec::new();
    for shape in [Shape::S1, Shape::S2] {
        let load = shape.load();
        let (mut without, mut with) = (Vec::new(), Vec::new());
        ask(&young, load, WARM_UP).await?;
        ask(&old, load, WARM_UP).await?;
        for _ in 0..common.rounds {
            without.push(ask(&young, load, time).await?);
            with.push(ask(&old, load, time).await?);
        }
        let (without, with) = (median(without)?, median(with)?);
        lines.push(json!({
            "shape": shape.name(),
            "without": without,
            "with": with,
            "ratio_p50": rounded(with.p50_us / without.p50_us, 2),
            "ratio_per_s": rounded(with.per_s / without.per_s, 2),
        }));
    }
    Ok(json!({
        "scenario": "keys",
        "durability": common.durability.name(),
        "rows": rows,
        "bytes_a_row": rounded(bytes / rows as f64, 0),
        "shapes": lines,
    }))
}

/// Uses keys until there are so many in rows: how many there are, and by how many bytes the file grew.
async fn fill(
    side: &Rc<Keyed>,
    journal: &EventJournal,
    file: &Path,
    keys: u64,
) -> Result<Option<(u64, f64)>> {
    let before = std::fs::metadata(file)?.len();
    let (many, mut rows) = (Load { actors: 1, callers: 1024 }, 0);
    while rows < keys {
        let round = ask(side, many, FILLING).await?;
        rows += (round.per_s * FILLING.as_secs_f64()) as u64;
    }
    journal.checkpoint().await?;
    let rows = journal.verify().await?.keys;
    let grown = std::fs::metadata(file)?.len().saturating_sub(before);
    Ok((rows > 0).then_some((rows, grown as f64)))
}
