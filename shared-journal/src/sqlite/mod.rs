//! The journal in SQLite: a file of its own, next to the file of duroxide's `SqliteProvider`.
//!
//! A store at `app.db` gets its journal at `app.actors.db`, beside the file itself where `app.db` is a
//! symbolic link, and with its permissions. Two files, because SQLite has one
//! writer per file: duroxide's dispatchers upgrade read transactions to write ones, which fails
//! and backs off for hundreds of milliseconds whenever someone else committed in between. In its
//! own file the journal cannot be in their way, nor they in its.
//!
//! While a journal is open its `-wal` file takes 24 MiB of disk. A reader that takes long makes it
//! longer: what is written meanwhile cannot be copied back. The gauge `journal_wal_bytes` has its
//! length, a warning says the cause beyond 48 MiB, and it gets its length back when the reader has gone.
//! It goes when the last process closes the file.
//!
//! The page of 4 KiB is what a lone commit writes. With pages of 1 KiB it was a third (1.4 kB instead of
//! 4.4), and commits of many kilobytes took 1.4 to 2.4 times the processor; an fsync writes a block of
//! the file system, which is 4 KiB, either way.
//!
//! An in-memory provider gets an in-memory journal that lives as long as the provider does.

mod admin;
mod attach;
mod cluster;
mod cluster_sql;
mod connection;
mod error;
mod keeper;
#[cfg(test)]
mod migration_tests;
mod network;
mod one_writer;
mod place;
mod provider;
mod sql;
mod wal;

pub(crate) use attach::{attach, attach_to_read};
pub(crate) use one_writer::OneWriter;
pub use provider::SqliteActorProvider;
