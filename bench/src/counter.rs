//! The actor that everything is measured with: a message of 100 bytes, a state of 108.

use actix::Message;
use duroxide_actix::journal::{DurableMessage, DurableState};
use serde::{Deserialize, Serialize};

/// The state of the comparisons, in bytes of JSON.
pub(crate) const STATE_BYTES: usize = 108;

/// What a state of that size has around its padding.
const STATE_FRAME: usize = 26;

/// A message that takes 100 bytes as JSON.
#[derive(Message, Debug, Clone, Serialize, Deserialize)]
#[rtype(result = "u64")]
pub(crate) struct Add {
    by: u64,
    note: String,
}

impl Add {
    pub(crate) fn sample() -> Self {
        Self { by: 1, note: "n".repeat(82) }
    }
}

impl DurableMessage for Add {
    const NAME: &'static str = "counter.add";
}

/// The state of a counter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Count {
    count: u64,
    label: String,
}

impl Count {
    /// A state that takes about so many bytes as JSON.
    pub(crate) fn of(bytes: usize) -> Self {
        Self { count: 0, label: "s".repeat(bytes.saturating_sub(STATE_FRAME)) }
    }

    pub(crate) fn add(&mut self, add: &Add) -> u64 {
        self.count += add.by;
        self.count
    }
}

/// The durable counter, for both adapters.
pub(crate) struct Counter(pub(crate) Count);

impl DurableState for Counter {
    const ACTOR_TYPE: &'static str = "counter";
    type State = Count;
    fn snapshot(&self) -> impl Serialize {
        &self.0
    }
    fn restore(&mut self, state: Count) {
        self.0 = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_as_said() {
        assert_eq!(serde_json::to_string(&Add::sample()).unwrap().len(), 100);
        for bytes in [STATE_BYTES, 10_000] {
            let length = serde_json::to_string(&Count::of(bytes)).unwrap().len();
            assert!(length.abs_diff(bytes) <= 8, "{length} for {bytes}");
        }
    }
}
