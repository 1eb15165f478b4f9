//! Actors and duroxide's orchestrations, both ways.
//!
//! [`register`] and [`register_orchestrations`] add what is ours to the application's own registries;
//! one runtime serves its workflows and ours. An orchestration asks and tells actors through
//! [`WorkflowActor`], or through the typed references of duroxide-actix and duroxide-tower. An actor
//! starts workflows and raises events through its [`Outbox`](crate::Outbox), or the methods of its context on
//! top of it.
//!
//! # From orchestrations to actors, exactly once
//!
//! duroxide runs an activity at least once. Each message gets its id in the orchestration, from the
//! name of the instance, the number of its execution, and the number of the message, which is kept
//! under the key `actors:sent` of the instance's key-value store; and from the time at which the execution began. So a
//! replay sends the same message, and an activity that runs twice sends it twice under one id. It is handled once: the
//! letter stays until the history shows that it was posted, and its id is known for longer
//! ([`Limits::dedup_age`](crate::Limits::dedup_age)). An instance that is deleted and started again under
//! its name sends messages of its own. Do not clear that key.
//!
//! The activity only posts the message. Its outcome comes as an external event, so an actor that is slow, or
//! away, occupies no worker.
//!
//! # From actors to orchestrations, exactly once
//!
//! What an actor sends to an instance is a letter in the cluster's inbox, under the address
//! `actors:workflow/<instance>`:
//!
//! - A *start* is done by the node that has the address, again if it was interrupted. It has its effect once, because
//!   duroxide ignores a second start of an instance.
//! - An *event* stays in the inbox until the instance has read it. That node puts some
//!   into the instance's queue, and the next ones when those are read. [`next_event`] knows the last number of each
//!   sender, and does not hand out an event twice.

mod answering;
mod asker;
mod asking;
mod awaited;
mod batches;
mod carried;
mod cursor;
mod entry;
mod events;
mod given_up;
mod instance;
mod lost;
mod message;
mod orchestrated;
mod posting;
mod replying;
mod ringing;
mod running;
mod sending;
#[cfg(feature = "test-util")]
mod sent;
mod started;
mod successor;
mod timer;

use std::sync::Arc;

use duroxide::providers::Provider;
use duroxide::runtime::registry::{ActivityRegistryBuilder, OrchestrationRegistryBuilder};
use duroxide::runtime::{Runtime, RuntimeOptions};
use serde::{Deserialize, Serialize};

pub use self::asking::WorkflowActor;
pub use self::events::next_event;
pub use self::instance::WorkflowHost;
pub use self::message::WorkflowError;
pub use self::orchestrated::{
    Handled, Handling, ORCHESTRATED_REPLY_BYTES, ORCHESTRATED_STATE_BYTES, OrchestratedActor,
    OrchestratedError, orchestrated, run_orchestrated,
};
pub use self::sending::{WorkflowResult, instance_address};
#[cfg(feature = "test-util")]
pub(crate) use self::sent::{SentToInstance, sent_to_instance};
pub use self::timer::TIMER;
use crate::cluster::Cluster;
use crate::sqlite::OneWriter;

/// The activity that posts a message to an actor whose outcome the orchestration waits for.
pub const ASK: &str = "actors:ask";
/// The activity that posts a message to an actor.
pub const TELL: &str = "actors:tell";
/// The activity that says that an instance has read the events that it got.
pub const RING: &str = "actors:ring";
/// The activity that answers a message to an actor that is an orchestration.
pub const ANSWER: &str = "actors:answer";
/// The activity that removes the executions that an actor that is an orchestration has behind it.
pub const PRUNE: &str = "actors:prune";
/// The activity that looks how a workflow stands that an actor asked, if the instance that waited for it was given up.
pub const WATCH: &str = "actors:watch";
/// The type in the addresses of instances.
const INSTANCES: &str = "actors:workflow";

/// The orchestration that runs another one and tells an actor how it ended.
pub const RUN: &str = "actors:run";

/// Adds our activities to an application's.
///
/// Every runtime on the store needs them, as duroxide wants it for whatever is registered.
#[must_use]
pub fn register(activities: ActivityRegistryBuilder, cluster: &Cluster) -> ActivityRegistryBuilder {
    let [asking, telling, ringing, answering] = std::array::from_fn(|_| cluster.clone());
    activities
        .register(ASK, move |ctx, message| posting::run(asking.clone(), ctx, message, true))
        .register(TELL, move |ctx, message| posting::run(telling.clone(), ctx, message, false))
        .register(RING, move |ctx, _: String| ringing::run(ringing.clone(), ctx))
        .register(ANSWER, move |ctx, answer| answering::run(answering.clone(), ctx, answer))
        .register(PRUNE, |ctx, _: String| orchestrated::prune(ctx))
        .register(WATCH, running::look)
}

/// Adds our orchestrations to an application's: workflows that actors wait for, and timers that an earlier
/// version has set.
///
/// Every runtime on the store needs them, as duroxide wants it for whatever is registered.
#[must_use]
pub fn register_orchestrations(
    orchestrations: OrchestrationRegistryBuilder,
) -> OrchestrationRegistryBuilder {
    orchestrations.register(TIMER, timer::run).register(RUN, running::run)
}

/// The store as duroxide's runtime and clients should have it: `SqliteProvider` with one write at a
/// time, any other as it is.
///
/// SQLite has one writer. Two dispatchers of a runtime that meet there refuse each other, five
/// times within 310 ms at worst, and then duroxide marks the orchestration `Failed` for good
/// (`database is locked`). With this their writes wait for each other, and are repeated for 60 s if another
/// process is in the way. Call it once and give the result to all in the process that use the
/// store, the journal too: each call makes writers that do not know those of the others.
#[must_use]
pub fn for_runtime(provider: Arc<dyn Provider>) -> Arc<dyn Provider> {
    OneWriter::over(provider)
}

/// Starts a runtime for an application that has none yet, with its own activities and orchestrations
/// and ours, on the store [`for_runtime`]. Stop it with [`Runtime::shutdown`]. An application that
/// has a runtime registers what is ours there: a second one on the same store would refuse the
/// first one's work.
pub async fn start(
    provider: Arc<dyn Provider>,
    cluster: &Cluster,
    activities: ActivityRegistryBuilder,
    orchestrations: OrchestrationRegistryBuilder,
    options: RuntimeOptions,
) -> Arc<Runtime> {
    let activities = register(activities, cluster).build();
    let orchestrations = register_orchestrations(orchestrations).build();
    let provider = for_runtime(provider);
    Runtime::start_with_options(provider, activities, orchestrations, options).await
}

/// What travels to an instance, as the letter to its address.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Request {
    Start {
        orchestration: String,
        input: String,
    },
    Raise {
        queue: String,
        event: events::Event,
    },
    /// Brings data into a queue of an instance that is started for it, and that knows what it has
    /// had already.
    Deliver {
        orchestration: String,
        input: String,
        queue: String,
        data: String,
    },
    Cancel {
        reason: String,
    },
    /// The instance has read the mail that it got.
    Ring,
}
