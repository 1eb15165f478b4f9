//! A request on its way to the inner service.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::de::DeserializeOwned;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shared_journal::{DurableMessage, JournalError, Sequence};
use tokio::sync::oneshot;

/// Resolved when a request's receipt is durable.
pub(super) type Receipt = oneshot::Receiver<Result<(), Arc<JournalError>>>;

/// What a lane receives.
#[derive(Serialize, Deserialize)]
#[serde(transparent, bound = "Req: Serialize + DeserializeOwned")]
pub(super) struct LaneRequest<Req> {
    pub(super) request: Slot<Req>,
    /// None for a request that comes from the journal: its receipt is durable.
    #[serde(skip)]
    pub(super) receipt: Option<Receipt>,
    /// The dead letter that this request is, once more.
    #[serde(skip)]
    pub(super) letter: Option<Sequence>,
}

impl<Req: Serialize + DeserializeOwned> DurableMessage for LaneRequest<Req> {
    const NAME: &'static str = "request";
}

/// A request that its caller shares with the lane until one of them takes it: a request that is
/// still there when its answer comes has not been given to the inner service.
pub(super) struct Slot<Req>(Arc<Mutex<Option<Req>>>);

impl<Req> Slot<Req> {
    pub(super) fn new(request: Req) -> Self {
        Self(Arc::new(Mutex::new(Some(request))))
    }

    pub(super) fn take(&self) -> Option<Req> {
        self.lock().take()
    }

    pub(super) fn is_taken(&self) -> bool {
        self.lock().is_none()
    }

    /// A panic of the request's `Serialize` leaves the request as it is.
    fn lock(&self) -> MutexGuard<'_, Option<Req>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Req> Clone for Slot<Req> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<Req: Serialize> Serialize for Slot<Req> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &*self.lock() {
            Some(request) => request.serialize(serializer),
            None => Err(S::Error::custom("the request was taken already")),
        }
    }
}

impl<'de, Req: Deserialize<'de>> Deserialize<'de> for Slot<Req> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Req::deserialize(deserializer).map(Self::new)
    }
}
