//! Recovery: folding an actor's events into its record.
//!
//! Pure: no clock, no I/O. One function decides which event may follow which; it runs over every
//! commit, when a journal is opened, behind the running journal to prepare its checkpoints, and in
//! `verify`. A history it refuses is never continued.

use std::collections::VecDeque;

use crate::error::IllegalEvent;
use crate::event::{ActorEvent, RepairAction};
use crate::id::{MessageKey, Sequence};
use crate::lines::Numbered;
use crate::record::{
    ActorRecord, DeadLetter, Held, ON_A_LINE, Outcome, OutgoingMessage, PendingMessage,
    RecordedOutcome, RecordedStep, Stamp, Transient,
};
use crate::sabotage::sabotaged;
use crate::timers::Timer;

/// How long recorded outcomes are kept: the dedup window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    /// Of ids that callers chose.
    pub(crate) count: usize,
    /// Of ids that an adapter made: older ones are forgotten.
    pub(crate) generated: usize,
    pub(crate) age_ms: u64,
    pub(crate) bytes: usize,
}

impl Window {
    fn of_generated(self) -> Self {
        Self { count: self.generated, ..self }
    }
}

impl ActorRecord {
    /// Continues the history by one event of the commit with this stamp.
    ///
    /// # Errors
    /// The event cannot follow what came before; the record is unchanged.
    pub(crate) fn apply(
        &mut self,
        event: ActorEvent<'_>,
        stamp: Stamp,
        window: Window,
    ) -> Result<(), IllegalEvent> {
        match (self.spawned, event) {
            (false, ActorEvent::Spawned { .. }) => (self.spawned, self.deleted) = (true, false),

            (true, ActorEvent::MessageReceived { sequence, key, kind, payload, resend_of })
                if sequence.0.checked_sub(1) == Some(self.received.0) && self.is_next(key) =>
            {
                match key {
                    MessageKey::Line { line, number } => self.lines.receive(line, number),
                    MessageKey::Timer { number, next_ms, .. } if !sabotaged("sabotage-timer") => {
                        self.timers.fire(number, next_ms);
                    }
                    _ => {}
                }
                // Another operator may have discarded it in the same moment.
                resend_of.into_iter().for_each(|letter| self.dead.remove(letter));
                self.received = sequence;
                self.stopped = false;
                self.pending.push_back(PendingMessage {
                    sequence,
                    key,
                    kind: kind.into_owned(),
                    payload: payload.into_owned(),
                    attempts: None,
                    fingerprint: None,
                    received_at: stamp.position,
                    received_ms: stamp.clock_ms,
                });
            }

            (true, ActorEvent::MessageProcessed { sequence, reply })
                if self.oldest_pending() == Some(sequence) =>
            {
                if let Some(message) = self.pending.pop_front() {
                    self.forget_steps(sequence);
                    let outcome = || Outcome::Processed(reply.into_owned());
                    self.record(&message, outcome, stamp, window);
                }
                if self.pending.is_empty() {
                    // There may be a million records in memory: no room is kept.
                    self.pending = VecDeque::new();
                }
            }

            (true, ActorEvent::MessageFailed { sequence, attempts, error })
                if self.oldest_pending() == Some(sequence) =>
            {
                if let Some(message) = self.pending.pop_front() {
                    self.bury(message, attempts, error.into_owned(), stamp, window);
                }
            }

            (true, ActorEvent::StateChanged { state }) => self.state = Some(state.into_owned()),

            (true, ActorEvent::MessageSent { number, to, id, kind, payload })
                // There may be gaps: one was left, once, for what a panic took back.
                if number > self.sent =>
            {
                self.sent = number;
                if id == ON_A_LINE {
                    self.lines.send(&to);
                }
                self.outbox.push_back(OutgoingMessage {
                    number,
                    to,
                    id,
                    kind: kind.into_owned(),
                    payload: payload.into_owned(),
                });
            }

            (true, ActorEvent::MessageDelivered { number }) if number <= self.sent => {
                // An owner that was replaced and the one after it may both have delivered it.
                if let Some(index) = self.outbox.iter().position(|it| it.number == number) {
                    self.outbox.remove(index);
                }
                if self.outbox.is_empty() {
                    self.outbox = VecDeque::new();
                }
            }

            (true, ActorEvent::ActorStopped) => self.stopped = true,

            (true, ActorEvent::DeadLetterDiscarded { sequence }) => {
                // Two operators may have discarded it in the same moment.
                self.dead.remove(sequence);
            }

            (true, ActorEvent::StepRecorded { sequence, step, result })
                if sequence <= self.received =>
            {
                // One that outlived its message is of no use.
                if self.pending.iter().any(|message| message.sequence == sequence) {
                    let (name, result) = (step.into_owned(), result.into_owned());
                    self.steps.push(RecordedStep { sequence, name, result });
                }
            }

            // What follows is of no use once the message is done.
            (true, ActorEvent::Fingerprinted { sequence, fingerprint })
                if sequence <= self.received =>
            {
                if let Some(message) = self.pending_message(sequence) {
                    message.fingerprint = Some(fingerprint);
                }
            }

            (true, ActorEvent::RunBegan { through }) if through <= self.received => {
                let begun = self.pending.iter_mut().take_while(|it| it.sequence <= through);
                begun.for_each(|message| message.attempts = message.attempts.or(Some(0)));
            }

            (true, ActorEvent::AttemptsCounted { sequence, attempts })
                if sequence <= self.received =>
            {
                if let Some(message) = self.pending_message(sequence) {
                    message.attempts = Some(attempts);
                }
            }

            (true, ActorEvent::Repaired { by, why, action }) => {
                self.repair(&by, &why, action, stamp, window);
            }

            (true, ActorEvent::TimerSet { number, due_ms, every, kind, payload })
                if number > self.sent =>
            {
                self.sent = number;
                let (kind, payload) = (kind.into_owned(), payload.into_owned());
                self.timers.set(number, Timer { due_ms, every, kind, payload });
            }

            (true, ActorEvent::TimerCancelled { number }) if number <= self.sent => {
                self.timers.cancel(number);
            }

            // On its way while the actor was deleted.
            (
                false,
                ActorEvent::Repaired { .. }
                | ActorEvent::DeadLetterDiscarded { .. }
                | ActorEvent::MessageDelivered { .. }
                | ActorEvent::StepRecorded { .. },
            ) if self.deleted => {}

            (_, event) => return Err(self.refuse(&event)),
        }
        Ok(())
    }

    /// What does not apply any more changes nothing: another operator may have been faster.
    fn repair(
        &mut self,
        by: &str,
        why: &str,
        action: RepairAction<'_>,
        stamp: Stamp,
        window: Window,
    ) {
        match action {
            RepairAction::StateReplaced { state } => self.state = Some(state.into_owned()),
            RepairAction::GivenUp { sequence } => {
                let index = self.pending_index(sequence);
                if let Some(message) = index.and_then(|index| self.pending.remove(index)) {
                    let attempts = message.attempts.unwrap_or(0);
                    self.bury(message, attempts, given_up(by, why), stamp, window);
                }
            }
            RepairAction::DeadLetterEdited { letter } => self.dead.replace(*letter),
            // Done by the events that follow.
            RepairAction::DeadLetterResent { .. }
            | RepairAction::DeadLetterDiscarded { .. }
            | RepairAction::DeadLettersResent { .. }
            | RepairAction::DeadLettersDiscarded { .. } => {}
            RepairAction::TimerCancelled { number } => self.timers.cancel(number),
            RepairAction::Held => {
                self.held = Some(Box::new(Held { by: by.to_owned(), why: why.to_owned() }));
            }
            RepairAction::Released => self.held = None,
            RepairAction::Deleted => {
                let Self { received, sent, .. } = *self;
                let mut dead = std::mem::take(&mut self.dead);
                let mut aged = std::mem::take(&mut self.aged);
                let mut lines = std::mem::take(&mut self.lines);
                lines.end_life();
                // Their rows go as well.
                dead.clear();
                aged.clear();
                let kept = Self { received, sent, dead, aged, lines, ..Self::default() };
                *self = Self { deleted: true, ..kept };
            }
        }
    }

    /// A message that is pending no more becomes a dead letter.
    fn bury(
        &mut self,
        message: PendingMessage,
        attempts: u32,
        error: String,
        stamp: Stamp,
        window: Window,
    ) {
        let sequence = message.sequence;
        self.forget_steps(sequence);
        let outcome = || Outcome::Failed { attempts, error: error.clone() };
        self.record(&message, outcome, stamp, window);
        let PendingMessage { key, kind, payload, .. } = message;
        let (id, at_ms) = (key.id(), stamp.at_ms);
        if !sabotaged("sabotage-dead-letter") {
            self.dead.push(DeadLetter { sequence, id, kind, payload, attempts, error, at_ms });
        }
    }

    fn forget_steps(&mut self, of: Sequence) {
        if !self.steps.is_empty() {
            self.steps.retain(|step| step.sequence != of);
        }
        if self.steps.is_empty() {
            self.steps = Vec::new();
        }
    }

    /// On a line nothing is received before what comes before it, and from a timer only when it is set.
    fn is_next(&self, key: MessageKey) -> bool {
        match key {
            MessageKey::Line { line, number } => self.lines.look(line, number) == Numbered::Next,
            MessageKey::Timer { number, due_ms, .. } => self.timers.is_set(number, due_ms),
            _ => true,
        }
    }

    fn oldest_pending(&self) -> Option<Sequence> {
        self.pending.front().map(|message| message.sequence)
    }

    fn pending_message(&mut self, sequence: Sequence) -> Option<&mut PendingMessage> {
        let index = self.pending_index(sequence)?;
        self.pending.get_mut(index)
    }

    fn pending_index(&self, sequence: Sequence) -> Option<usize> {
        // In order, with a gap where one was given up.
        self.pending.binary_search_by_key(&sequence, |message| message.sequence).ok()
    }

    fn record(
        &mut self,
        message: &PendingMessage,
        outcome: impl FnOnce() -> Outcome,
        stamp: Stamp,
        window: Window,
    ) {
        self.settle_transient(stamp, window);
        let Some(id) = message.key.id() else { return };
        let (at_ms, fingerprint) = (stamp.clock_ms, message.fingerprint);
        let recorded = RecordedOutcome { id, at_ms, outcome: outcome(), fingerprint };
        match message.key {
            // Its sender is in the process that handled it.
            MessageKey::Transient(_) if message.received_at == stamp.position => {
                let Stamp { position, epoch, .. } = stamp;
                (self.transient.position, self.transient.epoch) = (position, epoch);
                if self.transient.recorded.is_empty() {
                    // Most commits have one message of an actor; a vector would begin with room for four.
                    self.transient.recorded.reserve_exact(1);
                }
                self.transient.recorded.push(recorded);
            }
            MessageKey::Caller(_) => {
                self.window.push(recorded, window, |beyond| {
                    if !sabotaged("sabotage-aged") {
                        self.aged.push(beyond);
                    }
                });
            }
            // Asked for again by an adapter only, and soon.
            _ => self.generated.push(recorded, window.of_generated(), drop),
        }
    }

    /// The outcomes of an earlier commit: its owner made another one, so their senders have them;
    /// or it did not, and they may be asked for.
    fn settle_transient(&mut self, stamp: Stamp, window: Window) {
        if self.transient.recorded.is_empty() || self.transient.position == stamp.position {
            return;
        }
        let Transient { epoch, recorded, .. } = std::mem::take(&mut self.transient);
        if epoch != stamp.epoch {
            let window = window.of_generated();
            recorded.into_iter().for_each(|it| self.generated.push(it, window, drop));
        }
    }

    fn refuse(&self, event: &ActorEvent<'_>) -> IllegalEvent {
        let event = match event {
            ActorEvent::MessageReceived { sequence, .. }
            | ActorEvent::MessageProcessed { sequence, .. }
            | ActorEvent::MessageFailed { sequence, .. }
            | ActorEvent::StepRecorded { sequence, .. }
            | ActorEvent::Fingerprinted { sequence, .. }
            | ActorEvent::RunBegan { through: sequence }
            | ActorEvent::AttemptsCounted { sequence, .. } => {
                format!("{} {sequence}", event.name())
            }
            ActorEvent::MessageSent { number, .. }
            | ActorEvent::MessageDelivered { number }
            | ActorEvent::TimerSet { number, .. }
            | ActorEvent::TimerCancelled { number } => {
                format!("{} {number}", event.name())
            }
            _ => event.name().to_owned(),
        };
        IllegalEvent { event, state: self.describe() }
    }

    fn describe(&self) -> String {
        if !self.spawned {
            return "an actor that was never spawned".into();
        }
        let pending = match self.oldest_pending() {
            Some(oldest) => format!("{} pending from {oldest}", self.pending.len()),
            None => "none pending".into(),
        };
        format!("received up to {}, {pending}, {} dead letters", self.received, self.dead.len())
    }
}

/// What is kept of a message that was given up by hand.
pub(crate) fn given_up(by: &str, why: &str) -> String {
    format!("given up by {by}: {why}")
}

#[cfg(test)]
mod tests;
