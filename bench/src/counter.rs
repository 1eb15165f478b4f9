//! The actor that everything is measured with: a message of 100 bytes, a state of 108.

use actix::prelude::*;
use serde::{Deserialize, Serialize};

/// A message that takes 100 bytes as JSON.
#[derive(Message, Clone, Serialize, Deserialize)]
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

/// A state that takes about 108 bytes as JSON.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Count {
    pub(crate) count: u64,
    label: String,
}

impl Default for Count {
    fn default() -> Self {
        Self { count: 0, label: "s".repeat(80) }
    }
}

impl Count {
    pub(crate) fn add(&mut self, add: &Add) -> u64 {
        self.count += add.by;
        self.count
    }
}
