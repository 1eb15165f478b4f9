//! A connection of our own, and the schema.

use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures::poll;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Error, Executor, PgPool, Row};
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::error::{Failure, classify};
use super::sql;
use crate::error::JournalError;
use crate::limits::Durability;

/// How long a statement may take before the connection is given up. Longer than any commit of a
/// server that answers; a network that swallows packets does not answer for a quarter of an hour.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may take to be made: the server's own patience with who logs in is longer, but one
/// whose packets are swallowed is better tried again.
pub(super) const CONNECT: Duration = Duration::from_secs(5);

/// How long a connection has to show that the server is there, and how long one may be silent before it is
/// asked to: a connection whose packets are swallowed is as silent as one on which there is nothing to say.
pub(super) const PROOF: Duration = Duration::from_secs(2);

/// To fall asleep and be woken takes a quarter of what a commit takes on a server nearby, so the
/// thread looks out for the answer for so long, if the last one came within that time.
const LOOK_OUT: Duration = Duration::from_micros(400);

/// A connection that is driven by the thread that uses it, made when it is needed.
///
/// On the pool's connections a commit would wait for the runtime of the application to look at its
/// sockets, and for two threads to be woken.
pub(super) struct Link {
    /// Before the runtime, which it needs to go.
    connection: Option<PgConnection>,
    runtime: Option<Runtime>,
    pool: PgPool,
    durability: Durability,
    /// There is a processor for the server, or for whoever else is here, while this thread spins.
    parallel: bool,
    /// How long the last statements took, and when they were over.
    took: Duration,
    used: Instant,
}

impl Link {
    pub(super) fn new(pool: PgPool, durability: Durability) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let parallel = std::thread::available_parallelism().is_ok_and(|cores| cores.get() > 1);
        let (took, used) = (Duration::ZERO, Instant::now());
        Ok(Self {
            connection: None,
            runtime: Some(runtime),
            pool,
            durability,
            parallel,
            took,
            used,
        })
    }

    /// What its connections are made of.
    pub(super) fn origin(&self) -> (PgPool, Durability) {
        (self.pool.clone(), self.durability)
    }

    /// Runs statements to their end. A connection that was lost is replaced the next time.
    pub(super) fn run<T>(
        &mut self,
        statements: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let Some(runtime) = &self.runtime else {
            return Err(Failure::NoConnection(Error::WorkerCrashed));
        };
        let Self { connection, pool, durability, used, .. } = self;
        let begin = Instant::now();
        let silent = begin.duration_since(*used) > PROOF;
        let look_out =
            if self.parallel && self.took < LOOK_OUT { LOOK_OUT } else { Duration::ZERO };
        let finished = runtime.block_on(async {
            if silent && let Some(mut idle) = connection.take() {
                *connection = is_there(&mut idle).await.then_some(idle);
            }
            let connection = match connection {
                Some(connection) => connection,
                none => {
                    let made = connect(pool, "journal writer", *durability).await;
                    none.insert(made.map_err(Failure::NoConnection)?)
                }
            };
            let answer = looking_out(look_out, statements(connection));
            timeout(PATIENCE, answer).await.unwrap_or_else(|_| Err(no_answer(PATIENCE).into()))
        });
        self.used = Instant::now();
        self.took = self.used.duration_since(begin);
        if finished.as_ref().is_err_and(Failure::is_lost) {
            self.connection = None;
        }
        finished
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.connection = None;
        if let Some(runtime) = self.runtime.take() {
            // The last reference to a journal may go inside another runtime, which forbids to wait.
            runtime.shutdown_background();
        }
    }
}

/// Waits without sleeping at first.
async fn looking_out<T>(longest: Duration, statements: impl Future<Output = T>) -> T {
    let mut statements = pin!(statements);
    let begin = Instant::now();
    while begin.elapsed() < longest {
        if let Poll::Ready(done) = poll!(statements.as_mut()) {
            return done;
        }
        // The runtime looks at its sockets.
        tokio::task::yield_now().await;
    }
    statements.await
}

pub(super) fn no_answer(within: Duration) -> Error {
    let kind = std::io::ErrorKind::TimedOut;
    Error::Io(std::io::Error::new(kind, format!("no answer within {within:?}")))
}

/// A connection of this name, as one that writes has to be.
pub(super) async fn connect(
    pool: &PgPool,
    name: &str,
    durability: Durability,
) -> Result<PgConnection, Error> {
    let connected = timeout(CONNECT, async {
        let mut connection = options(pool, name).connect().await?;
        set_durability(&mut connection, durability).await?;
        Ok(connection)
    });
    connected.await.unwrap_or_else(|_| Err(no_answer(CONNECT)))
}

/// The pool's options of today: a password can have a date.
pub(super) fn options(pool: &PgPool, name: &str) -> PgConnectOptions {
    (*pool.connect_options()).clone().application_name(name)
}

/// Whether the server answers on it.
pub(super) async fn is_there(connection: &mut PgConnection) -> bool {
    matches!(timeout(PROOF, connection.ping()).await, Ok(Ok(())))
}

/// For each connection that writes: a role or a database can have a setting of its own.
async fn set_durability(
    connection: &mut PgConnection,
    durability: Durability,
) -> Result<(), Error> {
    let synchronous_commit = match durability {
        // Not less than the server's own setting, which may ask for a standby.
        Durability::PowerLoss => {
            "SELECT set_config('synchronous_commit', 'on', false)
             WHERE current_setting('synchronous_commit') = 'off'"
        }
        Durability::ProcessCrash => "SELECT set_config('synchronous_commit', 'off', false)",
    };
    // A plain query: behind some poolers the prepared statements of others are in the way.
    connection.execute(synchronous_commit).await.map(drop)
}

/// Brings the schema up to date.
pub(super) fn prepare(link: &mut Link, schema: &str, store: &str) -> Result<(), JournalError> {
    let fail = |error| classify(store, "migrate", error);
    let in_schema = |statement: &str| statement.replace("{schema}", schema);
    let supported = sql::VERSION;
    let found = link.run(async |connection| {
        let mut transaction = connection.begin().await?;
        // Of two processes that find an empty schema, one migrates and the other sees it.
        sqlx::query(&in_schema(sql::LOCK_SCHEMA)).execute(&mut *transaction).await?;
        sqlx::query(&in_schema(sql::CREATE_VERSION)).execute(&mut *transaction).await?;
        let found: Option<i32> = sqlx::query(&in_schema(sql::READ_VERSION))
            .fetch_one(&mut *transaction)
            .await?
            .try_get(0)?;
        let found = u32::try_from(found.unwrap_or(0)).unwrap_or(u32::MAX);
        for (version, migration) in (1_i32..).zip(sql::MIGRATIONS).skip(found as usize) {
            sqlx::raw_sql(&in_schema(migration)).execute(&mut *transaction).await?;
            sqlx::query(&in_schema(sql::SAVE_VERSION))
                .bind(version)
                .execute(&mut *transaction)
                .await?;
            tracing::info!(store, version, "journal schema migrated");
        }
        transaction.commit().await?;
        Ok(found)
    });
    let found = found.map_err(fail)?;
    if found > supported {
        return Err(JournalError::SchemaVersion { store: store.to_owned(), found, supported });
    }
    Ok(())
}

/// The version of the schema, 0 if there is no journal.
pub(super) fn version(link: &mut Link, schema: &str, store: &str) -> Result<u32, JournalError> {
    let in_schema = |statement: &str| statement.replace("{schema}", schema);
    let supported = sql::VERSION;
    let found = link.run(async |connection| {
        let has: bool =
            sqlx::query_scalar(&in_schema(sql::HAS_VERSION)).fetch_one(&mut *connection).await?;
        if !has {
            return Ok(None);
        }
        let version = in_schema(sql::READ_VERSION);
        Ok(sqlx::query_scalar(&version).fetch_one(connection).await?)
    });
    let found = found.map_err(|error| classify(store, "read the schema's version", error))?;
    let found = u32::try_from(found.unwrap_or(0)).unwrap_or(u32::MAX);
    if found > supported {
        return Err(JournalError::SchemaVersion { store: store.to_owned(), found, supported });
    }
    Ok(found)
}
