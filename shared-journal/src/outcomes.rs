//! The dedup window: recorded outcomes, within three limits.

use std::collections::VecDeque;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::record::RecordedOutcome;
use crate::recovery::Window;

/// Recorded outcomes, oldest first. Stored as a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcomes {
    recorded: VecDeque<RecordedOutcome>,
    /// What the outcomes take.
    bytes: usize,
}

impl Outcomes {
    /// Records an outcome; what does not fit any more goes.
    pub(crate) fn push(&mut self, newest: RecordedOutcome, window: Window) {
        let horizon = newest.at_ms.saturating_sub(window.age_ms);
        self.bytes += newest.outcome.size();
        self.recorded.push_back(newest);
        while let Some(oldest) = self.recorded.front()
            // The newest stays, whatever its size: its sender may be about to ask again.
            && (self.recorded.len() > window.count
                || oldest.at_ms < horizon
                || (self.bytes > window.bytes && self.recorded.len() > 1))
        {
            self.bytes -= oldest.outcome.size();
            self.recorded.pop_front();
        }
    }

    pub(crate) fn iter(&self) -> std::collections::vec_deque::Iter<'_, RecordedOutcome> {
        self.recorded.iter()
    }
}

impl Serialize for Outcomes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.recorded.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Outcomes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let recorded = VecDeque::<RecordedOutcome>::deserialize(deserializer)?;
        let bytes = recorded.iter().map(|it| it.outcome.size()).sum();
        Ok(Self { recorded, bytes })
    }
}
