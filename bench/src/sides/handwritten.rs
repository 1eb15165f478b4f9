//! The counter as a user would make it durable by hand: one transaction a message.

use std::path::Path;

use actix::prelude::*;
use anyhow::Result;
use duroxide_actix::journal::Durability;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, SqlitePool};

use super::handwritten_postgres;
use crate::counter::{Add, Count, STATE_BYTES};
use crate::load::Side;

struct Counter {
    id: i64,
    state: Count,
    pool: Pool,
}

/// Where the counters are stored.
#[derive(Clone)]
pub(crate) enum Pool {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

impl Pool {
    /// Writes a message and the state after it.
    async fn store(&self, id: i64, add: &Add, state: &Count) -> Result<()> {
        match self {
            Self::Sqlite(pool) => store(pool, id, add, state).await,
            Self::Postgres(pool) => handwritten_postgres::store(pool, id, add, state).await,
        }
    }
}

/// Opens the store with the pragmas that the journal uses.
pub(crate) async fn open(path: &Path, durability: Durability) -> Result<SqlitePool> {
    let synchronous = match durability {
        Durability::ProcessCrash => SqliteSynchronous::Normal,
        _ => SqliteSynchronous::Full,
    };
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(synchronous)
        .busy_timeout(std::time::Duration::from_secs(60));
    // The pool that sqlx users usually have; with one connection it is slower.
    let pool = SqlitePoolOptions::new().max_connections(5).connect_with(options).await?;
    sqlx::query("CREATE TABLE state (id INTEGER PRIMARY KEY, state TEXT NOT NULL)")
        .execute(&pool)
        .await?;
    sqlx::query(
        "CREATE TABLE message (number INTEGER PRIMARY KEY, actor INTEGER NOT NULL, body TEXT NOT NULL)",
    )
    .execute(&pool)
    .await?;
    Ok(pool)
}

/// Writes a message and the state after it.
pub(crate) async fn store(pool: &SqlitePool, id: i64, add: &Add, state: &Count) -> Result<()> {
    let mut transaction = pool.begin().await?;
    sqlx::query("INSERT INTO message (actor, body) VALUES (?, ?)")
        .bind(id)
        .bind(serde_json::to_string(add)?)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("INSERT OR REPLACE INTO state (id, state) VALUES (?, ?)")
        .bind(id)
        .bind(serde_json::to_string(state)?)
        .execute(&mut *transaction)
        .await?;
    Ok(transaction.commit().await?)
}

impl Actor for Counter {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1024);
    }
}

impl Handler<Add> for Counter {
    type Result = AtomicResponse<Self, u64>;

    fn handle(&mut self, add: Add, _: &mut Self::Context) -> Self::Result {
        let mut state = self.state.clone();
        let reply = state.add(&add);
        let (id, pool) = (self.id, self.pool.clone());
        let stored = async move {
            pool.store(id, &add, &state).await?;
            anyhow::Ok(state)
        };
        AtomicResponse::new(Box::pin(stored.into_actor(self).map(move |stored, act, ctx| {
            match stored {
                Ok(state) => act.state = state,
                Err(error) => {
                    eprintln!("the hand-written actor stops: {error}");
                    ctx.terminate();
                }
            }
            reply
        })))
    }
}

pub(crate) struct Handwritten(Vec<Addr<Counter>>);

impl Handwritten {
    pub(crate) fn start(pool: &Pool, actors: usize) -> Self {
        let start = |id| {
            Counter { id: id as i64, state: Count::of(STATE_BYTES), pool: pool.clone() }.start()
        };
        Self((0..actors).map(start).collect())
    }
}

impl Side for Handwritten {
    async fn ask(&self, _: usize, actor: usize) -> Result<()> {
        self.0[actor].send(Add::sample()).await?;
        Ok(())
    }
}
