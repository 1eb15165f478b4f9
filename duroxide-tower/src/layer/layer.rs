//! The layer.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_journal::mailbox::error_text;
use shared_journal::{ActorId, EventJournal, MessageId};
use tokio::sync::Semaphore;
use tower_layer::Layer;
use tower_service::Service;

use super::attendant::Route;
use super::backoff::Backoff;
use super::door::{Door, Life};
use super::finality::{FinalWhen, Finality, Responses};
use super::lane::Common;
use super::name::RouteName;
use super::route::Routes;
use super::service::{Durable, Key};
use super::start::{Starting, StartingLane};
use crate::error::{self, Refusal};
use crate::limits::{DEFAULT_BACKOFF, DEFAULT_CAPACITY, DEFAULT_LANES, MAX_BACKOFF, MAX_LANES};
use crate::shared::{Failure, Shared};

/// Makes a [`Service`] durable whose requests and responses are serde types.
///
/// - A request is in the journal before the inner service is called. If the process dies, the
///   request is completed when the layer is started again, whether or not anybody asks.
/// - The response is recorded, and released when it is durable. A repeated key gets the recorded
///   response for [`Limits::dedup_age`](shared_journal::Limits::dedup_age); after many others only that
///   there was one ([`Limits::dedup_count`](shared_journal::Limits::dedup_count)).
/// - An error of the inner service is no answer: the request is tried again, as after a panic or an
///   error of `poll_ready`, [`Limits::attempts`](shared_journal::Limits::attempts) times with
///   pauses between ([`backoff`](Self::backoff)). Then it is a dead letter of its lane
///   ([`actors`](Self::actors)). [`final_when`](Self::final_when) says which errors are answers, and
///   which responses are not.
/// - The caller of a request without a final outcome gets
///   [`NoFinalOutcome`](crate::CallError::NoFinalOutcome). A later request with its key takes the
///   dead letter and tries again, unless somebody has sent it again or discarded it meanwhile. One
///   that panicked stays a dead letter until somebody does: it may have ended processes.
/// - What the inner service does outside happens **at least once**: a request whose response was
///   not recorded when the process died is given to it again. The journal keeps no state for it.
///
/// Requests are spread by their key over [`lanes`](Self::lanes). A lane is a durable actor with a
/// clone of the inner service: it has one request in it at a time, in the order of durable receipt.
/// So requests with the same key never run beside each other. A lane that fails, because the
/// service panics as it is cloned or dropped, or the journal cannot read what waits there, tells its
/// callers at once, is started again after a pause, and does not hold up other lanes.
///
/// # Several services
///
/// After a restart, a request that was accepted is given to the service it was accepted for. So a
/// layer that is applied to more than one service, such as the routes of a router, needs a name for
/// each: [`for_route`](Self::for_route). Around a whole router it is applied once and needs none:
/// the router finds the way for a recovered request too. `Router::layer` of axum applies a layer to
/// each of its routes, and to its fallbacks, without telling which: that is refused, in the log and
/// with [`RouteTaken`](crate::error::Refusal::RouteTaken).
///
/// A route has its own lanes, keys, places and dead letters.
///
/// ```
/// use duroxide_tower::{CallError, DurableLayer, MessageId};
/// use serde::{Deserialize, Serialize};
/// use tower::{ServiceBuilder, ServiceExt, service_fn};
/// # use std::sync::Arc;
/// # use duroxide::providers::sqlite::SqliteProvider;
/// # use shared_journal::EventJournal;
///
/// #[derive(Serialize, Deserialize)]
/// struct PlaceOrder { key: String, item: String }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let journal = EventJournal::open(Arc::new(SqliteProvider::new_in_memory().await?)).await?;
/// let orders = ServiceBuilder::new()
///     .layer(DurableLayer::new(&journal, "orders", |order: &PlaceOrder| {
///         Some(MessageId::from_key(&order.key))
///     }))
///     .service(service_fn(|order: PlaceOrder| async move {
///         Ok::<_, std::io::Error>(format!("ordered {}", order.item))
///     }));
///
/// let order = PlaceOrder { key: "k1".into(), item: "tea".into() };
/// assert_eq!(orders.clone().oneshot(order).await?, "ordered tea");
/// let again = PlaceOrder { key: "k1".into(), item: "tea".into() };
/// assert_eq!(orders.clone().oneshot(again).await?, "ordered tea"); // once
/// let other = PlaceOrder { key: "k1".into(), item: "coffee".into() };
/// assert!(matches!(orders.oneshot(other).await, Err(CallError::IdReused { .. })));
/// # Ok(())
/// # }
/// ```
pub struct DurableLayer<Req, F = Responses> {
    journal: EventJournal,
    name: RouteName,
    key: Key<Req>,
    lanes: usize,
    capacity: usize,
    backoff: Backoff,
    finality: F,
    routes: Arc<Routes>,
}

impl<Req> DurableLayer<Req> {
    /// A layer with this name, which is the actor type of its lanes in the journal: unique, and
    /// never changed. It has 1 to 255 bytes; another one is refused when the lanes start.
    ///
    /// `key` takes the id from a request, for example with
    /// [`MessageId::from_key`](shared_journal::MessageId::from_key) from an `Idempotency-Key`. A
    /// request without one gets a new id, and its caller can repeat it only with the id in
    /// [`CallError::OutcomeUnknown`](crate::CallError::OutcomeUnknown), if `key` gives it back.
    pub fn new(
        journal: &EventJournal,
        name: impl AsRef<str>,
        key: impl Fn(&Req) -> Option<MessageId> + Send + Sync + 'static,
    ) -> Self {
        Self {
            journal: journal.clone(),
            name: RouteName { layer: name.as_ref().into(), route: error::Route::Unnamed },
            key: Arc::new(key),
            lanes: DEFAULT_LANES,
            capacity: DEFAULT_CAPACITY,
            backoff: Backoff { first: DEFAULT_BACKOFF, most: MAX_BACKOFF },
            finality: Responses,
            routes: Arc::default(),
        }
    }
}

impl<Req, F> DurableLayer<Req, F> {
    /// Which outcomes are final. By default every response is, and no error: in a stack of tower
    /// services an error says that there is no response, as when a connection was refused, and to
    /// record that for ever would undo what was accepted. An error that is a decision, such as
    /// "sold out", is declared to be an answer here; a response that is not, such as "503 Service
    /// Unavailable", not to be one.
    ///
    /// The text of a final error is recorded, and the key gets it again as
    /// [`InnerError`](crate::error::InnerError). An outcome that is not final is a failed attempt,
    /// as a panic is.
    ///
    /// ```
    /// # use duroxide_tower::{DurableLayer, EventJournal, MessageId};
    /// # fn layer(journal: &EventJournal) {
    /// #[derive(Debug, thiserror::Error)]
    /// enum ShopError {
    ///     #[error("sold out")]
    ///     SoldOut,
    ///     #[error("the stock cannot be reached")]
    ///     Unreachable(#[source] std::io::Error),
    /// }
    ///
    /// let orders = DurableLayer::new(journal, "orders", |key: &String| Some(MessageId::from_key(key)))
    ///     .final_when(|outcome: Result<&u64, &ShopError>| {
    ///         !matches!(outcome, Err(ShopError::Unreachable(_)))
    ///     });
    /// # }
    /// ```
    #[must_use]
    pub fn final_when<R, E>(
        self,
        is_final: impl Fn(Result<&R, &E>) -> bool + Send + Sync + 'static,
    ) -> DurableLayer<Req, FinalWhen<R, E>> {
        let Self { journal, name, key, lanes, capacity, backoff, finality: _, routes } = self;
        let finality = FinalWhen::new(is_final);
        DurableLayer { journal, name, key, lanes, capacity, backoff, finality, routes }
    }

    /// The same layer for another service, which has lanes, keys and places of its own. The name is
    /// a part of the lanes' names in the journal: unique within the layer, and never changed.
    ///
    /// ```
    /// # use duroxide_tower::{Durable, DurableLayer};
    /// # use tower::Layer;
    /// # type Shop = tower::util::BoxCloneService<String, String, std::io::Error>;
    /// # fn layer(durable: DurableLayer<String>, place: Shop, cancel: Shop) {
    /// let place = durable.for_route("place").layer(place);
    /// let cancel = durable.for_route("cancel").layer(cancel);
    /// # }
    /// ```
    #[must_use]
    pub fn for_route(&self, name: impl AsRef<str>) -> Self
    where
        F: Clone,
    {
        let mut layer = self.clone();
        layer.name.route = error::Route::Named(name.as_ref().into());
        layer
    }

    /// How many requests are in the inner service at a time: 1 to [`MAX_LANES`], by default
    /// [`DEFAULT_LANES`]. With one lane, all requests are handled in the order of their receipt.
    ///
    /// The number belongs to the layer's data. After a change, requests that wait in the old lanes
    /// are still completed, but responses recorded there are not found again: change it when no
    /// caller is about to repeat a request.
    #[must_use]
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.lanes = lanes.clamp(1, MAX_LANES);
        self
    }

    /// How many requests may be on their way at a time, from `call` to the durable response: at
    /// least 1, by default [`DEFAULT_CAPACITY`]. Beyond it, `poll_ready` is pending.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// The pause before a request is tried again, and how long it may become: it doubles with each
    /// attempt. By default [`DEFAULT_BACKOFF`] and [`MAX_BACKOFF`]. Only the request's lane waits.
    ///
    /// The runtime needs its timers.
    #[must_use]
    pub fn backoff(mut self, first: Duration, most: Duration) -> Self {
        self.backoff = Backoff { first, most };
        self
    }

    /// The names of its lanes in the journal, for their dead letters and histories.
    pub fn actors(&self) -> impl Iterator<Item = ActorId> + '_ {
        (0..self.lanes).map(|index| self.name.lane(index, self.lanes))
    }

    /// Waits until the services that this layer and its clones made, for all routes, are gone with
    /// all of their clones, and everything that they accepted is completed. Then the journal can
    /// be closed. Cancel-safe.
    ///
    /// Requests that are tried again, and those of a lane that cannot start, are not waited for
    /// longer than their attempts; what is left is completed at the next start.
    pub async fn ended(&self) {
        self.routes.ended().await;
    }

    /// Makes `service` durable, as [`layer`](Layer::layer) does, and returns when every lane is
    /// recovered from the journal. Waiting requests are completed from then on.
    ///
    /// Dropping the future starts nothing. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// [`Refusal::RouteTaken`] if another service has the route. [`Refusal::Failed`] if a lane runs
    /// already (another layer has this name), what the journal holds does not decode, or the journal
    /// has stopped. Then no lane runs.
    pub async fn start<S>(&self, service: S) -> Result<Durable<S, Req>, Refusal>
    where
        S: Service<Req> + Clone + Send + 'static,
        S::Response: Serialize + DeserializeOwned + Send + 'static,
        S::Error: Display + 'static,
        S::Future: Send,
        Req: Serialize + DeserializeOwned + Send + 'static,
        F: Finality<S::Response, S::Error> + Clone,
    {
        let (durable, starting) = self.prepare(service);
        starting?.all().await?;
        Ok(durable)
    }

    /// The service, and its lanes, unless another service has the route.
    fn prepare<S>(&self, original: S) -> (Durable<S, Req>, Result<Starting<S, Req>, Failure>)
    where
        S: Service<Req> + Clone + Send + 'static,
        S::Response: Serialize + DeserializeOwned + Send + 'static,
        S::Error: Display + 'static,
        S::Future: Send,
        Req: Serialize + DeserializeOwned + Send + 'static,
        F: Finality<S::Response, S::Error> + Clone,
    {
        let (shared, places) = (Shared::new(), Arc::new(Semaphore::new(self.capacity)));
        let key = self.key.clone();
        let taken = match self.routes.take(&self.name) {
            Ok(taken) => taken,
            Err(failure) => {
                shared.fail_with(failure.clone());
                return (Durable::new(Arc::new([]), places, key, shared, None), Err(failure));
            }
        };
        let (mut doors, mut lanes) = (Vec::new(), Vec::new());
        for actor in self.actors() {
            // A request has a place in the layer before it is given to a lane, so a lane's channel
            // that holds as many is never full.
            let (life, receiver) = Life::new(self.capacity);
            let shared = life.shared.clone();
            let door = Arc::new(Door::new(actor.clone(), self.journal.clone(), life));
            lanes.push(StartingLane { actor, door: Arc::downgrade(&door), receiver, shared });
            doors.push(door);
        }
        let starting = Starting {
            claim: taken.alive.claim.clone(),
            original,
            common: Common {
                journal: self.journal.clone(),
                finality: Arc::new(self.finality.clone()),
                backoff: self.backoff,
            },
            lanes,
            capacity: self.capacity,
            route: Route { shared: shared.clone(), places: places.clone(), gone: taken.gone },
            routes: self.routes.clone(),
            tasks: taken.tasks,
            before: taken.before,
        };
        let durable = Durable::new(doors.into(), places, key, shared, Some(taken.alive));
        (durable, Ok(starting))
    }
}

impl<S, Req, F> Layer<S> for DurableLayer<Req, F>
where
    S: Service<Req> + Clone + Send + 'static,
    S::Response: Serialize + DeserializeOwned + Send + 'static,
    S::Error: Display + 'static,
    S::Future: Send,
    Req: Serialize + DeserializeOwned + Send + 'static,
    F: Finality<S::Response, S::Error> + Clone,
{
    type Service = Durable<S, Req>;

    /// Makes a service durable, and starts its lanes in a task. Requests can be sent at once; if
    /// the lanes cannot start, they are answered with
    /// [`NotAccepted`](crate::CallError::NotAccepted) and the reason. A lane that cannot start while
    /// others can is tried again.
    ///
    /// To be applied once for each route: a second service under the same name is refused, in the
    /// log and with [`RouteTaken`](crate::error::Refusal::RouteTaken), while the first exists; and so
    /// is the first, if its lanes have not started by then. Clone the service instead, or see
    /// [`for_route`](Self::for_route).
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    fn layer(&self, service: S) -> Durable<S, Req> {
        let (durable, starting) = self.prepare(service);
        match starting {
            Ok(starting) => drop(starting.tasks.clone().spawn(starting.some())),
            Err(failure) => {
                let error = error_text(&Refusal::from(failure));
                tracing::error!(error, "a durable layer was applied twice");
            }
        }
        durable
    }
}

impl<Req, F: Clone> Clone for DurableLayer<Req, F> {
    fn clone(&self) -> Self {
        Self {
            journal: self.journal.clone(),
            name: self.name.clone(),
            key: self.key.clone(),
            lanes: self.lanes,
            capacity: self.capacity,
            backoff: self.backoff,
            finality: self.finality.clone(),
            routes: self.routes.clone(),
        }
    }
}

impl<Req, F> std::fmt::Debug for DurableLayer<Req, F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DurableLayer")
            .field("name", &self.name)
            .field("lanes", &self.lanes)
            .field("capacity", &self.capacity)
            .field("backoff", &self.backoff)
            .finish_non_exhaustive()
    }
}
