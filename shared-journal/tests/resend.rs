//! Dead letters that are sent again: each once, in order, whether the actor runs or not and whoever else
//! acts on them.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::time::Duration;

use shared_journal::{JournalError, Mailbox, Sequence};
use support::{Nobody, Seen, accept, activate, actor, contents, given_up, live, open};

/// Of the mailbox: half of it may be letters.
const CAPACITY: usize = 16;

fn all() -> std::ops::RangeInclusive<Sequence> {
    Sequence(0)..=Sequence(u64::MAX)
}

/// Letters that the running actor got at once; none for a while if there are none.
async fn letters(mailbox: &mut Mailbox<Nobody>) -> usize {
    let before = mailbox.len();
    let polled = poll_fn(|cx| mailbox.poll_letters(CAPACITY, |kind| kind == "number", cx));
    match tokio::time::timeout(Duration::from_millis(300), polled).await {
        Ok(received) => received.unwrap(),
        Err(_) => return 0,
    }
    mailbox.len() - before
}

/// The actor lives while others act, with all numbers handled or all given up.
async fn live_while<T>(
    mailbox: &mut Mailbox<Nobody>,
    seen: &mut Seen,
    succeed: bool,
    act: impl Future<Output = T>,
) -> T {
    let mut act = pin!(act);
    loop {
        let got = tokio::select! {
            biased;
            acted = &mut act => return acted,
            got = letters(mailbox) => got,
        };
        assert!(got <= CAPACITY / 2, "senders find room as well: {got}");
        live(mailbox, seen, |_| succeed).await;
    }
}

#[tokio::test]
async fn a_running_actor_gets_them_in_order_a_part_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let journal = given_up(&path, 5000).await;
    let (mut mailbox, mut seen) = (activate(&journal).await, Seen::default());
    let name = actor();
    let sent = journal.resend_dead_letters(&name, Sequence(101)..=Sequence(5000));
    assert_eq!(live_while(&mut mailbox, &mut seen, true, sent).await.unwrap(), 4900);
    live(&mut mailbox, &mut seen, |_| true).await;
    assert!(seen.0.iter().copied().eq(101..=5000), "{:?}", seen.0);
    let again = journal.resend_dead_letter(&actor(), Sequence(101)).await.unwrap_err();
    assert!(matches!(again, JournalError::NoSuchDeadLetter { .. }), "{again}");
    assert!(contents(&journal).await.into_iter().eq(1..=100));

    // As after a crash.
    let journal = open(&path).await;
    assert!(contents(&journal).await.into_iter().eq(1..=100));
    let mailbox = activate(&journal).await;
    assert_eq!(mailbox.state().unwrap().decode::<Vec<u64>>().unwrap(), seen.0);
    assert!(mailbox.is_empty());
    assert!(journal.verify().await.unwrap().is_clean());
}

#[tokio::test]
async fn they_come_behind_what_waits_and_no_more_before_those_have_begun() {
    let folder = tempfile::tempdir().unwrap();
    let journal = given_up(&folder.path().join("app.db"), 100).await;
    let mut mailbox = activate(&journal).await;
    accept(&mut mailbox, "number", [1001, 1002]);
    let handled = mailbox.next().unwrap().unwrap();
    let reply = mailbox.encode("the reply", &0).unwrap();
    mailbox.processed(handled, reply);
    let name = actor();
    let mut sending = pin!(journal.resend_dead_letters(&name, all()));
    let first = tokio::select! {
        biased;
        got = letters(&mut mailbox) => got,
        sent = &mut sending => panic!("{sent:?}"),
    };
    assert_eq!(first, CAPACITY / 2);
    accept(&mut mailbox, "number", [1003]);
    assert_eq!(letters(&mut mailbox).await, 0);
    let begun = mailbox.next().unwrap().unwrap();
    mailbox.in_progress(begun).unwrap();
    assert_eq!(letters(&mut mailbox).await, 0, "those before have not begun");
    let begun = mailbox.take_in_progress().unwrap();
    let reply = mailbox.encode("the reply", &0).unwrap();
    mailbox.processed(begun, reply);
    let mut seen = Seen::default();
    live(&mut mailbox, &mut seen, |_| true).await;
    assert_eq!(seen.0, [1, 2, 3, 4, 5, 6, 7, 8, 1003]);
    assert_eq!(live_while(&mut mailbox, &mut seen, true, sending).await.unwrap(), 100);
}

#[tokio::test]
async fn those_that_fail_again_are_not_sent_once_more() {
    let folder = tempfile::tempdir().unwrap();
    let journal = given_up(&folder.path().join("app.db"), 60).await;
    let (mut mailbox, mut seen) = (activate(&journal).await, Seen::default());
    let name = actor();
    for _ in 0..2 {
        let sent = journal.resend_dead_letters(&name, all());
        assert_eq!(live_while(&mut mailbox, &mut seen, false, sent).await.unwrap(), 60);
        live(&mut mailbox, &mut seen, |_| false).await;
        assert!(contents(&journal).await.into_iter().eq(1..=60));
    }
}

/// Whoever decides about a letter does so by what it has read, and others decide meanwhile.
#[tokio::test]
async fn each_goes_one_way_when_several_act_at_once() {
    const COUNT: u64 = 3000;
    for runs in [true, false] {
        let folder = tempfile::tempdir().unwrap();
        let journal = given_up(&folder.path().join("app.db"), COUNT).await;
        let name = actor();
        let discard = async {
            let mut discarded = 0;
            for sequence in (1..=COUNT).rev().step_by(7) {
                tokio::task::yield_now().await;
                let sequence = Sequence(sequence);
                match journal.discard_dead_letter(&name, sequence).await {
                    Ok(()) => discarded += 1,
                    Err(JournalError::NoSuchDeadLetter { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            discarded
        };
        let repair = journal.repair("ada", "a test").unwrap();
        let edit = async {
            let mut edited = BTreeSet::new();
            for sequence in (1..=COUNT).rev().step_by(101) {
                tokio::task::yield_now().await;
                let text = (sequence + 100_000).to_string();
                match repair.edit_dead_letter(&name, Sequence(sequence), &text).await {
                    Ok(()) => drop(edited.insert(sequence)),
                    Err(JournalError::NoSuchDeadLetter { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            edited
        };
        let resend = || async { journal.resend_dead_letters(&name, all()).await.unwrap() };
        let act = async { tokio::join!(resend(), resend(), discard, edit) };
        let mut seen = Seen::default();
        let (one, other, discarded, edited) = if runs {
            let mut mailbox = activate(&journal).await;
            let acted = live_while(&mut mailbox, &mut seen, true, act).await;
            live(&mut mailbox, &mut seen, |_| true).await;
            acted
        } else {
            let acted = act.await;
            live(&mut activate(&journal).await, &mut seen, |_| true).await;
            acted
        };
        let sent = (one + other) as u64;
        assert_eq!(sent + discarded, COUNT, "{one} + {other} + {discarded}");
        assert_eq!(seen.0.len() as u64, sent);
        let numbers: BTreeSet<_> = seen.0.iter().map(|number| number % 100_000).collect();
        assert_eq!(numbers.len() as u64, sent, "none twice");
        let as_before = |it: &&u64| seen.0.contains(it);
        assert_eq!(edited.iter().find(as_before), None, "what was edited is sent as it is then");
        assert!(contents(&journal).await.is_empty());
        assert!(journal.verify().await.unwrap().is_clean());
    }
}

/// A repair that has read its letter when that is sent.
#[tokio::test]
async fn an_edit_or_a_discard_by_hand_is_done_or_refused() {
    for discards in [false, true] {
        let mut done = BTreeSet::new();
        for steps in 0..6 {
            let folder = tempfile::tempdir().unwrap();
            let journal = given_up(&folder.path().join("app.db"), 1).await;
            let (mut mailbox, mut seen) = (activate(&journal).await, Seen::default());
            let (name, repair) = (actor(), journal.repair("ada", "a test").unwrap());
            let mut sending = pin!(journal.resend_dead_letters(&name, all()));
            for _ in 0..6 {
                // It reads the letter, and gives it to the actor.
                assert!(futures::poll!(&mut sending).is_pending());
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            let mut repairing = pin!(async {
                match discards {
                    true => repair.discard_dead_letter(&name, Sequence(1)).await,
                    false => repair.edit_dead_letter(&name, Sequence(1), "7").await,
                }
            });
            let mut repaired = None;
            for _ in 0..steps {
                if repaired.is_none()
                    && let std::task::Poll::Ready(ended) = futures::poll!(&mut repairing)
                {
                    repaired = Some(ended);
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            if letters(&mut mailbox).await > 0 {
                live(&mut mailbox, &mut seen, |_| true).await;
            }
            let rest = async {
                let repaired = match repaired {
                    Some(repaired) => repaired,
                    None => repairing.await,
                };
                (repaired, sending.await.unwrap())
            };
            let (repaired, sent) = live_while(&mut mailbox, &mut seen, true, rest).await;
            let expected = match &repaired {
                Ok(()) if discards => (vec![], 0),
                Ok(()) => (vec![7], 1),
                Err(JournalError::NoSuchDeadLetter { .. }) => (vec![1], 1),
                Err(error) => panic!("{error}"),
            };
            assert_eq!((seen.0, sent), expected, "after {steps} steps: {repaired:?}");
            done.insert(repaired.is_ok());
        }
        assert_eq!(done.len(), 2, "each of the two was first");
    }
}

#[tokio::test]
async fn the_actor_may_end_and_start_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let journal = given_up(&folder.path().join("app.db"), 20_000).await;
    let (mut mailbox, mut seen) = (activate(&journal).await, Seen::default());
    let name = actor();
    let mut sending = pin!(journal.resend_dead_letters(&name, all()));
    for _ in 0..10 {
        tokio::select! {
            biased;
            got = letters(&mut mailbox) => assert_eq!(got, CAPACITY / 2),
            sent = &mut sending => panic!("{sent:?}"),
        }
        live(&mut mailbox, &mut seen, |_| true).await;
    }
    drop(mailbox);
    let starting = async {
        loop {
            let oldest = journal.dead_letters_page(&name, Sequence(0), 1).await.unwrap();
            if oldest.first().is_none_or(|oldest| oldest.sequence > Sequence(1000)) {
                // Whoever sends them has the actor: it is waited for.
                return activate(&journal).await;
            }
        }
    };
    let (sent, mut mailbox) = tokio::join!(sending, starting);
    assert_eq!(sent.unwrap(), 20_000);
    live(&mut mailbox, &mut seen, |_| true).await;
    assert!(seen.0.iter().copied().eq(1..=20_000));
}

#[tokio::test]
async fn one_that_the_running_actor_does_not_know_stays_and_the_call_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let journal = given_up(&folder.path().join("app.db"), 5).await;
    let (mut mailbox, mut seen) = (activate(&journal).await, Seen::default());
    accept(&mut mailbox, "unknown", [6]);
    accept(&mut mailbox, "number", [7]);
    live(&mut mailbox, &mut seen, |_| false).await;
    seen.0.clear();
    let name = actor();
    let sent = journal.resend_dead_letters(&name, all());
    let error = live_while(&mut mailbox, &mut seen, true, sent).await.unwrap_err();
    let JournalError::UnknownMessage { place, kind } = &error else { panic!("{error}") };
    assert_eq!((place.sequence, kind.as_str()), (Some(Sequence(6)), "unknown"), "{error}");
    live(&mut mailbox, &mut seen, |_| true).await;
    assert_eq!(seen.0, [1, 2, 3, 4, 5]);
    assert_eq!(contents(&journal).await, [6, 7]);
}

#[tokio::test]
async fn whoever_waits_is_told_when_the_journal_ends_or_the_actor_is_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let journal = given_up(&path, 100).await;
    let mut mailbox = activate(&journal).await;
    let name = actor();
    let mut sending = Box::pin(journal.resend_dead_letters(&name, all()));
    let waits = tokio::time::timeout(Duration::from_millis(100), &mut sending).await;
    assert!(waits.is_err(), "the actor takes nothing: {waits:?}");
    // Asked to stop, it takes nothing more; when it has ended the letters are received without it.
    let cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(mailbox.poll_news(&cx).is_pending());
    let repair = journal.repair("ada", "a test").unwrap();
    let stopping = async {
        let ended = async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(mailbox);
        };
        let (stopped, ()) = tokio::join!(repair.stop(&name), ended);
        stopped.unwrap();
    };
    let (sent, ()) = tokio::join!(sending, stopping);
    assert_eq!(sent.unwrap(), 100);

    let path = folder.path().join("other.db");
    let journal = given_up(&path, 100).await;
    let mailbox = activate(&journal).await;
    let mut sending = Box::pin(journal.resend_dead_letters(&name, all()));
    let waits = tokio::time::timeout(Duration::from_millis(100), &mut sending).await;
    assert!(waits.is_err(), "the actor takes nothing: {waits:?}");
    let newer = open(&path).await;
    let written = journal.discard_dead_letter(&name, Sequence(100)).await.unwrap_err();
    assert!(written.is_fenced(), "{written}");
    let error = sending.await.unwrap_err();
    assert!(error.is_fenced(), "{error}");
    drop(mailbox);
    assert_eq!(contents(&newer).await.len(), 100);
}
