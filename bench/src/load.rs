//! Load: callers who ask, each one question at a time, and what they measured.

use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// A set of counters that can be asked.
pub(crate) trait Side: 'static {
    /// Adds one to a counter and waits for the answer.
    async fn ask(&self, caller: usize, actor: usize) -> Result<()>;
}

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
    pub(crate) fn load(self) -> Load {
        match self {
            Self::S1 => Load { actors: 1, callers: 1 },
            Self::S2 => Load { actors: 1, callers: 64 },
            Self::S3 => Load { actors: 1000, callers: 256 },
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::S1 => "s1",
            Self::S2 => "s2",
            Self::S3 => "s3",
        }
    }
}

/// Who asks whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) actors: usize,
    pub(crate) callers: usize,
}

/// What one side did in one round.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Round {
    #[serde(serialize_with = "whole")]
    pub(crate) per_s: f64,
    #[serde(serialize_with = "tenths")]
    pub(crate) p50_us: f64,
    #[serde(serialize_with = "tenths")]
    pub(crate) p99_us: f64,
}

/// Runs every caller as a task of its own, and waits for all of them.
pub(crate) async fn callers<T: 'static, F: Future<Output = Result<T>> + 'static>(
    count: usize,
    caller: impl FnMut(usize) -> F,
) -> Result<Vec<T>> {
    let running: Vec<_> = (0..count).map(caller).map(actix::spawn).collect();
    let mut done = Vec::with_capacity(count);
    for caller in running {
        done.push(caller.await??);
    }
    Ok(done)
}

/// Asks for as long as told and measures every answer.
pub(crate) async fn ask<S: Side>(side: &Rc<S>, load: Load, time: Duration) -> Result<Round> {
    let begin = Instant::now();
    let taken = callers(load.callers, |caller| {
        let side = side.clone();
        async move {
            let mut taken = Vec::new();
            let mut choice = Choice::new(caller);
            while begin.elapsed() < time {
                let asked = Instant::now();
                side.ask(caller, choice.next(load.actors)).await?;
                taken.push(asked.elapsed());
            }
            Ok(taken)
        }
    });
    let taken = taken.await?.concat();
    Round::of(taken, begin.elapsed())
}

impl Round {
    pub(crate) fn of(mut taken: Vec<Duration>, elapsed: Duration) -> Result<Self> {
        taken.sort_unstable();
        anyhow::ensure!(!taken.is_empty(), "no answer in {elapsed:?}");
        Ok(Self {
            per_s: taken.len() as f64 / elapsed.as_secs_f64(),
            p50_us: percentile(&taken, 0.5).as_secs_f64() * 1e6,
            p99_us: percentile(&taken, 0.99).as_secs_f64() * 1e6,
        })
    }
}

/// Of sorted values; zero if there is none.
pub(crate) fn percentile(sorted: &[Duration], share: f64) -> Duration {
    let index = (sorted.len().saturating_sub(1) as f64 * share) as usize;
    sorted.get(index).copied().unwrap_or_default()
}

/// The round in the middle, by throughput.
pub(crate) fn median(mut rounds: Vec<Round>) -> Result<Round> {
    rounds.sort_by(|a, b| a.per_s.total_cmp(&b.per_s));
    rounds.get(rounds.len() / 2).copied().context("no round")
}

/// The value in the middle.
pub(crate) fn middle(mut values: Vec<f64>) -> Result<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().context("no round")
}

/// A caller's choice of actors: uniform, and the same in every run (xorshift64*).
pub(crate) struct Choice(u64);

impl Choice {
    pub(crate) fn new(caller: usize) -> Self {
        Self((caller as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub(crate) fn next(&mut self, actors: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32) as usize % actors
    }
}

pub(crate) fn rounded(value: f64, places: i32) -> f64 {
    let scale = 10f64.powi(places);
    (value * scale).round() / scale
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn whole<S: serde::Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(rounded(*value, 0))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn tenths<S: serde::Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(rounded(*value, 1))
}
