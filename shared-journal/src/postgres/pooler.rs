//! Whether a session is a session.
//!
//! A pooler that gives a client another server for each transaction (pgbouncer's `pool_mode = transaction`)
//! takes away what we rely on: `LISTEN` is heard by nobody, prepared statements are somebody else's, and
//! `synchronous_commit` is set for whoever comes next. Nothing of it fails at once.

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Error, Row};

use super::connection::{Link, connect};
use super::error::{Failure, classify};
use crate::error::JournalError;

/// As often as we look. Once finds a pooler that nobody else uses; others of its clients can take the server
/// that would have shown it.
const ROUNDS: usize = 3;

/// Refuses a pooler that shares servers among sessions.
pub(super) fn refuse(link: &mut Link, store: &str) -> Result<(), JournalError> {
    let (pool, durability) = link.origin();
    let shared = link.run(async |first| {
        let second = connect(&pool, "journal writer", durability).await;
        let mut second = second.map_err(Failure::NoConnection)?;
        for _ in 0..ROUNDS {
            if is_shared(first, &mut second).await? {
                return Ok(true);
            }
        }
        second.close().await?;
        Ok(false)
    });
    match shared.map_err(|error| classify(store, "look for a pooler", error))? {
        true => Err(JournalError::TransactionPooler { store: store.to_owned() }),
        false => Ok(()),
    }
}

/// The first session asks twice, so that a pooler that takes turns is at another server. The server that it
/// used last is the one that others give to the second, which keeps it; so the first needs another.
async fn is_shared(first: &mut PgConnection, second: &mut PgConnection) -> Result<bool, Error> {
    let of_first = [server(first).await?, server(first).await?];
    let mut transaction = second.begin().await?;
    let of_second = server(&mut transaction).await?;
    if shows_pooler(&of_first, &[of_second]) {
        return Ok(true);
    }
    let later = server(first).await?;
    transaction.rollback().await?;
    Ok(shows_pooler(&[of_first[0], later], &[of_second, server(second).await?]))
}

/// Whether two sessions cannot both have had servers of their own, by what served each.
fn shows_pooler(first: &[i32], second: &[i32]) -> bool {
    let one = |servers: &[i32]| servers.windows(2).all(|two| two[0] == two[1]);
    !one(first) || !one(second) || first.iter().any(|server| second.contains(server))
}

/// The server process of a session. A plain query: a prepared one may be lost in between.
async fn server(session: &mut PgConnection) -> Result<i32, Error> {
    sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(session).await?.try_get(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sessions_of_a_server_have_a_process_each() {
        assert!(!shows_pooler(&[1, 1, 1], &[2, 2]));
        assert!(shows_pooler(&[1, 1], &[1]), "the last one used is given to the next");
        assert!(shows_pooler(&[1, 2], &[3]), "taking turns");
        assert!(shows_pooler(&[1, 1], &[2, 3]), "after a transaction");
        assert!(shows_pooler(&[1, 1], &[2, 1]), "later");
    }
}
