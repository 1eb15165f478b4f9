//! The journal on the store: what its promises come to when they are asked for again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use futures::TryStreamExt;
use tokio::sync::mpsc;

use super::Suite;
use super::store::{Owner, SHARD};
use crate::error::JournalError;
use crate::id::{ActorId, MessageId};
use crate::journal::EventJournal;
use crate::limits::Limits;
use crate::mailbox::{Ended, MESSAGE, Mailbox, Resolution, Work};
use crate::reader::JournalReader;
use crate::record::Outcome;
use crate::sum::Sum;

/// Reports its resolution.
struct Report(mpsc::UnboundedSender<Resolution>);

impl Work for Report {
    fn resolve(self, resolution: Resolution) {
        let _ = self.0.send(resolution);
    }
}

/// A journal with a counter in it.
struct Counter {
    journal: EventJournal,
    mailbox: Mailbox<Report>,
    sum: i64,
    reports: mpsc::UnboundedSender<Resolution>,
    resolved: mpsc::UnboundedReceiver<Resolution>,
}

fn actor() -> ActorId {
    ActorId::new("counter", "1")
}

impl Suite<'_> {
    fn journal(&self) -> Result<EventJournal, JournalError> {
        let store = (self.open)();
        // A short log, so that there is something to truncate.
        let limits = Limits { history_commits: 2, ..Limits::default() };
        self.runtime.block_on(EventJournal::builder().limits(limits).open_on(store))
    }

    fn counter(&self) -> Counter {
        self.counter_in(self.journal().expect("the journal opens"))
    }

    fn counter_in(&self, journal: EventJournal) -> Counter {
        let mut mailbox =
            self.runtime.block_on(journal.activate(&actor())).expect("the actor is loaded");
        mailbox.baseline(&Sum(0)).expect("a state to begin with");
        let sum = mailbox.state().map_or(0, |state| state.decode().expect("a number"));
        let (reports, resolved) = mpsc::unbounded_channel();
        Counter { journal, mailbox, sum, reports, resolved }
    }
}

impl Counter {
    /// Adds to the counter and waits until that is durable. False if the id is known.
    fn add(&mut self, id: u128, amount: i64) -> bool {
        let payload = self.mailbox.encode(MESSAGE, &amount).expect("it encodes");
        let work = Report(self.reports.clone());
        let id = Some(MessageId::from(id));
        self.mailbox.accept(id, "add", payload, None, work, None).expect("there is room");
        if self.mailbox.is_empty() {
            let recorded = self.resolved.blocking_recv().expect("the journal has the outcome");
            assert!(matches!(recorded, Resolution::Recorded(_)), "{recorded:?}");
            return false;
        }
        while let Some(delivery) = self.mailbox.next().expect("the journal runs") {
            self.sum += delivery.payload().decode::<i64>().expect("a number");
            let reply = self.mailbox.encode("the reply", &self.sum).expect("it encodes");
            self.mailbox.processed(delivery, reply);
        }
        let ended = self.mailbox.end_run(&mut Sum(self.sum)).expect("the journal runs");
        assert_eq!(ended, Ended::Submitted, "the state encodes");
        let resolution = self.resolved.blocking_recv().expect("an answer");
        assert!(matches!(resolution, Resolution::Processed), "the message was processed");
        true
    }
}

pub(super) fn what_was_acknowledged_is_there_after_a_drop(suite: &Suite<'_>) {
    let mut sum = 0;
    for turn in 1..=3 {
        let mut counter = suite.counter();
        assert_eq!(counter.sum, sum, "before turn {turn}");
        for n in 1..=10 {
            assert!(counter.add(turn * 100 + n as u128, n), "a new id");
            sum += n;
        }
    }
    let journal = suite.journal().expect("the journal opens");
    assert_eq!(journal.stats().recovered_actors, 1);
    assert_eq!(suite.runtime.block_on(journal.actors()).expect("they are listed"), [actor()]);
}

pub(super) fn a_repeated_message_gets_its_first_reply_from_the_store(suite: &Suite<'_>) {
    let mut counter = suite.counter();
    assert!(counter.add(1, 5) && counter.add(2, 7));
    drop(counter);
    let mut counter = suite.counter();
    assert!(!counter.add(1, 5), "a duplicate is not accepted");
    assert_eq!(counter.sum, 12);
    let outcome = suite.runtime.block_on(counter.journal.outcome(&actor(), 1.into()));
    let Some(Outcome::Processed(reply)) = outcome.expect("the outcome is read") else {
        panic!("the reply is not recorded");
    };
    assert_eq!(reply.decode::<i64>().expect("a number"), 5);
}

pub(super) fn a_checkpoint_changes_nothing_that_is_recovered(suite: &Suite<'_>) {
    let mut counter = suite.counter();
    for n in 1..=20 {
        counter.add(n, 1);
    }
    suite.runtime.block_on(counter.journal.checkpoint()).expect("a checkpoint");
    for n in 21..=25 {
        counter.add(n, 1);
    }
    drop(counter);
    let mut counter = suite.counter();
    assert_eq!(counter.sum, 25);
    assert!(!counter.add(1, 1) && !counter.add(25, 1), "known before and after the checkpoint");
    let report = suite.runtime.block_on(counter.journal.verify()).expect("it is verified");
    assert!(report.problems.is_empty(), "{:?}", report.problems);
}

fn damaged(suite: &Suite<'_>, damage: impl FnOnce(&Owner)) -> JournalError {
    let mut counter = suite.counter();
    counter.add(1, 1);
    drop(counter);
    let store: Arc<_> = (suite.open)();
    damage(&Owner::of(store, SHARD));
    suite.journal().expect_err("the damage is seen")
}

pub(super) fn a_reader_sees_what_is_acknowledged_and_disturbs_nobody(suite: &Suite<'_>) {
    let reader = JournalReader::open_on((suite.open)());
    let error = suite.runtime.block_on(reader.view()).expect_err("nobody has opened it");
    assert!(matches!(error, JournalError::NoJournal { .. }), "{error:?}");
    let mut counter = suite.counter();
    assert_eq!(counter.journal.epoch().0, 1, "looking was no opening");
    for number in 1..=20_u32 {
        assert!(counter.add(number.into(), 1));
        if number % 7 == 0 {
            suite.runtime.block_on(counter.journal.checkpoint()).expect("a checkpoint");
        }
        let view = suite.runtime.block_on(reader.view()).expect("the journal is read");
        let seen = suite.runtime.block_on(view.actor(&actor())).expect("the actor is read");
        let seen = seen.expect("the actor is there");
        let state = seen.state.expect("its state is there");
        assert_eq!(state.decode::<i64>().expect("a number"), i64::from(number));
        assert!(seen.pending.is_empty() && seen.dead_letters.is_empty());
        assert!(seen.position >= view.position());
        let list = suite.runtime.block_on(async {
            [view.actors().await, view.pending().await, view.with_dead_letters().await]
        });
        let list = list.map(|list| list.expect("the actors are listed"));
        assert_eq!(list, [vec![actor()], Vec::new(), Vec::new()]);
        let nobody = ActorId::new("counter", "2");
        assert_eq!(suite.runtime.block_on(view.actor(&nobody)).expect("it is read"), None);
    }
    let own = suite.runtime.block_on(counter.journal.history(&actor()).try_collect::<Vec<_>>());
    let seen = suite.runtime.block_on(reader.history(&actor()).try_collect::<Vec<_>>());
    let own = own.expect("the history is read");
    assert!(!own.is_empty());
    assert_eq!(seen.expect("the history is read"), own);
    let report = suite.runtime.block_on(reader.verify()).expect("all is read");
    assert!(report.is_clean() && report.records == 1, "{report:?}");
    assert!(counter.add(99, 1), "it is still the owner");
    assert!(counter.journal.stopped().is_none());
}

/// Between reading the head and the log the owner may truncate what comes next.
pub(super) fn a_view_is_whole_while_the_owner_truncates(suite: &Suite<'_>) {
    let limits = Limits { checkpoint_bytes: 4 << 10, history_commits: 0, ..Limits::default() };
    let opened = EventJournal::builder().limits(limits).open_on((suite.open)());
    let mut counter = suite.counter_in(suite.runtime.block_on(opened).expect("it opens"));
    counter.add(1, 1);
    let (acknowledged, ended) = (AtomicI64::new(1), AtomicBool::new(false));
    let store = (suite.open)();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _context = suite.runtime.enter();
            let reader = JournalReader::open_on(store);
            for _ in 0..40 {
                let before = acknowledged.load(Ordering::Acquire);
                let seen = suite.runtime.block_on(async {
                    let view = reader.view().await.expect("the journal is read");
                    view.actor(&actor()).await.expect("the actor is read").expect("it is there")
                });
                let state = seen.state.expect("its state is there").decode::<i64>();
                assert!(state.expect("a number") >= before, "an acknowledged message is missing");
            }
            ended.store(true, Ordering::Release);
        });
        for id in 2.. {
            if ended.load(Ordering::Acquire) {
                break;
            }
            counter.add(id, 1);
            acknowledged.store(counter.sum, Ordering::Release);
        }
    });
    assert!(counter.journal.stopped().is_none());
}

pub(super) fn foreign_bytes_in_the_log_are_corruption(suite: &Suite<'_>) {
    let error = damaged(suite, |owner| owner.append(owner.head.tail.0 + 1, b"not a commit"));
    assert!(matches!(error, JournalError::Corrupt { .. }), "{error:?}");
}

pub(super) fn a_missing_commit_is_corruption(suite: &Suite<'_>) {
    let error = damaged(suite, |owner| owner.append(owner.head.tail.0 + 2, b"too far"));
    assert!(matches!(error, JournalError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("missing"), "{error}");
}
