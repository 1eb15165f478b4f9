//! Idempotency keys between the record that knows the last of them and the store that has the rest.

use rustc_hash::FxHashMap;

use super::Shared;
use super::slot::Slot;
use crate::envelope::{KEY, KeyRow, decode_value, encode_value};
use crate::error::{JournalError, Place};
use crate::id::{ActorNo, MessageId, ShardId};
use crate::provider::{ActorProvider, StoredKey};
use crate::record::RecordedOutcome;

/// The stored form of a key.
pub(crate) fn stored_key(
    shard: ShardId,
    no: ActorNo,
    recorded: &RecordedOutcome,
) -> Result<StoredKey, postcard::Error> {
    let bytes = encode_value(KEY, &KeyRow { shard, no, recorded })?;
    Ok(StoredKey { no, id: recorded.id, at_ms: recorded.at_ms, bytes })
}

/// Decodes a stored key and checks that it is where it belongs.
pub(crate) fn read_key(
    provider: &dyn ActorProvider,
    shard: ShardId,
    stored: &StoredKey,
) -> Result<RecordedOutcome, JournalError> {
    let StoredKey { no, id, at_ms, bytes } = stored;
    let corrupt = |reason: String| JournalError::Corrupt {
        store: provider.location(),
        place: Place::shard(shard).of_no(*no),
        reason: format!("the row of the key {id}: {reason}"),
    };
    let row: KeyRow = decode_value(KEY, bytes).map_err(|error| corrupt(error.to_string()))?;
    let found = (row.shard, row.no, row.recorded.id, row.recorded.at_ms);
    if found != (shard, *no, *id, *at_ms) {
        let (shard, no, id, at_ms) = found;
        return Err(corrupt(format!("it holds the key {id} of {no:?}, {shard:?}, of {at_ms} ms")));
    }
    Ok(row.recorded)
}

/// What is recorded of these keys of an actor, in their order.
pub(super) fn recorded(
    shared: &Shared,
    no: ActorNo,
    slot: &Slot,
    ids: &[MessageId],
) -> Result<Vec<Option<RecordedOutcome>>, JournalError> {
    let record = &slot.record;
    let mut found: Vec<_> = ids.iter().map(|id| record.recorded(*id).cloned()).collect();
    let horizon = shared.oldest_key_ms();
    if record.aged.newest_ms() < horizon.max(1) || record.aged.to_delete().is_some() {
        return Ok(found);
    }
    let missing = ids.iter().zip(&found).filter(|(_, found)| found.is_none());
    let wanted: Vec<_> = missing.map(|(id, _)| *id).collect();
    if wanted.is_empty() {
        return Ok(found);
    }
    let rows = pollster::block_on(shared.provider.load_keys(shared.shard, no, &wanted))?;
    let mut stored = FxHashMap::default();
    for row in rows.iter().filter(|row| row.at_ms >= horizon) {
        stored.insert(row.id, read_key(&*shared.provider, shared.shard, row)?);
    }
    for (id, found) in ids.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
        *found = stored.get(id).cloned();
    }
    Ok(found)
}
