//! The service: an actor, its channel and its journal.

use std::sync::Arc;

use shared_journal::{ActorId, DurableMessage, EventJournal, JournalError, Mailbox};
use tokio::sync::mpsc;

use crate::actor::{ActorContext, DurableActor};
use crate::handle::DurableHandle;
use crate::intake::{Intake, Work};
use crate::limits::DEFAULT_CAPACITY;
use crate::message::{Envelope, IntoRequest};
use crate::shared::Shared;
use crate::worker::Worker;

/// A durable actor that is ready to run.
///
/// It owns the actor, the receiver of its messages and its place in the journal. [`run`](Self::run)
/// is the loop that a tokio actor has anyway. While the service exists nobody else in the process
/// can start the same actor.
///
/// `T` is what comes out of the channel; only a loop that already has a channel
/// ([`from_receiver`](Self::from_receiver)) meets it.
pub struct DurableActorService<
    A: DurableActor,
    T = Envelope<
        <A as DurableActor>::Message,
        <A as DurableActor>::Reply,
        <A as DurableActor>::Error,
    >,
> {
    worker: Worker<A, T>,
    actor: ActorId,
}

impl<A: DurableActor> DurableActorService<A> {
    /// Starts the actor of type [`A::ACTOR_TYPE`](shared_journal::DurableState::ACTOR_TYPE) with this id, with
    /// room for [`DEFAULT_CAPACITY`] messages.
    ///
    /// If the actor ran before, its state is put into `actor`, and what was received and not
    /// processed is handled by [`run`](Self::run) before anything new.
    ///
    /// # Errors
    /// [`JournalError::AlreadyActive`], [`JournalError::InvalidActorId`],
    /// [`JournalError::Decode`] for a state that does not decode,
    /// [`JournalError::UnknownMessage`] for a waiting message of another type, or whatever is
    /// wrong with the journal. Nothing is lost by any of them. A waiting message of its type that
    /// does not decode becomes a dead letter at its turn.
    pub async fn new(
        journal: &EventJournal,
        id: impl AsRef<str>,
        actor: A,
    ) -> Result<(Self, DurableHandle<A>), JournalError> {
        Self::with_capacity(journal, id, actor, DEFAULT_CAPACITY).await
    }

    /// As [`new`](Self::new), with room for `capacity` messages, at least 1: so many in the
    /// channel, and as many behind a handler that is not done, whose receipts are durable.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub async fn with_capacity(
        journal: &EventJournal,
        id: impl AsRef<str>,
        actor: A,
        capacity: usize,
    ) -> Result<(Self, DurableHandle<A>), JournalError> {
        let name = ActorId::new(A::ACTOR_TYPE, id);
        let recovered = Recovered::from_journal(journal, &name, actor).await?;
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        let shared = Shared::new();
        let service = Self::assemble(recovered, receiver, shared.clone());
        Ok((service, DurableHandle::new(name, sender, shared)))
    }
}

impl<A: DurableActor, T: IntoRequest<A>> DurableActorService<A, T> {
    /// Makes a loop that you already have durable: its channel and its senders stay as they are.
    ///
    /// [`IntoRequest`] says for each message what is stored and where the reply goes. The capacity
    /// is that of the channel.
    ///
    /// # Errors
    /// As [`new`](DurableActorService::new).
    ///
    /// ```no_run
    /// # use duroxide_tower::{ActorContext, DurableActor, DurableMessage, DurableState, async_trait};
    /// # use serde::{Deserialize, Serialize};
    /// use duroxide_tower::{DurableActorService, IntoRequest, Request};
    /// use tokio::sync::{mpsc, oneshot};
    /// # #[derive(Default)]
    /// # struct Counter(i64);
    /// # impl DurableState for Counter {
    /// #     const ACTOR_TYPE: &'static str = "counter";
    /// #     type State = i64;
    /// #     fn snapshot(&self) -> impl Serialize { self.0 }
    /// #     fn restore(&mut self, state: i64) { self.0 = state }
    /// # }
    /// # #[derive(Serialize, Deserialize)]
    /// # struct Add(i64);
    /// # impl DurableMessage for Add { const NAME: &'static str = "counter.add"; }
    /// # #[async_trait]
    /// # impl DurableActor for Counter {
    /// #     type Message = Add;
    /// #     type Reply = i64;
    /// #     type Error = ();
    /// #     async fn handle(&mut self, _: &mut ActorContext, add: Add) -> Result<i64, ()> {
    /// #         self.0 += add.0;
    /// #         Ok(self.0)
    /// #     }
    /// # }
    ///
    /// // What the loop's senders send today, and go on sending.
    /// struct AddAndReply { amount: i64, reply: oneshot::Sender<i64> }
    ///
    /// impl IntoRequest<Counter> for AddAndReply {
    ///     fn into_request(self) -> Request<Counter> {
    ///         Request::ask(Add(self.amount), |answer| {
    ///             if let Ok(sum) = answer {
    ///                 let _ = self.reply.send(sum);
    ///             }
    ///         })
    ///     }
    /// }
    ///
    /// # async fn f(journal: shared_journal::EventJournal) -> Result<(), Box<dyn std::error::Error>> {
    /// let (sender, receiver) = mpsc::channel::<AddAndReply>(64);
    /// # drop(sender);
    /// let service = DurableActorService::from_receiver(&journal, "1", Counter::default(), receiver).await?;
    /// service.run().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn from_receiver(
        journal: &EventJournal,
        id: impl AsRef<str>,
        actor: A,
        receiver: mpsc::Receiver<T>,
    ) -> Result<Self, JournalError> {
        let name = ActorId::new(A::ACTOR_TYPE, id);
        let recovered = Recovered::from_journal(journal, &name, actor).await?;
        Ok(Self::assemble(recovered, receiver, Shared::new()))
    }

    /// A service of an actor that was recovered.
    pub(crate) fn assemble(
        recovered: Recovered<A>,
        receiver: mpsc::Receiver<T>,
        shared: Arc<Shared>,
    ) -> Self {
        let Recovered { actor, mailbox } = recovered;
        let name = mailbox.actor().clone();
        let context = ActorContext::new(&mailbox);
        Self {
            worker: Worker::new(actor, context, Intake::new(receiver, mailbox, shared)),
            actor: name,
        }
    }

    /// Whoever runs it starts it again when the journal has stopped.
    pub(crate) fn end_with_journal(mut self) -> Self {
        self.worker.end_with_journal();
        self
    }

    /// The actor's name.
    #[must_use]
    pub fn actor(&self) -> &ActorId {
        &self.actor
    }

    /// Handles messages until every handle (or sender) is gone and everything is handled, until
    /// the actor calls [`ActorContext::stop`], or until the journal stops. When it returns `Ok`,
    /// everything that was handled is durable.
    ///
    /// While a journal that has stopped is opened again by itself
    /// ([`EventJournalBuilder::reopen`](shared_journal::EventJournalBuilder::reopen)), this goes on: the
    /// actor gets its durable state back ([`restored`](shared_journal::DurableState::restored) is called,
    /// [`started`](DurableActor::started) is not), and messages wait in the channel meanwhile. Callers that
    /// waited are told [`OutcomeUnknown`](crate::CallError::OutcomeUnknown).
    ///
    /// The future can be dropped at any point, as if the process had died there: what is durable
    /// stays, and what was received and not processed is handled when the actor is started again.
    /// Callers learn that their message was not accepted, or that its outcome is unknown.
    ///
    /// # Errors
    /// The journal has stopped ([`JournalError::is_fenced`] tells whether because of a newer
    /// owner), the state does not encode, decode or fit, or somebody has stopped the actor by hand
    /// ([`JournalError::Held`]; what was handled by then is durable soon). Callers that wait are told; the handles
    /// refuse new messages with the same error.
    pub async fn run(self) -> Result<(), Arc<JournalError>> {
        self.worker.run().await
    }
}

/// An actor with its state put back, and its mailbox.
pub(crate) struct Recovered<A: DurableActor> {
    actor: A,
    mailbox: Mailbox<Work<A>>,
}

impl<A: DurableActor> Recovered<A> {
    pub(crate) async fn from_journal(
        journal: &EventJournal,
        name: &ActorId,
        mut actor: A,
    ) -> Result<Self, JournalError> {
        let mut mailbox: Mailbox<Work<A>> = journal.activate(name).await?;
        mailbox.require_known(|kind| kind == A::Message::NAME)?;
        mailbox.restore(&mut actor)?;
        mailbox.baseline(&actor)?;
        Ok(Self { actor, mailbox })
    }
}

impl<A: DurableActor, T> std::fmt::Debug for DurableActorService<A, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DurableActorService").field("actor", &self.actor).finish_non_exhaustive()
    }
}
