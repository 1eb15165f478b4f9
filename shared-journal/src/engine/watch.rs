//! Handlers that have been at work for long: who they are, and for how long.
//!
//! A thread looks at every actor now and then, and remembers whom it found at work. So a handler
//! pays nothing for it, and one that blocks its thread is seen as well.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::running::Running;
use crate::id::{ActorId, Sequence};

/// So many lines of one look; the rest is counted.
const LINES: usize = 20;

/// What an actor is at. Written by its mailbox, read by the watch.
pub(crate) struct Station {
    actor: ActorId,
    /// The message whose handler runs; none: 0.
    message: AtomicU64,
    /// Counts the handlers that ran.
    attempt: AtomicU64,
    kind: Mutex<Cow<'static, str>>,
}

impl Station {
    pub(super) fn new(actor: ActorId) -> Self {
        Self {
            actor,
            message: AtomicU64::new(0),
            attempt: AtomicU64::new(0),
            kind: Mutex::new(Cow::Borrowed("")),
        }
    }

    /// The handler of a message begins.
    #[expect(clippy::ptr_arg, reason = "it is kept, and a static name stays one")]
    pub(crate) fn begin(&self, message: Sequence, kind: &Cow<'static, str>) {
        // Nobody else writes it.
        self.attempt.store(self.attempt() + 1, Ordering::Relaxed);
        let mut known = self.kind();
        if *known != *kind {
            known.clone_from(kind);
        }
        drop(known);
        self.message.store(message.0, Ordering::Release);
    }

    /// The handler has ended, one way or the other.
    pub(crate) fn end(&self) {
        self.message.store(0, Ordering::Release);
    }

    /// The message whose handler runs.
    pub(crate) fn message(&self) -> Option<Sequence> {
        Some(Sequence(self.message.load(Ordering::Acquire))).filter(|message| message.0 > 0)
    }

    /// Tells the handlers of this activation apart.
    pub(crate) fn attempt(&self) -> u64 {
        self.attempt.load(Ordering::Acquire)
    }

    fn kind(&self) -> MutexGuard<'_, Cow<'static, str>> {
        self.kind.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The running actors of a shard.
#[derive(Default)]
pub(crate) struct Watch(Mutex<Vec<Weak<Running>>>);

impl Watch {
    pub(super) fn add(&self, running: &Arc<Running>) {
        let mut actors = self.lock();
        if actors.len() == actors.capacity() {
            // Before it grows: those that are gone make room.
            actors.retain(|running| running.strong_count() > 0);
        }
        actors.push(Arc::downgrade(running));
    }

    /// The thread's whole life: until the shard's handle is gone.
    pub(super) fn run(&self, slow: Duration, ended: &Receiver<()>) {
        let pause = (slow / 4).clamp(Duration::from_millis(10), Duration::from_secs(5));
        let mut rounds = Rounds { slow, seen: HashMap::new() };
        while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(pause) {
            self.look(&mut rounds, Instant::now());
        }
    }

    fn look(&self, rounds: &mut Rounds, now: Instant) {
        // Not under the lock: there may be a million, and actors start meanwhile.
        let mut actors = std::mem::take(&mut *self.lock());
        actors.retain(|running| running.strong_count() > 0);
        rounds.look(actors.iter().filter_map(Weak::upgrade), now).tell();
        self.lock().append(&mut actors);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<Running>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the looks before found.
struct Rounds {
    slow: Duration,
    /// Those at work, by where they are in memory.
    seen: HashMap<usize, Seen>,
}

#[derive(PartialEq, Eq)]
struct Seen {
    message: Sequence,
    attempt: u64,
    since: Instant,
    /// Told again when it has been at work for so long.
    next: Duration,
    is_slow: bool,
}

impl Drop for Seen {
    fn drop(&mut self) {
        if self.is_slow {
            metrics::gauge!("journal_slow_handlers").decrement(1.0);
        }
    }
}

/// What a look found that is to be told.
#[derive(Default)]
struct Found(Vec<(ActorId, String, Sequence, Duration)>);

impl Rounds {
    fn look(&mut self, actors: impl Iterator<Item = Arc<Running>>, now: Instant) -> Found {
        let (mut seen, mut found) = (HashMap::new(), Found::default());
        for running in actors {
            let station = &running.station;
            // The message first: if another one begins in between, the pair is known to no look.
            let Some(message) = station.message() else { continue };
            let (place, attempt) = (Arc::as_ptr(&running) as usize, station.attempt());
            let before = self.seen.remove(&place);
            let mut it = before
                .filter(|it| (it.message, it.attempt) == (message, attempt))
                .unwrap_or(Seen { message, attempt, since: now, next: self.slow, is_slow: false });
            let at_work = now.saturating_duration_since(it.since);
            if at_work >= it.next {
                it.next = at_work.saturating_mul(2).max(Duration::from_millis(1));
                if !std::mem::replace(&mut it.is_slow, true) {
                    metrics::gauge!("journal_slow_handlers").increment(1.0);
                }
                let kind = station.kind().clone().into_owned();
                found.0.push((station.actor.clone(), kind, message, at_work));
            }
            seen.insert(place, it);
        }
        self.seen = seen;
        found
    }
}

impl Found {
    fn tell(&self) {
        for (actor, kind, sequence, at_work) in self.0.iter().take(LINES) {
            tracing::warn!(
                %actor,
                kind,
                %sequence,
                ?at_work,
                "a handler has been at work for long; the messages behind it wait"
            );
        }
        let left_out = self.0.len().saturating_sub(LINES);
        if left_out > 0 {
            tracing::warn!(left_out, "more handlers have been at work for long");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dead::DeadLetters;

    const SLOW: Duration = Duration::from_secs(30);

    fn at(look: u32) -> Duration {
        SLOW / 4 * look
    }

    #[test]
    fn who_is_at_one_message_for_long_is_named_and_less_and_less_often() {
        let (watch, start) = (Watch::default(), Instant::now());
        let [stuck, busy, gone] = ["1", "2", "3"]
            .map(|id| Running::new(ActorId::new("one", id), &DeadLetters::default()));
        let mut rounds = Rounds { slow: SLOW, seen: HashMap::new() };
        stuck.station.begin(Sequence(7), &"test.stuck".into());
        gone.station.begin(Sequence(1), &"test.gone".into());
        watch.add(&stuck);
        watch.add(&busy);
        watch.add(&gone);
        drop(gone);
        let mut told = Vec::new();
        for look in 0..=16 {
            // The same message again is another attempt.
            busy.station.begin(Sequence(7), &"test.busy".into());
            let actors = watch.lock().iter().filter_map(Weak::upgrade).collect::<Vec<_>>();
            let found = rounds.look(actors.into_iter(), start + at(look));
            found.0.into_iter().for_each(|(actor, kind, sequence, at_work)| {
                assert_eq!((&*actor.to_string(), &*kind, sequence.0), ("one/1", "test.stuck", 7));
                told.push(at_work);
            });
        }
        assert_eq!(told, [at(4), at(8), at(16)]);
        stuck.station.end();
        watch.look(&mut rounds, start + at(17));
        assert_eq!(rounds.seen.len(), 1, "only the busy one");
        assert_eq!(watch.lock().len(), 2, "who is gone is forgotten");
    }

    #[test]
    fn the_thread_ends_with_the_handle() {
        let (handle, ended) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || Watch::default().run(SLOW, &ended));
        drop(handle);
        thread.join().unwrap();
    }
}
