//! When the next timer of each actor is due.
//!
//! In memory an actor with timers is two numbers here, however many it has: the rest is in its record. What is
//! due is looked for by the clock of this process, at least every second, because a machine may have slept.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, Instant};

use rustc_hash::{FxBuildHasher, FxHashMap, FxHashSet};
use tokio::sync::mpsc::UnboundedSender;

use crate::codec::Payload;
use crate::id::{ActorId, ActorNo};
use crate::rare::Empty;
use crate::timer::Every;

/// The clock is looked at so often at least.
const LOOK: Duration = Duration::from_secs(1);
/// Before an actor that does not run is asked for again: so many of them at a time.
const AGAIN: Duration = Duration::from_secs(1);
const AT_ONCE: usize = 1000;
/// Between two lines in the log about it.
const TOLD: Duration = Duration::from_secs(10);

/// The timers of a running actor that it was told of.
pub(super) type Told = FxHashSet<u64>;

impl Empty for Told {
    const EMPTY: &'static Self = &FxHashSet::with_hasher(FxBuildHasher);

    fn holds_nothing(&self) -> bool {
        self.is_empty()
    }
}

/// A timer that is due, for its actor.
#[derive(Debug)]
pub(crate) struct DueTimer {
    pub(crate) number: u64,
    pub(crate) due_ms: u64,
    pub(crate) every: Option<Every>,
    pub(crate) kind: String,
    pub(crate) payload: Payload<'static>,
}

#[derive(Default)]
pub(super) struct Alarms {
    by_due: BTreeSet<(u64, ActorNo)>,
    of: FxHashMap<ActorNo, u64>,
    /// Something of theirs has changed.
    touched: FxHashSet<ActorNo>,
    /// Those that have a timer that is due and do not run.
    awaited: BTreeMap<ActorNo, ActorId>,
    /// For which of their timers they were asked for last.
    asked: FxHashMap<ActorNo, u64>,
    /// When they are asked for again, beginning after this one, and when that is next told.
    again: Option<Instant>,
    after: ActorNo,
    told: Option<Instant>,
    /// Whoever starts actors.
    starters: Vec<UnboundedSender<ActorId>>,
}

impl Alarms {
    /// When the next timer of an actor is due, if it has one.
    pub(super) fn set(&mut self, no: ActorNo, due_ms: Option<u64>) {
        let before = match due_ms {
            Some(due_ms) => self.of.insert(no, due_ms),
            None => self.of.remove(&no),
        };
        if before == due_ms {
            return;
        }
        if let Some(before) = before {
            self.by_due.remove(&(before, no));
        }
        if let Some(due_ms) = due_ms {
            self.by_due.insert((due_ms, no));
        }
    }

    /// An actor with a timer that is due.
    pub(super) fn pop(&mut self, now_ms: u64) -> Option<ActorNo> {
        let (due_ms, no) = *self.by_due.first()?;
        (due_ms <= now_ms).then(|| {
            self.set(no, None);
            no
        })
    }

    pub(super) fn touch(&mut self, no: ActorNo) {
        self.touched.insert(no);
    }

    pub(super) fn take_touched(&mut self) -> FxHashSet<ActorNo> {
        std::mem::take(&mut self.touched)
    }

    /// Asks for an actor that does not run, and again until it does. One that was asked for and has ended without
    /// that it received anything has to wait: it cannot be made, or ends as it starts.
    pub(super) fn await_actor(&mut self, no: ActorNo, actor: ActorId, due_ms: u64) {
        if self.asked.insert(no, due_ms) != Some(due_ms) {
            self.starters.retain(|starter| starter.send(actor.clone()).is_ok());
        }
        self.awaited.insert(no, actor);
        self.again.get_or_insert_with(|| Instant::now() + AGAIN);
        self.told.get_or_insert_with(|| Instant::now() + TOLD);
    }

    /// It runs, or has nothing to do any more.
    pub(super) fn found(&mut self, no: ActorNo) {
        if self.awaited.remove(&no).is_some() && self.awaited.is_empty() {
            (self.again, self.told) = (None, None);
        }
    }

    /// From here on actors are asked for there, too.
    pub(super) fn add_starter(&mut self, starter: UnboundedSender<ActorId>) {
        for actor in self.awaited.values() {
            let _ = starter.send(actor.clone());
        }
        self.starters.push(starter);
    }

    /// Asks again for those that were asked for long ago.
    pub(super) fn ask_again(&mut self) {
        let now = Instant::now();
        if self.again.is_none_or(|again| now < again) {
            return;
        }
        self.again = Some(now + AGAIN);
        if self.told.is_some_and(|told| told <= now) {
            self.told = Some(now + TOLD);
            tracing::warn!(
                actors = self.awaited.len(),
                "actors have timers that are due, and do not run: start them, or run them where they are started \
                 when they are needed (a cluster, VirtualActors)"
            );
        }
        self.asked.retain(|no, _| self.awaited.contains_key(no));
        let behind = (Bound::Excluded(self.after), Bound::Unbounded);
        let mut last = ActorNo(0);
        for (no, actor) in self.awaited.range(behind).take(AT_ONCE) {
            self.starters.retain(|starter| starter.send(actor.clone()).is_ok());
            last = *no;
        }
        // From the first one on when there are no more.
        self.after = last;
    }

    /// How long nothing has to be looked at.
    pub(super) fn pause(&self, now_ms: u64) -> Option<Duration> {
        let next = self.by_due.first().map(|(due_ms, _)| due_ms.saturating_sub(now_ms));
        let next = next.map(|ms| Duration::from_millis(ms).min(LOOK));
        next.or((!self.awaited.is_empty()).then_some(LOOK))
    }

    /// How many actors have a timer that is due, and do not run.
    pub(super) fn awaited(&self) -> usize {
        self.awaited.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actors_are_due_in_the_order_of_their_timers() {
        let mut alarms = Alarms::default();
        assert_eq!(alarms.pause(0), None);
        alarms.set(ActorNo(1), Some(300));
        alarms.set(ActorNo(2), Some(100));
        alarms.set(ActorNo(3), Some(200));
        alarms.set(ActorNo(1), Some(50));
        alarms.set(ActorNo(3), None);
        assert_eq!(alarms.pause(20), Some(Duration::from_millis(30)));
        assert_eq!(alarms.pop(49), None);
        assert_eq!(alarms.pop(100), Some(ActorNo(1)));
        assert_eq!(alarms.pop(100), Some(ActorNo(2)));
        assert_eq!(alarms.pop(1000), None);
        alarms.set(ActorNo(4), Some(u64::MAX));
        assert_eq!(alarms.pause(0), Some(LOOK));
    }

    #[test]
    fn whoever_starts_actors_learns_of_those_that_were_asked_for_before() {
        let (mut alarms, actor) = (Alarms::default(), ActorId::new("a", "1"));
        alarms.await_actor(ActorNo(1), actor.clone(), 5);
        alarms.await_actor(ActorNo(2), ActorId::new("a", "2"), 5);
        alarms.found(ActorNo(2));
        let (starter, mut asked) = tokio::sync::mpsc::unbounded_channel();
        alarms.add_starter(starter);
        assert_eq!(asked.try_recv(), Ok(actor));
        assert!(asked.try_recv().is_err());
        assert_eq!(alarms.pause(0), Some(LOOK));
        alarms.found(ActorNo(1));
        assert_eq!(alarms.pause(0), None);
        // It has come to nothing: not before the next round. When it has received something, at once.
        let actor = ActorId::new("a", "1");
        alarms.await_actor(ActorNo(1), actor.clone(), 5);
        assert!(asked.try_recv().is_err());
        alarms.again = Some(Instant::now());
        alarms.ask_again();
        assert_eq!(asked.try_recv(), Ok(actor.clone()));
        alarms.found(ActorNo(1));
        alarms.await_actor(ActorNo(1), actor.clone(), 6);
        assert_eq!(asked.try_recv(), Ok(actor.clone()));
        drop(asked);
        alarms.await_actor(ActorNo(1), actor, 7);
        assert!(alarms.starters.is_empty());
    }
}
