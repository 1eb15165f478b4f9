//! Events that actors raise in orchestrations, as an orchestration reads them.

use std::cell::RefCell;
use std::collections::BTreeMap;

use duroxide::{Either2, OrchestrationContext};
use serde::{Deserialize, Serialize};

use super::RING;
use super::cursor::{Batch, Cursor};
use super::entry::Entry;
use crate::id::MessageId;

/// Where an instance keeps which events it has read, by sender.
const READ: &str = "actors:read/";
/// So many keys are taken by that, of the 150 that duroxide gives an instance.
const KEYS: u128 = 16;
/// And so many senders are in each.
const SENDERS: usize = 128;

/// An event, as it lies in an instance's mailbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Event {
    /// The actor that raised it. Empty: it is not numbered, and who reads it knows what it has read.
    pub(super) from: String,
    /// Its number in that actor's outbox.
    pub(super) number: u64,
    pub(super) data: String,
}

impl Event {
    pub(super) fn new(from: String, number: u64, data: String) -> Self {
        Self { from, number, data }
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

/// Waits for the next event that an actor raised in a queue of this instance, and returns its data.
/// What others enqueue there is returned as it is.
///
/// An event is handed out once, however often it was raised on the way, in the order in which each actor raised
/// them. Events wait in the cluster's inbox, so any number of them may, for any time
/// ([`inbox_letters`](crate::cluster::ClusterBuilder::inbox_letters) of them there, and the others with their
/// senders). An orchestration that reads the queue with duroxide's `dequeue_event` instead sees batches of ours.
///
/// What was read is kept under the keys `actors:read/…`, `actors:mail/…` and `actors:batch/…` of the instance's
/// key-value store: do not clear them. They remember 2,000 senders, the latest.
///
/// Dropping the future takes no event.
///
/// Read all queues of an instance in one place, with `select2` if there are several, and not in branches that run beside
/// each other (`join`): duroxide 0.1.32 may replay what two branches write into the key-value store in another order,
/// and fails the instance then (`Nondeterminism`).
///
/// # Panics
/// Another future of this instance waits for the same queue: the events of one batch would go to the one, and the other
/// would wait for ever. duroxide fails the instance, with this reason.
pub async fn next_event(ctx: &OrchestrationContext, queue: &str) -> String {
    next_entry(ctx, queue).await.event.data
}

/// As [`next_event`], with what else is known of it.
pub(super) async fn next_entry(ctx: &OrchestrationContext, queue: &str) -> Entry {
    let _reading = Reading::begin(queue);
    loop {
        let entry = match Cursor::next(ctx, queue) {
            Some(entry) => entry,
            None => {
                let Some(data) = dequeue(ctx, queue).await else { continue };
                if let Ok(batch) = serde_json::from_str::<Batch>(&data) {
                    let Some(entry) = Cursor::take(ctx, queue, batch) else { continue };
                    entry
                } else {
                    let event = serde_json::from_str::<Event>(&data);
                    Entry::from_queue(event.unwrap_or_else(|_| Event::new(String::new(), 0, data)))
                }
            }
        };
        if is_new(ctx, queue, &entry.event) {
            return entry;
        }
    }
}

thread_local! {
    /// The queues that futures wait for. duroxide makes the futures of an instance, polls them and drops them on one
    /// thread, before it turns to another instance.
    static READ_NOW: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A future waits for a queue.
struct Reading(String);

impl Reading {
    #[expect(clippy::panic, reason = "there is no other way to fail the orchestration")]
    fn begin(queue: &str) -> Self {
        if READ_NOW.with_borrow(|queues| queues.iter().any(|it| it == queue)) {
            panic!("two futures of an instance wait for queue {queue:?}: read it in one place");
        }
        READ_NOW.with_borrow_mut(|queues| queues.push(queue.to_owned()));
        Self(queue.to_owned())
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        READ_NOW.with_borrow_mut(|queues| queues.retain(|it| *it != self.0));
    }
}

/// What is next in the queue. None: only the lane was told meanwhile that the last batch is read.
///
/// The batches come through the queue so that nothing is lost when this is dropped, however soon; telling the lane
/// is an activity, which is scheduled again then. Without it the lane looks by itself after a while.
async fn dequeue(ctx: &OrchestrationContext, queue: &str) -> Option<String> {
    let cursor = Cursor::of(ctx, queue);
    let next = ctx.dequeue_event(queue);
    if cursor.taken.is_empty() || cursor.rung {
        return Some(next.await);
    }
    match ctx.select2(next, ctx.schedule_activity(RING, queue)).await {
        Either2::First(data) => Some(data),
        Either2::Second(_) => {
            Cursor::rung(ctx, queue);
            None
        }
    }
}

/// Whether an event has not been read, and that it has.
fn is_new(ctx: &OrchestrationContext, queue: &str, event: &Event) -> bool {
    if event.from.is_empty() {
        return true;
    }
    let (key, sender) = place(queue, &event.from);
    let mut senders: Senders =
        ctx.get_kv_value(&key).and_then(|it| serde_json::from_str(&it).ok()).unwrap_or_default();
    if senders.get(&sender).is_some_and(|read| read.number >= event.number) {
        return false;
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
    true
}
