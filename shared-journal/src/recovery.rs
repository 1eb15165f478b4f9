//! Recovery: folding an actor's events into its record.
//!
//! Pure: no clock, no I/O. One function decides which event may follow which; it runs over every
//! commit, when a journal is opened, behind the running journal to prepare its checkpoints, and in
//! `verify`. A history it refuses is never continued.

use std::collections::VecDeque;

use crate::error::IllegalEvent;
use crate::event::{ActorEvent, RepairAction};
use crate::id::{MessageKey, Sequence};
use crate::record::{
    ActorRecord, DeadLetter, Held, Outcome, OutgoingMessage, PendingMessage, RecordedOutcome,
    RecordedStep, Stamp, Transient,
};
use crate::sabotage::sabotaged;

/// How long recorded outcomes are kept: the dedup window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window {
    pub(crate) count: usize,
    pub(crate) age_ms: u64,
    pub(crate) bytes: usize,
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
                if sequence.0.checked_sub(1) == Some(self.received.0) =>
            {
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
            // Done by the event that follows.
            RepairAction::DeadLetterResent { .. } | RepairAction::DeadLetterDiscarded { .. } => {}
            RepairAction::Held => {
                self.held = Some(Held { by: by.to_owned(), why: why.to_owned() });
            }
            RepairAction::Released => self.held = None,
            RepairAction::Deleted => {
                let Self { received, sent, .. } = *self;
                let mut dead = std::mem::take(&mut self.dead);
                let mut aged = std::mem::take(&mut self.aged);
                // Their rows go as well.
                dead.clear();
                aged.clear();
                *self = Self { received, sent, dead, aged, deleted: true, ..Self::default() };
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
            _ => self.generated.push(recorded, window, drop),
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
            ActorEvent::MessageSent { number, .. } | ActorEvent::MessageDelivered { number } => {
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
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::*;
    use crate::codec::{Codec, Payload};
    use crate::id::{ActorId, Epoch, MessageId, Position};

    const WINDOW: Window = Window { count: 3, age_ms: 1000, bytes: 30 };

    /// In the commit of this number, at this time.
    fn at(ms: u64) -> Stamp {
        Stamp { position: Position(ms), epoch: Epoch(1), at_ms: 0, clock_ms: ms }
    }

    fn json(text: &'static str) -> Payload<'static> {
        Payload::new(Codec::Json, text.as_bytes())
    }

    fn spawned() -> ActorEvent<'static> {
        ActorEvent::Spawned { actor: ActorId::new("t", "1") }
    }

    fn received(sequence: u64, id: Option<u128>) -> ActorEvent<'static> {
        ActorEvent::MessageReceived {
            sequence: Sequence(sequence),
            key: id.map(MessageId::from).into(),
            kind: Cow::Borrowed("k"),
            payload: json("1"),
            resend_of: None,
        }
    }

    fn processed(sequence: u64) -> ActorEvent<'static> {
        ActorEvent::MessageProcessed { sequence: Sequence(sequence), reply: json("2") }
    }

    fn failed(sequence: u64) -> ActorEvent<'static> {
        ActorEvent::MessageFailed {
            sequence: Sequence(sequence),
            attempts: 3,
            error: Cow::Borrowed("boom"),
        }
    }

    fn fold(
        events: impl IntoIterator<Item = ActorEvent<'static>>,
    ) -> Result<ActorRecord, IllegalEvent> {
        let mut record = ActorRecord::default();
        for event in events {
            record.apply(event, at(0), WINDOW)?;
        }
        Ok(record)
    }

    #[test]
    fn received_and_not_processed_is_pending_in_order() {
        let record = fold([spawned(), received(1, None), received(2, None), processed(1)]).unwrap();
        let pending: Vec<_> = record.pending.iter().map(|message| message.sequence.0).collect();
        assert_eq!(pending, [2]);
    }

    #[test]
    fn illegal_histories_are_refused_and_named() {
        let cases: Vec<(Vec<ActorEvent<'static>>, &str)> = vec![
            (vec![received(1, None)], "MessageReceived 1 cannot follow: an actor that was never"),
            (vec![spawned(), spawned()], "Spawned cannot follow: received up to 0"),
            (vec![spawned(), received(2, None)], "MessageReceived 2 cannot follow"),
            (vec![spawned(), received(1, None), received(1, None)], "MessageReceived 1 cannot"),
            (vec![spawned(), processed(1)], "MessageProcessed 1 cannot follow"),
            (
                vec![spawned(), received(1, None), received(2, None), processed(2)],
                "MessageProcessed 2 cannot follow: received up to 2, 2 pending from 1",
            ),
            (
                vec![spawned(), received(1, None), processed(1), failed(1)],
                "MessageFailed 1 cannot follow",
            ),
            (vec![spawned(), ActorEvent::MessageDelivered { number: 1 }], "MessageDelivered 1"),
        ];
        for (events, expected) in cases {
            let error = fold(events).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error:?} does not begin with {expected:?}");
        }
    }

    #[test]
    fn the_window_is_bounded_by_count_and_by_age() {
        let mut record = fold([spawned()]).unwrap();
        for n in 1..=4 {
            record.apply(received(n, Some(n.into())), at(n), WINDOW).unwrap();
            record.apply(processed(n), at(n), WINDOW).unwrap();
        }
        let known = |record: &ActorRecord| record.window.iter().map(|it| it.id).collect::<Vec<_>>();
        assert_eq!(known(&record), [2, 3, 4].map(MessageId::from));
        assert!(record.outcome(1.into()).is_some(), "it is in a row");
        assert!(record.outcome(2.into()).is_some());
        record.apply(received(5, Some(5)), at(1004), WINDOW).unwrap();
        record.apply(processed(5), at(1004), WINDOW).unwrap();
        assert_eq!(record.outcome(3.into()), None, "older than the age");
        assert!(record.outcome(4.into()).is_some());
    }

    #[test]
    fn large_replies_push_out_older_ones() {
        let mut record = fold([spawned()]).unwrap();
        for n in 1..=3 {
            record.apply(received(n, Some(n.into())), at(0), WINDOW).unwrap();
            let reply = Payload::new(Codec::Json, vec![b'1'; 14]);
            let processed = ActorEvent::MessageProcessed { sequence: Sequence(n), reply };
            record.apply(processed, at(0), WINDOW).unwrap();
        }
        // Three times 14 is more than 30: the reply goes, the id stays.
        assert_eq!(record.outcome(1.into()), Some(&Outcome::AlreadyProcessed));
        assert!(record.outcome(2.into()).is_some() && record.outcome(3.into()).is_some());
    }

    #[test]
    fn small_replies_behind_a_large_one_push_it_out() {
        let mut record = fold([spawned()]).unwrap();
        for (n, size) in [(1, 28), (2, 1), (3, 10)] {
            record.apply(received(n, Some(n.into())), at(0), WINDOW).unwrap();
            let reply = Payload::new(Codec::Json, vec![b'1'; size]);
            let processed = ActorEvent::MessageProcessed { sequence: Sequence(n), reply };
            record.apply(processed, at(0), WINDOW).unwrap();
        }
        // 28, 1 and 10 are more than 30.
        assert_eq!(record.outcome(1.into()), Some(&Outcome::AlreadyProcessed));
        assert!(record.outcome(2.into()).is_some() && record.outcome(3.into()).is_some());
    }

    #[test]
    fn numbers_at_their_end_are_refused() {
        let mut record = fold([spawned()]).unwrap();
        record.received = Sequence(u64::MAX);
        for n in [0, u64::MAX] {
            record.apply(received(n, None), at(0), WINDOW).unwrap_err();
        }
    }

    #[test]
    fn two_discards_of_one_dead_letter_are_one() {
        let discard = || ActorEvent::DeadLetterDiscarded { sequence: Sequence(1) };
        let events = [spawned(), received(1, None), failed(1), discard(), discard()];
        assert!(fold(events).unwrap().dead.is_empty());
    }

    #[test]
    fn generated_ids_do_not_push_out_those_of_senders() {
        let mut record = fold([spawned(), received(1, Some(1)), processed(1)]).unwrap();
        for n in 2..=9 {
            let received = ActorEvent::MessageReceived {
                sequence: Sequence(n),
                key: MessageKey::Generated(u128::from(n).into()),
                kind: Cow::Borrowed("k"),
                payload: json("1"),
                resend_of: None,
            };
            record.apply(received, at(0), WINDOW).unwrap();
            record.apply(processed(n), at(0), WINDOW).unwrap();
        }
        assert!(record.outcome(1.into()).is_some());
        assert!(record.outcome(6.into()).is_none(), "beyond the count of its own window");
        assert!(record.outcome(7.into()).is_some());
    }

    #[test]
    fn a_dead_letter_is_kept_until_it_is_sent_again() {
        let mut record = fold([spawned(), received(1, Some(9)), failed(1)]).unwrap();
        assert_eq!(record.dead.len(), 1);
        assert!(matches!(record.outcome(9.into()), Some(Outcome::Failed { attempts: 3, .. })));
        let again = ActorEvent::MessageReceived {
            sequence: Sequence(2),
            key: MessageKey::Anonymous,
            kind: Cow::Borrowed("k"),
            payload: json("1"),
            resend_of: Some(Sequence(1)),
        };
        record.apply(again, at(0), WINDOW).unwrap();
        assert!(record.dead.is_empty());
        assert_eq!(record.pending.len(), 1);
    }

    fn transient(sequence: u64) -> ActorEvent<'static> {
        ActorEvent::MessageReceived {
            sequence: Sequence(sequence),
            key: MessageKey::Transient(u128::from(sequence).into()),
            kind: Cow::Borrowed("k"),
            payload: json("1"),
            resend_of: None,
        }
    }

    #[test]
    fn what_a_sender_must_have_by_now_is_not_recorded() {
        let mut record = fold([spawned()]).unwrap();
        let stamp = |position, epoch| Stamp { epoch: Epoch(epoch), ..at(position) };
        let mut apply = |event, stamp| {
            record.apply(event, stamp, WINDOW).unwrap();
            [1, 2, 3, 4].map(|id: u128| record.outcome(id.into()).is_some())
        };
        for n in 1..=2 {
            apply(transient(n), stamp(1, 1));
            apply(processed(n), stamp(1, 1));
        }
        // The owner died; a new one goes on: who knows what the senders were told.
        apply(transient(3), stamp(2, 2));
        assert_eq!(apply(processed(3), stamp(2, 2)), [true, true, true, false]);
        // It made another commit, so it has released the one before.
        apply(transient(4), stamp(3, 2));
        assert_eq!(apply(processed(4), stamp(3, 2)), [true, true, false, true]);
    }

    #[test]
    fn what_was_handled_later_than_received_may_be_asked_for() {
        let mut record = fold([spawned()]).unwrap();
        record.apply(transient(1), at(1), WINDOW).unwrap();
        for n in 1..=3 {
            record.apply(processed(n), at(n + 1), WINDOW).unwrap();
            record.apply(transient(n + 1), at(n + 1), WINDOW).unwrap();
        }
        assert!(record.outcome(1.into()).is_some());
    }

    #[test]
    fn attempts_are_counted_for_what_is_pending() {
        let began = ActorEvent::RunBegan { through: Sequence(2) };
        let counted = |sequence, attempts| ActorEvent::AttemptsCounted {
            sequence: Sequence(sequence),
            attempts,
        };
        let events = [spawned(), received(1, None), received(2, None), received(3, None), began];
        let record = fold(events.into_iter().chain([counted(2, 1), processed(1), counted(1, 7)]));
        let record = record.unwrap();
        let attempts: Vec<_> = record.pending.iter().map(|message| message.attempts).collect();
        assert_eq!(attempts, [Some(1), None]);
        let error = fold([spawned(), counted(1, 1)]).unwrap_err();
        assert!(error.to_string().starts_with("AttemptsCounted 1 cannot follow"), "{error}");
    }

    proptest! {
        /// Whatever events come in whatever order: no panic, a refused event changes nothing, and
        /// what is received is processed, failed or pending.
        #[test]
        fn the_books_balance(steps in prop::collection::vec((0u8..4, 1u64..6), 0..40)) {
            let mut record = fold([spawned()]).unwrap();
            let (mut processed_count, mut failed_count) = (0usize, 0usize);
            for (kind, n) in steps {
                let before = record.clone();
                let next = record.received.0 + 1;
                let event = match kind {
                    0 => received(next, Some(u128::from(n))),
                    1 => received(n, None),
                    2 => processed(n),
                    _ => failed(n),
                };
                match record.apply(event, at(0), WINDOW) {
                    Ok(()) if kind == 2 => processed_count += 1,
                    Ok(()) if kind == 3 => failed_count += 1,
                    Ok(()) => {}
                    Err(_) => prop_assert_eq!(&record, &before),
                }
                let received = usize::try_from(record.received.0).unwrap();
                prop_assert_eq!(
                    received,
                    processed_count + failed_count + record.pending.len()
                );
                prop_assert_eq!(record.dead.len(), failed_count);
            }
        }
    }
}
