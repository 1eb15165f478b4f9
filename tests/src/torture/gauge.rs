//! What a long life must not change: memory, the size of the store, latency.

use std::sync::mpsc::Receiver;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

use super::place::Place;

/// One look at the process and its store.
#[derive(Debug, Clone, Serialize)]
pub struct Reading {
    /// Seconds since the beginning.
    pub at: f64,
    /// Operations that were over since the last look.
    pub answers: u64,
    /// Memory that the process has in RAM.
    pub memory_mb: f64,
    /// Bytes of the store, in MB.
    pub store_mb: f64,
    /// The latency of half of the operations since the last look, at most.
    pub p50_ms: f64,
    /// Of 99 % of them.
    pub p99_ms: f64,
    /// Of all of them.
    pub max_ms: f64,
}

/// How long operations took, from the time at which they were due to their answers.
pub(super) struct Latencies {
    pub(super) until: Duration,
    micros: Histogram<u64>,
}

impl Latencies {
    pub(super) fn new() -> Result<Self> {
        let hour = 3_600_000_000;
        Ok(Self { until: Duration::ZERO, micros: Histogram::new_with_bounds(1, hour, 3)? })
    }

    pub(super) fn add(&mut self, latency: Duration) {
        self.micros.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
    }

    /// Those so far; from here on it counts anew.
    pub(super) fn take(&mut self, until: Duration) -> Self {
        let micros = self.micros.clone();
        self.micros.reset();
        Self { until, micros }
    }

    fn millis(&self, quantile: f64) -> f64 {
        self.micros.value_at_quantile(quantile) as f64 / 1e3
    }
}

/// Looks whenever the load has latencies to tell, on another thread than the load's.
pub(super) fn watch(
    latencies: &Receiver<Latencies>,
    process: u32,
    place: &Place,
    shown: &mut dyn FnMut(&Reading),
) -> Result<Vec<Reading>> {
    let mut readings = Vec::new();
    for latencies in latencies {
        let reading = Reading {
            at: latencies.until.as_secs_f64(),
            answers: latencies.micros.len(),
            memory_mb: megabytes(memory(process)?),
            store_mb: megabytes(place.bytes()?),
            p50_ms: latencies.millis(0.5),
            p99_ms: latencies.millis(0.99),
            max_ms: latencies.millis(1.0),
        };
        shown(&reading);
        readings.push(reading);
    }
    Ok(readings)
}

/// What Linux says that a process has in RAM.
fn memory(process: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = line.and_then(|line| line.trim().strip_suffix(" kB"));
    Ok(kilobytes.context("the process has no memory")?.parse::<u64>()? * 1024)
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// The second quarter of a life, in which everything has become warm, and its last one.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Quarters {
    /// From a quarter to a half.
    pub second_quarter: f64,
    /// The end.
    pub last_quarter: f64,
}

impl Quarters {
    /// The readings in the middle of each.
    #[must_use]
    pub fn medians(readings: &[Reading], of: impl Fn(&Reading) -> f64) -> Self {
        Self::of(readings, |part| {
            let mut values: Vec<f64> = part.iter().map(&of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        })
    }

    /// The highest readings.
    #[must_use]
    pub fn highest(readings: &[Reading], of: impl Fn(&Reading) -> f64) -> Self {
        Self::of(readings, |part| part.iter().map(&of).fold(0.0, f64::max))
    }

    fn of(readings: &[Reading], value: impl Fn(&[Reading]) -> f64) -> Self {
        let quarter = |number: usize| readings.len() * number / 4;
        Self {
            second_quarter: value(&readings[quarter(1)..quarter(2)]),
            last_quarter: value(&readings[quarter(3)..]),
        }
    }

    /// How much larger the last is, as a part of the second.
    #[must_use]
    pub fn growth(self) -> f64 {
        self.last_quarter / self.second_quarter - 1.0
    }
}
