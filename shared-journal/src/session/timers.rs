//! What a running actor knows of its timers: which are set, and when each is due.
//!
//! Whoever says that one is due has looked at what is durable, and the actor may have cancelled it since.

use super::Session;
use crate::timers::Timer;

impl Session {
    /// Whether the timer is still set, and due then.
    pub(super) fn is_set(&self, number: u64, due_ms: u64) -> bool {
        self.timers.get(&number).is_some_and(|(due, _)| *due == due_ms)
    }

    pub(super) fn timer_set(&mut self, number: u64, timer: &Timer) {
        self.timers.insert(number, (timer.due_ms, timer.size()));
    }

    /// Whether there was such a timer.
    pub(crate) fn timer_cancelled(&mut self, number: u64) -> bool {
        if self.timers.is_empty() {
            return false;
        }
        let cancelled = self.timers.remove(&number);
        cancelled.inspect(|(_, size)| self.undelivered.settled(*size)).is_some()
    }

    /// Its message is received; it is due again at `next_ms`, or never.
    pub(super) fn timer_fired(&mut self, number: u64, next_ms: Option<u64>) {
        match (next_ms, self.timers.get_mut(&number)) {
            (Some(next_ms), Some((due_ms, _))) => *due_ms = next_ms,
            _ => drop(self.timer_cancelled(number)),
        }
    }
}
