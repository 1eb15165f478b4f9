//! How messages are sent to an actor.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use shared_journal::{ActorId, MessageId};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;
use tokio_util::sync::PollSender;
use tower_service::Service;

use crate::actor::DurableActor;
use crate::error::{CallError, Interruption, NotSent, Refusal};
use crate::future::ResponseFuture;
use crate::message::{Caller, Envelope, Keyed};
use crate::shared::Shared;

type Sent<A> =
    Envelope<<A as DurableActor>::Message, <A as DurableActor>::Reply, <A as DurableActor>::Error>;

/// Sends messages to a [`DurableActorService`](crate::DurableActorService). Cheap to clone; the
/// service ends when the last one is gone.
///
/// It is a tower [`Service`] for the actor's messages, and for [`Keyed`] ones that carry the
/// caller's own id. `poll_ready` reserves a place in the mailbox, in memory; the place is given
/// back when the handle is dropped, and a clone has none. `call` puts the message into the mailbox
/// at once, so that a future that is never polled loses nothing.
///
/// Every message gets an id. Whoever does not choose one finds it in
/// [`CallError::OutcomeUnknown`].
///
/// While a handle holds a reserved place, [`ask`](Self::ask) and [`tell`](Self::tell) on it need
/// another one.
pub struct DurableHandle<A: DurableActor> {
    sender: mpsc::Sender<Sent<A>>,
    permit: PollSender<Sent<A>>,
    actor: ActorId,
    shared: Arc<Shared>,
}

impl<A: DurableActor> DurableHandle<A> {
    pub(crate) fn new(actor: ActorId, sender: mpsc::Sender<Sent<A>>, shared: Arc<Shared>) -> Self {
        Self { permit: PollSender::new(sender.clone()), sender, actor, shared }
    }

    /// The actor's name.
    #[must_use]
    pub fn actor(&self) -> &ActorId {
        &self.actor
    }

    /// Whether the service has ended.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Sends a message and waits for its durable reply. Waits while the mailbox is full.
    ///
    /// Cancel-safe: dropped before the message is in the mailbox, nothing was sent; dropped after,
    /// the message is handled.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn ask(
        &self,
        message: impl Into<Keyed<A::Message>>,
    ) -> Result<A::Reply, CallError<A::Error>> {
        let Ok(permit) = self.sender.reserve().await else {
            return Err(self.refused());
        };
        let (envelope, id, answer) = self.envelope(message.into());
        permit.send(envelope);
        self.response(id, answer).await
    }

    /// As [`ask`](Self::ask), under an id of the caller's: if it was used before, the reply is the
    /// recorded one.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn ask_with_id(
        &self,
        id: impl Into<MessageId>,
        message: A::Message,
    ) -> Result<A::Reply, CallError<A::Error>> {
        self.ask(Keyed::new(id, message)).await
    }

    /// Sends a message if the mailbox has a place for it; the future is its reply.
    ///
    /// # Errors
    /// [`NotSent`], with the message, if the mailbox is full or the service has ended.
    pub fn try_ask(
        &self,
        message: impl Into<Keyed<A::Message>>,
    ) -> Result<Response<A>, NotSent<A::Message>> {
        let message = message.into();
        let given = message.id;
        let (envelope, id, answer) = self.envelope(message);
        let (envelope, reason) = match self.sender.try_send(envelope) {
            Ok(()) => return Ok(self.response(id, answer)),
            Err(TrySendError::Full(envelope)) => (envelope, Refusal::Full),
            Err(TrySendError::Closed(envelope)) => (envelope, self.shared.refusal()),
        };
        let message = Keyed { id: given, message: envelope.into_message() };
        Err(NotSent { message, reason })
    }

    /// Sends a message and waits until its receipt is durable: from then on it will be handled,
    /// whatever dies. Waits while the mailbox is full.
    ///
    /// Returns the message's id; asking with it later gives the outcome. Cancel-safe as
    /// [`ask`](Self::ask).
    ///
    /// # Errors
    /// [`CallError::NotAccepted`] or [`CallError::OutcomeUnknown`].
    pub async fn tell(
        &self,
        message: impl Into<Keyed<A::Message>>,
    ) -> Result<MessageId, CallError<A::Error>> {
        let Ok(permit) = self.sender.reserve().await else {
            return Err(self.refused());
        };
        let Keyed { id, message } = message.into();
        let (key, id) = self.shared.key_to_keep(id);
        let (acknowledge, acknowledged) = oneshot::channel();
        let (refuse, mut refused) = oneshot::channel();
        let shared = self.shared.clone();
        let caller = Caller::Tell(refuse);
        permit.send(Envelope::new(key, message, caller, Some(acknowledge), shared));
        if self.sender.is_closed() {
            // As in `response`: perhaps nobody takes it out of the channel.
            return match refused.try_recv() {
                Ok(reason) => Err(CallError::refused(reason)),
                Err(_) => Err(self.shared.unknown(id)),
            };
        }
        match acknowledged.await {
            Ok(Ok(())) => Ok(id),
            Ok(Err(error)) => {
                Err(CallError::OutcomeUnknown { id, source: Interruption::Journal(error) })
            }
            Err(_) => match refused.await {
                Ok(reason) => Err(CallError::refused(reason)),
                Err(_) => Err(self.shared.unknown(id)),
            },
        }
    }

    /// As [`tell`](Self::tell), under an id of the caller's: if it was used before, nothing is
    /// handled again.
    ///
    /// # Errors
    /// As [`tell`](Self::tell).
    pub async fn tell_with_id(
        &self,
        id: impl Into<MessageId>,
        message: A::Message,
    ) -> Result<MessageId, CallError<A::Error>> {
        self.tell(Keyed::new(id, message)).await
    }

    fn envelope(&self, message: Keyed<A::Message>) -> (Sent<A>, MessageId, Receiver<A>) {
        let (caller, answer) = oneshot::channel();
        let (key, id) = self.shared.key(message.id);
        let shared = self.shared.clone();
        let envelope = Envelope::new(key, message.message, Caller::Ask(caller), None, shared);
        (envelope, id, answer)
    }

    /// The future of a message that was put into the channel.
    ///
    /// A message sent with a permit after the receiver was dropped stays in the channel for as
    /// long as there are handles. So whether it is closed is looked at after sending: if it is
    /// not, the receiver's drop comes later and finds the message.
    fn response(&self, id: MessageId, answer: Receiver<A>) -> Response<A> {
        ResponseFuture::sent(id, answer, self.shared.clone(), self.sender.is_closed())
    }

    fn refused(&self) -> CallError<A::Error> {
        CallError::NotAccepted { reason: self.shared.refusal() }
    }
}

type Response<A> = ResponseFuture<<A as DurableActor>::Reply, <A as DurableActor>::Error>;
type Receiver<A> =
    oneshot::Receiver<Result<<A as DurableActor>::Reply, CallError<<A as DurableActor>::Error>>>;

impl<A, M> Service<M> for DurableHandle<A>
where
    A: DurableActor,
    M: Into<Keyed<A::Message>>,
{
    type Response = A::Reply;
    type Error = CallError<A::Error>;
    type Future = Response<A>;

    /// Reserves a place in the mailbox.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // A place that was reserved before the service ended is of no use.
        if self.sender.is_closed() {
            return Poll::Ready(Err(self.refused()));
        }
        match ready!(self.permit.poll_reserve(cx)) {
            Ok(()) => Poll::Ready(Ok(())),
            Err(_) => Poll::Ready(Err(self.refused())),
        }
    }

    /// Puts the message into the reserved place.
    ///
    /// # Panics
    /// If `poll_ready` did not say that the handle is ready, as tower allows.
    fn call(&mut self, message: M) -> Self::Future {
        if self.sender.is_closed() {
            return ResponseFuture::refused(self.shared.refusal());
        }
        let (envelope, id, answer) = self.envelope(message.into());
        match self.permit.send_item(envelope) {
            Ok(()) => self.response(id, answer),
            Err(_) => ResponseFuture::refused(self.shared.refusal()),
        }
    }
}

impl<A: DurableActor> Clone for DurableHandle<A> {
    /// The clone has no place reserved.
    fn clone(&self) -> Self {
        Self::new(self.actor.clone(), self.sender.clone(), self.shared.clone())
    }
}

impl<A: DurableActor> std::fmt::Debug for DurableHandle<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DurableHandle")
            .field("actor", &self.actor)
            .field("closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
