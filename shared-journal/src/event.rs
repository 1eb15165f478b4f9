//! The facts of which an actor's history is made.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::codec::Payload;
use crate::id::{ActorId, MessageId, MessageKey, Sequence};
use crate::record::DeadLetter;
use crate::timer::Every;

/// One fact of one actor.
///
/// Variants are stored by their order: new ones go to the end, none is ever removed or moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ActorEvent<'a> {
    /// The actor exists from here on. The first event of every actor, once; and of one that is made
    /// anew after it was deleted.
    Spawned {
        /// Its name.
        actor: ActorId,
    },
    /// A message was accepted: it will be handled, whatever dies.
    MessageReceived {
        /// Its place in the actor's receipt order.
        sequence: Sequence,
        /// Its id, if it has one.
        key: MessageKey,
        /// The stable name of the message's type.
        #[serde(borrow)]
        kind: Cow<'a, str>,
        /// The message.
        #[serde(borrow)]
        payload: Payload<'a>,
        /// The dead letter that is sent again by this message, if it is one.
        resend_of: Option<Sequence>,
    },
    /// The oldest message that was received and not processed is processed.
    MessageProcessed {
        /// Which message.
        sequence: Sequence,
        /// What its sender gets.
        #[serde(borrow)]
        reply: Payload<'a>,
    },
    /// The oldest message that was received and not processed is given up: a dead letter.
    MessageFailed {
        /// Which message.
        sequence: Sequence,
        /// How often it was tried.
        attempts: u32,
        /// What the last attempt died of.
        #[serde(borrow)]
        error: Cow<'a, str>,
    },
    /// The actor's state, as it is after everything before this event.
    StateChanged {
        /// The whole state.
        #[serde(borrow)]
        state: Payload<'a>,
    },
    /// The actor put a message for another actor in its outbox.
    MessageSent {
        /// Its place in the outbox, counted from 1.
        number: u64,
        /// The receiver.
        to: ActorId,
        /// The id under which the receiver knows it.
        id: MessageId,
        /// The stable name of the message's type.
        #[serde(borrow)]
        kind: Cow<'a, str>,
        /// The message.
        #[serde(borrow)]
        payload: Payload<'a>,
    },
    /// A message of the outbox has reached its receiver's journal.
    MessageDelivered {
        /// Which one.
        number: u64,
    },
    /// The actor stopped of its own will. Its state stays, and it can be started again.
    ActorStopped,
    /// A dead letter was thrown away by an operator.
    DeadLetterDiscarded {
        /// Which message.
        sequence: Sequence,
    },
    /// A side effect of a message that is not processed has happened.
    StepRecorded {
        /// Which message.
        sequence: Sequence,
        /// The name of the step, and how often it was used: `charge#1`.
        #[serde(borrow)]
        step: Cow<'a, str>,
        /// What it returned.
        #[serde(borrow)]
        result: Payload<'a>,
    },
    /// What the message just received is about: another message under its id is told from the
    /// same one that comes again.
    Fingerprinted {
        /// Which message.
        sequence: Sequence,
        /// See [`fingerprint`](crate::mailbox::fingerprint).
        fingerprint: u64,
    },
    /// Messages that an earlier process received are about to be handled together. If this process
    /// dies, one of them may be why.
    RunBegan {
        /// The last of them.
        through: Sequence,
    },
    /// A received message is about to be handled alone, or is handled and takes its time. If this
    /// process dies, that was an attempt.
    AttemptsCounted {
        /// Which message.
        sequence: Sequence,
        /// How many attempts it has had, this one included. Less than before if the attempt ended
        /// without a failure and without an outcome.
        attempts: u32,
    },
    /// Somebody mended something by hand ([`Repair`](crate::Repair)).
    Repaired {
        /// Who.
        #[serde(borrow)]
        by: Cow<'a, str>,
        /// Why.
        #[serde(borrow)]
        why: Cow<'a, str>,
        /// What was done.
        #[serde(borrow)]
        action: RepairAction<'a>,
    },
    /// The actor set a timer: when it is due it sends a message to itself.
    TimerSet {
        /// Its place in the outbox, counted from 1.
        number: u64,
        /// When it is due, in milliseconds since 1970.
        due_ms: u64,
        /// How often, if it is periodic.
        every: Option<Every>,
        /// The stable name of the message's type.
        #[serde(borrow)]
        kind: Cow<'a, str>,
        /// The message.
        #[serde(borrow)]
        payload: Payload<'a>,
    },
    /// The actor cancelled a timer of its own.
    TimerCancelled {
        /// Which one.
        number: u64,
    },
}

/// What was mended by hand. What does not apply any more when it becomes durable changes nothing.
///
/// Variants are stored by their order: new ones go to the end, none is ever removed or moved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RepairAction<'a> {
    /// The actor has another state.
    StateReplaced {
        /// The whole state.
        #[serde(borrow)]
        state: Payload<'a>,
    },
    /// A message that was received and not processed is a dead letter.
    GivenUp {
        /// Which message.
        sequence: Sequence,
    },
    /// A dead letter has another content.
    DeadLetterEdited {
        /// The letter as it is now: the record that this event meets has not got it.
        letter: Box<DeadLetter>,
    },
    /// A dead letter is to be sent again. The `MessageReceived` that does so follows, unless the actor
    /// or the process was in the way.
    DeadLetterResent {
        /// Which message.
        sequence: Sequence,
    },
    /// A dead letter is thrown away, by the `DeadLetterDiscarded` that follows.
    DeadLetterDiscarded {
        /// Which message.
        sequence: Sequence,
    },
    /// The actor cannot be started.
    Held,
    /// The actor can be started again.
    Released,
    /// Everything that the journal knew of the actor is gone, but for its name and its counters.
    Deleted,
    /// Dead letters are to be sent again. Each `MessageReceived` that does so follows, unless the actor,
    /// the process or somebody else was in the way.
    DeadLettersResent {
        /// The first of them.
        first: Sequence,
        /// The last of them.
        last: Sequence,
        /// How many there were from the first to the last.
        count: u64,
    },
    /// Dead letters are to be thrown away. Each `DeadLetterDiscarded` that does so follows, unless the
    /// process or somebody else was in the way.
    DeadLettersDiscarded {
        /// The first of them.
        first: Sequence,
        /// The last of them.
        last: Sequence,
        /// How many there were from the first to the last.
        count: u64,
    },
    /// A timer is cancelled.
    TimerCancelled {
        /// Which one.
        number: u64,
    },
}

impl RepairAction<'_> {
    /// The name of the variant, for messages to people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::StateReplaced { .. } => "StateReplaced",
            Self::GivenUp { .. } => "GivenUp",
            Self::DeadLetterEdited { .. } => "DeadLetterEdited",
            Self::DeadLetterResent { .. } => "DeadLetterResent",
            Self::DeadLetterDiscarded { .. } => "DeadLetterDiscarded",
            Self::Held => "Held",
            Self::Released => "Released",
            Self::Deleted => "Deleted",
            Self::DeadLettersResent { .. } => "DeadLettersResent",
            Self::DeadLettersDiscarded { .. } => "DeadLettersDiscarded",
            Self::TimerCancelled { .. } => "TimerCancelled",
        }
    }

    fn into_owned(self) -> RepairAction<'static> {
        match self {
            Self::StateReplaced { state } => {
                RepairAction::StateReplaced { state: state.into_owned() }
            }
            Self::GivenUp { sequence } => RepairAction::GivenUp { sequence },
            Self::DeadLetterEdited { letter } => RepairAction::DeadLetterEdited { letter },
            Self::DeadLetterResent { sequence } => RepairAction::DeadLetterResent { sequence },
            Self::DeadLetterDiscarded { sequence } => {
                RepairAction::DeadLetterDiscarded { sequence }
            }
            Self::Held => RepairAction::Held,
            Self::Released => RepairAction::Released,
            Self::Deleted => RepairAction::Deleted,
            Self::DeadLettersResent { first, last, count } => {
                RepairAction::DeadLettersResent { first, last, count }
            }
            Self::DeadLettersDiscarded { first, last, count } => {
                RepairAction::DeadLettersDiscarded { first, last, count }
            }
            Self::TimerCancelled { number } => RepairAction::TimerCancelled { number },
        }
    }
}

impl ActorEvent<'_> {
    /// The name of the variant, for messages to people.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Spawned { .. } => "Spawned",
            Self::MessageReceived { .. } => "MessageReceived",
            Self::MessageProcessed { .. } => "MessageProcessed",
            Self::MessageFailed { .. } => "MessageFailed",
            Self::StateChanged { .. } => "StateChanged",
            Self::MessageSent { .. } => "MessageSent",
            Self::MessageDelivered { .. } => "MessageDelivered",
            Self::ActorStopped => "ActorStopped",
            Self::DeadLetterDiscarded { .. } => "DeadLetterDiscarded",
            Self::StepRecorded { .. } => "StepRecorded",
            Self::Fingerprinted { .. } => "Fingerprinted",
            Self::RunBegan { .. } => "RunBegan",
            Self::AttemptsCounted { .. } => "AttemptsCounted",
            Self::Repaired { .. } => "Repaired",
            Self::TimerSet { .. } => "TimerSet",
            Self::TimerCancelled { .. } => "TimerCancelled",
        }
    }

    /// The same event, owning its bytes.
    #[must_use]
    pub fn into_owned(self) -> ActorEvent<'static> {
        match self {
            Self::Spawned { actor } => ActorEvent::Spawned { actor },
            Self::MessageReceived { sequence, key, kind, payload, resend_of } => {
                ActorEvent::MessageReceived {
                    sequence,
                    key,
                    kind: Cow::Owned(kind.into_owned()),
                    payload: payload.into_owned(),
                    resend_of,
                }
            }
            Self::MessageProcessed { sequence, reply } => {
                ActorEvent::MessageProcessed { sequence, reply: reply.into_owned() }
            }
            Self::MessageFailed { sequence, attempts, error } => ActorEvent::MessageFailed {
                sequence,
                attempts,
                error: Cow::Owned(error.into_owned()),
            },
            Self::StateChanged { state } => ActorEvent::StateChanged { state: state.into_owned() },
            Self::MessageSent { number, to, id, kind, payload } => ActorEvent::MessageSent {
                number,
                to,
                id,
                kind: Cow::Owned(kind.into_owned()),
                payload: payload.into_owned(),
            },
            Self::MessageDelivered { number } => ActorEvent::MessageDelivered { number },
            Self::ActorStopped => ActorEvent::ActorStopped,
            Self::DeadLetterDiscarded { sequence } => ActorEvent::DeadLetterDiscarded { sequence },
            Self::StepRecorded { sequence, step, result } => ActorEvent::StepRecorded {
                sequence,
                step: Cow::Owned(step.into_owned()),
                result: result.into_owned(),
            },
            Self::Fingerprinted { sequence, fingerprint } => {
                ActorEvent::Fingerprinted { sequence, fingerprint }
            }
            Self::RunBegan { through } => ActorEvent::RunBegan { through },
            Self::AttemptsCounted { sequence, attempts } => {
                ActorEvent::AttemptsCounted { sequence, attempts }
            }
            Self::Repaired { by, why, action } => ActorEvent::Repaired {
                by: Cow::Owned(by.into_owned()),
                why: Cow::Owned(why.into_owned()),
                action: action.into_owned(),
            },
            Self::TimerSet { number, due_ms, every, kind, payload } => ActorEvent::TimerSet {
                number,
                due_ms,
                every,
                kind: Cow::Owned(kind.into_owned()),
                payload: payload.into_owned(),
            },
            Self::TimerCancelled { number } => ActorEvent::TimerCancelled { number },
        }
    }
}
