//! A node: what it shares, and its door.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use rustc_hash::FxHashMap;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::builder::ClusterBuilder;
use super::error::SendError;
use super::host::Host;
use super::lanes::{Hosts, host_of};
use super::letter::Letter;
use super::manager::Manager;
use super::news::{News, listen};
use super::replies::Replies;
use super::router::{Arrived, Outgoing, Router, Wanted};
use super::store::{ClusterStore, Founding};
use super::tenure::Tenure;
use super::waits::Waits;
use crate::codec::{Codec, Payload};
use crate::error::JournalError;
use crate::id::{ActorId, MessageId, MessageKey, ShardId};
use crate::journal::EventJournal;

/// Messages to one shard that wait to be sent on.
const OUTGOING: usize = 1024;

/// One node of a cluster: it runs a share of the actors, and sends to all of them.
///
/// Nodes find each other in the store. Each leases a share of the shards, and an actor runs on the
/// node that has its shard. Cloning is cheap; the node leaves the cluster with
/// [`leave`](Self::leave), or, less gracefully, when the last clone is dropped: then its shards
/// are taken over when their leases have run out.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

/// What ends with the last clone.
struct Inner {
    shared: Arc<Shared>,
    leave: watch::Sender<bool>,
    manager: Mutex<Option<JoinHandle<()>>>,
    tasks: Vec<JoinHandle<()>>,
    routers: Mutex<FxHashMap<ShardId, mpsc::Sender<Outgoing>>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        let manager = self.manager.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        for task in self.tasks.drain(..).chain(manager) {
            task.abort();
        }
        let tenures = &self.shared.tenures;
        for (_, tenure) in tenures.write().unwrap_or_else(PoisonError::into_inner).drain() {
            tenure.close();
        }
    }
}

/// A node, for its own tasks: they do not keep it.
#[derive(Clone)]
pub(crate) struct WeakCluster(Weak<Inner>);

impl WeakCluster {
    pub(crate) fn upgrade(&self) -> Option<Cluster> {
        self.0.upgrade().map(|inner| Cluster { inner })
    }
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("cluster", &self.inner.shared.founding.cluster)
            .field("node", &self.node())
            .finish_non_exhaustive()
    }
}

/// What the tasks of a node share.
pub(super) struct Shared {
    pub(super) store: Arc<dyn ClusterStore>,
    pub(super) founding: Founding,
    pub(super) node: String,
    pub(super) options: ClusterBuilder,
    pub(super) hosts: Arc<Hosts>,
    pub(super) replies: Arc<Replies>,
    pub(super) tenures: RwLock<FxHashMap<ShardId, Arc<Tenure>>>,
    pub(super) news: News,
    pub(super) waits: Waits,
}

impl Shared {
    /// There may be news that nobody told of.
    pub(super) fn wake_all(&self) {
        self.replies.wake.notify_one();
        for tenure in self.tenures.read().unwrap_or_else(PoisonError::into_inner).values() {
            tenure.wake.notify_one();
        }
    }

    pub(super) fn tenure(&self, shard: ShardId) -> Option<Arc<Tenure>> {
        self.tenures.read().unwrap_or_else(PoisonError::into_inner).get(&shard).cloned()
    }

    pub(super) fn shard_of(&self, actor: &ActorId) -> ShardId {
        shard_of(actor, self.founding.shards)
    }
}

/// The shard of an actor. Stored with every actor by where it is, so it can never change.
pub(crate) fn shard_of(actor: &ActorId, shards: u32) -> ShardId {
    // CRC-32 of both names, the zero byte between them being in neither.
    let mut hash = crc32fast::Hasher::new();
    hash.update(actor.actor_type().as_bytes());
    hash.update(&[0]);
    hash.update(actor.id().as_bytes());
    ShardId(hash.finalize() % shards.max(1))
}

impl Cluster {
    /// Joins, or founds, a cluster.
    ///
    /// The name and the number of shards are those of the store for ever: whoever comes first
    /// decides, and a node that says otherwise is refused. More shards than there will ever be
    /// nodes, ten times as many, let nodes have even shares; each costs a node that has it two
    /// threads. Allowed: 1 to 65,536.
    #[must_use]
    pub fn builder(cluster: impl Into<String>, shards: u32) -> ClusterBuilder {
        ClusterBuilder::new(Founding { cluster: cluster.into(), shards })
    }

    /// Starts the tasks of a node.
    pub(super) fn start(shared: Arc<Shared>) -> Self {
        let (leave, leaving) = watch::channel(false);
        let tasks = vec![
            tokio::spawn(shared.replies.clone().collect(shared.store.clone())),
            tokio::spawn(listen(shared.clone())),
        ];
        tracing::info!(node = shared.node, cluster = shared.founding.cluster, "joined");
        let inner = Arc::new_cyclic(|inner| {
            let manager = Manager::new(shared.clone(), WeakCluster(inner.clone()));
            Inner {
                shared,
                leave,
                manager: Mutex::new(Some(tokio::spawn(manager.run(leaving)))),
                tasks,
                routers: Mutex::default(),
            }
        });
        let cluster = Self { inner };
        for host in cluster.inner.shared.hosts.values() {
            host.joined(&cluster);
        }
        cluster
    }

    pub(crate) fn downgrade(&self) -> WeakCluster {
        WeakCluster(Arc::downgrade(&self.inner))
    }

    /// The name of this node, unique to this process.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.inner.shared.node
    }

    /// How payloads are encoded.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.inner.shared.options.journal.codec
    }

    /// Encodes a message, for [`ask`](Self::ask) and [`tell`](Self::tell).
    ///
    /// # Errors
    /// It does not encode, so it is not accepted.
    pub fn encode(&self, message: &impl Serialize) -> Result<Payload<'static>, SendError> {
        Payload::encode(self.codec(), message).map_err(|error| SendError::NotAccepted {
            reason: format!("the message does not encode: {error}").into(),
        })
    }

    /// The shard of an actor: CRC-32 of its type, a zero byte and its id, modulo the number of
    /// shards.
    #[must_use]
    pub fn shard_of(&self, actor: &ActorId) -> ShardId {
        self.inner.shared.shard_of(actor)
    }

    /// Who has which shard.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn shards(&self) -> Result<Vec<ShardStatus>, JournalError> {
        let leases = self.inner.shared.store.leases().await?;
        let of = |shard: ShardId| {
            let lease = leases.iter().find(|lease| lease.shard == shard && lease.runs);
            ShardStatus { shard, node: lease.and_then(|lease| lease.node.clone()) }
        };
        Ok((0..self.inner.shared.founding.shards).map(|shard| of(ShardId(shard))).collect())
    }

    /// The shards that this node runs now.
    #[must_use]
    pub fn own_shards(&self) -> Vec<ShardId> {
        let tenures = self.inner.shared.tenures.read().unwrap_or_else(PoisonError::into_inner);
        let mut shards: Vec<_> = tenures.keys().copied().collect();
        shards.sort_unstable();
        shards
    }

    /// The journal of a shard that this node runs now: for histories, dead letters and `verify`.
    #[must_use]
    pub fn journal(&self, shard: ShardId) -> Option<EventJournal> {
        Some(self.inner.shared.tenure(shard)?.journal.clone())
    }

    /// Sends an encoded message to an actor on whichever node and waits for its reply. Adapters
    /// have typed references on top of this.
    ///
    /// Without an id of its caller's (`key` is [`Transient`](MessageKey::Transient) or
    /// [`Anonymous`](MessageKey::Anonymous)) a message that reaches an actor on this node leaves nothing in the
    /// actor's record. One that goes through the store is [`Generated`](MessageKey::Generated) there.
    ///
    /// There is no time limit: a shard without an owner has one again when a node takes it over.
    /// Cancel-safe in this sense: what was sent may be handled whether or not its sender waits; ask
    /// again with the same id to learn how it went.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn ask(
        &self,
        actor: &ActorId,
        key: MessageKey,
        kind: &str,
        payload: Payload<'static>,
    ) -> Result<Payload<'static>, SendError> {
        let waits = &self.inner.shared.waits;
        let deadlock = |way| SendError::Deadlock { actor: actor.clone(), way };
        let _waits = waits.begin(actor).map_err(deadlock)?;
        let (sender, reply) = oneshot::channel();
        let letter = Letter::new(key, kind, payload);
        let id = self.send(actor, letter, Wanted::Reply(sender)).await?;
        reply.await.unwrap_or(Err(SendError::OutcomeUnknown { id, source: None }))
    }

    /// Sends an encoded message to an actor on whichever node and waits until its receipt is
    /// durable: from then on it will be handled.
    ///
    /// # Errors
    /// See [`SendError`].
    pub async fn tell(
        &self,
        actor: &ActorId,
        key: MessageKey,
        kind: &str,
        payload: Payload<'static>,
    ) -> Result<(), SendError> {
        let (sender, receipts) = oneshot::channel();
        let letter = Letter::new(key, kind, payload);
        let id = self.send(actor, letter, Wanted::Receipts(sender)).await?;
        let unknown = || Err(SendError::OutcomeUnknown { id, source: None });
        receipts.await.map_or_else(|_| unknown(), |arrived| arrived.error.map_or(Ok(()), Err))
    }

    /// Posts a letter into the inbox of an actor's shard, also if that is this node's. So it takes no longer than
    /// a write of the store, whatever the actor does.
    pub(super) async fn post(&self, actor: &ActorId, letter: Letter) -> Result<(), SendError> {
        let (sender, posted) = oneshot::channel();
        let id = self.send(actor, letter, Wanted::Posts(sender)).await?;
        let unknown = || Err(SendError::OutcomeUnknown { id, source: None });
        posted.await.map_or_else(|_| unknown(), |arrived| arrived.error.map_or(Ok(()), Err))
    }

    /// Of a message, at most.
    pub(crate) fn message_bytes(&self) -> usize {
        self.inner.shared.options.journal.limits.message_bytes
    }

    /// How long an actor knows what a caller sent.
    pub(crate) fn dedup_age(&self) -> Duration {
        self.inner.shared.options.journal.limits.dedup_age
    }

    /// The host of one that is on no node, and sent a message whose letter has this `reply_to`.
    pub(super) fn host_outside(&self, to: &str) -> Option<Arc<dyn Host>> {
        host_of(&self.inner.shared.hosts, to)
    }

    pub(super) fn store(&self) -> &dyn ClusterStore {
        &*self.inner.shared.store
    }

    /// Sends messages to one actor and waits until their receipts are durable. They are taken in
    /// order: behind one that is not accepted none is.
    pub(super) async fn tell_in_order(&self, actor: &ActorId, letters: Vec<Letter>) -> Arrived {
        self.in_order(actor, letters, Wanted::Receipts).await
    }

    /// The same, until they are in the inbox.
    pub(super) async fn post_in_order(&self, actor: &ActorId, letters: Vec<Letter>) -> Arrived {
        self.in_order(actor, letters, Wanted::Posts).await
    }

    async fn in_order(
        &self,
        actor: &ActorId,
        letters: Vec<Letter>,
        wanted: fn(oneshot::Sender<Arrived>) -> Wanted,
    ) -> Arrived {
        let (sender, receipts) = oneshot::channel();
        let (id, wanted) = (MessageId::random(), wanted(sender));
        let outgoing = Outgoing { actor: actor.clone(), id, letters, wanted, delivered: false };
        let unknown = SendError::OutcomeUnknown { id, source: None };
        match self.router(self.shard_of(actor)).send(outgoing).await {
            Ok(()) => receipts.await.unwrap_or(Arrived { count: 0, error: Some(unknown) }),
            Err(_) => Arrived { count: 0, error: Some(unknown) },
        }
    }

    /// Puts a message on its way. It has its place in the order when this was polled once.
    async fn send(
        &self,
        actor: &ActorId,
        mut letter: Letter,
        wanted: Wanted,
    ) -> Result<MessageId, SendError> {
        let not_accepted = |reason: String| SendError::NotAccepted { reason: reason.into() };
        if let Some(reason) = actor.invalid() {
            return Err(not_accepted(format!("{actor} cannot name an actor: {reason}")));
        }
        let (size, limit) = (letter.payload.bytes().len(), self.message_bytes());
        if size > limit {
            return Err(not_accepted(format!("{size} bytes are over the limit of {limit}")));
        }
        // It may have to be sent again, so it needs an id.
        if let MessageKey::Anonymous = letter.key {
            letter.key = MessageKey::Transient(MessageId::random());
        }
        let id = letter.key.id().unwrap_or_else(MessageId::random);
        let (actor, letters) = (actor.clone(), vec![letter]);
        let outgoing = Outgoing { actor, id, letters, wanted, delivered: false };
        let router = self.router(self.shard_of(&outgoing.actor));
        // Constrained, one of many sends in a task could be held back while later ones go on.
        match tokio::task::coop::unconstrained(router.send(outgoing)).await {
            Ok(()) => Ok(id),
            Err(_) => Err(not_accepted("the node is gone".into())),
        }
    }

    fn router(&self, shard: ShardId) -> mpsc::Sender<Outgoing> {
        let mut routers = self.inner.routers.lock().unwrap_or_else(PoisonError::into_inner);
        let router = routers.entry(shard).or_insert_with(|| {
            let (sender, outgoing) = mpsc::channel(OUTGOING);
            tokio::spawn(Router::new(self.inner.shared.clone(), shard).run(outgoing));
            sender
        });
        router.clone()
    }

    /// Hands the shards of this node to others and waits until that is done. What actors have
    /// in their mailboxes is handled first. Messages can still be sent from here; they go to the
    /// other nodes.
    ///
    /// # Errors
    /// The store cannot be written; the shards are taken over when their leases have run out.
    pub async fn leave(&self) -> Result<(), JournalError> {
        self.inner.leave.send_replace(true);
        let manager = self.inner.manager.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(manager) = manager {
            manager.await.map_err(|_| JournalError::Closed)?;
        }
        Ok(())
    }
}

/// Who has a shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardStatus {
    /// The shard.
    pub shard: ShardId,
    /// The name of the node, if there is one.
    pub node: Option<String>,
}
