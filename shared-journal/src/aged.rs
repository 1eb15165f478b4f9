//! Idempotency keys that have left the dedup window by count, and not by age.
//!
//! The window in an actor's record has the last [`dedup_count`](crate::Limits::dedup_count) of them. Older
//! ones are a row each in the store, written by checkpoints, until they are older than
//! [`dedup_age`](crate::Limits::dedup_age). What is here is what the record needs to know of them, and
//! what a checkpoint has still to save.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::guard::beginning;
use crate::id::MessageId;
use crate::rare::Empty;
use crate::record::{Outcome, RecordedOutcome};

/// Of a larger reply only that it was given is kept, and of a longer error its beginning.
const REPLY_BYTES: usize = 256;

/// The keys of one actor that are in no window any more.
#[derive(Debug, Clone, Default)]
pub(crate) struct Aged {
    /// When the newest of them was recorded, by the journal's clock; 0 if there never was one. Of those
    /// in rows nothing else is known here.
    newest_ms: u64,
    /// Keys whose rows are not saved.
    unsaved: BTreeMap<MessageId, RecordedOutcome>,
    /// How often all were forgotten, and how often their rows were deleted after that.
    cleared: u64,
    deleted: u64,
}

impl Aged {
    pub(crate) fn push(&mut self, mut recorded: RecordedOutcome) {
        match &mut recorded.outcome {
            Outcome::Failed { error, .. } => *error = beginning(error, REPLY_BYTES).to_owned(),
            outcome if outcome.size() > REPLY_BYTES => outcome.shrink(),
            _ => {}
        }
        self.newest_ms = self.newest_ms.max(recorded.at_ms);
        self.unsaved.insert(recorded.id, recorded);
    }

    /// When the newest of them was recorded.
    pub(crate) fn newest_ms(&self) -> u64 {
        self.newest_ms
    }

    /// Forgets all keys. Their rows are to be deleted.
    pub(crate) fn clear(&mut self) {
        self.newest_ms = 0;
        self.unsaved.clear();
        self.cleared += 1;
    }

    /// The rows that may be there are of before the last [`clear`](Self::clear), whose number this is.
    pub(crate) fn to_delete(&self) -> Option<u64> {
        (self.cleared > self.deleted).then_some(self.cleared)
    }

    /// The rows are gone that were there at the clear of this number.
    pub(crate) fn deleted(&mut self, cleared: u64) {
        self.deleted = cleared;
    }

    /// The key, if its row is not saved.
    pub(crate) fn unsaved(&self, id: MessageId) -> Option<&RecordedOutcome> {
        self.unsaved.get(&id)
    }

    /// The keys whose rows are to be saved, in their order.
    pub(crate) fn to_save(&self) -> impl Iterator<Item = &RecordedOutcome> {
        self.unsaved.values()
    }

    /// Its row is there, as it was at `at_ms`.
    pub(crate) fn saved(&mut self, id: MessageId, at_ms: u64) {
        // It may have been used again, much later.
        if self.unsaved.get(&id).is_some_and(|it| it.at_ms == at_ms) {
            self.unsaved.remove(&id);
        }
    }

    /// Only what is stored in the record is wanted.
    pub(crate) fn forget_unsaved(&mut self) {
        self.unsaved.clear();
    }
}

impl Empty for Aged {
    const EMPTY: &'static Self =
        &Self { newest_ms: 0, unsaved: BTreeMap::new(), cleared: 0, deleted: 0 };

    fn holds_nothing(&self) -> bool {
        self.newest_ms == 0 && self.unsaved.is_empty() && self.to_delete().is_none()
    }
}

/// What is stored of them in the record is the same.
impl PartialEq for Aged {
    fn eq(&self, other: &Self) -> bool {
        self.newest_ms == other.newest_ms
    }
}

impl Eq for Aged {}

impl Serialize for Aged {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.newest_ms.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Aged {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self { newest_ms: u64::deserialize(deserializer)?, ..Self::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Codec, Payload};

    fn recorded(id: u128, at_ms: u64, reply: usize) -> RecordedOutcome {
        let reply = Payload::new(Codec::Json, vec![b'1'; reply]);
        let outcome = Outcome::Processed(reply);
        RecordedOutcome { id: id.into(), at_ms, outcome, fingerprint: Some(7) }
    }

    #[test]
    fn a_key_that_is_used_again_is_saved_again() {
        let mut aged = Aged::default();
        aged.push(recorded(1, 10, 0));
        aged.push(recorded(1, 20, 0));
        aged.saved(1.into(), 10);
        assert_eq!(aged.to_save().count(), 1, "the row is of the first");
        aged.saved(1.into(), 20);
        assert_eq!((aged.to_save().count(), aged.newest_ms()), (0, 20));
    }

    #[test]
    fn rows_of_before_the_last_clear_are_deleted() {
        let mut aged = Aged::default();
        assert_eq!(aged.to_delete(), None);
        aged.clear();
        let first = aged.to_delete().unwrap();
        aged.clear();
        aged.deleted(first);
        let second = aged.to_delete().expect("it was cleared again meanwhile");
        aged.deleted(second);
        assert_eq!(aged.to_delete(), None);
    }

    #[test]
    fn of_large_replies_only_the_key_stays() {
        let mut aged = Aged::default();
        aged.push(recorded(1, 1, REPLY_BYTES));
        aged.push(recorded(2, 1, REPLY_BYTES + 1));
        let outcome = |id: u128| aged.unsaved(id.into()).unwrap().outcome.clone();
        assert!(matches!(outcome(1), Outcome::Processed(_)));
        assert_eq!(outcome(2), Outcome::AlreadyProcessed);
        let failed = Outcome::Failed { attempts: 3, error: "ä".repeat(REPLY_BYTES) };
        aged.push(RecordedOutcome { outcome: failed, ..recorded(3, 1, 0) });
        let left = Outcome::Failed { attempts: 3, error: "ä".repeat(REPLY_BYTES / 2) };
        assert_eq!(aged.unsaved(3.into()).unwrap().outcome, left);
    }
}
