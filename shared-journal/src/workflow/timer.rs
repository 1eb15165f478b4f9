//! Timers of actors: an orchestration each.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use duroxide::OrchestrationContext;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::WorkflowActor;
use crate::id::ActorId;

/// The orchestration of a timer. Its instances are `timer/<actor type>/<actor id>/<number>`.
pub const TIMER: &str = "actors:timer";

/// A timer that an actor set: to cancel it, and to find it with duroxide's client.
///
/// An actor keeps it in its state, if it may want to cancel it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimerId(pub(super) String);

impl TimerId {
    pub(super) fn new(actor: &ActorId, number: u64) -> Self {
        Self(format!("timer/{}/{number}", actor.path()))
    }

    /// The instance of duroxide that is the timer.
    #[must_use]
    pub fn instance(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The end of the year 9999: no date of duroxide's stores is later, and a timer that is due after it waits like
/// any other.
const LATEST_MS: u64 = 253_402_300_799_999;

/// When a timer is due. What is later than the year 9999 is due at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// After so long, counted from the call by the clock of the process. Time during which no
    /// process runs counts as well.
    After(Duration),
    /// At a time.
    At(SystemTime),
}

impl Due {
    pub(super) fn at_ms(self) -> u64 {
        let due = match self {
            Self::After(delay) => now_ms().saturating_add(millis(delay)),
            Self::At(time) => time.duration_since(UNIX_EPOCH).map_or(0, millis),
        };
        due.min(LATEST_MS)
    }
}

impl From<Duration> for Due {
    fn from(delay: Duration) -> Self {
        Self::After(delay)
    }
}

impl From<SystemTime> for Due {
    fn from(time: SystemTime) -> Self {
        Self::At(time)
    }
}

/// What a periodic timer does about the times at which everything was down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// One message for all of them, and then the next time that is due.
    #[default]
    Once,
    /// A message for each, one after the other.
    Each,
}

/// What a timer was set to, as duroxide's history shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Setting {
    pub(super) actor_type: String,
    pub(super) actor_id: String,
    pub(super) kind: String,
    pub(super) message: Value,
    /// Milliseconds since 1970.
    pub(super) due_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) every: Option<Every>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct Every {
    pub(super) period_ms: u64,
    pub(super) missed: Missed,
}

impl Every {
    /// The time after `due`, seen at `now`.
    fn next(self, due: u64, now: u64) -> u64 {
        let period = self.period_ms.max(1);
        let missed = match self.missed {
            Missed::Once => now.saturating_sub(due) / period,
            Missed::Each => 0,
        };
        due.saturating_add(period.saturating_mul(missed + 1)).min(LATEST_MS)
    }
}

/// The orchestration. A periodic timer is an execution a period.
pub(super) async fn run(ctx: OrchestrationContext, input: String) -> Result<String, String> {
    let Some(setting) = serde_json::from_str::<Option<Setting>>(&input).map_err(text)? else {
        return Ok("cancelled before it was set".into());
    };
    // The clock is not deterministic, and need not be: duroxide itself adds it to the delay, and a
    // replay takes the time that was recorded.
    let delay = Duration::from_millis(setting.due_ms.saturating_sub(now_ms()));
    ctx.schedule_timer(delay).await;
    let actor = WorkflowActor::new(&ctx, ActorId::new(&setting.actor_type, &setting.actor_id));
    actor.insist(&setting.kind, &setting.message).await.map_err(text)?;
    let Some(every) = setting.every else { return Ok("fired".into()) };
    // Neither need it be here: this is the end of the execution, which is not replayed.
    let next = Setting { due_ms: every.next(setting.due_ms, now_ms()), ..setting };
    ctx.continue_as_new(serde_json::to_string(&next).map_err(text)?).await
}

fn text(error: impl fmt::Display) -> String {
    error.to_string()
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, millis)
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_too_late() {
        let never = Duration::from_millis(u64::MAX);
        let dates = [Due::After(never), Due::After(Duration::MAX), Due::At(UNIX_EPOCH + never)];
        assert!(dates.into_iter().all(|due| due.at_ms() == LATEST_MS));
        let every = Every { period_ms: u64::MAX, missed: Missed::Each };
        assert_eq!(every.next(100, 100), LATEST_MS);
        let decade = Duration::from_secs(10 * 366 * 86_400);
        assert!(Due::After(decade).at_ms() - now_ms() <= millis(decade));
    }

    #[test]
    fn missed_times_are_one_or_each() {
        let every = |missed| Every { period_ms: 10, missed };
        assert_eq!(every(Missed::Once).next(100, 101), 110);
        assert_eq!(every(Missed::Each).next(100, 101), 110);
        assert_eq!(every(Missed::Once).next(100, 155), 160);
        assert_eq!(every(Missed::Each).next(100, 155), 110);
        assert_eq!(every(Missed::Once).next(100, 160), 170);
        assert_eq!(every(Missed::Once).next(100, 90), 110, "a clock that went back");
        assert_eq!(Every { period_ms: 0, missed: Missed::Once }.next(100, 100), 101);
    }
}
