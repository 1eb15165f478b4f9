//! What is run next: a program of one kind or the other.

use anyhow::Result;
use clap::ValueEnum;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use tests::torture::traffic::{self, Traffic};
use tests::torture::{Program, Setup, Verdict, run};

/// Most processes that one program kills.
const KILLS_PER_PROGRAM: u64 = 8;

/// What programs are about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum About {
    /// What is promised of an actor and its senders.
    Actors,
    /// What actors and workflows have each other do.
    Traffic,
}

/// A program, as a file has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Task {
    Actors(Program),
    Traffic(Traffic),
}

impl Task {
    pub(crate) fn run(&self, setup: &Setup) -> Result<Verdict> {
        match self {
            Self::Actors(program) => run(setup, program),
            Self::Traffic(program) => traffic::run(setup, program),
        }
    }

    /// The smallest one found in the given time that fails as well.
    pub(crate) fn shrink(self, setup: &Setup, time: Duration) -> Result<Self> {
        let end = Instant::now() + time;
        let mut smallest = self;
        'smaller: loop {
            for candidate in smallest.smaller() {
                // A kill at a random moment does not always hit.
                for _ in 0..2 {
                    if Instant::now() > end {
                        return Ok(smallest);
                    }
                    if !candidate.run(setup)?.is_clean() {
                        smallest = candidate;
                        continue 'smaller;
                    }
                }
            }
            return Ok(smallest);
        }
    }

    fn smaller(&self) -> Vec<Self> {
        match self {
            Self::Actors(program) => program.smaller().into_iter().map(Self::Actors).collect(),
            Self::Traffic(program) => program.smaller().into_iter().map(Self::Traffic).collect(),
        }
    }

    /// How many operations and kills it has.
    pub(crate) fn size(&self) -> (usize, usize) {
        match self {
            Self::Actors(program) => (program.len(), program.kills.len()),
            Self::Traffic(program) => (program.len(), program.lives.len()),
        }
    }
}

/// Random programs, one after the other. Each kind has numbers of its own, so that the programs of one do not depend on
/// those of the other.
pub(crate) struct Tasks {
    about: Option<About>,
    actors: StdRng,
    traffic: StdRng,
    /// Programs so far, of each kind.
    pub(crate) count: (u64, u64),
}

impl Tasks {
    pub(crate) fn new(seed: u64, about: Option<About>) -> Self {
        let (actors, traffic) = (StdRng::seed_from_u64(seed), StdRng::seed_from_u64(!seed));
        Self { about, actors, traffic, count: (0, 0) }
    }

    /// The next one, which kills no more than that, and its number among those of its kind.
    pub(crate) fn next(&mut self, kills: u64, network: bool) -> Result<(Task, u64)> {
        let most = kills.min(KILLS_PER_PROGRAM);
        let traffic = match self.about {
            Some(about) => about == About::Traffic,
            None => self.traffic.random_ratio(1, 2),
        };
        let random = if traffic { &mut self.traffic } else { &mut self.actors };
        let kills = usize::try_from(random.random_range(1..=most))?;
        let seed = random.random_range(0..1 << 53);
        let count = if traffic { &mut self.count.1 } else { &mut self.count.0 };
        *count += 1;
        let number = *count - 1;
        let task = if traffic {
            let program = Traffic::random(seed, kills);
            Task::Traffic(if network { program.on_a_network() } else { program })
        } else {
            let program = Program::random(seed, kills);
            Task::Actors(if network { program.on_a_network() } else { program })
        };
        Ok((task, number))
    }
}
