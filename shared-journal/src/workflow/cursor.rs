//! How far an instance has read its mail: in its key-value store, which goes from execution to execution.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use duroxide::OrchestrationContext;
use serde::{Deserialize, Serialize};

use super::entry::{Entry, Mark};
use crate::id::MessageId;

/// Before something is done again for an orchestration that failed.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// Mail, as it lies in a queue of duroxide: one batch at a time.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Batch {
    #[serde(rename = "actors:mail")]
    pub(super) id: String,
    pub(super) entries: Vec<Entry>,
}

/// What is looked at of batches in a history.
#[derive(Debug, Deserialize)]
pub(super) struct BatchId {
    #[serde(rename = "actors:mail")]
    pub(super) id: String,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The last batch that was taken from the queue.
    pub(super) taken: String,
    /// What of it was handed out, and need not be again.
    pub(super) read: Vec<Mark>,
    /// How many of it are kept, and how many of those were handed out.
    kept: usize,
    at: usize,
    /// Whoever sends the batches knows that it is read.
    pub(super) rung: bool,
}

/// Before the hash of a queue in the key of its cursor.
const MAIL: &str = "actors:mail/";

/// The keys of a queue's cursor, and of what was taken and not handed out.
fn keys(queue: &str) -> (String, String) {
    let hash = MessageId::from_key(queue).as_u128() >> 64;
    (format!("{MAIL}{hash:016x}"), format!("actors:batch/{hash:016x}"))
}

/// Those of all queues of an instance, as its lane sees them.
pub(super) struct Cursors {
    by_key: BTreeMap<String, Cursor>,
    none: Cursor,
}

impl Cursors {
    /// In these values of the instance.
    pub(super) fn of_values(values: HashMap<String, String>) -> Self {
        let cursors = values.into_iter().filter(|(key, _)| key.starts_with(MAIL));
        let by_key = cursors.map(|(key, value)| (key, Cursor::decode(&value))).collect();
        Self { by_key, none: Cursor::default() }
    }

    pub(super) fn of(&self, queue: &str) -> &Cursor {
        self.by_key.get(&keys(queue).0).unwrap_or(&self.none)
    }

    /// How many events were taken and are not handed out.
    pub(super) fn left(&self) -> usize {
        self.by_key.values().map(Cursor::left).sum()
    }
}

impl Cursor {
    fn decode(value: &str) -> Self {
        serde_json::from_str(value).unwrap_or_default()
    }

    pub(super) fn of(ctx: &OrchestrationContext, queue: &str) -> Self {
        ctx.get_kv_value(&keys(queue).0).map(|value| Self::decode(&value)).unwrap_or_default()
    }

    fn keep(&self, ctx: &OrchestrationContext, queue: &str) {
        ctx.set_kv_value(keys(queue).0, serde_json::to_string(self).unwrap_or_default());
    }

    /// How many were taken and are not handed out.
    pub(super) fn left(&self) -> usize {
        self.kept - self.at.min(self.kept)
    }

    /// The next entry of what was taken.
    pub(super) fn next(ctx: &OrchestrationContext, queue: &str) -> Option<Entry> {
        let mut cursor = Self::of(ctx, queue);
        if cursor.left() == 0 {
            return None;
        }
        let kept = ctx.get_kv_value(&keys(queue).1)?;
        let kept: Vec<Entry> = serde_json::from_str(&kept).ok()?;
        let entry = kept.get(cursor.at)?.clone();
        cursor.at += 1;
        cursor.hand_out(&entry);
        cursor.keep(ctx, queue);
        Some(entry)
    }

    /// A batch was taken from the queue. Its first entry is handed out.
    pub(super) fn take(ctx: &OrchestrationContext, queue: &str, batch: Batch) -> Option<Entry> {
        let mut entries = batch.entries.into_iter();
        let first = entries.next();
        let rest: Vec<_> = entries.collect();
        let mut cursor = Self { taken: batch.id, kept: rest.len(), ..Self::default() };
        if let Some(first) = &first {
            cursor.hand_out(first);
        }
        cursor.keep(ctx, queue);
        if !rest.is_empty() {
            ctx.set_kv_value(keys(queue).1, serde_json::to_string(&rest).unwrap_or_default());
        }
        first
    }

    pub(super) fn rung(ctx: &OrchestrationContext, queue: &str) {
        Self { rung: true, ..Self::of(ctx, queue) }.keep(ctx, queue);
    }

    fn hand_out(&mut self, entry: &Entry) {
        // A message to an actor goes when it is handled.
        self.read.extend(entry.mark.clone().filter(|_| !entry.event.from.is_empty()));
    }

    /// A message to an actor is handled.
    pub(super) fn done(ctx: &OrchestrationContext, queue: &str, mark: Option<Mark>) {
        let mut cursor = Self::of(ctx, queue);
        cursor.read.extend(mark);
        cursor.keep(ctx, queue);
    }
}
