//! The layer, and how its lanes are started.

use std::fmt::Display;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_journal::{ActorId, EventJournal, JournalError, MessageId};
use tokio::sync::{Semaphore, mpsc};
use tower_layer::Layer;
use tower_service::Service;

use super::lane::{Lane, is_lane, lane_name};
use super::service::{Durable, Key, Sent};
use crate::limits::{DEFAULT_CAPACITY, DEFAULT_LANES};
use crate::service::{DurableActorService, Recovered};
use crate::shared::Shared;

/// Makes a [`Service`] durable whose requests and responses are serde types.
///
/// - A request is in the journal before the inner service is called. If the process dies, the
///   request is completed when the layer is started again, whether or not anybody asks.
/// - The response is recorded, and released when it is durable. A repeated key gets the recorded
///   response, within the dedup window ([`Limits::dedup_count`](shared_journal::Limits::dedup_count)
///   for each lane).
/// - An error of the inner service is an outcome too: its text is recorded, and the key gets it
///   again as [`InnerError`](crate::error::InnerError). Errors that should be tried again are tried
///   again *inside* this layer (tower's `Retry`).
/// - A panic of the inner service, and an error of its `poll_ready`, are tried again
///   [`Limits::attempts`](shared_journal::Limits::attempts) times; then the request is a dead letter
///   of its lane ([`actors`](Self::actors)).
/// - What the inner service does outside happens **at least once**: a request whose response was
///   not recorded when the process died is given to it again. The journal keeps no state for it.
///
/// Requests are spread by their key over [`lanes`](Self::lanes). A lane is a durable actor with a
/// clone of the inner service: it has one request in it at a time, in the order of durable receipt.
/// So requests with the same key never run beside each other.
///
/// ```
/// use duroxide_tower::{DurableLayer, MessageId};
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
/// let again = PlaceOrder { key: "k1".into(), item: "coffee".into() };
/// assert_eq!(orders.oneshot(again).await?, "ordered tea");
/// # Ok(())
/// # }
/// ```
pub struct DurableLayer<Req> {
    journal: EventJournal,
    name: Arc<str>,
    key: Key<Req>,
    lanes: usize,
    capacity: usize,
}

impl<Req> DurableLayer<Req> {
    /// A layer with this name, which is the actor type of its lanes in the journal: unique, and
    /// never changed.
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
            name: name.as_ref().into(),
            key: Arc::new(key),
            lanes: DEFAULT_LANES,
            capacity: DEFAULT_CAPACITY,
        }
    }

    /// How many requests are in the inner service at a time: at least 1, by default
    /// [`DEFAULT_LANES`]. With one lane, all requests are handled in the order of their receipt.
    ///
    /// The number belongs to the layer's data. After a change, requests that wait in the old lanes
    /// are still completed, but responses recorded there are not found again: change it when no
    /// caller is about to repeat a request.
    #[must_use]
    pub fn lanes(mut self, lanes: usize) -> Self {
        self.lanes = lanes.max(1);
        self
    }

    /// How many requests may be on their way at a time, from `call` to the durable response: at
    /// least 1, by default [`DEFAULT_CAPACITY`]. Beyond it, `poll_ready` is pending.
    #[must_use]
    pub fn capacity(mut self, capacity: usize) -> Self {
        self.capacity = capacity.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// The names of its lanes in the journal, for their dead letters and histories.
    pub fn actors(&self) -> impl Iterator<Item = ActorId> + '_ {
        (0..self.lanes).map(|index| lane_name(&self.name, index, self.lanes))
    }

    /// Makes `service` durable, as [`layer`](Layer::layer) does, and returns when every lane is
    /// recovered from the journal. Waiting requests are completed from then on.
    ///
    /// Dropping the future starts nothing. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// As [`DurableActorService::new`]: a lane runs already (the layer was applied twice), what
    /// the journal holds does not decode, or the journal has stopped.
    pub async fn start<S>(&self, service: S) -> Result<Durable<S, Req>, Arc<JournalError>>
    where
        S: Service<Req> + Clone + Send + 'static,
        S::Response: Serialize + DeserializeOwned + Send + 'static,
        S::Error: Display,
        S::Future: Send,
        Req: Serialize + DeserializeOwned + Send + 'static,
    {
        let (durable, starting) = self.prepare(service);
        starting.open().await?.spawn();
        Ok(durable)
    }

    fn prepare<S: Service<Req>>(&self, service: S) -> (Durable<S, Req>, Starting<S, Req>) {
        // A request has a place in the layer before it is given to a lane, so a lane's channel
        // that holds as many is never full.
        let (senders, receivers) =
            (0..self.lanes).map(|_| mpsc::channel(self.capacity)).unzip::<_, _, Vec<_>, Vec<_>>();
        let places = Arc::new(Semaphore::new(self.capacity));
        let shared = Shared::new();
        let durable =
            Durable::new(senders.into(), places.clone(), self.key.clone(), shared.clone());
        let starting = Starting { layer: self.clone(), service, receivers, places, shared };
        (durable, starting)
    }
}

impl<S, Req> Layer<S> for DurableLayer<Req>
where
    S: Service<Req> + Clone + Send + 'static,
    S::Response: Serialize + DeserializeOwned + Send + 'static,
    S::Error: Display,
    S::Future: Send,
    Req: Serialize + DeserializeOwned + Send + 'static,
{
    type Service = Durable<S, Req>;

    /// Makes a service durable, and starts its lanes in a task. Requests can be sent at once; if
    /// the lanes cannot start, they are answered with
    /// [`NotAccepted`](crate::CallError::NotAccepted) and the reason.
    ///
    /// To be applied once: a second time finds the lanes running, and its requests are answered
    /// with that. Clone the service instead.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    fn layer(&self, service: S) -> Durable<S, Req> {
        let (durable, starting) = self.prepare(service);
        tokio::spawn(async move {
            let (shared, places) = (starting.shared.clone(), starting.places.clone());
            match starting.open().await {
                Ok(opened) => opened.spawn(),
                Err(error) => fail(&shared, &places, error),
            }
        });
        durable
    }
}

/// A layer whose lanes are not started.
struct Starting<S: Service<Req>, Req> {
    layer: DurableLayer<Req>,
    service: S,
    receivers: Vec<mpsc::Receiver<Sent<S, Req>>>,
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
}

impl<S, Req> Starting<S, Req>
where
    S: Service<Req> + Clone + Send + 'static,
    S::Response: Serialize + DeserializeOwned + Send + 'static,
    S::Error: Display,
    S::Future: Send,
    Req: Serialize + DeserializeOwned + Send + 'static,
{
    async fn open(self) -> Result<Opened<S, Req>, Arc<JournalError>> {
        let Self { layer, service, receivers, places, shared } = self;
        let names: Vec<_> = layer.actors().collect();
        let mut services = Vec::with_capacity(names.len());
        let waiting = match layer.journal.pending().await {
            Ok(waiting) => waiting,
            Err(error) => return Err(shared.fail(Arc::new(error))),
        };
        // Lanes of an earlier number, with requests that were accepted.
        let former = waiting
            .into_iter()
            .filter(|actor| is_lane(&layer.name, actor) && !names.contains(actor))
            .map(|actor| (actor, mpsc::channel(1).1));
        let lanes: Vec<_> = names.iter().cloned().zip(receivers).chain(former).collect();
        for (name, receiver) in lanes {
            let lane = Lane::new(service.clone());
            let recovered = match Recovered::from_journal(&layer.journal, &name, lane).await {
                Ok(recovered) => recovered,
                // Before the receivers are dropped: whoever finds them closed looks here.
                Err(error) => return Err(shared.fail(Arc::new(error))),
            };
            let service = DurableActorService::assemble(recovered, receiver, shared.clone());
            services.push(service);
        }
        Ok(Opened { services, places, shared })
    }
}

type LaneService<S, Req> = DurableActorService<Lane<S, Req>, Sent<S, Req>>;

struct Opened<S, Req>
where
    S: Service<Req> + Send + 'static,
    S::Response: Serialize + DeserializeOwned + Send + 'static,
    S::Error: Display,
    S::Future: Send,
    Req: Serialize + DeserializeOwned + Send + 'static,
{
    services: Vec<LaneService<S, Req>>,
    places: Arc<Semaphore>,
    shared: Arc<Shared>,
}

impl<S, Req> Opened<S, Req>
where
    S: Service<Req> + Send + 'static,
    S::Response: Serialize + DeserializeOwned + Send + 'static,
    S::Error: Display,
    S::Future: Send,
    Req: Serialize + DeserializeOwned + Send + 'static,
{
    fn spawn(self) {
        for service in self.services {
            let (shared, places) = (self.shared.clone(), self.places.clone());
            tokio::spawn(async move {
                if let Err(error) = service.run().await {
                    fail(&shared, &places, error);
                }
            });
        }
    }
}

/// Nothing more is accepted; whoever waits for a place learns why.
fn fail(shared: &Shared, places: &Semaphore, error: Arc<JournalError>) {
    let error = shared.fail(error);
    tracing::error!(%error, "a durable layer has ended");
    places.close();
}

impl<Req> Clone for DurableLayer<Req> {
    fn clone(&self) -> Self {
        Self {
            journal: self.journal.clone(),
            name: self.name.clone(),
            key: self.key.clone(),
            lanes: self.lanes,
            capacity: self.capacity,
        }
    }
}

impl<Req> std::fmt::Debug for DurableLayer<Req> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DurableLayer")
            .field("name", &self.name)
            .field("lanes", &self.lanes)
            .field("capacity", &self.capacity)
            .finish_non_exhaustive()
    }
}
