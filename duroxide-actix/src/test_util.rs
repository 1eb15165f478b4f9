//! A kit for testing actors: see [`Scenario`], and [`shared_journal::test_util`] for what is below it.
//!
//! The feature `test-util`; not for production.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use actix::{Handler, Message};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::Value;
use shared_journal::cluster::{Host, SendError};
use shared_journal::{DeadLetter, DurableMessage, JournalError, MessageId};

pub use shared_journal::test_util::{
    Aspect, CRASH_POINTS, Deviation, Fault, FaultyActorProvider, MemoryActorProvider, Moment,
    Rehearsal, Sent, Stage, crash_at, rehearse,
};

use crate::actor::DurableActor;
use crate::cluster::{ActixHost, WrappedHost};

/// One durable actor, given messages, without a database. Belongs into an actix system.
///
/// ```
/// use actix::prelude::*;
/// use duroxide_actix::journal::{DurableMessage, DurableState};
/// use duroxide_actix::test_util::Scenario;
/// use duroxide_actix::{ActixHost, DurableActor, DurableContext};
/// use serde::{Deserialize, Serialize};
/// use serde_json::json;
///
/// #[derive(Default, DurableState)]
/// #[durable(actor_type = "account")]
/// struct Account {
///     balance: i64,
/// }
///
/// impl Actor for Account {
///     type Context = DurableContext<Self>; // or Context<Self>, with a WrappedHost below
/// }
///
/// impl DurableActor for Account {
///     type Messages = (Deposit,);
/// }
///
/// #[derive(Message, Serialize, Deserialize, DurableMessage)]
/// #[rtype(result = "i64")]
/// #[durable(name = "account.deposit")]
/// struct Deposit(i64);
///
/// impl Handler<Deposit> for Account {
///     type Result = i64;
///     fn handle(&mut self, deposit: Deposit, _: &mut Self::Context) -> i64 {
///         self.balance += deposit.0;
///         self.balance
///     }
/// }
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// actix::System::new().block_on(async {
///     let mut account = Scenario::new(ActixHost::new(|_| Account::default()), "42").await?;
///     account.given([Deposit(50)]).await?;
///
///     let balance = account.when(Deposit(5)).await?;
///
///     assert_eq!(balance, 55);
///     assert_eq!(account.state().await?, json!({"balance": 55}));
///     // Killed behind any of its commits, it ends the same.
///     account.survive_crashes().await?;
///     Ok(())
/// })
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

/// [`ActixHost`] or [`WrappedHost`], whichever fits the actor's context.
pub trait ActorHost<A>: Host {}

impl<A> ActorHost<A> for ActixHost<A> where Self: Host {}
impl<A> ActorHost<A> for WrappedHost<A> where Self: Host {}

impl<A: DurableActor> Scenario<A> {
    /// An actor with this id that begins.
    ///
    /// # Errors
    /// It does not start.
    pub async fn new(
        host: impl ActorHost<A>,
        id: impl AsRef<str>,
    ) -> Result<Self, Arc<JournalError>> {
        Ok(Self { stage: Stage::new(host, id).await?, actor: PhantomData })
    }

    /// An actor that has this state: one that an earlier version stored, for example.
    ///
    /// # Errors
    /// The state does not encode, or does not decode into the actor's.
    pub async fn with_state(
        host: impl ActorHost<A>,
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
    pub async fn given<M>(&mut self, messages: impl IntoIterator<Item = M>) -> Result<(), SendError>
    where
        A: Handler<M>,
        M: Message + DurableMessage,
    {
        for message in messages {
            self.stage.ask::<IgnoredAny>(None, M::NAME, &message).await?;
        }
        Ok(())
    }

    /// When it gets a message: its durable reply.
    ///
    /// # Errors
    /// [`SendError::DeadLetter`] if it panics as often as it may; see [`SendError`].
    pub async fn when<M>(&mut self, message: M) -> Result<M::Result, SendError>
    where
        A: Handler<M>,
        M: Message + DurableMessage,
        M::Result: DeserializeOwned,
    {
        self.stage.ask(None, M::NAME, &message).await
    }

    /// As [`when`](Self::when), under the caller's own id.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn when_with_id<M>(
        &mut self,
        id: impl Into<MessageId>,
        message: M,
    ) -> Result<M::Result, SendError>
    where
        A: Handler<M>,
        M: Message + DurableMessage,
        M::Result: DeserializeOwned,
    {
        self.stage.ask(Some(id.into()), M::NAME, &message).await
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
