//! What an actor sends, for tests to look at.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::codec::{Codec, Payload, json};
use crate::durable::DurableMessage;
use crate::event::ActorEvent;
use crate::id::ActorId;
use crate::timer::{Every, TimerId};
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
    /// If it is a timer's: which, when it is due, and how often.
    timer: Option<(TimerId, SystemTime, Option<Every>)>,
    /// The timer that is cancelled.
    cancelled: Option<TimerId>,
}

impl Sent {
    pub(super) fn of(actor: &ActorId, event: ActorEvent<'static>) -> Option<Self> {
        let sent = |to: ActorId, kind: String, payload| Self {
            to,
            kind,
            payload,
            timer: None,
            cancelled: None,
        };
        match event {
            ActorEvent::MessageSent { to, kind, payload, .. } => {
                Some(sent(to, kind.into_owned(), payload))
            }
            ActorEvent::TimerSet { number, due_ms, every, kind, payload } => {
                let due = UNIX_EPOCH + Duration::from_millis(due_ms);
                let timer = Some((TimerId::new(actor, number), due, every));
                Some(Self { timer, ..sent(actor.clone(), kind.into_owned(), payload) })
            }
            ActorEvent::TimerCancelled { number } => {
                let cancelled = Some(TimerId::new(actor, number));
                let nothing = Payload::new(Codec::Json, b"null".to_vec());
                Some(Self { cancelled, ..sent(actor.clone(), "cancel".to_owned(), nothing) })
            }
            _ => None,
        }
    }

    /// The message to an actor, if it is one of type `M`.
    #[must_use]
    pub fn message<M: DurableMessage>(&self) -> Option<M> {
        let is_message = self.to_actor().is_some() && self.kind == M::NAME;
        is_message.then(|| self.payload.decode().ok()).flatten()
    }

    /// The message that the actor gets from its timer, and when, if this sets one with a message of
    /// type `M`. A periodic one is first due after one period.
    #[must_use]
    pub fn timer<M: DurableMessage>(&self) -> Option<(SystemTime, M)> {
        let (_, due, _) = self.timer.as_ref().filter(|_| self.kind == M::NAME)?;
        Some((*due, self.payload.decode().ok()?))
    }

    /// The timer that this sets, if it does.
    #[must_use]
    pub fn timer_id(&self) -> Option<&TimerId> {
        self.timer.as_ref().map(|(id, ..)| id)
    }

    /// The orchestration, the instance and the input, if this starts a workflow, whether or not the
    /// actor asked for its result.
    #[must_use]
    pub fn workflow(&self) -> Option<(String, String, String)> {
        match self.instance()? {
            SentToInstance::Workflow { orchestration, instance, input, .. } => {
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

    /// The timer that this cancels, if it does.
    #[must_use]
    pub fn cancelled(&self) -> Option<&TimerId> {
        self.cancelled.as_ref()
    }

    fn instance(&self) -> Option<SentToInstance> {
        sent_to_instance(&self.to, &self.payload)
    }

    /// The message, if it is one to an actor.
    pub(super) fn to_actor(&self) -> Option<&Payload<'static>> {
        let is_message = self.timer.is_none() && self.cancelled.is_none();
        (is_message && self.instance().is_none()).then_some(&self.payload)
    }

    /// What two runs of the same handler have in common: a timer is counted from the clock.
    pub(super) fn comparable(&self) -> Value {
        if let Some(instance) = self.instance() {
            return instance.comparable(&self.to);
        }
        let timer = match &self.timer {
            Some((_, _, every)) => vec![every.map_or(Value::Null, |every| every.period_ms.into())],
            None => Vec::new(),
        };
        let cancelled =
            self.cancelled.as_ref().map_or(Value::Null, |timer| timer.to_string().into());
        Value::Array(vec![
            self.to.to_string().into(),
            self.kind.as_str().into(),
            json(&self.payload),
            timer.into(),
            cancelled,
        ])
    }
}
