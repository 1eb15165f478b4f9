//! Operations whose process dies in the middle, at every point at which a store waits for something:
//! the future is dropped there and never comes back.

use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use super::Suite;
use super::store::{Owner, SHARD, record};
use crate::cluster::StoredLetter;
use crate::id::{ActorId, ActorNo, Position};
use crate::provider::{ActorKey, CheckpointPart, RecordFilter, Write};

/// More than any operation waits.
const POINTS: usize = 60;

/// A future that is given up after so many polls.
struct CutShort<'a, F> {
    future: Pin<&'a mut F>,
    polls: usize,
}

impl<F: Future> Future for CutShort<'_, F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        self.future.as_mut().poll(cx).map(Some)
    }
}

impl Suite<'_> {
    /// Runs an operation up to a point; false if it was not at its end then.
    fn cut_short<T, E: std::fmt::Debug>(
        &self,
        polls: usize,
        operation: impl Future<Output = Result<T, E>>,
    ) -> bool {
        let mut operation = pin!(operation);
        // On a thread that may block, as the engine's do.
        let done = pollster::block_on(CutShort { future: operation.as_mut(), polls });
        done.map(|done| done.expect("what is not cut short succeeds")).is_some()
    }
}

/// The commit and the part of a checkpoint that comes with it are there together, or neither.
pub(super) fn a_write_that_is_cut_short_happened_or_did_not(suite: &Suite<'_>) {
    let mut tail = 0;
    for polls in 0..POINTS {
        let owner = Owner::of((suite.open)(), SHARD);
        assert_eq!(owner.head.tail, Position(tail));
        let batch = format!("cut short after {polls}").into_bytes();
        let part = CheckpointPart {
            records: vec![record(1, &batch)],
            checkpoint: Some(Position(tail)),
            truncate_before: Some(Position(tail)),
            ..CheckpointPart::default()
        };
        let write = Write {
            shard: SHARD,
            epoch: owner.head.epoch,
            append: Some((Position(tail + 1), &batch)),
            checkpoint: Some(&part),
        };
        let whole = suite.cut_short(polls, owner.store.write(&write));
        let next = Owner::of((suite.open)(), SHARD);
        let written = next.head.tail == Position(tail + 1);
        assert!(written || next.head.tail == Position(tail), "{:?}", next.head);
        assert!(written || !whole, "what was acknowledged is there");
        let kept = next.record(ActorKey::No(ActorNo(1))).map(|record| record.bytes);
        assert_eq!(kept.as_ref() == Some(&batch), written, "both or neither");
        if written {
            assert_eq!(next.log(1 << 20).last(), Some(&(tail + 1, batch)));
            tail += 1;
        }
        if whole {
            return;
        }
    }
    panic!("a write waits more than {POINTS} times");
}

pub(super) fn an_opening_that_is_cut_short_leaves_a_shard_that_opens(suite: &Suite<'_>) {
    for polls in 0..POINTS {
        let before = Owner::of((suite.open)(), SHARD);
        before.append(before.head.tail.0 + 1, b"batch");
        let store = (suite.open)();
        // A store that reads its whole log first would wait longer with every round.
        let looked = store.list_records(SHARD, RecordFilter::All, ActorNo(0), 1);
        suite.runtime.block_on(looked).expect("the log is read");
        let whole = suite.cut_short(polls, store.open_shard(SHARD));
        let after = Owner::of((suite.open)(), SHARD);
        assert!(after.head.epoch > before.head.epoch);
        assert_eq!(after.head.tail, before.head.tail.next());
        if whole {
            return;
        }
    }
    panic!("an opening waits more than {POINTS} times");
}

/// Letters that are posted together appear together, sooner or later, or never.
pub(super) fn letters_that_are_cut_short_are_all_there_or_none(suite: &Suite<'_>) {
    const TOGETHER: usize = 3;
    for polls in 0..POINTS {
        let Some(store) = (suite.open)().cluster() else { return };
        suite.runtime.block_on(store.take(SHARD, 0, 1)).expect("the inbox is read");
        let text = |n: usize| format!("{polls} {n}").into_bytes();
        let letter = |n| StoredLetter { actor: ActorId::new("counter", "1"), bytes: text(n) };
        let letters: Vec<_> = (0..TOGETHER).map(letter).collect();
        let whole = {
            let mut posting = pin!(store.post(SHARD, &letters, 1 << 20));
            let posting = CutShort { future: posting.as_mut(), polls };
            suite.runtime.block_on(posting).is_some_and(|posted| posted.is_ok())
        };
        let Some(store) = (suite.open)().cluster() else { return };
        let taken = suite.runtime.block_on(store.take(SHARD, 0, 1 << 20));
        let taken: Vec<_> =
            taken.expect("the letters are read").into_iter().map(|(_, it)| it.bytes).collect();
        assert_eq!(taken.len() % TOGETHER, 0, "{taken:?}");
        for together in taken.chunks(TOGETHER) {
            let of = String::from_utf8_lossy(&together[0]).into_owned();
            let of = of.trim_end_matches("0");
            let expected: Vec<_> = (0..TOGETHER).map(|n| format!("{of}{n}").into_bytes()).collect();
            assert_eq!(together, expected);
        }
        if whole {
            assert_eq!(taken.last(), Some(&text(TOGETHER - 1)), "what was acknowledged is there");
            return;
        }
    }
    panic!("a post waits more than {POINTS} times");
}
