//! Leases, inboxes and replies, of stores that nodes can share.

use std::sync::Arc;
use std::time::Duration;

use super::Suite;
use super::store::SHARD;
use crate::cluster::{ClusterStore, Founding, StoredLetter, StoredReply};
use crate::id::{ActorId, ShardId};

const LONG: Duration = Duration::from_secs(3600);

impl Suite<'_> {
    /// `None` for a store of one process.
    fn shared(&self) -> Option<Arc<dyn ClusterStore>> {
        (self.open)().cluster()
    }

    fn wait<T>(&self, done: impl Future<Output = Result<T, crate::JournalError>>) -> T {
        self.runtime.block_on(done).expect("the store does it")
    }
}

fn letter(actor: &str, text: &str) -> StoredLetter {
    StoredLetter { actor: ActorId::new("counter", actor), bytes: text.as_bytes().to_vec() }
}

pub(super) fn a_store_is_founded_once(suite: &Suite<'_>) {
    let Some(store) = suite.shared() else { return };
    let founding = Founding { cluster: "one".into(), shards: 16 };
    assert_eq!(suite.wait(store.found(&founding)), founding);
    let other = Founding { cluster: "other".into(), shards: 8 };
    let again = suite.shared().expect("as before");
    assert_eq!(suite.wait(again.found(&other)), founding, "the first stands");
}

pub(super) fn a_lease_is_one_nodes_until_it_ends(suite: &Suite<'_>) {
    let (Some(store), Some(other)) = (suite.shared(), suite.shared()) else { return };
    assert!(suite.wait(store.claim(SHARD, "a", LONG)), "it is free");
    assert!(!suite.wait(other.claim(SHARD, "b", LONG)), "it is a's");
    assert!(suite.wait(other.claim(SHARD, "a", LONG)), "a has it");
    assert!(suite.wait(other.claim(ShardId(1), "b", LONG)), "another shard is free");
    suite.wait(other.want(ShardId(1), "c", Duration::ZERO));
    suite.wait(other.want(SHARD, "b", LONG));
    let leases = suite.wait(store.leases());
    let seen: Vec<_> = leases
        .iter()
        .map(|it| (it.shard.0, it.node.as_deref(), it.runs, it.wanted_by.as_deref()))
        .collect();
    assert_eq!(seen, [(0, Some("a"), true, Some("b")), (1, Some("b"), true, None)]);
    suite.wait(other.release(SHARD, "b", None));
    assert!(!suite.wait(other.claim(SHARD, "b", LONG)), "nobody releases what is not his");
    suite.wait(store.release(SHARD, "a", Some(("b", LONG))));
    assert!(!suite.wait(other.claim(SHARD, "c", LONG)), "it is kept for b");
    assert!(suite.wait(other.claim(SHARD, "b", LONG)));
    suite.wait(other.release(SHARD, "b", None));
    assert!(suite.wait(store.claim(SHARD, "c", LONG)), "it is free");
    assert!(suite.wait(store.leases()).iter().all(|lease| lease.wanted_by.is_none()));
}

pub(super) fn a_lease_that_is_not_renewed_ends(suite: &Suite<'_>) {
    let Some(store) = suite.shared() else { return };
    assert!(suite.wait(store.claim(SHARD, "a", Duration::ZERO)));
    suite.wait(store.renew(&[SHARD], "a", LONG));
    suite.wait(store.renew(&[SHARD], "b", Duration::ZERO));
    assert!(!suite.wait(store.claim(SHARD, "b", LONG)), "a has renewed it");
    suite.wait(store.renew(&[SHARD], "a", Duration::ZERO));
    assert!(!suite.wait(store.leases())[0].runs);
    assert!(suite.wait(store.claim(SHARD, "b", LONG)), "it has ended");
    suite.wait(store.renew(&[SHARD], "a", LONG));
    assert_eq!(suite.wait(store.leases())[0].node.as_deref(), Some("b"));
}

pub(super) fn letters_are_taken_in_order_until_they_are_settled(suite: &Suite<'_>) {
    let (Some(store), Some(owner)) = (suite.shared(), suite.shared()) else { return };
    let all: Vec<_> = (0..9).map(|n| letter(["x", "y"][n % 2], &n.to_string())).collect();
    let mut numbers = Vec::new();
    for some in all.chunks(4) {
        numbers.extend(suite.wait(store.post(SHARD, some, 100)));
    }
    let numbers: Vec<_> = numbers.into_iter().map(|it| it.expect("there is room")).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    suite.wait(store.post(ShardId(1), &[letter("x", "of another shard")], 100));
    let expected: Vec<_> = numbers.iter().copied().zip(all.clone()).collect();
    assert_eq!(suite.wait(owner.take(SHARD, 0, 1 << 20)), expected);
    assert_eq!(suite.wait(owner.take(SHARD, 0, 2)), expected[..2], "so many bytes");
    assert_eq!(suite.wait(owner.take(SHARD, numbers[6], 1 << 20)), expected[7..]);
    let to_y: Vec<_> =
        expected.iter().filter(|(_, it)| it.actor == letter("y", "").actor).collect();
    let to_y: Vec<_> = to_y.into_iter().map(|(number, it)| (*number, it.bytes.clone())).collect();
    let y = letter("y", "").actor;
    let read = |after, bytes| suite.wait(owner.letters_to(SHARD, &y, after, bytes));
    assert_eq!((read(0, 1 << 20), read(0, 2)), (to_y.clone(), to_y[..2].to_vec()));
    assert_eq!(read(to_y[1].0, 1 << 20), to_y[2..]);
    assert!(suite.wait(owner.letters_to(ShardId(1), &y, 0, 1)).is_empty());
    for _ in 0..2 {
        suite.wait(owner.settle(SHARD, &[numbers[0], numbers[3]], &[]));
    }
    let left: Vec<_> =
        suite.wait(owner.take(SHARD, 0, 1 << 20)).into_iter().map(|(number, _)| number).collect();
    let expected: Vec<_> =
        numbers.iter().copied().filter(|it| ![numbers[0], numbers[3]].contains(it)).collect();
    assert_eq!(left, expected);
}

pub(super) fn an_inbox_that_is_full_refuses_its_actors_letters_only(suite: &Suite<'_>) {
    let Some(store) = suite.shared() else { return };
    let posted = suite.wait(store.post(
        SHARD,
        &[letter("x", "1"), letter("x", "2"), letter("x", "3"), letter("y", "1")],
        2,
    ));
    assert_eq!(posted.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false, true]);
    let refused = suite.wait(store.post(SHARD, &[letter("x", "4"), letter("y", "2")], 2));
    assert_eq!(refused.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true]);
    suite.wait(store.settle(SHARD, &[posted[0].expect("it was posted")], &[]));
    let again = suite.wait(store.post(SHARD, &[letter("x", "5")], 2));
    assert!(again[0].is_some(), "there is room again");
    let texts: Vec<_> =
        suite.wait(store.take(SHARD, 0, 1 << 20)).into_iter().map(|(_, it)| it.bytes).collect();
    assert_eq!(texts, [&b"2"[..], b"1", b"2", b"5"]);
}

/// Whoever reads up to a number has read everything before it, also what others post meanwhile.
pub(super) fn no_letter_appears_behind_one_that_was_taken(suite: &Suite<'_>) {
    const SENDERS: usize = 4;
    const LETTERS: usize = 60;
    let Some(reader) = suite.shared() else { return };
    let mut taken = Vec::new();
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            scope.spawn(move || {
                let _context = suite.runtime.enter();
                let store = suite.shared().expect("as before");
                for n in 0..LETTERS {
                    let text = letter("x", &format!("{sender} {n:03}"));
                    suite.wait(store.post(SHARD, &[text], 10_000));
                }
            });
        }
        let mut after = 0;
        while taken.len() < SENDERS * LETTERS {
            for (number, letter) in suite.wait(reader.take(SHARD, after, 64)) {
                after = number;
                taken.push(letter.bytes);
            }
        }
    });
    for sender in 0..SENDERS {
        let prefix = format!("{sender} ");
        let of_sender: Vec<_> =
            taken.iter().filter(|text| text.starts_with(prefix.as_bytes())).collect();
        assert_eq!(of_sender.len(), LETTERS);
        assert!(of_sender.is_sorted(), "the order of a sender is kept");
    }
}

pub(super) fn replies_wait_for_their_client(suite: &Suite<'_>) {
    let Some(store) = suite.shared() else { return };
    let reply = |client: &str, text: &str| StoredReply {
        client: client.into(),
        bytes: text.as_bytes().to_vec(),
    };
    let posted = suite.wait(store.post(SHARD, &[letter("x", "1")], 2));
    let number = posted[0].expect("there is room");
    suite.wait(store.settle(
        SHARD,
        &[number],
        &[reply("a", "one"), reply("b", "of b"), reply("a", "two")],
    ));
    assert!(suite.wait(store.take(SHARD, 0, 1 << 20)).is_empty());
    let of_a = suite.wait(store.collect("a", &[]));
    let texts: Vec<_> = of_a.iter().map(|(_, bytes)| bytes.as_slice()).collect();
    assert_eq!(texts, [&b"one"[..], b"two"]);
    assert_eq!(suite.wait(store.collect("a", &[])), of_a, "until they are done");
    assert_eq!(suite.wait(store.collect("a", &[of_a[0].0])), of_a[1..]);
    suite.wait(store.forget_replies(LONG));
    assert_eq!(suite.wait(store.collect("b", &[])).len(), 1);
    suite.wait(store.forget_replies(Duration::ZERO));
}
