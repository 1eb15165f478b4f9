//! Durable tokio actors and tower services, on the embedded journal of [`shared_journal`].
//!
//! A message that was accepted is handled, and changes the actor's state exactly once, even if the
//! process is killed at any instruction. There are three ways in:
//!
//! - [`DurableActor`]: an actor with a message, a reply and an error type.
//!   [`DurableActorService`] runs it, [`DurableHandle`] sends to it and is a tower service.
//! - [`DurableActorService::from_receiver`]: the tokio actor loop you already have, with its
//!   channel and its senders untouched.
//! - [`DurableLayer`]: a tower service you already have, made durable in its stack.
//!
//! ```
//! use std::sync::Arc;
//! use duroxide::providers::sqlite::SqliteProvider;
//! use duroxide_tower::{
//!     ActorContext, DurableActor, DurableActorService, DurableMessage, DurableState, async_trait,
//! };
//! use serde::{Deserialize, Serialize};
//! use shared_journal::EventJournal;
//!
//! #[derive(Default)]
//! struct Counter { sum: i64 }
//!
//! #[derive(Serialize, Deserialize)]
//! struct Add(i64);
//!
//! impl DurableState for Counter {
//!     const ACTOR_TYPE: &'static str = "counter";
//!     type State = i64;
//!     fn snapshot(&self) -> impl Serialize { self.sum }
//!     fn restore(&mut self, sum: i64) { self.sum = sum }
//! }
//!
//! impl DurableMessage for Add {
//!     const NAME: &'static str = "counter.add";
//! }
//!
//! #[async_trait]
//! impl DurableActor for Counter {
//!     type Message = Add;
//!     type Reply = i64;
//!     type Error = String;
//!
//!     async fn handle(&mut self, _: &mut ActorContext, Add(n): Add) -> Result<i64, String> {
//!         self.sum = self.sum.checked_add(n).ok_or("too much")?;
//!         Ok(self.sum)
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let provider = Arc::new(SqliteProvider::new_in_memory().await?);
//! let journal = EventJournal::open(provider).await?;
//! let (service, counter) = DurableActorService::new(&journal, "1", Counter::default()).await?;
//! let running = tokio::spawn(service.run());
//!
//! // The reply comes when it, and the state it tells of, are durable.
//! assert_eq!(counter.ask(Add(40)).await.ok(), Some(40));
//! // Asked twice under one id, added once.
//! assert_eq!(counter.ask_with_id(7, Add(2)).await.ok(), Some(42));
//! assert_eq!(counter.ask_with_id(7, Add(2)).await.ok(), Some(42));
//!
//! drop(counter);
//! running.await??;
//! # Ok(())
//! # }
//! ```
//!
//! # More than one process, and workflows
//!
//! [`TowerHost`] runs actors on the nodes of a [`Cluster`](journal::cluster::Cluster); an [`ActorRef`]
//! sends to them from anywhere. A [`WorkflowActorRef`] does so from duroxide's orchestrations, and the
//! [`ActorContext`] from actors: to each other, to orchestrations, and to themselves when a timer is
//! due.
//!
//! # Promises
//!
//! What is promised, and its limits, is told by [`shared_journal`]; in short: a reply is released
//! when it is durable; an id is handled once, for a day at least; messages are handled in the
//! order of their durable receipt; a message that panics is retried and then kept as a dead letter.
//! What a handler does to the outside world is done at least once.
//!
//! # Features
//!
//! - `postgres` (off): journals beside the `PostgresProvider` of duroxide-pg.
//! - `test-util` (off): a kit for testing actors.

mod actor;
pub mod cluster;
mod effects;
pub mod error;
mod future;
mod handle;
mod intake;
pub mod layer;
mod limits;
mod message;
mod orchestrated;
mod service;
mod shared;
#[cfg(feature = "test-util")]
pub mod test_util;
mod types;
mod worker;
mod workflow;

pub use async_trait::async_trait;
/// The journal: [`EventJournal`] and what the types of an actor implement.
pub use shared_journal as journal;
pub use shared_journal::{DurableMessage, DurableState, EventJournal, JournalError, MessageId};

pub use self::actor::{ActorContext, DurableActor};
pub use self::cluster::{ActorRef, ClusterActors, TowerHost};
pub use self::effects::Receiver;
pub use self::error::CallError;
pub use self::future::ResponseFuture;
pub use self::handle::DurableHandle;
pub use self::layer::{Durable, DurableLayer};
pub use self::limits::{DEFAULT_BACKOFF, DEFAULT_CAPACITY, DEFAULT_LANES, MAX_BACKOFF, MAX_LANES};
pub use self::message::{Envelope, IntoRequest, Keyed, Request};
pub use self::orchestrated::{Orchestrated, OrchestratedRef};
pub use self::service::DurableActorService;
pub use self::types::ActorTypes;
pub use self::workflow::{Answer, WorkflowActorRef, WorkflowActors};
