//! What actors send to duroxide's instances, one lane an instance.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use duroxide::providers::Provider;
use duroxide::{Client, ClientError, OrchestrationStatus};
use fail::fail_point;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;

use super::asker::Asker;
use super::batches::{Batches, News};
use super::given_up::{self, Begins};
use super::lost;
use super::replying::Replies;
use super::started::Started;
use super::timer::TIMER;
use super::{INSTANCES, RUN, Request};
use crate::cluster::{Cluster, Delivered, Host, Hosted, Parcel, WeakCluster};
use crate::codec::{Codec, Payload};
use crate::error::JournalError;
use crate::journal::EventJournal;
use crate::mailbox::error_text;

/// Calls of duroxide's store at a time: its pools are small.
const CALLS: usize = 4;
/// Before a call that failed is made again, at first.
const RETRY: Duration = Duration::from_millis(50);
/// And at most.
const RETRY_AT_MOST: Duration = Duration::from_secs(5);

/// Starts, cancels and informs duroxide's instances for actors, and brings them replies.
/// [`ClusterBuilder::join`](crate::cluster::ClusterBuilder::join) has one for its provider;
/// a node that joins with `join_on` needs it as a [`host`](crate::cluster::ClusterBuilder::host). It is for one
/// cluster.
///
/// It needs no runtime: duroxide's client writes to the store.
#[derive(Clone)]
pub struct WorkflowHost {
    pub(super) client: Client,
    pub(super) provider: Arc<dyn Provider>,
    pub(super) calls: Arc<Semaphore>,
    replies: Replies,
    /// When it is there.
    joined: Arc<Mutex<Option<Joined>>>,
}

/// What a host has when its node has joined.
struct Joined {
    cluster: WeakCluster,
    started: Started,
    /// Looks for instances that were given up.
    _looking: JoinSet<()>,
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
        let calls = Arc::new(Semaphore::new(CALLS));
        let client = Client::new(provider.clone());
        let replies = Replies::new(client.clone(), calls.clone());
        Self { client, provider, calls, replies, joined: Arc::default() }
    }

    pub(super) fn cluster(&self) -> Option<Cluster> {
        let joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        joined.as_ref()?.cluster.upgrade()
    }

    fn started(&self, instance: &str) {
        let joined = self.joined.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(joined) = &*joined {
            joined.started.add(instance);
        }
    }
}

#[async_trait]
impl Host for WorkflowHost {
    fn actor_type(&self) -> &'static str {
        INSTANCES
    }

    fn has_receipts(&self) -> bool {
        false
    }

    fn joined(&self, cluster: &Cluster) {
        let started = Started::watched(self.provider.clone());
        let mut looking = JoinSet::new();
        // Without what ends it.
        let host = Self { joined: Arc::default(), ..self.clone() };
        looking.spawn(given_up::look_for(host.clone()));
        looking.spawn(lost::look_for(host, cluster.downgrade()));
        let joined = Joined { cluster: cluster.downgrade(), started, _looking: looking };
        *self.joined.lock().unwrap_or_else(PoisonError::into_inner) = Some(joined);
    }

    fn awaits(&self, to: &str) -> bool {
        to.parse().is_ok_and(|asker: Asker| asker.waits)
    }

    async fn reply(&self, to: &str, outcome: &Delivered) -> bool {
        self.replies.bring(to, outcome).await
    }

    async fn start(
        &self,
        journal: &EventJournal,
        id: &str,
    ) -> Result<Box<dyn Hosted>, Arc<JournalError>> {
        let (news, received) = unbounded_channel();
        let batches = Batches::new(self.clone(), journal.clone(), id);
        tokio::spawn(batches.run(received));
        let (host, journal, name) = (self.clone(), journal.clone(), id.to_owned());
        Ok(Box::new(Instance { host, journal, name, news }))
    }
}

/// An instance, as the actors see it.
struct Instance {
    host: WorkflowHost,
    journal: EventJournal,
    name: String,
    news: UnboundedSender<News>,
}

#[async_trait]
impl Hosted for Instance {
    /// Returns when duroxide has it, or, if it is mail, at once: it waits in the inbox for the instance.
    async fn deliver(&mut self, parcel: Parcel) -> Result<(), Parcel> {
        let delivered = match parcel.payload.decode::<Request>() {
            Ok(Request::Raise { .. }) => self.tell(News(None)),
            Ok(Request::Deliver { orchestration, input, .. }) => {
                self.tell(News(Some((orchestration, input))))
            }
            Ok(Request::Ring) => {
                self.tell(News(None));
                processed()
            }
            Ok(request) => self.perform(&request).await,
            Err(error) => Delivered::Refused(format!("not for an instance: {error}").into()),
        };
        fail_point!("after-instance");
        parcel.answer.answer(delivered);
        Ok(())
    }
}

fn processed() -> Delivered {
    Delivered::Processed(Payload::new(Codec::Json, &b"null"[..]))
}

impl Instance {
    fn tell(&self, news: News) -> Delivered {
        // It reads until its sender is gone.
        let _ = self.news.send(news);
        Delivered::Kept
    }

    /// Tries until it is done, or somebody else has the instance's shard.
    async fn perform(&self, request: &Request) -> Delivered {
        let mut pause = RETRY;
        loop {
            fail_point!("before-instance");
            let done = match request {
                Request::Start { orchestration, input } => self.start(orchestration, input).await,
                Request::Cancel { reason } => self.cancel(reason).await,
                // They are the lane's own.
                Request::Raise { .. } | Request::Deliver { .. } | Request::Ring => Ok(()),
            };
            if let Some(stopped) = self.journal.stopped() {
                // The next owner finds the letter.
                return Delivered::Lost(Some(stopped));
            }
            match (done, request) {
                (Ok(()), Request::Start { orchestration, input }) if orchestration == RUN => {
                    return self.begun(input).await;
                }
                (Ok(()), _) => return processed(),
                (Err(error), _) if !error.is_retryable() => {
                    return Delivered::Refused(error.to_string().into());
                }
                (Err(error), _) => {
                    let (instance, error) = (&self.name, error_text(&error));
                    if pause == RETRY_AT_MOST {
                        tracing::warn!(instance, error, "what actors sent to it waits");
                    } else {
                        tracing::debug!(instance, error, "tried again");
                    }
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_AT_MOST);
        }
    }

    /// Waits until what waits for a workflow has begun. duroxide may give it up before, and then only the letter has
    /// what it begins with.
    async fn begun(&self, input: &str) -> Delivered {
        let mut next = Begins { instance: self.name.clone(), input: input.to_owned() };
        let mut pause = RETRY;
        loop {
            match next.has_begun(&self.host).await {
                Ok(true) => return processed(),
                Ok(false) => {}
                Err(error) => {
                    let (instance, error) = (&next.instance, error_text(&*error));
                    tracing::warn!(instance, error, "it is not known whether it has begun");
                }
            }
            if let Some(stopped) = self.journal.stopped() {
                return Delivered::Lost(Some(stopped));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY_AT_MOST);
        }
    }

    async fn start(&self, orchestration: &str, input: &str) -> Result<(), ClientError> {
        let _call = self.host.calls.acquire().await;
        self.host.client.start_orchestration(&self.name, orchestration, input).await?;
        self.host.started(&self.name);
        Ok(())
    }

    async fn cancel(&self, reason: &str) -> Result<(), ClientError> {
        let status = {
            let _call = self.host.calls.acquire().await;
            self.host.client.get_orchestration_status(&self.name).await?
        };
        match status {
            OrchestrationStatus::Completed { .. } | OrchestrationStatus::Failed { .. } => {
                return Ok(());
            }
            // Started and not yet fetched, or deleted: duroxide would never be done with the wish to
            // cancel what never starts.
            OrchestrationStatus::NotFound => self.start(TIMER, "null").await?,
            OrchestrationStatus::Running { .. } => {}
        }
        let _call = self.host.calls.acquire().await;
        self.host.client.cancel_instance(&self.name, reason).await
    }
}
