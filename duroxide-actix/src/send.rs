//! Sending with an id, and sending with a durable acknowledgement.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix::dev::{Request, ToEnvelope};
use actix::{Actor, Addr, Handler, Message};
use futures::future::poll_fn;
use shared_journal::MessageId;
use tokio::sync::oneshot;

use crate::context::DurableContext;
use crate::envelope::{Extras, with_extras};
use crate::error::{AskError, Fate};

/// Sending to a durable actor with what `Addr` alone cannot carry.
///
/// Both waits for room in the mailbox, as `Addr::send` does.
pub trait DurableSend<A: Actor> {
    /// Sends a message under the caller's own id (an *idempotency key*) and waits for the reply.
    ///
    /// A message with an id that this actor has received before is not handled again: the reply
    /// is the first one, also after a restart, for 24 hours at least
    /// ([`Limits::dedup_age`](shared_journal::Limits::dedup_age)). Some time after that it is a new message.
    ///
    /// A sender's order is that of its calls as long as the mailbox has room, as in actix.
    ///
    /// Cancel-safe in this sense: a message that is in the mailbox is handled whether or not its
    /// sender waits. Ask again with the same id to learn how it went.
    ///
    /// # Errors
    /// See [`AskError`]: not accepted, accepted with an unknown outcome, or given up.
    fn send_with_id<M>(
        &self,
        id: MessageId,
        message: M,
    ) -> impl Future<Output = Result<M::Result, AskError>> + 'static
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + Unpin + 'static,
        M::Result: Send;

    /// Sends a message and waits only until its receipt is durable: from then on it will be
    /// handled, whatever dies. The reply goes nowhere.
    ///
    /// For a message type that is not durable this is an error, and it is not handled.
    ///
    /// # Errors
    /// See [`AskError`].
    fn tell<M>(&self, message: M) -> impl Future<Output = Result<(), AskError>> + 'static
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + Unpin + 'static,
        M::Result: Send;

    /// As [`tell`](Self::tell), under the caller's own id.
    ///
    /// # Errors
    /// See [`AskError`].
    fn tell_with_id<M>(
        &self,
        id: MessageId,
        message: M,
    ) -> impl Future<Output = Result<(), AskError>> + 'static
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + Unpin + 'static,
        M::Result: Send;
}

impl<A> DurableSend<A> for Addr<A>
where
    A: Actor<Context = DurableContext<A>>,
{
    fn send_with_id<M>(
        &self,
        id: MessageId,
        message: M,
    ) -> impl Future<Output = Result<M::Result, AskError>> + 'static
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + Unpin + 'static,
        M::Result: Send,
    {
        // In the mailbox before the first poll, if it has room, as with `Addr::send`.
        let mut sending = Sending::new(self, id, true, None, message);
        async move {
            match poll_fn(|cx| sending.poll(cx)).await {
                Ok(result) => Ok(result),
                Err(_) => Err(sending.fate.error()),
            }
        }
    }

    fn tell<M>(&self, message: M) -> impl Future<Output = Result<(), AskError>> + 'static
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + Unpin + 'static,
        M::Result: Send,
    {
        tell(self, MessageId::from(0), false, message)
    }

    fn tell_with_id<M>(
        &self,
        id: MessageId,
        message: M,
    ) -> impl Future<Output = Result<(), AskError>> + 'static
    where
        A: Handler<M>,
        A::Context: ToEnvelope<A, M>,
        M: Message + Send + Unpin + 'static,
        M::Result: Send,
    {
        tell(self, id, true, message)
    }
}

fn tell<A, M>(
    address: &Addr<A>,
    id: MessageId,
    keyed: bool,
    message: M,
) -> impl Future<Output = Result<(), AskError>> + 'static
where
    A: Actor<Context = DurableContext<A>> + Handler<M>,
    M: Message + Send + Unpin + 'static,
    M::Result: Send,
{
    let (acknowledge, acknowledged) = oneshot::channel();
    let mut sending = Sending::new(address, id, keyed, Some(acknowledge), message);
    async move {
        // Until the message is in the mailbox, its future has to be polled; then it is let go.
        poll_fn(|cx| match sending.extras {
            Some(_) => sending.poll(cx).map(drop),
            None => Poll::Ready(()),
        })
        .await;
        let fate = sending.fate;
        drop(sending.request);
        match acknowledged.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(AskError::OutcomeUnknown { id, source: Some(error) }),
            Err(_) => Err(fate.error()),
        }
    }
}

/// A message on its way into the mailbox.
struct Sending<A, M>
where
    A: Actor<Context = DurableContext<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    request: Pin<Box<Request<A, M>>>,
    /// Until the message is packed.
    extras: Option<Extras>,
    fate: Arc<Fate>,
}

impl<A, M> Sending<A, M>
where
    A: Actor<Context = DurableContext<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn new(
        address: &Addr<A>,
        id: MessageId,
        keyed: bool,
        acknowledge: Option<shared_journal::mailbox::Acknowledge>,
        message: M,
    ) -> Self {
        let fate = Arc::new(Fate::new(id));
        let mut extras = Some(Extras { keyed, fate: fate.clone(), acknowledge });
        let request = with_extras(&mut extras, || address.send(message));
        Self { request: Box::pin(request), extras, fate }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<M::Result, actix::MailboxError>> {
        let Self { request, extras, .. } = self;
        with_extras(extras, || request.as_mut().poll(cx))
    }
}
