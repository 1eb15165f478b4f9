//! Handlers that take their time: which message each actor is at.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::event::ActorEvent;
use crate::id::{ActorNo, Sequence};

/// The messages whose attempts are counted in the journal, from before their handlers run until what became
/// of them is submitted. If the process dies, the count stays; if the owner ends in good order, it is
/// taken back.
#[derive(Default)]
pub(crate) struct AtWork(Mutex<Attempts>);

type Attempts = BTreeMap<(ActorNo, Sequence), Attempt>;

#[derive(Clone, Copy)]
struct Attempt {
    /// How many there were before it.
    before: u32,
    begun: Instant,
}

impl AtWork {
    pub(crate) fn begin(&self, no: ActorNo, sequence: Sequence, before: u32) {
        self.lock().insert((no, sequence), Attempt { before, begun: Instant::now() });
    }

    pub(crate) fn end(&self, no: ActorNo, sequence: Sequence) {
        self.lock().remove(&(no, sequence));
    }

    /// The events that take back the attempts of an actor.
    pub(crate) fn take_back(&self, no: ActorNo) -> Vec<ActorEvent<'static>> {
        let mut attempts = self.lock();
        let its = attempts.range((no, Sequence(0))..=(no, Sequence(u64::MAX)));
        let its: Vec<_> = its.map(|(of, attempt)| (*of, *attempt)).collect();
        its.into_iter()
            .map(|(of, attempt)| {
                attempts.remove(&of);
                taken_back((of, attempt))
            })
            .collect()
    }

    /// The events that take back the attempts of all actors.
    pub(super) fn take_back_all(&self) -> Vec<(ActorNo, ActorEvent<'static>)> {
        let all = std::mem::take(&mut *self.lock());
        all.into_iter().map(|attempt| (attempt.0.0, taken_back(attempt))).collect()
    }

    /// How long the handler has run that began first.
    pub(super) fn oldest(&self) -> Option<Duration> {
        self.lock().values().map(|attempt| attempt.begun.elapsed()).max()
    }

    fn lock(&self) -> MutexGuard<'_, Attempts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn taken_back(((_, sequence), attempt): ((ActorNo, Sequence), Attempt)) -> ActorEvent<'static> {
    ActorEvent::AttemptsCounted { sequence, attempts: attempt.before }
}
