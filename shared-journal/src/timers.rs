//! What an actor's record has of its timers.

use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

use rustc_hash::{FxBuildHasher, FxHashMap};
use serde::{Deserialize, Serialize};

#[cfg(feature = "test-util")]
use crate::codec::Codec;
use crate::codec::Payload;
use crate::id::ActorId;
use crate::ordered::in_order;
use crate::rare::Empty;
use crate::record::owned;
use crate::timer::{Every, SetTimer, TimerId};

/// The timers of one actor, by their numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Timers(#[serde(deserialize_with = "in_order")] BTreeMap<u64, Timer>);

/// A timer that is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Timer {
    /// Milliseconds since 1970.
    pub(crate) due_ms: u64,
    pub(crate) every: Option<Every>,
    pub(crate) kind: String,
    #[serde(deserialize_with = "owned")]
    pub(crate) payload: Payload<'static>,
}

impl Empty for Timers {
    const EMPTY: &'static Self = &Self(BTreeMap::new());

    fn holds_nothing(&self) -> bool {
        self.0.is_empty()
    }
}

/// The timers of a running actor, by their numbers: when each is due, and its size.
pub(crate) type SetTimers = FxHashMap<u64, (u64, usize)>;

impl Empty for SetTimers {
    const EMPTY: &'static Self = &FxHashMap::with_hasher(FxBuildHasher);

    fn holds_nothing(&self) -> bool {
        self.is_empty()
    }
}

impl Timers {
    pub(crate) fn set_timers(&self) -> SetTimers {
        self.iter().map(|(number, timer)| (number, (timer.due_ms, timer.size()))).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn set(&mut self, number: u64, timer: Timer) {
        self.0.insert(number, timer);
    }

    pub(crate) fn cancel(&mut self, number: u64) {
        self.0.remove(&number);
    }

    /// Whether this one is set, and due then.
    pub(crate) fn is_set(&self, number: u64, due_ms: u64) -> bool {
        self.0.get(&number).is_some_and(|timer| timer.due_ms == due_ms)
    }

    /// It has fired; it is due again at `next_ms`, or never.
    pub(crate) fn fire(&mut self, number: u64, next_ms: Option<u64>) {
        match (next_ms, self.0.get_mut(&number)) {
            (Some(next_ms), Some(timer)) => timer.due_ms = next_ms,
            _ => drop(self.0.remove(&number)),
        }
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (u64, &Timer)> {
        self.0.iter().map(|(number, timer)| (*number, timer))
    }

    /// For people, the one that is due next first.
    pub(crate) fn listed(&self, actor: &ActorId) -> Vec<SetTimer> {
        let listed = |(number, timer): (u64, &Timer)| {
            let Timer { due_ms, every, kind, payload } = timer.clone();
            let due = UNIX_EPOCH + Duration::from_millis(due_ms);
            SetTimer { id: TimerId::new(actor, number), kind, payload, due, every }
        };
        let mut timers: Vec<_> = self.iter().map(listed).collect();
        timers.sort_by_key(|timer| timer.due);
        timers
    }

    /// When the next one is due.
    pub(crate) fn next_ms(&self) -> Option<u64> {
        self.0.values().map(|timer| timer.due_ms).min()
    }

    /// About how many bytes they take.
    pub(crate) fn bytes(&self) -> usize {
        self.0.values().map(Timer::size).sum()
    }
}

impl Timer {
    /// One that is never due.
    #[cfg(feature = "test-util")]
    pub(crate) fn never() -> Self {
        let payload = Payload::new(Codec::Json, Vec::new());
        Self { due_ms: u64::MAX, every: None, kind: String::new(), payload }
    }

    /// About how many bytes it takes.
    pub(crate) fn size(&self) -> usize {
        /// Its numbers.
        const NUMBERS_BYTES: usize = 64;
        self.payload.bytes().len() + self.kind.len() + NUMBERS_BYTES
    }
}
