//! Messages whose senders wait for the durable receipt only, many on their way at a time.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use duroxide_actix::journal::Limits;
use futures::StreamExt;
use serde_json::{Value, json};

use super::WARM_UP;
use crate::counter::STATE_BYTES;
use crate::load::{Choice, Load, Round, Shape, callers, median, rounded};
use crate::sides::limit::Limit;
use crate::sides::{ours, ours_tower};
use crate::{Adapter, Common};

/// Messages of one caller that wait for their receipt.
const IN_FLIGHT: usize = 16;

/// Somebody who can be told.
trait Told: 'static {
    async fn tell(&self, actor: usize) -> Result<()>;
}

impl Told for ours::Ours {
    async fn tell(&self, actor: usize) -> Result<()> {
        self.tell(actor).await
    }
}

impl Told for ours_tower::Ours {
    async fn tell(&self, actor: usize) -> Result<()> {
        self.tell(actor).await
    }
}

pub(crate) async fn run(shape: Shape, adapter: Adapter, common: Common) -> Result<Value> {
    let (load, folder) = (shape.load(), tempfile::tempdir()?);
    let durability = common.durability.durability();
    let path = folder.path().join("ours.db");
    let (_provider, journal) = ours::open(&path, durability, Limits::default()).await?;
    let mut limit = Limit::open(&folder.path().join("limit.db"), durability)?;
    let (told, limit) = match adapter {
        Adapter::Actix => {
            let side = ours::Ours::start(&journal, load.actors, STATE_BYTES).await?;
            (rounds(Rc::new(side), load, &mut limit, common).await?, limit.medians()?)
        }
        Adapter::Tower => {
            let side = ours_tower::Ours::start(&journal, load.actors, STATE_BYTES).await?;
            (rounds(Rc::new(side), load, &mut limit, common).await?, limit.medians()?)
        }
    };
    Ok(json!({
        "scenario": "tell",
        "shape": shape.name(),
        "adapter": adapter.name(),
        "durability": common.durability.name(),
        "in_flight": load.callers * IN_FLIGHT,
        "ours": told,
        "limit": limit,
        "ratio": { "limit": rounded(told.per_s / limit.rows_per_s, 3) },
    }))
}

async fn rounds<T: Told>(
    side: Rc<T>,
    load: Load,
    limit: &mut Limit,
    common: Common,
) -> Result<Round> {
    let time = Duration::from_secs(common.seconds);
    round(&side, load, WARM_UP).await?;
    let mut rounds = Vec::new();
    for _ in 0..common.rounds {
        rounds.push(round(&side, load, time).await?);
        limit.round(time)?;
    }
    median(rounds)
}

async fn round<T: Told>(side: &Rc<T>, load: Load, time: Duration) -> Result<Round> {
    let begin = Instant::now();
    let taken = callers(load.callers, |caller| {
        let side = side.clone();
        async move {
            let mut choice = Choice::new(caller);
            let messages =
                std::iter::from_fn(|| (begin.elapsed() < time).then(|| choice.next(load.actors)));
            let side = &side;
            let told = futures::stream::iter(messages).map(|actor| async move {
                let told = Instant::now();
                side.tell(actor).await.map(|()| told.elapsed())
            });
            let receipts: Vec<_> = told.buffer_unordered(IN_FLIGHT).collect().await;
            receipts.into_iter().collect::<Result<Vec<_>>>()
        }
    });
    let taken = taken.await?.concat();
    Round::of(taken, begin.elapsed())
}
