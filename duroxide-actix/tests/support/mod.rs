//! What the tests of this crate share.
#![expect(dead_code, reason = "each test file uses its part")]

use std::future::Future;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use duroxide::providers::sqlite::SqliteProvider;
use duroxide_actix::journal::{ActorId, EventJournal, JournalError, Limits};

/// A store in a folder of its own.
pub(crate) struct Store {
    _dir: Option<tempfile::TempDir>,
    path: PathBuf,
}

impl Store {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.db");
        Self { _dir: Some(dir), path }
    }

    /// The store of another process.
    pub(crate) fn of(database: &str) -> Self {
        Self { _dir: None, path: database.into() }
    }

    /// Where duroxide's database is.
    pub(crate) fn database(&self) -> &std::path::Path {
        &self.path
    }

    /// Opens the journal; what had it open before is fenced, as after a crash.
    pub(crate) async fn open(&self) -> EventJournal {
        self.open_with(Limits::default()).await.unwrap()
    }

    pub(crate) async fn open_with(&self, limits: Limits) -> Result<EventJournal, JournalError> {
        let builder = EventJournal::builder().limits(limits).check_values(true);
        builder.open(self.provider().await).await
    }

    /// As in production, where a type may store what it does not read.
    pub(crate) async fn open_unchecked(&self) -> EventJournal {
        EventJournal::open(self.provider().await).await.unwrap()
    }

    pub(crate) async fn provider(&self) -> Arc<SqliteProvider> {
        let url = format!("sqlite:{}?mode=rwc", self.path.display());
        Arc::new(SqliteProvider::new(&url, None).await.unwrap())
    }

    /// Where the journal is.
    pub(crate) fn path(&self) -> PathBuf {
        self.path.with_file_name("app.actors.db")
    }

    pub(crate) fn sql(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.path()).unwrap()
    }
}

/// Runs a test in an actix system, and names a test that hangs.
pub(crate) fn run<F: Future<Output = ()>>(test: F) {
    actix::System::new().block_on(async {
        actix::clock::timeout(Duration::from_secs(60), test).await.expect("the test hangs");
    });
}

/// Waits until an actor can be activated again: its last run is written and it has gone.
pub(crate) async fn gone(journal: &EventJournal, actor: &ActorId) {
    struct Nobody;
    impl duroxide_actix::journal::mailbox::Work for Nobody {
        fn resolve(self, _: duroxide_actix::journal::mailbox::Resolution) {}
    }
    while let Err(JournalError::AlreadyActive { .. }) = journal.activate::<Nobody>(actor).await {
        tokio::task::yield_now().await;
    }
}

/// Says that the process may be killed.
const READY: &str = "ready to be killed";
const STORE: &str = "KILLED_STORE";

/// Runs `life` in a process of the test `name`, which is killed when it has ended; then `after`.
pub(crate) fn killed<L: Future<Output = ()>, A: Future<Output = ()>>(
    name: &str,
    life: impl FnOnce(Store) -> L,
    after: impl FnOnce(Store) -> A,
) {
    if let Ok(store) = std::env::var(STORE) {
        return run(async {
            life(Store::of(&store)).await;
            println!("\n{READY}");
            std::future::pending::<()>().await;
        });
    }
    let store = Store::new();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture"])
        .env(STORE, store.database())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let said = BufReader::new(child.stdout.take().unwrap());
    let is_ready = said.lines().any(|line| line.unwrap().ends_with(READY));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(is_ready, "the process ended before it was killed");
    run(after(store));
}
