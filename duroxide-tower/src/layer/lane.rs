//! A lane: the durable actor that owns one clone of the inner service.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::poll_fn;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_journal::mailbox::panic_text;
use shared_journal::{DeadLetter, DurableState, EventJournal, JournalError, MessageId, Sequence};
use tower_service::Service;

use super::backoff::Backoff;
use super::finality::Finality;
use super::request::LaneRequest;
use crate::actor::{ActorContext, DurableActor};
use crate::error::InnerError;

/// What can be inside of a layer.
pub(super) trait Inner<Req>:
    Service<
        Req,
        Response: Serialize + DeserializeOwned + Send + 'static,
        Error: Display + 'static,
        Future: Send,
    > + Clone
    + Send
    + 'static
{
}

impl<S, Req> Inner<Req> for S
where
    S: Service<Req> + Clone + Send + 'static,
    S::Response: Serialize + DeserializeOwned + Send + 'static,
    S::Error: Display + 'static,
    S::Future: Send,
{
}

/// The text of a dead letter begins with this if the inner service answered and the answer was not
/// final, and not if it panicked. It is stored: never changed.
const NOT_FINAL: &str = "no final outcome: ";

/// What was not final, if that is what a dead letter died of.
pub(super) fn not_final(error: &str) -> Option<&str> {
    error.strip_prefix(NOT_FINAL)
}

/// The id under which a request is tried again whose last one this was. The same in every process;
/// the zero byte keeps it apart from keys of headers and forms.
pub(super) fn id_after(id: MessageId) -> MessageId {
    MessageId::from_key(&format!("\0after {id}"))
}

/// What the lanes of a service have in common.
pub(super) struct Common<S: Service<Req>, Req> {
    pub(super) journal: EventJournal,
    pub(super) finality: Arc<dyn Finality<S::Response, S::Error>>,
    pub(super) backoff: Backoff,
}

impl<S: Service<Req>, Req> Clone for Common<S, Req> {
    fn clone(&self) -> Self {
        Self {
            journal: self.journal.clone(),
            finality: self.finality.clone(),
            backoff: self.backoff,
        }
    }
}

pub(super) struct Lane<S: Service<Req>, Req> {
    /// Never called: the others are clones of it.
    original: S,
    service: S,
    common: Common<S, Req>,
    /// Requests that have an outcome, over all lives of the lane.
    done: Arc<AtomicU64>,
    /// The dead letters when the lane started, by the ids under which they are tried again.
    letters: HashMap<MessageId, Sequence>,
    requests: PhantomData<fn(Req)>,
}

impl<S: Inner<Req>, Req> Lane<S, Req> {
    pub(super) fn new(original: S, common: Common<S, Req>, done: Arc<AtomicU64>) -> Self {
        let service = original.clone();
        let letters = HashMap::new();
        Self { original, service, common, done, letters, requests: PhantomData }
    }

    /// The lane starts with these dead letters. One whose request is there under the next id is the
    /// same request: a process died before it could discard the letter.
    pub(super) fn with_letters(mut self, letters: &[DeadLetter]) -> Self {
        let next = |letter: &DeadLetter| Some((id_after(letter.id?), letter.sequence));
        self.letters = letters.iter().filter_map(next).collect();
        self
    }

    /// Gives the request to the service. The error says why its outcome is not final.
    async fn call(&mut self, request: Req) -> Result<Result<S::Response, InnerError>, String> {
        if let Err(error) = poll_fn(|cx| self.service.poll_ready(cx)).await {
            // Such a service is of no use any more, as tower says.
            self.service = self.original.clone();
            return Err(format!("the inner service is not ready: {error}"));
        }
        let outcome = self.service.call(request).await;
        match (self.common.finality.is_final(outcome.as_ref()), outcome) {
            (true, outcome) => Ok(outcome.map_err(|error| inner_error(&error))),
            (false, Ok(_)) => Err("the response is not final".to_owned()),
            (false, Err(error)) => Err(error.to_string()),
        }
    }
}

/// The inner service keeps its state elsewhere, if it has any.
impl<S: Service<Req>, Req> DurableState for Lane<S, Req> {
    /// Not used: a lane is named after its layer.
    const ACTOR_TYPE: &'static str = "lane";
    type State = ();

    fn snapshot(&self) -> impl Serialize {}

    fn restore(&mut self, (): ()) {}
}

#[async_trait]
impl<S, Req> DurableActor for Lane<S, Req>
where
    S: Inner<Req>,
    Req: Serialize + DeserializeOwned + Send + 'static,
{
    type Message = LaneRequest<Req>;
    type Reply = S::Response;
    type Error = InnerError;

    // Its receipt is not stored, and a lane that starts does without it.
    const AS_DECODED: bool = false;

    async fn handle(
        &mut self,
        context: &mut ActorContext,
        message: LaneRequest<Req>,
    ) -> Result<S::Response, InnerError> {
        let LaneRequest { request, receipt, letter } = message;
        let known = context.message_id().and_then(|id| self.letters.remove(&id));
        let letter = letter.or(known);
        if let Some(receipt) = receipt
            && !matches!(receipt.await, Ok(Ok(())))
        {
            // Nobody sees this: the journal that would record it has stopped.
            return Err(inner_error(&"the receipt is not durable"));
        }
        if let Some(letter) = letter {
            let discarded = self.common.journal.discard_dead_letter(context.actor_id(), letter);
            match discarded.await {
                Ok(()) => {}
                Err(error @ JournalError::NoSuchDeadLetter { .. }) => {
                    // Somebody else has sent it again in this moment: then it is not this one.
                    return Err(inner_error(&error));
                }
                Err(error) => {
                    // For the next attempt.
                    self.letters.extend(context.message_id().map(|id| (id, letter)));
                    context.fail(format!("{NOT_FINAL}{error}"));
                    return Err(inner_error(&error));
                }
            }
        }
        self.common.backoff.pause(context.attempts()).await;
        let Some(request) = request.take() else {
            return Err(inner_error(&"the request was taken already"));
        };
        match self.call(request).await {
            Ok(outcome) => {
                self.done.fetch_add(1, Ordering::Relaxed);
                outcome
            }
            Err(error) => {
                // As a handler that panics; without the panic, which would end a process that is
                // built with `panic = "abort"`.
                context.fail(panic_text(&format!("{NOT_FINAL}{error}")));
                Err(inner_error(&error))
            }
        }
    }
}

fn inner_error(error: &dyn Display) -> InnerError {
    InnerError { message: error.to_string() }
}
