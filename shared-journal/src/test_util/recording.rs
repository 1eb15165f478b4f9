//! Reading what a journal has recorded of the actors of one type.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::piece::{Recorded, Tape};
use crate::copy::{founding_of, records_after};
use crate::engine::{Checked, From, Scan, read_record};
use crate::envelope::entries;
use crate::error::{JournalError, Place};
use crate::event::ActorEvent;
use crate::id::{ActorId, ActorNo, Position, ShardId};
use crate::provider::ActorProvider;
use crate::record::ActorRecord;

/// Reads a store that may be in use. Writes nothing.
pub(super) async fn recording_of(
    store: Arc<dyn ActorProvider>,
    actor_type: &'static str,
) -> Result<Vec<Recorded>, JournalError> {
    let shards = founding_of(&store).await?.shards;
    // Stores may block.
    let reading = tokio::task::spawn_blocking(move || {
        let mut recorded = Vec::new();
        for shard in (0..shards).map(ShardId) {
            recorded.extend(pollster::block_on(read_shard(&store, shard, actor_type))?);
        }
        Ok(recorded)
    });
    reading.await.map_err(|_| JournalError::Closed)?
}

async fn read_shard(
    store: &Arc<dyn ActorProvider>,
    shard: ShardId,
    actor_type: &str,
) -> Result<Vec<Recorded>, JournalError> {
    // The log first: a record that is read later is never older than what the log said.
    let mut tapes = read_log(store, shard).await?;
    let mut recorded = Vec::new();
    for (no, (actor, position, record)) in read_records(store, shard).await? {
        let tape = tapes.remove(&no).unwrap_or_default();
        if actor.actor_type() == actor_type {
            recorded.push(tape.recorded(store, shard, actor, position, record)?);
        }
    }
    // Those that no checkpoint has saved yet.
    for tape in tapes.into_values() {
        let Some(ActorEvent::Spawned { actor }) = tape.first() else { continue };
        if actor.actor_type() == actor_type {
            let actor = actor.clone();
            let (position, record) = (Position(0), ActorRecord::default());
            recorded.push(tape.recorded(store, shard, actor, position, record)?);
        }
    }
    Ok(recorded)
}

async fn read_log(
    store: &Arc<dyn ActorProvider>,
    shard: ShardId,
) -> Result<BTreeMap<ActorNo, Tape>, JournalError> {
    let mut tapes: BTreeMap<ActorNo, Tape> = BTreeMap::new();
    let mut scan = Scan::new(store.clone(), shard, From::Oldest);
    loop {
        let commits = scan.read().await?;
        if commits.is_empty() {
            return Ok(tapes);
        }
        for commit in &commits {
            let Checked { header, body, after_gap } = scan.check(commit)?;
            if after_gap {
                // What is between may be anything.
                tapes.clear();
            }
            for entry in entries(&header, body) {
                let (no, event) = entry.map_err(|error| JournalError::Corrupt {
                    store: store.location(),
                    place: Place::shard(shard).at(header.position),
                    reason: error.to_string(),
                })?;
                tapes.entry(no).or_default().push(header.stamp(), event);
            }
        }
    }
}

type Records = BTreeMap<ActorNo, (ActorId, Position, ActorRecord)>;

async fn read_records(
    store: &Arc<dyn ActorProvider>,
    shard: ShardId,
) -> Result<Records, JournalError> {
    let mut records = BTreeMap::new();
    let mut after = ActorNo(0);
    while let Some(page) = records_after(&**store, shard, after).await? {
        for stored in page {
            after = stored.no;
            let (header, record) = read_record(&**store, shard, &stored)?;
            records.insert(stored.no, (stored.actor, header.position, record));
        }
    }
    Ok(records)
}
