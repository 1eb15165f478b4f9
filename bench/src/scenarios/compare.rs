//! Asks per second of every side.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use duroxide_actix::journal::{Durability, EventJournal, Limits};
use futures::future::OptionFuture;
use serde_json::{Value, json};

use super::WARM_UP;
use crate::counter::STATE_BYTES;
use crate::load::{Load, Round, Shape, Side, ask, median, rounded};
use crate::sides::limit::Limit;
use crate::sides::orchestration::{Orchestration, bounded};
use crate::sides::{handwritten, handwritten_tokio, memory, memory_tokio, ours, ours_tower};
use crate::{Adapter, Common};

/// For the orchestrations to begin and to end.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) async fn run(shape: Shape, adapter: Adapter, common: Common) -> Result<Value> {
    let (load, folder) = (shape.load(), tempfile::tempdir()?);
    let durability = common.durability.durability();
    let pool = handwritten::open(&folder.path().join("handwritten.db"), durability).await?;
    let journal = open(&folder.path().join("ours.db"), durability).await?;
    // How much of the cost is the disk's: once more without waiting for it.
    let relaxed = match (shape, durability) {
        (Shape::S1, Durability::PowerLoss) => {
            Some(open(&folder.path().join("relaxed.db"), Durability::ProcessCrash).await?)
        }
        _ => None,
    };
    let limit = Limit::open(&folder.path().join("limit.db"), durability)?;
    let rounds = match adapter {
        Adapter::Actix => {
            let start = |journal| ours::Ours::start(journal, load.actors, STATE_BYTES);
            let sides = Sides {
                ours: Rc::new(start(&journal).await?),
                relaxed: OptionFuture::from(relaxed.as_ref().map(start))
                    .await
                    .transpose()?
                    .map(Rc::new),
                by_hand: Rc::new(handwritten::Handwritten::start(
                    &handwritten::Pool::Sqlite(pool),
                    load.actors,
                )),
                memory: Rc::new(memory::Memory::start(load.actors)),
            };
            sides.run(load, limit, common).await?
        }
        Adapter::Tower => {
            let start = |journal| ours_tower::Ours::start(journal, load.actors, STATE_BYTES);
            let sides = Sides {
                ours: Rc::new(start(&journal).await?),
                relaxed: OptionFuture::from(relaxed.as_ref().map(start))
                    .await
                    .transpose()?
                    .map(Rc::new),
                by_hand: Rc::new(handwritten_tokio::Handwritten::start(&pool, load.actors)),
                memory: Rc::new(memory_tokio::Memory::start(load.actors)?),
            };
            sides.run(load, limit, common).await?
        }
    };
    let orchestration = orchestration(&folder.path().join("orchestration.db"), load, common).await;
    let Rounds { ours, relaxed, by_hand, memory, limit } = rounds;
    let to_limit = match shape {
        Shape::S1 => ours.p50_us / limit.single_row_us,
        Shape::S2 | Shape::S3 => ours.per_s / limit.rows_per_s,
    };
    let mut line = json!({
        "scenario": "compare",
        "shape": shape.name(),
        "adapter": adapter.name(),
        "durability": common.durability.name(),
        "ours": ours,
        "handwritten": by_hand,
        "memory": memory,
        "orchestration": orchestration,
        "limit": limit,
        "ratio": {
            "handwritten": rounded(ours.per_s / by_hand.per_s, 1),
            "memory": rounded(ours.per_s / memory.per_s, 3),
            "limit": rounded(to_limit, 3),
        },
    });
    if let Some(relaxed) = relaxed {
        line["process_crash"] = json!(relaxed);
        line["ratio"]["process_crash"] = json!(rounded(relaxed.p50_us / ours.p50_us, 3));
    }
    Ok(line)
}

async fn open(path: &Path, durability: Durability) -> Result<EventJournal> {
    Ok(ours::open(path, durability, Limits::default()).await?.1)
}

/// None if it does not answer: duroxide gives an instance up for good when its store was locked
/// too often, and then nobody would answer its callers.
async fn orchestration(path: &Path, load: Load, common: Common) -> Option<Round> {
    let (load, time) = (bounded(load), Duration::from_secs(common.seconds));
    let measured = async {
        let side = Rc::new(Orchestration::start(path, load).await?);
        let round = ask(&side, load, time).await?;
        side.stop().await;
        anyhow::Ok(round)
    };
    match tokio::time::timeout(time + PATIENCE, measured).await {
        Ok(Ok(round)) => Some(round),
        Ok(Err(error)) => {
            eprintln!("the orchestrations failed: {error:#}");
            None
        }
        Err(_) => {
            eprintln!("the orchestrations do not answer");
            None
        }
    }
}

struct Sides<O, H, M> {
    ours: Rc<O>,
    relaxed: Option<Rc<O>>,
    by_hand: Rc<H>,
    memory: Rc<M>,
}

struct Rounds {
    ours: Round,
    relaxed: Option<Round>,
    by_hand: Round,
    memory: Round,
    limit: crate::sides::limit::Limits,
}

impl<O: Side, H: Side, M: Side> Sides<O, H, M> {
    /// All sides in turn, several times.
    async fn run(self, load: Load, mut limit: Limit, common: Common) -> Result<Rounds> {
        let time = Duration::from_secs(common.seconds);
        let (mut ours, mut relaxed) = (Vec::new(), Vec::new());
        let (mut by_hand, mut memory) = (Vec::new(), Vec::new());
        ask(&self.ours, load, WARM_UP).await?;
        ask(&self.by_hand, load, WARM_UP).await?;
        ask(&self.memory, load, WARM_UP).await?;
        for _ in 0..common.rounds {
            ours.push(ask(&self.ours, load, time).await?);
            if let Some(side) = &self.relaxed {
                relaxed.push(ask(side, load, time).await?);
            }
            by_hand.push(ask(&self.by_hand, load, time).await?);
            memory.push(ask(&self.memory, load, time).await?);
            limit.round(time)?;
        }
        let relaxed = if relaxed.is_empty() { None } else { Some(median(relaxed)?) };
        Ok(Rounds {
            ours: median(ours)?,
            relaxed,
            by_hand: median(by_hand)?,
            memory: median(memory)?,
            limit: limit.medians()?,
        })
    }
}
