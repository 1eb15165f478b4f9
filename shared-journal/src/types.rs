//! The types of an application, for reading what is stored without starting an actor.

use std::fmt;

use rustc_hash::FxHashMap;

#[cfg(feature = "test-util")]
use crate::codec::Again;
use crate::codec::{CodecError, Payload, StoredType};
use crate::durable::{DurableMessage, DurableState};
use crate::error::{JournalError, Place};
use crate::id::{ActorId, Sequence};
use crate::record::ActorRecord;

/// The types of an application's states and messages, for
/// [`verify_with`](crate::EventJournal::verify_with).
///
/// The adapters add an actor and its messages in one call: `ActorTypes` of duroxide-actix and
/// duroxide-tower. By hand:
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// use shared_journal::{DurableMessage, DurableState, Types};
///
/// #[derive(DurableState)]
/// #[durable(actor_type = "account")]
/// struct Account { cents: i64 }
///
/// #[derive(Serialize, Deserialize, DurableMessage)]
/// #[durable(name = "account.deposit")]
/// struct Deposit { cents: i64 }
///
/// let types = Types::new().state::<Account>().message::<Account, Deposit>();
/// ```
#[derive(Clone, Default)]
pub struct Types {
    actors: FxHashMap<&'static str, ActorTypes>,
}

/// What is known of one actor type.
#[derive(Clone, Default)]
struct ActorTypes {
    state: Option<StoredType>,
    messages: FxHashMap<&'static str, StoredType>,
    replies: FxHashMap<&'static str, StoredType>,
}

impl fmt::Debug for Types {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actors = self.actors.iter().map(|(name, types)| (name, types.messages.keys()));
        f.debug_map().entries(actors).finish()
    }
}

impl Types {
    /// No types.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The state of an actor type.
    #[must_use]
    pub fn state<A: DurableState>(mut self) -> Self {
        let actor = self.actors.entry(A::ACTOR_TYPE).or_default();
        actor.state = Some(StoredType::of::<A::State>());
        self
    }

    /// A message of an actor type. If one message of a type is added, all have to be: a stored one of
    /// another name is a problem.
    #[must_use]
    pub fn message<A: DurableState, M: DurableMessage>(self) -> Self {
        self.stored_message::<A>(M::NAME, StoredType::of::<M>())
    }

    /// As [`message`](Self::message), for the lists of adapters.
    #[must_use]
    pub fn stored_message<A: DurableState>(
        mut self,
        name: &'static str,
        message: StoredType,
    ) -> Self {
        let actor = self.actors.entry(A::ACTOR_TYPE).or_default();
        actor.messages.insert(name, message);
        self
    }

    /// The reply to a message with this name, for the lists of adapters: the kit for tests compares
    /// replies.
    #[must_use]
    pub fn stored_reply<A: DurableState>(mut self, name: &'static str, reply: StoredType) -> Self {
        let actor = self.actors.entry(A::ACTOR_TYPE).or_default();
        actor.replies.insert(name, reply);
        self
    }

    /// What the type of a state makes of it.
    #[cfg(feature = "test-util")]
    pub(crate) fn state_again(&self, actor_type: &str) -> Option<Again> {
        Some(self.actors.get(actor_type)?.state?.again)
    }

    /// What the type of a message makes of it.
    #[cfg(feature = "test-util")]
    pub(crate) fn message_again(&self, actor_type: &str, kind: &str) -> Option<Again> {
        Some(self.actors.get(actor_type)?.messages.get(kind)?.again)
    }

    /// What the type of a message's reply makes of it.
    #[cfg(feature = "test-util")]
    pub(crate) fn reply_again(&self, actor_type: &str, kind: &str) -> Option<Again> {
        Some(self.actors.get(actor_type)?.replies.get(kind)?.again)
    }

    /// Everything in an actor's record that does not decode, but for its dead letters.
    pub(crate) fn problems(
        &self,
        actor: &ActorId,
        place: &Place,
        record: &ActorRecord,
    ) -> Vec<JournalError> {
        let mut problems = Vec::new();
        let mut wrong = |place: Place, what: String, decoded: Result<(), CodecError>| {
            if let Err(source) = decoded {
                problems.push(JournalError::Decode { place, what, source });
            }
        };
        if let Some(state) = &record.state {
            let types = self.actors.get(actor.actor_type());
            let decodes = types.and_then(|types| types.state.as_ref());
            let decoded = decodes.map_or_else(|| state.check(), |it| (it.decodes)(state));
            wrong(place.clone(), "state".to_owned(), decoded);
        }
        for step in &record.steps {
            let place = place.clone().message(step.sequence);
            wrong(place, format!("result of step {}", step.name), step.result.check());
        }
        for sent in &record.outbox {
            let what = format!("message {} to {} of type {}", sent.number, sent.to, sent.kind);
            wrong(place.clone(), what, sent.payload.check());
        }
        let timers = record.timers.iter();
        problems.extend(timers.filter_map(|(_, timer)| {
            // It has no place in the receipt order yet.
            self.message_problem(actor, place, Sequence(0), &timer.kind, &timer.payload)
        }));
        let pending = record.pending.iter();
        problems.extend(pending.filter_map(|message| {
            self.message_problem(actor, place, message.sequence, &message.kind, &message.payload)
        }));
        problems
    }

    /// What is wrong with a message or a dead letter of an actor.
    pub(crate) fn message_problem(
        &self,
        actor: &ActorId,
        place: &Place,
        sequence: Sequence,
        kind: &str,
        payload: &Payload<'_>,
    ) -> Option<JournalError> {
        let place = place.clone().message(sequence);
        let types = self.actors.get(actor.actor_type());
        let messages = types.map(|types| &types.messages).filter(|all| !all.is_empty());
        let decoded = match messages.map(|messages| messages.get(kind)) {
            None => payload.check(),
            Some(Some(it)) => (it.decodes)(payload),
            Some(None) => {
                return Some(JournalError::UnknownMessage { place, kind: kind.to_owned() });
            }
        };
        let what = format!("message of type {kind}");
        decoded.err().map(|source| JournalError::Decode { place, what, source })
    }
}
