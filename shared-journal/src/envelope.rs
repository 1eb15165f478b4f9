//! The stored form of commits and records: versioned, checksummed, then postcard.
//!
//! ```text
//! "DXJ" | version (1 byte) | kind (1 byte) | body | CRC-32 (4 bytes, LE)
//! ```
//!
//! The body of a commit (kind 'C') is its [`CommitHeader`] and then its entries, one after the
//! other; that of a record ('R') is its [`RecordHeader`] and the record; dead letters ('D'), letters
//! ('L') and answers ('A') between nodes and keys
//! ('K') are one value each. The checksum covers everything before it, so a
//! row that was moved to another place is found as well as one whose bits changed. Below the
//! envelope the format is [postcard]'s.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::event::ActorEvent;
use crate::id::{ActorId, ActorNo, Epoch, Position, ShardId};
use crate::record::{ActorRecord, DeadLetter, RecordedOutcome, Stamp};
use crate::record_v2::RecordV2;

const MAGIC: &[u8; 3] = b"DXJ";
/// The newest version. 2: steps. 3: the journal's clock, attempts, fingerprints, transient outcomes.
/// 4: keys in rows. The others are still as in version 1.
pub(crate) const VERSION: u8 = 4;
const PREFIX: usize = MAGIC.len() + 2;
const CHECKSUM: usize = 4;
/// The kind of a commit.
pub(crate) const COMMIT: u8 = b'C';
/// The kind of a record.
pub(crate) const RECORD: u8 = b'R';
/// The kind of a dead letter.
pub(crate) const DEAD: u8 = b'D';
/// The kind of an idempotency key.
pub(crate) const KEY: u8 = b'K';
/// The kind of a letter.
pub(crate) const LETTER: u8 = b'L';
/// The kind of an answer.
pub(crate) const ANSWER: u8 = b'A';

/// What a commit says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommitHeader {
    pub(crate) shard: ShardId,
    pub(crate) position: Position,
    pub(crate) epoch: Epoch,
    /// Milliseconds since 1970 by the clock of the owner.
    pub(crate) at_ms: u64,
    /// The number of entries.
    pub(crate) entries: u64,
    /// Milliseconds by the journal's own clock: see [`Stamp`]. Since version 3.
    pub(crate) clock_ms: u64,
}

impl CommitHeader {
    pub(crate) fn stamp(&self) -> Stamp {
        let Self { position, epoch, at_ms, clock_ms, .. } = *self;
        Stamp { position, epoch, at_ms, clock_ms }
    }
}

/// What a commit of version 1 or 2 says of itself.
#[derive(Deserialize)]
struct HeaderV2 {
    shard: ShardId,
    position: Position,
    epoch: Epoch,
    at_ms: u64,
    entries: u64,
}

impl From<HeaderV2> for CommitHeader {
    fn from(old: HeaderV2) -> Self {
        let HeaderV2 { shard, position, epoch, at_ms, entries } = old;
        Self { shard, position, epoch, at_ms, entries, clock_ms: at_ms }
    }
}

/// What a record says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RecordHeader {
    pub(crate) shard: ShardId,
    pub(crate) no: ActorNo,
    /// Every event up to and including this commit is in the record.
    pub(crate) position: Position,
    pub(crate) actor: ActorId,
}

/// A dead letter, and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DeadRow<L = DeadLetter> {
    pub(crate) shard: ShardId,
    pub(crate) no: ActorNo,
    pub(crate) letter: L,
}

/// An idempotency key, and where it belongs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct KeyRow<R = RecordedOutcome> {
    pub(crate) shard: ShardId,
    pub(crate) no: ActorNo,
    pub(crate) recorded: R,
}

/// Why bytes are not an envelope of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// Shorter than the shortest envelope.
    #[error("{0} bytes are too few")]
    Short(usize),
    /// The first bytes are not ours.
    #[error("the magic bytes are missing")]
    Magic,
    /// A format of the future.
    #[error("format version {0} is unknown; the newest known is {VERSION}")]
    Version(u8),
    /// A commit where a record is expected, or the other way round.
    #[error("kind {found:?}, expected {expected:?}")]
    Kind {
        /// The kind found.
        found: char,
        /// The kind expected.
        expected: char,
    },
    /// The checksum does not match.
    #[error("checksum {stored:08x}, computed {computed:08x}")]
    Checksum {
        /// As stored.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// The checksum matches and the content does not decode.
    #[error("{0}")]
    Content(String),
}

impl From<postcard::Error> for EnvelopeError {
    fn from(error: postcard::Error) -> Self {
        Self::Content(error.to_string())
    }
}

/// Appends one entry of a commit to `out`.
pub(crate) fn push_entry(
    out: &mut Vec<u8>,
    no: ActorNo,
    event: &ActorEvent<'_>,
) -> Result<(), postcard::Error> {
    *out = postcard::to_extend(&(no, event), std::mem::take(out))?;
    Ok(())
}

/// Writes a commit of entries made by [`push_entry`] over `out`.
pub(crate) fn encode_commit(
    header: &CommitHeader,
    entries: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), postcard::Error> {
    begin(COMMIT, out);
    *out = postcard::to_extend(header, std::mem::take(out))?;
    out.extend_from_slice(entries);
    seal(out);
    Ok(())
}

/// Reads a commit: its header, and its entries still encoded.
pub(crate) fn decode_commit(row: &[u8]) -> Result<(CommitHeader, &[u8]), EnvelopeError> {
    match open(COMMIT, row)? {
        (1 | 2, body) => {
            let (header, entries) = postcard::take_from_bytes::<HeaderV2>(body)?;
            Ok((header.into(), entries))
        }
        (_, body) => Ok(postcard::take_from_bytes(body)?),
    }
}

/// The entries of a commit, one by one. Ends after the first that does not decode, and with an error
/// if there are not as many as the header says.
pub(crate) fn entries<'c>(
    header: &CommitHeader,
    bytes: &'c [u8],
) -> impl Iterator<Item = Result<(ActorNo, ActorEvent<'c>), EnvelopeError>> + use<'c> {
    let (mut rest, expected, mut found) = (Some(bytes), header.entries, 0);
    std::iter::from_fn(move || {
        let bytes = rest.take()?;
        if bytes.is_empty() {
            let reason = || format!("{found} entries where {expected} were written");
            return (found != expected).then(|| Err(EnvelopeError::Content(reason())));
        }
        match postcard::take_from_bytes(bytes) {
            Ok((entry, behind)) => {
                rest = Some(behind);
                found += 1;
                Some(Ok(entry))
            }
            Err(error) => Some(Err(error.into())),
        }
    })
}

/// The stored form of a record.
pub(crate) fn encode_record(
    header: &RecordHeader,
    record: &ActorRecord,
) -> Result<Vec<u8>, postcard::Error> {
    let mut out = Vec::with_capacity(256);
    begin(RECORD, &mut out);
    out = postcard::to_extend(header, out)?;
    out = postcard::to_extend(record, out)?;
    seal(&mut out);
    Ok(out)
}

/// Reads a record.
pub(crate) fn decode_record(row: &[u8]) -> Result<(RecordHeader, ActorRecord), EnvelopeError> {
    let (version, body) = open(RECORD, row)?;
    // What versions 2 and 4 added stands at the end, and is empty: a list of no steps, no key in a row.
    let body = match version {
        1 | 3 => Cow::Owned([body, &[0]].concat()),
        _ => Cow::Borrowed(body),
    };
    let (header, rest) = postcard::take_from_bytes(&body)?;
    let (record, rest) = if version < 3 {
        let (record, rest) = postcard::take_from_bytes::<RecordV2<'_>>(rest)?;
        (record.into(), rest)
    } else {
        postcard::take_from_bytes(rest)?
    };
    if !rest.is_empty() {
        return Err(EnvelopeError::Content(format!("{} bytes follow the record", rest.len())));
    }
    Ok((header, record))
}

/// The stored form of one value.
pub(crate) fn encode_value<T: Serialize>(kind: u8, value: &T) -> Result<Vec<u8>, postcard::Error> {
    let mut out = Vec::with_capacity(256);
    begin(kind, &mut out);
    out = postcard::to_extend(value, out)?;
    seal(&mut out);
    Ok(out)
}

/// Reads a value.
pub(crate) fn decode_value<'a, T: Deserialize<'a>>(
    kind: u8,
    row: &'a [u8],
) -> Result<T, EnvelopeError> {
    let (value, rest) = postcard::take_from_bytes(open(kind, row)?.1)?;
    if !rest.is_empty() {
        return Err(EnvelopeError::Content(format!("{} bytes follow", rest.len())));
    }
    Ok(value)
}

/// Any body behind a valid prefix and a valid checksum: for [`fuzzing`](crate::fuzzing).
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn sealed(version: u8, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = [&MAGIC[..], &[version, kind], body].concat();
    seal(&mut out);
    out
}

/// What is written today.
fn version_of(kind: u8) -> u8 {
    match kind {
        COMMIT | RECORD => VERSION,
        _ => 1,
    }
}

fn begin(kind: u8, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[version_of(kind), kind]);
}

fn seal(out: &mut Vec<u8>) {
    let checksum = crc32fast::hash(out);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// Checks an envelope and returns its version and body.
fn open(kind: u8, row: &[u8]) -> Result<(u8, &[u8]), EnvelopeError> {
    let Some((sealed, checksum)) =
        row.split_last_chunk::<CHECKSUM>().filter(|(sealed, _)| sealed.len() >= PREFIX)
    else {
        return Err(EnvelopeError::Short(row.len()));
    };
    let (prefix, body) = sealed.split_at(PREFIX);
    if !prefix.starts_with(MAGIC) {
        return Err(EnvelopeError::Magic);
    }
    // The version before the checksum: a later version may compute it in another way.
    let version = prefix[3];
    if version == 0 || version > VERSION {
        return Err(EnvelopeError::Version(version));
    }
    let (stored, computed) = (u32::from_le_bytes(*checksum), crc32fast::hash(sealed));
    if stored != computed {
        return Err(EnvelopeError::Checksum { stored, computed });
    }
    if prefix[4] != kind {
        return Err(EnvelopeError::Kind {
            found: char::from(prefix[4]),
            expected: char::from(kind),
        });
    }
    Ok((version, body))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Codec, Payload};
    use crate::event::RepairAction;
    use crate::id::{MessageId, MessageKey, Sequence};

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
        let events = events.chain(since_version_3.into_iter().filter(|_| version > 2));
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
        let window = crate::recovery::Window { count, age_ms: 1000, bytes: 1000 };
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
        assert_eq!(
            decode_commit(&row).unwrap_err(),
            EnvelopeError::Kind { found: 'R', expected: 'C' }
        );
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
}
