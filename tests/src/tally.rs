//! The actor of the failover tests, and the lines that a node prints about what it sent to it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use actix::prelude::*;
use anyhow::{Context as _, bail};
use duroxide_actix::journal::{DurableMessage, DurableState};
use duroxide_actix::{DurableActor, DurableContext};
use serde::{Deserialize, Serialize};

/// Actors in a cluster.
pub const ACTORS: u32 = 8;

/// Counts, and knows what each sender should send next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// How many messages were handled.
    pub count: u64,
    /// The last number of each sender.
    pub last: BTreeMap<u32, u64>,
    /// What came twice, too late or too early.
    pub violations: Vec<String>,
}

impl Actor for Tally {
    type Context = DurableContext<Self>;
}

/// The next message of a sender: they count from 1. The answer is how many were handled.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub struct Add {
    /// Who sends.
    pub sender: u32,
    /// Its number.
    pub number: u64,
}

impl DurableMessage for Add {
    const NAME: &'static str = "tally.add";
}

/// Asks how many were handled.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub struct Get;

impl DurableMessage for Get {
    const NAME: &'static str = "tally.get";
}

/// Asks for everything.
#[derive(Debug, Message, Serialize, Deserialize)]
#[rtype(result = "Tally")]
pub struct Show;

impl DurableMessage for Show {
    const NAME: &'static str = "tally.show";
}

impl DurableState for Tally {
    const ACTOR_TYPE: &'static str = "tally";
    type State = Self;
    fn snapshot(&self) -> impl Serialize {
        self
    }
    fn restore(&mut self, state: Self) {
        *self = state;
    }
}

impl DurableActor for Tally {
    type Messages = (Add, Get, Show);
}

impl Handler<Add> for Tally {
    type Result = u64;
    fn handle(&mut self, add: Add, _: &mut Self::Context) -> u64 {
        let last = self.last.entry(add.sender).or_default();
        if add.number != *last + 1 {
            self.violations.push(format!("{add:?} after {last}"));
        }
        *last = add.number;
        self.count += 1;
        self.count
    }
}

impl Handler<Get> for Tally {
    type Result = u64;
    fn handle(&mut self, _: Get, _: &mut Self::Context) -> u64 {
        self.count
    }
}

impl Handler<Show> for Tally {
    type Result = MessageResult<Show>;
    fn handle(&mut self, _: Show, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.clone())
    }
}

/// What a node says, with the time by a clock that all processes of the machine share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It sent a message.
    Call {
        /// Unique to this sender and actor.
        operation: u64,
        /// To whom.
        actor: u32,
        /// From whom.
        sender: u32,
        /// The number of an [`Add`]; a [`Get`] has none.
        number: Option<u64>,
        /// Nanoseconds.
        at: u64,
    },
    /// It got the answer.
    Return {
        /// The call's.
        operation: u64,
        /// The call's.
        actor: u32,
        /// The call's.
        sender: u32,
        /// The answer.
        result: u64,
        /// Nanoseconds.
        at: u64,
    },
}

/// Nanoseconds by a clock that all processes of the machine share.
#[must_use]
pub fn now() -> u64 {
    use nix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC);
    time.map_or(0, |time| std::time::Duration::from(time).as_nanos() as u64)
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call { operation, actor, sender, number, at } => {
                write!(f, "C {operation} {actor} {sender} {} {at}", number.unwrap_or(0))
            }
            Self::Return { operation, actor, sender, result, at } => {
                write!(f, "R {operation} {actor} {sender} {result} {at}")
            }
        }
    }
}

impl FromStr for Said {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> anyhow::Result<Self> {
        let (kind, numbers) = line.split_once(' ').context("no numbers")?;
        let numbers = numbers.split(' ').map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let [operation, actor, sender, value, at] = numbers[..] else { bail!("{line:?}") };
        let (actor, sender) = (u32::try_from(actor)?, u32::try_from(sender)?);
        Ok(match kind {
            "C" => {
                let number = (value > 0).then_some(value);
                Self::Call { operation, actor, sender, number, at }
            }
            "R" => Self::Return { operation, actor, sender, result: value, at },
            _ => bail!("{line:?}"),
        })
    }
}
