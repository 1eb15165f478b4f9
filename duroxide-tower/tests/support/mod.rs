//! A ledger whose handlers can be held, and a store that outlives its journals.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "a part of a test: each file uses some of it, and it may fail"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use duroxide::providers::Provider;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide::{Client, OrchestrationStatus};
use duroxide_tower::{
    ActorContext, DurableActor, DurableActorService, DurableHandle, DurableMessage, DurableState,
    EventJournal, async_trait,
};
use serde::{Deserialize, Serialize};
use shared_journal::workflow::for_runtime;
use shared_journal::{ActorId, Limits};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

pub struct Store {
    dir: tempfile::TempDir,
}

impl Store {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    pub async fn open(&self) -> EventJournal {
        let path = self.dir.path().join("app.db");
        let url = format!("sqlite:{}?mode=rwc", path.display());
        let provider = Arc::new(SqliteProvider::new(&url, None).await.unwrap());
        EventJournal::builder().check_values(true).open(provider).await.unwrap()
    }
}

/// duroxide's store in a folder, as a runtime and the journal of one process should have it.
pub async fn store_in(folder: &Path) -> Arc<dyn Provider> {
    let url = format!("sqlite:{}?mode=rwc", folder.join("app.db").display());
    for_runtime(Arc::new(SqliteProvider::new(&url, None).await.unwrap()))
}

pub async fn in_memory() -> EventJournal {
    in_memory_with(Limits::default()).await
}

pub async fn in_memory_with(limits: Limits) -> EventJournal {
    let provider = Arc::new(SqliteProvider::new_in_memory().await.unwrap());
    let builder = EventJournal::builder().limits(limits).check_values(true);
    builder.open(provider).await.unwrap()
}

/// What an instance returns, within a bounded time.
pub async fn result(client: &Client, instance: &str, patience: Duration) -> String {
    let status = client.wait_for_orchestration(instance, patience).await.unwrap();
    let OrchestrationStatus::Completed { output, .. } = status else { panic!("{status:?}") };
    output
}

/// Waits a bounded time; names what never came.
pub async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match tokio::time::timeout(Duration::from_secs(20), future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} never came"),
    }
}

/// Lets handlers of `Op::Slow` in and out.
#[derive(Clone)]
pub struct Gate {
    pub open: Arc<Semaphore>,
    entered: mpsc::UnboundedSender<i64>,
}

impl Gate {
    pub fn new() -> (Self, mpsc::UnboundedReceiver<i64>) {
        let (entered, receiver) = mpsc::unbounded_channel();
        let open = Arc::new(Semaphore::new(0));
        (Self { open, entered }, receiver)
    }

    pub fn open() -> Self {
        let gate = Self::new().0;
        gate.open.add_permits(1000);
        gate
    }
}

pub struct Ledger {
    pub entries: Vec<i64>,
    pub gate: Gate,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Op {
    Add(i64),
    /// Adds after the gate was passed.
    Slow(i64),
    /// Adds, then answers with an error.
    Refuse(i64),
    /// Adds, then panics.
    Panic(i64),
    /// Passes the gate, then panics.
    SlowPanic,
    Get,
    Stop,
    /// Larger than the limit of messages, if the test sets one.
    Long(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused(pub i64);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is refused", self.0)
    }
}

impl std::error::Error for Refused {}

impl DurableState for Ledger {
    const ACTOR_TYPE: &'static str = "ledger";
    type State = Vec<i64>;

    fn snapshot(&self) -> impl Serialize {
        &self.entries
    }

    fn restore(&mut self, entries: Vec<i64>) {
        self.entries = entries;
    }
}

impl DurableMessage for Op {
    const NAME: &'static str = "ledger.op";
}

#[async_trait]
impl DurableActor for Ledger {
    type Message = Op;
    type Reply = Vec<i64>;
    type Error = Refused;

    async fn handle(&mut self, context: &mut ActorContext, op: Op) -> Result<Vec<i64>, Refused> {
        assert_eq!(context.actor_id(), &name());
        match op {
            Op::Add(n) => self.entries.push(n),
            Op::Slow(n) => {
                let _ = self.gate.entered.send(n);
                self.gate.open.acquire().await.unwrap().forget();
                self.entries.push(n);
            }
            Op::Refuse(n) => {
                self.entries.push(n);
                return Err(Refused(n));
            }
            Op::Panic(n) => {
                self.entries.push(n);
                panic!("attempt {}", context.attempts());
            }
            Op::SlowPanic => {
                self.entries.push(-1);
                let _ = self.gate.entered.send(-1);
                self.gate.open.acquire().await.unwrap().forget();
                panic!("later");
            }
            Op::Stop => context.stop(),
            Op::Get | Op::Long(_) => {}
        }
        Ok(self.entries.clone())
    }
}

pub fn name() -> ActorId {
    ActorId::new("ledger", "1")
}

pub struct Running {
    pub ledger: DurableHandle<Ledger>,
    pub run: JoinHandle<Result<(), Arc<duroxide_tower::JournalError>>>,
}

impl Running {
    pub async fn start(journal: &EventJournal, gate: Gate) -> Self {
        Self::with_capacity(journal, gate, 64).await
    }

    pub async fn with_capacity(journal: &EventJournal, gate: Gate, capacity: usize) -> Self {
        let ledger = Ledger { entries: Vec::new(), gate };
        let (service, ledger) =
            DurableActorService::with_capacity(journal, "1", ledger, capacity).await.unwrap();
        let run = tokio::spawn(service.run());
        Self { ledger, run }
    }

    /// Drops the loop where it is.
    pub async fn kill(self) {
        self.run.abort();
        let _ = soon("the end of the loop", self.run).await;
    }

    /// Drops the handle and waits for the loop's own end.
    pub async fn end(self) {
        drop(self.ledger);
        soon("the end of the loop", self.run).await.unwrap().unwrap();
    }
}
