//! Watches the length of the WAL, says why it grows, and gives the room back.
//!
//! A transaction that reads keeps what was written since it began in the WAL: a `sqlite3` shell, a
//! back-up tool. SQLite says nothing of it, and does not shorten the file when the reader has gone.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::connection::Location;
use super::wal;
use crate::error::JournalError;

/// A commit is about a page: between two looks a lone caller adds a quarter of a megabyte.
const LOOK_EVERY: u32 = 64;
/// Longer than a large commit makes it: 48 MiB.
const LONG_BYTES: u64 = 2 * wal::FILE_BYTES;
/// How often a long WAL is looked at. Nobody is told when a reader ends.
const PAUSE: Duration = Duration::from_millis(500);
const WARN_EVERY: Duration = Duration::from_secs(60);

/// Of the WAL of one file.
pub(super) struct Keeper {
    location: Location,
    database: PathBuf,
    wal: PathBuf,
    writes: AtomicU32,
    /// A thread is at work to make it short.
    working: AtomicBool,
}

impl Keeper {
    pub(super) fn new(location: &Location) -> Option<Arc<Self>> {
        let Location::File { path, .. } = location else { return None };
        Some(Arc::new(Self {
            location: location.clone(),
            database: path.clone(),
            wal: wal::of(path),
            writes: AtomicU32::new(0),
            working: AtomicBool::new(false),
        }))
    }

    /// Something was written.
    pub(super) fn written(self: &Arc<Self>, writer: &Arc<Mutex<Connection>>) {
        if !self.writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EVERY)
            || self.bytes() <= LONG_BYTES
            || self.working.swap(true, Ordering::AcqRel)
        {
            return;
        }
        let (keeper, writer) = (self.clone(), Arc::downgrade(writer));
        let name = "journal-wal".to_owned();
        let spawned = std::thread::Builder::new().name(name).spawn(move || {
            keeper.shorten(&writer);
            keeper.working.store(false, Ordering::Release);
        });
        if spawned.is_err() {
            self.working.store(false, Ordering::Release);
        }
    }

    /// The length of the file.
    fn bytes(&self) -> u64 {
        let bytes = std::fs::metadata(&self.wal).map_or(0, |wal| wal.len());
        metrics::gauge!("journal_wal_bytes").set(bytes as f64);
        bytes
    }

    /// Until the WAL has its usual length again, or the journal is gone.
    fn shorten(&self, writer: &Weak<Mutex<Connection>>) {
        let mut warned: Option<Instant> = None;
        for round in 0_u64.. {
            // The journal may go meanwhile: whoever is the last to have it open copies the WAL back.
            let Some(writer) = writer.upgrade() else { return };
            match self.give_back(&writer) {
                Ok(true) => {
                    tracing::info!(store = %self.location, "the WAL has its usual length again");
                    return;
                }
                // At first it may be one of our own reads, which end.
                Ok(false) if round > 0 && warned.is_none_or(|at| at.elapsed() >= WARN_EVERY) => {
                    warned = Some(Instant::now());
                    tracing::warn!(
                        store = %self.location,
                        wal_bytes = self.bytes(),
                        "the WAL grows: somebody reads the file in a transaction that does not end, \
                         such as a sqlite3 shell or a back-up tool; `fuser` says who has the file \
                         open; the room is given back when the transaction ends"
                    );
                }
                Ok(false) => {
                    self.bytes();
                }
                Err(error) => {
                    let error: &(dyn std::error::Error + 'static) = &error;
                    tracing::debug!(error, "the WAL was not shortened");
                }
            }
            drop(writer);
            std::thread::sleep(PAUSE);
        }
    }

    /// Whether it has its usual length. False: a reader is in the way.
    fn give_back(&self, writer: &Mutex<Connection>) -> Result<bool, JournalError> {
        // Copying is what takes long, and needs nobody to wait.
        let own = self.location.connect(crate::limits::Durability::PowerLoss)?;
        let (_, copied) = wal::copy_back(&own, &self.database, "PASSIVE")?;
        drop(own);
        if !copied {
            return Ok(false);
        }
        let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
        wal::shorten(&mut writer, &self.database)?;
        Ok(self.bytes() <= LONG_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::super::SqliteActorProvider;
    use super::*;
    use crate::id::{Position, ShardId};
    use crate::limits::Durability;
    use crate::provider::{ActorProvider, Write};

    #[tokio::test]
    async fn a_wal_that_a_reader_kept_long_is_shortened_when_the_reader_has_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        let store = SqliteActorProvider::open(&path, Durability::ProcessCrash).unwrap();
        let shard = ShardId(0);
        let epoch = store.open_shard(shard).await.unwrap().epoch;
        let batch = vec![7; 64 << 10];
        let mut position = Position(0);
        let mut commit = async || {
            position = position.next();
            let append = Some((position, &batch[..]));
            store.write(&Write { shard, epoch, append, checkpoint: None }).await.unwrap();
        };
        let length = || std::fs::metadata(wal::of(&path)).unwrap().len();
        commit().await;
        for _ in 0..600 {
            commit().await;
        }
        assert_eq!(length(), wal::FILE_BYTES, "without a reader");
        let reader = Connection::open(&path).unwrap();
        reader.execute_batch("BEGIN; SELECT count(*) FROM journal_log").unwrap();
        while length() <= LONG_BYTES + (8 << 20) {
            commit().await;
        }
        // The journal is idle from here on.
        let keeper = store.keeper().unwrap();
        assert!(keeper.working.load(Ordering::Acquire), "it grows and nobody looks");
        assert!(!keeper.give_back(store.writer_lock()).unwrap(), "while the reader is there");
        assert!(length() > LONG_BYTES);
        reader.execute_batch("COMMIT").unwrap();
        while keeper.working.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        assert_eq!(length(), wal::FILE_BYTES);
        commit().await;
        assert_eq!(length(), wal::FILE_BYTES);
        let rows: u64 =
            reader.query_row("SELECT count(*) FROM journal_log", [], |row| row.get(0)).unwrap();
        assert_eq!(rows, position.0);
    }
}
