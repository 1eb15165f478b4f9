//! Events out of bytes.

use std::borrow::Cow;

use arbitrary::{Result, Unstructured};

use crate::codec::{Codec, Payload};
use crate::event::{ActorEvent, RepairAction};
use crate::id::{ActorId, MessageId, MessageKey, Sequence};
use crate::record::{ActorRecord, DeadLetter};

/// An event that can follow what is in the record, more often than not.
pub(super) fn event<'a>(u: &mut Unstructured<'a>, record: &ActorRecord) -> Result<ActorEvent<'a>> {
    let oldest = record.pending.front().map_or(record.received, |message| message.sequence);
    if !record.spawned && !u.ratio(1, 16)? {
        return Ok(ActorEvent::Spawned { actor: ActorId::new("t", "1") });
    }
    Ok(match u.int_in_range(0..=21)? {
        0 => ActorEvent::Spawned { actor: ActorId::new(text(u)?, text(u)?) },
        1..=4 => ActorEvent::MessageReceived {
            sequence: Sequence(near(u, record.received.0.wrapping_add(1))?),
            key: key(u, record)?,
            kind: text(u)?,
            payload: payload(u)?,
            resend_of: if u.ratio(1, 4)? { Some(Sequence(u.int_in_range(0..=9)?)) } else { None },
        },
        5 | 6 => ActorEvent::MessageProcessed {
            sequence: Sequence(near(u, oldest.0)?),
            reply: payload(u)?,
        },
        7 => ActorEvent::MessageFailed {
            sequence: Sequence(near(u, oldest.0)?),
            attempts: u.arbitrary()?,
            error: text(u)?,
        },
        8 => ActorEvent::StateChanged { state: payload(u)? },
        9 => ActorEvent::MessageSent {
            number: near(u, record.sent.wrapping_add(1))?,
            to: ActorId::new(text(u)?, text(u)?),
            id: MessageId::from(u.arbitrary::<u128>()?),
            kind: text(u)?,
            payload: payload(u)?,
        },
        10 => ActorEvent::MessageDelivered { number: near(u, record.sent)? },
        11 => ActorEvent::ActorStopped,
        12 => ActorEvent::DeadLetterDiscarded { sequence: Sequence(u.int_in_range(0..=9)?) },
        13 => ActorEvent::Fingerprinted {
            sequence: Sequence(near(u, record.received.0)?),
            fingerprint: u.arbitrary()?,
        },
        14 => ActorEvent::RunBegan { through: Sequence(near(u, oldest.0)?) },
        15 => ActorEvent::AttemptsCounted {
            sequence: Sequence(near(u, oldest.0)?),
            attempts: u.arbitrary()?,
        },
        16 | 17 => ActorEvent::Repaired { by: text(u)?, why: text(u)?, action: repair(u, record)? },
        18 | 19 => ActorEvent::TimerSet {
            number: near(u, record.sent.wrapping_add(1))?,
            due_ms: u.int_in_range(0..=3)?,
            every: None,
            kind: text(u)?,
            payload: payload(u)?,
        },
        20 => ActorEvent::TimerCancelled { number: near(u, record.sent)? },
        _ => ActorEvent::StepRecorded {
            sequence: Sequence(near(u, oldest.0)?),
            step: text(u)?,
            result: payload(u)?,
        },
    })
}

fn repair<'a>(u: &mut Unstructured<'a>, record: &ActorRecord) -> Result<RepairAction<'a>> {
    let letter = Sequence(u.int_in_range(0..=9)?);
    Ok(match u.int_in_range(0..=12)? {
        0 => RepairAction::StateReplaced { state: payload(u)? },
        1..=3 => RepairAction::GivenUp { sequence: Sequence(near(u, record.received.0)?) },
        4 | 5 => {
            let letter = DeadLetter {
                sequence: letter,
                id: None,
                kind: "k".to_owned(),
                payload: payload(u)?.into_owned(),
                attempts: 1,
                error: String::new(),
                at_ms: u.arbitrary()?,
            };
            RepairAction::DeadLetterEdited { letter: Box::new(letter) }
        }
        6 => RepairAction::DeadLetterResent { sequence: letter },
        7 => RepairAction::Held,
        8 => RepairAction::Released,
        9 => RepairAction::Deleted,
        10 => RepairAction::DeadLettersResent { first: letter, last: letter, count: 1 },
        11 => RepairAction::TimerCancelled { number: near(u, record.sent)? },
        _ => RepairAction::DeadLettersDiscarded { first: letter, last: letter, count: 1 },
    })
}

/// This number, one next to it, or any.
fn near(u: &mut Unstructured<'_>, number: u64) -> Result<u64> {
    Ok(match u.int_in_range(0..=9)? {
        0 => number.wrapping_sub(1),
        1 => number.wrapping_add(1),
        2 => u.arbitrary()?,
        _ => number,
    })
}

/// Few ids, so that some come twice.
fn key(u: &mut Unstructured<'_>, record: &ActorRecord) -> Result<MessageKey> {
    let id = MessageId::from(u.int_in_range(0..=15_u128)?);
    Ok(match u.int_in_range(0..=6)? {
        0 => MessageKey::Anonymous,
        1 => MessageKey::Caller(id),
        2 => MessageKey::Generated(id),
        3 => MessageKey::Transient(id),
        4 | 5 => MessageKey::Timer {
            number: near(u, record.sent)?,
            due_ms: u.int_in_range(0..=3)?,
            next_ms: if u.arbitrary()? { Some(u.int_in_range(0..=3)?) } else { None },
        },
        _ => MessageKey::Line { line: id, number: u.int_in_range(1..=4)? },
    })
}

pub(super) fn text<'a>(u: &mut Unstructured<'a>) -> Result<Cow<'a, str>> {
    Ok(String::from_utf8_lossy(some_bytes(u)?))
}

pub(super) fn payload<'a>(u: &mut Unstructured<'a>) -> Result<Payload<'a>> {
    let codec = if u.arbitrary()? { Codec::Json } else { Codec::MessagePack };
    Ok(Payload::new(codec, some_bytes(u)?))
}

pub(super) fn some_bytes<'a>(u: &mut Unstructured<'a>) -> Result<&'a [u8]> {
    let length = u.int_in_range(0..=20)?;
    u.bytes(length.min(u.len()))
}
