//! Which shards a node has: it claims, renews, hands over, and drops what it lost.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::balance::plan;
use super::node::{Shared, WeakCluster};
use super::store::Lease;
use super::tenure::Tenure;
use crate::error::JournalError;
use crate::id::ShardId;
use crate::mailbox::error_text;

/// How often the leases are read.
const TICK: Duration = Duration::from_millis(200);
/// How long a node leaves a shard alone that it could not open.
const RETRY: Duration = Duration::from_secs(2);
/// How long a node that asks for a shard is known to be there.
const WISH: Duration = Duration::from_secs(1);
/// How long a reply waits for a client that may be gone, and how often such replies are looked for.
const REPLIES_KEPT: Duration = Duration::from_secs(3600);
/// How long a shard that is handed over is kept for the one it is meant for.
const RESERVED: Duration = Duration::from_secs(2);

type Opened = Result<(Arc<Tenure>, JoinHandle<()>), JournalError>;

pub(super) struct Manager {
    shared: Arc<Shared>,
    cluster: WeakCluster,
    /// The shards that run, with the task of each inbox.
    running: BTreeMap<ShardId, (Arc<Tenure>, JoinHandle<()>)>,
    /// Claimed, and being recovered.
    opening: JoinSet<(ShardId, Opened)>,
    opening_shards: Vec<ShardId>,
    /// On their way to others.
    ending: JoinSet<ShardId>,
    ending_shards: Vec<ShardId>,
    renewed: Instant,
    /// What could not be opened, and when.
    failed: BTreeMap<ShardId, Instant>,
    /// When replies to clients that are gone were last removed.
    tidied: Option<Instant>,
}

impl Manager {
    pub(super) fn new(shared: Arc<Shared>, cluster: WeakCluster) -> Self {
        Self {
            shared,
            cluster,
            running: BTreeMap::new(),
            opening: JoinSet::new(),
            opening_shards: Vec::new(),
            ending: JoinSet::new(),
            ending_shards: Vec::new(),
            renewed: Instant::now(),
            failed: BTreeMap::new(),
            tidied: None,
        }
    }

    pub(super) async fn run(mut self, mut leaving: watch::Receiver<bool>) {
        while !*leaving.borrow() {
            if let Err(error) = self.tick().await {
                self.not_kept(&error);
            }
            self.tidy_up().await;
            tokio::select! {
                _ = leaving.changed() => {}
                Some(Ok((shard, opened))) = self.opening.join_next() => {
                    self.opened(shard, opened).await;
                }
                Some(Ok(shard)) = self.ending.join_next() => {
                    self.ending_shards.retain(|it| *it != shard);
                }
                () = tokio::time::sleep(TICK) => {}
            }
        }
        self.leave().await;
    }

    /// Removes replies that nobody will collect.
    async fn tidy_up(&mut self) {
        if self.tidied.is_some_and(|at| at.elapsed() < REPLIES_KEPT) {
            return;
        }
        self.tidied = Some(Instant::now());
        if let Err(error) = self.shared.store.forget_replies(REPLIES_KEPT).await {
            tracing::warn!(
                node = self.shared.node,
                error = error_text(&error),
                "replies to clients that are gone are not removed"
            );
        }
    }

    async fn tick(&mut self) -> Result<(), JournalError> {
        let shared = self.shared.clone();
        let (store, node, lease) = (&shared.store, shared.node.as_str(), shared.options.lease);
        if self.renewed.elapsed() >= lease / 3 {
            self.renew().await?;
            self.renewed = Instant::now();
        }
        let leases = store.leases().await?;
        self.drop_lost(&leases);
        if shared.hosts.is_empty() {
            return Ok(());
        }
        let mine: Vec<_> = self.busy().collect();
        let plan = plan(node, shared.founding.shards, &leases, &mine);
        self.failed.retain(|_, at| at.elapsed() < RETRY);
        for shard in plan.claim {
            if self.failed.contains_key(&shard) {
                continue;
            }
            if store.claim(shard, node, lease).await? {
                self.open(shard);
            }
        }
        if let Some(shard) = plan.want {
            store.want(shard, node, WISH).await?;
        }
        for (shard, to) in plan.hand_over {
            self.hand_over(shard, Some(to));
        }
        metrics::gauge!("journal_cluster_shards").set(self.running.len() as f64);
        Ok(())
    }

    /// Also what is on its way out: until it is released nobody else may try.
    async fn renew(&self) -> Result<(), JournalError> {
        let Shared { store, node, options, .. } = &*self.shared;
        let shards: Vec<_> = self.busy().collect();
        if shards.is_empty() {
            return Ok(());
        }
        store.renew(&shards, node, options.lease).await
    }

    /// It is tried again.
    fn not_kept(&self, error: &JournalError) {
        let node = &self.shared.node;
        tracing::warn!(node, error = error_text(error), "the leases cannot be kept");
    }

    fn busy(&self) -> impl Iterator<Item = ShardId> {
        let running = self.running.keys().copied();
        running.chain(self.opening_shards.iter().copied()).chain(self.ending_shards.iter().copied())
    }

    /// Ends the shards whose lease is somebody else's, and those whose journal has stopped.
    fn drop_lost(&mut self, leases: &[Lease]) {
        let is_ours = |shard: ShardId| {
            let lease = leases.iter().find(|lease| lease.shard == shard);
            lease.is_some_and(|lease| lease.node.as_deref() == Some(&*self.shared.node))
        };
        let lost: Vec<_> = self
            .running
            .iter()
            .map(|(shard, (tenure, _))| (*shard, is_ours(*shard), tenure.journal.stopped()))
            .filter(|(_, is_ours, stopped)| !is_ours || stopped.is_some())
            .collect();
        for (shard, is_ours, _) in lost {
            tracing::warn!(node = self.shared.node, %shard, "shard lost");
            metrics::counter!("journal_cluster_shards_lost_total").increment(1);
            if is_ours {
                self.hand_over(shard, None);
            } else if let Some((tenure, intake)) = self.take_out(shard) {
                // The shard may come back before this has ended; that is another tenure then.
                tokio::spawn(async move {
                    if let Err(error) = tenure.end(intake).await {
                        tracing::debug!(%shard, error = error_text(&error), "a lost shard has ended");
                    }
                });
            }
        }
    }

    fn open(&mut self, shard: ShardId) {
        let (shared, cluster) = (self.shared.clone(), self.cluster.clone());
        self.opening_shards.push(shard);
        self.opening.spawn(async move {
            let journal = shared.options.journal.clone();
            let journal = journal.reopen(false).open_shard(shared.store.clone(), shard).await;
            let opened = match journal {
                Ok(journal) => Tenure::begin(&shared, cluster, journal, shard).await,
                Err(error) => Err(error),
            };
            (shard, opened)
        });
    }

    async fn opened(&mut self, shard: ShardId, opened: Opened) {
        self.opening_shards.retain(|it| *it != shard);
        match opened {
            Ok((tenure, intake)) => {
                tracing::info!(node = self.shared.node, %shard, "shard taken");
                let mut tenures =
                    self.shared.tenures.write().unwrap_or_else(PoisonError::into_inner);
                tenures.insert(shard, tenure.clone());
                drop(tenures);
                // It was not told of letters before.
                tenure.wake.notify_one();
                self.running.insert(shard, (tenure, intake));
            }
            Err(error) => {
                let node = &self.shared.node;
                tracing::error!(node, %shard, error = error_text(&error), "shard not opened");
                // Another node may have more luck.
                self.failed.insert(shard, Instant::now());
                if let Err(error) = self.shared.store.release(shard, node, None).await {
                    tracing::warn!(node, %shard, error = error_text(&error), "shard not released");
                }
            }
        }
    }

    /// From here on nobody on this node delivers to the shard.
    fn take_out(&mut self, shard: ShardId) -> Option<(Arc<Tenure>, JoinHandle<()>)> {
        self.shared.tenures.write().unwrap_or_else(PoisonError::into_inner).remove(&shard);
        self.running.remove(&shard)
    }

    /// Ends a shard and releases its lease, to somebody or to anybody.
    fn hand_over(&mut self, shard: ShardId, to: Option<String>) {
        let Some((tenure, intake)) = self.take_out(shard) else { return };
        self.ending_shards.push(shard);
        let shared = self.shared.clone();
        self.ending.spawn(async move {
            if let Err(error) = tenure.end(intake).await {
                tracing::warn!(node = shared.node, %shard, error = error_text(&error), "shard not ended in order");
            }
            let to = to.as_deref().map(|to| (to, RESERVED));
            if let Err(error) = shared.store.release(shard, &shared.node, to).await {
                tracing::warn!(node = shared.node, %shard, error = error_text(&error), "shard not released");
            }
            shard
        });
    }

    async fn leave(mut self) {
        while let Some(opened) = self.opening.join_next().await {
            if let Ok((shard, opened)) = opened {
                self.opened(shard, opened).await;
            }
        }
        // The others, those with the fewest shards first.
        let mut others = BTreeMap::new();
        let node = &self.shared.node;
        for lease in self.shared.store.leases().await.unwrap_or_default() {
            let Some(holder) = lease.node.filter(|_| lease.runs) else { continue };
            if holder != *node {
                *others.entry(holder).or_insert(0) += 1;
            } else if !self.busy().any(|shard| shard == lease.shard) {
                // It was kept for this node, which had not come for it yet.
                if let Err(error) = self.shared.store.release(lease.shard, node, None).await {
                    tracing::warn!(node, shard = %lease.shard, error = error_text(&error), "shard not released");
                }
            }
        }
        for shard in self.running.keys().copied().collect::<Vec<_>>() {
            let poorest = others.iter_mut().min_by_key(|(_, count)| **count);
            let to = poorest.map(|(node, count)| {
                *count += 1;
                node.clone()
            });
            self.hand_over(shard, to);
        }
        while !self.ending.is_empty() {
            tokio::select! {
                Some(ended) = self.ending.join_next() => {
                    self.ending_shards.retain(|it| ended.as_ref().ok() != Some(it));
                }
                () = tokio::time::sleep(self.shared.options.lease / 3) => {
                    if let Err(error) = self.renew().await {
                        self.not_kept(&error);
                    }
                }
            }
        }
        tracing::info!(node = self.shared.node, "left");
    }
}
