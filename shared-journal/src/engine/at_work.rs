//! Handlers that take their time: which message each actor is at.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::event::ActorEvent;
use crate::id::{ActorNo, Sequence};

/// The messages whose attempts are counted in the journal while their handlers run. If the process
/// dies, the count stays; if the owner ends in good order, it is taken back.
#[derive(Default)]
pub(crate) struct AtWork(Mutex<FxHashMap<ActorNo, Attempt>>);

#[derive(Clone, Copy)]
struct Attempt {
    sequence: Sequence,
    /// How many there were before it.
    before: u32,
    begun: Instant,
}

impl AtWork {
    pub(crate) fn begin(&self, no: ActorNo, sequence: Sequence, before: u32) {
        self.lock().insert(no, Attempt { sequence, before, begun: Instant::now() });
    }

    pub(crate) fn end(&self, no: ActorNo) {
        self.lock().remove(&no);
    }

    /// The event that takes back the attempt of an actor, if there is one.
    pub(crate) fn take_back(&self, no: ActorNo) -> Option<ActorEvent<'static>> {
        self.lock().remove(&no).map(Attempt::taken_back)
    }

    /// The events that take back the attempts of all actors.
    pub(super) fn take_back_all(&self) -> Vec<(ActorNo, ActorEvent<'static>)> {
        let all = std::mem::take(&mut *self.lock());
        all.into_iter().map(|(no, attempt)| (no, attempt.taken_back())).collect()
    }

    /// How long the handler has run that began first.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.lock().values().map(|attempt| attempt.begun.elapsed()).max()
    }

    fn lock(&self) -> MutexGuard<'_, FxHashMap<ActorNo, Attempt>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    fn taken_back(self) -> ActorEvent<'static> {
        ActorEvent::AttemptsCounted { sequence: self.sequence, attempts: self.before }
    }
}
