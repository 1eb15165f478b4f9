//! What is in a slot: JSON, so that duroxide's tools show something a person can read.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::id::{ActorId, ActorNo, Epoch, Position, Sequence};
use crate::owner::Owner;
use crate::provider::{StoredKey, StoredLetter, StoredRecord};

/// The version of the format. An entry of another is not read.
pub(super) const VERSION: u32 = 1;

/// The value of a slot of a log with entries `E`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Slot<E> {
    pub(super) version: u32,
    /// Random, so that a writer knows its own value from an equal one.
    pub(super) writer: String,
    pub(super) entry: Step<E>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step<E> {
    /// Nothing comes after this in the segment; the next is named.
    Sealed { next: String },
    /// In the root: the segment that is written to from now on.
    Segment { name: String },
    #[serde(untagged)]
    Entry(E),
}

/// One step of a shard's history.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Entry {
    /// Somebody became the owner.
    Opened {
        epoch: Epoch,
        /// Earlier versions did not say.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        by: Option<Owner>,
    },
    /// The owner wrote.
    Written(Written),
}

#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Written {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) commits: Vec<Commit>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) records: Vec<Record>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) letters: Vec<Letter>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) removed_letters: Vec<(ActorNo, Sequence)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) keys: Vec<Key>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) keys_of: Option<ActorNo>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) keys_before: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) checkpoint: Option<Position>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) truncate_before: Option<Position>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Commit {
    pub(super) position: Position,
    #[serde(with = "base64_bytes")]
    pub(super) batch: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) no: ActorNo,
    pub(super) actor_type: String,
    pub(super) actor_id: String,
    pub(super) pending: u64,
    pub(super) dead_letters: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) due_ms: Option<u64>,
    #[serde(with = "base64_bytes")]
    pub(super) record: Vec<u8>,
}

/// A dead letter.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Letter {
    pub(super) no: ActorNo,
    pub(super) sequence: Sequence,
    #[serde(with = "base64_bytes")]
    pub(super) letter: Vec<u8>,
}

/// An idempotency key. JSON numbers are not that long, so its id is a text.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) no: ActorNo,
    pub(super) id: Uuid,
    pub(super) at_ms: u64,
    #[serde(with = "base64_bytes")]
    pub(super) key: Vec<u8>,
}

impl From<&StoredKey> for Key {
    fn from(stored: &StoredKey) -> Self {
        let StoredKey { no, id, at_ms, bytes } = stored;
        Self { no: *no, id: Uuid::from_u128(id.as_u128()), at_ms: *at_ms, key: bytes.clone() }
    }
}

impl From<Key> for StoredKey {
    fn from(Key { no, id, at_ms, key }: Key) -> Self {
        Self { no, id: id.into(), at_ms, bytes: key }
    }
}

impl From<&StoredLetter> for Letter {
    fn from(stored: &StoredLetter) -> Self {
        let StoredLetter { no, sequence, bytes } = stored;
        Self { no: *no, sequence: *sequence, letter: bytes.clone() }
    }
}

impl From<&StoredRecord> for Record {
    fn from(stored: &StoredRecord) -> Self {
        Self {
            no: stored.no,
            actor_type: stored.actor.actor_type().to_owned(),
            actor_id: stored.actor.id().to_owned(),
            pending: stored.pending,
            dead_letters: stored.dead_letters,
            due_ms: stored.due_ms,
            record: stored.bytes.clone(),
        }
    }
}

impl From<Record> for StoredRecord {
    fn from(record: Record) -> Self {
        Self {
            no: record.no,
            actor: ActorId::new(record.actor_type, record.actor_id),
            pending: record.pending,
            dead_letters: record.dead_letters,
            due_ms: record.due_ms,
            bytes: record.record,
        }
    }
}

pub(super) mod base64_bytes {
    use base64::Engine;
    use base64::display::Base64Display;
    use base64::engine::general_purpose::STANDARD;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(in super::super) fn serialize<S: Serializer>(
        bytes: &[u8],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&Base64Display::new(bytes, &STANDARD))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Vec<u8>, D::Error> {
        STANDARD.decode(String::deserialize(from)?).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::super::log::State;
    use super::super::shard::Shard;
    use super::*;

    /// One line an entry, as the first version wrote them.
    const FIXTURE: &str = include_str!("../../fixtures/portable_v1.jsonl");

    #[test]
    fn entries_of_the_first_version_are_read() {
        let mut shard = Shard::default();
        let mut sealed = None;
        for line in FIXTURE.lines() {
            let slot: Slot<Entry> = serde_json::from_str(line).unwrap();
            assert_eq!(slot.version, VERSION);
            assert_eq!(serde_json::to_string(&slot).unwrap(), line, "written as it was");
            match slot.entry {
                Step::Entry(entry) => shard.apply(entry),
                Step::Sealed { next } | Step::Segment { name: next } => sealed = Some(next),
            }
        }
        assert_eq!(shard.epoch, Epoch(2));
        assert_eq!(shard.commits(Position(0), 1 << 20).len(), 1);
        let actor = ActorId::new("counter", "1");
        assert_eq!(shard.record_of(&actor).unwrap().bytes, b"state");
        assert_eq!(sealed.as_deref(), Some("actor-journal/0/next"));
    }
}
