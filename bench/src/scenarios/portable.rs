//! Asks per second in a provider's history, and in SQLite tables of our own that survive as much.

use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use duroxide_actix::journal::portable::PortableActorProvider;
use duroxide_actix::journal::{Durability, EventJournal, Limits};
use serde_json::{Value, json};

use super::WARM_UP;
use crate::Common;
use crate::counter::STATE_BYTES;
use crate::load::{Shape, ask, median, rounded};
use crate::sides::ours::{Ours, open};

pub(crate) async fn run(shape: Shape, common: Common) -> Result<Value> {
    let dir = tempfile::tempdir()?;
    let load = shape.load();
    let time = Duration::from_secs(common.seconds);
    // What duroxide's SQLite provider survives.
    let durability = Durability::ProcessCrash;
    let (provider, native) =
        open(&dir.path().join("app.db"), durability, Limits::default()).await?;
    let portable = EventJournal::builder().open_on(PortableActorProvider::new(provider)).await?;
    let of_native = Rc::new(Ours::start(&native, load.actors, STATE_BYTES).await?);
    let of_portable = Rc::new(Ours::start(&portable, load.actors, STATE_BYTES).await?);
    ask(&of_native, load, WARM_UP).await?;
    ask(&of_portable, load, WARM_UP).await?;
    let (mut in_tables, mut in_history) = (Vec::new(), Vec::new());
    for _ in 0..common.rounds {
        in_tables.push(ask(&of_native, load, time).await?);
        in_history.push(ask(&of_portable, load, time).await?);
    }
    native.close().await?;
    portable.close().await?;
    let (native, portable) = (median(in_tables)?, median(in_history)?);
    Ok(json!({
        "scenario": "portable",
        "shape": shape.name(),
        "durability": "process-crash",
        "portable": portable,
        "native": native,
        "ratio": { "native": rounded(portable.per_s / native.per_s, 3) },
    }))
}
