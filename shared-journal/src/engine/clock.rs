//! The journal's clock, by which the ages of idempotency keys are measured.
//!
//! It begins as the time of day. From then on it counts what a process ran, and between two
//! processes what the time of day says, but never backwards and at most [`LONGEST_GAP`]: one run of
//! a process whose clock is a day ahead must not make everything a day older. A journal that was
//! closed for longer keeps its keys for longer, which does no harm.

use std::time::{Duration, Instant};

use crate::record::Stamp;

/// The most that a journal ages between its last commit and the next opening.
const LONGEST_GAP: Duration = Duration::from_secs(3600);

pub(crate) struct Clock {
    opened_at_ms: u64,
    opened: Instant,
}

impl Clock {
    /// Goes on after the last commit, if there is one. `now_ms` is the time of day.
    pub(super) fn after(last: Option<Stamp>, now_ms: u64) -> Self {
        let longest_gap = u64::try_from(LONGEST_GAP.as_millis()).unwrap_or(u64::MAX);
        let opened_at_ms = last.map_or(now_ms, |last| {
            let gap = now_ms.saturating_sub(last.at_ms).min(longest_gap);
            last.clock_ms.saturating_add(gap)
        });
        Self { opened_at_ms, opened: Instant::now() }
    }

    /// The journal's time, in milliseconds.
    pub(crate) fn now_ms(&self) -> u64 {
        let ran = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.opened_at_ms.saturating_add(ran)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    #[test]
    fn a_clock_that_jumps_makes_nothing_much_older() {
        let opened = |last, now_ms| Clock::after(last, now_ms).opened_at_ms;
        let last = |at_ms, clock_ms| Some(Stamp { at_ms, clock_ms, ..Stamp::default() });
        assert_eq!(opened(None, 7), 7);
        assert_eq!(opened(last(100 * HOUR, 50 * HOUR), 100 * HOUR + 5), 50 * HOUR + 5);
        // A day ahead, a second process there, and back.
        assert_eq!(opened(last(100 * HOUR, 50 * HOUR), 125 * HOUR), 51 * HOUR);
        assert_eq!(opened(last(125 * HOUR, 51 * HOUR), 125 * HOUR + 1), 51 * HOUR + 1);
        assert_eq!(opened(last(125 * HOUR, 51 * HOUR), 101 * HOUR), 51 * HOUR);
    }
}
