//! The future of a call.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use shared_journal::MessageId;
use tokio::sync::oneshot;

use crate::error::{CallError, Refusal};
use crate::message::Answer;
use crate::shared::Shared;

/// The answer to a message that was sent already.
///
/// Dropping it takes nothing back: the message is handled all the same.
#[must_use = "the message is sent; without the future its answer is not seen"]
pub struct ResponseFuture<R, E>(State<R, E>);

enum State<R, E> {
    Refused(Option<Refusal>),
    Sent {
        id: MessageId,
        answer: oneshot::Receiver<Answer<R, E>>,
        shared: Arc<Shared>,
        /// The channel closed while the message was put into it: perhaps nobody will take it out.
        stranded: bool,
    },
}

impl<R, E> ResponseFuture<R, E> {
    pub(crate) fn sent(
        id: MessageId,
        answer: oneshot::Receiver<Answer<R, E>>,
        shared: Arc<Shared>,
        stranded: bool,
    ) -> Self {
        Self(State::Sent { id, answer, shared, stranded })
    }

    pub(crate) fn refused(reason: Refusal) -> Self {
        Self(State::Refused(Some(reason)))
    }

    /// The id of the message, to ask again with. None if it was refused.
    #[must_use]
    pub fn message_id(&self) -> Option<MessageId> {
        match &self.0 {
            State::Refused(_) => None,
            State::Sent { id, .. } => Some(*id),
        }
    }
}

// Nothing in it is pinned.
impl<R, E> Unpin for ResponseFuture<R, E> {}

impl<R, E> Future for ResponseFuture<R, E> {
    type Output = Result<R, CallError<E>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Refused(reason) => {
                let reason = reason.take().unwrap_or(Refusal::Closed);
                Poll::Ready(Err(CallError::NotAccepted { reason }))
            }
            State::Sent { id, answer, shared, stranded } => match Pin::new(answer).poll(cx) {
                Poll::Ready(Ok(answer)) => Poll::Ready(answer),
                Poll::Ready(Err(_)) => Poll::Ready(Err(shared.unknown(*id))),
                Poll::Pending if *stranded => Poll::Ready(Err(shared.unknown(*id))),
                Poll::Pending => Poll::Pending,
            },
        }
    }
}

impl<R, E> std::fmt::Debug for ResponseFuture<R, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("message_id", &self.message_id())
            .finish_non_exhaustive()
    }
}
