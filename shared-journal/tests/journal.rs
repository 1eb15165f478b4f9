//! The journal through its public API, with an adapter as small as one can be.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;

use duroxide::providers::sqlite::SqliteProvider;
use futures::StreamExt;
use serde::Serialize;
use shared_journal::mailbox::{Delivery, MESSAGE, Resolution, Work};
use shared_journal::sqlite::SqliteActorProvider;
use shared_journal::{
    ActorEvent, ActorId, Durability, DurableState, EventJournal, JournalError, Limits, Mailbox,
    MessageId, Outcome, Sequence, copy,
};
use tokio::sync::{Mutex, mpsc};

/// Reports its resolution, with a name.
struct Report(&'static str, mpsc::UnboundedSender<(&'static str, Resolution)>);

impl Work for Report {
    fn resolve(self, resolution: Resolution) {
        let _ = self.1.send((self.0, resolution));
    }
}

/// The state of a counter: a number.
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
    _dir: tempfile::TempDir,
    path: std::path::PathBuf,
}

impl Store {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        Self { _dir: dir, path }
    }

    async fn open(&self) -> EventJournal {
        self.open_with(Limits::default()).await.unwrap()
    }

    async fn open_with(&self, limits: Limits) -> Result<EventJournal, JournalError> {
        let url = format!("sqlite:{}?mode=rwc", self.path.display());
        let provider = Arc::new(SqliteProvider::new(&url, None).await.unwrap());
        EventJournal::builder().limits(limits).open(provider).await
    }

    fn journal_path(&self) -> std::path::PathBuf {
        self.path.with_file_name("app.actors.db")
    }

    fn sql(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.journal_path()).unwrap()
    }
}

fn actor() -> ActorId {
    ActorId::new("counter", "1")
}

/// A counter that adds what it gets and replies with the sum. Handles everything that waits.
fn run_all(mailbox: &mut Mailbox<Report>) -> i64 {
    let mut sum: i64 = mailbox.state().map_or(0, |state| state.decode().unwrap());
    loop {
        while let Some(delivery) = mailbox.next().unwrap() {
            sum += delivery.payload().decode::<i64>().unwrap();
            let reply = mailbox.encode("the reply", &sum).unwrap();
            mailbox.processed(delivery, reply);
        }
        let _ = mailbox.end_run(&mut Sum(sum)).unwrap();
        if mailbox.is_empty() {
            return sum;
        }
    }
}

struct Client {
    sender: mpsc::UnboundedSender<(&'static str, Resolution)>,
    receiver: Mutex<mpsc::UnboundedReceiver<(&'static str, Resolution)>>,
}

impl Client {
    fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver: Mutex::new(receiver) }
    }

    fn send(
        &self,
        mailbox: &mut Mailbox<Report>,
        name: &'static str,
        id: Option<u128>,
        amount: i64,
    ) -> bool {
        let payload = mailbox.encode(MESSAGE, &amount).unwrap();
        let work = Report(name, self.sender.clone());
        let id = id.map(MessageId::from);
        let before = mailbox.len();
        mailbox.accept(id, "add", payload, None, work, None).unwrap();
        mailbox.len() > before
    }

    /// Waits for the next resolution.
    async fn resolved(&self) -> (&'static str, Resolution) {
        let mut receiver = self.receiver.lock().await;
        let received = tokio::time::timeout(std::time::Duration::from_secs(20), receiver.recv());
        received.await.expect("a resolution never came").unwrap()
    }
}

/// The next message, when it may be handled.
async fn next(mailbox: &mut Mailbox<Report>) -> Delivery<Report> {
    loop {
        if let Some(delivery) = mailbox.next().unwrap() {
            return delivery;
        }
        mailbox.ready().await;
    }
}

async fn activate(journal: &EventJournal) -> Mailbox<Report> {
    let mut mailbox = journal.activate(&actor()).await.unwrap();
    mailbox.baseline(&Sum(0)).unwrap();
    mailbox
}

#[tokio::test]
async fn state_and_replies_survive_a_drop_without_close() {
    let store = Store::new();
    let client = Client::new();
    {
        let journal = store.open().await;
        let mut mailbox = activate(&journal).await;
        client.send(&mut mailbox, "a", Some(1), 5);
        client.send(&mut mailbox, "b", None, 7);
        assert_eq!(run_all(&mut mailbox), 12);
        assert!(matches!(client.resolved().await, ("a", Resolution::Processed)));
        assert!(matches!(client.resolved().await, ("b", Resolution::Processed)));
    }
    let journal = store.open().await;
    assert_eq!(journal.stats().recovered_actors, 1);
    let Some(Outcome::Processed(reply)) = journal.outcome(&actor(), 1.into()).await.unwrap() else {
        panic!("the reply is not recorded");
    };
    assert_eq!(reply.decode::<i64>().unwrap(), 5);
    let mut mailbox = activate(&journal).await;
    assert!(!client.send(&mut mailbox, "a again", Some(1), 5), "a duplicate is not accepted");
    assert_eq!(run_all(&mut mailbox), 12);
    assert_eq!(journal.stats().duplicates, 1);
}

#[tokio::test]
async fn receipts_are_handled_after_a_restart_in_their_order() {
    let store = Store::new();
    let client = Client::new();
    {
        let journal = store.open().await;
        let mut mailbox = activate(&journal).await;
        client.send(&mut mailbox, "slow", Some(1), 1);
        let slow = mailbox.next().unwrap().unwrap();
        mailbox.in_progress(slow).unwrap();
        let (acknowledge, acknowledged) = tokio::sync::oneshot::channel();
        let payload = mailbox.encode(MESSAGE, &10).unwrap();
        let work = Report("behind", client.sender.clone());
        mailbox.accept(Some(2.into()), "add", payload, None, work, Some(acknowledge)).unwrap();
        acknowledged.await.unwrap().unwrap();
        assert!(mailbox.next().unwrap().is_none(), "one handler at a time");
        // An outcome that is not there yet is waited for; then the actor is gone, and so is it.
    }
    let journal = store.open().await;
    assert_eq!(journal.stats().recovered_pending, 2);
    assert_eq!(journal.pending().await.unwrap(), [actor()]);
    let mut mailbox = activate(&journal).await;
    assert!(mailbox.next().unwrap().is_none(), "that it is about to be handled is not durable");
    let mut handled = Vec::new();
    while !mailbox.is_empty() {
        mailbox.ready().await;
        while let Some(delivery) = mailbox.next().unwrap() {
            let amount = delivery.payload().decode::<i64>().unwrap();
            let reply = mailbox.encode("the reply", &amount).unwrap();
            handled.push((delivery.sequence(), amount));
            mailbox.processed(delivery, reply);
        }
        let _ = mailbox.end_run(&mut Sum(11)).unwrap();
    }
    assert_eq!(handled, [(Sequence(1), 1), (Sequence(2), 10)]);
    journal.checkpoint().await.unwrap();
    assert_eq!(journal.pending().await.unwrap(), []);
}

#[tokio::test]
async fn a_duplicate_is_acknowledged_when_the_receipt_of_the_first_is_durable_and_not_before() {
    let store = Store::new();
    let client = Client::new();
    let journal = store.open().await;
    let mut mailbox = activate(&journal).await;
    client.send(&mut mailbox, "first", Some(1), 5);
    let acknowledged = |mailbox: &mut Mailbox<Report>| {
        let (acknowledge, acknowledged) = tokio::sync::oneshot::channel();
        let payload = mailbox.encode(MESSAGE, &5).unwrap();
        let work = Report("again", client.sender.clone());
        mailbox.accept(Some(1.into()), "add", payload, None, work, Some(acknowledge)).unwrap();
        acknowledged
    };
    let mut early = acknowledged(&mut mailbox);
    // Everything submitted is durable, and who was told of that has heard it.
    mailbox.flushed().await.unwrap();
    assert!(early.try_recv().is_err(), "the receipt of the first is not written");
    let first = mailbox.next().unwrap().unwrap();
    mailbox.in_progress(first).unwrap();
    let late = acknowledged(&mut mailbox);
    early.await.unwrap().unwrap();
    late.await.unwrap().unwrap();
    drop((mailbox, journal));
    assert_eq!(store.open().await.stats().recovered_pending, 1);
}

#[tokio::test]
async fn the_older_of_two_owners_is_fenced_and_releases_nothing() {
    let store = Store::new();
    let client = Client::new();
    let older = store.open().await;
    let mut mailbox = activate(&older).await;
    client.send(&mut mailbox, "before", None, 1);
    run_all(&mut mailbox);
    assert!(matches!(client.resolved().await, ("before", Resolution::Processed)));

    let newer = store.open().await;
    client.send(&mut mailbox, "after", None, 1);
    run_all(&mut mailbox);
    let ("after", Resolution::Unknown(error)) = client.resolved().await else {
        panic!("the fenced owner released a reply");
    };
    assert!(error.is_fenced(), "{error}");
    assert!(older.activate::<Report>(&ActorId::new("counter", "2")).await.unwrap_err().is_fenced());
    assert!(older.stopped().unwrap().is_fenced());

    let mailbox = activate(&newer).await;
    assert_eq!(mailbox.state().unwrap().decode::<i64>().unwrap(), 1);
}

#[tokio::test]
async fn a_poison_message_takes_the_run_back_and_ends_as_a_dead_letter() {
    let store = Store::new();
    let client = Client::new();
    let journal = store.open().await;
    let mut mailbox = activate(&journal).await;
    for (name, amount) in [("a", 1), ("poison", -1), ("b", 10)] {
        client.send(&mut mailbox, name, None, amount);
    }
    let (mut sum, mut handled, mut panics) = (0, Vec::new(), 0);
    while !mailbox.is_empty() {
        while let Some(delivery) = mailbox.next().unwrap() {
            let amount: i64 = delivery.payload().decode().unwrap();
            handled.push(amount);
            if amount < 0 {
                panics += 1;
                mailbox.failed(delivery, "boom", &mut Sum(0)).unwrap();
                sum = mailbox.state().unwrap().decode().unwrap();
            } else {
                sum += amount;
                let reply = mailbox.encode("the reply", &sum).unwrap();
                mailbox.processed(delivery, reply);
            }
        }
        let _ = mailbox.end_run(&mut Sum(sum)).unwrap();
    }
    assert_eq!((sum, panics), (11, 3));
    assert_eq!(handled, [1, -1, 1, -1, -1, 10], "the others first, then the poison alone");
    assert!(matches!(client.resolved().await, ("a", Resolution::Processed)));
    assert!(matches!(client.resolved().await, ("poison", Resolution::Failed { attempts: 3, .. })));
    assert!(matches!(client.resolved().await, ("b", Resolution::Processed)));

    let letters = journal.dead_letters(&actor()).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].attempts, letters[0].error.as_str()), (3, "boom"));
    assert_eq!(journal.with_dead_letters().await.unwrap(), [actor()]);

    let sequence = letters[0].sequence;
    drop(mailbox);
    journal.resend_dead_letter(&actor(), sequence).await.unwrap();
    assert!(journal.dead_letters(&actor()).await.unwrap().is_empty());
    let mut mailbox = activate(&journal).await;
    let again = next(&mut mailbox).await;
    assert_eq!(again.payload().decode::<i64>().unwrap(), -1);
    mailbox.failed(again, "boom", &mut Sum(0)).unwrap();
    for _ in 0..2 {
        let again = next(&mut mailbox).await;
        mailbox.failed(again, "boom", &mut Sum(0)).unwrap();
    }
    let _ = mailbox.end_run(&mut Sum(sum)).unwrap();
    let letters = journal.dead_letters(&actor()).await.unwrap();
    journal.discard_dead_letter(&actor(), letters[0].sequence).await.unwrap();
    assert!(journal.dead_letters(&actor()).await.unwrap().is_empty());
    assert!(journal.verify().await.unwrap().is_clean());
}

#[tokio::test]
async fn checkpoints_shorten_the_log_and_recovery_continues_from_them() {
    let store = Store::new();
    let client = Client::new();
    let limits = Limits { checkpoint_bytes: 4096, history_commits: 2, ..Limits::default() };
    {
        let journal = store.open_with(limits.clone()).await.unwrap();
        let mut mailbox = activate(&journal).await;
        for n in 0..500 {
            client.send(&mut mailbox, "x", Some(n), 1);
            run_all(&mut mailbox);
            client.resolved().await;
        }
        journal.checkpoint().await.unwrap();
        assert!(journal.stats().checkpoints > 1);
    }
    let rows: i64 =
        store.sql().query_row("SELECT count(*) FROM journal_log", [], |row| row.get(0)).unwrap();
    assert!(rows < 300, "{rows} of 500 commits are still there");
    let journal = store.open_with(limits).await.unwrap();
    let mut mailbox = activate(&journal).await;
    assert_eq!(mailbox.state().unwrap().decode::<i64>().unwrap(), 500);
    assert!(!client.send(&mut mailbox, "dup", Some(3), 1), "the window survives a checkpoint");
    assert!(journal.verify().await.unwrap().is_clean());
}

/// As after a crash between two parts of a checkpoint.
#[tokio::test]
async fn a_record_that_is_ahead_of_the_checkpoint_is_not_folded_twice() {
    let store = Store::new();
    let client = Client::new();
    {
        let journal = store.open().await;
        let mut mailbox = activate(&journal).await;
        for n in 0..5 {
            client.send(&mut mailbox, "x", Some(n), 1);
            run_all(&mut mailbox);
            client.resolved().await;
        }
        journal.checkpoint().await.unwrap();
    }
    // The records are saved, the end of the checkpoint is not.
    store.sql().execute("UPDATE journal_shard SET checkpoint = 0", []).unwrap();
    let journal = store.open().await;
    let mut mailbox = activate(&journal).await;
    assert_eq!(mailbox.state().unwrap().decode::<i64>().unwrap(), 5);
    client.send(&mut mailbox, "x", None, 1);
    assert_eq!(run_all(&mut mailbox), 6);
    assert!(journal.verify().await.unwrap().is_clean());
}

#[tokio::test]
async fn a_history_without_a_bound_keeps_what_earlier_processes_wrote() {
    let store = Store::new();
    let limits = Limits { history_bytes: usize::MAX, ..Limits::default() };
    for life in 1..=3 {
        let client = Client::new();
        let journal = store.open_with(limits.clone()).await.unwrap();
        let mut mailbox = activate(&journal).await;
        for n in 0..5 {
            client.send(&mut mailbox, "x", None, n);
            run_all(&mut mailbox);
            client.resolved().await;
        }
        journal.checkpoint().await.unwrap();
        let positions: Vec<_> =
            journal.history(&actor()).map(|entry| entry.unwrap().position.0).collect().await;
        assert_eq!(positions.first(), Some(&1), "in life {life}");
        drop(mailbox);
        journal.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_history_goes_on_after_what_was_truncated() {
    let store = Store::new();
    let client = Client::new();
    let limits = Limits { history_commits: 3, ..Limits::default() };
    let journal = store.open_with(limits).await.unwrap();
    let mut mailbox = activate(&journal).await;
    for n in 0..10 {
        client.send(&mut mailbox, "x", None, n);
        run_all(&mut mailbox);
        client.resolved().await;
    }
    journal.checkpoint().await.unwrap();
    let positions: Vec<_> =
        journal.history(&actor()).map(|entry| entry.unwrap().position.0).collect().await;
    assert_eq!(positions.first(), Some(&8));
    assert_eq!(positions.last(), Some(&10));
    assert!(journal.verify().await.unwrap().is_clean());
}

#[tokio::test]
async fn a_history_tells_what_happened() {
    let store = Store::new();
    let client = Client::new();
    let journal = store.open().await;
    let mut mailbox = activate(&journal).await;
    client.send(&mut mailbox, "a", None, 5);
    run_all(&mut mailbox);
    let _ = mailbox.stopped(&mut Sum(5)).unwrap();
    drop(mailbox);
    let names: Vec<_> =
        journal.history(&actor()).map(|entry| entry.unwrap().event.name()).collect().await;
    let expected =
        ["Spawned", "MessageReceived", "MessageProcessed", "StateChanged", "ActorStopped"];
    assert_eq!(names, expected);
    let nobody = journal.history(&ActorId::new("counter", "none")).count().await;
    assert_eq!(nobody, 0);
}

#[tokio::test]
async fn unchanged_state_is_not_written_again() {
    let store = Store::new();
    let client = Client::new();
    let journal = store.open().await;
    let mut mailbox = activate(&journal).await;
    for _ in 0..3 {
        client.send(&mut mailbox, "nothing", None, 0);
        run_all(&mut mailbox);
    }
    let states = journal
        .history(&actor())
        .filter(|entry| {
            let state = matches!(entry.as_ref().unwrap().event, ActorEvent::StateChanged { .. });
            async move { state }
        })
        .count()
        .await;
    assert_eq!(states, 1, "the state of construction, once");
}

#[tokio::test]
async fn a_copy_goes_on_where_the_old_one_was() {
    let (old, new) = (Store::new(), Store::new());
    let client = Client::new();
    {
        let journal = old.open().await;
        let mut mailbox = activate(&journal).await;
        client.send(&mut mailbox, "a", Some(1), 5);
        run_all(&mut mailbox);
        journal.checkpoint().await.unwrap();
        client.send(&mut mailbox, "b", Some(2), 7);
        run_all(&mut mailbox);
        client.resolved().await;
        client.resolved().await;
    }
    let open = |store: &Store| {
        SqliteActorProvider::open(store.journal_path(), Durability::ProcessCrash).unwrap()
    };
    let report = copy(open(&old), open(&new)).await.unwrap();
    assert_eq!(report.records, 1);
    let again = copy(open(&old), open(&new)).await.unwrap_err();
    assert!(matches!(&again, JournalError::NotEmpty { store } if store.contains("app.actors.db")));
    for store in [old, new] {
        let journal = store.open().await;
        let mut mailbox = activate(&journal).await;
        assert!(!client.send(&mut mailbox, "b again", Some(2), 7), "a duplicate");
        assert_eq!(run_all(&mut mailbox), 12);
        assert!(journal.verify().await.unwrap().is_clean());
    }
}

#[tokio::test]
async fn an_in_memory_journal_lives_as_long_as_its_provider() {
    let provider = Arc::new(SqliteProvider::new_in_memory().await.unwrap());
    let client = Client::new();
    {
        let journal = EventJournal::open(provider.clone()).await.unwrap();
        let mut mailbox = activate(&journal).await;
        client.send(&mut mailbox, "a", None, 5);
        run_all(&mut mailbox);
        client.resolved().await;
    }
    let journal = EventJournal::open(provider).await.unwrap();
    assert_eq!(activate(&journal).await.state().unwrap().decode::<i64>().unwrap(), 5);
}

mod bad_input {
    use super::*;

    async fn filled(store: &Store) {
        let client = Client::new();
        let journal = store.open().await;
        let mut mailbox = activate(&journal).await;
        for n in 0..3 {
            client.send(&mut mailbox, "a", None, n);
            run_all(&mut mailbox);
            client.resolved().await;
        }
    }

    #[tokio::test]
    async fn a_flipped_bit_in_the_log_names_the_place() {
        let store = Store::new();
        filled(&store).await;
        let sql = store.sql();
        let mut row: Vec<u8> = sql
            .query_row("SELECT batch FROM journal_log WHERE position = 2", [], |row| row.get(0))
            .unwrap();
        row[20] ^= 1;
        sql.execute("UPDATE journal_log SET batch = ?1 WHERE position = 2", [row]).unwrap();
        let error = store.open_with(Limits::default()).await.unwrap_err();
        assert!(matches!(error, JournalError::Corrupt { .. }));
        let text = error.to_string();
        assert!(text.contains("shard 0, position 2") && text.contains("checksum"), "{text}");
    }

    #[tokio::test]
    async fn a_missing_commit_is_seen() {
        let store = Store::new();
        filled(&store).await;
        store.sql().execute("DELETE FROM journal_log WHERE position = 2", []).unwrap();
        let error = store.open_with(Limits::default()).await.unwrap_err().to_string();
        assert!(error.contains("position 3") && error.contains("position 2 is missing"), "{error}");
    }

    #[tokio::test]
    async fn a_corrupt_record_names_the_actor_and_spares_the_others() {
        let store = Store::new();
        filled(&store).await;
        store.open().await.close().await.unwrap();
        store
            .sql()
            .execute("UPDATE journal_record SET record = substr(record, 1, 30)", [])
            .unwrap();
        let journal = store.open().await;
        let error = journal.activate::<Report>(&actor()).await.unwrap_err().to_string();
        assert!(error.contains("counter/1"), "{error}");
        assert!(!journal.verify().await.unwrap().is_clean());
        assert!(journal.activate::<Report>(&ActorId::new("counter", "2")).await.is_ok());
    }

    #[tokio::test]
    async fn a_file_that_is_not_ours_is_left_alone() {
        let store = Store::new();
        let sql = rusqlite::Connection::open(store.journal_path()).unwrap();
        sql.execute_batch("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)").unwrap();
        let before = std::fs::read(store.journal_path()).unwrap();
        let error = store.open_with(Limits::default()).await.unwrap_err();
        assert!(matches!(error, JournalError::NotAJournal { .. }), "{error}");
        assert_eq!(std::fs::read(store.journal_path()).unwrap(), before);

        let store = Store::new();
        std::fs::write(store.journal_path(), b"this is a text, long enough to be no database")
            .unwrap();
        let error = store.open_with(Limits::default()).await.unwrap_err();
        assert!(matches!(error, JournalError::NotAJournal { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_newer_schema_is_refused() {
        let store = Store::new();
        filled(&store).await;
        store.sql().pragma_update(None, "user_version", 99).unwrap();
        let error = store.open_with(Limits::default()).await.unwrap_err();
        assert!(matches!(error, JournalError::SchemaVersion { found: 99, .. }), "{error}");
    }

    #[tokio::test]
    async fn an_unwritable_path_is_named() {
        let path = "/proc/no/such/place.db";
        let error = shared_journal::sqlite::SqliteActorProvider::open(path, Durability::PowerLoss)
            .unwrap_err();
        assert!(matches!(error, JournalError::Store { .. }));
        assert!(error.to_string().contains(path), "{error}");
    }

    #[tokio::test]
    async fn too_large_a_message_is_refused_before_anything_is_written() {
        let store = Store::new();
        let limits = Limits { message_bytes: 10, ..Limits::default() };
        let journal = store.open_with(limits).await.unwrap();
        let mailbox = activate(&journal).await;
        let error = mailbox.encode(MESSAGE, &"x".repeat(20)).unwrap_err();
        assert!(matches!(error, JournalError::TooLarge { size: 21, limit: 10, .. }), "{error}");
    }

    #[tokio::test]
    async fn one_actor_runs_once_and_needs_a_name() {
        let store = Store::new();
        let journal = store.open().await;
        let mailbox = activate(&journal).await;
        let error = journal.activate::<Report>(&actor()).await.unwrap_err();
        assert!(matches!(error, JournalError::AlreadyActive { .. }), "{error}");
        drop(mailbox);
        assert!(journal.activate::<Report>(&actor()).await.is_ok());
        let error = journal.activate::<Report>(&ActorId::new("counter", "")).await.unwrap_err();
        assert!(matches!(error, JournalError::InvalidActorId { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_closed_journal_says_so() {
        let store = Store::new();
        let client = Client::new();
        let journal = store.open().await;
        let mut mailbox = activate(&journal).await;
        journal.close().await.unwrap();
        client.send(&mut mailbox, "late", None, 1);
        let delivery = mailbox.next().unwrap().unwrap();
        let reply = mailbox.encode("the reply", &1).unwrap();
        mailbox.processed(delivery, reply);
        assert!(matches!(*mailbox.end_run(&mut Sum(1)).unwrap_err(), JournalError::Closed));
        assert!(matches!(client.resolved().await, ("late", Resolution::Unknown(_))));
        assert!(matches!(journal.checkpoint().await.unwrap_err(), JournalError::Closed));
        journal.close().await.unwrap();
    }
}
