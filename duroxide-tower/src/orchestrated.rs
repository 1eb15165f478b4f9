//! Actors that are orchestrations: for those that get a message a minute.

use std::fmt;
use std::marker::PhantomData;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use duroxide::ActivityContext;
use duroxide::runtime::registry::{ActivityRegistryBuilder, OrchestrationRegistryBuilder};
use futures::FutureExt;
use shared_journal::cluster::{Cluster, SendError};
use shared_journal::mailbox::{caught, over_limit};
use shared_journal::workflow::{
    Handling, OrchestratedActor, OrchestratedError, orchestrated, run_orchestrated,
};
use shared_journal::{ActorId, DurableMessage, Limits, MessageId};

use crate::actor::{ActorContext, DurableActor};

/// A [`DurableActor`] that is a duroxide orchestration: no journal and no place of its own. A message is
/// handled wherever a worker is free, in some ten to a hundred milliseconds; between messages the
/// actor costs nothing but its row in duroxide's store.
///
/// It is the same trait, with what follows from that:
///
/// - The actor is made anew for each message, and gets its state; `started` and `stopped` are not
///   called, and [`ActorContext::stop`] does nothing.
/// - [`ActorContext::step`] has nowhere to record and answers with an error.
/// - The state, of up to 8 MiB, and replies, of up to 60 KiB, are JSON in duroxide's history. A handler that leaves more
///   fails. duroxide writes and reads the state several times for each message: one of a MiB makes them slow.
/// - It sets no timers ([`ActorContext::schedule`] is an error); it can ask a workflow that waits.
/// - A message id is remembered for 100 messages. What panics three times is given up; its outcome says
///   so, and the state stays as it was.
///
/// Messages go through the cluster, of which some node needs a
/// [`WorkflowHost`](shared_journal::workflow::WorkflowHost): a node with hosts that joined with a provider
/// has it.
///
/// ```
/// # use std::sync::Arc;
/// # use duroxide::providers::sqlite::SqliteProvider;
/// # use duroxide::runtime::registry::ActivityRegistry;
/// # use duroxide::runtime::RuntimeOptions;
/// # use duroxide::OrchestrationRegistry;
/// # use duroxide_tower::{ActorContext, DurableActor, DurableMessage, DurableState, async_trait};
/// # use serde::{Deserialize, Serialize};
/// use duroxide_tower::Orchestrated;
/// use duroxide_tower::journal::cluster::Cluster;
/// use duroxide_tower::journal::workflow::{WorkflowHost, start};
/// # #[derive(Default, DurableState)]
/// # #[durable(actor_type = "counter")]
/// # struct Counter { count: u64 }
/// # #[derive(Serialize, Deserialize, DurableMessage)]
/// # #[durable(name = "counter.add")]
/// # struct Add(u64);
/// # #[async_trait]
/// # impl DurableActor for Counter {
/// #     type Message = Add;
/// #     type Reply = u64;
/// #     type Error = String;
/// #     async fn handle(&mut self, _: &mut ActorContext, add: Add) -> Result<u64, String> {
/// #         self.count += add.0;
/// #         Ok(self.count)
/// #     }
/// # }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let provider = Arc::new(SqliteProvider::new_in_memory().await?);
/// let counters = Orchestrated::new(|_id| Counter::default());
/// let host = WorkflowHost::new(provider.clone());
/// let cluster = Cluster::builder("app", 4).host(host).join(provider.clone()).await?;
/// let activities = counters.activity(ActivityRegistry::builder());
/// let orchestrations = counters.orchestration(OrchestrationRegistry::builder());
/// let options = RuntimeOptions::default();
/// let runtime = start(provider, &cluster, activities, orchestrations, options).await;
///
/// let counter = counters.actor(&cluster, "42");
/// assert_eq!(counter.ask(Add(5)).await?, Ok(5));
/// # runtime.shutdown(None).await;
/// # Ok(())
/// # }
/// ```
pub struct Orchestrated<A> {
    create: Arc<dyn Fn(&str) -> A + Send + Sync>,
}

impl<A> Clone for Orchestrated<A> {
    fn clone(&self) -> Self {
        Self { create: self.create.clone() }
    }
}

impl<A> fmt::Debug for Orchestrated<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Orchestrated").finish_non_exhaustive()
    }
}

impl<A: DurableActor> Orchestrated<A> {
    /// `create` constructs an actor, given its id, before its state is put into it.
    pub fn new(create: impl Fn(&str) -> A + Send + Sync + 'static) -> Self {
        Self { create: Arc::new(create) }
    }

    /// Adds the activity that handles messages to an application's.
    #[must_use]
    pub fn activity(&self, activities: ActivityRegistryBuilder) -> ActivityRegistryBuilder {
        let actors = self.clone();
        activities.register(orchestrated(A::ACTOR_TYPE), move |_: ActivityContext, input| {
            let actors = actors.clone();
            async move { actors.handle(input).await }
        })
    }

    /// Adds the orchestration to an application's.
    #[must_use]
    pub fn orchestration(
        &self,
        orchestrations: OrchestrationRegistryBuilder,
    ) -> OrchestrationRegistryBuilder {
        orchestrations.register(orchestrated(A::ACTOR_TYPE), run_orchestrated)
    }

    /// The actor with this id. It begins with its first message.
    #[must_use]
    pub fn actor(&self, cluster: &Cluster, id: impl AsRef<str>) -> OrchestratedRef<A> {
        let actor = OrchestratedActor::new(cluster, ActorId::new(A::ACTOR_TYPE, id));
        OrchestratedRef { actor, handles: PhantomData }
    }

    /// The activity.
    async fn handle(&self, input: String) -> Result<String, String> {
        let text = |error: &dyn fmt::Display| error.to_string();
        let handling: Handling = serde_json::from_str(&input).map_err(|error| text(&error))?;
        let mut actor = (self.create)(&handling.actor_id);
        if let Some(state) = handling.state.clone() {
            let state = serde_json::from_value(state)
                .map_err(|error| format!("the state does not decode: {error}"))?;
            actor.restore(state);
        }
        actor.restored();
        let message = serde_json::from_value(handling.message.clone())
            .map_err(|error| format!("the message {} does not decode: {error}", handling.kind))?;
        let outbox = handling.outbox(A::ACTOR_TYPE, Limits::default().message_bytes);
        let mut context = ActorContext::without_journal(outbox.clone());
        context.begin(handling.id(), handling.attempts);
        let running = AssertUnwindSafe(actor.handle(&mut context, message)).catch_unwind();
        let handled = match A::TIME_LIMIT {
            Some(limit) => {
                tokio::time::timeout(limit, running).await.map_err(|_| over_limit(limit))?
            }
            None => running.await,
        };
        let answer = handled.map_err(caught)?;
        let handled =
            handling.handled(&actor.snapshot(), &answer, &outbox).map_err(|error| text(&error))?;
        handled.check()?;
        serde_json::to_string(&handled).map_err(|error| text(&error))
    }
}

/// An actor that is an orchestration. Cloning is cheap. What is said of [`OrchestratedActor`] applies.
pub struct OrchestratedRef<A> {
    actor: OrchestratedActor,
    handles: PhantomData<fn(A)>,
}

impl<A> Clone for OrchestratedRef<A> {
    fn clone(&self) -> Self {
        Self { actor: self.actor.clone(), handles: PhantomData }
    }
}

impl<A> fmt::Debug for OrchestratedRef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.actor.fmt(f)
    }
}

impl<A: DurableActor> OrchestratedRef<A> {
    /// Sends a message and returns when it is durable that it will be handled.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn tell(&self, message: A::Message) -> Result<(), SendError> {
        self.tell_with_id(MessageId::random(), message).await
    }

    /// As [`tell`](Self::tell), under the caller's own id.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn tell_with_id(
        &self,
        id: impl Into<MessageId>,
        message: A::Message,
    ) -> Result<(), SendError> {
        self.actor.tell(id.into(), A::Message::NAME, &message).await
    }

    /// Sends a message and waits for the answer: the reply, or the actor's own error.
    ///
    /// # Errors
    /// See [`OrchestratedError`].
    pub async fn ask(
        &self,
        message: A::Message,
    ) -> Result<Result<A::Reply, A::Error>, OrchestratedError> {
        self.ask_with_id(MessageId::random(), message).await
    }

    /// As [`ask`](Self::ask), under the caller's own id.
    ///
    /// # Errors
    /// See [`OrchestratedError`].
    pub async fn ask_with_id(
        &self,
        id: impl Into<MessageId>,
        message: A::Message,
    ) -> Result<Result<A::Reply, A::Error>, OrchestratedError> {
        let id = id.into();
        let answer = self.actor.ask(id, A::Message::NAME, &message).await?;
        serde_json::from_value(answer)
            .map_err(|error| OrchestratedError::Reply { id, source: error.into() })
    }
}
