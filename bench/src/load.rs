//! The shapes of load: who asks whom.

use std::time::{Duration, Instant};

use actix::dev::ToEnvelope;
use actix::prelude::*;
use anyhow::{Context as _, Result};

use crate::counter::Add;

/// A shape of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shape {
    /// One actor, one caller.
    S1,
    /// One actor, 64 callers.
    S2,
    /// 1,000 actors, 256 callers.
    S3,
}

impl Shape {
    pub(crate) fn actors(self) -> usize {
        match self {
            Self::S1 | Self::S2 => 1,
            Self::S3 => 1000,
        }
    }

    fn callers(self) -> usize {
        match self {
            Self::S1 => 1,
            Self::S2 => 64,
            Self::S3 => 256,
        }
    }
}

/// What one side did in one round.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Round {
    pub(crate) per_s: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// Asks for as long as told, each caller one question at a time, and measures every answer.
pub(crate) async fn ask<A>(shape: Shape, actors: &[Addr<A>], time: Duration) -> Result<Round>
where
    A: Actor + Handler<Add>,
    A::Context: ToEnvelope<A, Add>,
{
    let begin = Instant::now();
    let callers = (0..shape.callers()).map(|caller| async move {
        let mut taken = Vec::new();
        let mut next = caller;
        while begin.elapsed() < time {
            // A stride that is no divisor of the number of actors: callers do not march in step.
            next = (next + 37) % actors.len();
            let asked = Instant::now();
            actors[next].send(Add::sample()).await?;
            taken.push(asked.elapsed());
        }
        Ok::<_, MailboxError>(taken)
    });
    let taken = futures::future::try_join_all(callers).await?;
    let elapsed = begin.elapsed();
    let mut taken: Vec<Duration> = taken.into_iter().flatten().collect();
    taken.sort_unstable();
    let at = |share: f64| {
        let index = ((taken.len() - 1) as f64 * share) as usize;
        taken[index].as_secs_f64() * 1e6
    };
    anyhow::ensure!(!taken.is_empty(), "no answer in {time:?}");
    let per_s = taken.len() as f64 / elapsed.as_secs_f64();
    Ok(Round { per_s, p50_us: at(0.5), p99_us: at(0.99) })
}

/// The round in the middle, by throughput.
pub(crate) fn median(mut rounds: Vec<Round>) -> Result<Round> {
    rounds.sort_by(|a, b| a.per_s.total_cmp(&b.per_s));
    rounds.get(rounds.len() / 2).copied().context("no round")
}
