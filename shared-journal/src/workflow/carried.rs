//! What an actor that is an orchestration takes from one execution into the next.

use std::collections::VecDeque;

use duroxide::{Event, EventKind};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::answering::Outcome;
use super::message::Message;
use super::orchestrated::{Handled, Handling, Mail, orchestrated};
use super::successor::CameTo;
use crate::id::{ActorId, MessageId};

/// Outcomes that an actor remembers.
const WINDOW: usize = 100;
/// As many attempts as the journal makes by default.
pub(super) const ATTEMPTS: u32 = 3;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Carried {
    actor_type: String,
    actor_id: String,
    state: Option<Value>,
    sent: u64,
    window: VecDeque<Recorded>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    life: Option<MessageId>,
    /// What its last handler sent, if that may not be posted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) unsent: Vec<Message>,
    /// How often in a row duroxide gave it up without an outcome.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) given_up: u32,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Recorded {
    pub(super) id: String,
    pub(super) outcome: Outcome,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Carried {
    pub(super) fn new(actor: &ActorId) -> Self {
        Self {
            actor_type: actor.actor_type().to_owned(),
            actor_id: actor.id().to_owned(),
            state: None,
            sent: 0,
            window: VecDeque::new(),
            life: Some(MessageId::random()),
            unsent: Vec::new(),
            given_up: 0,
        }
    }

    pub(super) fn actor_type(&self) -> &str {
        &self.actor_type
    }

    /// What the handler of a message gets.
    pub(super) fn handling(&self, mail: &Mail, attempts: u32) -> Handling {
        Handling {
            actor_id: self.actor_id.clone(),
            message_id: mail.id.clone(),
            kind: mail.kind.clone(),
            message: mail.message.clone(),
            state: self.state.clone(),
            attempts,
            sent: self.sent,
            life: self.life,
        }
    }

    pub(super) fn apply(&mut self, handled: Handled) -> Outcome {
        self.state = Some(handled.state);
        self.sent = handled.sent;
        Outcome::Processed(handled.reply)
    }

    pub(super) fn recorded(&self, id: &str) -> Option<&Recorded> {
        self.window.iter().find(|recorded| recorded.id == id)
    }

    pub(super) fn record(&mut self, id: String, outcome: Outcome) -> Recorded {
        let recorded = Recorded { id, outcome };
        self.given_up = 0;
        self.window.push_back(recorded.clone());
        if self.window.len() > WINDOW {
            self.window.pop_front();
        }
        recorded
    }

    /// What an actor had come to when its instance was given up.
    pub(super) fn fold(
        input: &str,
        history: &[Event],
        begun_ms: u64,
    ) -> Result<CameTo, serde_json::Error> {
        let carried = serde_json::from_str::<Self>(input)?.folded(history, begun_ms)?;
        Ok(CameTo { input: serde_json::to_string(&carried)?, given_up: carried.given_up })
    }

    fn folded(mut self, history: &[Event], begun_ms: u64) -> Result<Self, serde_json::Error> {
        let handler = orchestrated(&self.actor_type);
        let mut current: Option<(u64, Handling)> = None;
        self.given_up = self.given_up.saturating_add(1);
        for event in history {
            if let EventKind::ActivityScheduled { name, input, .. } = &event.kind
                && *name == handler
            {
                // What the one before it sent is posted.
                self.unsent.clear();
                current = Some((event.event_id, serde_json::from_str(input)?));
            }
            let of_it =
                |(scheduled, _): &mut (u64, Handling)| event.source_event_id == Some(*scheduled);
            match &event.kind {
                EventKind::ActivityCompleted { result } => {
                    let Some((_, handling)) = current.take_if(of_it) else { continue };
                    let mut handled: Handled = serde_json::from_str(result)?;
                    let sent = std::mem::take(&mut handled.messages);
                    self.unsent = sent.into_iter().map(|it| it.travelling(begun_ms)).collect();
                    let outcome = self.apply(handled);
                    self.record(handling.message_id, outcome);
                }
                EventKind::ActivityFailed { details } => {
                    let Some((_, handling)) = current.take_if(of_it) else { continue };
                    let (attempts, error) = (handling.attempts + 1, details.display_message());
                    if attempts == ATTEMPTS {
                        self.record(handling.message_id, Outcome::Failed { attempts, error });
                    }
                }
                _ => {}
            }
        }
        Ok(self)
    }
}
