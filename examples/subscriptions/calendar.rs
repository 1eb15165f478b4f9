//! Days that pass while you watch.

use std::time::Duration;

/// So many days, of 20 ms each.
pub(crate) fn days(count: u32) -> Duration {
    Duration::from_millis(20) * count
}
