//! How far an instance has read its mail: in its key-value store, which goes from execution to execution.

use std::time::Duration;

use duroxide::OrchestrationContext;
use serde::{Deserialize, Serialize};

use super::taking::{Batch, Entry, Mark};
use crate::id::MessageId;

/// Before mail is taken again that could not be.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// That there is mail, as it lies in a queue of duroxide.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    #[serde(rename = "actors:mail")]
    id: String,
}

/// The data of a note with this id.
pub(super) fn note(id: &str) -> String {
    serde_json::to_string(&Note { id: id.to_owned() }).unwrap_or_default()
}

/// The id of a note, if this is one.
pub(super) fn note_of(data: &str) -> Option<String> {
    serde_json::from_str(data).ok().map(|Note { id }| id)
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// The last note that was taken from the queue.
    pub(super) noted: String,
    pub(super) may_have_more: bool,
    /// What was handed out and may still be in the inbox.
    pub(super) read: Vec<Mark>,
    /// How much of the batch was.
    at: usize,
}

/// The keys of a queue's cursor, and of what was taken and not handed out.
pub(super) fn keys(queue: &str) -> (String, String) {
    let hash = MessageId::from_key(queue).as_u128() >> 64;
    (format!("actors:mail/{hash:016x}"), format!("actors:batch/{hash:016x}"))
}

impl Cursor {
    pub(super) fn decode(value: &str) -> Self {
        serde_json::from_str(value).unwrap_or_default()
    }

    pub(super) fn of(ctx: &OrchestrationContext, queue: &str) -> Self {
        ctx.get_kv_value(&keys(queue).0).map(|value| Self::decode(&value)).unwrap_or_default()
    }

    fn keep(&self, ctx: &OrchestrationContext, queue: &str) {
        ctx.set_kv_value(keys(queue).0, serde_json::to_string(self).unwrap_or_default());
    }

    /// The next entry of what was taken.
    pub(super) fn next(ctx: &OrchestrationContext, queue: &str) -> Option<Entry> {
        let batch = ctx.get_kv_value(&keys(queue).1)?;
        let mut cursor = Self::of(ctx, queue);
        let batch: Vec<Entry> = serde_json::from_str(&batch).ok()?;
        let entry = batch.get(cursor.at)?.clone();
        cursor.at += 1;
        cursor.hand_out(&entry);
        cursor.keep(ctx, queue);
        Some(entry)
    }

    /// A note was taken from the queue.
    pub(super) fn noted(mut self, ctx: &OrchestrationContext, queue: &str, note: String) {
        self.noted = note;
        self.may_have_more = true;
        self.keep(ctx, queue);
    }

    /// Mail was taken, and what was read is removed. The first entry is handed out.
    pub(super) fn take(ctx: &OrchestrationContext, queue: &str, batch: Batch) -> Option<Entry> {
        let mut cursor = Self::of(ctx, queue);
        let mut entries = batch.entries.into_iter();
        let first = entries.next();
        cursor.may_have_more = batch.more;
        cursor.read.clear();
        cursor.at = 0;
        if let Some(first) = &first {
            cursor.hand_out(first);
        }
        cursor.keep(ctx, queue);
        let rest: Vec<_> = entries.collect();
        ctx.set_kv_value(keys(queue).1, serde_json::to_string(&rest).unwrap_or_default());
        first
    }

    fn hand_out(&mut self, entry: &Entry) {
        // What somebody waits for goes with its reply.
        self.read.extend(entry.mark.clone().filter(|_| entry.reply_to.is_none()));
    }
}
