//! The service that a [`DurableLayer`](crate::DurableLayer) makes.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_journal::MessageId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::PollSemaphore;
use tower_service::Service;

use super::call::call;
use super::door::Door;
use super::lane::Inner;
use super::route::Alive;
use crate::error::{CallError, InnerError};
use crate::future::ResponseFuture;
use crate::shared::Shared;

pub(super) type Key<Req> = Arc<dyn Fn(&Req) -> Option<MessageId> + Send + Sync>;

/// A durable service. See [`DurableLayer`](crate::DurableLayer).
///
/// Cheap to clone. `poll_ready` reserves a place, which is given back when the service is dropped
/// before `call`; a clone has none. The request is handed over in `call`: a future that is never
/// polled loses nothing. The lanes end when the last clone is gone and everything is completed.
pub struct Durable<S: Service<Req>, Req> {
    doors: Arc<[Arc<Door<S, Req>>]>,
    places: PollSemaphore,
    place: Option<OwnedSemaphorePermit>,
    key: Key<Req>,
    /// Of all lanes: set if none of them takes anything more.
    shared: Arc<Shared>,
    /// The route is taken as long as there are clones. None if another service has it.
    alive: Option<Arc<Alive>>,
}

impl<S: Service<Req>, Req> Durable<S, Req> {
    pub(super) fn new(
        doors: Arc<[Arc<Door<S, Req>>]>,
        places: Arc<Semaphore>,
        key: Key<Req>,
        shared: Arc<Shared>,
        alive: Option<Arc<Alive>>,
    ) -> Self {
        Self { doors, places: PollSemaphore::new(places), place: None, key, shared, alive }
    }

    /// The lane of a request: the same for the same id, in every process.
    fn door(&self, id: MessageId) -> &Arc<Door<S, Req>> {
        let index = id.as_u128() % (self.doors.len() as u128);
        &self.doors[usize::try_from(index).unwrap_or(0)]
    }
}

impl<S, Req> Service<Req> for Durable<S, Req>
where
    S: Inner<Req>,
    Req: Serialize + DeserializeOwned + Send + 'static,
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
    /// If `poll_ready` did not say that the service is ready, as tower allows; and if the layer's
    /// `key` panics: then the request is dropped, and its place given back.
    fn call(&mut self, request: Req) -> Self::Future {
        let Some(place) = self.place.take() else {
            panic!("`call` without `poll_ready`");
        };
        if let Some(reason) = self.shared.failure() {
            return ResponseFuture::refused(reason);
        }
        let (key, id) = self.shared.key_to_keep((self.key)(&request));
        call(self.door(id), key, id, request, place)
    }
}

impl<S: Service<Req>, Req> Clone for Durable<S, Req> {
    /// The clone has no place reserved.
    fn clone(&self) -> Self {
        Self {
            doors: self.doors.clone(),
            places: self.places.clone(),
            place: None,
            key: self.key.clone(),
            shared: self.shared.clone(),
            alive: self.alive.clone(),
        }
    }
}

impl<S: Service<Req>, Req> std::fmt::Debug for Durable<S, Req> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Durable")
            .field("route", &self.alive.as_ref().map(|alive| &alive.claim.name.route))
            .field("lanes", &self.doors.len())
            .finish_non_exhaustive()
    }
}
