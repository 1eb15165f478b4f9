//! The journal in PostgreSQL: tables of its own in the schema of duroxide-pg's `PostgresProvider`.
//!
//! A commit is one statement, so it is one round trip and either happened or did not, whatever
//! becomes of the connection. The fence is part of it: it locks the row of the shard against the
//! next owner for as long as it runs.
//!
//! Commits have a connection of their own, opened with the options of the provider's pool and not
//! counted against it. It is driven by the thread that commits, which so waits for the server and
//! for nobody else. Reads have up to two of theirs. A node has up to three for letters, one for leases,
//! one that listens and one that notifies. A connection that does not answer is given up, which nobody does with
//! the provider's, and takes no more than its place.
//!
//! [`Durability::ProcessCrash`](crate::Durability::ProcessCrash) sets `synchronous_commit = off`: a
//! commit then survives the end of every process of yours, and not a crash of the server.

mod attach;
mod cluster;
mod cluster_sql;
mod connection;
mod error;
mod horizon;
mod listener;
mod notifier;
mod pool;
mod pooler;
mod provider;
mod rows;
mod sql;

pub(crate) use attach::{attach, attach_to_read};
pub use provider::PostgresActorProvider;
