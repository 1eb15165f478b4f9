//! The writer's queue, gate and thread in many orders of their steps, with shuttle.
//!
//! The sources are those of the crate, included here; `crate::sync` gives them shuttle's locks. A
//! wake-up that is lost is a deadlock, which shuttle reports with the schedule that leads to it.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

#[path = "../../src/sabotage.rs"]
mod sabotage;

mod engine;
mod store;

mod sync {
    pub(crate) use shuttle::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
    pub(crate) use shuttle::sync::{Condvar, Mutex, MutexGuard};
    pub(crate) use shuttle::thread::sleep;
}

mod error {
    pub(crate) use shared_journal::JournalError;
}

mod id {
    pub(crate) use shared_journal::Position;
}

mod provider {
    pub(crate) use shared_journal::provider::{CheckpointPart, Write};
}

/// Entries of one byte and no header.
mod envelope {
    use shared_journal::{Epoch, Position, ShardId};

    #[expect(dead_code, reason = "an entry has no header here")]
    pub(crate) struct CommitHeader {
        pub(crate) shard: ShardId,
        pub(crate) position: Position,
        pub(crate) epoch: Epoch,
        pub(crate) at_ms: u64,
        pub(crate) entries: u64,
        pub(crate) clock_ms: u64,
    }

    pub(crate) fn encode_commit(
        header: &CommitHeader,
        entries: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), std::fmt::Error> {
        assert_eq!(header.entries, entries.len() as u64);
        out.clear();
        out.extend_from_slice(entries);
        Ok(())
    }
}

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use shared_journal::JournalError;
use shuttle::future::block_on;
use shuttle::sync::mpsc;
use shuttle::thread::{self, JoinHandle};

use crate::engine::{Mail, Shared};
use crate::provider::CheckpointPart;
use crate::store::{Fate, Store};

const SCHEDULES: usize = 3_000;
const NO_LIMIT: usize = 1 << 20;

/// How each submission ended: true if it was released as durable.
type Fates = Arc<Mutex<BTreeMap<u8, bool>>>;

/// A sender: one submission after the other, when there is room.
fn sender(shared: &Arc<Shared>, entries: &'static [u8], fates: &Fates) -> JoinHandle<()> {
    let (shared, fates) = (shared.clone(), fates.clone());
    thread::spawn(move || {
        for entry in entries {
            block_on(shared.queue.room());
            submit(&shared, *entry, &fates);
        }
    })
}

fn submit(shared: &Arc<Shared>, entry: u8, fates: &Fates) {
    let (released, store) = (fates.clone(), shared.clone());
    let release = Box::new(move |fate: Result<(), Arc<JournalError>>| {
        let durable = store.provider.entries().contains(&entry);
        assert!(fate.is_err() || durable, "{entry} was released before its commit");
        let again = released.lock().unwrap().insert(entry, fate.is_ok());
        assert_eq!(again, None, "{entry} was released twice");
    });
    let submitted = shared.queue.submit(&[entry], 1, None, release);
    if submitted.is_err() {
        assert_eq!(fates.lock().unwrap().get(&entry), Some(&false), "a refusal is a release");
    }
}

/// A directory that takes what the writer says until its end, checkpoints the tail and answers
/// requests.
fn directory(shared: &Arc<Shared>) -> JoinHandle<()> {
    let shared = shared.clone();
    thread::spawn(move || {
        let (mut folded, mut tail, mut saving) = (0, 0, None);
        let (mut waiting, mut ended) = (Vec::new(), false);
        while !ended {
            for mail in shared.mails(!waiting.is_empty()) {
                match mail {
                    Mail::Committed(commit) => {
                        folded = commit.ticket;
                        tail += commit.row_bytes;
                    }
                    Mail::PartSaved => shared.queue.shorten_tail(saving.take().unwrap()),
                    Mail::Request(after, answer) => waiting.push((after, answer)),
                    Mail::Stopped(_) | Mail::WriterDone => ended = true,
                }
            }
            if saving.is_none() && tail > 0 {
                saving = Some(std::mem::take(&mut tail));
                shared.queue.offer_part(CheckpointPart::default());
            }
            waiting.retain(|(after, answer)| {
                let due = *after <= folded;
                if due {
                    answer.send(()).unwrap();
                }
                !due
            });
        }
        shared.directory_ends();
    })
}

/// What must be true when all threads have ended.
fn check(shared: &Shared, fates: &Fates, sent: &[&[u8]]) {
    let (log, fates) = (shared.provider.entries(), fates.lock().unwrap());
    for entries in sent {
        let durable: Vec<u8> = log.iter().copied().filter(|it| entries.contains(it)).collect();
        assert!(entries.starts_with(&durable), "{entries:?} became {durable:?}");
        for entry in *entries {
            assert!(fates.contains_key(entry), "{entry} was never released");
        }
    }
}

#[test]
fn a_close_at_any_moment_writes_what_was_accepted() {
    shuttle::check_random(
        || {
            let shared = Shared::new(Store::default(), NO_LIMIT, NO_LIMIT);
            let fates = Fates::default();
            let sent: [&'static [u8]; 2] = [&[1, 2, 3], &[11, 12]];
            let senders = sent.map(|entries| sender(&shared, entries, &fates));
            let directory = directory(&shared);
            let writer = thread::spawn({
                let shared = shared.clone();
                move || shared.write()
            });
            shared.queue.close();
            for sender in senders {
                sender.join().unwrap();
            }
            writer.join().unwrap();
            directory.join().unwrap();
            check(&shared, &fates, &sent);
            let log = shared.provider.entries();
            for (entry, durable) in fates.lock().unwrap().iter() {
                assert_eq!(log.contains(entry), *durable, "{entry}: refused or written, not both");
            }
        },
        SCHEDULES,
    );
}

#[test]
fn senders_that_wait_for_room_and_a_writer_that_waits_for_a_checkpoint_go_on() {
    shuttle::check_random(
        || {
            // Room for one entry, and a checkpoint after each.
            let shared = Shared::new(Store::default(), 0, 0);
            let fates = Fates::default();
            let sent: [&'static [u8]; 2] = [&[1, 2, 3], &[11, 12]];
            let senders = sent.map(|entries| sender(&shared, entries, &fates));
            let directory = directory(&shared);
            let writer = thread::spawn({
                let shared = shared.clone();
                move || shared.write()
            });
            for sender in senders {
                sender.join().unwrap();
            }
            shared.queue.close();
            writer.join().unwrap();
            directory.join().unwrap();
            check(&shared, &fates, &sent);
            assert_eq!(shared.provider.entries().len(), 5);
            assert!(fates.lock().unwrap().values().all(|durable| *durable));
        },
        SCHEDULES,
    );
}

#[test]
fn a_request_is_answered_when_what_was_submitted_before_it_is_folded() {
    shuttle::check_random(
        || {
            let shared = Shared::new(Store::default(), NO_LIMIT, NO_LIMIT);
            let fates = Fates::default();
            let directory = directory(&shared);
            let writer = thread::spawn({
                let shared = shared.clone();
                move || shared.write()
            });
            for entry in [1, 2] {
                submit(&shared, entry, &fates);
                let (answer, answered) = mpsc::channel();
                shared.send(Mail::Request(shared.queue.ticket(), answer));
                answered.recv().unwrap();
                assert!(fates.lock().unwrap()[&entry], "the answer came before the release");
            }
            shared.queue.close();
            writer.join().unwrap();
            directory.join().unwrap();
        },
        SCHEDULES,
    );
}

#[test]
fn what_is_refused_or_unknown_is_repeated_and_written_once() {
    shuttle::check_random(
        || {
            let fates = [Fate::Unknown, Fate::Refused, Fate::Refused, Fate::Unknown];
            let shared = Shared::new(Store::with(&fates), NO_LIMIT, NO_LIMIT);
            let fates = Fates::default();
            let sent: [&'static [u8]; 2] = [&[1, 2], &[11, 12]];
            let senders = sent.map(|entries| sender(&shared, entries, &fates));
            let writer = thread::spawn({
                let shared = shared.clone();
                move || shared.write()
            });
            for sender in senders {
                sender.join().unwrap();
            }
            shared.queue.close();
            writer.join().unwrap();
            check(&shared, &fates, &sent);
            assert_eq!(shared.provider.entries().len(), 4);
        },
        SCHEDULES,
    );
}

#[test]
fn a_store_that_breaks_leaves_nobody_waiting() {
    shuttle::check_random(
        || {
            let shared = Shared::new(Store::with(&[Fate::Unknown, Fate::Broken]), 0, NO_LIMIT);
            let fates = Fates::default();
            let sent: [&'static [u8]; 2] = [&[1, 2, 3], &[11, 12]];
            let senders = sent.map(|entries| sender(&shared, entries, &fates));
            let directory = directory(&shared);
            let writer = thread::spawn({
                let shared = shared.clone();
                move || shared.write()
            });
            for sender in senders {
                sender.join().unwrap();
            }
            writer.join().unwrap();
            directory.join().unwrap();
            check(&shared, &fates, &sent);
            assert!(shared.queue.refusal().is_some());
        },
        SCHEDULES,
    );
}

#[test]
fn a_stop_from_elsewhere_and_a_close_in_every_order_leave_nobody_waiting() {
    shuttle::check_random(
        || {
            let shared = Shared::new(Store::default(), 0, 0);
            let fates = Fates::default();
            let sent: [&'static [u8]; 2] = [&[1, 2, 3], &[11, 12]];
            let senders = sent.map(|entries| sender(&shared, entries, &fates));
            let writer = thread::spawn({
                let shared = shared.clone();
                move || shared.write()
            });
            let closing = thread::spawn({
                let shared = shared.clone();
                move || shared.queue.close()
            });
            drop(shared.stop(JournalError::Closed));
            closing.join().unwrap();
            for sender in senders {
                sender.join().unwrap();
            }
            writer.join().unwrap();
            check(&shared, &fates, &sent);
            let refusal = shared.queue.refusal().unwrap();
            assert!(matches!(*refusal, JournalError::Stopped { .. }), "{refusal}");
        },
        SCHEDULES,
    );
}
