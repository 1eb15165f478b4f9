//! How long a store that says "later" is asked again.

use std::time::{Duration, Instant};

/// The first pause; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// One operation's attempts.
pub(crate) struct Retry {
    limit: Duration,
    pause: Duration,
    failed: Option<Instant>,
}

impl Retry {
    /// Attempts go on for `limit` after the first has failed. There is always a second.
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, pause: FIRST_PAUSE, failed: None }
    }

    /// An attempt has failed and may succeed later: how long to wait before the next, if there is one.
    ///
    /// The time that the first attempt took does not count: a connection whose packets are swallowed
    /// fails when its patience is over, which can be longer than the limit.
    pub(crate) fn again(&mut self) -> Option<Duration> {
        let now = Instant::now();
        let again = match self.failed {
            None => true,
            Some(first) => now.duration_since(first).saturating_add(self.pause) < self.limit,
        };
        self.failed.get_or_insert(now);
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        again.then_some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_a_second_attempt_whatever_the_limit_and_no_limit_overflows() {
        let mut none = Retry::new(Duration::ZERO);
        assert_eq!(none.again(), Some(FIRST_PAUSE));
        assert_eq!(none.again(), None);
        let mut long = Retry::new(Duration::MAX);
        let pauses: Vec<_> = std::iter::from_fn(|| long.again()).take(12).collect();
        assert!(pauses.is_sorted() && pauses.len() == 12);
        assert_eq!(pauses.last(), Some(&LONGEST_PAUSE));
    }

    #[test]
    fn the_limit_counts_from_the_first_failure() {
        let hour = Duration::from_secs(3600);
        let Some(before) = Instant::now().checked_sub(hour) else { return };
        let mut retry = Retry::new(hour * 2);
        retry.failed = Some(before);
        assert!(retry.again().is_some());
        retry.failed = before.checked_sub(hour);
        assert_eq!(retry.again(), None);
    }
}
