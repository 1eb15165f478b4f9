//! Transactions of others that hold back vacuum.
//!
//! A row that was deleted takes room until no transaction is left that could see it. Every commit of a journal
//! leaves such rows, so a session that somebody forgot in the middle of a transaction makes its tables grow for as
//! long as it is there, and everything that reads them slower. Only who left it can end it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use fail::fail_point;
use sqlx::Row;

use super::connection::Link;
use super::error::Failure;
use crate::mailbox::error_text;

/// How often the server is asked, when something was deleted.
const LOOK: Duration = Duration::from_secs(60);
/// How old a transaction is that is worth a warning. One, as long as it is there.
const LONG: Duration = Duration::from_secs(300);

/// The oldest transactions in the database that vacuum has to wait for. What sessions of other roles do
/// is shown to members of `pg_read_all_stats` only.
const OLDEST: &str = "
    SELECT who, extract(epoch FROM now() - begun)::float8 AS age, begun::text AS begun FROM (
        SELECT format('session %s of role %s, application \"%s\", at %s', pid, usename,
                      application_name, coalesce(host(client_addr), 'the server itself')) AS who,
               xact_start AS begun
        FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid()
          AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
          AND backend_type = 'client backend'
        UNION ALL
        SELECT format('prepared transaction \"%s\" of role %s', gid, owner), prepared
        FROM pg_prepared_xacts WHERE database = current_database()
    ) AS holder
    WHERE begun IS NOT NULL ORDER BY begun LIMIT 100";

/// Who held it back when the server was asked.
#[derive(Default)]
pub(super) struct Horizon {
    looked: Option<Instant>,
    /// Those that warnings were about, and since when they are there.
    warned: BTreeSet<(String, String)>,
}

impl Horizon {
    /// Looks, if it is time, and warns of each transaction once. What cannot be found out is not worth an error:
    /// the statements that matter find out as well.
    pub(super) fn look(&mut self, link: &mut Link, store: &str) {
        let (every, long) = patience();
        if self.looked.is_some_and(|looked| looked.elapsed() < every) {
            return;
        }
        self.looked = Some(Instant::now());
        let oldest = link.run(async |connection| {
            let rows = sqlx::query(OLDEST).fetch_all(connection).await?;
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))).collect()
        });
        let oldest: Vec<(String, f64, String)> = match oldest {
            Ok(oldest) => oldest,
            Err(Failure::NoConnection(error) | Failure::Asked(error)) => {
                let error = error_text(&error);
                tracing::debug!(store, error, "who holds back vacuum is not known");
                return;
            }
        };
        let age = oldest.first().map_or(0.0, |(_, age, _)| *age);
        metrics::gauge!("journal_oldest_transaction_seconds").set(age);
        let old = oldest.into_iter().filter(|(_, age, _)| *age >= long.as_secs_f64());
        let old: BTreeSet<_> = old.map(|(who, _, begun)| (who, begun)).collect();
        for (who, begun) in old.difference(&self.warned) {
            tracing::warn!(
                store,
                who,
                begun,
                "a transaction holds back vacuum: the tables of the journal grow until it ends"
            );
        }
        self.warned = old;
    }
}

/// How often to look, and how old a transaction is that is worth a warning.
fn patience() -> (Duration, Duration) {
    fail_point!("horizon-is-near", |_| (Duration::ZERO, Duration::ZERO));
    (LOOK, LONG)
}
