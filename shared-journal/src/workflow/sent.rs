//! What was sent to an instance, for tests to look at.

use serde_json::{Value, json};

use super::orchestrated::Mail;
use super::running::Asked;
use super::{INSTANCES, RUN, Request};
use crate::codec::Payload;
use crate::id::ActorId;

/// A request to duroxide, taken apart.
pub(crate) enum SentToInstance {
    Workflow {
        orchestration: String,
        instance: String,
        input: String,
        /// What its actor gets when it ends, with a place for the result.
        then: Option<(String, Value)>,
    },
    Event {
        queue: String,
        data: String,
    },
    /// A message to an actor that is an orchestration.
    Message {
        kind: String,
        message: Value,
    },
    /// The end of a timer of an earlier version.
    Cancel,
}

/// What a message asks of an instance, if it is for one.
pub(crate) fn sent_to_instance(to: &ActorId, payload: &Payload<'_>) -> Option<SentToInstance> {
    if to.actor_type() != INSTANCES {
        return None;
    }
    Some(match payload.decode().ok()? {
        Request::Start { orchestration, input } if orchestration == RUN => {
            let Asked { orchestration, instance, input, kind, message, .. } =
                serde_json::from_str(&input).ok()?;
            SentToInstance::Workflow { orchestration, instance, input, then: Some((kind, message)) }
        }
        Request::Start { orchestration, input } => {
            let instance = to.id().to_owned();
            SentToInstance::Workflow { orchestration, instance, input, then: None }
        }
        Request::Raise { queue, event } => SentToInstance::Event { queue, data: event.data },
        Request::Deliver { data, .. } => {
            let Mail { kind, message, .. } = serde_json::from_str(&data).ok()?;
            SentToInstance::Message { kind, message }
        }
        Request::Cancel { .. } | Request::Ring => SentToInstance::Cancel,
    })
}

impl SentToInstance {
    /// What two runs of the same handler have in common: names of ours are chosen anew.
    pub(crate) fn comparable(&self, to: &ActorId) -> Value {
        match self {
            Self::Workflow { orchestration, instance, input, then } => {
                json!([orchestration, instance, input, then])
            }
            Self::Event { queue, data } => json!([to.to_string(), queue, data]),
            Self::Message { kind, message } => json!([to.to_string(), kind, message]),
            Self::Cancel => json!([to.to_string()]),
        }
    }
}
