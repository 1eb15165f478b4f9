//! Idempotency keys of a shard, for stores that have all of it in memory.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::id::{ActorNo, MessageId};
use crate::provider::StoredKey;

#[derive(Debug, Default)]
pub(crate) struct KeyTable(BTreeMap<(ActorNo, MessageId), StoredKey>);

impl KeyTable {
    pub(crate) fn insert(&mut self, key: StoredKey) {
        self.0.insert((key.no, key.id), key);
    }

    /// Deletes all of an actor.
    pub(crate) fn delete_of(&mut self, no: ActorNo) {
        self.0.retain(|(of, _), _| *of != no);
    }

    /// Deletes what is from before this time.
    pub(crate) fn delete_before(&mut self, at_ms: u64) {
        self.0.retain(|_, key| key.at_ms >= at_ms);
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &StoredKey> {
        self.0.values()
    }

    pub(crate) fn load(&self, no: ActorNo, ids: &[MessageId]) -> Vec<StoredKey> {
        ids.iter().filter_map(|id| self.0.get(&(no, *id))).cloned().collect()
    }

    pub(crate) fn list(
        &self,
        no: ActorNo,
        after: Option<MessageId>,
        limit: usize,
    ) -> Vec<StoredKey> {
        let after = after.map_or(Bound::Included((no, 0.into())), |it| Bound::Excluded((no, it)));
        let range = self.0.range((after, Bound::Included((no, u128::MAX.into()))));
        range.take(limit).map(|(_, key)| key.clone()).collect()
    }
}
