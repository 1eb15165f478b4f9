//! Many dead letters that are sent again or discarded in somebody's name: one event says who, why and
//! which, before the first of them goes.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::future::poll_fn;
use std::ops::RangeInclusive;
use std::pin::pin;

use futures::StreamExt;
use shared_journal::{
    ActorEvent, ActorId, EventJournal, JournalError, Repair, RepairAction, Sequence,
};
use support::{Seen, activate, actor, contents, given_up, live, open};

const COUNT: u64 = 5000;

fn from(first: u64) -> RangeInclusive<Sequence> {
    Sequence(first)..=Sequence(u64::MAX)
}

fn repair(journal: &EventJournal) -> Repair {
    journal.repair("ada", "a test").unwrap()
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
    let journal = given_up(&path, COUNT).await;
    let mut mailbox = activate(&journal).await;
    let (mut seen, repair, name) = (Seen::default(), repair(&journal), actor());
    let mut sending = pin!(repair.resend_dead_letters(&name, from(101)));
    let sent = loop {
        tokio::select! {
            biased;
            sent = &mut sending => break sent.unwrap(),
            received = poll_fn(|cx| mailbox.poll_letters(16, |_| true, cx)) => received.unwrap(),
        }
        live(&mut mailbox, &mut seen, |_| true).await;
    };
    assert_eq!(sent as u64, COUNT - 100);
    live(&mut mailbox, &mut seen, |_| true).await;
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
    let journal = given_up(&path, COUNT).await;
    repair(&journal).resend_dead_letters(&actor(), from(0)).await.unwrap();
    let journal = open(&path).await;
    let (first, last) = (Sequence(1), Sequence(COUNT));
    let action = RepairAction::DeadLettersResent { first, last, count: COUNT };
    assert_eq!(said(&journal).await, one_for_all(action, 1..=COUNT));
    let (mut mailbox, mut seen) = (activate(&journal).await, Seen::default());
    live(&mut mailbox, &mut seen, |_| true).await;
    assert!(seen.0.into_iter().eq(1..=COUNT));
}

#[tokio::test]
async fn they_are_discarded_whether_the_actor_runs_or_not() {
    for runs in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let journal = given_up(&path, COUNT).await;
        let running = match runs {
            true => Some(activate(&journal).await),
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
    let journal = given_up(&folder.path().join("app.db"), COUNT).await;
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
    let journal = given_up(&folder.path().join("app.db"), COUNT).await;
    let mut mailbox = activate(&journal).await;
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
