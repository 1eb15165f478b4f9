use super::*;
use crate::codec::{Codec, Payload};
use crate::event::RepairAction;
use crate::id::{MessageId, MessageKey, Sequence};
use crate::lines::Numbered;
use crate::record::ON_A_LINE;
use crate::timer::{Every, Missed};

const HEADER: CommitHeader = CommitHeader {
    shard: ShardId(0),
    position: Position(7),
    epoch: Epoch(3),
    at_ms: 1_700_000_000_000,
    entries: 16,
    clock_ms: 1_700_000_000_000,
};

/// What a version can say.
fn sample(version: u8) -> Vec<u8> {
    let actor = ActorId::new("account", "42");
    let json = |text: &'static str| Payload::new(Codec::Json, text.as_bytes());
    let received =
        |sequence, id: Option<u128>, resend_of: Option<u64>| ActorEvent::MessageReceived {
            sequence: Sequence(sequence),
            key: id.map(MessageId::from).into(),
            kind: Cow::Borrowed("account.deposit"),
            payload: json(r#"{"cents":5}"#),
            resend_of: resend_of.map(Sequence),
        };
    let transient = |sequence| ActorEvent::MessageReceived {
        sequence: Sequence(sequence),
        key: MessageKey::Transient(MessageId::from(9)),
        kind: Cow::Borrowed("account.deposit"),
        payload: Payload::new(Codec::CompactMessagePack, &[0x80][..]),
        resend_of: None,
    };
    let repaired = |action| ActorEvent::Repaired {
        by: Cow::Borrowed("ada"),
        why: Cow::Borrowed("a test"),
        action,
    };
    let events = [
        ActorEvent::Spawned { actor },
        received(1, Some(99), None),
        ActorEvent::MessageProcessed { sequence: Sequence(1), reply: json("5") },
        ActorEvent::StateChanged { state: json(r#"{"balance":5}"#) },
        received(2, None, None),
        ActorEvent::MessageFailed {
            sequence: Sequence(2),
            attempts: 3,
            error: Cow::Borrowed("boom"),
        },
        received(3, Some(7), Some(2)),
        ActorEvent::MessageFailed {
            sequence: Sequence(3),
            attempts: 3,
            error: Cow::Borrowed("boom"),
        },
        ActorEvent::DeadLetterDiscarded { sequence: Sequence(3) },
        received(4, None, None),
        ActorEvent::MessageFailed {
            sequence: Sequence(4),
            attempts: 1,
            error: Cow::Borrowed("bang"),
        },
        ActorEvent::MessageSent {
            number: 1,
            to: ActorId::new("account", "43"),
            id: MessageId::from(5),
            kind: Cow::Borrowed("account.deposit"),
            payload: json("{}"),
        },
        ActorEvent::MessageDelivered { number: 1 },
        ActorEvent::MessageSent {
            number: 2,
            to: ActorId::new("account", "44"),
            id: MessageId::from(6),
            kind: Cow::Borrowed("account.deposit"),
            payload: Payload::new(Codec::CompactMessagePack, &[0x80][..]),
        },
        received(5, Some(8), None),
        ActorEvent::ActorStopped,
    ];
    let step = ActorEvent::StepRecorded {
        sequence: Sequence(5),
        step: Cow::Borrowed("charge#1"),
        result: json("true"),
    };
    let events = events.into_iter().chain((version > 1).then_some(step));
    let since_version_3 = [
        ActorEvent::Fingerprinted { sequence: Sequence(5), fingerprint: 1 << 63 },
        ActorEvent::RunBegan { through: Sequence(5) },
        ActorEvent::AttemptsCounted { sequence: Sequence(5), attempts: 2 },
        transient(6),
        ActorEvent::MessageProcessed { sequence: Sequence(5), reply: json("5") },
        ActorEvent::MessageProcessed { sequence: Sequence(6), reply: json("5") },
        received(7, None, None),
        ActorEvent::AttemptsCounted { sequence: Sequence(7), attempts: 1 },
        received(8, None, None),
        repaired(RepairAction::GivenUp { sequence: Sequence(8) }),
        repaired(RepairAction::DeadLetterEdited {
            letter: Box::new(DeadLetter {
                sequence: Sequence(8),
                id: None,
                kind: "account.deposit".to_owned(),
                payload: json("{}"),
                attempts: 0,
                error: "by hand".to_owned(),
                at_ms: HEADER.at_ms,
            }),
        }),
        repaired(RepairAction::DeadLetterResent { sequence: Sequence(8) }),
        repaired(RepairAction::DeadLetterDiscarded { sequence: Sequence(8) }),
        repaired(RepairAction::Released),
        repaired(RepairAction::StateReplaced { state: json("7") }),
        repaired(RepairAction::Held),
    ];
    let (first, last, count) = (Sequence(2), Sequence(8), 3);
    let since_version_5 = [
        repaired(RepairAction::DeadLettersResent { first, last, count }),
        repaired(RepairAction::DeadLettersDiscarded { first, last, count }),
        ActorEvent::MessageReceived {
            sequence: Sequence(9),
            key: MessageKey::Line { line: MessageId::from(11), number: 1 },
            kind: Cow::Borrowed("account.deposit"),
            payload: json("{}"),
            resend_of: None,
        },
        ActorEvent::MessageSent {
            number: 3,
            to: ActorId::new("account", "43"),
            id: ON_A_LINE,
            kind: Cow::Borrowed("account.deposit"),
            payload: json("{}"),
        },
    ];
    let timer = |number, every| ActorEvent::TimerSet {
        number,
        due_ms: 1_700_000_000_000 + number,
        every,
        kind: Cow::Borrowed("account.remind"),
        payload: json("{}"),
    };
    let every = |missed| Some(Every { period_ms: 86_400_000, missed });
    let fired = |sequence, number, next_ms| ActorEvent::MessageReceived {
        sequence: Sequence(sequence),
        key: MessageKey::Timer { number, due_ms: 1_700_000_000_000 + number, next_ms },
        kind: Cow::Borrowed("account.remind"),
        payload: json("{}"),
        resend_of: None,
    };
    let since_version_6 = [
        timer(4, None),
        timer(5, every(Missed::Once)),
        timer(6, every(Missed::Each)),
        timer(7, None),
        timer(8, None),
        timer(9, None),
        fired(10, 4, None),
        fired(11, 5, Some(1_700_086_400_005)),
        ActorEvent::TimerCancelled { number: 7 },
        repaired(RepairAction::TimerCancelled { number: 8 }),
    ];
    let events = events.chain(since_version_3.into_iter().filter(|_| version > 2));
    let events = events.chain(since_version_5.into_iter().filter(|_| version > 4));
    let events = events.chain(since_version_6.into_iter().filter(|_| version > 5));
    let mut bytes = Vec::new();
    let mut count = 0;
    for event in events {
        push_entry(&mut bytes, ActorNo(1), &event).unwrap();
        count += 1;
    }
    if version > 2 {
        push_entry(&mut bytes, ActorNo(2), &repaired(RepairAction::Deleted)).unwrap();
        count += 1;
    }
    let mut row = Vec::new();
    let header = CommitHeader { entries: count, ..HEADER };
    encode_commit(&header, &bytes, &mut row).unwrap();
    row
}

fn header_of(row: &[u8]) -> CommitHeader {
    decode_commit(row).unwrap().0
}

fn sample_record(version: u8) -> (RecordHeader, ActorRecord) {
    let header = RecordHeader {
        shard: ShardId(0),
        no: ActorNo(1),
        position: Position(7),
        actor: ActorId::new("account", "42"),
    };
    // In version 4 a key leaves the window.
    let count = if version > 3 { 2 } else { 10 };
    let window = crate::recovery::Window { count, generated: count, age_ms: 1000, bytes: 1000 };
    let mut record = ActorRecord::default();
    let row = sample(version);
    let (_, bytes) = decode_commit(&row).unwrap();
    // The header in the file of version 2 counts one too few.
    for entry in entries(&header_of(&row), bytes) {
        let (no, event) = entry.unwrap();
        if no == header.no {
            record.apply(event, HEADER.stamp(), window).unwrap();
        }
    }
    (header, record)
}

/// The files under `fixtures/` were written by the version in their names and are read by every
/// later one. A new version adds files; it changes none.
#[test]
fn every_version_is_read_and_the_newest_is_written() {
    let fixture = |name: &str, version| {
        let path = format!("{}/fixtures/{name}-v{version}.bin", env!("CARGO_MANIFEST_DIR"));
        std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    for version in 1..=VERSION {
        let expected = sample(version);
        let (header, expected_entries) = decode_commit(&expected).unwrap();
        let header = if version < 3 { HEADER } else { header };
        let commit = fixture("commit", version);
        assert_eq!(decode_commit(&commit).unwrap(), (header, expected_entries));
        assert_eq!(decode_record(&fixture("record", version)).unwrap(), sample_record(version));
    }
    let (header, record) = sample_record(VERSION);
    assert_eq!(record.transient.recorded.len(), 1);
    assert_eq!(record.pending[0].attempts, Some(1));
    assert_eq!(record.aged.newest_ms(), HEADER.clock_ms);
    assert_eq!(record.lines.look(MessageId::from(11), 2), Numbered::Next);
    assert_eq!(record.outbox.len(), 2);
    let timers = record.timers.iter().map(|(number, timer)| (number, timer.due_ms));
    let due = [(5, 1_700_086_400_005), (6, 1_700_000_000_006), (9, 1_700_000_000_009)];
    assert_eq!(timers.collect::<Vec<_>>(), due);
    assert_eq!(fixture("commit", VERSION), sample(VERSION));
    assert_eq!(fixture("record", VERSION), encode_record(&header, &record).unwrap());
}

/// As [`every_version_is_read_and_the_newest_is_written`]: keys are in version 1.
#[test]
fn a_key_is_read_as_it_was_written() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/key-v1.bin");
    let reply = Payload::new(Codec::CompactMessagePack, &[0x80][..]);
    let recorded = RecordedOutcome {
        id: MessageId::from(u128::MAX),
        at_ms: HEADER.clock_ms,
        outcome: crate::record::Outcome::Processed(reply),
        fingerprint: Some(1 << 63),
    };
    let key = KeyRow { shard: ShardId(3), no: ActorNo(7), recorded };
    let row = std::fs::read(path).unwrap();
    assert_eq!(decode_value::<KeyRow>(KEY, &row).unwrap(), key);
    assert_eq!(encode_value(KEY, &key).unwrap(), row);
}

#[test]
fn a_version_of_the_future_is_named() {
    let mut row = sample(VERSION);
    row[MAGIC.len()] = VERSION + 1;
    assert_eq!(decode_commit(&row), Err(EnvelopeError::Version(VERSION + 1)));
}

#[test]
fn every_flipped_bit_and_every_cut_is_found() {
    let row = sample(VERSION);
    for bit in 0..row.len() * 8 {
        let mut bad = row.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(decode_commit(&bad).is_err(), "bit {bit}");
    }
    for length in 0..row.len() {
        assert!(decode_commit(&row[..length]).is_err(), "length {length}");
    }
}

#[test]
fn a_record_is_no_commit() {
    let (header, record) = sample_record(VERSION);
    let row = encode_record(&header, &record).unwrap();
    assert_eq!(decode_commit(&row).unwrap_err(), EnvelopeError::Kind { found: 'R', expected: 'C' });
}

#[test]
fn a_commit_has_as_many_entries_as_its_header_says() {
    let row = sample(1);
    let (header, body) = decode_commit(&row).unwrap();
    assert!(entries(&header, body).all(|entry| entry.is_ok()));
    for said in [15, 17] {
        let header = CommitHeader { entries: said, ..header };
        let last = entries(&header, body).last().unwrap().unwrap_err();
        assert_eq!(last.to_string(), format!("16 entries where {said} were written"));
    }
}
