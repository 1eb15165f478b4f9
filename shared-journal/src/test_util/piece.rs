//! An actor's history, cut into pieces that can be played again. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::sent::Sent;
use crate::codec::Payload;
use crate::engine::window;
use crate::error::{JournalError, Place};
use crate::event::ActorEvent;
use crate::id::{ActorId, Position, Sequence, ShardId};
use crate::limits::Limits;
use crate::provider::ActorProvider;
use crate::record::{ActorRecord, PendingMessage, RecordedStep, Stamp};
use crate::timers::Timer;

/// One actor.
pub(super) struct Recorded {
    pub(super) actor: ActorId,
    /// What it did, as far back as the log goes.
    pub(super) pieces: Vec<Piece>,
    /// Messages of which is not known which state they met: the log begins with them.
    pub(super) unknown: u64,
    /// What is known of it at the end.
    pub(super) now: ActorRecord,
}

/// The messages that were done in one commit, which has whole runs.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) position: Position,
    /// What the actor needs to know to handle them again: state, numbers, results of steps.
    pub(super) before: ActorRecord,
    /// Each with its reply, or the error with which it was given up.
    pub(super) messages: Vec<(PendingMessage, Result<Payload<'static>, String>)>,
    pub(super) sent: Vec<Sent>,
    /// The state after them.
    pub(super) after: Option<Payload<'static>>,
}

/// The events of one actor, in order: where, when, what.
#[derive(Default)]
pub(super) struct Tape(Vec<(Stamp, ActorEvent<'static>)>);

impl Tape {
    pub(super) fn push(&mut self, stamp: Stamp, event: ActorEvent<'_>) {
        self.0.push((stamp, event.into_owned()));
    }

    pub(super) fn first(&self) -> Option<&ActorEvent<'static>> {
        self.0.first().map(|(_, event)| event)
    }

    /// With the record that a checkpoint saved at `position`, which may be later than the tape's end.
    pub(super) fn recorded(
        self,
        store: &Arc<dyn ActorProvider>,
        shard: ShardId,
        actor: ActorId,
        saved: Position,
        mut now: ActorRecord,
    ) -> Result<Recorded, JournalError> {
        let mut cutter = Cutter::new(actor.clone());
        for (stamp, event) in self.0 {
            let position = stamp.position;
            if position > saved {
                let applied = now.apply(event.clone(), stamp, window(&Limits::default()));
                applied.map_err(|source| JournalError::IllegalHistory {
                    store: store.location(),
                    place: Place::shard(shard).at(position).of(&actor),
                    source,
                })?;
            }
            cutter.next(position, event);
        }
        cutter.cut();
        Ok(Recorded { actor, pieces: cutter.pieces, unknown: cutter.unknown, now })
    }
}

struct Cutter {
    actor: ActorId,
    /// The state, if it is known; that there is none is known as well.
    state: Option<Option<Payload<'static>>>,
    /// The number of the last message sent, if it is known.
    sent: Option<u64>,
    pending: BTreeMap<Sequence, (PendingMessage, Vec<RecordedStep>)>,
    open: Option<Piece>,
    pieces: Vec<Piece>,
    unknown: u64,
    /// A commit in which a message was done of which nothing is known: what came behind it in its run
    /// met a state that was not stored.
    blind: Option<Position>,
}

impl Cutter {
    fn new(actor: ActorId) -> Self {
        Self {
            actor,
            state: None,
            sent: None,
            pending: BTreeMap::new(),
            open: None,
            pieces: Vec::new(),
            unknown: 0,
            blind: None,
        }
    }

    fn next(&mut self, position: Position, event: ActorEvent<'static>) {
        if self.open.as_ref().is_some_and(|piece| piece.position < position) {
            self.cut();
        }
        match event {
            ActorEvent::Spawned { .. } => (self.state, self.sent) = (Some(None), Some(0)),
            ActorEvent::MessageReceived { sequence, key, kind, payload, .. } => {
                let kind = kind.into_owned();
                let message = PendingMessage {
                    sequence,
                    key,
                    kind,
                    payload,
                    attempts: None,
                    fingerprint: None,
                    received_at: position,
                    received_ms: 0,
                };
                self.pending.insert(sequence, (message, Vec::new()));
            }
            ActorEvent::StepRecorded { sequence, step, result } => {
                if let Some((_, steps)) = self.pending.get_mut(&sequence) {
                    steps.push(RecordedStep { sequence, name: step.into_owned(), result });
                }
            }
            ActorEvent::MessageProcessed { sequence, reply } => {
                self.done(position, sequence, Ok(reply));
            }
            ActorEvent::MessageFailed { sequence, error, .. } => {
                self.done(position, sequence, Err(error.into_owned()));
            }
            event @ (ActorEvent::MessageSent { number, .. }
            | ActorEvent::TimerSet { number, .. }) => {
                if let Some(piece) = &mut self.open {
                    if self.sent.is_none() {
                        piece.before.sent = number - 1;
                    }
                    piece.sent.extend(Sent::of(&self.actor, event));
                }
                self.sent = Some(number);
            }
            event @ ActorEvent::TimerCancelled { number } => {
                if let Some(piece) = &mut self.open {
                    if number <= piece.before.sent {
                        // Or there would be nothing to cancel. What it sends does not matter.
                        piece.before.timers.set(number, Timer::never());
                    }
                    piece.sent.extend(Sent::of(&self.actor, event));
                }
            }
            ActorEvent::StateChanged { state } => {
                self.state = Some(Some(state));
                self.blind = None;
            }
            ActorEvent::MessageDelivered { .. }
            | ActorEvent::ActorStopped
            | ActorEvent::DeadLetterDiscarded { .. }
            | ActorEvent::Fingerprinted { .. }
            | ActorEvent::RunBegan { .. }
            | ActorEvent::AttemptsCounted { .. }
            | ActorEvent::Repaired { .. } => {}
        }
    }

    fn done(
        &mut self,
        position: Position,
        sequence: Sequence,
        outcome: Result<Payload<'static>, String>,
    ) {
        let pending = self.pending.remove(&sequence);
        if pending.is_none() {
            self.blind = Some(position);
        }
        let state = self.state.as_ref().filter(|_| self.blind != Some(position));
        let (Some((message, steps)), Some(state)) = (pending, state) else {
            self.unknown += 1;
            return;
        };
        let piece = self.open.get_or_insert_with(|| Piece {
            position,
            before: ActorRecord {
                spawned: true,
                received: Sequence(sequence.0 - 1),
                state: state.clone(),
                // What it sends gets the same numbers again, and its timers the same names.
                sent: self.sent.unwrap_or_default(),
                ..ActorRecord::default()
            },
            messages: Vec::new(),
            sent: Vec::new(),
            after: None,
        });
        piece.before.steps.extend(steps);
        piece.messages.push((message, outcome));
    }

    /// The commit is over, and with it the runs in it.
    fn cut(&mut self) {
        if let Some(mut piece) = self.open.take() {
            piece.after = self.state.clone().flatten();
            self.pieces.push(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::codec::Codec;
    use crate::id::MessageKey;

    fn json(number: u64) -> Payload<'static> {
        Payload::new(Codec::Json, number.to_string().into_bytes())
    }

    fn received(sequence: u64) -> ActorEvent<'static> {
        ActorEvent::MessageReceived {
            sequence: Sequence(sequence),
            key: MessageKey::Anonymous,
            kind: Cow::Borrowed("k"),
            payload: json(sequence),
            resend_of: None,
        }
    }

    fn processed(sequence: u64) -> ActorEvent<'static> {
        ActorEvent::MessageProcessed { sequence: Sequence(sequence), reply: json(sequence) }
    }

    fn state(state: u64) -> ActorEvent<'static> {
        ActorEvent::StateChanged { state: json(state) }
    }

    fn cut(commits: Vec<Vec<ActorEvent<'static>>>) -> Cutter {
        let mut cutter = Cutter::new(ActorId::new("t", "1"));
        for (position, events) in (1..).zip(commits) {
            for event in events {
                cutter.next(Position(position), event);
            }
        }
        cutter.cut();
        cutter
    }

    fn spawned() -> ActorEvent<'static> {
        ActorEvent::Spawned { actor: ActorId::new("t", "1") }
    }

    #[test]
    fn a_piece_has_the_states_around_its_commit() {
        let step = ActorEvent::StepRecorded {
            sequence: Sequence(3),
            step: Cow::Borrowed("charge#1"),
            result: json(0),
        };
        let cut = cut(vec![
            vec![spawned(), received(1), received(2), processed(1), processed(2), state(7)],
            vec![received(3)],
            vec![step, received(4)],
            vec![processed(3), processed(4)],
        ]);
        let seen: Vec<_> = cut
            .pieces
            .iter()
            .map(|it| (it.position.0, it.before.received.0, it.messages.len(), it.after.clone()))
            .collect();
        assert_eq!(seen, [(1, 0, 2, Some(json(7))), (4, 2, 2, Some(json(7)))]);
        assert_eq!(cut.pieces[0].before.state, None);
        assert_eq!(cut.pieces[1].before.state, Some(json(7)));
        assert_eq!(cut.pieces[1].before.steps.len(), 1);
    }

    #[test]
    fn what_met_an_unknown_state_is_counted_and_left_out() {
        let cut = cut(vec![
            vec![processed(4)],
            vec![received(6), processed(5), processed(6), state(1)],
            vec![received(7), processed(7), state(2)],
        ]);
        assert_eq!((cut.unknown, cut.pieces.len()), (3, 1));
        assert_eq!(cut.pieces[0].before.state, Some(json(1)));
    }

    #[test]
    fn what_came_behind_an_unknown_message_in_its_run_is_left_out_too() {
        let cut = cut(vec![
            vec![state(0)],
            vec![received(6), processed(5), processed(6), state(1), received(7), processed(7)],
            vec![received(8), processed(8)],
        ]);
        assert_eq!(cut.unknown, 2);
        let met: Vec<_> = cut.pieces.iter().map(|it| it.before.state.clone()).collect();
        assert_eq!(met, [Some(json(1)), Some(json(1))]);
    }
}
