//! The write-ahead log: kept short, and as long as it will get from the beginning.
//!
//! A commit is one fsync of the WAL, and an fsync that also makes the file longer takes up to twice
//! as long: the file system has to write where the new blocks are. So the file gets its length
//! when it is opened, and is copied back and begun anew before it gets longer.

use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, TransactionBehavior};

use super::connection::wait_for_others;
use super::error::classify;
use crate::error::JournalError;
use crate::mailbox::error_text;

/// The commit that makes the WAL this long copies it back into the database file, as far as readers
/// let it: 16 MB, 12 to 20 ms.
///
/// A thread that copies beside the writer does not help: SQLite syncs the database file only when
/// everything is copied, which needs a writer that waits, and the sync is what takes long.
pub(super) const COPY_BACK_PAGES: u32 = 4000;

/// The length of the file: what one commit adds after that fits as well.
pub(super) const FILE_BYTES: u64 = 24 << 20;

/// The WAL of a file.
pub(super) fn of(database: &Path) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push("-wal");
    path.into()
}

/// Copies the WAL back, as far as readers let it: whether nobody was in the way, and whether all was
/// copied.
pub(super) fn copy_back(
    connection: &Connection,
    database: &Path,
    mode: &str,
) -> Result<(bool, bool), JournalError> {
    let checkpoint = format!("PRAGMA wal_checkpoint({mode})");
    let copied = connection.query_row(&checkpoint, [], |row| {
        let (busy, frames, copied): (bool, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((!busy, frames == copied))
    });
    copied.map_err(|error| classify(&database.display().to_string(), "copy the WAL back", error))
}

/// Cuts a WAL that is copied back to its length, unless somebody reads.
pub(super) fn shorten(connection: &mut Connection, database: &Path) -> Result<(), JournalError> {
    let fail = |error| classify(&database.display().to_string(), "shorten the WAL", error);
    // For a reader nobody waits here.
    connection.busy_timeout(Duration::ZERO).map_err(fail)?;
    let cut = copy_back(connection, database, "TRUNCATE");
    wait_for_others(connection).map_err(fail)?;
    match cut? {
        (true, _) => lengthen(connection, database),
        (false, _) => Ok(()),
    }
}

/// Gives the WAL its length.
///
/// SQLite does not care for what follows the last valid frame; after every restart of the WAL
/// there are old frames. Zeros are no valid frame.
pub(super) fn lengthen(connection: &mut Connection, database: &Path) -> Result<(), JournalError> {
    let path = of(database);
    if path.metadata().is_ok_and(|wal| wal.len() >= FILE_BYTES) {
        return Ok(());
    }
    let store = database.display().to_string();
    let fail = |error| classify(&store, "open", error);
    // Nobody else, in any process, can append to the WAL while this transaction lasts.
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
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
        tracing::debug!(error = error_text(&error), store, "the WAL keeps its length");
    }
    transaction.rollback().map_err(fail)
}

#[cfg(test)]
mod tests {
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
        let copied = first.query_row("PRAGMA wal_checkpoint(RESTART)", [], |row| row.get(0));
        assert_eq!(copied, Ok(0));
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
