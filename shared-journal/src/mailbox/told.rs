//! Log lines about what may happen very often.

use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(1);

/// Lets one line a second through, and counts the others.
#[derive(Default)]
pub(super) struct Told {
    last: Option<Instant>,
    left_out: u64,
}

impl Told {
    /// Whether to write a line, and how many were left out since the last.
    pub(super) fn tell(&mut self, now: Instant) -> Option<u64> {
        if self.last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_says_how_many_were_left_out() {
        let (mut told, start) = (Told::default(), Instant::now());
        assert_eq!(told.tell(start), Some(0));
        for _ in 0..5 {
            assert_eq!(told.tell(start + PAUSE / 2), None);
        }
        assert_eq!(told.tell(start + PAUSE), Some(5));
        assert_eq!(told.tell(start + PAUSE * 3), Some(0));
    }
}
