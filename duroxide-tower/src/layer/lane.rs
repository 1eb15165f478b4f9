//! A lane: the durable actor that owns one clone of the inner service.

use std::fmt::Display;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::panic::resume_unwind;
use std::sync::Arc;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shared_journal::{ActorId, DurableMessage, DurableState, JournalError};
use tokio::sync::oneshot;
use tower_service::Service;

use crate::actor::{ActorContext, DurableActor};
use crate::error::InnerError;

/// Resolved when a request's receipt is durable.
pub(super) type Receipt = oneshot::Receiver<Result<(), Arc<JournalError>>>;

/// A request on its way to the inner service.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct LaneRequest<Req> {
    pub(super) request: Req,
    /// None for a request that comes from the journal: its receipt is durable.
    #[serde(skip)]
    pub(super) receipt: Option<Receipt>,
}

impl<Req: Serialize + DeserializeOwned> DurableMessage for LaneRequest<Req> {
    const NAME: &'static str = "request";
}

pub(super) struct Lane<S, Req> {
    service: S,
    requests: PhantomData<fn(Req)>,
}

impl<S, Req> Lane<S, Req> {
    pub(super) fn new(service: S) -> Self {
        Self { service, requests: PhantomData }
    }
}

/// The name of lane `index` of `lanes`. Another number of lanes makes other actors, so that a
/// request is never looked for in the wrong lane.
pub(super) fn lane_name(layer: &str, index: usize, lanes: usize) -> ActorId {
    ActorId::new(layer, format!("lane-{index}-of-{lanes}"))
}

/// Whether this is a lane of the layer, as it is or was configured.
pub(super) fn is_lane(layer: &str, actor: &ActorId) -> bool {
    let numbers = actor.id().strip_prefix("lane-").and_then(|rest| rest.split_once("-of-"));
    actor.actor_type() == layer
        && numbers.is_some_and(|(index, lanes)| {
            index.parse::<usize>().is_ok() && lanes.parse::<usize>().is_ok()
        })
}

/// The inner service keeps its state elsewhere, if it has any.
impl<S, Req> DurableState for Lane<S, Req> {
    /// Not used: a lane is named after its layer.
    const ACTOR_TYPE: &'static str = "lane";
    type State = ();

    fn snapshot(&self) -> impl Serialize {}

    fn restore(&mut self, (): ()) {}
}

#[async_trait]
impl<S, Req> DurableActor for Lane<S, Req>
where
    S: Service<Req> + Send + 'static,
    S::Response: Serialize + DeserializeOwned + Send + 'static,
    S::Error: Display,
    S::Future: Send,
    Req: Serialize + DeserializeOwned + Send + 'static,
{
    type Message = LaneRequest<Req>;
    type Reply = S::Response;
    type Error = InnerError;

    async fn handle(
        &mut self,
        _: &mut ActorContext,
        message: LaneRequest<Req>,
    ) -> Result<S::Response, InnerError> {
        let LaneRequest { request, receipt } = message;
        if let Some(receipt) = receipt
            && !matches!(receipt.await, Ok(Ok(())))
        {
            // Nobody sees this: the journal that would record it has stopped.
            return Err(inner_error(&"the receipt is not durable"));
        }
        if let Err(error) = poll_fn(|cx| self.service.poll_ready(cx)).await {
            // It is no answer to this request: handled as a panic, the request is tried again and
            // then kept. Without the panic hook, because nothing panicked.
            let text = format!("the inner service is not ready: {error}");
            resume_unwind(Box::new(text));
        }
        let response = self.service.call(request).await;
        response.map_err(|error| inner_error(&error))
    }
}

fn inner_error(error: &dyn Display) -> InnerError {
    InnerError { message: error.to_string() }
}
