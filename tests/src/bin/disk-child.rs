//! The process whose disk fails: one actor that counts, one caller.
//!
//! `disk-child STORE TIMES [close]` opens the journal, says `ready COUNT`, adds so many times and says
//! `acked COUNT` after each. What goes wrong it says as `failed RETRYABLE ERROR`, with its causes.
//! Then it ends with its files open, as a killed process does; or, with `close`, when SQLite has copied
//! the WAL back and removed it.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use duroxide_tower::journal::{EventJournal, JournalError, Limits};
use duroxide_tower::{
    ActorContext, DurableActor, DurableActorService, DurableMessage, DurableState, async_trait,
};
use serde::{Deserialize, Serialize};

#[derive(Default, DurableState)]
#[durable(actor_type = "counter")]
struct Counter {
    count: u64,
    /// So that a commit is more than one page.
    bulk: String,
}

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "counter.add")]
struct Add(u64);

#[async_trait]
impl DurableActor for Counter {
    type Message = Add;
    type Reply = u64;
    type Error = String;

    async fn handle(&mut self, _: &mut ActorContext, add: Add) -> Result<u64, String> {
        self.count += add.0;
        self.bulk = "state ".repeat(1000);
        Ok(self.count)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (store, times, close) = match &arguments[..] {
        [store, times] => (store, times, false),
        [store, times, close] if close == "close" => (store, times, true),
        _ => anyhow::bail!("STORE TIMES [close]"),
    };
    match count(store, times.parse()?, close).await {
        Err(error) => {
            let retryable = error
                .downcast_ref::<JournalError>()
                .is_some_and(duroxide_tower::journal::JournalError::is_retryable);
            say(&format!("failed {retryable} {error:#}"));
        }
        Ok(()) => say("done"),
    }
    Ok(())
}

async fn count(store: &str, times: u64, close: bool) -> Result<()> {
    // Few: the tests wait for the last one.
    let limits = Limits {
        commit_retry: Duration::from_millis(200),
        checkpoint_bytes: 64 << 10,
        history_commits: 5,
        ..Limits::default()
    };
    let provider = tests::postgres::open(store).await?;
    let journal = EventJournal::builder().limits(limits).reopen(false).open(provider).await?;
    let report = journal.verify().await?;
    anyhow::ensure!(report.is_clean(), "the journal has problems: {:?}", report.problems);
    let (service, counter) = DurableActorService::new(&journal, "1", Counter::default()).await?;
    let running = tokio::spawn(service.run());
    say(&format!("ready {}", counter.ask(Add(0)).await?));
    for _ in 0..times {
        match counter.ask(Add(1)).await {
            Ok(count) => say(&format!("acked {count}")),
            // The journal knows better.
            Err(error) => match journal.stopped() {
                Some(stopped) => {
                    say(&format!(
                        "failed {} {:#}",
                        stopped.is_retryable(),
                        anyhow::anyhow!(stopped)
                    ));
                    return Ok(());
                }
                None => return Err(error.into()),
            },
        }
    }
    if !close {
        say("done");
        // With the journal open: of threads that close it, none or all would be done in time.
        std::process::exit(0);
    }
    drop(counter);
    running.await??;
    journal.close().await?;
    drop(journal);
    let wal = Path::new(store).with_file_name("app.actors.db-wal");
    // The journal's threads drop it.
    while wal.exists() {
        std::thread::yield_now();
    }
    Ok(())
}

fn say(line: &str) {
    // One write: a killed process leaves whole lines.
    let written = std::io::stdout().write_all(format!("{line}\n").as_bytes());
    if written.is_err() {
        std::process::exit(1);
    }
}
