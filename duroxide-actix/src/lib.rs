//! Durable [actix](https://docs.rs/actix) actors: what was acknowledged is not lost, whatever is
//! killed, and every message takes effect once.
//!
//! There are two ways in:
//!
//! - [`DurableContext`]: the actor changes one line, its callers nothing.
//! - [`DurableActixActor`]: the actor changes nothing, its callers the type of its address.
//!
//! Either way the actor says what its state is ([`DurableState`](journal::DurableState)), its
//! messages get a stable name ([`DurableMessage`](journal::DurableMessage)), and the actor lists
//! them ([`DurableActor`]).
//!
//! ```
//! use std::sync::Arc;
//!
//! use actix::prelude::*;
//! use duroxide::providers::sqlite::SqliteProvider;
//! use duroxide_actix::journal::{DurableMessage, DurableState, EventJournal, MessageId};
//! use duroxide_actix::{DurableActor, DurableContext, DurableSend, StartDurable};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, DurableState)]
//! #[durable(actor_type = "account")]
//! struct Account {
//!     balance: i64,
//! }
//!
//! impl Actor for Account {
//!     type Context = DurableContext<Self>; // was: Context<Self>
//! }
//!
//! impl DurableActor for Account {
//!     type Messages = (Deposit,);
//! }
//!
//! #[derive(Message, Serialize, Deserialize, DurableMessage)]
//! #[rtype(result = "i64")]
//! #[durable(name = "account.deposit")]
//! struct Deposit(i64);
//!
//! impl Handler<Deposit> for Account {
//!     type Result = i64;
//!     fn handle(&mut self, deposit: Deposit, _: &mut Self::Context) -> i64 {
//!         self.balance += deposit.0;
//!         self.balance
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! actix::System::new().block_on(async {
//!     let provider = SqliteProvider::new_in_memory().await?; // or SqliteProvider::new("sqlite:app.db?mode=rwc", None)
//!     let journal = EventJournal::open(Arc::new(provider)).await?;
//!
//!     let account = Account::default().start_durable(&journal, "42").await?;
//!     assert_eq!(account.send(Deposit(5)).await?, 5);
//!
//!     // The same id twice: one deposit, the same reply.
//!     let id = MessageId::from_key("payment 7");
//!     assert_eq!(account.send_with_id(id, Deposit(10)).await?, 15);
//!     assert_eq!(account.send_with_id(id, Deposit(10)).await?, 15);
//!     Ok(())
//! })
//! # }
//! ```
//!
//! # More than one process, and workflows
//!
//! [`ActixHost`] and [`WrappedHost`] run actors on the nodes of a
//! [`Cluster`](journal::cluster::Cluster); an [`ActorRef`] sends to them from anywhere. A
//! [`WorkflowActorRef`] does so from duroxide's orchestrations, and [`DurableEffects`] from actors: to
//! each other, to orchestrations, and to themselves when a timer is due.
//!
//! # When a reply comes
//!
//! The reply of `send` is released when the receipt of the message, the state after it and the
//! reply itself are durable. If the journal stops before that, the caller gets
//! `MailboxError::Closed` from `send`, and from [`DurableSend::send_with_id`] an error that says
//! whether the message may have been handled. `try_send` and `do_send` say, as in actix, only that
//! the message is in the mailbox, in memory; [`DurableSend::tell`] waits until it is durable.
//!
//! A message type that is not listed is handled as before: its reply does not wait for the disk,
//! so it may tell of a state that a crash takes back. What it changes in the state, and what
//! intervals, streams and futures change, is stored at the end of the poll of the actor in which
//! they ran ([`DurableContext`]).
//!
//! # When a handler panics
//!
//! The state goes back to the last captured one, the message is tried again, and after
//! [`Limits::attempts`](journal::Limits::attempts) it becomes a dead letter. A handler whose reply
//! is dropped unsent counts as one that panicked. What the handler sent is taken back; what others
//! sent meanwhile, an interval for example, stays. This needs `panic = "unwind"`, the default.
//!
//! # Features
//!
//! - `postgres` (off): journals beside the `PostgresProvider` of duroxide-pg.
//! - `test-util` (off): a kit for testing actors.

mod actor;
mod cluster;
mod context;
mod driver;
mod effects;
mod envelope;
mod error;
mod host;
mod job;
mod message;
mod send;
mod start;
#[cfg(feature = "test-util")]
pub mod test_util;
mod types;
mod virtual_actors;
mod workflow;
mod wrapper;

pub use actor::{DurableActor, InnerAddress, MessageList};
pub use cluster::{ActixHost, ActorRef, ClusterActors, WrappedHost};
pub use context::DurableContext;
pub use effects::{DurableEffects, Receiver};
pub use error::AskError;
pub use message::Table;
pub use send::DurableSend;
/// The journal: [`EventJournal`](journal::EventJournal) and what the types of an actor implement.
pub use shared_journal as journal;
pub use start::StartDurable;
pub use types::ActorTypes;
pub use virtual_actors::{RESUMED_AT_ONCE, VirtualActors};
pub use workflow::{WorkflowActorRef, WorkflowActors};
pub use wrapper::{DurableActixActor, Forward};
