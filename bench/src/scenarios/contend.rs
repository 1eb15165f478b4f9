//! Asks beside a reader that walks histories, and the checkpoints between them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use duroxide_actix::journal::{ActorId, EventJournal, Limits};
use futures::StreamExt;
use serde_json::{Value, json};

use super::WARM_UP;
use crate::Common;
use crate::counter::STATE_BYTES;
use crate::load::{Choice, Load, Round, Shape, Side, ask, callers, median, rounded};
use crate::sides::ours;

/// Between two checkpoints.
const PAUSE: Duration = Duration::from_millis(100);

pub(crate) async fn run(common: Common) -> Result<Value> {
    let (load, folder) = (Shape::S3.load(), tempfile::tempdir()?);
    let time = Duration::from_secs(common.seconds);
    // No checkpoint of its own accord.
    let limits = Limits { checkpoint_bytes: 2 << 30, tail_bytes: 4 << 30, ..Limits::default() };
    let path = folder.path().join("ours.db");
    let (_provider, journal) = ours::open(&path, common.durability.durability(), limits).await?;
    let side = Rc::new(ours::Ours::start(&journal, load.actors, STATE_BYTES).await?);
    ask(&side, load, WARM_UP).await?;
    let mut alone = Vec::new();
    let (mut between, mut during) = (Asked::default(), Asked::default());
    let (mut ratios, mut events) = (Vec::new(), 0);
    for _ in 0..common.rounds {
        journal.checkpoint().await?;
        alone.push(ask(&side, load, time).await?);
        let reader = Reader::start(journal.clone(), load.actors);
        let (without, with) = beside_checkpoints(&side, &journal, load, time).await?;
        events += reader.stop()?;
        ratios.push(rounded(with.round()?.p99_us / without.round()?.p99_us, 2));
        between.add(without);
        during.add(with);
    }
    // Of all rounds together: what is rare is not in every round.
    let (alone, between, during) = (median(alone)?, between.round()?, during.round()?);
    Ok(json!({
        "scenario": "contend",
        "durability": common.durability.name(),
        "alone": alone,
        "reader": between,
        "reader_and_checkpoint": during,
        "events_read": events,
        "checkpoints": journal.stats().checkpoints,
        "ratio": {
            "p99_during_checkpoints": rounded(during.p99_us / between.p99_us, 2),
            "p99_during_checkpoints_by_round": ratios,
            "p99_with_reader": rounded(between.p99_us / alone.p99_us, 2),
        },
    }))
}

/// Asks of one kind.
#[derive(Default, Clone)]
struct Asked {
    taken: Vec<Duration>,
    time: Duration,
}

impl Asked {
    fn add(&mut self, mut other: Self) {
        self.taken.append(&mut other.taken);
        self.time += other.time;
    }

    fn round(&self) -> Result<Round> {
        Round::of(self.taken.clone(), self.time)
    }
}

/// Asks with a checkpoint now and then: those that no checkpoint touched, and those that one did.
async fn beside_checkpoints<S: Side>(
    side: &Rc<S>,
    journal: &EventJournal,
    load: Load,
    time: Duration,
) -> Result<(Asked, Asked)> {
    let begin = Instant::now();
    let (running, finished) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0_u64)));
    let checkpoints = {
        let (journal, running, finished) = (journal.clone(), running.clone(), finished.clone());
        actix::spawn(async move {
            let mut spent = Duration::ZERO;
            while begin.elapsed() < time {
                tokio::time::sleep(PAUSE).await;
                let start = Instant::now();
                running.set(true);
                journal.checkpoint().await?;
                running.set(false);
                finished.set(finished.get() + 1);
                spent += start.elapsed();
            }
            anyhow::Ok(spent)
        })
    };
    let (without, with) = (Rc::new(RefCell::new(Vec::new())), Rc::new(RefCell::new(Vec::new())));
    let asked = callers(load.callers, |caller| {
        let (side, running, finished) = (side.clone(), running.clone(), finished.clone());
        let (without, with) = (without.clone(), with.clone());
        async move {
            let mut choice = Choice::new(caller);
            while begin.elapsed() < time {
                let (asked, before) = (Instant::now(), finished.get());
                let touched = running.get();
                side.ask(caller, choice.next(load.actors)).await?;
                let touched = touched || running.get() || finished.get() != before;
                let taken = if touched { &with } else { &without };
                taken.borrow_mut().push(asked.elapsed());
            }
            Ok(())
        }
    });
    asked.await?;
    let elapsed = begin.elapsed();
    let spent = checkpoints.await??;
    Ok((
        Asked { taken: without.take(), time: elapsed.saturating_sub(spent) },
        Asked { taken: with.take(), time: spent },
    ))
}

/// Walks one history after the other, on a thread of its own.
struct Reader {
    stop: Arc<AtomicBool>,
    events: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<Result<()>>,
}

impl Reader {
    fn start(journal: EventJournal, actors: usize) -> Self {
        let (stop, events) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted) = (stop.clone(), events.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async move {
                for actor in (0..actors).cycle() {
                    let mut history = journal.history(&ActorId::new("counter", actor.to_string()));
                    while let Some(event) = history.next().await {
                        if stopped.load(Ordering::Relaxed) {
                            return Ok(());
                        }
                        event?;
                        counted.fetch_add(1, Ordering::Relaxed);
                    }
                }
                Ok(())
            })
        });
        Self { stop, events, thread }
    }

    fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| anyhow::anyhow!("the reader panicked"))??;
        Ok(self.events.load(Ordering::Relaxed))
    }
}
