//! What the disk and SQLite allow: the same bytes, appended with no actor around.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use duroxide_actix::journal::Durability;
use rusqlite::{Connection, params};
use serde::Serialize;

use crate::load::{middle, percentile, rounded};

/// Bytes of the row of an S1 commit: message, reply, state and their frame.
pub(crate) const COMMIT_BYTES: usize = 260;

/// Bytes of a message and its state.
const MESSAGE_BYTES: usize = 208;

const ROWS: usize = 1000;

pub(crate) struct Limit {
    connection: Connection,
    rounds: Vec<Limits>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Limits {
    /// The median of one row a transaction.
    pub(crate) single_row_us: f64,
    /// With 1,000 rows a transaction.
    pub(crate) rows_per_s: f64,
}

impl Limit {
    pub(crate) fn open(path: &Path, durability: Durability) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let synchronous = match durability {
            Durability::ProcessCrash => "NORMAL",
            _ => "FULL",
        };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.execute_batch("CREATE TABLE log (number INTEGER PRIMARY KEY, body BLOB)")?;
        Ok(Self { connection, rounds: Vec::new() })
    }

    /// Half of the time for each of the two.
    pub(crate) fn round(&mut self, time: Duration) -> Result<()> {
        let row = vec![7_u8; COMMIT_BYTES];
        let (begin, mut taken) = (Instant::now(), Vec::new());
        while begin.elapsed() < time / 2 {
            let start = Instant::now();
            insert(&self.connection, &row)?;
            taken.push(start.elapsed());
        }
        taken.sort_unstable();
        let row = vec![7_u8; MESSAGE_BYTES];
        let (begin, mut rows) = (Instant::now(), 0);
        while begin.elapsed() < time / 2 {
            let transaction = self.connection.transaction()?;
            for _ in 0..ROWS {
                insert(&transaction, &row)?;
            }
            transaction.commit()?;
            rows += ROWS;
        }
        self.rounds.push(Limits {
            single_row_us: percentile(&taken, 0.5).as_secs_f64() * 1e6,
            rows_per_s: rows as f64 / begin.elapsed().as_secs_f64(),
        });
        Ok(())
    }

    pub(crate) fn medians(&self) -> Result<Limits> {
        let of = |value: fn(&Limits) -> f64| middle(self.rounds.iter().map(value).collect());
        Ok(Limits {
            single_row_us: rounded(of(|round| round.single_row_us)?, 1),
            rows_per_s: rounded(of(|round| round.rows_per_s)?, 0),
        })
    }
}

fn insert(connection: &Connection, row: &[u8]) -> Result<()> {
    connection.prepare_cached("INSERT INTO log (body) VALUES (?)")?.execute(params![row])?;
    Ok(())
}
