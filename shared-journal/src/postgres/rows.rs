//! What rows and parameters are, here and there.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::error::Failure;
use crate::id::{ActorId, ActorNo, Epoch, MessageId, Position};
use crate::provider::{ShardHead, StoredKey, StoredRecord};

pub(super) fn head(row: &PgRow, epoch: Epoch, checkpoint: Position) -> Result<ShardHead, Failure> {
    let tail = optional(row, 1)?.map_or(checkpoint, Position);
    Ok(ShardHead {
        epoch,
        checkpoint,
        oldest: optional(row, 0)?.map(Position),
        tail: tail.max(checkpoint),
        last_actor: ActorNo(optional(row, 2)?.unwrap_or(0)),
        actors: unsigned(row, 3)?,
    })
}

pub(super) fn stored_record(row: &PgRow) -> Result<StoredRecord, Failure> {
    Ok(StoredRecord {
        no: ActorNo(unsigned(row, 0)?),
        actor: actor_id(row)?,
        due_ms: optional(row, 3)?,
        pending: unsigned(row, 4)?,
        dead_letters: unsigned(row, 5)?,
        bytes: row.try_get(6)?,
    })
}

pub(super) fn stored_key(no: ActorNo, row: &PgRow) -> Result<StoredKey, Failure> {
    let id: [u8; 16] = row.try_get(0)?;
    let id = MessageId::from(u128::from_be_bytes(id));
    Ok(StoredKey { no, id, at_ms: unsigned(row, 1)?, bytes: row.try_get(2)? })
}

/// In the order of the ids.
pub(super) fn blob(id: MessageId) -> Vec<u8> {
    id.as_u128().to_be_bytes().to_vec()
}

pub(super) fn actor_id(row: &PgRow) -> Result<ActorId, Failure> {
    Ok(ActorId::new(row.try_get::<String, _>(1)?, row.try_get::<String, _>(2)?))
}

/// PostgreSQL has signed integers only; ours do not get that far.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(row: &PgRow, column: usize) -> Result<u64, Failure> {
    Ok(row.try_get::<i64, _>(column)?.unsigned_abs())
}

pub(super) fn optional(row: &PgRow, column: usize) -> Result<Option<u64>, Failure> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(i64::unsigned_abs))
}
