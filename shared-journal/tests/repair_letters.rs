//! Many dead letters that are sent again or discarded in somebody's name: one event says who, why and
//! which, before the first of them goes.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::future::poll_fn;
use std::ops::RangeInclusive;
use std::path::Path;
use std::pin::pin;

use futures::StreamExt;
use serde::Serialize;
use shared_journal::mailbox::{MESSAGE, Resolution, Work};
use shared_journal::sqlite::SqliteActorProvider;
use shared_journal::{
    ActorEvent, ActorId, Durability, DurableState, EventJournal, JournalError, Limits, Mailbox,
    Repair, RepairAction, Sequence,
};

const COUNT: u64 = 5000;

struct Nobody;

impl Work for Nobody {
    fn resolve(self, _: Resolution) {}
}

/// The numbers that were handled.
#[derive(Default)]
struct Seen(Vec<u64>);

impl DurableState for Seen {
    const ACTOR_TYPE: &'static str = "seen";
    type State = Vec<u64>;

    fn snapshot(&self) -> impl Serialize {
        &self.0
    }

    fn restore(&mut self, seen: Vec<u64>) {
        self.0 = seen;
    }
}

fn actor() -> ActorId {
    ActorId::new("seen", "1")
}

fn from(first: u64) -> RangeInclusive<Sequence> {
    Sequence(first)..=Sequence(u64::MAX)
}

fn repair(journal: &EventJournal) -> Repair {
    journal.repair("ada", "a test").unwrap()
}

async fn open(path: &Path) -> EventJournal {
    let store = SqliteActorProvider::open(path, Durability::ProcessCrash).unwrap();
    let limits = Limits { attempts: 1, ..Limits::default() };
    EventJournal::builder().limits(limits).open_on(store).await.unwrap()
}

/// A journal whose actor has given up the numbers from 1 to [`COUNT`], in rows of their own.
async fn given_up(path: &Path) -> EventJournal {
    let journal = open(path).await;
    let mut mailbox = journal.activate(&actor()).await.unwrap();
    for number in 1..=COUNT {
        let payload = mailbox.encode(MESSAGE, &number).unwrap();
        mailbox.accept(None, "number", payload, None, Nobody, None).unwrap();
    }
    live(&mut mailbox, &mut Seen::default(), false).await;
    drop(mailbox);
    journal.checkpoint().await.unwrap();
    journal
}

/// Handles what waits, or gives all of it up.
async fn live(mailbox: &mut Mailbox<Nobody>, seen: &mut Seen, succeed: bool) {
    while !mailbox.is_empty() {
        while let Some(delivery) = mailbox.next().unwrap() {
            let number: u64 = delivery.payload().decode().unwrap();
            if succeed {
                seen.0.push(number);
                let reply = mailbox.encode("the reply", &number).unwrap();
                mailbox.processed(delivery, reply);
            } else {
                mailbox.failed(delivery, "boom", seen).unwrap();
            }
        }
        let _ = mailbox.end_run(seen).unwrap();
        mailbox.ready().await;
    }
}

async fn contents(journal: &EventJournal) -> Vec<u64> {
    let letters = journal.dead_letters(&actor()).await.unwrap();
    letters.iter().map(|letter| letter.payload.decode().unwrap()).collect()
}

/// What the history says: repairs, and letters that went, in their order.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Repaired(RepairAction<'static>),
    Went(u64),
}

async fn said(journal: &EventJournal) -> Vec<Said> {
    let history: Vec<_> = journal.history(&actor()).collect().await;
    let events = history.into_iter().map(|entry| entry.unwrap().event);
    let said = events.filter_map(|event| match event {
        ActorEvent::Repaired { by, why, action } => {
            assert_eq!((&*by, &*why), ("ada", "a test"));
            Some(Said::Repaired(action))
        }
        ActorEvent::DeadLetterDiscarded { sequence }
        | ActorEvent::MessageReceived { resend_of: Some(sequence), .. } => {
            Some(Said::Went(sequence.0))
        }
        _ => None,
    });
    said.collect()
}

/// One event for all, and behind it each letter in its order.
fn one_for_all(action: RepairAction<'static>, letters: RangeInclusive<u64>) -> Vec<Said> {
    std::iter::once(Said::Repaired(action)).chain(letters.map(Said::Went)).collect()
}

#[tokio::test]
async fn a_running_actor_gets_them_again_and_the_history_says_who_wanted_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let journal = given_up(&path).await;
    let mut mailbox: Mailbox<Nobody> = journal.activate(&actor()).await.unwrap();
    let (mut seen, repair, name) = (Seen::default(), repair(&journal), actor());
    let mut sending = pin!(repair.resend_dead_letters(&name, from(101)));
    let sent = loop {
        tokio::select! {
            biased;
            sent = &mut sending => break sent.unwrap(),
            received = poll_fn(|cx| mailbox.poll_letters(16, |_| true, cx)) => received.unwrap(),
        }
        live(&mut mailbox, &mut seen, true).await;
    };
    assert_eq!(sent as u64, COUNT - 100);
    live(&mut mailbox, &mut seen, true).await;
    assert!(seen.0.iter().copied().eq(101..=COUNT), "{:?}", seen.0);
    // As after a crash.
    let journal = open(&path).await;
    assert!(contents(&journal).await.into_iter().eq(1..=100));
    let (first, last) = (Sequence(101), Sequence(COUNT));
    let action = RepairAction::DeadLettersResent { first, last, count: COUNT - 100 };
    assert_eq!(said(&journal).await, one_for_all(action, 101..=COUNT));
    assert!(journal.verify().await.unwrap().is_clean());
}

#[tokio::test]
async fn an_actor_that_does_not_run_finds_them_when_it_starts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let journal = given_up(&path).await;
    repair(&journal).resend_dead_letters(&actor(), from(0)).await.unwrap();
    let journal = open(&path).await;
    let (first, last) = (Sequence(1), Sequence(COUNT));
    let action = RepairAction::DeadLettersResent { first, last, count: COUNT };
    assert_eq!(said(&journal).await, one_for_all(action, 1..=COUNT));
    let (mut mailbox, mut seen) = (journal.activate(&actor()).await.unwrap(), Seen::default());
    live(&mut mailbox, &mut seen, true).await;
    assert!(seen.0.into_iter().eq(1..=COUNT));
}

#[tokio::test]
async fn they_are_discarded_whether_the_actor_runs_or_not() {
    for runs in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let journal = given_up(&path).await;
        let running = match runs {
            true => Some(journal.activate::<Nobody>(&actor()).await.unwrap()),
            false => None,
        };
        let discarded = repair(&journal).discard_dead_letters(&actor(), from(11)).await.unwrap();
        assert_eq!(discarded as u64, COUNT - 10);
        drop(running);
        let journal = open(&path).await;
        assert!(contents(&journal).await.into_iter().eq(1..=10));
        let (first, last) = (Sequence(11), Sequence(COUNT));
        let action = RepairAction::DeadLettersDiscarded { first, last, count: COUNT - 10 };
        assert_eq!(said(&journal).await, one_for_all(action, 11..=COUNT));
        assert!(journal.verify().await.unwrap().is_clean());
    }
}

/// As the calls without a name.
#[tokio::test]
async fn of_none_nothing_is_done_and_nothing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let journal = given_up(&folder.path().join("app.db")).await;
    let nobody = ActorId::new("seen", "2");
    for (actor, range) in [(nobody, from(0)), (actor(), from(COUNT + 1))] {
        let repair = repair(&journal);
        assert_eq!(repair.resend_dead_letters(&actor, range.clone()).await.unwrap(), 0);
        assert_eq!(repair.discard_dead_letters(&actor, range).await.unwrap(), 0);
    }
    assert_eq!(said(&journal).await, []);
    assert_eq!(contents(&journal).await.len() as u64, COUNT);
}

/// The running actor does not know their type.
#[tokio::test]
async fn a_call_that_fails_says_what_it_was_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let journal = given_up(&folder.path().join("app.db")).await;
    let mut mailbox: Mailbox<Nobody> = journal.activate(&actor()).await.unwrap();
    let (repair, name) = (repair(&journal), actor());
    let mut sending = pin!(repair.resend_dead_letters(&name, from(1)));
    let error = loop {
        let received = poll_fn(|cx| mailbox.poll_letters(16, |_| false, cx));
        tokio::select! {
            biased;
            sent = &mut sending => break sent.unwrap_err(),
            received = received => received.unwrap(),
        }
    };
    assert!(matches!(error, JournalError::UnknownMessage { .. }), "{error}");
    let (first, last) = (Sequence(1), Sequence(COUNT));
    let action = RepairAction::DeadLettersResent { first, last, count: COUNT };
    assert_eq!(said(&journal).await, [Said::Repaired(action)]);
    assert_eq!(contents(&journal).await.len() as u64, COUNT);
}
