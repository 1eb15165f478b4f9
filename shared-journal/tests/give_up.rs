//! Messages that are given up by hand while they wait in a running actor's mailbox.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;

use futures::StreamExt;
use serde::Serialize;
use shared_journal::mailbox::{MESSAGE, Resolution, Work};
use shared_journal::sqlite::SqliteActorProvider;
use shared_journal::{
    ActorEvent, ActorId, Durability, DurableState, EventJournal, JournalError, Mailbox, MessageId,
    MessageKey, Outcome, Repair, Sequence,
};
use tokio::sync::oneshot;

/// Whoever waits for a message.
struct Asker(oneshot::Sender<Resolution>);

impl Work for Asker {
    fn resolve(self, resolution: Resolution) {
        let _ = self.0.send(resolution);
    }
}

type Told = oneshot::Receiver<Resolution>;
type Receipt = oneshot::Receiver<Result<(), Arc<JournalError>>>;

struct Sum(u64);

impl DurableState for Sum {
    const ACTOR_TYPE: &'static str = "counter";
    type State = u64;

    fn snapshot(&self) -> impl Serialize {
        self.0
    }

    fn restore(&mut self, sum: u64) {
        self.0 = sum;
    }
}

struct Store(tempfile::TempDir);

impl Store {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// Also beside an owner that was not closed, as after a crash.
    async fn open(&self) -> EventJournal {
        let path = self.0.path().join("app.db");
        let store = SqliteActorProvider::open(&path, Durability::ProcessCrash).unwrap();
        EventJournal::builder().open_on(store).await.unwrap()
    }
}

fn actor() -> ActorId {
    ActorId::new("counter", "1")
}

fn repair(journal: &EventJournal) -> Repair {
    journal.repair("ada", "a test").unwrap()
}

async fn activate(journal: &EventJournal) -> Mailbox<Asker> {
    journal.activate(&actor()).await.unwrap()
}

/// Puts a number under the id that is the number into the mailbox.
fn accept(mailbox: &mut Mailbox<Asker>, number: u64) -> (Told, Receipt) {
    let (resolve, told) = oneshot::channel();
    let (acknowledge, receipt) = oneshot::channel();
    let payload = mailbox.encode(MESSAGE, &number).unwrap();
    let key = MessageKey::Caller(MessageId::from(u128::from(number)));
    mailbox.accept(key, "add", payload, None, Asker(resolve), Some(acknowledge)).unwrap();
    (told, receipt)
}

/// Receives numbers durably; the handler of the first one is not done.
async fn begin(mailbox: &mut Mailbox<Asker>, numbers: impl IntoIterator<Item = u64>) -> Vec<Told> {
    let (told, receipts): (Vec<_>, Vec<_>) =
        numbers.into_iter().map(|number| accept(mailbox, number)).unzip();
    let first = mailbox.next().unwrap().unwrap();
    mailbox.in_progress(first).unwrap();
    for receipt in receipts {
        receipt.await.unwrap().unwrap();
    }
    told
}

/// The actor waits for something while an operator acts.
async fn wait_while<T>(mailbox: &mut Mailbox<Asker>, act: impl Future<Output = T>) -> T {
    let mut act = pin!(act);
    loop {
        tokio::select! {
            biased;
            acted = &mut act => return acted,
            news = poll_fn(|cx| mailbox.poll_news(cx)) => news.unwrap(),
        }
    }
}

/// A call is on its way to the running actor.
async fn hand_over<T: std::fmt::Debug>(
    journal: &EventJournal,
    mut call: Pin<&mut impl Future<Output = T>>,
) {
    assert!(futures::poll!(call.as_mut()).is_pending());
    // The directory answers in the order in which it is asked.
    journal.actors().await.unwrap();
    assert!(futures::poll!(call).is_pending());
}

/// Handles what waits. The handler that is not done is done.
async fn live(mailbox: &mut Mailbox<Asker>, sum: &mut Sum) {
    let mut next = mailbox.take_in_progress();
    loop {
        while let Some(delivery) = next {
            sum.0 += delivery.payload().decode::<u64>().unwrap();
            let reply = mailbox.encode("the reply", &sum.0).unwrap();
            mailbox.processed(delivery, reply);
            next = mailbox.next().unwrap();
        }
        let _ = mailbox.end_run(sum).unwrap();
        mailbox.flushed().await.unwrap();
        if mailbox.is_empty() {
            return;
        }
        next = mailbox.next().unwrap();
    }
}

async fn waiting(journal: &EventJournal) -> Vec<u64> {
    let pending = repair(journal).pending(&actor(), Sequence(0), 99).await.unwrap();
    pending.iter().map(|it| it.sequence.0).collect()
}

/// The places of the dead letters, their attempts and errors.
async fn letters(journal: &EventJournal) -> Vec<(u64, u32, String)> {
    let letters = journal.dead_letters(&actor()).await.unwrap();
    letters.into_iter().map(|it| (it.sequence.0, it.attempts, it.error)).collect()
}

const ERROR: &str = "given up by ada: a test";

#[tokio::test]
async fn whoever_waits_for_it_gets_the_outcome_of_a_dead_letter() {
    let store = Store::new();
    let journal = store.open().await;
    let mut mailbox = activate(&journal).await;
    let mut told = begin(&mut mailbox, 1..=4).await;
    let (again, _) = accept(&mut mailbox, 3);
    let repair = repair(&journal);
    wait_while(&mut mailbox, repair.give_up(&actor(), Sequence(3))).await.unwrap();
    let given_up = told.remove(2).await.unwrap();
    let Resolution::Failed { attempts: 0, error } = given_up else { panic!("{given_up:?}") };
    assert_eq!(&*error, ERROR);
    // A duplicate, before and after.
    let (after, _) = accept(&mut mailbox, 3);
    for duplicate in [again, after] {
        let outcome = duplicate.await.unwrap();
        let Resolution::Recorded(Outcome::Failed { error, .. }) = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!(error, ERROR);
    }
    let gone = wait_while(&mut mailbox, repair.give_up(&actor(), Sequence(3))).await.unwrap_err();
    assert!(matches!(gone, JournalError::NoSuchMessage { .. }), "{gone}");
    assert_eq!(waiting(&journal).await, [1, 2, 4]);
    assert_eq!(journal.stats().dead_letters, 1);

    let mut sum = Sum(0);
    live(&mut mailbox, &mut sum).await;
    assert_eq!(sum.0, 7);
    for told in told {
        assert!(matches!(told.await.unwrap(), Resolution::Processed));
    }
    let journal = store.open().await;
    assert_eq!(letters(&journal).await, [(3, 0, ERROR.to_owned())]);
    assert!(waiting(&journal).await.is_empty());
    let history: Vec<_> = journal.history(&actor()).collect().await;
    let repairs = history.iter().filter_map(|entry| match &entry.as_ref().unwrap().event {
        ActorEvent::Repaired { by, why, action } => Some((&**by, &**why, action.name())),
        _ => None,
    });
    assert!(repairs.eq([("ada", "a test", "GivenUp")]));
    assert!(journal.verify().await.unwrap().is_clean());
}

/// Also while its handler is done and its outcome not written.
#[tokio::test]
async fn one_that_is_being_handled_is_refused_and_stays() {
    let store = Store::new();
    let journal = store.open().await;
    let mut mailbox = activate(&journal).await;
    let told = begin(&mut mailbox, 1..=2).await;
    let (repair, mut sum) = (repair(&journal), Sum(1));
    for _ in 0..2 {
        let refused =
            wait_while(&mut mailbox, repair.give_up(&actor(), Sequence(1))).await.unwrap_err();
        assert_eq!(
            refused.to_string(),
            "counter/1 is at work on message 1; to give that up, stop the actor first (Repair::stop)"
        );
        if let Some(delivery) = mailbox.take_in_progress() {
            let reply = mailbox.encode("the reply", &1).unwrap();
            mailbox.processed(delivery, reply);
        }
    }
    live(&mut mailbox, &mut sum).await;
    for told in told {
        assert!(matches!(told.await.unwrap(), Resolution::Processed));
    }
    assert_eq!(sum.0, 3);
    assert_eq!(letters(&journal).await, []);
}

#[tokio::test]
async fn one_whose_receipt_is_not_written_is_received_and_given_up_in_one_commit() {
    let store = Store::new();
    let journal = store.open().await;
    let mut mailbox = activate(&journal).await;
    let (_, receipts): (Vec<_>, Vec<_>) =
        (1..=3).map(|number| accept(&mut mailbox, number)).unzip();
    let repair = repair(&journal);
    let name = actor();
    let mut giving_up = pin!(repair.give_up(&name, Sequence(2)));
    hand_over(&journal, giving_up.as_mut()).await;
    // Not only where it waits: also before the next message.
    let first = mailbox.next().unwrap().unwrap();
    assert_eq!(first.sequence(), Sequence(1));
    giving_up.await.unwrap();
    for receipt in receipts {
        receipt.await.unwrap().unwrap();
    }
    let journal = store.open().await;
    assert_eq!(waiting(&journal).await, [1, 3]);
    assert_eq!(letters(&journal).await, [(2, 0, ERROR.to_owned())]);
}

#[tokio::test]
async fn its_attempts_are_those_that_it_had() {
    let store = Store::new();
    let journal = store.open().await;
    let mut mailbox = activate(&journal).await;
    let (told, _) = accept(&mut mailbox, 1);
    accept(&mut mailbox, 2);
    let first = mailbox.next().unwrap().unwrap();
    mailbox.failed(first, "boom", &mut Sum(0)).unwrap();
    let one = repair(&journal);
    wait_while(&mut mailbox, one.give_up(&actor(), Sequence(1))).await.unwrap();
    let told = told.await.unwrap();
    assert!(matches!(told, Resolution::Failed { attempts: 1, .. }), "{told:?}");
    let second = mailbox.next().unwrap().unwrap();
    mailbox.in_progress(second).unwrap();
    mailbox.flushed().await.unwrap();

    // As after a crash, of which the second is suspected.
    let journal = store.open().await;
    let mut mailbox = activate(&journal).await;
    accept(&mut mailbox, 3);
    assert!(mailbox.next().unwrap().is_none(), "its next attempt is counted first");
    let two = repair(&journal);
    wait_while(&mut mailbox, two.give_up(&actor(), Sequence(2))).await.unwrap();
    mailbox.ready().await;
    let third = mailbox.next().unwrap().unwrap();
    assert_eq!(third.sequence(), Sequence(3));
    drop((third, mailbox));

    let journal = store.open().await;
    let expected = [(1, 1, ERROR.to_owned()), (2, 1, ERROR.to_owned())];
    assert_eq!(letters(&journal).await, expected);
    assert!(journal.verify().await.unwrap().is_clean());
}

#[tokio::test]
async fn if_the_actor_ends_the_caller_does_it() {
    let store = Store::new();
    let journal = store.open().await;
    let mut mailbox = activate(&journal).await;
    let mut told = begin(&mut mailbox, 1..=3).await;
    let (name, repair) = (actor(), repair(&journal));
    let mut giving_up = pin!(repair.give_up(&name, Sequence(3)));
    hand_over(&journal, giving_up.as_mut()).await;
    drop(mailbox);
    giving_up.await.unwrap();
    told.remove(2).await.unwrap_err();
    assert_eq!(letters(&journal).await, [(3, 0, ERROR.to_owned())]);
    assert_eq!(waiting(&journal).await, [1, 2]);
    let begun = repair.give_up(&actor(), Sequence(1)).await;
    assert!(begun.is_ok(), "it does not run: {begun:?}");
}

#[tokio::test]
async fn a_call_that_is_dropped_before_the_actor_looks_does_nothing() {
    let store = Store::new();
    let journal = store.open().await;
    let mut mailbox = activate(&journal).await;
    let _told = begin(&mut mailbox, 1..=3).await;
    let (name, repair) = (actor(), repair(&journal));
    {
        let mut giving_up = pin!(repair.give_up(&name, Sequence(3)));
        hand_over(&journal, giving_up.as_mut()).await;
    }
    assert!(futures::poll!(poll_fn(|cx| mailbox.poll_news(cx))).is_pending());
    assert_eq!(waiting(&journal).await, [1, 2, 3]);
    let mut sum = Sum(0);
    live(&mut mailbox, &mut sum).await;
    assert_eq!(sum.0, 6);
}

#[tokio::test]
async fn whoever_gives_up_is_told_when_the_journal_has_another_owner() {
    let store = Store::new();
    let journal = store.open().await;
    let mut mailbox = activate(&journal).await;
    let mut told = begin(&mut mailbox, 1..=3).await;
    let newer = store.open().await;
    let (name, repair) = (actor(), repair(&journal));
    let mut giving_up = pin!(repair.give_up(&name, Sequence(3)));
    hand_over(&journal, giving_up.as_mut()).await;
    // It is submitted; the actor does not know yet.
    let news = futures::poll!(poll_fn(|cx| mailbox.poll_news(cx)));
    assert!(matches!(news, std::task::Poll::Ready(Ok(()))), "{news:?}");
    let error = giving_up.await.unwrap_err();
    assert!(error.is_fenced(), "{error}");
    let told = told.remove(2).await.unwrap();
    assert!(matches!(told, Resolution::Unknown(_)), "{told:?}");
    assert_eq!(waiting(&newer).await, [1, 2, 3]);
    assert_eq!(letters(&newer).await, []);
}
