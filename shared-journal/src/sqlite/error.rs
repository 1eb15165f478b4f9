//! Which SQLite errors are which of ours.

use rusqlite::ErrorCode;
use rusqlite::ffi;

use crate::error::JournalError;

/// Classifies an error of SQLite that happened in `operation` on the file `store`.
pub(super) fn classify(
    store: &str,
    operation: &'static str,
    error: rusqlite::Error,
) -> JournalError {
    let code = error.sqlite_error_code();
    if code == Some(ErrorCode::NotADatabase) {
        return JournalError::NotAJournal {
            store: store.to_owned(),
            reason: "the file is not a SQLite database".into(),
        };
    }
    let retryable = match (code, error.sqlite_error().map(|error| error.extended_code)) {
        // After a failed fsync nobody knows what is on the disk, and a second fsync can succeed
        // without having written it (LWN 752063): never tried again.
        (_, Some(ffi::SQLITE_IOERR_FSYNC | ffi::SQLITE_IOERR_DIR_FSYNC)) => false,
        (Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull), _) => {
            true
        }
        // The index of the WAL, which is shared memory in a file, is the first to find that the disk is full:
        // the WAL has its room from the beginning. Nothing of the commit is written then.
        (
            _,
            Some(ffi::SQLITE_IOERR_SHMSIZE | ffi::SQLITE_IOERR_SHMMAP | ffi::SQLITE_IOERR_SHMOPEN),
        ) => true,
        _ => false,
    };
    JournalError::Store { store: store.to_owned(), operation, retryable, source: Box::new(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_may_have_it_later_and_a_failed_fsync_is_final() {
        let retryable = |code| {
            let error = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
            classify("a.db", "commit", error).is_retryable()
        };
        for full in [ffi::SQLITE_FULL, ffi::SQLITE_IOERR_SHMSIZE, ffi::SQLITE_IOERR_SHMMAP] {
            assert!(retryable(full), "{full}");
        }
        for end in [ffi::SQLITE_IOERR_FSYNC, ffi::SQLITE_IOERR_WRITE, ffi::SQLITE_CORRUPT] {
            assert!(!retryable(end), "{end}");
        }
    }
}
