//! Connections that are given up when the server does not answer.
//!
//! Not sqlx's pool: it does not say whether a statement was sent before it failed, it asks the server twice
//! for each statement whether it is there, and one pool that is replaced by another has as many
//! connections again.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgArguments, PgConnection, PgRow};
use sqlx::query::Query;
use sqlx::{Error, PgPool, Postgres};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::connection::{connect, is_there, no_answer};
use super::error::{Failure, is_lost};
use crate::limits::Durability;

/// A connection that was of use so recently is not asked whether it still is.
const RECENT: Duration = Duration::from_millis(100);

/// A few connections, made when they are wanted, with the options of the provider's pool.
pub(super) struct Connections {
    origin: PgPool,
    name: &'static str,
    durability: Durability,
    /// For a connection, and then for the answer.
    patience: Duration,
    /// A connection for each, those included that are being made, and those that are being given up.
    places: Semaphore,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    /// Of the connections that are trusted. When one of them was silent, all are left behind: what
    /// swallowed the packets of one (a NAT that forgot it, a cut cable) has swallowed those of all.
    generation: u64,
    connections: Vec<(PgConnection, Instant)>,
}

/// A connection in use. If this is dropped in the middle of a statement, it is given up.
struct Held<'c> {
    of: &'c Connections,
    generation: u64,
    /// Before its place, which is somebody else's as soon as it is free.
    connection: PgConnection,
    place: SemaphorePermit<'c>,
}

impl Connections {
    pub(super) fn new(
        origin: PgPool,
        name: &'static str,
        most: usize,
        patience: Duration,
        durability: Durability,
    ) -> Self {
        let (places, idle) = (Semaphore::new(most), Mutex::default());
        Self { origin, name, durability, patience, places, idle }
    }

    /// A connection that has answered lately. Nothing was asked as long as there is none.
    async fn hold(&self) -> Result<Held<'_>, Failure> {
        let held = timeout(self.patience, async {
            // It is never closed.
            let place = self.places.acquire().await.map_err(|_| Error::PoolClosed)?;
            let (generation, connection) = match self.connection().await {
                Some(idle) => idle,
                None => {
                    let generation = self.idle().generation;
                    (generation, connect(&self.origin, self.name, self.durability).await?)
                }
            };
            Ok(Held { of: self, generation, connection, place })
        });
        held.await.unwrap_or_else(|_| Err(no_answer(self.patience))).map_err(Failure::NoConnection)
    }

    /// One of those that are there.
    async fn connection(&self) -> Option<(u64, PgConnection)> {
        loop {
            let (generation, (mut connection, used)) = {
                let mut idle = self.idle();
                (idle.generation, idle.connections.pop()?)
            };
            if used.elapsed() < RECENT || is_there(&mut connection).await {
                return Some((generation, connection));
            }
            self.distrust(generation);
        }
    }

    /// No connection of so long ago is used again.
    fn distrust(&self, generation: u64) {
        let mut idle = self.idle();
        if idle.generation == generation {
            idle.generation += 1;
            idle.connections.clear();
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held<'_> {
    /// Puts the connection back, or gives it up.
    fn answered<T>(
        self,
        answer: Result<Result<T, Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, Failure> {
        let Self { of, generation, connection, place } = self;
        let answer = answer.unwrap_or_else(|_| Err(no_answer(of.patience)));
        if answer.as_ref().is_err_and(is_lost) {
            of.distrust(generation);
            drop(connection);
        } else {
            let mut idle = of.idle();
            if idle.generation == generation {
                idle.connections.push((connection, Instant::now()));
            }
        }
        drop(place);
        answer.map_err(Failure::Asked)
    }
}

/// A statement to run on one of some connections.
pub(super) trait Ask: Sized {
    /// How many rows it changed.
    async fn execute_on(self, connections: &Connections) -> Result<u64, Failure>;
    /// Its rows.
    async fn rows_from(self, connections: &Connections) -> Result<Vec<PgRow>, Failure>;
    /// Its only row, if there is one.
    async fn row_from(self, connections: &Connections) -> Result<Option<PgRow>, Failure>;
}

impl Ask for Query<'_, Postgres, PgArguments> {
    async fn execute_on(self, connections: &Connections) -> Result<u64, Failure> {
        let mut held = connections.hold().await?;
        let done = timeout(connections.patience, self.execute(&mut held.connection)).await;
        held.answered(done).map(|done| done.rows_affected())
    }

    async fn rows_from(self, connections: &Connections) -> Result<Vec<PgRow>, Failure> {
        let mut held = connections.hold().await?;
        let rows = timeout(connections.patience, self.fetch_all(&mut held.connection)).await;
        held.answered(rows)
    }

    async fn row_from(self, connections: &Connections) -> Result<Option<PgRow>, Failure> {
        let mut held = connections.hold().await?;
        let row = timeout(connections.patience, self.fetch_optional(&mut held.connection)).await;
        held.answered(row)
    }
}
