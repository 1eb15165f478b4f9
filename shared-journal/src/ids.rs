//! The ids that a running actor has received lately.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::id::{MessageId, MessageKey, Sequence};
use crate::rare::{Empty, Rare};
use crate::recovery::Window;
use crate::sabotage::sabotaged;

/// What an id is to an actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It was not received within the window.
    New,
    /// It was received, with the same message as far as is known.
    Known {
        /// The place of the first; 0 if that was done when the actor started.
        first: Sequence,
    },
    /// It was received with another message.
    Reused,
    /// What comes before it on its line was not received.
    Early {
        /// The first number that is missing.
        missing: u64,
    },
}

/// The ids that were received lately, and what their messages were about. Forgets an id no later
/// than the directory forgets its recorded outcome, and never before the directory knows that its message
/// is done. Of keys that callers chose the directory may know more.
pub(crate) struct Ids {
    window: Window,
    received: Rare<All>,
    /// The last message that the directory knows to be done.
    done: Sequence,
    /// Until then, by the journal's clock, the directory may have keys that are not here.
    aged_until_ms: u64,
}

/// Of an actor whose messages have ids.
#[derive(Default)]
struct All {
    known: FxHashMap<MessageId, Known>,
    callers: VecDeque<Received>,
    generated: VecDeque<Received>,
}

impl Empty for All {
    const EMPTY: &'static Self = &Self {
        known: FxHashMap::with_hasher(FxBuildHasher),
        callers: VecDeque::new(),
        generated: VecDeque::new(),
    };

    fn holds_nothing(&self) -> bool {
        self.known.is_empty()
    }
}

#[derive(Clone, Copy)]
struct Known {
    fingerprint: Option<u64>,
    first: Sequence,
}

#[derive(Clone, Copy)]
struct Received {
    id: MessageId,
    at_ms: u64,
    sequence: Sequence,
}

impl Ids {
    /// `aged_ms` is when the newest key was recorded that is in no window any more; 0 if there is none.
    pub(crate) fn new(window: Window, aged_ms: u64) -> Self {
        let aged_until_ms = if aged_ms == 0 { 0 } else { aged_ms.saturating_add(window.age_ms) };
        Self { window, aged_until_ms, received: Rare::default(), done: Sequence(0) }
    }

    /// The directory knows that everything up to this message is done.
    pub(crate) fn done(&mut self, sequence: Sequence) {
        self.done = self.done.max(sequence);
    }

    /// Whether a message under this key was received before.
    pub(crate) fn look(&self, key: MessageKey, fingerprint: Option<u64>) -> Seen {
        let Some(Known { fingerprint: known, first }) =
            key.id().and_then(|id| self.received.known.get(&id))
        else {
            return Seen::New;
        };
        match (known, fingerprint) {
            (Some(known), Some(fingerprint))
                if *known != fingerprint && !sabotaged("sabotage-fingerprint") =>
            {
                Seen::Reused
            }
            _ => Seen::Known { first: *first },
        }
    }

    /// Whether there is nothing to forget.
    pub(crate) fn is_empty(&self) -> bool {
        self.received.holds_nothing()
    }

    /// Whether only the directory can say if a message under this key was received before.
    pub(crate) fn must_ask(&self, key: MessageKey, now_ms: u64) -> bool {
        matches!(key, MessageKey::Caller(id) if now_ms <= self.aged_until_ms && !self.received.known.contains_key(&id))
    }

    /// A message was received; what does not fit any more is forgotten.
    pub(crate) fn insert(
        &mut self,
        key: MessageKey,
        fingerprint: Option<u64>,
        at_ms: u64,
        sequence: Sequence,
    ) {
        let (id, count) = match key {
            // Nobody knows a transient id before its message is done.
            MessageKey::Anonymous
            | MessageKey::Transient(_)
            | MessageKey::Line { .. }
            | MessageKey::Timer { .. } => return,
            MessageKey::Caller(id) => (id, self.window.count),
            MessageKey::Generated(id) => (id, self.window.generated),
        };
        let All { known, callers, generated } = &mut *self.received;
        let order = if matches!(key, MessageKey::Caller(_)) { callers } else { generated };
        if let Entry::Vacant(entry) = known.entry(id) {
            entry.insert(Known { fingerprint, first: sequence });
            order.push_back(Received { id, at_ms, sequence });
        }
        if sabotaged("sabotage-in-flight") {
            let older = order.iter().rev().skip(2).filter(|it| it.sequence > self.done);
            for forgotten in older {
                known.remove(&forgotten.id);
            }
        }
        let horizon = at_ms.saturating_sub(self.window.age_ms);
        while let Some(oldest) = order.front()
            && oldest.sequence <= self.done
            && (oldest.at_ms < horizon || order.len() > count)
        {
            if oldest.at_ms >= horizon && matches!(key, MessageKey::Caller(_)) {
                self.aged_until_ms = at_ms.saturating_add(self.window.age_ms);
            }
            known.remove(&oldest.id);
            order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { count: 2, generated: 2, age_ms: 1000, bytes: 0 };

    fn known(ids: &Ids, id: u64) -> bool {
        matches!(ids.look(caller(id), None), Seen::Known { .. })
    }

    fn caller(id: u64) -> MessageKey {
        MessageKey::Caller(u128::from(id).into())
    }

    #[test]
    fn what_is_in_flight_is_never_forgotten() {
        let mut ids = Ids::new(WINDOW, 0);
        for n in 1..=5 {
            ids.insert(caller(n), None, n * 10_000, Sequence(n));
        }
        assert!((1..=5).all(|n| known(&ids, n)));
        ids.done(Sequence(3));
        ids.insert(caller(6), None, 60_000, Sequence(6));
        let known: Vec<_> = (1..=6).filter(|n| known(&ids, *n)).collect();
        assert_eq!(known, [4, 5, 6]);
    }

    #[test]
    fn only_while_a_key_has_left_by_count_must_the_directory_be_asked() {
        let mut ids = Ids::new(WINDOW, 0);
        for n in 1..=3 {
            assert!(!ids.must_ask(caller(n), 10));
            ids.insert(caller(n), None, 10, Sequence(n));
        }
        ids.done(Sequence(3));
        ids.insert(caller(4), None, 20, Sequence(4));
        assert!(ids.must_ask(caller(1), 20) && ids.must_ask(caller(1), 1020));
        assert!(!ids.must_ask(caller(1), 1021), "it is too old by now");
        assert!(!ids.must_ask(caller(4), 20), "it is known");
        assert!(!ids.must_ask(MessageKey::Generated(9.into()), 20), "nobody chose it");
        assert!(Ids::new(WINDOW, 20).must_ask(caller(1), 1020), "an earlier process had one");
    }

    #[test]
    fn another_message_under_a_known_id_is_seen() {
        let mut ids = Ids::new(WINDOW, 0);
        ids.insert(caller(1), Some(7), 0, Sequence(1));
        ids.insert(caller(2), None, 0, Sequence(2));
        assert_eq!(ids.look(caller(1), Some(7)), Seen::Known { first: Sequence(1) });
        assert_eq!(ids.look(caller(1), Some(8)), Seen::Reused);
        assert!(known(&ids, 1));
        let seen = ids.look(caller(2), Some(8));
        assert_eq!(seen, Seen::Known { first: Sequence(2) }, "received by an earlier version");
    }
}
