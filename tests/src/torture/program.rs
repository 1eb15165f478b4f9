//! Random programs, and smaller ones that may fail too.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::book::Deed;
use super::steps::{Plan, abort, steps};

/// What senders do to actors, and when the process dies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Where it came from.
    pub seed: u64,
    /// How many actors there are.
    pub actors: u32,
    /// How many shards they are divided among.
    pub shards: u32,
    /// How many of a shard's actors are in memory at a time.
    pub active: usize,
    /// How many operations of one sender are on their way at a time.
    pub in_flight: usize,
    /// How often a message is tried.
    pub attempts: u32,
    /// How many keys an actor has in memory, if not as many as usual.
    pub window: Option<usize>,
    /// Every other process allows smaller states only.
    pub tight: bool,
    /// What each sender does, in order.
    pub senders: Vec<Vec<Step>>,
    /// The deaths of the processes, one after the other. The last process lives.
    pub kills: Vec<Kill>,
}

/// One operation of a sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its number among the sender's. Stays when others are left out.
    pub number: u64,
    /// What it is.
    pub op: Op,
}

/// An operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// A message whose reply is waited for.
    Ask(u32, Deed),
    /// A message whose receipt is waited for.
    Tell(u32, Deed),
    /// The message of an earlier step of the same sender, under its id, whatever has become of it.
    Again(u64),
    /// Another message under the id of an earlier one that was acknowledged, or is held. Lets the handler
    /// of that one go on.
    Other(u64),
    /// A checkpoint of every shard.
    Checkpoint,
}

/// How a process dies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kill {
    /// Of SIGKILL, so many answers and then so many microseconds after its start.
    After(u64, u64),
    /// Of SIGKILL, when it passes a named point for the nth time.
    At(String, u64),
    /// It is stopped instead, so many answers after its start, and comes back when its successor has
    /// given as many.
    Pause(u64),
    /// The network swallows what it says to the store and hears of it, instead; else as `Pause`. A process whose
    /// store is a file is stopped.
    Swallow(u64),
}

/// Where a process can die. Some programs do not come by all of them; their processes are then killed
/// at the end.
pub const POINTS: [&str; 8] = [
    "before-append",
    "after-append",
    "before-reply",
    "during-checkpoint",
    "during-recovery",
    "before-relay",
    "before-delivered",
    "after-delivered",
];

/// Keys that an actor remembers where those are few: more than can come between a message that is held and
/// those under its key. A quarter of it has room in front of an actor.
pub(super) const WINDOW: usize = 24;
/// Bytes of a state in every other process of some programs.
pub(super) const NARROW: usize = 16 << 10;
/// A state with more than so many is over that limit perhaps: the rest of it is smaller than what is left.
pub(super) const FAT: u32 = 8 << 10;
/// How often a message that aborts its process is tried: more than processes are killed beside it, so that
/// no other one can be charged as often.
const LIVES: u32 = 5;

/// About so many operations for each process that dies.
const OPS_PER_KILL: usize = 40;

impl Program {
    /// A random program with so many deaths.
    #[must_use]
    pub fn random(seed: u64, kills: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let narrow = random.random_ratio(1, 5);
        let aborts = !narrow && kills < LIVES as usize - 1 && random.random_ratio(1, 2);
        let tight = random.random_ratio(1, 4);
        let actors = random.random_range(1..=6);
        let senders = if narrow { 1 } else { random.random_range(1..=4) };
        let each = (kills + 1) * OPS_PER_KILL / senders;
        let plan = Plan { actors, narrow, tight };
        let mut program = Self {
            seed,
            actors,
            shards: random.random_range(1..=3),
            // A handler that is held does not let its actor leave memory.
            active: if narrow { actors as usize } else { random.random_range(1..=4) },
            // Often a few, and sometimes more than a mailbox holds.
            in_flight: match random.random_range(0..4) {
                _ if narrow => 4,
                0 => 48,
                _ => random.random_range(1..=8),
            },
            attempts: if aborts { LIVES } else { crate::ATTEMPTS },
            window: narrow.then_some(WINDOW),
            tight,
            senders: (0..senders).map(|_| steps(&mut random, plan, each)).collect(),
            kills: (0..kills).map(|_| kill(&mut random)).collect(),
        };
        if !narrow {
            // With numbers of its own, so that nothing else depends on it.
            let mut random = StdRng::seed_from_u64(!seed);
            program.window = random.random_ratio(1, 2).then(|| random.random_range(4..=16));
        }
        if aborts {
            // One that fails in every life as well may be given up with the one that ends them.
            for step in program.senders.iter_mut().flatten() {
                if let Op::Ask(_, deed @ Deed::Flaky) | Op::Tell(_, deed @ Deed::Flaky) =
                    &mut step.op
                {
                    *deed = Deed::Note;
                }
            }
            let sender = random.random_range(0..senders);
            abort(&mut random, actors, &mut program.senders[sender]);
        }
        program
    }

    /// The same program on a network that swallows some processes, for a store that is reached by one.
    #[must_use]
    pub fn on_a_network(mut self) -> Self {
        swallow_some(self.kills.iter_mut(), self.seed);
        self
    }

    /// How many processes its messages may take with them: a few more than attempts, because a receipt
    /// may come too late.
    pub(super) fn most_aborts(&self) -> u64 {
        let steps = self.senders.iter().flatten();
        let fatal =
            |step: &&Step| matches!(step.op, Op::Ask(_, Deed::Abort) | Op::Tell(_, Deed::Abort));
        steps.filter(fatal).count() as u64 * 3 * u64::from(self.attempts)
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
        for kills in without_parts(&self.kills) {
            smaller.push(Self { kills, ..self.clone() });
        }
        for (sender, steps) in self.senders.iter().enumerate() {
            for steps in without_parts(steps) {
                let mut program = self.clone();
                program.senders[sender] = steps;
                smaller.push(program);
            }
        }
        smaller.sort_by_key(|program| program.kills.len() * OPS_PER_KILL + program.len());
        smaller
    }
}

/// Some of the processes are swallowed instead.
pub(super) fn swallow_some<'k>(kills: impl Iterator<Item = &'k mut Kill>, seed: u64) {
    // With numbers of its own, so that nothing else depends on it.
    let mut random = StdRng::seed_from_u64(seed.rotate_left(32));
    for kill in kills {
        let often = if matches!(kill, Kill::Pause(_)) { 2 } else { 8 };
        if random.random_ratio(1, often) {
            *kill = Kill::Swallow(random.random_range(1..20));
        }
    }
}

/// The list without its halves, its quarters, and so on.
pub(super) fn without_parts<T: Clone>(list: &[T]) -> Vec<Vec<T>> {
    let mut lists = Vec::new();
    let mut part = list.len();
    while part > 0 && lists.len() < 16 {
        for start in (0..list.len()).step_by(part) {
            let end = (start + part).min(list.len());
            lists.push([&list[..start], &list[end..]].concat());
        }
        part /= 2;
    }
    lists
}

fn kill(random: &mut StdRng) -> Kill {
    match random.random_range(0..10) {
        0 => Kill::Pause(random.random_range(1..20)),
        1..6 => {
            let point = POINTS[random.random_range(0..POINTS.len())];
            Kill::At(point.to_owned(), random.random_range(1..12))
        }
        _ => Kill::After(random.random_range(0..30), random.random_range(0..3000)),
    }
}
