//! Dead letters, and what bounds them.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use serde::Serialize;
use std::sync::Arc;

use shared_journal::mailbox::{MESSAGE, Resolution, Work};
use shared_journal::sqlite::SqliteActorProvider;
use shared_journal::{
    ActorId, Durability, DurableState, EventJournal, JournalError, Limits, Mailbox, MessageId,
    Sequence, copy,
};

struct Nobody;

impl Work for Nobody {
    fn resolve(self, _: Resolution) {}
}

/// A state of any size.
struct Text(String);

impl DurableState for Text {
    const ACTOR_TYPE: &'static str = "text";
    type State = String;

    fn snapshot(&self) -> impl Serialize {
        &self.0
    }

    fn restore(&mut self, text: String) {
        self.0 = text;
    }
}

fn actor() -> ActorId {
    ActorId::new("text", "1")
}

async fn open(path: &std::path::Path, limits: &Limits) -> EventJournal {
    let store = SqliteActorProvider::open(path, Durability::ProcessCrash).unwrap();
    EventJournal::builder().limits(limits.clone()).open_on(store).await.unwrap()
}

fn accept(mailbox: &mut Mailbox<Nobody>, id: u128, text: &str) -> Result<(), JournalError> {
    mailbox.check_dead_letters(MessageId::from(id))?;
    let payload = mailbox.encode(MESSAGE, &text.to_owned())?;
    mailbox
        .accept(MessageId::from(id), "text", payload, None, Nobody, None)
        .map_err(|error| Arc::into_inner(error).expect("nobody else has it"))
}

/// Every message is a poison.
fn fail_all(mailbox: &mut Mailbox<Nobody>) {
    let mut text = Text(String::new());
    while !mailbox.is_empty() {
        while let Some(delivery) = mailbox.next().unwrap() {
            mailbox.failed(delivery, "boom", &mut text).unwrap();
        }
        let _ = mailbox.end_run(&mut text).unwrap();
    }
}

/// Waits until everything submitted is durable.
async fn settle(journal: &EventJournal) {
    journal.outcome(&actor(), MessageId::from(u128::MAX)).await.unwrap();
}

async fn sequences(journal: &EventJournal) -> Vec<u64> {
    let (mut all, mut after) = (Vec::new(), Sequence(0));
    loop {
        let page = journal.dead_letters_page(&actor(), after, 2).await.unwrap();
        let Some(last) = page.last() else { return all };
        assert!(page.len() <= 2);
        after = last.sequence;
        all.extend(page.iter().map(|letter| letter.sequence.0));
    }
}

#[tokio::test]
async fn letters_move_into_rows_and_are_read_discarded_and_sent_again_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.actors.db");
    let limits = Limits { attempts: 1, ..Limits::default() };
    {
        let journal = open(&path, &limits).await;
        let mut mailbox = journal.activate(&actor()).await.unwrap();
        for id in 1..=7 {
            accept(&mut mailbox, id, &id.to_string()).unwrap();
        }
        fail_all(&mut mailbox);
        assert_eq!(sequences(&journal).await, [1, 2, 3, 4, 5, 6, 7], "not saved yet");
        journal.checkpoint().await.unwrap();
        assert_eq!(sequences(&journal).await, [1, 2, 3, 4, 5, 6, 7], "in rows");
        // While the actor runs.
        let range = Sequence(2)..=Sequence(4);
        assert_eq!(journal.discard_dead_letters(&actor(), range.clone()).await.unwrap(), 3);
        assert_eq!(journal.discard_dead_letters(&actor(), range).await.unwrap(), 0);
        let backwards = Sequence(7)..=Sequence(5);
        assert_eq!(journal.discard_dead_letters(&actor(), backwards).await.unwrap(), 0);
        accept(&mut mailbox, 8, "8").unwrap();
        fail_all(&mut mailbox);
        settle(&journal).await;
        assert_eq!(sequences(&journal).await, [1, 5, 6, 7, 8], "some in rows");
    }
    // As after a crash: the last commits are only in the log.
    let journal = open(&path, &limits).await;
    assert_eq!(sequences(&journal).await, [1, 5, 6, 7, 8]);
    journal.resend_dead_letter(&actor(), Sequence(5)).await.unwrap();
    journal.checkpoint().await.unwrap();
    assert_eq!(sequences(&journal).await, [1, 6, 7, 8]);
    let report = journal.verify().await.unwrap();
    assert!(report.is_clean(), "{:?}", report.problems);
    assert_eq!(report.dead_letters, 4);
    let letters = journal.dead_letters(&actor()).await.unwrap();
    journal.close().await.unwrap();
    let rows = rusqlite::Connection::open(&path).unwrap();
    let count = "SELECT count(*) FROM journal_dead_letter";
    assert_eq!(rows.query_row(count, [], |row| row.get::<_, i64>(0)).unwrap(), 4);

    let source = SqliteActorProvider::open(&path, Durability::ProcessCrash).unwrap();
    let copied = folder.path().join("copy.actors.db");
    let target = SqliteActorProvider::open(&copied, Durability::ProcessCrash).unwrap();
    copy(source, target).await.unwrap();
    let journal = open(&copied, &limits).await;
    assert_eq!(journal.dead_letters(&actor()).await.unwrap(), letters);
    journal.close().await.unwrap();

    // A row that is gone, and one that nobody knows of.
    let rows = rusqlite::Connection::open(&copied).unwrap();
    rows.execute("UPDATE journal_dead_letter SET sequence = 2 WHERE sequence = 6", []).unwrap();
    let journal = open(&copied, &limits).await;
    let problems = journal.verify().await.unwrap().problems;
    assert_eq!(problems.len(), 3, "misplaced, missing, not listed: {problems:?}");
    let read = journal.dead_letters(&actor()).await.unwrap_err();
    assert!(matches!(read, JournalError::Corrupt { .. }), "{read}");
}

#[tokio::test]
async fn an_actor_with_too_many_dead_letters_takes_nothing_new_until_somebody_acts() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { attempts: 1, dead_letters: 3, ..Limits::default() };
    let journal = open(&folder.path().join("count.db"), &limits).await;
    let mut mailbox = journal.activate(&actor()).await.unwrap();
    for id in 1..=5 {
        accept(&mut mailbox, id, "1").unwrap();
    }
    fail_all(&mut mailbox);
    assert_eq!(sequences(&journal).await, [1, 2, 3, 4, 5], "what was received is handled");
    let refused = accept(&mut mailbox, 6, "1").unwrap_err();
    assert!(matches!(refused, JournalError::DeadLettersFull { count: 5, .. }), "{refused}");
    assert!(!refused.is_retryable());
    accept(&mut mailbox, 5, "1").unwrap();
    journal.discard_dead_letters(&actor(), Sequence(1)..=Sequence(3)).await.unwrap();
    // At once, and again and again.
    accept(&mut mailbox, 6, "1").unwrap();
    fail_all(&mut mailbox);
    accept(&mut mailbox, 7, "1").unwrap_err();
    assert_eq!(journal.resend_dead_letters(&actor(), Sequence(0)..=Sequence(0)).await.unwrap(), 0);
    journal.discard_dead_letter(&actor(), Sequence(6)).await.unwrap();
    accept(&mut mailbox, 7, "1").unwrap();

    let limits = Limits { attempts: 1, dead_letter_bytes: 1000, ..Limits::default() };
    let journal = open(&folder.path().join("bytes.db"), &limits).await;
    let mut mailbox = journal.activate(&actor()).await.unwrap();
    accept(&mut mailbox, 1, &"x".repeat(1000)).unwrap();
    fail_all(&mut mailbox);
    let refused = accept(&mut mailbox, 2, "1").unwrap_err();
    assert!(matches!(refused, JournalError::DeadLettersFull { count: 1, .. }), "{refused}");
    settle(&journal).await;
    drop((mailbox, journal));
    // The next process as well.
    let journal = open(&folder.path().join("bytes.db"), &limits).await;
    let mut mailbox = journal.activate(&actor()).await.unwrap();
    accept(&mut mailbox, 2, "1").unwrap_err();
}

#[tokio::test]
async fn a_mailbox_is_full_by_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { pending_bytes: 1000, ..Limits::default() };
    let journal = open(&folder.path().join("app.db"), &limits).await;
    let mut mailbox = journal.activate(&actor()).await.unwrap();
    assert!(mailbox.has_room());
    accept(&mut mailbox, 1, &"x".repeat(600)).unwrap();
    assert!(mailbox.has_room());
    accept(&mut mailbox, 2, &"x".repeat(600)).unwrap();
    assert!(!mailbox.has_room());
    let first = mailbox.next().unwrap().unwrap();
    mailbox.in_progress(first).unwrap();
    assert!(!mailbox.has_room(), "what is handled counts");
    let first = mailbox.take_in_progress().unwrap();
    let reply = mailbox.encode("the reply", &1).unwrap();
    mailbox.processed(first, reply);
    assert!(mailbox.has_room());
}

#[tokio::test]
async fn many_letters_are_sent_again_in_order_and_discarded() {
    const LETTERS: u64 = 20_000;
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { attempts: 1, ..Limits::default() };
    let journal = open(&folder.path().join("app.db"), &limits).await;
    let mut mailbox = journal.activate(&actor()).await.unwrap();
    for id in 1..=LETTERS {
        accept(&mut mailbox, id.into(), &id.to_string()).unwrap();
    }
    fail_all(&mut mailbox);
    settle(&journal).await;
    let all = || Sequence(0)..=Sequence(u64::MAX);
    drop(mailbox);
    journal.checkpoint().await.unwrap();
    let some = Sequence(1001)..=Sequence(LETTERS);
    let sent = journal.resend_dead_letters(&actor(), some).await.unwrap() as u64;
    assert_eq!(sent, LETTERS - 1000);
    let mailbox: Mailbox<Nobody> = journal.activate(&actor()).await.unwrap();
    let waiting: Vec<String> = mailbox.queued().map(|it| it.payload().decode().unwrap()).collect();
    assert!(waiting.into_iter().eq((1001..=LETTERS).map(|id| id.to_string())));
    assert_eq!(journal.discard_dead_letters(&actor(), all()).await.unwrap(), 1000);
    assert!(journal.dead_letters(&actor()).await.unwrap().is_empty());
}

/// A row of SQLite has at most a billion bytes.
async fn large_letters(count: u128, bytes: usize) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let limits = Limits {
        attempts: 1,
        message_bytes: 512 << 20,
        dead_letter_bytes: u64::MAX,
        ..Limits::default()
    };
    let text = "x".repeat(bytes);
    {
        let journal = open(&path, &limits).await;
        let mut mailbox = journal.activate(&actor()).await.unwrap();
        for id in 1..=count {
            accept(&mut mailbox, id, &text).unwrap();
            fail_all(&mut mailbox);
            journal.checkpoint().await.unwrap();
        }
        drop(mailbox);
        journal.close().await.unwrap();
    }
    let journal = open(&path, &limits).await;
    let (mut read, mut after) = (0, Sequence(0));
    loop {
        let page = journal.dead_letters_page(&actor(), after, usize::MAX).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() == 1 || page.len() * bytes <= 4 << 20, "a page is of some size");
        after = last.sequence;
        read += page.len() as u128;
    }
    assert_eq!(read, count);
    assert!(journal.stopped().is_none());
}

#[tokio::test]
async fn many_letters_of_a_megabyte_do_not_stop_the_journal() {
    large_letters(40, 1 << 20).await;
}

#[tokio::test]
#[ignore = "a gigabyte"]
async fn letters_of_a_billion_bytes_do_not_stop_the_journal() {
    large_letters(5, 210_000_000).await;
}

/// The log behind the checkpoint keeps to its bytes, also over a restart.
#[tokio::test]
async fn histories_keep_to_their_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let limits = Limits { history_bytes: 5 << 20, ..Limits::default() };
    for life in 0..2 {
        let journal = open(&path, &limits).await;
        let mut mailbox = journal.activate(&actor()).await.unwrap();
        for n in 1..=4_u128 {
            accept(&mut mailbox, life * 100 + n, "1").unwrap();
            let delivery = mailbox.next().unwrap().unwrap();
            let reply = mailbox.encode("the reply", &1).unwrap();
            mailbox.processed(delivery, reply);
            let mut text = Text(format!("{life} {n} {}", "x".repeat(1 << 20)));
            let _ = mailbox.end_run(&mut text).unwrap();
            settle(&journal).await;
        }
        journal.checkpoint().await.unwrap();
        let log = rusqlite::Connection::open(&path).unwrap();
        let kept = "SELECT sum(length(batch)) FROM journal_log";
        let kept: usize = log.query_row(kept, [], |row| row.get(0)).unwrap();
        assert!(kept <= 5 << 20, "{kept} bytes after life {life}");
        assert!(kept > 3 << 20, "as much as there may be: {kept}");
    }
}
