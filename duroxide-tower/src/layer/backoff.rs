//! Pauses between attempts.

use std::time::Duration;

/// Twice as long each time, up to a limit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    pub(super) first: Duration,
    pub(super) most: Duration,
}

impl Backoff {
    /// Waits before an attempt that `failed` others came before. Cancel-safe.
    pub(super) async fn pause(self, failed: u32) {
        let pause = self.after(failed);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    fn after(self, failed: u32) -> Duration {
        match failed {
            0 => Duration::ZERO,
            _ => self.first.saturating_mul(2_u32.saturating_pow(failed - 1)).min(self.most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_up_to_its_limit() {
        let backoff = Backoff { first: Duration::from_millis(100), most: Duration::from_secs(1) };
        let pauses = [0, 1, 2, 4, 5, u32::MAX].map(|failed| backoff.after(failed).as_millis());
        assert_eq!(pauses, [0, 100, 200, 800, 1000, 1000]);
        let none = Backoff { first: Duration::ZERO, most: Duration::MAX };
        assert_eq!(none.after(u32::MAX), Duration::ZERO);
        let long = Backoff { first: Duration::MAX, most: Duration::MAX };
        assert_eq!(long.after(u32::MAX), Duration::MAX);
    }
}
