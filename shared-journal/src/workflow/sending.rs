//! From actors to orchestrations: what an outbox takes for duroxide.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::events::Event;
use super::orchestrated::{Mail, begins_with, deliver, instance_of};
use super::running::{ASK_WORKFLOW, Asked, ToOrchestration, put_result};
use super::{INSTANCES, RUN, Request};
use crate::codec::{Codec, Payload, to_json};
use crate::id::{ActorId, MessageId};
use crate::outbox::{Draft, Outbox, OutboxError};

/// The address of an instance, as histories show it.
#[must_use]
pub fn instance_address(instance: &str) -> ActorId {
    ActorId::new(INSTANCES, instance)
}

/// How a workflow ended, for the actor that asked it. It is a part of a message of the actor's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowResult {
    /// The instance.
    pub instance: String,
    /// What the orchestration returned.
    pub result: Result<String, String>,
}

impl WorkflowResult {
    /// What stands for the result in a message, until there is one.
    pub(super) fn awaited(instance: &str) -> Self {
        Self { instance: instance.to_owned(), result: Ok("actors:awaited".to_owned()) }
    }
}

impl Outbox {
    /// Starts an orchestration. Its input is taken as it is; nothing comes back.
    ///
    /// As in duroxide, an instance that was started before, by whomever, is not started again.
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent. Names and inputs with a zero byte are refused on every store.
    pub fn start_workflow(
        &self,
        orchestration: &str,
        instance: &str,
        input: &str,
    ) -> Result<(), OutboxError> {
        self.request(|_| {
            let (orchestration, input) = (orchestration.to_owned(), input.to_owned());
            Ok(("start", instance.to_owned(), Request::Start { orchestration, input }))
        })
        .map(drop)
    }

    /// Starts an orchestration. Its result comes back as a message to this actor, once, whether it
    /// succeeds or fails: as what `message` makes of it. `kind` is the stable name of that message's
    /// type.
    ///
    /// `message` is called now, with a placeholder, and has to put it into the message as it is.
    ///
    /// The orchestration is the child of an instance of ours, `ask/<a random id>`, which waits for it. If its own instance
    /// has ended before, the result is a failure; if that runs already, started by somebody else, no result comes until
    /// it has ended: choose a name that is new. A result that makes the message larger than
    /// [`Limits::message_bytes`](crate::Limits::message_bytes) is a failure.
    ///
    /// duroxide does not say when it gives up an orchestration because its store refuses a turn. So the instance looks
    /// after 5 s, 15 s, 35 s and so on, each time after about as long as the orchestration has run, a day at most.
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    pub fn ask_workflow<M: Serialize + DeserializeOwned>(
        &self,
        orchestration: &str,
        instance: &str,
        input: &str,
        kind: &str,
        message: impl FnOnce(WorkflowResult) -> M,
    ) -> Result<(), OutboxError> {
        let texts = [("the orchestration", orchestration), ("the input", input)];
        check(&instance_address(instance), &texts)?;
        let awaited = WorkflowResult::awaited(instance);
        let mut template = self.to_value(self.actor(), &message(awaited.clone()))?;
        // Now rather than in a month.
        if !put_result(&mut template, instance, &awaited).is_ok_and(|count| count == 1) {
            return Err(OutboxError::Result { kind: kind.to_owned() });
        }
        let asked = Asked {
            actor_type: self.actor().actor_type().to_owned(),
            actor_id: self.actor().id().to_owned(),
            kind: kind.to_owned(),
            message: template,
            orchestration: orchestration.to_owned(),
            instance: instance.to_owned(),
            input: input.to_owned(),
            orchestrated: self
                .is_of_orchestration()
                .then(|| to_orchestration(self.actor()))
                .transpose()?,
            looks: true,
            unique: true,
            resumed: None,
        };
        self.request(|_| {
            let parent = format!("{ASK_WORKFLOW}{}", MessageId::random());
            let input = json(&parent, &asked)?;
            Ok(("start", parent, Request::Start { orchestration: RUN.to_owned(), input }))
        })
        .map(drop)
    }

    /// Raises an event in a queue of an instance, which reads it with
    /// [`next_event`](super::next_event).
    ///
    /// The event waits until the instance reads it, also if that was not started yet. If the instance ends, or has
    /// ended, without reading it, it is dropped, with a warning.
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    pub fn raise_event(&self, instance: &str, queue: &str, data: &str) -> Result<(), OutboxError> {
        self.request(|number| {
            let event = Event::new(self.sender(), number, data.to_owned());
            let request = Request::Raise { queue: queue.to_owned(), event };
            Ok(("raise", instance.to_owned(), request))
        })
        .map(drop)
    }

    /// Sends a message of the type with the stable name `kind` to an actor that is an orchestration. It
    /// begins with its first message. Messages from one actor to another are handled in the order of
    /// these calls.
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    pub fn tell_orchestrated(
        &self,
        to: &ActorId,
        kind: &str,
        message: &(impl Serialize + DeserializeOwned),
    ) -> Result<(), OutboxError> {
        let message = self.to_value(to, message)?;
        self.request(|number| {
            let mail = Mail::new(self.id(number), kind, message);
            let request = deliver(to, &mail).map_err(|error| not_encoded(to.clone(), error))?;
            Ok(("deliver", instance_of(to), request))
        })
        .map(drop)
    }

    /// Cancels an instance: a timer that an earlier version has set.
    pub(crate) fn cancel_instance(&self, instance: &str) -> Result<(), OutboxError> {
        self.request(|_| {
            let reason = format!("cancelled by {}", self.actor());
            Ok(("cancel", instance.to_owned(), Request::Cancel { reason }))
        })
        .map(drop)
    }

    fn to_value<T: Serialize + DeserializeOwned>(
        &self,
        to: &ActorId,
        message: &T,
    ) -> Result<Value, OutboxError> {
        if self.is_checked() {
            self.encode(Codec::Json, to, message)?;
        }
        to_json(message).map_err(|source| OutboxError::Encode { to: to.clone(), source })
    }

    /// Sends a request to an instance, and returns its number.
    fn request(
        &self,
        request: impl FnOnce(u64) -> Result<(&'static str, String, Request), OutboxError>,
    ) -> Result<u64, OutboxError> {
        self.push(|number| {
            let (kind, instance, request) = request(number)?;
            let to = instance_address(&instance);
            request.check(&to)?;
            match Payload::encode(Codec::Json, &request) {
                Ok(payload) => Ok(Draft { to, kind: kind.to_owned(), payload }),
                Err(source) => Err(OutboxError::Encode { to, source }),
            }
        })
    }
}

impl Request {
    fn check(&self, to: &ActorId) -> Result<(), OutboxError> {
        match self {
            Self::Start { orchestration, input } => {
                check(to, &[("the orchestration", orchestration), ("the input", input)])
            }
            Self::Raise { queue, .. } | Self::Deliver { queue, .. } => {
                check(to, &[("the queue", queue)])
            }
            Self::Cancel { .. } | Self::Ring => check(to, &[]),
        }
    }
}

fn to_orchestration(actor: &ActorId) -> Result<ToOrchestration, OutboxError> {
    let begins_with = begins_with(actor).map_err(|error| not_encoded(actor.clone(), error))?;
    Ok(ToOrchestration { message_id: MessageId::random(), begins_with })
}

fn json(instance: &str, value: &impl Serialize) -> Result<String, OutboxError> {
    serde_json::to_string(value).map_err(|error| not_encoded(instance_address(instance), error))
}

fn not_encoded(to: ActorId, error: serde_json::Error) -> OutboxError {
    OutboxError::Encode { to, source: error.into() }
}

/// Whether an instance cannot be named so.
pub(super) fn is_reserved_by_duroxide(name: &str) -> bool {
    name.starts_with("sub::") || name.contains("::sub::")
}

/// What duroxide does not take is better refused now: on PostgreSQL a zero byte stops all that is on the store.
fn check(to: &ActorId, texts: &[(&str, &str)]) -> Result<(), OutboxError> {
    let zero = texts.iter().find(|(_, text)| text.contains('\0'));
    let reason = if let Some(reason) = to.invalid() {
        reason
    } else if is_reserved_by_duroxide(to.id()) {
        "duroxide reserves names with sub:: for its own".into()
    } else if let Some((what, _)) = zero {
        format!("{what} contains a zero byte, which PostgreSQL does not store")
    } else {
        return Ok(());
    };
    Err(OutboxError::Address { to: to.clone(), reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_the_result_is_refused() {
        let outbox = Outbox::new(ActorId::new("customer", "7"), Codec::Json, 1000, true, 0);
        let ask = |make: fn(WorkflowResult) -> Value| {
            outbox.ask_workflow("renew", "renew/7", "", "renewed", make)
        };
        let is_ok = |how: WorkflowResult| Value::Bool(how.result.is_ok());
        assert!(matches!(ask(is_ok), Err(OutboxError::Result { .. })));
        assert!(outbox.is_empty());
        ask(|how| serde_json::to_value(how).unwrap()).unwrap();
        assert_eq!(outbox.len(), 1);
    }

    #[test]
    fn what_is_reserved_or_too_large_is_refused() {
        let outbox = Outbox::new(ActorId::new("customer", "7"), Codec::Json, 100, true, 0);
        let reserved = outbox.start_workflow("renew", "a::sub::b", "");
        assert!(matches!(reserved, Err(OutboxError::Address { .. })));
        let zeros = [
            outbox.start_workflow("re\0new", "a", ""),
            outbox.start_workflow("renew", "a", "\0"),
            outbox.ask_workflow("renew", "a", "\0", "renewed", |how| how),
            outbox.ask_workflow("renew", "", "", "renewed", |how| how),
            outbox.raise_event("renew/7", "ev\0ents", ""),
        ];
        for refused in zeros {
            assert!(matches!(refused, Err(OutboxError::Address { .. })), "{refused:?}");
        }
        let large = outbox.raise_event("renew/7", "events", &"x".repeat(100));
        assert!(matches!(large, Err(OutboxError::TooLarge { limit: 100, .. })));
        assert!(outbox.is_empty());
        let alone = Outbox::new(ActorId::new("customer", "7"), Codec::Json, 100, false, 0);
        let told = alone.tell(&ActorId::new("customer", "8"), "hello", &1);
        assert!(matches!(told, Err(OutboxError::NoRelay { .. })));
    }
}
