//! An event on its way from the inbox to an instance.

use serde::{Deserialize, Serialize};

use super::Request;
use super::events::Event;
use crate::cluster::Mail;
use crate::id::MessageId;

/// A letter, as an instance knows it: its number in the inbox, and its event, because a journal that was restored
/// gives numbers again.
pub(super) type Mark = (u64, String);

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

/// The event in a letter, and its queue, if it is one.
pub(super) fn opened(mail: &Mail) -> Option<(String, Entry)> {
    let (queue, event) = match mail.payload.decode::<Request>().ok()? {
        Request::Raise { queue, event } => (queue, event),
        Request::Deliver { queue, data, .. } => (queue, Event::new(String::new(), 0, data)),
        Request::Start { .. } | Request::Cancel { .. } | Request::Ring => return None,
    };
    let hash = MessageId::from_key(&format!("{}/{}/{}", mail.id, event.from, event.number));
    let mark = format!("{:016x}", hash.as_u128() >> 64);
    let reply_to = mail.reply_to.clone();
    Some((queue, Entry { mark: Some((mail.number, mark)), event, reply_to }))
}
