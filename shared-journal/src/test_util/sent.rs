//! What an actor sends, for tests to look at.

use std::time::SystemTime;

use serde_json::Value;

use crate::codec::{Payload, json};
use crate::durable::DurableMessage;
use crate::event::ActorEvent;
use crate::id::ActorId;
use crate::workflow::{SentToInstance, sent_to_instance};

/// Something that an actor has sent: a message to an actor, or a request to an orchestration.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Sent {
    /// The receiver. For orchestrations, see
    /// [`instance_address`](crate::workflow::instance_address).
    pub to: ActorId,
    /// The stable name of the message's type.
    pub kind: String,
    /// The message.
    pub payload: Payload<'static>,
}

impl Sent {
    pub(super) fn of(event: ActorEvent<'static>) -> Option<Self> {
        match event {
            ActorEvent::MessageSent { to, kind, payload, .. } => {
                Some(Self { to, kind: kind.into_owned(), payload })
            }
            _ => None,
        }
    }

    /// The message to an actor, if it is one of type `M`.
    #[must_use]
    pub fn message<M: DurableMessage>(&self) -> Option<M> {
        let is_message = self.instance().is_none() && self.kind == M::NAME;
        is_message.then(|| self.payload.decode().ok()).flatten()
    }

    /// The message that the actor gets from its timer, and when, if this sets one with a message of
    /// type `M`. A periodic one is first due after one period.
    #[must_use]
    pub fn timer<M: DurableMessage>(&self) -> Option<(SystemTime, M)> {
        match self.instance()? {
            SentToInstance::Timer { due, kind, message, .. } if kind == M::NAME => {
                Some((due, serde_json::from_value(message).ok()?))
            }
            _ => None,
        }
    }

    /// The orchestration, the instance and the input, if this starts a workflow, whether or not the
    /// actor asked for its result.
    #[must_use]
    pub fn workflow(&self) -> Option<(String, String, String)> {
        match self.instance()? {
            SentToInstance::Workflow { orchestration, instance, input } => {
                Some((orchestration, instance, input))
            }
            _ => None,
        }
    }

    /// The instance, its queue and the data, if this raises an event.
    #[must_use]
    pub fn event(&self) -> Option<(String, String, String)> {
        match self.instance()? {
            SentToInstance::Event { queue, data } => Some((self.to.id().to_owned(), queue, data)),
            _ => None,
        }
    }

    /// The instance whose cancellation this asks for, if it does: that of a
    /// [`TimerId`](crate::workflow::TimerId), for example.
    #[must_use]
    pub fn cancelled(&self) -> Option<String> {
        matches!(self.instance()?, SentToInstance::Cancel).then(|| self.to.id().to_owned())
    }

    fn instance(&self) -> Option<SentToInstance> {
        sent_to_instance(&self.to, &self.payload)
    }

    /// The message, if it is one to an actor.
    pub(super) fn to_actor(&self) -> Option<&Payload<'static>> {
        self.instance().is_none().then_some(&self.payload)
    }

    /// What two runs of the same handler have in common: a timer is counted from the clock.
    pub(super) fn comparable(&self) -> Value {
        let message = match self.instance() {
            Some(SentToInstance::Timer { period_ms, kind, message, .. }) => {
                Value::Array(vec![period_ms.into(), kind.into(), message])
            }
            _ => json(&self.payload),
        };
        Value::Array(vec![self.to.to_string().into(), self.kind.as_str().into(), message])
    }
}
