//! The dedup window: recorded outcomes, within three limits.

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::rare::Empty;
use crate::record::RecordedOutcome;
use crate::recovery::Window;

/// Recorded outcomes, oldest first. Stored as a list of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcomes {
    recorded: VecDeque<RecordedOutcome>,
    /// What the outcomes take.
    bytes: usize,
    /// So many of the oldest are as small as they get.
    shrunk: usize,
}

impl Outcomes {
    /// Records an outcome. Those that are too old go, and those that are too many, to `beyond`; of those
    /// that take too much room, the ids stay.
    pub(crate) fn push(
        &mut self,
        newest: RecordedOutcome,
        window: Window,
        mut beyond: impl FnMut(RecordedOutcome),
    ) {
        let horizon = newest.at_ms.saturating_sub(window.age_ms);
        self.bytes += newest.outcome.size();
        self.recorded.push_back(newest);
        while let Some(oldest) = self.recorded.front()
            && (self.recorded.len() > window.count || oldest.at_ms < horizon)
        {
            self.bytes -= oldest.outcome.size();
            let too_old = oldest.at_ms < horizon;
            let gone = self.recorded.pop_front().filter(|_| !too_old);
            self.shrunk = self.shrunk.saturating_sub(1);
            gone.into_iter().for_each(&mut beyond);
        }
        // The newest stays whole, whatever its size: its sender may be about to ask again.
        while self.bytes > window.bytes && self.shrunk + 1 < self.recorded.len() {
            let outcome = &mut self.recorded[self.shrunk].outcome;
            self.bytes -= outcome.size();
            outcome.shrink();
            self.shrunk += 1;
        }
    }

    pub(crate) fn iter(&self) -> std::collections::vec_deque::Iter<'_, RecordedOutcome> {
        self.recorded.iter()
    }
}

impl Empty for Outcomes {
    const EMPTY: &'static Self = &Self { recorded: VecDeque::new(), bytes: 0, shrunk: 0 };

    fn holds_nothing(&self) -> bool {
        self.recorded.is_empty()
    }
}

/// The same outcomes.
impl PartialEq for Outcomes {
    fn eq(&self, other: &Self) -> bool {
        self.recorded == other.recorded
    }
}

impl Eq for Outcomes {}

impl FromIterator<RecordedOutcome> for Outcomes {
    fn from_iter<T: IntoIterator<Item = RecordedOutcome>>(recorded: T) -> Self {
        let recorded: VecDeque<_> = recorded.into_iter().collect();
        let bytes = recorded.iter().map(|it| it.outcome.size()).sum();
        let shrunk = recorded.iter().take_while(|it| it.outcome.is_shrunk()).count();
        Self { recorded, bytes, shrunk }
    }
}

impl Serialize for Outcomes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.recorded.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Outcomes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(VecDeque::<RecordedOutcome>::deserialize(deserializer)?.into_iter().collect())
    }
}
