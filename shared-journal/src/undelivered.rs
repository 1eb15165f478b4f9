//! How much of an actor is on its way.
//!
//! Counted from the submission of a message until it is durable that it has arrived, and of a timer until it
//! fires. The actor's outbox
//! and the relay have the same count.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rustc_hash::FxHashMap;

use crate::id::ActorNo;
use crate::outbox::{Addressed, size_of};
use crate::record::OutgoingMessage;
use crate::timers::Timers;

/// Bytes of messages that an actor has sent and that have not arrived.
#[derive(Debug, Default)]
pub(crate) struct Undelivered(AtomicUsize);

impl Undelivered {
    pub(crate) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// So many bytes are submitted.
    pub(crate) fn sent(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    /// They have arrived.
    pub(crate) fn arrived(&self, messages: &[Addressed]) {
        self.settled(messages.iter().map(|it| size_of(&it.message)).sum());
    }

    /// So many bytes are in the outbox no more.
    pub(crate) fn settled(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Those of the actors of a shard that run, or of which something is on its way.
#[derive(Debug, Default)]
pub(crate) struct AllUndelivered(Mutex<FxHashMap<ActorNo, Weak<Undelivered>>>);

impl AllUndelivered {
    /// Of an actor with these messages in its outbox and these timers, if nobody knows better.
    pub(crate) fn of(
        &self,
        no: ActorNo,
        outbox: &VecDeque<OutgoingMessage>,
        timers: &Timers,
    ) -> Arc<Undelivered> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = all.get(&no).and_then(Weak::upgrade) {
            return known;
        }
        if all.len() == all.capacity() {
            // Before it grows: those that are gone make room.
            all.retain(|_, undelivered| undelivered.strong_count() > 0);
        }
        let bytes = outbox.iter().map(size_of).sum::<usize>() + timers.bytes();
        let undelivered = Arc::new(Undelivered(AtomicUsize::new(bytes)));
        all.insert(no, Arc::downgrade(&undelivered));
        undelivered
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Codec, Payload};
    use crate::id::{ActorId, MessageId};
    use crate::outbox::{Outbox, OutboxError, Put};

    #[test]
    fn it_is_full_until_something_arrives() {
        let to = ActorId::new("b", "1");
        let message = OutgoingMessage {
            number: 1,
            to: to.clone(),
            id: MessageId::from(1),
            kind: "note".into(),
            payload: Payload::encode(Codec::Json, &0).unwrap(),
        };
        let one = size_of(&message);
        let all = AllUndelivered::default();
        let timers = Timers::default();
        let undelivered = all.of(ActorNo(1), &VecDeque::from([message]), &timers);
        let outbox = Outbox::new(ActorId::new("a", "1"), Codec::Json, 100, true, 7);
        let outbox = outbox.bounded(3 * one, undelivered.clone());
        let full = |outbox: &Outbox| match outbox.tell(&to, "note", &0) {
            Ok(()) => None,
            Err(error @ OutboxError::Full { size, .. }) => {
                assert!(error.is_retryable() && error.to_string().starts_with("a/1 has"));
                Some(size)
            }
            Err(error) => panic!("{error}"),
        };
        outbox.begin();
        assert_eq!([full(&outbox), full(&outbox), full(&outbox)], [None, None, Some(3 * one)]);
        // What is taken back is not on its way.
        outbox.take_back();
        assert_eq!(full(&outbox), None);
        let key = crate::id::MessageKey::Anonymous;
        let addressed = |put: Put| match put {
            Put::Message(message) => Addressed { key, message },
            put => panic!("{put:?}"),
        };
        let taken: Vec<_> = outbox.take().into_iter().map(addressed).collect();
        assert_eq!([full(&outbox), full(&outbox)], [None, Some(3 * one)]);
        all.of(ActorNo(1), &VecDeque::new(), &timers).arrived(&taken[..1]);
        assert_eq!([full(&outbox), full(&outbox)], [None, Some(3 * one)]);
    }
}
