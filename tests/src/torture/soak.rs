//! A steady load on a process that nobody kills. What comes from a sender is counted by its actor, not
//! written down, so that nothing has a reason to grow.

use std::collections::{HashMap, VecDeque};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::book::{Act, Deed};
use super::census::Census;
use super::gauge::{Latencies, Reading, watch};
use super::memory::Floats;
use super::place::Place;
use super::process::{Heard, Process};
use super::setup::Setup;
use super::steps::float;
use super::verdict::Verdict;
use super::wire::{Answer, Order, Said};

/// Operations a second, far fewer than a process can do.
pub const RATE: u64 = 1000;
/// Each sends every fourth operation.
const SENDERS: u32 = 4;
/// The actors, ten times as many as are in memory, in their shards.
const ACTORS: u32 = 200;
const SHARDS: u32 = 4;
const ACTIVE: usize = 5;
/// Every so manyth actor has a large state, of always the same size.
const LARGE_EVERY: u32 = 10;
const LARGE_BYTES: u32 = 40_000;
/// So many of a sender's last messages may be sent again.
const RECENT: usize = 12;
/// A process that had to be killed keeps its shards for so long.
const LEASE: Duration = Duration::from_secs(15);
/// Between two looks, unless the life is short.
const LOOK_EVERY: Duration = Duration::from_secs(10);
const LOOK_AT_LEAST_EVERY: Duration = Duration::from_secs(1);
/// Looks in a short life.
const LOOKS: u32 = 60;

/// A steady load.
#[derive(Debug, Clone)]
pub struct Soak {
    /// How long.
    pub time: Duration,
    /// Where the operations come from.
    pub seed: u64,
}

/// Loads a process in a store of its own. `shown` is given what it looks like now and then, all of which
/// is in the result.
///
/// # Errors
/// The store cannot be made, or processes cannot be started.
pub fn soak(
    setup: &Setup,
    soak: &Soak,
    shown: &mut (dyn FnMut(&Reading) + Send),
) -> Result<(Verdict, Vec<Reading>)> {
    let place = Place::make(&setup.store)?;
    let address = place.address(1)?;
    let start = || Process::start(&mut setup.command(&address, SHARDS, ACTIVE), None);
    let process = start()?;
    match process.next(setup.patience)? {
        Some(Said::Ready) => {}
        other => bail!("the process began with {other:?}"),
    }
    let mut load = Load::new(process, setup.patience, soak)?;
    let (latencies, told) = channel();
    let watched = std::thread::scope(|scope| {
        let (process, place) = (load.process.id(), &place);
        let watched = scope.spawn(move || watch(&told, process, place, shown));
        if let Err(error) = load.carry(soak.time, latencies) {
            load.verdict.unexplained(format!("{error:#}"));
        }
        watched.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    });
    let (mut verdict, census) = load.end();
    let readings = watched.unwrap_or_else(|error| {
        verdict.unexplained(format!("{error:#}"));
        Vec::new()
    });
    match start()?.show(ACTORS, setup.patience + LEASE) {
        Ok(Some((found, complaints))) => {
            census.check(&found, &mut verdict);
            complaints.into_iter().for_each(|complaint| verdict.unexplained(complaint));
        }
        Ok(None) => verdict.unexplained("the last process died".into()),
        Err(error) => verdict.unexplained(format!("{error:#}")),
    }
    place.remove()?;
    Ok((verdict, readings))
}

/// An operation without an answer.
struct Flying {
    due: Instant,
    actor: u32,
    act: Act,
    ask: bool,
    again: bool,
}

struct Load {
    process: Process,
    patience: Duration,
    random: StdRng,
    /// The last messages of each sender, with their actors.
    recent: Vec<VecDeque<(u32, Act)>>,
    flying: HashMap<(u32, u64), Flying>,
    latencies: Latencies,
    census: Census,
    verdict: Verdict,
}

impl Load {
    fn new(process: Process, patience: Duration, soak: &Soak) -> Result<Self> {
        Ok(Self {
            process,
            patience,
            random: StdRng::seed_from_u64(soak.seed),
            recent: vec![VecDeque::new(); SENDERS as usize],
            flying: HashMap::new(),
            latencies: Latencies::new()?,
            census: Census::default(),
            verdict: Verdict::default(),
        })
    }

    /// Sends every operation when it is due, whatever has become of those before, and waits for their
    /// answers. Ends early if something is wrong.
    fn carry(&mut self, time: Duration, looks: Sender<Latencies>) -> Result<()> {
        let start = Instant::now();
        let look_every = (time / LOOKS).clamp(LOOK_AT_LEAST_EVERY, LOOK_EVERY);
        let mut look_at = start + look_every;
        let mut heard_at = start;
        let due = |number| start + Duration::from_micros(number * 1_000_000 / RATE);
        let (mut number, mut over) = (0, false);
        while !(over && self.flying.is_empty()) {
            let now = Instant::now();
            over |= now >= start + time || !self.verdict.is_clean();
            while !over && due(number) <= now {
                self.send(number, due(number))?;
                number += 1;
            }
            if now >= look_at {
                // If nobody looks any more, that is found at the end.
                let _ = looks.send(self.latencies.take(look_at - start));
                look_at += look_every;
            }
            let next = if over { look_at } else { due(number).min(look_at) };
            match self.process.hear(next.saturating_duration_since(now))? {
                Heard::Said(said) => self.hear(said)?,
                Heard::Dead => bail!("the process died"),
                Heard::Nothing => {
                    let silence = heard_at.elapsed();
                    let patient = self.flying.is_empty() || silence < self.patience;
                    ensure!(patient, "silence for {silence:?}");
                    continue;
                }
            }
            heard_at = Instant::now();
        }
        Ok(())
    }

    fn send(&mut self, number: u64, due: Instant) -> Result<()> {
        let sender = u32::try_from(number % u64::from(SENDERS))?;
        let recent = &mut self.recent[sender as usize];
        let again = !recent.is_empty() && self.random.random_ratio(1, 10);
        let (actor, act, ask) = if again {
            let (actor, act) = recent[self.random.random_range(0..recent.len())].clone();
            (actor, act, true)
        } else {
            let actor = self.random.random_range(0..ACTORS);
            let deed = deed(&mut self.random, actor);
            let act = self.census.sends(sender, actor, deed);
            recent.push_back((actor, act.clone()));
            if recent.len() > RECENT {
                recent.pop_front();
            }
            (actor, act, self.random.random_ratio(6, 10))
        };
        let op = (sender, number);
        self.process.order(&Order::Message { op, actor, ask, act: act.clone() })?;
        self.flying.insert(op, Flying { due, actor, act, ask, again });
        Ok(())
    }

    fn hear(&mut self, said: Said) -> Result<()> {
        let Said::Answer(op, answer) = said else { bail!("the process said {said:?}") };
        let flying = self.flying.remove(&op).with_context(|| format!("{op:?} is not asked"))?;
        self.latencies.add(flying.due.elapsed());
        // Nobody kills it, so it has no reason to refuse anything. A reply is the message's place among
        // those of its sender.
        let Flying { actor, act, ask, again, .. } = flying;
        match answer {
            Answer::Replied(place, floats)
                if ask && place == act.number && floats == Floats::of(&act.deed).bits() => {}
            Answer::Done if !ask => {}
            other => {
                self.verdict.unexplained(format!("{act:?} to {actor} was answered with {other:?}"));
                return Ok(());
            }
        }
        self.verdict.acked += u64::from(!again);
        Ok(())
    }

    /// Lets the process end if it can.
    fn end(mut self) -> (Verdict, Census) {
        for flying in self.flying.values().filter(|flying| !flying.again) {
            self.census.unanswered(flying.act.sender, flying.actor);
        }
        if self.flying.is_empty() {
            match self.process.leave() {
                Ok(status) if status.success() => {}
                other => self.verdict.unexplained(format!("the process ended with {other:?}")),
            }
        }
        (self.verdict, self.census)
    }
}

fn deed(random: &mut StdRng, actor: u32) -> Deed {
    match random.random_range(0..1000) {
        0..5 => Deed::Flaky,
        5..100 => Deed::Slow,
        100..200 if actor.is_multiple_of(LARGE_EVERY) => Deed::Grow(LARGE_BYTES),
        200..400 => Deed::Send((actor + 1) % ACTORS),
        400..450 => Deed::Float(float(random)),
        _ => Deed::Note,
    }
}
