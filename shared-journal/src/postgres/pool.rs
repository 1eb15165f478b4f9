//! Connections that are given up when the server does not answer.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{Error, PgPool};

use super::connection::{PATIENCE, no_answer, set_durability};
use super::error::is_lost;
use crate::limits::Durability;

/// A few connections, made when they are wanted, with the options of the provider's pool.
pub(super) struct Connections {
    origin: PgPool,
    name: &'static str,
    most: u32,
    durability: Durability,
    now: Mutex<PgPool>,
}

impl Connections {
    pub(super) fn new(
        origin: PgPool,
        name: &'static str,
        most: u32,
        durability: Durability,
    ) -> Self {
        let now = Mutex::new(pool(&origin, name, most, durability));
        Self { origin, name, most, durability, now }
    }

    /// The connections of now. What is asked on them is to be [`answered`](Answered::answered).
    pub(super) fn now(&self) -> PgPool {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for the server for so long, and trusts no connection of those after it was silent: what
    /// swallowed the packets of one (a NAT that forgot it, a cut cable) has swallowed those of all.
    async fn wait<T>(
        &self,
        longest: Duration,
        query: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let answer =
            tokio::time::timeout(longest, query).await.unwrap_or_else(|_| Err(no_answer(longest)));
        if let Err(error) = &answer
            && (is_lost(error) || matches!(error, Error::PoolTimedOut))
        {
            let fresh = pool(&self.origin, self.name, self.most, self.durability);
            *self.now.lock().unwrap_or_else(PoisonError::into_inner) = fresh;
        }
        answer
    }
}

/// The pool's options of today: a password can have a date.
fn pool(origin: &PgPool, name: &str, most: u32, durability: Durability) -> PgPool {
    PgPoolOptions::new()
        .max_connections(most)
        .acquire_timeout(PATIENCE)
        .after_connect(move |connection, _| Box::pin(set_durability(connection, durability)))
        .connect_lazy_with((*origin.connect_options()).clone().application_name(name))
}

/// A question to the server.
pub(super) trait Answered<T: Send>:
    Future<Output = Result<T, Error>> + Send + Sized
{
    /// Its answer; an error that may pass if there is none for too long.
    fn answered(self, connections: &Connections) -> impl Future<Output = Result<T, Error>> + Send {
        connections.wait(PATIENCE, self)
    }
}

impl<T: Send, F: Future<Output = Result<T, Error>> + Send> Answered<T> for F {}
