//! Messages that take the process with them: after some lives each is a dead letter.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use duroxide::providers::sqlite::SqliteProvider;
use duroxide_tower::{
    ActorContext, DurableActor, DurableActorService, DurableMessage, DurableState, EventJournal,
    async_trait,
};
use serde::{Deserialize, Serialize};
use shared_journal::{ActorId, Limits};

#[derive(Default, DurableState)]
#[durable(actor_type = "mortal")]
struct Mortal {
    sum: u64,
}

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "mortal.op")]
enum Op {
    Add(u64),
    /// Takes its time, and adds.
    Slow(u64),
    Abort,
    /// Takes its time, and then aborts.
    SlowAbort,
}

#[async_trait]
impl DurableActor for Mortal {
    type Message = Op;
    type Reply = u64;
    type Error = String;

    async fn handle(&mut self, context: &mut ActorContext, op: Op) -> Result<u64, String> {
        if matches!(op, Op::Slow(_) | Op::SlowAbort) {
            // Waits until receipts are durable.
            context.step("wait", || async {}).await.map_err(|error| error.to_string())?;
        }
        match op {
            Op::Add(n) | Op::Slow(n) => self.sum += n,
            Op::Abort | Op::SlowAbort => std::process::abort(),
        }
        Ok(self.sum)
    }
}

async fn open(store: &str) -> EventJournal {
    let provider = Arc::new(SqliteProvider::new(store, None).await.unwrap());
    EventJournal::open(provider).await.unwrap()
}

fn url(path: &Path) -> String {
    format!("sqlite:{}?mode=rwc", path.display())
}

/// The process that dies: this program, once more. The first life sends.
#[tokio::test]
#[ignore = "the other tests start it"]
async fn child() {
    let journal = open(&std::env::var("STORE").unwrap()).await;
    let (service, mortal) =
        DurableActorService::new(&journal, "1", Mortal::default()).await.unwrap();
    let run = tokio::spawn(service.run());
    let sent = std::env::var("SEND").unwrap();
    let ops: Vec<Op> = serde_json::from_str(&sent).unwrap();
    // Into the channel at once, so that their receipts are written with the first slow one's.
    let asked: Vec<_> = ops.into_iter().map(|op| mortal.try_ask(op).unwrap()).collect();
    futures::future::join_all(asked).await;
    drop(mortal);
    run.await.unwrap().unwrap();
}

/// Whether the process lived.
fn life(path: &Path, send: &[Op]) -> bool {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["child", "--exact", "--ignored"]);
    child.env("STORE", url(path)).env("SEND", serde_json::to_string(send).unwrap());
    let output = child.output().unwrap();
    assert_ne!(output.status.code(), Some(101), "{}", String::from_utf8_lossy(&output.stderr));
    output.status.success()
}

/// The sum that is left, and the attempts of the dead letters.
async fn left(path: &Path) -> (u64, Vec<u32>) {
    let journal = open(&url(path)).await;
    let (service, mortal) =
        DurableActorService::new(&journal, "1", Mortal::default()).await.unwrap();
    let run = tokio::spawn(service.run());
    let sum = mortal.ask(Op::Add(0)).await.unwrap();
    drop(mortal);
    run.await.unwrap().unwrap();
    let letters = journal.dead_letters(&ActorId::new("mortal", "1")).await.unwrap();
    (sum, letters.into_iter().map(|letter| letter.attempts).collect())
}

fn attempts() -> usize {
    usize::try_from(Limits::default().attempts).unwrap()
}

#[tokio::test]
async fn a_slow_handler_that_aborts_ends_after_as_many_lives_as_attempts() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    assert!(!life(&path, &[Op::SlowAbort, Op::Add(1), Op::Slow(10)]));
    let mut lives = 1;
    while !life(&path, &[]) {
        lives += 1;
        assert!(lives <= attempts(), "it dies for ever");
    }
    assert_eq!(lives, attempts(), "given up too early");
    assert_eq!(left(&path).await, (11, vec![3]));
}

/// Nobody saw it begin: it waited behind a slow one. One life more shows that one of several did it,
/// and another one that of all of them.
#[tokio::test]
async fn a_quick_handler_that_aborts_ends_and_spares_the_others() {
    for place in 0..4 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let mut ops = vec![Op::Add(1), Op::Add(10), Op::Add(100)];
        ops.insert(place, Op::Abort);
        ops.insert(0, Op::Slow(1000));
        assert!(!life(&path, &ops));
        let mut lives = 1;
        while !life(&path, &[]) {
            lives += 1;
            assert!(lives <= attempts() + 2, "it dies for ever");
        }
        assert_eq!(left(&path).await, (1111, vec![3]), "at {place}");
    }
}

#[tokio::test]
async fn an_orderly_end_is_no_attempt() {
    struct Waiting;
    impl DurableState for Waiting {
        const ACTOR_TYPE: &'static str = "mortal";
        type State = ();
        fn snapshot(&self) -> impl Serialize {}
        fn restore(&mut self, (): ()) {}
    }
    #[async_trait]
    impl DurableActor for Waiting {
        type Message = Op;
        type Reply = u64;
        type Error = String;
        async fn handle(&mut self, _: &mut ActorContext, _: Op) -> Result<u64, String> {
            std::future::pending().await
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    for round in 0..8 {
        let journal = open(&url(&path)).await;
        let (service, waiting) = DurableActorService::new(&journal, "1", Waiting).await.unwrap();
        let run = tokio::spawn(service.run());
        if round == 0 {
            waiting.tell(Op::Add(1)).await.unwrap();
        }
        // Its receipt: the handler of the first is at work by then.
        waiting.tell(Op::Add(1)).await.unwrap();
        if round % 2 == 0 {
            journal.close().await.unwrap();
        }
        run.abort();
        assert!(run.await.unwrap_err().is_cancelled());
    }
    let journal = open(&url(&path)).await;
    let letters = journal.dead_letters(&ActorId::new("mortal", "1")).await.unwrap();
    assert_eq!(letters, []);
}
