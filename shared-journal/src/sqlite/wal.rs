//! The write-ahead log: kept short, and as long as it will get from the beginning.
//!
//! A commit is one fsync of the WAL, and an fsync that also makes the file longer takes up to twice
//! as long: the file system has to write where the new blocks are. So the file gets its length
//! when it is opened, and is copied back and begun anew before it gets longer.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, TransactionBehavior};

use super::error::classify;
use crate::error::JournalError;
use crate::provider::Write;

/// The WAL is copied back when about so much was written to it.
pub(super) const COPY_BACK_BYTES: usize = 16 << 20;

/// The length of the file: what is written until it has been copied back fits as well.
const FILE_BYTES: u64 = 24 << 20;

const PAGE_BYTES: usize = 4096;

/// About how many bytes a write takes in the WAL: every page it touches.
pub(super) fn bytes_of(write: &Write<'_>) -> usize {
    let append = write.append.map_or(0, |(_, batch)| batch.len() / PAGE_BYTES + 1);
    let records = write.checkpoint.map_or(0, |part| part.records.len() + 1);
    (append + records) * PAGE_BYTES
}

/// Passes beside the writer, and when the last one was short enough.
const PASSES: usize = 4;
const SHORT_PASS: Duration = Duration::from_millis(8);

/// Copies the WAL into the database file and lets the next commit begin it anew.
pub(super) fn copy_back(connection: &Connection) -> rusqlite::Result<()> {
    // If readers take their time, the WAL gets longer, and the next time is soon.
    connection.busy_timeout(Duration::from_millis(20))?;
    // Passive: copies what is there without making the writer wait, which writes more meanwhile.
    // Each pass has less to do than the one before.
    for _ in 0..PASSES {
        let begin = Instant::now();
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        if begin.elapsed() < SHORT_PASS {
            break;
        }
    }
    // The last pass does make the writer wait.
    connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))
}

/// Gives the WAL its length.
///
/// SQLite does not care for what follows the last valid frame; after every restart of the WAL
/// there are old frames. Zeros are no valid frame.
pub(super) fn lengthen(connection: &mut Connection, database: &Path) -> Result<(), JournalError> {
    let store = database.display().to_string();
    let fail = |error| classify(&store, "open", error);
    // Nobody else, in any process, can append to the WAL while this transaction lasts.
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    let zeros = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(&path)?;
        let length = file.seek(SeekFrom::End(0))?;
        let missing = usize::try_from(FILE_BYTES.saturating_sub(length)).unwrap_or_default();
        if missing == 0 {
            return Ok(());
        }
        file.write_all(&vec![0; missing]).and_then(|()| file.sync_all()).inspect_err(|_| {
            // What space is left is for others.
            let _ = file.set_len(length);
        })
    };
    if let Err(error) = zeros() {
        // Commits are slower without; a full disk will be told by a commit.
        tracing::debug!(%error, store, "the WAL keeps its length");
    }
    transaction.rollback().map_err(fail)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn open(path: &Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        connection.execute_batch("CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)").unwrap();
        connection
    }

    fn insert(connection: &Connection, n: i64) {
        connection.execute("INSERT INTO t VALUES (?)", [n]).unwrap();
    }

    fn rows(connection: &Connection) -> i64 {
        connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
    }

    fn wal_of(path: &Path) -> PathBuf {
        path.with_file_name("a.db-wal")
    }

    /// What a killed process leaves: the files as they are, while the connections are open.
    fn image(path: &Path) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("a.db");
        std::fs::copy(path, &copy).unwrap();
        std::fs::copy(wal_of(path), wal_of(&copy)).unwrap();
        (folder, copy)
    }

    #[test]
    fn a_wal_that_gets_its_length_keeps_its_frames() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let mut first = open(&path);
        let mut second = open(&path);
        insert(&first, 1);
        lengthen(&mut second, &path).unwrap();
        assert_eq!(std::fs::metadata(wal_of(&path)).unwrap().len(), FILE_BYTES);
        insert(&first, 2);
        insert(&second, 3);
        lengthen(&mut first, &path).unwrap();
        assert_eq!(std::fs::metadata(wal_of(&path)).unwrap().len(), FILE_BYTES, "once is enough");
        let (_folder, copy) = image(&path);
        assert_eq!(rows(&open(&copy)), 3, "after a kill");
        copy_back(&first).unwrap();
        insert(&second, 4);
        let (_folder, copy) = image(&path);
        assert_eq!(rows(&open(&copy)), 4, "after the WAL was begun anew, and a kill");
    }

    #[test]
    fn zeros_alone_are_an_empty_wal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        drop(open(&path));
        assert!(!wal_of(&path).exists(), "the last connection removed it");
        let mut connection = Connection::open(&path).unwrap();
        lengthen(&mut connection, &path).unwrap();
        let (_folder, copy) = image(&path);
        let copy = open(&copy);
        insert(&copy, 1);
        assert_eq!(rows(&copy), 1);
    }
}
