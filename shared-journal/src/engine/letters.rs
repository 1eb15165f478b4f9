//! Dead letters between the record that knows of them and the store that has them.

use super::Shared;
use super::slot::Slot;
use crate::envelope::{DEAD, DeadRow, decode_value, encode_value};
use crate::error::{JournalError, Place};
use crate::id::{ActorNo, Sequence, ShardId};
use crate::provider::{ActorProvider, StoredLetter};
use crate::record::DeadLetter;

/// Read at a time, at most so many bytes, but always one letter.
const PAGE_BYTES: u64 = 4 << 20;

/// The stored form of a letter.
pub(crate) fn stored_letter(
    shard: ShardId,
    no: ActorNo,
    letter: &DeadLetter,
) -> Result<StoredLetter, postcard::Error> {
    let bytes = encode_value(DEAD, &DeadRow { shard, no, letter })?;
    Ok(StoredLetter { no, sequence: letter.sequence, bytes })
}

/// Decodes a stored letter and checks that it is where it belongs.
pub(crate) fn read_letter(
    provider: &dyn ActorProvider,
    shard: ShardId,
    stored: &StoredLetter,
) -> Result<DeadLetter, JournalError> {
    let corrupt = |reason: String| JournalError::Corrupt {
        store: provider.location(),
        place: Place::shard(shard).of_no(stored.no).message(stored.sequence),
        reason,
    };
    let row: DeadRow =
        decode_value(DEAD, &stored.bytes).map_err(|error| corrupt(error.to_string()))?;
    if (row.shard, row.no, row.letter.sequence) != (shard, stored.no, stored.sequence) {
        return Err(corrupt(format!(
            "the row holds the dead letter {} of {:?}, {:?}",
            row.letter.sequence, row.no, row.shard
        )));
    }
    Ok(row.letter)
}

/// The letters of an actor after `after`: at most `limit` and [`PAGE_BYTES`] of them, and none if
/// there is none.
pub(super) fn page(
    shared: &Shared,
    no: ActorNo,
    slot: &Slot,
    after: Sequence,
    limit: usize,
) -> Result<Vec<DeadLetter>, JournalError> {
    let dead = &slot.record.dead;
    let (mut letters, mut bytes) = (Vec::new(), 0);
    // Rows that were read ahead, and may be of letters that are gone.
    let mut rows = Vec::new().into_iter();
    for (sequence, indexed) in dead.after(after).take(limit) {
        bytes += indexed.bytes;
        if bytes > PAGE_BYTES && !letters.is_empty() {
            break;
        }
        if let Some(letter) = dead.unsaved(sequence) {
            letters.push(letter.clone());
            continue;
        }
        let found = rows.find(|row: &StoredLetter| row.sequence >= sequence);
        let found = match found {
            Some(row) => Some(row),
            None => {
                let wanted = dead.after(before(sequence)).take(limit - letters.len());
                let wanted = wanted.fold(0_u64, |sum, (_, it)| sum.saturating_add(it.bytes));
                let max_bytes = usize::try_from(wanted.clamp(1, PAGE_BYTES)).unwrap_or(usize::MAX);
                rows = pollster::block_on(shared.provider.load_letters(
                    shared.shard,
                    no,
                    before(sequence),
                    max_bytes,
                ))?
                .into_iter();
                rows.next()
            }
        };
        match found.filter(|row| row.sequence == sequence) {
            Some(row) => letters.push(read_letter(&*shared.provider, shared.shard, &row)?),
            None => {
                return Err(JournalError::Corrupt {
                    store: shared.provider.location(),
                    place: Place::shard(shared.shard).of(&slot.actor).of_no(no).message(sequence),
                    reason: "the dead letter is missing".to_owned(),
                });
            }
        }
    }
    Ok(letters)
}

fn before(sequence: Sequence) -> Sequence {
    Sequence(sequence.0.saturating_sub(1))
}
