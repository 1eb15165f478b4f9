//! A kit for testing actors: see [`Scenario`], and [`shared_journal::test_util`] for what is below it.
//!
//! The feature `test-util`; not for production.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use shared_journal::cluster::SendError;
use shared_journal::{DeadLetter, DurableMessage, JournalError, MessageId};

pub use shared_journal::test_util::{
    Aspect, CRASH_POINTS, Deviation, Fault, FaultyActorProvider, MemoryActorProvider, Moment,
    Rehearsal, Sent, Stage, crash_at, rehearse,
};

use crate::actor::DurableActor;
use crate::cluster::TowerHost;

/// One durable actor, given messages, without a database.
///
/// ```
/// use duroxide_tower::test_util::Scenario;
/// use duroxide_tower::{
///     ActorContext, DurableActor, DurableMessage, DurableState, TowerHost, async_trait,
/// };
/// use serde::{Deserialize, Serialize};
/// use serde_json::json;
///
/// #[derive(Default, DurableState)]
/// #[durable(actor_type = "stock")]
/// struct Stock {
///     pieces: u64,
/// }
///
/// #[derive(Serialize, Deserialize, DurableMessage)]
/// #[durable(name = "stock.order")]
/// enum Order {
///     Add(u64),
///     Take(u64),
/// }
///
/// #[async_trait]
/// impl DurableActor for Stock {
///     type Message = Order;
///     type Reply = u64;
///     type Error = String;
///
///     async fn handle(&mut self, _: &mut ActorContext, order: Order) -> Result<u64, String> {
///         self.pieces = match order {
///             Order::Add(n) => self.pieces + n,
///             Order::Take(n) => self.pieces.checked_sub(n).ok_or("too few")?,
///         };
///         Ok(self.pieces)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut bolts = Scenario::new(TowerHost::new(|_| Stock::default()), "bolts").await?;
/// bolts.given([Order::Add(10)]).await?;
///
/// let left = bolts.when(Order::Take(3)).await?;
///
/// assert_eq!(left, Ok(7));
/// assert_eq!(bolts.state().await?, json!({"pieces": 7}));
/// // Killed behind any of its commits, it ends the same.
/// bolts.survive_crashes().await?;
/// # Ok(())
/// # }
/// ```
pub struct Scenario<A> {
    stage: Stage,
    actor: PhantomData<fn(A)>,
}

impl<A> fmt::Debug for Scenario<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scenario").field("actor", self.stage.actor()).finish_non_exhaustive()
    }
}

impl<A: DurableActor> Scenario<A> {
    /// An actor with this id that begins.
    ///
    /// # Errors
    /// It does not start.
    pub async fn new(host: TowerHost<A>, id: impl AsRef<str>) -> Result<Self, Arc<JournalError>> {
        Ok(Self { stage: Stage::new(host, id).await?, actor: PhantomData })
    }

    /// An actor that has this state: one that an earlier version stored, for example.
    ///
    /// # Errors
    /// The state does not encode, or does not decode into the actor's.
    pub async fn with_state(
        host: TowerHost<A>,
        id: impl AsRef<str>,
        state: &impl Serialize,
    ) -> Result<Self, Arc<JournalError>> {
        Ok(Self { stage: Stage::with_state(host, id, state).await?, actor: PhantomData })
    }

    /// Given that it has handled these messages, whatever it answered: an error that is its answer is
    /// none of these.
    ///
    /// # Errors
    /// The first that it did not handle.
    pub async fn given(
        &mut self,
        messages: impl IntoIterator<Item = A::Message>,
    ) -> Result<(), SendError> {
        for message in messages {
            self.stage.ask::<IgnoredAny>(None, A::Message::NAME, &message).await?;
        }
        Ok(())
    }

    /// When it gets a message: what it answers, durably.
    ///
    /// # Errors
    /// [`SendError::DeadLetter`] if it panics as often as it may; see [`SendError`].
    pub async fn when(
        &mut self,
        message: A::Message,
    ) -> Result<Result<A::Reply, A::Error>, SendError> {
        self.stage.ask(None, A::Message::NAME, &message).await
    }

    /// As [`when`](Self::when), under the caller's own id.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn when_with_id(
        &mut self,
        id: impl Into<MessageId>,
        message: A::Message,
    ) -> Result<Result<A::Reply, A::Error>, SendError> {
        self.stage.ask(Some(id.into()), A::Message::NAME, &message).await
    }

    /// The process dies, and the actor starts again with what is durable.
    ///
    /// # Errors
    /// It does not start again.
    pub async fn crash(&mut self) -> Result<(), Arc<JournalError>> {
        self.stage.crash().await
    }

    /// Then this is its state, as it is stored. Before its first message that may be null, or what it began
    /// with.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn state(&self) -> Result<Value, JournalError> {
        self.stage.state().await
    }

    /// Then this is what it has sent, in order.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn sent(&self) -> Result<Vec<Sent>, JournalError> {
        self.stage.sent().await
    }

    /// Then it can be killed behind any of its commits so far, and ends the same: see
    /// [`Stage::survive_crashes`].
    ///
    /// # Errors
    /// The first deviation.
    pub async fn survive_crashes(&self) -> Result<usize, Box<Deviation>> {
        self.stage.survive_crashes().await
    }

    /// Then these are the messages that it gave up.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub async fn dead_letters(&self) -> Result<Vec<DeadLetter>, JournalError> {
        self.stage.dead_letters().await
    }

    /// What is below, without types: the journal, for example.
    pub fn stage(&self) -> &Stage {
        &self.stage
    }
}
