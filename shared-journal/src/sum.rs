//! The state of a counter, for tests.

use serde::Serialize;

use crate::durable::DurableState;

/// A number.
pub(crate) struct Sum(pub(crate) i64);

impl DurableState for Sum {
    const ACTOR_TYPE: &'static str = "counter";
    type State = i64;

    fn snapshot(&self) -> impl Serialize {
        self.0
    }

    fn restore(&mut self, sum: i64) {
        self.0 = sum;
    }
}
