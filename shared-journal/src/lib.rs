//! A durable event journal for actors, kept beside a [duroxide](https://docs.rs/duroxide) store.
//!
//! This is the part that `duroxide-actix` and `duroxide-tower` share. An application meets
//! [`EventJournal`], which it opens from its duroxide provider and hands to the adapters, and the
//! two traits its types implement: [`DurableState`] and [`DurableMessage`].
//!
//! For several nodes on one store there is [`cluster`]; for duroxide's orchestrations, [`workflow`];
//! for a duroxide provider that is neither SQLite nor PostgreSQL, [`portable`]. For the authors of
//! adapters there are [`Mailbox`] and [`cluster::Host`]; for those of stores, [`ActorProvider`].
//!
//! The log is a sequence of commits, each one row with the events of many actors. A commit is
//! written while the next one gathers (group commit), actors go on while theirs is written
//! (pipelining), and replies wait until it is durable (output gate). Checkpoints save the records
//! of the actors that changed, so that recovery reads them and a bounded tail.
//!
//! # Features
//!
//! - `postgres` (off): journals in PostgreSQL, beside the `PostgresProvider` of duroxide-pg.
//! - `provider-test` (off): the tests that every [`ActorProvider`] must pass.
//! - `test-util` (off): a kit for testing actors, with `failpoints`.
//! - `fuzzing` (off): what the fuzz targets call. Not part of the API.
//! - `failpoints` (off): named places at which tests kill the process, or break a promise. Not for
//!   production.

mod aged;
mod attach;
mod builder;
pub mod cluster;
mod codec;
mod copy;
mod dead;
mod durable;
mod engine;
mod envelope;
mod error;
mod event;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod group;
mod guard;
mod history;
mod id;
mod ids;
mod journal;
mod key_table;
mod limits;
mod lines;
pub mod mailbox;
mod ordered;
mod outbox;
mod outcomes;
mod owner;
pub mod portable;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod provider;
#[cfg(feature = "provider-test")]
pub mod provider_test;
mod rare;
mod reader;
mod record;
mod record_v2;
mod recovery;
mod reopen;
mod repair;
mod resend;
mod reshard;
mod sabotage;
#[cfg(all(test, feature = "test-util"))]
mod seen;
mod session;
pub mod sqlite;
mod stats;
#[cfg(any(all(test, feature = "test-util"), feature = "provider-test"))]
mod sum;
mod sync;
#[cfg(feature = "test-util")]
pub mod test_util;
mod timer;
mod timers;
mod types;
mod undelivered;
mod verify;
pub mod workflow;

pub use attach::{attach, attach_to_read};
pub use builder::EventJournalBuilder;
pub use codec::{Codec, CodecError, Payload, StoredType};
pub use copy::{CopyReport, copy};
pub use durable::{DurableMessage, DurableState};
pub use envelope::EnvelopeError;
pub use error::{BoxError, IllegalEvent, JournalError, Place};
pub use event::{ActorEvent, RepairAction};
pub use history::{History, HistoryEntry};
pub use id::{ActorId, ActorNo, Epoch, MessageId, MessageKey, Position, Sequence, ShardId};
pub use journal::EventJournal;
pub use limits::{Durability, Limits, MAX_ACTOR_ID_BYTES, MAX_ACTOR_TYPE_BYTES};
pub use mailbox::{Mailbox, StepError, Steps};
pub use outbox::{Origin, Outbox, OutboxError};
pub use owner::Owner;
pub use provider::ActorProvider;
pub use reader::{ActorView, JournalReader, JournalView};
pub use record::{DeadLetter, Outcome, PendingMessage};
pub use repair::{MAX_REPAIR_BY_BYTES, MAX_REPAIR_WHY_BYTES, PendingText, Repair};
pub use reshard::reshard;
pub use shared_journal_derive::{DurableMessage, DurableState};
pub use stats::JournalStats;
pub use timer::{Due, Every, Missed, SetTimer, TimerId};
pub use types::Types;
pub use verify::VerifyReport;

/// For the code that the derives write. Not part of the API.
#[doc(hidden)]
pub mod __private {
    pub use serde;
}
