//! The activity that takes an instance's mail from its inbox.

use duroxide::ActivityContext;
use fail::fail_point;
use serde::{Deserialize, Serialize};

use super::events::Event;
use super::{Request, instance_address};
use crate::cluster::{Cluster, Mail, Settled};
use crate::error::JournalError;
use crate::id::MessageId;
use crate::mailbox::error_text;

/// Read from the inbox at a time.
const READ_BYTES: usize = 1 << 20;
/// Handed to the instance at a time: what it has not read yet is kept in its key-value store, which takes 64 KiB.
const BATCH: usize = 16;
const BATCH_BYTES: usize = 24 << 10;

/// What the activity gets.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Taking {
    pub(super) queue: String,
    /// What was read since the last time.
    pub(super) read: Vec<Mark>,
}

/// A letter, as an instance knows it: its number in the inbox, and its event, because a journal that was restored
/// gives numbers again.
pub(super) type Mark = (u64, String);

/// What it returns.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Batch {
    pub(super) entries: Vec<Entry>,
    /// There may be more.
    pub(super) more: bool,
}

/// An event that was taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Entry {
    /// None: it came through the queue, as from earlier versions, and is not in the inbox.
    pub(super) mark: Option<Mark>,
    pub(super) event: Event,
    /// Who waits for the reply, and what it is known by there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reply_to: Option<(String, u64)>,
}

impl Entry {
    pub(super) fn from_queue(event: Event) -> Self {
        Self { mark: None, event, reply_to: None }
    }
}

/// The event in a letter, if it is one for a queue.
pub(super) fn opened(mail: &Mail) -> Option<(String, Entry)> {
    let (queue, event) = match mail.payload.decode::<Request>().ok()? {
        Request::Raise { queue, event } => (queue, event),
        Request::Deliver { queue, data, .. } => (queue, Event::new(String::new(), 0, data)),
        Request::Start { .. } | Request::Cancel { .. } => return None,
    };
    let hash = MessageId::from_key(&format!("{}/{}/{}", mail.id, event.from, event.number));
    let mark = format!("{:016x}", hash.as_u128() >> 64);
    let reply_to = mail.reply_to.clone();
    Some((queue, Entry { mark: Some((mail.number, mark)), event, reply_to }))
}

/// Removes what was read, and returns what is to be read next.
pub(super) async fn run(
    cluster: Cluster,
    ctx: ActivityContext,
    input: String,
) -> Result<String, String> {
    let instance = ctx.instance_id();
    fail_point!("before-mail");
    let taking: Taking = serde_json::from_str(&input).map_err(|error| error.to_string())?;
    let batch = take(&cluster, instance, &taking).await.map_err(|error| {
        tracing::warn!(instance, error = error_text(&error), "an instance's mail cannot be taken");
        error_text(&error)
    })?;
    fail_point!("after-mail");
    serde_json::to_string(&batch).map_err(|error| error.to_string())
}

async fn take(cluster: &Cluster, instance: &str, taking: &Taking) -> Result<Batch, JournalError> {
    let address = instance_address(instance);
    let (mut read, mut batch, mut bytes, mut after) = (Vec::new(), Batch::default(), 0, 0);
    'pages: loop {
        let page = cluster.mail(&address, after, READ_BYTES).await?;
        let Some(last) = page.last() else { break };
        after = last.number;
        let of_queue = page.iter().filter_map(opened).filter(|(queue, _)| *queue == taking.queue);
        for (_, entry) in of_queue {
            let Some(mark) = &entry.mark else { continue };
            if taking.read.contains(mark) {
                read.push(Settled { number: mark.0, reply: None });
                continue;
            }
            bytes += entry.event.data.len();
            if batch.entries.len() == BATCH || (bytes > BATCH_BYTES && !batch.entries.is_empty()) {
                batch.more = true;
                break 'pages;
            }
            batch.entries.push(entry);
        }
    }
    cluster.settle(&address, read).await?;
    Ok(batch)
}
