//! An actor that notes numbers, for tests, and senders that do not wait.

use serde::Serialize;

use crate::durable::DurableState;
use crate::mailbox::{Resolution, Work};

/// Who waits for no reply.
pub(crate) struct Nobody;

impl Work for Nobody {
    fn resolve(self, _: Resolution) {}
}

/// The numbers that were handled.
#[derive(Default)]
pub(crate) struct Seen(pub(crate) Vec<u64>);

impl DurableState for Seen {
    const ACTOR_TYPE: &'static str = "seen";
    type State = Vec<u64>;

    fn snapshot(&self) -> impl Serialize {
        &self.0
    }

    fn restore(&mut self, seen: Vec<u64>) {
        self.0 = seen;
    }
}
