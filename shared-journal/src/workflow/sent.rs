//! What was sent to an instance, for tests to look at.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::sending::{Asked, INSTANCES};
use super::timer::{Setting, TIMER};
use super::{RUN, Request};
use crate::codec::Payload;
use crate::id::ActorId;

/// A request to duroxide, taken apart.
pub(crate) enum SentToInstance {
    /// Periodic ones have a period.
    Timer {
        due: SystemTime,
        period_ms: Option<u64>,
        kind: String,
        message: Value,
    },
    Workflow {
        orchestration: String,
        instance: String,
        input: String,
    },
    Event {
        queue: String,
        data: String,
    },
    Cancel,
    /// A message to an actor that is an orchestration.
    Other,
}

/// What a message asks of an instance, if it is for one.
pub(crate) fn sent_to_instance(to: &ActorId, payload: &Payload<'_>) -> Option<SentToInstance> {
    if to.actor_type() != INSTANCES {
        return None;
    }
    Some(match payload.decode().ok()? {
        Request::Start { orchestration, input } if orchestration == TIMER => {
            let Setting { kind, message, due_ms, every, .. } = serde_json::from_str(&input).ok()?;
            let due = UNIX_EPOCH + Duration::from_millis(due_ms);
            let period_ms = every.map(|every| every.period_ms);
            SentToInstance::Timer { due, period_ms, kind, message }
        }
        Request::Start { orchestration, input } if orchestration == RUN => {
            let Asked { orchestration, instance, input, .. } = serde_json::from_str(&input).ok()?;
            SentToInstance::Workflow { orchestration, instance, input }
        }
        Request::Start { orchestration, input } => {
            SentToInstance::Workflow { orchestration, instance: to.id().to_owned(), input }
        }
        Request::Raise { queue, event } => SentToInstance::Event { queue, data: event.data },
        Request::Cancel { .. } => SentToInstance::Cancel,
        Request::Deliver { .. } => SentToInstance::Other,
    })
}
