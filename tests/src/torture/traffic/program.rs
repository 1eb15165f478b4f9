//! Random traffic, and smaller programs that may fail too.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::super::program::{Kill, swallow_some, without_parts};
use super::desk::Deed;

/// What senders have actors do, and what becomes of the processes and the stores.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Where it came from.
    pub seed: u64,
    /// How many actors there are: many, so that many send to one.
    pub actors: u32,
    /// How many shards they are divided among.
    pub shards: u32,
    /// How many of a shard's actors are in memory at a time.
    pub active: usize,
    /// How many operations of one sender are on their way at a time.
    pub in_flight: usize,
    /// How many lines there are. Each tells the actor of its number.
    pub lines: u32,
    /// How many events an execution of a line reads.
    pub chunk: u32,
    /// Which store is put back in the gaps that say so.
    pub restores: Option<Store>,
    /// What each sender does, in order.
    pub senders: Vec<Vec<Step>>,
    /// The lives of the processes, one after the other. One more follows that is not killed.
    pub lives: Vec<Life>,
}

/// One operation of a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its number. No other step has it.
    pub number: u64,
    /// What it is.
    pub op: Op,
}

/// An operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// A message to an actor.
    Send {
        /// The actor.
        to: u32,
        /// What its id is made of: its number, or that of a step with another actor.
        key: u64,
        /// Whether the reply is waited for, or the receipt.
        ask: bool,
        /// What the actor does.
        deed: Deed,
    },
    /// A line is deleted and started again.
    NewLine(u32),
    /// An instance that asks three actors, the first of them this one and the others the next ones, is deleted and
    /// started again.
    Anew(u32, u32),
}

/// One of the two files of a SQLite store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Store {
    /// The journal.
    Journal,
    /// What duroxide has.
    Duroxide,
}

/// A process, and what is done to the stores when it is dead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Life {
    /// How it dies.
    pub kill: Kill,
    /// What happens then.
    pub gap: Gap,
}

/// What happens between two processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gap {
    /// Nothing.
    Nothing,
    /// The files are copied aside.
    Copy,
    /// One of them is put back, if there is a copy.
    Restore,
}

/// Where a process can die.
pub const POINTS: [&str; 16] = [
    "before-append",
    "after-append",
    "during-checkpoint",
    "before-relay",
    "before-delivered",
    "after-delivered",
    "before-instance",
    "after-instance",
    "after-settle",
    "after-mail",
    "before-ring",
    "after-ring",
    "before-activity",
    "after-activity",
    "before-reply",
    "after-reply",
];

/// About so many operations for each process that dies.
const OPS_PER_KILL: usize = 30;
/// Instances that are made anew, beside the lines.
const ANEW: u32 = 3;
/// Senders number their steps from a multiple of this.
const STEPS: u64 = 1_000_000;

impl Traffic {
    /// Random traffic with so many deaths.
    #[must_use]
    pub fn random(seed: u64, kills: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let actors = random.random_range(18..=28);
        let lines = random.random_range(1..=2);
        let renews = random.random_ratio(1, 2);
        let senders = random.random_range(1..=4);
        let each = (kills + 1) * OPS_PER_KILL / senders as usize;
        let restores = match random.random_range(0..4) {
            0 => Some(Store::Duroxide),
            1 => Some(Store::Journal),
            _ => None,
        };
        Self {
            seed,
            actors,
            shards: random.random_range(1..=3),
            active: random.random_range(2..=16),
            in_flight: random.random_range(2..=24),
            lines,
            chunk: random.random_range(2..=12),
            restores,
            senders: (0..senders)
                .map(|sender| steps(&mut random, sender, actors, lines, renews, each))
                .collect(),
            lives: (0..kills).map(|it| life(&mut random, it, restores.is_some())).collect(),
        }
    }

    /// The same on a network that swallows some processes, for a store that is reached by one, and is one.
    #[must_use]
    pub fn on_a_network(mut self) -> Self {
        self.restores = None;
        swallow_some(self.lives.iter_mut().map(|life| &mut life.kill), self.seed);
        self
    }

    /// Whether lines ask. A journal that is put back may have lost what they ask, and then they wait for ever; one
    /// that is put back for duroxide refuses what they tell under numbers that were used.
    #[must_use]
    pub fn lines_ask(&self) -> bool {
        self.restores == Some(Store::Duroxide)
            || (self.restores.is_none() && self.chunk.is_multiple_of(2))
    }

    /// How many operations it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.senders.iter().map(Vec::len).sum()
    }

    /// Whether it does nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Programs with something left out, those with the most left out first.
    #[must_use]
    pub fn smaller(&self) -> Vec<Self> {
        let mut smaller = Vec::new();
        for lives in without_parts(&self.lives) {
            smaller.push(Self { lives, ..self.clone() });
        }
        for (sender, steps) in self.senders.iter().enumerate() {
            for steps in without_parts(steps) {
                let mut program = self.clone();
                program.senders[sender] = steps;
                smaller.push(program);
            }
        }
        smaller.sort_by_key(|program| program.lives.len() * OPS_PER_KILL + program.len());
        smaller
    }
}

/// One that may be copied leaves workflows some time, so that there is something to be lost.
fn life(random: &mut StdRng, number: usize, restores: bool) -> Life {
    let kill = match random.random_range(0..10) {
        0..7 if restores => {
            Kill::After(random.random_range(5..40), random.random_range(0..700_000))
        }
        0 => Kill::Pause(random.random_range(1..20)),
        1..7 => {
            let point = POINTS[random.random_range(0..POINTS.len())];
            Kill::At(point.to_owned(), random.random_range(1..12))
        }
        _ => Kill::After(random.random_range(0..30), random.random_range(0..100_000)),
    };
    let gap = match random.random_range(0..4) {
        _ if !restores => Gap::Nothing,
        _ if number == 0 => Gap::Copy,
        0 => Gap::Nothing,
        1 => Gap::Copy,
        _ => Gap::Restore,
    };
    Life { kill, gap }
}

fn steps(
    random: &mut StdRng,
    sender: u32,
    actors: u32,
    lines: u32,
    renews: bool,
    count: usize,
) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for number in u64::from(sender) * STEPS + 1.. {
        if steps.len() == count {
            break;
        }
        let to = random.random_range(0..actors);
        let op = match random.random_range(0..100) {
            0..2 if renews => Op::NewLine(random.random_range(0..lines)),
            2..8 if renews => Op::Anew(random.random_range(0..ANEW), to),
            _ => Op::Send {
                to,
                key: key(random, steps.last(), number, to),
                ask: random.random_ratio(1, 2),
                deed: deed(random, actors, lines),
            },
        };
        steps.push(Step { number, op });
    }
    steps
}

/// Sometimes that of the step before, at another actor.
fn key(random: &mut StdRng, last: Option<&Step>, number: u64, to: u32) -> u64 {
    match last {
        Some(Step { number: last, op: Op::Send { to: other, key, .. } })
            if *other != to && key == last && random.random_ratio(1, 5) =>
        {
            *key
        }
        _ => number,
    }
}

fn deed(random: &mut StdRng, actors: u32, lines: u32) -> Deed {
    let other = random.random_range(0..actors);
    match random.random_range(0..100) {
        0..25 => Deed::Tell(random.random_range(0..2)),
        25..30 => Deed::Tell(other),
        30..38 => Deed::Timer,
        38..55 => Deed::Work(other, random.random_range(0..actors)),
        55..85 => Deed::Raise(random.random_range(0..lines)),
        _ => Deed::Nothing,
    }
}
