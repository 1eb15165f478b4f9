//! What a running actor shares with the rest of its journal.

use std::sync::Arc;

use super::closing::Answered;
use super::halt::Halt;
use super::watch::Station;
use crate::dead::{DeadLetters, DeadTotals};
use crate::id::ActorId;

/// One activation, as the directory, the watch and whoever repairs it see it. Its mailbox looks at all of
/// it with each message, so it is one allocation.
pub(crate) struct Running {
    pub(crate) station: Station,
    pub(crate) halt: Halt,
    pub(crate) dead: DeadTotals,
    pub(super) closing: Answered,
}

impl Running {
    pub(super) fn new(actor: ActorId, dead: &DeadLetters) -> Arc<Self> {
        Arc::new(Self {
            station: Station::new(actor),
            halt: Halt::default(),
            dead: DeadTotals::of(dead),
            closing: Answered::default(),
        })
    }
}
