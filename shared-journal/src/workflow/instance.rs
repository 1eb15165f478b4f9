//! What actors send to duroxide's instances, one lane an instance.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use duroxide::providers::Provider;
use duroxide::{Client, ClientError, OrchestrationStatus};
use fail::fail_point;
use tokio::sync::Semaphore;

use super::events::{Event, is_read};
use super::timer::TIMER;
use super::{Request, sending};
use crate::cluster::{Delivered, Host, Hosted, Parcel};
use crate::codec::{Codec, Payload};
use crate::error::JournalError;
use crate::id::MessageId;
use crate::journal::EventJournal;
use crate::mailbox::error_text;

/// Events that an instance has not read. An owner that is replaced may leave as many again, and
/// duroxide carries a hundred over to the next execution.
const UNREAD: usize = 32;
/// How often an instance is looked at that has so many.
const LOOK: Duration = Duration::from_millis(20);
/// Calls of duroxide's store at a time: its pools are small.
const CALLS: usize = 4;
/// Before a call that failed is made again, at first.
const RETRY: Duration = Duration::from_millis(50);
/// And at most.
const RETRY_AT_MOST: Duration = Duration::from_secs(5);

/// Starts, cancels and informs duroxide's instances for actors.
/// [`ClusterBuilder::join`](crate::cluster::ClusterBuilder::join) has one for its provider;
/// a node that joins with `join_on` needs it as a [`host`](crate::cluster::ClusterBuilder::host).
///
/// It needs no runtime: duroxide's client writes to the store.
#[derive(Clone)]
pub struct WorkflowHost {
    client: Client,
    calls: Arc<Semaphore>,
}

impl std::fmt::Debug for WorkflowHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WorkflowHost").finish_non_exhaustive()
    }
}

impl WorkflowHost {
    /// For the instances in the store of `provider`.
    #[must_use]
    pub fn new(provider: Arc<dyn Provider>) -> Self {
        Self { client: Client::new(provider), calls: Arc::new(Semaphore::new(CALLS)) }
    }
}

#[async_trait]
impl Host for WorkflowHost {
    fn actor_type(&self) -> &'static str {
        sending::INSTANCES
    }

    fn has_receipts(&self) -> bool {
        false
    }

    async fn start(
        &self,
        journal: &EventJournal,
        id: &str,
    ) -> Result<Box<dyn Hosted>, Arc<JournalError>> {
        Ok(Box::new(Instance {
            host: self.clone(),
            journal: journal.clone(),
            name: id.to_owned(),
            is_there: false,
            lane: MessageId::random().to_string(),
            delivered: 0,
            unread: VecDeque::new(),
        }))
    }
}

/// An instance, as the actors see it.
struct Instance {
    host: WorkflowHost,
    journal: EventJournal,
    name: String,
    /// It was started.
    is_there: bool,
    /// The sender of what is delivered, and its last number.
    lane: String,
    delivered: u64,
    /// The events that were raised and are not known to be read.
    unread: VecDeque<(String, Event)>,
}

/// Why something is not done yet.
#[derive(Debug, thiserror::Error)]
enum NotDone {
    #[error("the instance is not there yet")]
    NotThere,
    #[error("the instance has ended, and should not have")]
    Ended,
    #[error(transparent)]
    Client(#[from] ClientError),
}

#[async_trait]
impl Hosted for Instance {
    /// Returns when duroxide has it: the next letter waits behind it.
    async fn deliver(&mut self, parcel: Parcel) -> Result<(), Parcel> {
        let request = match parcel.payload.decode::<Request>() {
            Ok(request) => request,
            Err(error) => {
                let reason = format!("not for an instance: {error}");
                parcel.answer.answer(Delivered::Refused(reason.into()));
                return Ok(());
            }
        };
        fail_point!("before-instance");
        let delivered = self.perform(&request).await;
        fail_point!("after-instance");
        parcel.answer.answer(delivered);
        Ok(())
    }
}

impl Instance {
    /// Tries until it is done, or somebody else has the instance's shard.
    async fn perform(&mut self, request: &Request) -> Delivered {
        let mut pause = RETRY;
        loop {
            let done = match request {
                Request::Start { orchestration, input } => self.start(orchestration, input).await,
                Request::Raise { queue, event } => self.raise(queue, event).await,
                Request::Deliver { orchestration, input, queue, data } => {
                    self.deliver_to((orchestration, input), queue, data).await
                }
                Request::Cancel { reason } => self.cancel(reason).await,
            };
            if let Some(stopped) = self.journal.stopped() {
                // The next owner finds the letter.
                return Delivered::Lost(Some(stopped));
            }
            match done {
                Ok(()) => return Delivered::Processed(Payload::new(Codec::Json, &b"null"[..])),
                Err(NotDone::Client(error)) if !error.is_retryable() => {
                    return Delivered::Refused(error.to_string().into());
                }
                Err(error) => {
                    tracing::debug!(
                        instance = self.name,
                        error = error_text(&error),
                        "tried again"
                    );
                    if pause == RETRY_AT_MOST {
                        tracing::warn!(
                            instance = self.name,
                            error = error_text(&error),
                            "what actors sent to it waits"
                        );
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_AT_MOST);
        }
    }

    async fn start(&mut self, orchestration: &str, input: &str) -> Result<(), NotDone> {
        let _call = self.host.calls.acquire().await;
        Ok(self.host.client.start_orchestration(&self.name, orchestration, input).await?)
    }

    async fn raise(&mut self, queue: &str, event: &Event) -> Result<(), NotDone> {
        // Events for an instance that is not there yet are dropped by duroxide.
        if !self.is_there {
            match self.status().await? {
                OrchestrationStatus::NotFound => return Err(NotDone::NotThere),
                OrchestrationStatus::Running { .. } => self.is_there = true,
                OrchestrationStatus::Completed { .. } | OrchestrationStatus::Failed { .. } => {
                    tracing::warn!(
                        instance = self.name,
                        queue,
                        "an actor raised an event in an instance that has ended"
                    );
                    return Ok(());
                }
            }
        }
        while self.unread.len() >= UNREAD {
            self.forget_read().await?;
            if self.unread.len() < UNREAD {
                break;
            }
            if self.journal.stopped().is_some() {
                // Somebody else raises it.
                return Ok(());
            }
            tokio::time::sleep(LOOK).await;
        }
        let data = serde_json::to_string(event).unwrap_or_default();
        {
            let _call = self.host.calls.acquire().await;
            self.host.client.enqueue_event(&self.name, queue, data).await?;
        }
        fail_point!("after-event");
        self.unread.push_back((queue.to_owned(), event.clone()));
        Ok(())
    }

    /// Raises an event of the lane's own, in an instance that is started for it and never ends. So there
    /// is one sender, not one for each message; what comes twice the instance knows by itself.
    async fn deliver_to(
        &mut self,
        (orchestration, input): (&str, &str),
        queue: &str,
        data: &str,
    ) -> Result<(), NotDone> {
        if !self.is_there {
            match self.status().await? {
                OrchestrationStatus::NotFound => {
                    self.start(orchestration, input).await?;
                    return Err(NotDone::NotThere);
                }
                OrchestrationStatus::Running { .. } => self.is_there = true,
                _ => return Err(NotDone::Ended),
            }
        }
        self.delivered += 1;
        self.raise(queue, &Event::new(&self.lane, self.delivered, data.to_owned())).await
    }

    async fn forget_read(&mut self) -> Result<(), NotDone> {
        let values = self.host.client.get_kv_all_values(&self.name).await?;
        let before = self.unread.len();
        self.unread.retain(|(queue, event)| !is_read(&values, queue, event));
        let stuck = self.unread.len() == before;
        if stuck && !matches!(self.status().await?, OrchestrationStatus::Running { .. }) {
            // It has ended: nobody will read them.
            self.unread.clear();
            self.is_there = false;
        }
        Ok(())
    }

    async fn cancel(&mut self, reason: &str) -> Result<(), NotDone> {
        match self.status().await? {
            OrchestrationStatus::Completed { .. } | OrchestrationStatus::Failed { .. } => {
                return Ok(());
            }
            // Started and not yet fetched, or deleted: duroxide would never be done with the wish to
            // cancel what never starts.
            OrchestrationStatus::NotFound => self.start(TIMER, "null").await?,
            OrchestrationStatus::Running { .. } => {}
        }
        let _call = self.host.calls.acquire().await;
        Ok(self.host.client.cancel_instance(&self.name, reason).await?)
    }

    async fn status(&self) -> Result<OrchestrationStatus, NotDone> {
        let _call = self.host.calls.acquire().await;
        Ok(self.host.client.get_orchestration_status(&self.name).await?)
    }
}
