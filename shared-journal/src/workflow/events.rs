//! Events that actors raise in orchestrations.

use std::collections::BTreeMap;

use duroxide::OrchestrationContext;
use serde::{Deserialize, Serialize};

use crate::id::MessageId;

/// Where an instance keeps which events it has read, by sender.
const READ: &str = "actors:read/";
/// So many keys are taken by that, of the 150 that duroxide gives an instance.
const KEYS: u128 = 16;
/// And so many senders are in each.
const SENDERS: usize = 128;

/// An event, as it lies in an instance's queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Event {
    /// The actor that raised it.
    from: String,
    /// Its number in that actor's outbox.
    number: u64,
    pub(super) data: String,
}

impl Event {
    pub(super) fn new(from: &str, number: u64, data: String) -> Self {
        Self { from: from.to_owned(), number, data }
    }
}

/// The last number that was read of a sender, and when: the numbers of readings.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Read {
    number: u64,
    at: u64,
}

type Senders = BTreeMap<String, Read>;

/// Where a sender to a queue is kept: the key, and the name in it.
fn place(queue: &str, from: &str) -> (String, String) {
    let hash = MessageId::from_key(&format!("{queue}\0{from}")).as_u128();
    (format!("{READ}{}", hash % KEYS), format!("{:016x}", hash >> 64))
}

/// Whether an instance with these values has read an event.
pub(super) fn is_read(
    values: &std::collections::HashMap<String, String>,
    queue: &str,
    event: &Event,
) -> bool {
    let (key, sender) = place(queue, &event.from);
    let senders = values.get(&key).and_then(|value| serde_json::from_str::<Senders>(value).ok());
    senders.is_some_and(|it| it.get(&sender).is_some_and(|read| read.number >= event.number))
}

/// Waits for the next event that an actor raised in a queue of this instance, and returns its data.
/// What others enqueue there is returned as it is.
///
/// An event is handed out once, however often it was raised on the way; an orchestration that reads
/// the queue with duroxide's `dequeue_event` instead sees events in their envelope, some twice, and
/// after 32 no more of them. What was read is kept under the keys `actors:read/…` of the instance's
/// key-value store: do not clear them. They remember 2,000 senders, the latest.
///
/// Dropping the future takes no event.
pub async fn next_event(ctx: &OrchestrationContext, queue: &str) -> String {
    loop {
        let data = ctx.dequeue_event(queue).await;
        let Ok(event) = serde_json::from_str::<Event>(&data) else { return data };
        let (key, sender) = place(queue, &event.from);
        let mut senders: Senders = ctx
            .get_kv_value(&key)
            .and_then(|it| serde_json::from_str(&it).ok())
            .unwrap_or_default();
        if senders.get(&sender).is_some_and(|read| read.number >= event.number) {
            continue;
        }
        let at = senders.values().map(|read| read.at.saturating_add(1)).max().unwrap_or(0);
        senders.insert(sender, Read { number: event.number, at });
        if senders.len() > SENDERS
            && let Some((oldest, _)) = senders.iter().min_by_key(|(_, read)| read.at)
        {
            let oldest = oldest.clone();
            senders.remove(&oldest);
        }
        if let Ok(value) = serde_json::to_string(&senders) {
            ctx.set_kv_value(key, value);
        }
        return event.data;
    }
}
