//! Repair by hand, of actors whose types nobody knows here; what is done is there after a crash.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;

use duroxide::providers::sqlite::SqliteProvider;
use futures::StreamExt;
use serde::Serialize;
use shared_journal::mailbox::{MESSAGE, Resolution, Work};
use shared_journal::{
    ActorEvent, ActorId, Codec, DurableState, EventJournal, JournalError, Mailbox, MessageId,
    MessageKey, Outcome, Repair, RepairAction, Sequence,
};
use tokio::sync::oneshot;

struct Nobody;

impl Work for Nobody {
    fn resolve(self, _: Resolution) {}
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

struct Store {
    dir: tempfile::TempDir,
    codec: Codec,
}

impl Store {
    fn new(codec: Codec) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), codec }
    }

    /// Also beside an owner that was not closed, as after a crash.
    async fn open(&self) -> EventJournal {
        let url = format!("sqlite:{}?mode=rwc", self.dir.path().join("app.db").display());
        let provider = Arc::new(SqliteProvider::new(&url, None).await.unwrap());
        EventJournal::builder().codec(self.codec).open(provider).await.unwrap()
    }
}

fn actor() -> ActorId {
    ActorId::new("counter", "1")
}

fn repair(journal: &EventJournal) -> Repair {
    journal.repair("ada", "a test").unwrap()
}

/// Receives numbers under ids that are the numbers, durably, and handles none.
async fn receive(mailbox: &mut Mailbox<Nobody>, numbers: impl IntoIterator<Item = i64>) {
    let mut last = None;
    for number in numbers {
        let (acknowledge, receipt) = oneshot::channel();
        let payload = mailbox.encode(MESSAGE, &number).unwrap();
        let key = MessageKey::Caller(MessageId::from(u128::try_from(number).unwrap()));
        mailbox.accept(key, "add", payload, None, Nobody, Some(acknowledge)).unwrap();
        last = Some(receipt);
    }
    let delivery = mailbox.next().unwrap().unwrap();
    mailbox.in_progress(delivery).unwrap();
    last.unwrap().await.unwrap().unwrap();
}

/// Adds what waits to the state; without a number, gives the message up.
async fn run_all(journal: &EventJournal) -> i64 {
    let mut mailbox: Mailbox<Nobody> = loop {
        match journal.activate(&actor()).await {
            Err(JournalError::AlreadyActive { .. }) => tokio::task::yield_now().await,
            mailbox => break mailbox.unwrap(),
        }
    };
    let mut sum = Sum(mailbox.state().map_or(0, |state| state.decode().unwrap()));
    while !mailbox.is_empty() {
        while let Some(delivery) = mailbox.next().unwrap() {
            match delivery.payload().decode::<i64>() {
                Ok(number) => {
                    sum.0 += number;
                    let reply = mailbox.encode("the reply", &sum.0).unwrap();
                    mailbox.processed(delivery, reply);
                }
                Err(error) => mailbox.give_up(delivery, &error.to_string()),
            }
        }
        let _ = mailbox.end_run(&mut sum).unwrap();
        mailbox.ready().await;
    }
    sum.0
}

async fn letters(journal: &EventJournal) -> Vec<(u64, String)> {
    let letters = journal.dead_letters(&actor()).await.unwrap();
    letters.into_iter().map(|it| (it.sequence.0, it.error)).collect()
}

async fn repairs(journal: &EventJournal) -> Vec<(String, String, &'static str)> {
    let history: Vec<_> = journal.history(&actor()).collect().await;
    let events = history.into_iter().map(|entry| entry.unwrap().event);
    let repairs = events.filter_map(|event| match event {
        ActorEvent::Repaired { by, why, action } => {
            Some((by.into_owned(), why.into_owned(), action.name()))
        }
        _ => None,
    });
    repairs.collect()
}

#[tokio::test]
async fn any_message_that_waits_is_given_up_edited_and_sent_again() {
    for codec in [Codec::Json, Codec::MessagePack] {
        let store = Store::new(codec);
        let journal = store.open().await;
        let mut mailbox = journal.activate(&actor()).await.unwrap();
        receive(&mut mailbox, [1, 2, 3, 4]).await;
        let refused = repair(&journal).replace_state(&actor(), "7").await.unwrap_err();
        assert!(matches!(refused, JournalError::AlreadyActive { .. }), "{refused}");
        let waiting = repair(&journal).pending(&actor(), Sequence(1), 2).await.unwrap();
        let texts: Vec<_> = waiting.iter().map(|it| it.text.as_str()).collect();
        assert_eq!(texts, ["2", "3"]);
        assert_eq!((&*waiting[0].kind, waiting[0].id), ("add", Some(MessageId::from(2))));

        let journal = store.open().await;
        let missing = repair(&journal).give_up(&actor(), Sequence(5)).await.unwrap_err();
        assert!(matches!(missing, JournalError::NoSuchMessage { .. }), "{missing}");
        repair(&journal).give_up(&actor(), Sequence(3)).await.unwrap();
        let outcome = journal.outcome(&actor(), MessageId::from(3)).await.unwrap();
        assert!(matches!(outcome, Some(Outcome::Failed { .. })), "{outcome:?}");

        let journal = store.open().await;
        assert_eq!(run_all(&journal).await, 7);
        assert_eq!(letters(&journal).await, [(3, "given up by ada: a test".to_owned())]);
        let wrong = repair(&journal).edit_dead_letter(&actor(), Sequence(3), "{").await;
        assert!(matches!(wrong, Err(JournalError::Encode { .. })), "{wrong:?}");
        // While the actor runs, too.
        let running = journal.activate::<Nobody>(&actor()).await.unwrap();
        repair(&journal).edit_dead_letter(&actor(), Sequence(3), "30").await.unwrap();
        drop(running);

        let journal = store.open().await;
        let text = repair(&journal).dead_letter_text(&actor(), Sequence(3)).await.unwrap();
        assert_eq!(text, "30");
        repair(&journal).resend_dead_letter(&actor(), Sequence(3)).await.unwrap();
        assert_eq!(run_all(&journal).await, 37);
        assert!(letters(&journal).await.is_empty());
        let done = repairs(&journal).await;
        let names: Vec<_> = done.iter().map(|it| it.2).collect();
        assert_eq!(names, ["GivenUp", "DeadLetterEdited", "DeadLetterResent"]);
        assert!(done.iter().all(|(by, why, _)| (&**by, &**why) == ("ada", "a test")));
        assert!(journal.verify().await.unwrap().is_clean());
    }
}

#[tokio::test]
async fn a_dead_letter_of_a_running_actor_is_discarded() {
    let store = Store::new(Codec::Json);
    let journal = store.open().await;
    let mut mailbox = journal.activate(&actor()).await.unwrap();
    receive(&mut mailbox, [1]).await;
    drop(mailbox);
    let journal = store.open().await;
    repair(&journal).give_up(&actor(), Sequence(1)).await.unwrap();
    let _running = journal.activate::<Nobody>(&actor()).await.unwrap();
    repair(&journal).discard_dead_letter(&actor(), Sequence(1)).await.unwrap();
    let again = repair(&journal).discard_dead_letter(&actor(), Sequence(1)).await;
    assert!(matches!(again, Err(JournalError::NoSuchDeadLetter { .. })), "{again:?}");
    let journal = store.open().await;
    assert!(letters(&journal).await.is_empty());
    assert_eq!(repairs(&journal).await[1].2, "DeadLetterDiscarded");
}

#[tokio::test]
async fn a_state_is_read_and_replaced() {
    for codec in [Codec::Json, Codec::MessagePack] {
        let store = Store::new(codec);
        let journal = store.open().await;
        let nobody = repair(&journal).state_text(&actor()).await;
        assert!(matches!(nobody, Err(JournalError::NoSuchActor { .. })), "{nobody:?}");
        let mut mailbox = journal.activate(&actor()).await.unwrap();
        receive(&mut mailbox, [1]).await;
        drop(mailbox);
        let journal = store.open().await;
        assert_eq!(repair(&journal).state_text(&actor()).await.unwrap(), None);
        assert_eq!(run_all(&journal).await, 1);
        let journal = store.open().await;
        assert_eq!(repair(&journal).state_text(&actor()).await.unwrap().unwrap(), "1");
        let wrong = repair(&journal).replace_state(&actor(), "seven").await;
        assert!(matches!(wrong, Err(JournalError::Encode { .. })), "{wrong:?}");
        repair(&journal).replace_state(&actor(), "700").await.unwrap();
        let journal = store.open().await;
        assert_eq!(run_all(&journal).await, 700);
        let history: Vec<_> = journal.history(&actor()).collect().await;
        assert!(history.iter().any(|entry| matches!(
            &entry.as_ref().unwrap().event,
            ActorEvent::Repaired { action: RepairAction::StateReplaced { state }, .. }
                if state.decode::<i64>().unwrap() == 700
        )));
    }
}

#[tokio::test]
async fn a_held_actor_is_not_started_until_it_is_released() {
    let store = Store::new(Codec::Json);
    let journal = store.open().await;
    let mut mailbox = journal.activate(&actor()).await.unwrap();
    receive(&mut mailbox, [1]).await;
    // This adapter does not listen.
    let deaf = repair(&journal).stop(&actor()).await.unwrap_err();
    assert!(matches!(deaf, JournalError::CannotStop { .. }), "{deaf}");
    let told = mailbox.asked_to_stop().unwrap();
    assert!(matches!(&*told, JournalError::Held { by, .. } if by == "ada"), "{told}");

    let journal = store.open().await;
    for _ in 0..2 {
        let held = journal.activate::<Nobody>(&actor()).await.unwrap_err();
        assert_eq!(
            held.to_string(),
            "counter/1 is held by ada: a test; release it before it is started again"
        );
    }
    repair(&journal).stop(&actor()).await.unwrap();
    repair(&journal).replace_state(&actor(), "10").await.unwrap();
    journal.checkpoint().await.unwrap();

    let journal = store.open().await;
    journal.activate::<Nobody>(&actor()).await.unwrap_err();
    repair(&journal).release(&actor()).await.unwrap();
    assert_eq!(run_all(&journal).await, 11);
}

#[tokio::test]
async fn a_deleted_actor_leaves_nothing_and_begins_empty() {
    let store = Store::new(Codec::Json);
    let journal = store.open().await;
    let mut mailbox = journal.activate(&actor()).await.unwrap();
    receive(&mut mailbox, [777_777, 2]).await;
    drop(mailbox);
    let journal = store.open().await;
    assert_eq!(run_all(&journal).await, 777_779);
    let running = journal.activate::<Nobody>(&actor()).await.unwrap();
    let refused = repair(&journal).delete(&actor()).await.unwrap_err();
    assert!(matches!(refused, JournalError::AlreadyActive { .. }), "{refused}");
    drop(running);
    assert_eq!(journal.deleted().await.unwrap(), []);
    repair(&journal).delete(&actor()).await.unwrap();
    let gone = repair(&journal).delete(&actor()).await.unwrap_err();
    assert!(matches!(gone, JournalError::NoSuchActor { .. }), "{gone}");
    // Its name stays; in memory, and in its record.
    for _ in 0..2 {
        assert_eq!(journal.actors().await.unwrap(), [actor()]);
        assert_eq!(journal.deleted().await.unwrap(), [actor()]);
        journal.checkpoint().await.unwrap();
    }

    let journal = store.open().await;
    assert_eq!(journal.outcome(&actor(), MessageId::from(2)).await.unwrap(), None);
    assert!(journal.pending().await.unwrap().is_empty());
    repair(&journal).purge_history().await.unwrap();
    let history: Vec<_> = journal.history(&actor()).collect().await;
    assert_eq!(history.len(), 1, "{history:?}");
    assert_eq!(repairs(&journal).await[0].2, "Deleted");

    let journal = store.open().await;
    let mut mailbox = journal.activate(&actor()).await.unwrap();
    assert!(mailbox.state().is_none() && mailbox.is_empty());
    // The same id is a new message now; the place in the order goes on.
    receive(&mut mailbox, [2]).await;
    assert_eq!(journal.deleted().await.unwrap(), []);
    drop(mailbox);
    let journal = store.open().await;
    let waiting = repair(&journal).pending(&actor(), Sequence(0), 9).await.unwrap();
    assert_eq!(waiting.iter().map(|it| it.sequence.0).collect::<Vec<_>>(), [3]);
    assert_eq!(run_all(&journal).await, 2);
    assert!(journal.verify().await.unwrap().is_clean());
}

#[tokio::test]
async fn who_and_why_have_a_limit() {
    let journal = Store::new(Codec::Json).open().await;
    for (by, why) in
        [("", "why"), ("by", ""), (&*"x".repeat(256), "why"), ("by", &*"x".repeat(1025))]
    {
        let refused = journal.repair(by, why).unwrap_err();
        assert!(matches!(refused, JournalError::InvalidRepair { .. }), "{refused}");
    }
}
