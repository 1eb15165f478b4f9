//! The way into a lane, for its callers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shared_journal::{ActorId, EventJournal, MessageId, MessageKey, Sequence};
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;
use tower_service::Service;

use super::request::{LaneRequest, Slot};
use crate::error::{InnerError, Refusal};
use crate::message::{Answer, Caller, Envelope};
use crate::shared::Shared;

/// What goes to a lane.
pub(super) type Sent<S, Req> =
    Envelope<LaneRequest<Req>, <S as Service<Req>>::Response, InnerError>;

/// What a lane answers.
pub(super) type Answered<S, Req> = Answer<<S as Service<Req>>::Response, InnerError>;

/// The callers' side of a lane. It stays when the lane is started again.
pub(super) struct Door<S: Service<Req>, Req> {
    pub(super) actor: ActorId,
    pub(super) journal: EventJournal,
    /// For what is done when an answer comes, which may be on a thread of the journal.
    pub(super) runtime: Handle,
    /// One at a time decides whether a dead letter is sent again.
    pub(super) again: tokio::sync::Mutex<()>,
    life: Mutex<Life<S, Req>>,
    /// Keys that are on their way, and the id that their requests have in the journal.
    underway: Mutex<HashMap<MessageId, MessageId>>,
}

/// One life of the lane.
pub(super) struct Life<S: Service<Req>, Req> {
    sender: mpsc::Sender<Sent<S, Req>>,
    pub(super) shared: Arc<Shared>,
}

/// What became of a request that was put into a lane.
pub(super) struct Entered {
    pub(super) shared: Arc<Shared>,
    /// Why it was not taken, or whether the lane ended in this moment.
    pub(super) outcome: Result<bool, Refusal>,
}

impl<S: Service<Req>, Req> Life<S, Req> {
    pub(super) fn new(capacity: usize) -> (Self, mpsc::Receiver<Sent<S, Req>>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Self { sender, shared: Shared::new() }, receiver)
    }
}

impl<S: Service<Req>, Req> Door<S, Req> {
    pub(super) fn new(actor: ActorId, journal: EventJournal, life: Life<S, Req>) -> Self {
        Self {
            actor,
            journal,
            runtime: Handle::current(),
            again: tokio::sync::Mutex::default(),
            life: Mutex::new(life),
            underway: Mutex::default(),
        }
    }

    /// The lane is started again, or has ended for good if nobody receives. What is left in the
    /// channel of the life before is refused.
    pub(super) fn replace(&self, life: Life<S, Req>) {
        let before = std::mem::replace(&mut *lock(&self.life), life);
        drop(before);
    }

    /// Puts a request into the lane; `done` is called once with its answer.
    pub(super) fn enter(
        &self,
        key: MessageKey,
        request: Slot<Req>,
        letter: Option<Sequence>,
        done: impl FnOnce(Answered<S, Req>) + Send + 'static,
    ) -> Entered {
        let (sender, shared) = {
            let life = lock(&self.life);
            (life.sender.clone(), life.shared.clone())
        };
        let (acknowledge, receipt) = oneshot::channel();
        let request = LaneRequest { request, receipt: Some(receipt), letter };
        let caller = Caller::Callback(Box::new(done));
        let sent = Envelope::new(key, request, caller, Some(acknowledge), shared.clone());
        let outcome = match sender.try_send(sent) {
            Ok(()) => Ok(sender.is_closed()),
            Err(TrySendError::Full(_)) => Err(Refusal::Full),
            Err(TrySendError::Closed(_)) => Err(shared.refusal()),
        };
        Entered { shared, outcome }
    }

    /// Notes that a request with this key is on its way. None if another one is; then also the id
    /// that this one has in the journal.
    pub(super) fn begin(self: &Arc<Self>, key: MessageId) -> Result<Underway<S, Req>, MessageId> {
        match lock(&self.underway).entry(key) {
            std::collections::hash_map::Entry::Occupied(other) => Err(*other.get()),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(key);
                Ok(Underway { door: self.clone(), key })
            }
        }
    }
}

/// A key is on its way; ends when it is dropped.
pub(super) struct Underway<S: Service<Req>, Req> {
    door: Arc<Door<S, Req>>,
    key: MessageId,
}

impl<S: Service<Req>, Req> Underway<S, Req> {
    /// Requests with this key have another id in the journal from now on.
    pub(super) fn becomes(&self, id: MessageId) {
        lock(&self.door.underway).insert(self.key, id);
    }
}

impl<S: Service<Req>, Req> Drop for Underway<S, Req> {
    fn drop(&mut self) {
        lock(&self.door.underway).remove(&self.key);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
