//! The kit for users: an actor of their own in a process that dies at a named point.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use duroxide::providers::sqlite::SqliteProvider;
use duroxide_tower::test_util::{CRASH_POINTS, crash_at};
use duroxide_tower::{
    ActorContext, DurableActor, DurableActorService, DurableMessage, DurableState, EventJournal,
    async_trait,
};
use serde::{Deserialize, Serialize};
use shared_journal::Limits;

#[derive(Default, DurableState)]
#[durable(actor_type = "counter")]
struct Counter {
    count: u64,
}

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "counter.add")]
struct Add;

#[async_trait]
impl DurableActor for Counter {
    type Message = Add;
    type Reply = u64;
    type Error = String;

    async fn handle(&mut self, ctx: &mut ActorContext, Add: Add) -> Result<u64, String> {
        let one = ctx.step("one", || async { 1 }).await.map_err(|error| error.to_string())?;
        self.count += one;
        Ok(self.count)
    }
}

const MESSAGES: u64 = 20;

/// Sends twenty messages under their own ids, whatever became of them in an earlier life.
async fn count(store: &str) -> Result<(), Box<dyn std::error::Error>> {
    let provider = Arc::new(SqliteProvider::new(store, None).await?);
    // A message that is handled while its processes die is given up after so many of them.
    let limits = Limits { attempts: 10, ..Limits::default() };
    let journal = EventJournal::builder().limits(limits).open(provider).await?;
    let (service, counter) = DurableActorService::new(&journal, "1", Counter::default()).await?;
    let running = tokio::spawn(service.run());
    for number in 1..=MESSAGES {
        assert_eq!(counter.ask_with_id(u128::from(number), Add).await?, number);
        if number.is_multiple_of(5) {
            journal.checkpoint().await?;
        }
    }
    drop(counter);
    running.await??;
    journal.close().await?;
    Ok(())
}

/// The process that dies: this program, once more.
#[tokio::test]
#[ignore = "the other test starts it"]
async fn child() {
    let store = std::env::var("STORE").unwrap();
    if let Ok(point) = std::env::var("DIE_AT") {
        crash_at(&point, std::env::var("HITS").unwrap().parse().unwrap());
    }
    count(&store).await.unwrap();
}

/// How it ended: by itself, or at a point. A test that fails ends with code 101.
fn life(store: &Path, death: Option<(&str, u64)>) -> ExitStatus {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["child", "--exact", "--ignored"]);
    child.env("STORE", format!("sqlite:{}?mode=rwc", store.display()));
    if let Some((point, hits)) = death {
        child.env("DIE_AT", point).env("HITS", hits.to_string());
    }
    child.output().unwrap().status
}

#[test]
fn every_message_counts_once_wherever_the_process_dies() {
    let folder = tempfile::tempdir().unwrap();
    // A counter that does not send comes by these.
    for point in &CRASH_POINTS[..7] {
        let store = folder.path().join(format!("{point}.db"));
        // So that there is something to recover.
        assert_eq!(life(&store, Some(("after-append", 7))).code(), None);
        for hits in 1..=2 {
            assert_eq!(life(&store, Some((point, hits))).code(), None, "{point} is not passed");
        }
        assert!(life(&store, None).success(), "{point}: a reply is not what it was");
    }
}

#[test]
#[should_panic(expected = "there is no crash point \"after-lunch\"; there are [\"before-append\"")]
fn a_point_that_is_not_there_is_told() {
    crash_at("after-lunch", 1);
}
