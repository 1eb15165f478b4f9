//! Timers: messages that an actor sends to itself, later.
//!
//! A timer is a part of its actor's record. It is set in the commit of the handler that sets it, and it fires
//! in the commit that has the receipt of its message: so it is there if and only if the state after its handler
//! is, and each time that it is due is received once. Between the two nothing runs for it; the
//! [directory](crate::engine) of its shard knows when the next one is due.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::codec::Payload;
use crate::id::ActorId;

/// A timer that an actor set: to cancel it, and to find it in [`timers`](crate::EventJournal::timers).
///
/// An actor keeps it in its state, if it may want to cancel it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TimerId(String);

/// Whose timer it is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Kept<'t> {
    /// In its actor's record, under this number.
    Record(u64),
    /// An instance of duroxide, as versions before 6 of the stored format have it.
    Instance(&'t str),
    /// It is another actor's.
    Elsewhere,
}

impl TimerId {
    pub(crate) fn new(actor: &ActorId, number: u64) -> Self {
        Self(format!("{}#{number}", actor.path()))
    }

    /// Where an actor has its timer.
    pub(crate) fn kept_by(&self, actor: &ActorId) -> Kept<'_> {
        let path = actor.path();
        let number =
            |text: &str| text.parse().ok().filter(|number: &u64| number.to_string() == text);
        let of = |text: &str| number(text.strip_prefix(&path)?.strip_prefix('#')?);
        let before = |text: &str| {
            number(text.strip_prefix("timer/")?.strip_prefix(&path)?.strip_prefix('/')?)
        };
        match (of(&self.0), before(&self.0)) {
            (Some(number), _) => Kept::Record(number),
            (None, Some::<u64>(_)) => Kept::Instance(&self.0),
            (None, None) => Kept::Elsewhere,
        }
    }
}

impl fmt::Display for TimerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The end of the year 9999: a timer that is due after it waits like any other.
const LATEST_MS: u64 = 253_402_300_799_999;

/// When a timer is due, by the clock of the process that has the actor. What is later than the year 9999 is
/// due at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// After so long, counted from the call. Time during which no process runs counts as well.
    After(Duration),
    /// At a time.
    At(SystemTime),
}

impl Due {
    pub(crate) fn at_ms(self, now_ms: u64) -> u64 {
        let due = match self {
            Self::After(delay) => now_ms.saturating_add(millis(delay)),
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

/// What a periodic timer does about the times at which everything was down, or its actor was busy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// One message for all of them, and then the next time that is due.
    #[default]
    Once,
    /// A message for each, one after the other.
    Each,
}

/// How often a periodic timer is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Every {
    /// Milliseconds; 0 counts as 1.
    pub period_ms: u64,
    /// What it does about times that were missed.
    pub missed: Missed,
}

impl Every {
    /// The time after `due`, seen at `now`.
    pub(crate) fn next(self, due: u64, now: u64) -> u64 {
        let period = self.period_ms.max(1);
        let missed = match self.missed {
            Missed::Once => now.saturating_sub(due) / period,
            Missed::Each => 0,
        };
        due.saturating_add(period.saturating_mul(missed + 1)).min(LATEST_MS)
    }
}

/// A timer that is set. See [`EventJournal::timers`](crate::EventJournal::timers).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetTimer {
    /// Its id.
    pub id: TimerId,
    /// The stable name of its message's type.
    pub kind: String,
    /// Its message.
    pub payload: Payload<'static>,
    /// When it is due next.
    pub due: SystemTime,
    /// How often, if it is periodic.
    pub every: Option<Every>,
}

pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_time_is_too_late() {
        let never = Duration::from_millis(u64::MAX);
        let dates = [Due::After(never), Due::After(Duration::MAX), Due::At(UNIX_EPOCH + never)];
        assert!(dates.into_iter().all(|due| due.at_ms(1_000) == LATEST_MS));
        let every = Every { period_ms: u64::MAX, missed: Missed::Each };
        assert_eq!(every.next(100, 100), LATEST_MS);
        let decade = Duration::from_secs(10 * 366 * 86_400);
        assert_eq!(Due::After(decade).at_ms(1_000) - 1_000, millis(decade));
        assert_eq!(Due::At(UNIX_EPOCH - Duration::from_secs(1)).at_ms(1_000), 0);
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

    #[test]
    fn a_timer_is_found_by_its_own_actor_only() {
        let actors =
            [ActorId::new("a", "b"), ActorId::new("a", "b#1"), ActorId::new("timer", "a/b")];
        for actor in &actors {
            for other in &actors {
                let kept = TimerId::new(actor, 7);
                let kept = kept.kept_by(other);
                assert_eq!(kept == Kept::Record(7), actor == other, "{actor} {other}: {kept:?}");
            }
        }
        for text in ["a/b#+7", "a/b#07", "a/b#", "a/b#7 "] {
            assert_eq!(TimerId(text.into()).kept_by(&actors[0]), Kept::Elsewhere, "{text}");
        }
        let old = TimerId("timer/a/b/7".into());
        assert_eq!(old.kept_by(&actors[0]), Kept::Instance("timer/a/b/7"));
        assert_eq!(old.kept_by(&actors[1]), Kept::Elsewhere);
    }
}
