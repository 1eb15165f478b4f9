//! The journal on the store: what its promises come to when they are asked for again.

use std::sync::Arc;

use serde::Serialize;
use tokio::sync::mpsc;

use super::Suite;
use super::store::{Owner, SHARD};
use crate::durable::DurableState;
use crate::error::JournalError;
use crate::id::{ActorId, MessageId};
use crate::journal::EventJournal;
use crate::limits::Limits;
use crate::mailbox::{Acceptance, Ended, MESSAGE, Mailbox, Resolution, Work};
use crate::record::Outcome;

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

struct Sum(i64);

impl DurableState for Sum {
    const ACTOR_TYPE: &'static str = "counter";
    type State = i64;

    fn snapshot(&self) -> impl Serialize {
        self.0
    }

    fn restore(&mut self, sum: i64) {
        self.0 = sum;
    }
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
        let journal = self.journal().expect("the journal opens");
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
        let accepted = self.mailbox.accept(id, "add", payload, None, work, None);
        if !matches!(accepted.expect("there is room"), Acceptance::Accepted) {
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

pub(super) fn foreign_bytes_in_the_log_are_corruption(suite: &Suite<'_>) {
    let error = damaged(suite, |owner| owner.append(owner.head.tail.0 + 1, b"not a commit"));
    assert!(matches!(error, JournalError::Corrupt { .. }), "{error:?}");
}

pub(super) fn a_missing_commit_is_corruption(suite: &Suite<'_>) {
    let error = damaged(suite, |owner| owner.append(owner.head.tail.0 + 2, b"too far"));
    assert!(matches!(error, JournalError::Corrupt { .. }), "{error:?}");
    assert!(error.to_string().contains("missing"), "{error}");
}
