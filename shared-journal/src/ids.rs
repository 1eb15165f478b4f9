//! The ids that a running actor has received lately.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;

use crate::id::{MessageId, MessageKey, Sequence};
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
}

/// The ids that were received lately, and what their messages were about. Forgets an id no later
/// than the directory forgets its recorded outcome, and never while its message is not done.
pub(crate) struct Ids {
    window: Window,
    known: FxHashMap<MessageId, Known>,
    callers: VecDeque<Received>,
    generated: VecDeque<Received>,
    /// The last message that is done.
    done: Sequence,
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
    pub(crate) fn new(window: Window) -> Self {
        Self {
            window,
            known: FxHashMap::default(),
            callers: VecDeque::new(),
            generated: VecDeque::new(),
            done: Sequence(0),
        }
    }

    /// Everything up to this message is done.
    pub(crate) fn done(&mut self, sequence: Sequence) {
        self.done = self.done.max(sequence);
    }

    /// Whether a message under this key was received before.
    pub(crate) fn look(&self, key: MessageKey, fingerprint: Option<u64>) -> Seen {
        let Some(Known { fingerprint: known, first }) = key.id().and_then(|id| self.known.get(&id))
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

    /// A message was received; what does not fit any more is forgotten.
    pub(crate) fn insert(
        &mut self,
        key: MessageKey,
        fingerprint: Option<u64>,
        at_ms: u64,
        sequence: Sequence,
    ) {
        let (id, order) = match key {
            // Nobody knows a transient id before its message is done.
            MessageKey::Anonymous | MessageKey::Transient(_) => return,
            MessageKey::Caller(id) => (id, &mut self.callers),
            MessageKey::Generated(id) => (id, &mut self.generated),
        };
        if let Entry::Vacant(entry) = self.known.entry(id) {
            entry.insert(Known { fingerprint, first: sequence });
            order.push_back(Received { id, at_ms, sequence });
        }
        if sabotaged("sabotage-in-flight") {
            let older = order.iter().rev().skip(2).filter(|it| it.sequence > self.done);
            for forgotten in older {
                self.known.remove(&forgotten.id);
            }
        }
        let horizon = at_ms.saturating_sub(self.window.age_ms);
        while let Some(oldest) = order.front()
            && oldest.sequence <= self.done
            && (oldest.at_ms < horizon || order.len() > self.window.count)
        {
            if oldest.at_ms >= horizon && matches!(key, MessageKey::Caller(_)) {
                metrics::counter!("journal_keys_forgotten_early_total").increment(1);
            }
            self.known.remove(&oldest.id);
            order.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Window = Window { count: 2, age_ms: 1000, bytes: 0 };

    fn known(ids: &Ids, id: u64) -> bool {
        matches!(ids.look(caller(id), None), Seen::Known { .. })
    }

    fn caller(id: u64) -> MessageKey {
        MessageKey::Caller(u128::from(id).into())
    }

    #[test]
    fn what_is_in_flight_is_never_forgotten() {
        let mut ids = Ids::new(WINDOW);
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
    fn another_message_under_a_known_id_is_seen() {
        let mut ids = Ids::new(WINDOW);
        ids.insert(caller(1), Some(7), 0, Sequence(1));
        ids.insert(caller(2), None, 0, Sequence(2));
        assert_eq!(ids.look(caller(1), Some(7)), Seen::Known { first: Sequence(1) });
        assert_eq!(ids.look(caller(1), Some(8)), Seen::Reused);
        assert!(known(&ids, 1));
        let seen = ids.look(caller(2), Some(8));
        assert_eq!(seen, Seen::Known { first: Sequence(2) }, "received by an earlier version");
    }
}
