//! The journal in SQLite: a file of its own, next to the file of duroxide's `SqliteProvider`.
//!
//! A store at `app.db` gets its journal at `app.actors.db`, beside the file itself where `app.db` is a
//! symbolic link, and with its permissions. Two files, because SQLite has one
//! writer per file: duroxide's dispatchers upgrade read transactions to write ones, which fails
//! and backs off for hundreds of milliseconds whenever someone else committed in between. In its
//! own file the journal cannot be in their way, nor they in its.
//!
//! While a journal is open its `-wal` file takes 24 MiB of disk. A reader that takes long makes it
//! longer: what is written meanwhile cannot be copied back. It goes when the last process closes the
//! file.
//!
//! An in-memory provider gets an in-memory journal that lives as long as the provider does.

mod attach;
mod cluster;
mod cluster_sql;
mod connection;
mod error;
#[cfg(test)]
mod migration_tests;
mod network;
mod place;
mod provider;
mod sql;
mod wal;

pub(crate) use attach::attach;
pub use provider::SqliteActorProvider;
