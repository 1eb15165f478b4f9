//! Idempotency keys hold for their age, however many there are.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::future::poll_fn;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::mpsc;

use shared_journal::cluster::Founding;
use shared_journal::mailbox::{MESSAGE, REPLY, Resolution, Work, fingerprint};
use shared_journal::sqlite::SqliteActorProvider;
use shared_journal::{
    ActorId, Durability, DurableState, EventJournal, JournalError, Limits, Mailbox, MessageId,
    MessageKey, Outcome, copy, reshard,
};

/// What became of a message, under its number.
#[derive(Clone)]
struct Told(u64, mpsc::UnboundedSender<(u64, Resolution)>);

impl Work for Told {
    fn resolve(self, resolution: Resolution) {
        let _ = self.1.send((self.0, resolution));
    }
}

/// The numbers that were handled, in their order.
#[derive(Default)]
struct Handled(Vec<u64>);

impl DurableState for Handled {
    const ACTOR_TYPE: &'static str = "handled";
    type State = Vec<u64>;

    fn snapshot(&self) -> impl Serialize {
        &self.0
    }

    fn restore(&mut self, handled: Vec<u64>) {
        self.0 = handled;
    }
}

struct Actor {
    mailbox: Mailbox<Told>,
    handled: Handled,
    told: mpsc::UnboundedSender<(u64, Resolution)>,
    resolutions: mpsc::UnboundedReceiver<(u64, Resolution)>,
}

impl Actor {
    async fn start(journal: &EventJournal) -> Self {
        Self::start_as(journal, &actor()).await
    }

    async fn start_as(journal: &EventJournal, actor: &ActorId) -> Self {
        let mailbox = journal.activate(actor).await.unwrap();
        let mut handled = Handled::default();
        mailbox.restore(&mut handled).unwrap();
        let (told, resolutions) = mpsc::unbounded_channel();
        Self { mailbox, handled, told, resolutions }
    }

    /// Sends a number under a key.
    fn send(&mut self, key: Option<u128>, number: u64) {
        let payload = self.mailbox.encode(MESSAGE, &number).unwrap();
        let (about, work) = (fingerprint("number", &number).ok(), Told(number, self.told.clone()));
        let key = key.map(MessageId::from);
        self.mailbox.accept(key, "number", payload, about, work, None).unwrap();
    }

    /// Handles what waits. The reply to a number is so many bytes long.
    async fn handle(&mut self) {
        loop {
            while let Some(delivery) = self.mailbox.next().unwrap() {
                let number: u64 = delivery.payload().decode().unwrap();
                self.handled.0.push(number);
                let reply = "x".repeat(usize::try_from(number).unwrap());
                let reply = self.mailbox.encode(REPLY, &reply).unwrap();
                self.mailbox.processed(delivery, reply);
            }
            let _ = self.mailbox.end_run(&mut self.handled).unwrap();
            if self.mailbox.has_next() {
                continue;
            }
            if self.mailbox.is_empty() {
                return;
            }
            poll_fn(|cx| self.mailbox.poll_news(cx)).await.unwrap();
        }
    }

    /// Sends, handles, and answers with what became of it.
    async fn ask(&mut self, key: u128, number: u64) -> Resolution {
        self.send(Some(key), number);
        self.handle().await;
        let (of, resolution) = self.resolutions.recv().await.unwrap();
        assert_eq!(of, number);
        resolution
    }

    /// Handles keys 1 to `last`, each with its own number, and waits until that is durable.
    async fn use_keys(&mut self, last: u64) {
        for number in 1..=last {
            self.send(Some(number.into()), number);
        }
        self.handle().await;
        for number in 1..=last {
            let (of, resolution) = self.resolutions.recv().await.unwrap();
            assert_eq!(of, number);
            assert!(matches!(resolution, Resolution::Processed), "{resolution:?}");
        }
    }
}

fn actor() -> ActorId {
    ActorId::new("handled", "1")
}

fn few() -> Limits {
    Limits { dedup_count: 4, ..Limits::default() }
}

async fn open(path: &Path, limits: Limits) -> EventJournal {
    let store = SqliteActorProvider::open(path, Durability::ProcessCrash).unwrap();
    EventJournal::builder().limits(limits).open_on(store).await.unwrap()
}

/// The reply of a recorded outcome, by its length.
fn recorded(resolution: Resolution) -> Option<usize> {
    match resolution {
        Resolution::Recorded(Outcome::Processed(reply)) => {
            Some(reply.decode::<String>().unwrap().len())
        }
        Resolution::Recorded(Outcome::AlreadyProcessed) => None,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_key_that_left_the_window_by_count_is_known_wherever_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.actors.db");
    let journal = open(&path, few()).await;
    let mut one = Actor::start(&journal).await;
    one.use_keys(300).await;
    let expected: Vec<_> = (1..=300).collect();
    assert_eq!(recorded(one.ask(1, 1).await), Some(1), "in memory, to be saved");
    journal.checkpoint().await.unwrap();
    assert_eq!(journal.verify().await.unwrap().keys, 296);
    assert_eq!(recorded(one.ask(2, 2).await), Some(2), "in a row");
    assert_eq!(recorded(one.ask(300, 300).await), Some(300), "in the window");
    assert_eq!(recorded(one.ask(280, 280).await), None, "large replies are not kept so long");
    assert!(matches!(one.ask(3, 77).await, Resolution::IdReused), "another message");
    let outcome = journal.outcome(&actor(), MessageId::from(4)).await.unwrap();
    assert!(matches!(outcome, Some(Outcome::Processed(_))), "{outcome:?}");
    assert_eq!(one.handled.0, expected);
    drop(one);
    journal.close().await.unwrap();

    // As after a crash, with the log and without it.
    for _ in 0..2 {
        let journal = open(&path, few()).await;
        let mut one = Actor::start(&journal).await;
        assert_eq!(one.handled.0, expected);
        for key in [1, 150, 296, 299] {
            recorded(one.ask(key, u64::try_from(key).unwrap()).await);
        }
        assert!(matches!(one.ask(3, 77).await, Resolution::IdReused));
        drop(one);
        journal.checkpoint().await.unwrap();
    }
}

#[tokio::test]
async fn what_comes_behind_a_question_keeps_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(&folder.path().join("app.actors.db"), few()).await;
    let mut one = Actor::start(&journal).await;
    one.use_keys(10).await;
    // More than one question is about; some known, some new, some twice, some without a key.
    for number in 11..=3000_u64 {
        let key = (number % 5 != 0).then_some(u128::from(number / 2 * 2));
        one.send(key, number / 2 * 2);
        if number % 100 == 0 {
            one.send(Some(u128::from(number / 100)), number / 100);
        }
    }
    one.handle().await;
    let mut expected: Vec<u64> = (1..=10).collect();
    let mut keyed = std::collections::BTreeSet::new();
    for number in 11..=3000_u64 {
        let even = number / 2 * 2;
        if number % 5 == 0 || (even > 10 && keyed.insert(even)) {
            expected.push(even);
        }
        // Above 10 it is a key of its own, new or not.
        let known = number / 100;
        if number % 100 == 0 && known > 10 && keyed.insert(known) {
            expected.push(known);
        }
    }
    let differs = one.handled.0.iter().zip(&expected).position(|(found, wanted)| found != wanted);
    assert_eq!((differs, one.handled.0.len()), (None, expected.len()));
}

#[tokio::test]
async fn a_key_goes_with_its_age_and_its_row_too() {
    let folder = tempfile::tempdir().unwrap();
    let age = Duration::from_millis(100);
    let limits = Limits { dedup_age: age, ..few() };
    let journal = open(&folder.path().join("app.actors.db"), limits).await;
    let mut one = Actor::start(&journal).await;
    one.use_keys(300).await;
    // Forgotten some time after its age, when another comes, and not before.
    let begun = std::time::Instant::now();
    let mut number = 1000;
    while let Resolution::Recorded(_) | Resolution::IdReused = one.ask(1, number).await {
        number += 1;
        one.ask(number.into(), number).await;
        number += 1;
    }
    assert!(begun.elapsed() >= age - Duration::from_millis(50), "{:?}", begun.elapsed());
    journal.checkpoint().await.unwrap();
    while journal.verify().await.unwrap().keys > 0 {
        number += 1;
        one.send(None, number);
        one.handle().await;
        journal.checkpoint().await.unwrap();
    }
}

#[tokio::test]
async fn the_keys_of_a_deleted_actor_are_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.actors.db");
    let journal = open(&path, few()).await;
    let mut one = Actor::start(&journal).await;
    one.use_keys(300).await;
    drop(one);
    journal.checkpoint().await.unwrap();
    journal.repair("ada", "a test").unwrap().delete(&actor()).await.unwrap();
    let mut again = Actor::start(&journal).await;
    // Their rows may still be there.
    assert!(matches!(again.ask(1, 1).await, Resolution::Processed));
    again.use_keys_but_one().await;
    journal.checkpoint().await.unwrap();
    assert_eq!(journal.verify().await.unwrap().keys, 6, "those of the new actor");
    assert_eq!(recorded(again.ask(1, 1).await), Some(1));
    drop(again);
    drop(journal);
    let journal = open(&path, few()).await;
    let mut again = Actor::start(&journal).await;
    assert_eq!(recorded(again.ask(1, 1).await), Some(1));
    assert!(matches!(again.ask(200, 200).await, Resolution::Processed));
}

impl Actor {
    async fn use_keys_but_one(&mut self) {
        for key in 2..=10 {
            let resolution = self.ask(key, u64::try_from(key).unwrap()).await;
            assert!(matches!(resolution, Resolution::Processed), "{resolution:?}");
        }
    }
}

#[tokio::test]
async fn keys_come_along_into_a_copy_and_into_other_shards() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let journal = open(&path("from.db"), few()).await;
    let mut one = Actor::start(&journal).await;
    one.use_keys(300).await;
    drop(one);
    journal.checkpoint().await.unwrap();
    drop(journal);
    let store = |name: &str| SqliteActorProvider::open(path(name), Durability::ProcessCrash);
    copy(store("from.db").unwrap(), store("copy.db").unwrap()).await.unwrap();
    let founding = Founding { cluster: String::new(), shards: 1 };
    reshard(store("from.db").unwrap(), store("shards.db").unwrap(), &founding).await.unwrap();
    for name in ["copy.db", "shards.db"] {
        let journal = open(&path(name), few()).await;
        let report = journal.verify().await.unwrap();
        assert!(report.is_clean() && report.keys == 296, "{report:?}");
        let mut one = Actor::start(&journal).await;
        assert_eq!(recorded(one.ask(7, 7).await), Some(7), "{name}");
        assert!(matches!(one.ask(8, 77).await, Resolution::IdReused), "{name}");
    }
}

#[tokio::test]
async fn a_duplicate_has_its_reply_also_if_the_actor_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(&folder.path().join("app.actors.db"), Limits::default()).await;
    let mut other = Actor::start_as(&journal, &ActorId::new("handled", "2")).await;
    let mut one = Actor::start(&journal).await;
    one.use_keys(10).await;
    journal.checkpoint().await.unwrap();
    // A commit of another is on its way, which the answer waits for, and so does the end of the actor.
    other.send(None, 0);
    other.handle().await;
    one.send(Some(7), 7);
    let Actor { mailbox, mut resolutions, .. } = one;
    drop(mailbox);
    let (number, resolution) = resolutions.recv().await.unwrap();
    assert_eq!((number, recorded(resolution)), (7, Some(7)));
}

#[tokio::test]
async fn a_known_key_is_answered_also_when_nothing_new_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { dead_letters: 1, ..few() };
    let journal = open(&folder.path().join("app.actors.db"), limits).await;
    let mut one = Actor::start(&journal).await;
    one.use_keys(20).await;
    // Then it lets older ones go.
    one.ask(21, 21).await;
    one.send(None, 0);
    let delivery = one.mailbox.next().unwrap().unwrap();
    one.mailbox.give_up(delivery, "a test");
    one.handle().await;
    one.resolutions.recv().await.unwrap();
    assert_eq!(journal.dead_letters(&actor()).await.unwrap().len(), 1);
    let known = one.mailbox.check_dead_letters(MessageId::from(20));
    let unknown = one.mailbox.check_dead_letters(MessageKey::Anonymous);
    assert!(known.is_ok() && unknown.is_err());
    // Nobody but the journal knows what these are.
    for key in [1, 2, 100] {
        one.mailbox.check_dead_letters(MessageId::from(key)).unwrap();
    }
    assert_eq!(recorded(one.ask(1, 1).await), Some(1));
    assert!(matches!(one.ask(2, 77).await, Resolution::IdReused));
    let Resolution::Refused(error) = one.ask(100, 5).await else { panic!("it is new") };
    assert!(matches!(*error, JournalError::DeadLettersFull { count: 1, .. }), "{error}");
}
