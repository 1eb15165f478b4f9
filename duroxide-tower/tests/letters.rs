//! Dead letters that are sent again while their actor runs.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use duroxide::providers::sqlite::SqliteProvider;
use duroxide_tower::{
    ActorContext, DurableActor, DurableActorService, DurableHandle, DurableMessage, DurableState,
    EventJournal, JournalError, async_trait,
};
use serde::{Deserialize, Serialize};
use shared_journal::mailbox::{MESSAGE, Resolution, Work};
use shared_journal::{ActorId, Limits, Mailbox, Sequence};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// How many were handled, and the last ones of them.
struct Clerk {
    count: u64,
    last: Vec<u64>,
    /// Of each number that is not quick.
    gate: Arc<Semaphore>,
}

#[derive(Serialize, Deserialize, DurableMessage, Clone, Copy)]
#[durable(name = "clerk.file")]
struct File {
    number: u64,
    quick: bool,
}

impl DurableState for Clerk {
    const ACTOR_TYPE: &'static str = "clerk";
    type State = (u64, Vec<u64>);

    fn snapshot(&self) -> impl Serialize {
        (self.count, &self.last)
    }

    fn restore(&mut self, (count, last): (u64, Vec<u64>)) {
        (self.count, self.last) = (count, last);
    }
}

impl Clerk {
    fn new(gate: &Arc<Semaphore>) -> Self {
        Self { count: 0, last: Vec::new(), gate: gate.clone() }
    }
}

/// Who lets so many through that are not quick.
fn gate(permits: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(permits))
}

/// So many of the last ones are kept.
const KEPT: usize = 50;

#[async_trait]
impl DurableActor for Clerk {
    type Message = File;
    type Reply = (u64, Vec<u64>);
    type Error = ();

    async fn handle(&mut self, _: &mut ActorContext, file: File) -> Result<Self::Reply, ()> {
        if !file.quick {
            self.gate.acquire().await.unwrap().forget();
        }
        self.count += 1;
        self.last.push(file.number);
        if self.last.len() > KEPT {
            self.last.remove(0);
        }
        Ok((self.count, self.last.clone()))
    }
}

struct Nobody;

impl Work for Nobody {
    fn resolve(self, _: Resolution) {}
}

fn name() -> ActorId {
    ActorId::new("clerk", "1")
}

fn all() -> std::ops::RangeInclusive<Sequence> {
    Sequence(0)..=Sequence(u64::MAX)
}

async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(Duration::from_secs(60), future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} never came"),
    }
}

async fn open(folder: &tempfile::TempDir) -> EventJournal {
    let url = format!("sqlite:{}?mode=rwc", folder.path().join("app.db").display());
    let provider = Arc::new(SqliteProvider::new(&url, None).await.unwrap());
    let limits = Limits { attempts: 1, ..Limits::default() };
    EventJournal::builder().limits(limits).open(provider).await.unwrap()
}

/// The clerk has given up the numbers from 1 to `count`; their letters are in rows.
async fn given_up(journal: &EventJournal, count: u64, quick: bool) {
    let mut mailbox: Mailbox<Nobody> = journal.activate(&name()).await.unwrap();
    for number in 1..=count {
        let payload = mailbox.encode(MESSAGE, &File { number, quick }).unwrap();
        mailbox.accept(None, File::NAME, payload, None, Nobody, None).unwrap();
    }
    let mut clerk = Clerk::new(&gate(0));
    while !mailbox.is_empty() {
        while let Some(delivery) = mailbox.next().unwrap() {
            mailbox.failed(delivery, "boom", &mut clerk).unwrap();
        }
        let _ = mailbox.end_run(&mut clerk).unwrap();
        mailbox.ready().await;
    }
    drop(mailbox);
    journal.checkpoint().await.unwrap();
}

type Run = JoinHandle<Result<(), Arc<JournalError>>>;

async fn start(
    journal: &EventJournal,
    gate: &Arc<Semaphore>,
    capacity: usize,
) -> (DurableHandle<Clerk>, Run) {
    let clerk = Clerk::new(gate);
    let started = DurableActorService::with_capacity(journal, "1", clerk, capacity).await;
    let (service, handle) = started.unwrap();
    (handle, tokio::spawn(service.run()))
}

#[tokio::test]
async fn they_are_handled_in_order_between_what_others_send() {
    for capacity in [1, 2, 64] {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(&folder).await;
        given_up(&journal, 300, true).await;
        let (clerk, run) = start(&journal, &gate(0), capacity).await;
        let asking = async {
            let mut asked = 0;
            while !journal.dead_letters_page(&name(), Sequence(0), 1).await.unwrap().is_empty() {
                clerk.ask(File { number: 1000, quick: true }).await.unwrap();
                asked += 1;
            }
            asked
        };
        let name = name();
        let both = async { tokio::join!(journal.resend_dead_letters(&name, all()), asking) };
        let (sent, asked) = soon("the letters", both).await;
        assert_eq!(sent.unwrap(), 300);
        let (count, last) = clerk.ask(File { number: 1000, quick: true }).await.unwrap();
        assert_eq!(count, 301 + asked);
        let last: Vec<_> = last.into_iter().filter(|number| *number < 1000).collect();
        assert!(last.windows(2).all(|two| two[0] + 1 == two[1]), "{last:?}");
        drop(clerk);
        soon("the end", run).await.unwrap().unwrap();
        assert_eq!(journal.pending().await.unwrap(), []);
    }
}

/// While a handler takes its time a part of them waits behind it, and others find room.
#[tokio::test]
async fn they_wait_behind_a_slow_handler_with_room_for_others() {
    for capacity in [1, 2, 8] {
        let folder = tempfile::tempdir().unwrap();
        let journal = open(&folder).await;
        given_up(&journal, 40, false).await;
        let gate = gate(0);
        let (clerk, run) = start(&journal, &gate, capacity).await;
        let sending = tokio::spawn({
            let journal = journal.clone();
            async move { journal.resend_dead_letters(&name(), all()).await }
        });
        let waiting = |journal: EventJournal| async move {
            let repair = journal.repair("ada", "a test").unwrap();
            repair.pending(&name(), Sequence(0), 999).await.unwrap().len()
        };
        let half = (capacity / 2).max(1);
        soon("the first ones", async {
            while waiting(journal.clone()).await < half {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
        // An ask gets its turn before most of them.
        let asking = tokio::spawn({
            let clerk = clerk.clone();
            async move { clerk.ask(File { number: 1000, quick: true }).await }
        });
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(waiting(journal.clone()).await <= 1 + half + capacity, "{capacity}");
        assert!(!sending.is_finished());
        gate.add_permits(2 * capacity + 2);
        let (count, _) = soon("the answer", asking).await.unwrap().unwrap();
        assert!(count <= 2 * capacity as u64 + 3, "{count} with {capacity}");
        gate.add_permits(40);
        assert_eq!(soon("the letters", sending).await.unwrap().unwrap(), 40);
        drop(clerk);
        soon("the end", run).await.unwrap().unwrap();
        assert_eq!(journal.pending().await.unwrap(), []);
    }
}

#[tokio::test]
async fn an_actor_that_is_stopped_leaves_the_others_to_its_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(&folder).await;
    given_up(&journal, 100, false).await;
    let gate = gate(5);
    let (clerk, run) = start(&journal, &gate, 4).await;
    let sending = tokio::spawn({
        let journal = journal.clone();
        async move { journal.resend_dead_letters(&name(), all()).await }
    });
    soon("some of them", async {
        while gate.available_permits() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let repair = journal.repair("ada", "a test").unwrap();
    soon("the stop", repair.stop(&name())).await.unwrap();
    assert!(matches!(&*run.await.unwrap().unwrap_err(), JournalError::Held { .. }));
    drop(clerk);
    assert_eq!(soon("the letters", sending).await.unwrap().unwrap(), 100);
    // As after a crash.
    let journal = open(&folder).await;
    journal.repair("ada", "a test").unwrap().release(&name()).await.unwrap();
    gate.add_permits(200);
    let (clerk, _run) = start(&journal, &gate, 4).await;
    let (count, last) =
        soon("the end", clerk.ask(File { number: 101, quick: true })).await.unwrap();
    assert_eq!(count, 101);
    assert!(last.into_iter().eq(52..=101));
}

/// Says how long it takes.
async fn many(count: u64) {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(&folder).await;
    given_up(&journal, count, true).await;
    let (clerk, _run) = start(&journal, &gate(0), 1024).await;
    let begun = Instant::now();
    let sent = journal.resend_dead_letters(&name(), all()).await.unwrap();
    let received = begun.elapsed();
    let (handled, _) = clerk.ask(File { number: 0, quick: true }).await.unwrap();
    let all = begun.elapsed();
    assert_eq!((sent as u64, handled), (count, count + 1));
    println!("{count} letters: received after {received:?}, handled after {all:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_are_sent_again() {
    soon("their end", many(5_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn a_hundred_thousand_are_sent_again_in_seconds() {
    soon("their end", many(100_000)).await;
}
