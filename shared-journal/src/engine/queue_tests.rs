//! What goes into which commit.

use std::sync::{Arc, Mutex};

use super::queue::{Batch, Queue};
use crate::error::JournalError;
use crate::provider::{CheckpointPart, StoredRecord};
use crate::{ActorId, ActorNo};

const NO_LIMIT: usize = usize::MAX;

/// What was released, in order, and whether it was durable.
type Released = Arc<Mutex<Vec<(u8, bool)>>>;

fn queue(tail_limit: usize) -> (Queue, Released) {
    (Queue::new(NO_LIMIT, tail_limit, 10), Released::default())
}

/// Submits so many bytes of `entry`.
fn submit(queue: &Queue, released: &Released, entry: u8, len: usize) -> u64 {
    let released = released.clone();
    let release = move |fate: Result<(), _>| released.lock().unwrap().push((entry, fate.is_ok()));
    queue.submit(&vec![entry; len], 1, None, Box::new(release)).unwrap_or(0)
}

fn part(bytes: usize) -> CheckpointPart {
    let (no, actor) = (ActorNo(1), ActorId::new("one", "1"));
    let record = StoredRecord {
        no,
        actor,
        pending: 0,
        dead_letters: 0,
        due_ms: None,
        bytes: vec![0; bytes],
    };
    CheckpointPart { records: vec![record], ..CheckpointPart::default() }
}

/// The entries of a batch, each once, how many there are, and its last submission.
fn of(batch: &Batch) -> (Vec<u8>, u64, u64) {
    let mut entries = batch.entries.clone();
    entries.dedup();
    (entries, batch.count, batch.ticket)
}

#[test]
fn a_batch_that_would_be_too_large_is_followed_by_another() {
    let (queue, released) = queue(NO_LIMIT);
    for (entry, len) in [(1, 4), (2, 6), (3, 1), (4, 25), (5, 10), (6, 1), (7, 1)] {
        submit(&queue, &released, entry, len);
    }
    assert_eq!(queue.gathered(), u64::MAX, "there is no reason to wait for more");
    for expected in [(vec![1, 2], 2, 2), (vec![3], 1, 3), (vec![4], 1, 4), (vec![5], 1, 5)] {
        let batch = queue.take().unwrap();
        assert_eq!(of(&batch), expected);
        queue.committed(batch.ticket, batch.entries.len(), 0);
        assert_eq!(queue.durable(), expected.2);
        batch.releases.open();
        let last = released.lock().unwrap().last().copied();
        assert_eq!(last, expected.0.last().map(|entry| (*entry, true)), "its own, and no later");
    }
    assert_eq!((queue.gathered(), queue.waiting_bytes()), (2, 2));
    submit(&queue, &released, 8, 8);
    assert_eq!(of(&queue.take().unwrap()), (vec![6, 7, 8], 3, 8));
    assert_eq!(queue.gathered(), 0);
}

#[test]
fn a_part_of_a_checkpoint_goes_with_a_batch_or_before_it() {
    let (queue, released) = queue(NO_LIMIT);
    for (entry, len) in [(1, 6), (2, 6), (3, 25)] {
        submit(&queue, &released, entry, len);
    }
    let next = || {
        let batch = queue.take().unwrap();
        (batch.count, batch.checkpoint.map(|part| part.bytes()))
    };
    queue.offer_part(part(4));
    assert_eq!(next(), (1, Some(4)), "both are not too much");
    queue.offer_part(part(5));
    assert_eq!(next(), (0, Some(5)), "both are too much");
    assert_eq!(next(), (1, None));
    queue.offer_part(CheckpointPart::default());
    assert_eq!(next(), (1, Some(0)), "a part without rows is never too much");
    queue.offer_part(part(100));
    assert_eq!(next(), (0, Some(100)));
}

#[test]
fn a_tail_that_is_too_long_holds_up_every_batch_and_no_part() {
    let (queue, released) = queue(0);
    for entry in 1..=2 {
        submit(&queue, &released, entry, 9);
    }
    assert_eq!(of(&queue.take().unwrap()).0, [1]);
    queue.committed(1, 9, 9);
    queue.offer_part(part(50));
    let batch = queue.take().unwrap();
    assert!(batch.checkpoint.is_some() && batch.count == 0);
    queue.shorten_tail(9);
    assert_eq!(of(&queue.take().unwrap()).0, [2]);
}

#[test]
fn a_closed_queue_gives_out_every_batch() {
    let (queue, released) = queue(NO_LIMIT);
    for entry in 1..=3 {
        submit(&queue, &released, entry, 9);
    }
    queue.close();
    assert_eq!(submit(&queue, &released, 4, 1), 0);
    for entry in 1..=3 {
        assert_eq!(of(&queue.take().unwrap()).0, [entry]);
    }
    assert!(queue.take().is_none());
    assert_eq!(*released.lock().unwrap(), [(4, false)]);
}

#[test]
fn a_stop_releases_every_batch_with_its_error() {
    let (queue, released) = queue(NO_LIMIT);
    for entry in 1..=3 {
        submit(&queue, &released, entry, 9);
    }
    queue.stop(&Arc::new(JournalError::Closed));
    assert!(queue.take().is_none());
    assert_eq!(*released.lock().unwrap(), [(1, false), (2, false), (3, false)]);
}
