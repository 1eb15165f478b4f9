//! The methods of the trait, one by one.

use std::sync::{Arc, Mutex};

use pollster::block_on;

use super::Suite;
use crate::error::JournalError;
use crate::id::{ActorId, ActorNo, Epoch, Position, Sequence, ShardId};
use crate::provider::{
    ActorKey, ActorProvider, CheckpointPart, RecordFilter, ShardHead, StoredCommit, StoredLetter,
    StoredRecord, Write,
};

pub(super) const SHARD: ShardId = ShardId(0);

/// A store and the epoch that owns a shard of it.
pub(super) struct Owner {
    pub(super) store: Arc<dyn ActorProvider>,
    pub(super) shard: ShardId,
    pub(super) head: ShardHead,
}

impl Owner {
    pub(super) fn of(store: Arc<dyn ActorProvider>, shard: ShardId) -> Self {
        let head = block_on(store.open_shard(shard)).expect("the shard opens");
        Self { store, shard, head }
    }

    pub(super) fn write(
        &self,
        append: Option<(u64, &[u8])>,
        checkpoint: Option<&CheckpointPart>,
    ) -> Result<(), JournalError> {
        block_on(self.store.write(&Write {
            shard: self.shard,
            epoch: self.head.epoch,
            append: append.map(|(position, batch)| (Position(position), batch)),
            checkpoint,
        }))
    }

    pub(super) fn append(&self, position: u64, batch: &[u8]) {
        self.write(Some((position, batch)), None).expect("the owner appends");
    }

    pub(super) fn save(&self, part: &CheckpointPart) {
        self.write(None, Some(part)).expect("the owner saves");
    }

    /// The whole log, read a few bytes at a time.
    pub(super) fn log(&self, max_bytes: usize) -> Vec<(u64, Vec<u8>)> {
        let (mut log, mut from) = (Vec::new(), Position(1));
        loop {
            let read = block_on(self.store.read_commits(self.shard, from, max_bytes))
                .expect("the log is read");
            let Some(last) = read.last() else { return log };
            from = last.position.next();
            log.extend(
                read.into_iter().map(|StoredCommit { position, bytes }| (position.0, bytes)),
            );
        }
    }

    pub(super) fn record(&self, key: ActorKey<'_>) -> Option<StoredRecord> {
        block_on(self.store.load_record(self.shard, key)).expect("the record is read")
    }

    fn list(&self, filter: RecordFilter, after: u64, limit: usize) -> Vec<u64> {
        let listed = block_on(self.store.list_records(self.shard, filter, ActorNo(after), limit));
        listed.expect("the actors are listed").iter().map(|it| it.no.0).collect()
    }
}

impl Suite<'_> {
    pub(super) fn own(&self, shard: ShardId) -> Owner {
        Owner::of((self.open)(), shard)
    }
}

pub(super) fn record(no: u64, bytes: &[u8]) -> StoredRecord {
    let actor = ActorId::new("counter", no.to_string());
    StoredRecord {
        no: ActorNo(no),
        actor,
        pending: 0,
        dead_letters: 0,
        due_ms: None,
        bytes: bytes.to_vec(),
    }
}

fn part(records: Vec<StoredRecord>) -> CheckpointPart {
    CheckpointPart { records, ..CheckpointPart::default() }
}

pub(super) fn a_new_shard_is_empty(suite: &Suite<'_>) {
    let owner = suite.own(SHARD);
    let empty = ShardHead {
        epoch: Epoch(1),
        checkpoint: Position(0),
        oldest: None,
        tail: Position(0),
        last_actor: ActorNo(0),
        actors: 0,
    };
    assert_eq!(owner.head, empty);
    assert!(!owner.store.location().is_empty(), "errors name the store");
    assert_eq!(owner.log(1), []);
    assert_eq!(owner.record(ActorKey::No(ActorNo(1))), None);
    assert!(owner.list(RecordFilter::All, 0, 10).is_empty());
    let complaints = block_on(owner.store.check()).expect("the store checks itself");
    assert!(complaints.is_empty(), "{complaints:?}");
}

pub(super) fn every_opening_is_a_new_epoch(suite: &Suite<'_>) {
    let first = suite.own(SHARD);
    first.append(1, b"one");
    first.append(2, b"two");
    first.save(&part(vec![record(7, b"seven")]));
    let second = suite.own(SHARD);
    let expected = ShardHead {
        epoch: Epoch(2),
        checkpoint: Position(0),
        oldest: Some(Position(1)),
        tail: Position(2),
        last_actor: ActorNo(7),
        actors: 1,
    };
    assert_eq!(second.head, expected);
}

pub(super) fn a_head_is_read_without_becoming_the_owner(suite: &Suite<'_>) {
    let reader = (suite.open)();
    let head = |shard| block_on(reader.read_head(shard)).expect("the head is read");
    assert_eq!((head(SHARD), head(SHARD)), (None, None), "looking opens nothing");
    let first = suite.own(SHARD);
    assert_eq!(first.head.epoch, Epoch(1), "nobody had opened it");
    assert_eq!(head(SHARD), Some(first.head));
    first.append(1, b"one");
    first.append(2, b"two");
    first.append(3, b"three");
    let checkpoint = CheckpointPart {
        records: vec![record(7, b"seven")],
        checkpoint: Some(Position(2)),
        truncate_before: Some(Position(2)),
        ..CheckpointPart::default()
    };
    first.save(&checkpoint);
    let expected = ShardHead {
        epoch: Epoch(1),
        checkpoint: Position(2),
        oldest: Some(Position(2)),
        tail: Position(3),
        last_actor: ActorNo(7),
        actors: 1,
    };
    assert_eq!(head(SHARD), Some(expected));
    assert_eq!(head(ShardId(1)), None, "another shard");
    first.append(4, b"still the owner");
    let second = suite.own(SHARD);
    assert_eq!(head(SHARD), Some(second.head));
    assert_eq!(second.head.tail, Position(4));
    // Who that is, if the store keeps it.
    if let Some(owner) = block_on(reader.owner(SHARD)).expect("the owner is read") {
        assert_eq!(owner.pid, std::process::id());
        assert!(!owner.host.is_empty() && owner.opened_ms > 0, "{owner:?}");
    }
}

pub(super) fn commits_are_read_in_order_and_in_slices(suite: &Suite<'_>) {
    let owner = suite.own(SHARD);
    let written: Vec<_> = (1..=20_u64).map(|n| (n, vec![n as u8; n as usize * 10])).collect();
    for (position, batch) in &written {
        owner.append(*position, batch);
    }
    for max_bytes in [1, 100, 1 << 20] {
        assert_eq!(owner.log(max_bytes), written, "{max_bytes} bytes at a time");
    }
    let read = |from| {
        let read = block_on(owner.store.read_commits(SHARD, Position(from), 25));
        read.expect("the log is read").iter().map(|it| it.position.0).collect::<Vec<_>>()
    };
    assert_eq!(read(1), [1, 2], "until at least so many bytes");
    assert_eq!(read(20), [20]);
    assert!(read(21).is_empty());
}

pub(super) fn a_repeated_write_is_applied_once(suite: &Suite<'_>) {
    let owner = suite.own(SHARD);
    let mut saved = part(vec![record(1, b"state")]);
    saved.checkpoint = Some(Position(1));
    for _ in 0..3 {
        owner.append(1, b"one");
        owner.write(Some((2, b"two")), Some(&saved)).expect("a repeated write is a success");
    }
    assert_eq!(owner.log(1), [(1, b"one".to_vec()), (2, b"two".to_vec())]);
    let head = suite.own(SHARD).head;
    assert_eq!((head.checkpoint, head.tail, head.actors), (Position(1), Position(2), 1));
}

pub(super) fn another_commit_in_the_same_place_is_refused(suite: &Suite<'_>) {
    let owner = suite.own(SHARD);
    owner.append(1, b"one");
    let refused = owner.write(Some((1, b"other")), None).expect_err("the place is taken");
    assert!(refused.is_fenced(), "{refused}");
    assert_eq!(owner.log(1), [(1, b"one".to_vec())]);
}

pub(super) fn a_replaced_owner_is_fenced_and_writes_nothing(suite: &Suite<'_>) {
    let old = suite.own(SHARD);
    old.append(1, b"one");
    let new = suite.own(SHARD);
    let mut saved = part(vec![record(1, b"state")]);
    saved.checkpoint = Some(Position(1));
    saved.truncate_before = Some(Position(2));
    for (append, part) in
        [(Some(2), None), (None, Some(&saved)), (Some(2), Some(&saved)), (Some(1), None)]
    {
        let append = append.map(|position| (position, &b"one"[..]));
        let refused = old.write(append, part).expect_err("the old owner is fenced");
        assert!(refused.is_fenced(), "{refused}");
        assert!(!refused.is_retryable(), "there is no way back");
    }
    assert_eq!(new.log(1), [(1, b"one".to_vec())]);
    assert!(new.list(RecordFilter::All, 0, 10).is_empty());
    new.append(2, b"two");
    let head = suite.own(SHARD).head;
    assert_eq!((head.checkpoint, head.oldest), (Position(0), Some(Position(1))));
}

pub(super) fn shards_are_apart(suite: &Suite<'_>) {
    let last = ShardId(4095);
    let (one, other) = (suite.own(SHARD), suite.own(last));
    one.append(1, b"one");
    one.save(&part(vec![record(1, b"state")]));
    assert_eq!(other.log(1), []);
    assert_eq!(other.record(ActorKey::No(ActorNo(1))), None);
    let mut saved = part(vec![record(1, b"another")]);
    saved.checkpoint = Some(Position(1));
    saved.truncate_before = Some(Position(2));
    other.append(1, b"another");
    other.save(&saved);
    assert_eq!(one.log(1), [(1, b"one".to_vec())]);
    let again = suite.own(last);
    assert_eq!(again.head.epoch, Epoch(2));
    one.append(2, b"not fenced by the other's owner");
    let kept = one.record(ActorKey::Name(&record(1, b"").actor)).expect("kept");
    assert_eq!(kept.bytes, b"state");
}

pub(super) fn records_are_found_by_name_and_by_number(suite: &Suite<'_>) {
    let owner = suite.own(SHARD);
    let stored =
        StoredRecord { pending: 3, dead_letters: 2, due_ms: Some(7), ..record(5, b"five") };
    owner.save(&part(vec![record(4, b""), stored.clone()]));
    assert_eq!(owner.record(ActorKey::No(ActorNo(5))), Some(stored.clone()));
    assert_eq!(owner.record(ActorKey::Name(&stored.actor)), Some(stored));
    assert_eq!(owner.record(ActorKey::No(ActorNo(4))), Some(record(4, b"")));
    assert_eq!(owner.record(ActorKey::No(ActorNo(6))), None);
    assert_eq!(owner.record(ActorKey::Name(&ActorId::new("COUNTER", "5"))), None, "exactly so");
}

pub(super) fn records_are_replaced(suite: &Suite<'_>) {
    let owner = suite.own(SHARD);
    let old = StoredRecord { pending: 9, dead_letters: 9, due_ms: Some(9), ..record(1, b"old") };
    owner.save(&part(vec![old]));
    owner.save(&part(vec![record(1, b"new")]));
    assert_eq!(owner.record(ActorKey::No(ActorNo(1))), Some(record(1, b"new")));
    assert!(owner.list(RecordFilter::Pending, 0, 10).is_empty());
    assert!(owner.list(RecordFilter::Timers, 0, 10).is_empty());
    assert_eq!(owner.list(RecordFilter::All, 0, 10), [1]);
}

pub(super) fn listings_are_in_order_filtered_and_in_pages(suite: &Suite<'_>) {
    let owner = suite.own(SHARD);
    let mut records: Vec<_> = (1..=9).rev().map(|no| record(no, b"state")).collect();
    for record in &mut records {
        record.pending = u64::from(record.no.0 % 3 == 0);
        record.dead_letters = u64::from(record.no.0 % 4 == 0);
        record.due_ms = (record.no.0 == 5).then_some(0);
    }
    owner.save(&part(records));
    assert_eq!(owner.list(RecordFilter::All, 0, 4), [1, 2, 3, 4]);
    assert_eq!(owner.list(RecordFilter::All, 4, 4), [5, 6, 7, 8]);
    assert_eq!(owner.list(RecordFilter::All, 8, 4), [9]);
    assert_eq!(owner.list(RecordFilter::Pending, 0, 10), [3, 6, 9]);
    assert_eq!(owner.list(RecordFilter::Pending, 3, 1), [6]);
    assert_eq!(owner.list(RecordFilter::DeadLetters, 0, 10), [4, 8]);
    assert_eq!(owner.list(RecordFilter::Timers, 0, 10), [5]);
    let timers = owner.store.list_records(owner.shard, RecordFilter::Timers, ActorNo(0), 10);
    let due = block_on(timers).expect("a listing").into_iter().map(|listed| listed.due_ms);
    assert_eq!(due.collect::<Vec<_>>(), [Some(0)]);
}

pub(super) fn checkpoints_move_and_the_log_before_them_goes(suite: &Suite<'_>) {
    let owner = suite.own(SHARD);
    for position in 1..=5 {
        owner.append(position, b"batch");
    }
    let finish = |checkpoint, truncate_before| CheckpointPart {
        checkpoint: Some(Position(checkpoint)),
        truncate_before: Some(Position(truncate_before)),
        ..CheckpointPart::default()
    };
    owner.save(&finish(4, 3));
    let left: Vec<_> = owner.log(1).into_iter().map(|(position, _)| position).collect();
    assert_eq!(left, [3, 4, 5]);
    let head = suite.own(SHARD).head;
    assert_eq!(head.checkpoint, Position(4));
    assert_eq!((head.oldest, head.tail), (Some(Position(3)), Position(5)));
    let owner = suite.own(SHARD);
    owner.save(&finish(5, 6));
    assert_eq!(owner.log(1), []);
    let head = suite.own(SHARD).head;
    assert_eq!((head.oldest, head.tail), (None, Position(5)), "positions do not begin anew");
}

pub(super) fn any_bytes_and_any_names_come_back(suite: &Suite<'_>) {
    let owner = suite.own(SHARD);
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let large = all.repeat(32 << 10);
    owner.append(1, &all);
    owner.append(2, &large);
    assert_eq!(owner.log(usize::MAX), [(1, all.clone()), (2, large.clone())]);
    let names = ["'; --", "\"{schema}\" $1 %", "ключ 🗝", " ", "\\000", "a/b", "null"];
    let records: Vec<_> = (1_u64..)
        .zip(names)
        .map(|(no, name)| StoredRecord { actor: ActorId::new(name, name), ..record(no, &all) })
        .collect();
    owner.save(&part(records.clone()));
    for stored in records {
        assert_eq!(owner.record(ActorKey::Name(&stored.actor)), Some(stored));
    }
    owner.save(&part(vec![record(100, &large)]));
    assert_eq!(owner.record(ActorKey::No(ActorNo(100))), Some(record(100, &large)));
}

/// Shards of one process may commit together. One that is fenced must not keep the others back, and
/// must not get through with them.
pub(super) fn shards_that_commit_at_once_each_get_their_own_outcome(suite: &Suite<'_>) {
    const SHARDS: u32 = 6;
    // Whether the one that is fenced commits with others is a matter of luck.
    const ROUNDS: u32 = 6;
    for round in 0..ROUNDS {
        commit_at_once(suite, round * SHARDS..(round + 1) * SHARDS);
    }
}

/// The first two of the shards get a rival on the way.
fn commit_at_once(suite: &Suite<'_>, shards: std::ops::Range<u32>) {
    const COMMITS: u64 = 20;
    let store = (suite.open)();
    let has_rival = |shard: ShardId| shard.0 < shards.start + 2;
    let owners: Vec<_> =
        shards.clone().map(|shard| Owner::of(store.clone(), ShardId(shard))).collect();
    let rival = (suite.open)();
    std::thread::scope(|scope| {
        for owner in &owners {
            scope.spawn(|| {
                let _context = suite.runtime.enter();
                for position in 1..=COMMITS {
                    let batch = format!("{} {position}", owner.shard).into_bytes();
                    let written = owner.write(Some((position, &batch)), None);
                    if has_rival(owner.shard) && position == COMMITS / 2 {
                        Owner::of(rival.clone(), owner.shard);
                    }
                    if has_rival(owner.shard) && position > COMMITS / 2 {
                        assert!(written.expect_err("it has a rival").is_fenced());
                        break;
                    }
                    written.expect("the owner writes");
                }
            });
        }
    });
    for owner in &owners {
        let written = if has_rival(owner.shard) { COMMITS / 2 } else { COMMITS };
        let expected: Vec<_> = (1..=written)
            .map(|position| (position, format!("{} {position}", owner.shard).into_bytes()))
            .collect();
        assert_eq!(Owner::of(rival.clone(), owner.shard).log(1 << 20), expected);
    }
}

/// A store may tidy up what is over. Whoever slept meanwhile must not find room to write again.
pub(super) fn a_shard_is_written_many_times_over(suite: &Suite<'_>) {
    const LAST: u64 = 24;
    let (sleeper, reader) = (suite.own(SHARD), (suite.open)());
    sleeper.append(1, b"one");
    let read = |from| block_on(reader.read_commits(SHARD, Position(from), 1)).expect("it is read");
    assert_eq!(read(1).len(), 1);
    let owner = suite.own(SHARD);
    for position in 2..=LAST {
        let mut saved = part(vec![record(1, &vec![position as u8; 1 << 20])]);
        saved.checkpoint = Some(Position(position - 1));
        saved.truncate_before = saved.checkpoint;
        owner.write(Some((position, b"batch")), Some(&saved)).expect("the owner writes");
    }
    let refused = sleeper.write(Some((2, b"two")), None).expect_err("the sleeper is fenced");
    assert!(refused.is_fenced(), "{refused}");
    let expected: Vec<_> = [LAST - 1, LAST].map(|position| (position, b"batch".to_vec())).into();
    assert_eq!(owner.log(1), expected);
    assert_eq!(read(1).first().map(|commit| commit.position), Some(Position(LAST - 1)));
    let again = suite.own(SHARD);
    assert_eq!(again.log(1), expected);
    assert_eq!(
        (again.head.epoch, again.head.checkpoint, again.head.actors),
        (Epoch(3), Position(LAST - 1), 1)
    );
    let kept = again.record(ActorKey::No(ActorNo(1))).expect("kept");
    assert!(kept.bytes == vec![LAST as u8; 1 << 20], "the last that was saved");
    let refused = owner.write(Some((LAST + 1, b"more")), None).expect_err("fenced as well");
    assert!(refused.is_fenced(), "{refused}");
    again.append(LAST + 1, b"more");
}

/// Owners replace each other in the middle of their commits. A commit that was acknowledged is
/// kept, and whoever opened the shard after it was written knew of it.
pub(super) fn of_owners_that_race_the_last_one_has_seen_everything(suite: &Suite<'_>) {
    const OWNERS: usize = 3;
    const TURNS: usize = 15;
    let acknowledged = Mutex::new(Vec::new());
    let heads = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..OWNERS {
            scope.spawn(|| {
                let _context = suite.runtime.enter();
                let store = (suite.open)();
                for _ in 0..TURNS {
                    let owner = Owner::of(store.clone(), SHARD);
                    heads.lock().expect("no panic").push((owner.head.epoch, owner.head.tail.0));
                    for position in owner.head.tail.0 + 1..owner.head.tail.0 + 20 {
                        let batch = format!("{:?} {position}", owner.head.epoch).into_bytes();
                        match owner.write(Some((position, &batch)), None) {
                            Ok(()) => acknowledged.lock().expect("no panic").push((
                                position,
                                owner.head.epoch,
                                batch,
                            )),
                            Err(error) => {
                                assert!(error.is_fenced(), "{error:?}");
                                break;
                            }
                        }
                    }
                }
            });
        }
    });
    let (acknowledged, heads) =
        (acknowledged.into_inner().expect("no panic"), heads.into_inner().expect("no panic"));
    let log = suite.own(SHARD).log(1 << 20);
    assert!(log.iter().map(|(position, _)| *position).eq(1..=log.len() as u64), "no gap");
    for (position, epoch, batch) in &acknowledged {
        let stored = log.iter().find(|(stored, _)| stored == position);
        assert_eq!(stored.map(|(_, bytes)| bytes), Some(batch), "acknowledged at {position}");
        for (newer, tail) in heads.iter().filter(|(newer, _)| newer > epoch) {
            assert!(tail >= position, "{newer:?} saw {tail} and not {position} of {epoch:?}");
        }
    }
    let mut epochs: Vec<_> = heads.iter().map(|(epoch, _)| *epoch).collect();
    epochs.sort_unstable();
    epochs.dedup();
    assert_eq!(epochs.len(), OWNERS * TURNS, "no epoch twice");
}

/// Dead letters are rows beside the records: each is saved, replaced and deleted for itself, of its
/// actor and its shard only.
pub(super) fn dead_letters_are_rows_beside_the_records(suite: &Suite<'_>) {
    let owner = suite.own(SHARD);
    let letter = |no, sequence, bytes: &[u8]| StoredLetter {
        no: ActorNo(no),
        sequence: Sequence(sequence),
        bytes: bytes.to_vec(),
    };
    let letters = |no, after, max_bytes| -> Vec<(u64, Vec<u8>)> {
        let loaded = owner.store.load_letters(SHARD, ActorNo(no), Sequence(after), max_bytes);
        let loaded = block_on(loaded).expect("the letters are read");
        assert!(loaded.iter().all(|letter| letter.no == ActorNo(no)));
        loaded.into_iter().map(|letter| (letter.sequence.0, letter.bytes)).collect()
    };
    assert_eq!(letters(1, 0, 100), []);
    // Before there is a record of their actor.
    let first = vec![
        letter(1, 9, b"nine"),
        letter(1, 2, b"two"),
        letter(2, 2, b"other"),
        letter(1, 3, b""),
    ];
    owner.save(&CheckpointPart { letters: first, ..CheckpointPart::default() });
    let (two, three, nine) = ((2, b"two".to_vec()), (3, Vec::new()), (9, b"nine".to_vec()));
    assert_eq!(letters(1, 0, 100), [two.clone(), three.clone(), nine.clone()], "in order");
    assert_eq!(letters(1, 0, 1), [two], "until so many bytes are read");
    assert_eq!(letters(1, 2, 4), [three, nine], "after the one before");
    assert_eq!(letters(1, 9, 4), []);
    assert_eq!(letters(3, 0, 4), []);
    let elsewhere = Owner::of(owner.store.clone(), ShardId(1));
    elsewhere.save(&CheckpointPart {
        letters: vec![letter(1, 9, b"elsewhere")],
        ..CheckpointPart::default()
    });
    // Twice: a part whose outcome is unknown is saved again.
    let second = CheckpointPart {
        records: vec![record(1, b"one")],
        letters: vec![letter(1, 9, b"changed"), letter(1, 10, b"ten")],
        removed_letters: [2, 3, 7].map(|it| (ActorNo(1), Sequence(it))).into(),
        ..CheckpointPart::default()
    };
    for _ in 0..2 {
        owner.write(Some((1, b"batch")), Some(&second)).expect("the owner writes");
    }
    let expected = [(9, b"changed".to_vec()), (10, b"ten".to_vec())];
    assert_eq!(letters(1, 0, 100), expected);
    assert_eq!(letters(2, 0, 100), [(2, b"other".to_vec())]);
    // A newer owner finds them, and the older one writes none.
    let newer = suite.own(SHARD);
    let late = CheckpointPart {
        letters: vec![letter(1, 11, b"late")],
        removed_letters: vec![(ActorNo(1), Sequence(9))],
        ..CheckpointPart::default()
    };
    assert!(owner.write(None, Some(&late)).expect_err("fenced").is_fenced());
    let found = newer.store.load_letters(SHARD, ActorNo(1), Sequence(0), 100);
    let found = block_on(found).expect("the letters are read");
    assert!(found.into_iter().map(|it| (it.sequence.0, it.bytes)).eq(expected));
}
