//! What was sent to an instance, for tests to look at.

use super::sending::{Asked, INSTANCES};
use super::{RUN, Request};
use crate::codec::Payload;
use crate::id::ActorId;

/// A request to duroxide, taken apart.
pub(crate) enum SentToInstance {
    Workflow {
        orchestration: String,
        instance: String,
        input: String,
    },
    Event {
        queue: String,
        data: String,
    },
    /// A message to an actor that is an orchestration, or the end of a timer of an earlier version.
    Other,
}

/// What a message asks of an instance, if it is for one.
pub(crate) fn sent_to_instance(to: &ActorId, payload: &Payload<'_>) -> Option<SentToInstance> {
    if to.actor_type() != INSTANCES {
        return None;
    }
    Some(match payload.decode().ok()? {
        Request::Start { orchestration, input } if orchestration == RUN => {
            let Asked { orchestration, instance, input, .. } = serde_json::from_str(&input).ok()?;
            SentToInstance::Workflow { orchestration, instance, input }
        }
        Request::Start { orchestration, input } => {
            SentToInstance::Workflow { orchestration, instance: to.id().to_owned(), input }
        }
        Request::Raise { queue, event } => SentToInstance::Event { queue, data: event.data },
        Request::Cancel { .. } | Request::Deliver { .. } => SentToInstance::Other,
    })
}
