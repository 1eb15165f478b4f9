//! Opening a connection: pragmas, migrations, and whether the file is ours.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::classify;
use super::place::{self, Model};
use super::sql::{APPLICATION_ID, MIGRATIONS, VERSION};
use super::wal;
use crate::error::JournalError;
use crate::limits::Durability;

/// How long a connection waits for another process to finish its transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often it tries meanwhile. SQLite's own waiting tries ten times a second at last, and then does not meet the
/// moments between the transactions of a process that writes all the time.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

/// Has a connection wait for other processes.
pub(super) fn wait_for_others(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_handler(Some(|tries| {
        let waits = BUSY_PAUSE * tries.unsigned_abs() < BUSY_TIMEOUT;
        if waits {
            std::thread::sleep(BUSY_PAUSE);
        }
        waits
    }))
}

/// Each connection is behind a mutex. A path is a path, even if it looks like a URI.
const THREADS: OpenFlags = OpenFlags::SQLITE_OPEN_NO_MUTEX;

/// Where a journal's database is.
#[derive(Debug, Clone)]
pub(super) enum Location {
    File {
        /// Absolute, and without links: it is opened again later.
        path: PathBuf,
        /// A file whose permissions this one gets when it is made.
        model: Option<Model>,
    },
    /// A shared in-memory database, by its name.
    Memory(String),
}

impl std::fmt::Display for Location {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File { path, .. } => path.display().fmt(f),
            Self::Memory(name) => write!(f, "in-memory journal {name}"),
        }
    }
}

impl Location {
    /// A file as SQLite finds it, whatever becomes of links and of the working directory.
    pub(super) fn file(path: &Path) -> Result<Self, JournalError> {
        let resolved = place::resolve(path).map_err(|error| JournalError::Store {
            store: path.display().to_string(),
            operation: "open",
            retryable: false,
            source: error.into(),
        })?;
        Ok(Self::File { path: resolved, model: None })
    }

    /// Makes the file, if it is missing and there is a model for it.
    pub(super) fn make(&self) -> Result<(), JournalError> {
        let Self::File { path, model: Some(model) } = self else { return Ok(()) };
        place::make(path, model).map_err(|error| JournalError::Store {
            store: self.to_string(),
            operation: "make the file",
            retryable: error.kind() == std::io::ErrorKind::StorageFull,
            source: error.into(),
        })
    }

    /// A connection that writes nothing and makes nothing.
    pub(super) fn connect_to_read(&self) -> Result<Connection, JournalError> {
        let store = self.to_string();
        let fail = |error| classify(&store, "open", error);
        let connection = match self {
            Self::File { path, .. } => {
                Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | THREADS)
            }
            Self::Memory(_) => return self.connect(Durability::ProcessCrash),
        }
        .map_err(fail)?;
        wait_for_others(&connection).map_err(fail)?;
        require_ours(&connection, &store)?;
        Ok(connection)
    }

    /// Opens a connection with the pragmas it needs. The schema is [`prepare`]'s business.
    pub(super) fn connect(&self, durability: Durability) -> Result<Connection, JournalError> {
        let store = self.to_string();
        let fail = |error| classify(&store, "open", error);
        let connection = match self {
            Self::File { path, .. } => Connection::open_with_flags(
                path,
                OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | THREADS,
            ),
            Self::Memory(name) => Connection::open_with_flags(
                format!("file:{name}?mode=memory&cache=shared"),
                OpenFlags::default() | OpenFlags::SQLITE_OPEN_URI,
            ),
        }
        .map_err(fail)?;
        wait_for_others(&connection).map_err(fail)?;
        if let Self::File { .. } = self {
            // Any statement that reads the header comes first: a foreign file stays untouched.
            require_ours(&connection, &store)?;
            connection.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
            let synchronous = match durability {
                Durability::PowerLoss => "FULL",
                Durability::ProcessCrash => "NORMAL",
            };
            connection.pragma_update(None, "synchronous", synchronous).map_err(fail)?;
            // On macOS an fsync leaves the data in the drive's cache without these.
            connection.pragma_update(None, "fullfsync", true).map_err(fail)?;
            connection.pragma_update(None, "checkpoint_fullfsync", true).map_err(fail)?;
            connection
                .pragma_update(None, "wal_autocheckpoint", wal::COPY_BACK_PAGES)
                .map_err(fail)?;
        } else {
            connection.pragma_update(None, "read_uncommitted", true).map_err(fail)?;
        }
        Ok(connection)
    }
}

/// Brings the schema up to date.
pub(super) fn prepare(connection: &mut Connection, store: &str) -> Result<(), JournalError> {
    if version(connection, store)? == VERSION {
        // The usual case, for which nobody has to wait.
        return Ok(());
    }
    let fail = |error| classify(store, "migrate", error);
    // Immediate: of two processes that find an empty file, one migrates and the other sees it.
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    let found = version(&transaction, store)?;
    for (version, migration) in (1..).zip(MIGRATIONS).skip_while(|(version, _)| *version <= found) {
        transaction.execute_batch(migration).map_err(fail)?;
        transaction.pragma_update(None, "user_version", version).map_err(fail)?;
        tracing::info!(store, version, "journal schema migrated");
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(fail)?;
    transaction.commit().map_err(fail)
}

/// The version of the schema, if it is one of ours; 0 of an empty file.
pub(super) fn version(connection: &Connection, store: &str) -> Result<u32, JournalError> {
    let found: u32 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| classify(store, "read the schema's version", error))?;
    let supported = VERSION;
    if found > supported {
        return Err(JournalError::SchemaVersion { store: store.to_owned(), found, supported });
    }
    Ok(found)
}

/// An empty file, or one that we made.
fn require_ours(connection: &Connection, store: &str) -> Result<(), JournalError> {
    let fail = |error| classify(store, "open", error);
    // The owner of a foreign file may have been killed: what is in its WAL stays there.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(fail)?;
    // At one moment: another process may be making the journal.
    let moment = connection.unchecked_transaction().map_err(fail)?;
    let application: i32 =
        moment.pragma_query_value(None, "application_id", |row| row.get(0)).map_err(fail)?;
    let version: i32 =
        moment.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(fail)?;
    let tables: i64 = moment
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .map_err(fail)?;
    moment.rollback().map_err(fail)?;
    if application == APPLICATION_ID || (application, version, tables) == (0, 0, 0) {
        return connection
            .set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)
            .map(|_| ())
            .map_err(fail);
    }
    Err(JournalError::NotAJournal {
        store: store.to_owned(),
        reason: format!("it is a SQLite database of someone else, with {tables} tables"),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::super::SqliteActorProvider;
    use super::*;

    /// A file of the first version: one shard, one commit.
    #[tokio::test]
    async fn the_first_version_is_migrated() {
        use crate::cluster::{ClusterStore, Founding};
        use crate::id::{Position, ShardId};
        use crate::provider::ActorProvider;

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.actors.db");
        let old = Connection::open(&path).unwrap();
        old.execute_batch(MIGRATIONS[0]).unwrap();
        old.pragma_update(None, "user_version", 1).unwrap();
        old.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
        old.execute_batch(
            "INSERT INTO journal_shard VALUES (0, 5, 0);
             INSERT INTO journal_log (key, batch) VALUES (1, x'00')",
        )
        .unwrap();
        drop(old);
        let store = SqliteActorProvider::open(&path, Durability::ProcessCrash).unwrap();
        let head = store.open_shard(ShardId(0)).await.unwrap();
        assert_eq!((head.epoch.0, head.tail), (6, Position(1)));
        let wanted = Founding { cluster: "late".into(), shards: 4 };
        let found = store.found(&wanted).await.unwrap();
        assert_eq!(found, Founding { cluster: String::new(), shards: 1 });
    }

    #[test]
    fn a_file_is_opened_while_somebody_writes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.actors.db");
        // It keeps the WAL.
        let _first = SqliteActorProvider::open(&path, Durability::ProcessCrash).unwrap();
        let mut other = Connection::open(&path).unwrap();
        let writing = other.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        SqliteActorProvider::open(&path, Durability::ProcessCrash).unwrap();
        writing.rollback().unwrap();
    }

    #[test]
    fn processes_that_make_the_file_together_all_open_it() {
        const OPENERS: usize = 4;
        let folder = tempfile::tempdir().unwrap();
        for round in 0..50 {
            let path = folder.path().join(format!("{round}.db"));
            let start = Barrier::new(OPENERS);
            std::thread::scope(|scope| {
                for _ in 0..OPENERS {
                    scope.spawn(|| {
                        start.wait();
                        SqliteActorProvider::open(&path, Durability::ProcessCrash).unwrap();
                    });
                }
            });
        }
    }
}
