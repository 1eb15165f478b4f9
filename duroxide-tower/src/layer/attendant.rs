//! Who runs a lane, and starts it again.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures::FutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_journal::mailbox::{caught, error_text};
use shared_journal::{ActorId, JournalError};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tower_service::Service;

use super::backoff::Backoff;
use super::door::{Door, Life, Sent};
use super::lane::{Common, Inner, Lane};
use crate::error::Refusal;
use crate::service::{DurableActorService, Recovered};
use crate::shared::{Failure, Shared};

/// Before a lane that failed is started again.
const RESTART: Backoff =
    Backoff { first: Duration::from_millis(100), most: Duration::from_secs(10) };

/// What the lanes of a service share with its callers.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) shared: Arc<Shared>,
    pub(super) places: Arc<Semaphore>,
    /// Nobody has the service any more.
    pub(super) gone: CancellationToken,
}

impl Route {
    /// Nothing more is accepted; those that wait for a place learn why.
    pub(super) fn fail(&self, lane: &ActorId, failure: Failure) {
        if self.shared.failure().is_none() {
            let error = error_text(&Refusal::from(failure.clone()));
            tracing::error!(%lane, error, "a durable layer has ended");
        }
        self.shared.fail_with(failure);
        self.places.close();
    }
}

pub(super) struct Attendant<S: Service<Req>, Req> {
    pub(super) actor: ActorId,
    /// Of a lane of an earlier number there is none: it has no callers.
    pub(super) door: Weak<Door<S, Req>>,
    pub(super) receiver: mpsc::Receiver<Sent<S, Req>>,
    /// Of the life that this receiver belongs to.
    pub(super) shared: Arc<Shared>,
    pub(super) capacity: usize,
    /// Cloned for each life; not `Sync`, so behind a lock.
    pub(super) original: Arc<Mutex<S>>,
    pub(super) common: Common<S, Req>,
    pub(super) done: Arc<AtomicU64>,
    pub(super) route: Route,
}

impl<S, Req> Attendant<S, Req>
where
    S: Inner<Req>,
    Req: Serialize + DeserializeOwned + Send + 'static,
{
    /// Gets the lane from the journal.
    pub(super) async fn recover(&mut self) -> Result<Recovered<Lane<S, Req>>, Failure> {
        let cloning = AssertUnwindSafe(|| {
            let original = self.original.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Lane::new(original, self.common.clone(), self.done.clone())
        });
        let panicked = |panic: Box<dyn Any + Send>| self.panicked(&caught(panic));
        let lane = catch_unwind(cloning).map_err(panicked)?;
        let (journal, actor) = (self.common.journal.clone(), self.actor.clone());
        // The request's `Deserialize` is the user's, too.
        let recovering = AssertUnwindSafe(async move {
            let letters = journal.dead_letters(&actor).await?;
            Recovered::from_journal(&journal, &actor, lane.with_letters(&letters)).await
        });
        match recovering.catch_unwind().await {
            Ok(recovered) => recovered.map_err(|error| Failure::Journal(Arc::new(error))),
            Err(panic) => Err(self.panicked(&caught(panic))),
        }
    }

    /// Runs the lane until nobody has the service and all is done, or the journal has stopped.
    /// Starts it again after any other end.
    pub(super) async fn attend(mut self, first: Result<Recovered<Lane<S, Req>>, Failure>) {
        let (mut recovered, mut failed) = (first, 0_u32);
        loop {
            let done = self.done.load(Ordering::Relaxed);
            let failure = match recovered {
                Ok(recovered) => match self.run(recovered).await {
                    Ok(()) => return,
                    Err(failure) => failure,
                },
                Err(failure) => failure,
            };
            self.close(&failure);
            if self.common.journal.stopped().is_some() {
                return self.route.fail(&self.actor, failure);
            }
            // One that does some work between its failures is not held up for long.
            failed = if self.done.load(Ordering::Relaxed) == done { failed + 1 } else { 1 };
            let error = error_text(&Refusal::from(failure));
            tracing::error!(
                lane = %self.actor,
                failed,
                error,
                "a lane of a durable layer has failed; it is started again after a pause"
            );
            tokio::select! {
                () = RESTART.pause(failed) => {}
                // What waits in the journal waits for the next start of the layer.
                () = self.route.gone.cancelled() => return,
            }
            recovered = self.recover().await;
            if recovered.is_ok() {
                self.open();
            }
        }
    }

    async fn run(&mut self, recovered: Recovered<Lane<S, Req>>) -> Result<(), Failure> {
        let receiver = std::mem::replace(&mut self.receiver, mpsc::channel(1).1);
        let service = DurableActorService::assemble(recovered, receiver, self.shared.clone())
            // Its letters are of the journal as it was.
            .end_with_journal();
        match AssertUnwindSafe(service.run()).catch_unwind().await {
            Ok(ended) => ended.map_err(Failure::Journal),
            Err(panic) => Err(self.panicked(&caught(panic))),
        }
    }

    fn panicked(&self, text: &str) -> Failure {
        Failure::Panicked { actor: self.actor.clone(), panic: text.into() }
    }

    /// Callers learn at once why the lane takes nothing.
    fn close(&mut self, failure: &Failure) {
        self.shared.fail_with(failure.clone());
        self.open();
        self.shared.fail_with(failure.clone());
        self.receiver = mpsc::channel(1).1;
    }

    /// A new life, with a channel of its own.
    fn open(&mut self) {
        let (life, receiver) = Life::new(self.capacity);
        self.shared = life.shared.clone();
        self.receiver = receiver;
        if let Some(door) = self.door.upgrade() {
            door.replace(life);
        }
    }
}

/// Whether starting the lane again cannot help, as long as the program is what it is.
pub(super) fn is_permanent(failure: &Failure) -> bool {
    match failure {
        Failure::Journal(error) => matches!(
            **error,
            JournalError::AlreadyActive { .. } | JournalError::InvalidActorId { .. }
        ),
        Failure::Panicked { .. } => false,
        Failure::RouteTaken { .. } => true,
    }
}
