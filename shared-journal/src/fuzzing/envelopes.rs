//! Envelopes: bytes that are none, bytes behind a valid checksum, and good ones that were damaged.

use arbitrary::{Result, Unstructured};

use super::events::{event, payload, some_bytes, text};
use crate::cluster::encoded_again;
use crate::envelope::{
    ANSWER, COMMIT, CommitHeader, EnvelopeError, LETTER, RECORD, RecordHeader, VERSION,
    decode_commit, decode_record, encode_commit, encode_numbered, encode_record, entries,
    push_entry, sealed as seal,
};
use crate::id::{ActorId, ActorNo, Epoch, MessageId, MessageKey, Position, ShardId};
use crate::record::{ActorRecord, Stamp};
use crate::recovery::Window;

const KINDS: [u8; 4] = [COMMIT, RECORD, LETTER, ANSWER];
const PREFIX: usize = 5;
const CHECKSUM: usize = 4;

/// Any bytes are an error or something that is written again as it was read.
///
/// # Panics
/// They are not.
pub fn raw(row: &[u8]) {
    KINDS.into_iter().for_each(|kind| read_again(kind, row));
}

/// So are any bytes behind a valid prefix and checksum, as which no row of another kind passes. The
/// first byte says which kind and version.
///
/// # Panics
/// They are not.
pub fn sealed(bytes: &[u8]) {
    let Some((choice, body)) = bytes.split_first() else { return };
    let kind = KINDS[usize::from(choice % 4)];
    let row = seal(1 + choice / 4 % VERSION, kind, body);
    read_again(kind, &row);
    for other in KINDS.into_iter().filter(|other| *other != kind) {
        let error = again(other, &row).err();
        assert!(matches!(error, Some(EnvelopeError::Kind { .. })), "{error:?}");
    }
    // Nobody writes such a record; whoever meets one does not die of it.
    if let (RECORD, Ok((_, record))) = (kind, decode_record(&row)) {
        let _ = go_on(&mut Unstructured::new(body), record);
    }
}

/// A good row whose bits were changed, that was cut, that has something behind it, or that stands for
/// another kind or version, with its old checksum or a new one, is an error.
///
/// A checksum of 32 bits finds every change within 32 bits, not every change: only such are made under
/// the old one.
///
/// # Panics
/// It passes.
pub fn damaged(bytes: &[u8]) {
    let mut u = Unstructured::new(bytes);
    // The way it is damaged comes first: what the row is made of may use up the bytes.
    let Ok(damage) = u.arbitrary::<[u8; 9]>() else { return };
    let Ok((kind, row)) = good(&mut u) else { return };
    assert_eq!(again(kind, &row).as_ref(), Ok(&row), "as it was written");
    let bad = damage_to(&row, &damage, &mut u);
    assert!(again(kind, &bad).is_err(), "{row:x?} passes as {bad:x?}, {damage:?}");
}

fn damage_to(row: &[u8], damage: &[u8; 9], u: &mut Unstructured<'_>) -> Vec<u8> {
    let [way, a, b, c, d, e, f, g, h] = *damage;
    let place = usize::from(u16::from_le_bytes([a, b]));
    let body = &row[PREFIX..row.len() - CHECKSUM];
    let (version, kind) = (row[3], row[4]);
    match way % 7 {
        0 => row[..place % row.len()].to_vec(),
        1 => [row, &damage[1..=1 + usize::from(c % 8)]].concat(),
        2 => seal(version, kind, &body[..place % body.len()]),
        3 => seal(version, kind, &[body, &damage[1..=1 + usize::from(c % 8)]].concat()),
        4 => seal(version, KINDS[position_of(kind) ^ (1 + usize::from(c % 3))], body),
        5 => seal(if c == 0 { 0 } else { VERSION.saturating_add(c) }, kind, body),
        _ => {
            let mut bad = row.to_vec();
            let burst = u32::from_le_bytes([c, d, e, f]).max(1);
            // Bit 0 of a byte goes into the checksum first.
            let bits = u64::from(burst) << (g % 8);
            let mut start = place % bad.len();
            if h % 4 == 0 {
                // The checksum itself, and what is next to it.
                start = bad.len() - 1 - usize::from(h / 4) % 9;
            }
            let mut changed = false;
            for (byte, bits) in bad[start..].iter_mut().zip(bits.to_le_bytes()) {
                *byte ^= bits;
                changed |= bits != 0;
            }
            if !changed {
                bad[start] ^= 1 << u.int_in_range(0..=7).unwrap_or(0);
            }
            bad
        }
    }
}

fn position_of(kind: u8) -> usize {
    KINDS.iter().position(|it| *it == kind).unwrap_or(0)
}

/// A row of any kind.
fn good(u: &mut Unstructured<'_>) -> Result<(u8, Vec<u8>)> {
    let kind = *u.choose(&KINDS)?;
    let id = MessageId::from(u.arbitrary::<u128>()?);
    let row = match kind {
        COMMIT => return Ok((kind, commit(u)?)),
        RECORD => {
            let header = RecordHeader {
                shard: ShardId(u.arbitrary()?),
                no: ActorNo(u.arbitrary()?),
                position: Position(u.arbitrary()?),
                actor: ActorId::new(text(u)?, text(u)?),
            };
            encode_record(&header, &go_on(u, ActorRecord::default())?)
        }
        // Field by field, as they are written.
        LETTER => {
            let reply_to = if u.arbitrary()? { Some(text(u)?) } else { None };
            let letter = (MessageKey::Caller(id), text(u)?, payload(u)?, reply_to);
            encode_numbered(LETTER, &letter, u.arbitrary()?)
        }
        _ => encode_numbered(ANSWER, &(id, Ok::<_, ()>(payload(u)?)), u.arbitrary()?),
    };
    Ok((kind, row.expect("it encodes")))
}

/// Goes on with a record as far as the bytes last.
fn go_on(u: &mut Unstructured<'_>, mut record: ActorRecord) -> Result<ActorRecord> {
    let window = Window { count: 3, generated: 3, age_ms: 1000, bytes: 30 };
    for _ in 0..u.int_in_range(0..=12)? {
        let event = event(u, &record)?;
        let clock_ms = u.arbitrary()?;
        let position = Position(u.int_in_range(0..=3)?);
        let stamp = Stamp { position, epoch: Epoch(1), at_ms: clock_ms, clock_ms };
        // Refused or not.
        let _ = record.apply(event, stamp, window);
    }
    Ok(record)
}

fn commit(u: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let (mut bytes, mut count) = (Vec::new(), 0);
    let record = ActorRecord { spawned: true, ..ActorRecord::default() };
    for _ in 0..u.int_in_range(0..=5)? {
        let no = ActorNo(u.arbitrary()?);
        push_entry(&mut bytes, no, &event(u, &record)?).expect("it encodes");
        count += 1;
    }
    let header = CommitHeader {
        shard: ShardId(u.arbitrary()?),
        position: Position(u.arbitrary()?),
        epoch: Epoch(u.arbitrary()?),
        at_ms: u.arbitrary()?,
        entries: count,
        clock_ms: u.arbitrary()?,
    };
    // Rows are written over old ones.
    let mut row = some_bytes(u)?.to_vec();
    encode_commit(&header, &bytes, &mut row).expect("it encodes");
    Ok(row)
}

/// Reads a row to its end, and what is written of that: the same again, or less where a number had a
/// longer form than is ever written.
fn read_again(kind: u8, row: &[u8]) {
    let Ok(written) = again(kind, row) else { return };
    // An older version gets what was added since: a few bytes of a commit's clock; of a record, some
    // for each message and outcome, and there is a byte at least for each.
    let added = match (kind, row[3]) {
        (COMMIT, ..3) => 10,
        (RECORD, ..3) => 9 + 2 * row.len(),
        // When the newest key in a row was recorded, no lines, and no timers.
        (RECORD, 3) => 3,
        (RECORD, 4) => 2,
        (RECORD, 5) => 1,
        _ => 0,
    };
    assert!(written.len() <= row.len() + added, "{row:x?} grows to {written:x?}");
    if written.len() == row.len() && written[3] == row[3] {
        assert_eq!(written, row);
    }
    assert_eq!(again(kind, &written).as_ref(), Ok(&written));
}

/// Everything of a row, decoded and encoded again.
fn again(kind: u8, row: &[u8]) -> std::result::Result<Vec<u8>, EnvelopeError> {
    match kind {
        COMMIT => {
            let (header, body) = decode_commit(row)?;
            let mut bytes = Vec::new();
            for entry in entries(&header, body) {
                let (no, event) = entry?;
                push_entry(&mut bytes, no, &event)?;
            }
            let mut row = Vec::new();
            encode_commit(&header, &bytes, &mut row)?;
            Ok(row)
        }
        RECORD => {
            let (header, record) = decode_record(row)?;
            // Each entry of a list takes a byte at least, so a list is no longer than the row.
            let lists =
                [record.pending.len(), record.window.iter().len(), record.generated.iter().len()];
            let more = [record.dead.len(), record.outbox.len(), record.steps.len()];
            let more = more.into_iter().chain([record.timers.iter().len()]);
            assert!(lists.into_iter().chain(more).sum::<usize>() <= row.len());
            Ok(encode_record(&header, &record)?)
        }
        _ => encoded_again(kind, row),
    }
}
