//! The types of an application, for reading what is stored without starting an actor.

use std::fmt;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::codec::{CodecError, Payload};
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

/// Whether a payload decodes.
type Decodes = Arc<dyn Fn(&Payload<'_>) -> Result<(), CodecError> + Send + Sync>;

/// What is known of one actor type.
#[derive(Clone, Default)]
struct ActorTypes {
    state: Option<Decodes>,
    messages: FxHashMap<&'static str, Decodes>,
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
        actor.state = Some(Arc::new(|payload| payload.decode::<A::State>().map(drop)));
        self
    }

    /// A message of an actor type. If one message of a type is added, all have to be: a stored one of
    /// another name is a problem.
    #[must_use]
    pub fn message<A: DurableState, M: DurableMessage>(self) -> Self {
        self.decodes::<A>(M::NAME, |payload| payload.decode::<M>().map(drop))
    }

    /// As [`message`](Self::message), for the lists of adapters.
    #[must_use]
    pub fn decodes<A: DurableState>(
        mut self,
        name: &'static str,
        decodes: impl Fn(&Payload<'_>) -> Result<(), CodecError> + Send + Sync + 'static,
    ) -> Self {
        let actor = self.actors.entry(A::ACTOR_TYPE).or_default();
        actor.messages.insert(name, Arc::new(decodes));
        self
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
            let decoded = decodes.map_or_else(|| state.check(), |decodes| decodes(state));
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
            Some(Some(decodes)) => decodes(payload),
            Some(None) => {
                return Some(JournalError::UnknownMessage { place, kind: kind.to_owned() });
            }
        };
        let what = format!("message of type {kind}");
        decoded.err().map(|source| JournalError::Decode { place, what, source })
    }
}
