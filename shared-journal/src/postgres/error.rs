//! Which PostgreSQL errors are which of ours.

use crate::error::JournalError;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// There was no connection to ask on: nothing was sent.
    NoConnection(sqlx::Error),
    /// The statement was sent, or may have been.
    Asked(sqlx::Error),
}

impl Failure {
    /// Whether there is no connection any more.
    pub(super) fn is_lost(&self) -> bool {
        let (Self::NoConnection(error) | Self::Asked(error)) = self;
        is_lost(error)
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Asked(error)
    }
}

/// Classifies an error that happened in `operation` on the database and schema `store`.
pub(super) fn classify(
    store: &str,
    operation: &'static str,
    failure: impl Into<Failure>,
) -> JournalError {
    let store = store.to_owned();
    match failure.into() {
        Failure::NoConnection(error) => {
            let retryable = passes(&error);
            JournalError::NoConnection { store, operation, retryable, source: Box::new(error) }
        }
        Failure::Asked(error) => {
            let retryable = passes(&error);
            JournalError::Store { store, operation, retryable, source: Box::new(error) }
        }
    }
}

fn passes(error: &sqlx::Error) -> bool {
    is_lost(error) || may_pass(error)
}

/// Whether the connection is of no use any more. The outcome of what ran on it is unknown.
pub(super) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        // A handshake that was cut off looks like one that was refused.
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed => true,
        // Connection exceptions; the server shuts down, crashed, or does not take connections yet;
        // it is a standby, perhaps since a failover.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code.starts_with("08") || matches!(&*code, "57P01" | "57P02" | "57P03" | "25006")
        }),
        _ => false,
    }
}

/// Whether the server may do tomorrow what it refused today.
fn may_pass(error: &sqlx::Error) -> bool {
    match error {
        // Of the one connection that listens.
        sqlx::Error::PoolTimedOut => true,
        // No room on the disk, no memory, too many connections; serialization failures and
        // deadlocks; locks and statements that timed out.
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            code.starts_with("53") || code.starts_with("40") || matches!(&*code, "55P03" | "57014")
        }),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error, ErrorKind};

    use super::*;

    #[test]
    fn what_may_pass_is_retryable() {
        let retryable = |error| classify("db", "commit", error).is_retryable();
        assert!(retryable(sqlx::Error::Io(Error::from(ErrorKind::ConnectionReset))));
        assert!(retryable(sqlx::Error::Tls("the handshake was cut off".into())));
        assert!(retryable(sqlx::Error::PoolTimedOut));
        assert!(!retryable(sqlx::Error::PoolClosed));
        assert!(!retryable(sqlx::Error::RowNotFound));
    }

    #[test]
    fn an_error_says_whether_anything_was_sent() {
        let lost = || sqlx::Error::Io(Error::from(ErrorKind::ConnectionRefused));
        let unsent = classify("db", "post", Failure::NoConnection(lost()));
        assert!(unsent.is_unsent() && unsent.is_retryable(), "{unsent}");
        let sent = classify("db", "post", lost());
        assert!(!sent.is_unsent() && sent.is_retryable(), "{sent}");
        let refused = sqlx::Error::Configuration("no such certificate".into());
        assert!(!classify("db", "post", Failure::NoConnection(refused)).is_retryable());
    }
}
