//! The service that a [`DurableLayer`](crate::DurableLayer) makes.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use shared_journal::MessageId;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio_util::sync::PollSemaphore;
use tower_service::Service;

use super::lane::LaneRequest;
use crate::error::{CallError, InnerError, Refusal};
use crate::future::ResponseFuture;
use crate::message::{Caller, Envelope};
use crate::shared::Shared;

pub(super) type Key<Req> = Arc<dyn Fn(&Req) -> Option<MessageId> + Send + Sync>;

/// What goes to a lane.
pub(super) type Sent<S, Req> =
    Envelope<LaneRequest<Req>, <S as Service<Req>>::Response, InnerError>;

/// A durable service. See [`DurableLayer`](crate::DurableLayer).
///
/// Cheap to clone. `poll_ready` reserves a place, which is given back when the service is dropped
/// before `call`; a clone has none. The request is handed over in `call`: a future that is never
/// polled loses nothing. The lanes end when the last clone is gone and everything is completed.
pub struct Durable<S: Service<Req>, Req> {
    lanes: Arc<[mpsc::Sender<Sent<S, Req>>]>,
    places: PollSemaphore,
    place: Option<OwnedSemaphorePermit>,
    key: Key<Req>,
    shared: Arc<Shared>,
}

impl<S: Service<Req>, Req> Durable<S, Req> {
    pub(super) fn new(
        lanes: Arc<[mpsc::Sender<Sent<S, Req>>]>,
        places: Arc<Semaphore>,
        key: Key<Req>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { lanes, places: PollSemaphore::new(places), place: None, key, shared }
    }

    /// The lane of a request: the same for the same id, in every process.
    fn lane(&self, id: MessageId) -> &mpsc::Sender<Sent<S, Req>> {
        let index = id.as_u128() % (self.lanes.len() as u128);
        &self.lanes[usize::try_from(index).unwrap_or(0)]
    }
}

impl<S, Req> Service<Req> for Durable<S, Req>
where
    S: Service<Req>,
    S::Response: Send + 'static,
{
    type Response = S::Response;
    type Error = CallError<InnerError>;
    type Future = ResponseFuture<S::Response, InnerError>;

    /// Reserves a place.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if let Some(reason) = self.shared.failure() {
            return Poll::Ready(Err(CallError::NotAccepted { reason }));
        }
        if self.place.is_none() {
            let Some(place) = ready!(self.places.poll_acquire(cx)) else {
                let reason = self.shared.refusal();
                return Poll::Ready(Err(CallError::NotAccepted { reason }));
            };
            self.place = Some(place);
        }
        Poll::Ready(Ok(()))
    }

    /// Puts the request into its lane.
    ///
    /// # Panics
    /// If `poll_ready` did not say that the service is ready, as tower allows.
    fn call(&mut self, request: Req) -> Self::Future {
        let Some(place) = self.place.take() else {
            panic!("`call` without `poll_ready`");
        };
        let (key, id) = self.shared.key((self.key)(&request));
        let (caller, answer) = oneshot::channel();
        let (acknowledge, receipt) = oneshot::channel();
        let request = LaneRequest { request, receipt: Some(receipt) };
        // The place is taken until there is an answer.
        let caller = Caller::Callback(Box::new(move |answer| {
            drop(place);
            drop(caller.send(answer));
        }));
        let shared = self.shared.clone();
        let lane = self.lane(id);
        match lane.try_send(Envelope::new(key, request, caller, Some(acknowledge), shared)) {
            Ok(()) => ResponseFuture::sent(id, answer, self.shared.clone(), lane.is_closed()),
            Err(TrySendError::Full(_)) => ResponseFuture::refused(Refusal::Full),
            Err(TrySendError::Closed(_)) => ResponseFuture::refused(self.shared.refusal()),
        }
    }
}

impl<S: Service<Req>, Req> Clone for Durable<S, Req> {
    /// The clone has no place reserved.
    fn clone(&self) -> Self {
        Self {
            lanes: self.lanes.clone(),
            places: self.places.clone(),
            place: None,
            key: self.key.clone(),
            shared: self.shared.clone(),
        }
    }
}

impl<S: Service<Req>, Req> std::fmt::Debug for Durable<S, Req> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Durable").field("lanes", &self.lanes.len()).finish_non_exhaustive()
    }
}
