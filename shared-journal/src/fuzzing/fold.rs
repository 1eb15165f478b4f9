//! The recovery fold: any events, against books that are kept beside it.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Result, Unstructured};

use super::events::event;
use crate::envelope::{
    CommitHeader, RecordHeader, decode_commit, decode_record, encode_commit, encode_record,
    entries, push_entry,
};
use crate::event::{ActorEvent, RepairAction};
use crate::id::{ActorId, ActorNo, Epoch, MessageId, MessageKey, Position, Sequence, ShardId};
use crate::record::{ActorRecord, Outcome, Stamp};
use crate::recovery::{Window, given_up};

const NO: ActorNo = ActorNo(1);
const COMMITS: u64 = 64;

/// Folds any events into a record, in commits, some of them behind a record that was saved.
///
/// A refused event changes nothing. What was received is processed, failed or pending, in order and
/// once; the dedup window keeps its limits and the outcome it got last; what was sent is in the outbox
/// until it is delivered; steps belong to what is pending. The log gives the record again, from
/// its beginning and from every record that was saved on the way.
///
/// # Panics
/// It does not.
pub fn fold(bytes: &[u8]) {
    // Ends where the bytes do.
    let _ = history(&mut Unstructured::new(bytes));
}

fn history(u: &mut Unstructured<'_>) -> Result<()> {
    let window = Window {
        count: u.int_in_range(0..=4)?,
        generated: u.int_in_range(0..=4)?,
        age_ms: u.int_in_range(0..=100)?,
        bytes: u.int_in_range(0..=40)?,
    };
    let (mut record, mut books) = (ActorRecord::default(), Books::default());
    let (mut log, mut saved) = (Vec::new(), Vec::new());
    let mut at_ms = 0_u64;
    for position in 1..=COMMITS {
        if u.is_empty() {
            break;
        }
        at_ms = if u.ratio(1, 16)? { u.arbitrary()? } else { at_ms.saturating_add(1) };
        let (mut bytes, mut count) = (Vec::new(), 0);
        let (position, epoch) = (Position(position), Epoch(1 + at_ms % 2));
        let stamp = Stamp { position, epoch, at_ms, clock_ms: at_ms };
        for _ in 0..u.int_in_range(1..=6)? {
            let (event, before) = (event(u, &record)?, record.clone());
            if record.apply(event.clone(), stamp, window).is_err() {
                assert_eq!(record, before, "a refused {event:?} changes nothing");
                continue;
            }
            push_entry(&mut bytes, NO, &event).expect("it encodes");
            count += 1;
            books.enter(&event);
            books.compare(&record);
            window_holds(&before, &record, &event, stamp, window);
        }
        let (shard, clock_ms) = (ShardId(0), at_ms);
        let header = CommitHeader { shard, position, epoch, at_ms, entries: count, clock_ms };
        let mut row = Vec::new();
        encode_commit(&header, &bytes, &mut row).expect("it encodes");
        log.push(row);
        if u.ratio(1, 4)? {
            let header = RecordHeader { shard, no: NO, position, actor: ActorId::new("t", "1") };
            saved.push((log.len(), encode_record(&header, &record).expect("it encodes")));
        }
    }
    assert_eq!(recovered(ActorRecord::default(), &log, window), record, "from the beginning");
    for (after, row) in saved {
        let (_, found) = decode_record(&row).expect("it was written so");
        assert_eq!(recovered(found, &log[after..], window), record, "after commit {after}");
    }
    Ok(())
}

fn recovered(mut record: ActorRecord, tail: &[Vec<u8>], window: Window) -> ActorRecord {
    for row in tail {
        let (header, body) = decode_commit(row).expect("it was written so");
        for entry in entries(&header, body) {
            let (_, event) = entry.expect("it was written so");
            record.apply(event, header.stamp(), window).expect("it was applied before");
        }
    }
    record
}

/// What an actor's events come to, in the simplest words.
#[derive(Default)]
struct Books {
    spawned: bool,
    received: u64,
    stopped: bool,
    pending: BTreeSet<Sequence>,
    /// Processed or failed.
    done: u64,
    dead: BTreeMap<Sequence, Vec<u8>>,
    /// What each message was, by its sequence.
    content: BTreeMap<Sequence, Vec<u8>>,
    held: bool,
    state: Option<Vec<u8>>,
    /// Name and result, by message.
    steps: BTreeMap<Sequence, Vec<(String, Vec<u8>)>>,
    sent: u64,
    outbox: BTreeMap<u64, Vec<u8>>,
    /// Of what is or was pending.
    attempts: BTreeMap<Sequence, u32>,
    fingerprints: BTreeMap<Sequence, u64>,
    /// The last number of each line.
    lines: BTreeMap<MessageId, u64>,
    /// When each timer is due.
    timers: BTreeMap<u64, u64>,
}

impl Books {
    fn enter(&mut self, event: &ActorEvent<'_>) {
        match event {
            ActorEvent::MessageReceived { sequence, key, resend_of, payload, .. } => {
                if let MessageKey::Line { line, number } = key {
                    let last = self.lines.entry(*line).or_default();
                    *last += 1;
                    assert_eq!(last, number, "each line in order, without gaps");
                }
                if let MessageKey::Timer { number, due_ms, next_ms } = key {
                    assert_eq!(self.timers.remove(number), Some(*due_ms), "once, when it is due");
                    self.timers.extend(next_ms.map(|next_ms| (*number, next_ms)));
                }
                self.content.insert(*sequence, payload.bytes().to_vec());
                self.received += 1;
                self.stopped = false;
                assert_eq!(sequence.0, self.received, "without gaps");
                self.pending.insert(*sequence);
                if let Some(letter) = resend_of {
                    self.dead.remove(letter);
                }
            }
            ActorEvent::MessageProcessed { sequence, .. }
            | ActorEvent::MessageFailed { sequence, .. } => {
                assert_eq!(self.pending.pop_first(), Some(*sequence), "in order, and once");
                self.done += 1;
                self.steps.remove(sequence);
                if let ActorEvent::MessageFailed { .. } = event {
                    self.bury(*sequence);
                }
            }
            ActorEvent::StateChanged { state } => self.state = Some(state.bytes().to_vec()),
            ActorEvent::MessageSent { number, payload, .. } => {
                assert!(*number > self.sent, "numbers increase");
                self.sent = *number;
                self.outbox.insert(*number, payload.bytes().to_vec());
            }
            ActorEvent::TimerSet { number, due_ms, .. } => {
                assert!(*number > self.sent, "numbers increase");
                self.sent = *number;
                self.timers.insert(*number, *due_ms);
            }
            ActorEvent::TimerCancelled { number } => drop(self.timers.remove(number)),
            ActorEvent::MessageDelivered { number } => {
                self.outbox.remove(number);
            }
            ActorEvent::ActorStopped => self.stopped = true,
            ActorEvent::DeadLetterDiscarded { sequence } => {
                self.dead.remove(sequence);
            }
            ActorEvent::StepRecorded { sequence, step, result } => {
                if self.pending.contains(sequence) {
                    let step = (step.to_string(), result.bytes().to_vec());
                    self.steps.entry(*sequence).or_default().push(step);
                }
            }
            ActorEvent::Fingerprinted { sequence, fingerprint } => {
                if self.pending.contains(sequence) {
                    self.fingerprints.insert(*sequence, *fingerprint);
                }
            }
            ActorEvent::RunBegan { through } => {
                for sequence in self.pending.range(..=*through) {
                    self.attempts.entry(*sequence).or_insert(0);
                }
            }
            ActorEvent::AttemptsCounted { sequence, attempts } => {
                if self.pending.contains(sequence) {
                    self.attempts.insert(*sequence, *attempts);
                }
            }
            ActorEvent::Spawned { .. } => self.spawned = true,
            ActorEvent::Repaired { action, .. } if self.spawned => self.repair(action),
            ActorEvent::Repaired { .. } => {}
        }
    }

    fn bury(&mut self, sequence: Sequence) {
        self.dead.insert(sequence, self.content[&sequence].clone());
    }

    fn repair(&mut self, action: &RepairAction<'_>) {
        match action {
            RepairAction::StateReplaced { state } => self.state = Some(state.bytes().to_vec()),
            RepairAction::GivenUp { sequence } => {
                if self.pending.remove(sequence) {
                    self.done += 1;
                    self.steps.remove(sequence);
                    self.bury(*sequence);
                }
            }
            RepairAction::DeadLetterEdited { letter } => {
                if let Some(found) = self.dead.get_mut(&letter.sequence) {
                    *found = letter.payload.bytes().to_vec();
                }
            }
            RepairAction::TimerCancelled { number } => drop(self.timers.remove(number)),
            RepairAction::Held => self.held = true,
            RepairAction::Released => self.held = false,
            RepairAction::Deleted => {
                let Self { received, sent, .. } = *self;
                let lines = std::mem::take(&mut self.lines);
                *self = Self { received, sent, done: received, lines, ..Self::default() };
            }
            RepairAction::DeadLetterResent { .. }
            | RepairAction::DeadLetterDiscarded { .. }
            | RepairAction::DeadLettersResent { .. }
            | RepairAction::DeadLettersDiscarded { .. } => {}
        }
    }

    fn compare(&self, record: &ActorRecord) {
        assert_eq!((record.spawned, record.held.is_some()), (self.spawned, self.held));
        assert!(record.spawned || record.deleted);
        assert_eq!(record.stopped, self.stopped);
        assert_eq!(record.received.0, self.received);
        let pending = record.pending.iter().map(|message| message.sequence);
        assert!(pending.eq(self.pending.iter().copied()), "{record:?}");
        for message in &record.pending {
            assert_eq!(message.attempts, self.attempts.get(&message.sequence).copied());
            assert_eq!(message.fingerprint, self.fingerprints.get(&message.sequence).copied());
        }
        assert_eq!(self.received, self.done + self.pending.len() as u64);
        assert!(record.dead.sequences().eq(self.dead.keys().copied()));
        assert_eq!(record.state.as_ref().map(|state| state.bytes()), self.state.as_deref());
        assert_eq!(record.sent, self.sent);
        let timers = record.timers.iter().map(|(number, timer)| (number, timer.due_ms));
        assert!(timers.eq(self.timers.iter().map(|(number, due_ms)| (*number, *due_ms))));
        assert_eq!(record.timers.next_ms(), self.timers.values().min().copied());
        let outbox = record.outbox.iter().map(|message| (message.number, message.payload.bytes()));
        assert!(outbox.eq(self.outbox.iter().map(|(number, bytes)| (*number, bytes.as_slice()))));
        let mut steps: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for step in &record.steps {
            let result = (step.name.clone(), step.result.bytes().to_vec());
            steps.entry(step.sequence).or_default().push(result);
        }
        assert_eq!(steps, self.steps);
    }
}

/// The dedup window after an event that was not refused.
fn window_holds(
    before: &ActorRecord,
    record: &ActorRecord,
    event: &ActorEvent<'_>,
    stamp: Stamp,
    window: Window,
) {
    let counts = [window.count, window.generated];
    for (recorded, count) in [&record.window, &record.generated].into_iter().zip(counts) {
        assert!(recorded.iter().len() <= count, "{recorded:?}");
        let bytes: usize = recorded.iter().map(|entry| entry.outcome.size()).sum();
        let newest = recorded.iter().last().map_or(0, |entry| entry.outcome.size());
        assert!(bytes <= window.bytes.max(newest), "{bytes} bytes of outcomes");
    }
    if let ActorEvent::Repaired { by, why, action } = event {
        match action {
            RepairAction::Deleted => return,
            RepairAction::GivenUp { sequence } => {
                let given = before.pending.iter().find(|it| it.sequence == *sequence);
                let recorded = given.and_then(|it| it.key.id()).map(|id| (id, record.outcome(id)));
                match recorded {
                    // Of a long one only the beginning may have had room.
                    Some((_, Some(Outcome::Failed { error, .. })))
                        if given_up(by, why).starts_with(error.as_str()) => {}
                    Some((_, None)) | None => {}
                    Some((id, Some(_))) => assert!(window.bytes < 40 || knows_twice(record, id)),
                }
                return;
            }
            _ => {}
        }
    }
    let (ActorEvent::MessageProcessed { .. } | ActorEvent::MessageFailed { .. }) = event else {
        assert_eq!((&before.window, &before.generated), (&record.window, &record.generated));
        assert_eq!(before.transient, record.transient);
        return;
    };
    let Some(id) = before.pending.front().and_then(|message| message.key.id()) else { return };
    match (record.outcome(id), event) {
        // What is found is another's, if anything is.
        _ if window.count == 0 || window.generated == 0 => {}
        (None, _) => panic!("the newest is not kept"),
        // Nobody chooses the id of another, and the fuzzer does: either may be the newer one.
        (Some(Outcome::Processed(found)), ActorEvent::MessageProcessed { reply, .. }) => {
            assert!(*found == *reply || knows_twice(record, id));
        }
        (Some(Outcome::Failed { error: found, .. }), ActorEvent::MessageFailed { error, .. }) => {
            assert!(*found == *error || knows_twice(record, id));
        }
        _ => assert!(knows_twice(record, id)),
    }
    let horizon = stamp.clock_ms.saturating_sub(window.age_ms);
    let recorded = match before.pending.front().map(|message| message.key) {
        Some(MessageKey::Caller(_)) => &record.window,
        Some(MessageKey::Generated(_)) => &record.generated,
        _ => return,
    };
    assert!(
        recorded.iter().next().is_none_or(|oldest| oldest.at_ms >= horizon),
        "older than the window"
    );
}

fn knows_twice(record: &ActorRecord, id: MessageId) -> bool {
    let recorded = record.window.iter().chain(record.generated.iter());
    let recorded = recorded.chain(&record.transient.recorded).chain(record.aged.unsaved(id));
    recorded.filter(|it| it.id == id).count() > 1
}
