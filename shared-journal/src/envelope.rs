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

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::event::ActorEvent;
use crate::id::{ActorId, ActorNo, Epoch, Position, ShardId};
use crate::record::{ActorRecord, DeadLetter, RecordedOutcome, Stamp};
use crate::record_v2::RecordV2;

const MAGIC: &[u8; 3] = b"DXJ";
/// The newest version. 2: steps. 3: the journal's clock, attempts, fingerprints, transient outcomes.
/// 4: keys in rows. 5: lines, repairs of many dead letters. 6: timers. The others are still as in version 1, but for
/// letters and answers with a correlation number: 2.
pub(crate) const VERSION: u8 = 6;
const NUMBERED: u8 = 2;
const VERSION_AT: usize = MAGIC.len();
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
    // What versions 2, 4, 5 and 6 added stands at the end, and is empty: a list of no steps, no key in a row,
    // no lines, no timers.
    let body = match version {
        1 | 5 => Cow::Owned([body, &[0]].concat()),
        3 => Cow::Owned([body, &[0, 0, 0]].concat()),
        4 => Cow::Owned([body, &[0, 0]].concat()),
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

/// The stored form of a value with a number; without one, 0, as version 1 has it.
pub(crate) fn encode_numbered<T: Serialize>(
    kind: u8,
    value: &T,
    number: u64,
) -> Result<Vec<u8>, postcard::Error> {
    let mut out = encode_value(kind, value)?;
    if number > 0 {
        out.truncate(out.len() - CHECKSUM);
        out[VERSION_AT] = NUMBERED;
        out = postcard::to_extend(&number, out)?;
        seal(&mut out);
    }
    Ok(out)
}

/// Reads a value and its number: 0 if it has none.
pub(crate) fn decode_numbered<T: DeserializeOwned>(
    kind: u8,
    row: &[u8],
) -> Result<(T, u64), EnvelopeError> {
    if open(kind, row)?.0 < NUMBERED {
        return Ok((decode_value(kind, row)?, 0));
    }
    let (value, number) = decode_value(kind, row)?;
    if number == 0 {
        return Err(EnvelopeError::Content("its number is 0".into()));
    }
    Ok((value, number))
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
    let version = prefix[VERSION_AT];
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
mod tests;
