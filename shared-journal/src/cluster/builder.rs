//! How a node joins.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use duroxide::providers::Provider;
use uuid::Uuid;

use super::host::Host;
use super::lanes::Hosts;
use super::news::News;
use super::node::{Cluster, Shared};
use super::replies::Replies;
use super::store::Founding;
use super::waits::Waits;
use crate::attach::attach_aside;
use crate::builder::EventJournalBuilder;
use crate::codec::Codec;
use crate::engine::Retry;
use crate::error::JournalError;
use crate::limits::{Durability, Limits, within};
use crate::provider::ActorProvider;
use crate::workflow::WorkflowHost;

/// Leases are renewed three times in their time and looked at every 200 ms.
const LEASE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(24 * 3600);
/// A node that leaves waits for its slowest handler.
const PATIENCE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3600);
const LETTERS: RangeInclusive<u64> = 1..=1_000_000_000;

/// How a node joins a cluster. See [`Cluster::builder`].
#[derive(Clone)]
pub struct ClusterBuilder {
    founding: Founding,
    node: Option<String>,
    hosts: Hosts,
    pub(super) lease: Duration,
    pub(super) patience: Duration,
    pub(super) inbox_letters: u64,
    pub(super) active_actors: NonZeroUsize,
    /// How the journal of a shard is opened.
    pub(super) journal: EventJournalBuilder,
}

impl std::fmt::Debug for ClusterBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterBuilder").field("founding", &self.founding).finish_non_exhaustive()
    }
}

impl ClusterBuilder {
    pub(super) fn new(founding: Founding) -> Self {
        Self {
            founding,
            node: None,
            hosts: Hosts::default(),
            lease: Duration::from_secs(15),
            patience: Duration::from_millis(500),
            inbox_letters: 1000,
            active_actors: NonZeroUsize::new(10_000).unwrap_or(NonZeroUsize::MIN),
            journal: EventJournalBuilder::default(),
        }
    }

    /// What runs the actors of a type. Every node of a cluster needs the same ones: a message to
    /// an actor whose node has no host for its type is refused. A node without any host takes no
    /// shards and only sends.
    #[must_use]
    pub fn host(mut self, host: impl Host) -> Self {
        self.hosts.insert(host.actor_type(), Arc::new(host));
        self
    }

    /// The name of this node in listings and logs; a random part is added to it. Default `node`.
    #[must_use]
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = Some(node.into());
        self
    }

    /// How long a node that has died, or cannot reach the store, keeps its shards. Default 15 s.
    ///
    /// A node that lives renews its leases three times in that time. One that was paused for longer
    /// finds itself replaced, and its actors cannot commit any more.
    ///
    /// Allowed: 100 ms to 1 day.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// How long a shard that goes to another node waits for handlers that are at work, before they are cut off.
    /// Their messages are handled again by the next owner. Default 500 ms.
    ///
    /// Allowed: 0 to 1 hour.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// How many letters may wait for one actor in its inbox. Default 1,000; beyond that senders on
    /// other nodes get [`InboxFull`](super::SendError::InboxFull).
    ///
    /// Allowed: 1 to 1,000,000,000.
    #[must_use]
    pub fn inbox_letters(mut self, limit: u64) -> Self {
        self.inbox_letters = limit;
        self
    }

    /// How many actors of a shard are in memory. Default 10,000; beyond that those used least
    /// recently are passivated.
    #[must_use]
    pub fn active_actors(mut self, limit: NonZeroUsize) -> Self {
        self.active_actors = limit;
        self
    }

    /// Other limits for the journals of the shards.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.journal = self.journal.limits(limits);
        self
    }

    /// What a commit survives. The default is a power cut.
    #[must_use]
    pub fn durability(mut self, durability: Durability) -> Self {
        self.journal = self.journal.durability(durability);
        self
    }

    /// How messages, replies and states are encoded. The default is MessagePack.
    #[must_use]
    pub fn codec(mut self, codec: Codec) -> Self {
        self.journal = self.journal.codec(codec);
        self
    }

    /// Whether what is stored is decoded and encoded again, for tests: see
    /// [`EventJournalBuilder::check_values`](crate::EventJournalBuilder::check_values).
    #[must_use]
    pub fn check_values(mut self, check: bool) -> Self {
        self.journal = self.journal.check_values(check);
        self
    }

    /// How many messages may be with an actor whose outcome nobody knows. When the shard is lost they
    /// are sent again, so all of them have to be in its dedup window.
    pub(super) fn places(&self) -> usize {
        (self.journal.limits.generated_ids() / 4).min(4096)
    }

    /// Whether a node can work with what was set.
    fn check(&self) -> Result<(), JournalError> {
        self.journal.limits.check()?;
        super::check_shards(self.founding.shards)?;
        within("ClusterBuilder::lease", self.lease, LEASE, "100 ms to 1 day")?;
        within("ClusterBuilder::patience", self.patience, PATIENCE, "0 to 1 hour")?;
        within("ClusterBuilder::inbox_letters", self.inbox_letters, LETTERS, "1 to 1,000,000,000")
    }

    /// Joins the cluster whose store is beside this duroxide provider, and whose actors can start
    /// workflows there. Shards are taken from now on; this does not wait for them.
    ///
    /// # Errors
    /// [`JournalError::InvalidLimits`]; [`JournalError::Founding`] if the store is another cluster's,
    /// [`JournalError::NotShared`] if nodes cannot share it, or whatever is wrong with it, for
    /// [`Limits::commit_retry`](crate::Limits::commit_retry) if that may pass.
    pub async fn join(mut self, provider: Arc<dyn Provider>) -> Result<Cluster, JournalError> {
        self.check()?;
        let store = attach_aside(provider.clone(), self.journal.durability).await?;
        if !self.hosts.is_empty() {
            self = self.host(WorkflowHost::new(provider));
        }
        self.join_on(store).await
    }

    /// Joins the cluster of a store. For actors that start workflows it needs a [`WorkflowHost`].
    ///
    /// # Errors
    /// As [`join`](Self::join).
    pub async fn join_on(self, store: Arc<dyn ActorProvider>) -> Result<Cluster, JournalError> {
        self.check()?;
        let location = store.location();
        let store = store.cluster().ok_or(JournalError::NotShared { store: location })?;
        let founding = self.founding.clone();
        let mut retry = Retry::new(self.journal.limits.commit_retry);
        while let Err(error) = super::found(&*store, &founding).await {
            match retry.again().filter(|_| error.is_retryable()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => return Err(error),
            }
        }
        let random = Uuid::new_v4().simple().to_string();
        let node = format!("{}-{}", self.node.as_deref().unwrap_or("node"), &random[..8]);
        let news = News::default();
        let shared = Arc::new(Shared {
            replies: Arc::new(Replies::new(format!("{node}/{random}"), news.clone())),
            news,
            waits: Waits::default(),
            hosts: Arc::new(self.hosts.clone()),
            store,
            founding,
            node,
            options: self,
            tenures: RwLock::default(),
        });
        Ok(Cluster::start(shared))
    }
}
