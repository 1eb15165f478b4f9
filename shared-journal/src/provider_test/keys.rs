//! Idempotency keys, which are rows beside the records.

use pollster::block_on;

use super::Suite;
use super::store::{Owner, SHARD, record};
use crate::id::{ActorNo, MessageId, ShardId};
use crate::provider::{CheckpointPart, StoredKey};

fn key(no: u64, id: u128, at_ms: u64, bytes: &[u8]) -> StoredKey {
    StoredKey { no: ActorNo(no), id: MessageId::from(id), at_ms, bytes: bytes.to_vec() }
}

fn part(keys: Vec<StoredKey>) -> CheckpointPart {
    CheckpointPart { keys, ..CheckpointPart::default() }
}

impl Owner {
    fn keys(&self, no: u64) -> Vec<StoredKey> {
        self.keys_after(no, None, 1 << 20)
    }

    fn keys_after(&self, no: u64, after: Option<u128>, limit: usize) -> Vec<StoredKey> {
        let after = after.map(MessageId::from);
        let listed = self.store.list_keys(self.shard, ActorNo(no), after, limit);
        block_on(listed).expect("the keys are listed")
    }

    fn found(&self, no: u64, ids: &[u128]) -> Vec<StoredKey> {
        let ids: Vec<_> = ids.iter().map(|id| MessageId::from(*id)).collect();
        let loaded = self.store.load_keys(self.shard, ActorNo(no), &ids);
        let mut found = block_on(loaded).expect("the keys are read");
        found.sort_by_key(|it| it.id);
        found
    }
}

/// Each is saved and replaced for itself, of its actor and its shard only, in the order of the numbers.
pub(super) fn keys_are_rows_beside_the_records(suite: &Suite<'_>) {
    let owner = suite.own(SHARD);
    assert!(owner.keys(1).is_empty() && owner.found(1, &[1, 2]).is_empty());
    let (zero, seven) = (key(1, 0, 5, b"zero"), key(1, 7, 5, b""));
    let (long, last) = (key(1, 1 << 100, 6, b"long"), key(1, u128::MAX, 5, b"last"));
    // Before there is a record of their actor.
    let first = vec![long.clone(), zero.clone(), last.clone(), key(2, 7, 5, b"x"), seven.clone()];
    owner.save(&part(first));
    assert_eq!(owner.keys(1), [zero.clone(), seven.clone(), long.clone(), last.clone()]);
    assert_eq!(owner.keys_after(1, None, 2), [zero.clone(), seven]);
    assert_eq!(owner.keys_after(1, Some(7), 1), std::slice::from_ref(&long));
    assert!(owner.keys_after(1, Some(u128::MAX), 9).is_empty());
    assert_eq!(owner.found(1, &[3, u128::MAX, 0]), [zero.clone(), last.clone()]);
    assert!(owner.found(3, &[0, 7]).is_empty() && owner.found(1, &[]).is_empty());
    let elsewhere = Owner::of(owner.store.clone(), ShardId(1));
    assert!(elsewhere.keys(1).is_empty());
    elsewhere.save(&part(vec![key(1, 0, 1, b"elsewhere")]));
    // Twice: a part whose outcome is unknown is saved again.
    let changed = key(1, 7, 9, b"changed");
    let second = CheckpointPart { records: vec![record(1, b"one")], ..part(vec![changed.clone()]) };
    for _ in 0..2 {
        owner.write(Some((1, b"batch")), Some(&second)).expect("the owner writes");
    }
    let expected = [zero, changed, long, last];
    assert_eq!(owner.keys(1), expected);
    // A newer owner finds them, and the older one writes none.
    let newer = suite.own(SHARD);
    let late = CheckpointPart { keys_of: Some(ActorNo(1)), ..part(vec![key(2, 1, 9, b"late")]) };
    assert!(owner.write(None, Some(&late)).expect_err("fenced").is_fenced());
    let late = CheckpointPart { keys_before: Some(99), ..CheckpointPart::default() };
    assert!(owner.write(None, Some(&late)).expect_err("fenced").is_fenced());
    assert_eq!(newer.keys(1), expected);
    assert_eq!(newer.keys(2), [key(2, 7, 5, b"x")]);
}

/// Some thousands at a time; to ask again changes nothing more than that.
pub(super) fn old_keys_go_and_those_of_a_deleted_actor(suite: &Suite<'_>) {
    let owner = suite.own(SHARD);
    let elsewhere = Owner::of(owner.store.clone(), ShardId(1));
    elsewhere.save(&part(vec![key(1, 1, 1, b"elsewhere")]));
    let many = |no: u64| (0..5000_u128).map(move |id| key(no, id, id as u64, b"key"));
    for no in 1..=3 {
        owner.save(&part(many(no).collect()));
    }
    let until = |part: &CheckpointPart, done: &dyn Fn() -> bool| {
        for _ in 0..5000 {
            if done() {
                return;
            }
            owner.save(part);
        }
        panic!("they do not go: {part:?}");
    };
    let of_one = CheckpointPart { keys_of: Some(ActorNo(1)), ..CheckpointPart::default() };
    until(&of_one, &|| owner.keys(1).is_empty());
    assert_eq!((owner.keys(2).len(), owner.keys(3).len()), (5000, 5000));
    let old = CheckpointPart { keys_before: Some(4000), ..CheckpointPart::default() };
    until(&old, &|| owner.keys(2).len() + owner.keys(3).len() <= 2000);
    owner.save(&old);
    for no in 2..=3 {
        let left = owner.keys(no);
        assert!(left.iter().eq(&many(no).skip(4000).collect::<Vec<_>>()), "{}", left.len());
    }
    assert_eq!(elsewhere.keys(1), [key(1, 1, 1, b"elsewhere")]);
}
