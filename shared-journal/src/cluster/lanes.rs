//! The actors of a shard that run on this node, each behind a lane: a queue in the order of
//! delivery, and a task that starts the actor when there is something for it.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use rustc_hash::FxHashMap;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::discarded::{bury, is_discarded};
use super::host::{Delivered, Host, Hosted, Parcel, WayBack};
use crate::error::JournalError;
use crate::id::ActorId;
use crate::journal::EventJournal;
use crate::mailbox::{error_text, made};

/// Lanes of which one that is idle is let go, if there are too many.
const LOOKED_AT: usize = 64;
/// Before what an ended actor had is delivered again.
const RETRY: Duration = Duration::from_millis(10);
/// And at most, if it ends again and again.
const RETRY_AT_MOST: Duration = Duration::from_secs(5);
/// One that lives for so long is not one that ends again and again.
const LIVES: Duration = Duration::from_secs(10);
/// How long an actor that is leaving memory is waited for before it is started again.
const LEAVING: Duration = Duration::from_secs(30);

pub(super) type Hosts = FxHashMap<&'static str, Arc<dyn Host>>;

/// The host of those who are on no node and wait for replies.
pub(super) fn host_of(hosts: &Hosts, reply_to: &str) -> Option<Arc<dyn Host>> {
    hosts.get(reply_to.split_once('/')?.0).cloned()
}

pub(super) struct Lanes {
    journal: EventJournal,
    hosts: Arc<Hosts>,
    /// Those of actors, and those of instances of duroxide, which are not in memory for that.
    actors: Mutex<LruCache<ActorId, Lane>>,
    instances: Mutex<LruCache<ActorId, Lane>>,
    capacity: NonZeroUsize,
    /// The places of an actor: as many messages may be with it whose outcome nobody knows.
    places: usize,
}

struct Lane {
    queue: UnboundedSender<Option<Parcel>>,
    /// Parcels that are not in the actor's mailbox yet.
    waiting: Arc<AtomicUsize>,
}

impl Lanes {
    pub(super) fn new(
        journal: EventJournal,
        hosts: Arc<Hosts>,
        capacity: NonZeroUsize,
        places: usize,
    ) -> Self {
        let (actors, instances) = (LruCache::unbounded(), LruCache::unbounded());
        let (actors, instances) = (Mutex::new(actors), Mutex::new(instances));
        Self { journal, hosts, actors, instances, capacity, places }
    }

    /// Puts a message behind those that were delivered before.
    pub(super) fn deliver(&self, actor: &ActorId, parcel: Parcel) {
        self.send(actor, Some(parcel));
    }

    /// Starts an actor, so that it handles what an earlier owner received, or what its timers send.
    pub(super) fn wake(&self, actor: &ActorId) {
        self.send(actor, None);
    }

    /// As [`host_of`], for replies from here.
    pub(super) fn host_of(&self, reply_to: &str) -> Option<Arc<dyn Host>> {
        host_of(&self.hosts, reply_to)
    }

    /// Lets all actors go. They handle what was delivered.
    pub(super) fn clear(&self) {
        for lanes in [&self.actors, &self.instances] {
            lanes.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    fn send(&self, actor: &ActorId, mut parcel: Option<Parcel>) {
        let Some(host) = self.hosts.get(actor.actor_type()) else {
            if let Some(parcel) = parcel.take_if(|parcel| is_discarded(&parcel.kind)) {
                let (journal, actor) = (self.journal.clone(), actor.clone());
                tokio::spawn(async move { bury(&journal, &actor, parcel).await });
                return;
            }
            let actor_type = actor.actor_type();
            tracing::error!(%actor, "no host for actors of this type on this node");
            if let Some(parcel) = parcel {
                let reason = format!("the node of {actor} has no host for actors of {actor_type}");
                parcel.answer.answer(Delivered::Refused(reason.into()));
            }
            return;
        };
        let lanes = if actor.is_reserved() { &self.instances } else { &self.actors };
        let mut lanes = lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.get_or_insert(actor.clone(), || {
            let (queue, parcels) = unbounded_channel();
            let waiting = Arc::<AtomicUsize>::default();
            let name = actor.clone();
            let places = Arc::new(Semaphore::new(self.places));
            let (host, journal) = (host.clone(), self.journal.clone());
            let (pause, started) = (RETRY, Instant::now());
            let runner = Runner { host, journal, actor: name, running: None, pause, started };
            tokio::spawn(runner.run(parcels, waiting.clone(), places));
            Lane { queue, waiting }
        });
        lane.waiting.fetch_add(1, Ordering::AcqRel);
        // The task ends after the lane is dropped, so it is there.
        let _ = lane.queue.send(parcel);
        // The least used ones go, unless messages wait in them: those must not be overtaken.
        while lanes.len() > self.capacity.get() {
            let mut oldest = lanes.iter().rev().take(LOOKED_AT);
            let idle = oldest.find(|(_, lane)| lane.waiting.load(Ordering::Acquire) == 0);
            let Some((actor, _)) = idle else { break };
            let actor = actor.clone();
            lanes.pop(&actor);
        }
    }
}

/// The task of a lane. What an actor has as it ends comes back, and is delivered again in its old order
/// before anything else.
struct Runner {
    host: Arc<dyn Host>,
    journal: EventJournal,
    actor: ActorId,
    running: Option<Box<dyn Hosted>>,
    /// Before it is started again with what it had as it ended: longer each time, until it lives longer.
    pause: Duration,
    started: Instant,
}

impl Runner {
    async fn run(
        mut self,
        mut parcels: UnboundedReceiver<Option<Parcel>>,
        waiting: Arc<AtomicUsize>,
        places: Arc<Semaphore>,
    ) {
        let (lost, mut returned) = unbounded_channel();
        let way_back = WayBack { lost, under_way: Arc::default() };
        let mut number = 0;
        loop {
            let mut parcel = tokio::select! {
                biased;
                Some(first) = returned.recv() => {
                    self.deliver_again(first, &mut returned, &way_back).await;
                    continue;
                }
                parcel = parcels.recv() => match parcel {
                    Some(parcel) => parcel,
                    None => return,
                },
            };
            if let Some(parcel) = &mut parcel {
                let place = loop {
                    // What has come back may have all the places.
                    tokio::select! {
                        biased;
                        Some(first) = returned.recv() => {
                            self.deliver_again(first, &mut returned, &way_back).await;
                        }
                        place = places.clone().acquire_owned() => break place,
                    }
                };
                if let Ok(place) = place {
                    parcel.answer.take_place(place);
                }
                number += 1;
                parcel.come_back(number, &way_back);
            }
            self.hand_over(parcel).await;
            waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// The actor has ended. Waits for all that it had.
    async fn deliver_again(
        &mut self,
        first: (u64, Parcel),
        returned: &mut UnboundedReceiver<(u64, Parcel)>,
        way_back: &WayBack,
    ) {
        let mut lost = BTreeMap::from([first]);
        while way_back.under_way.load(Ordering::Acquire) > 0 {
            // One that is answered says nothing.
            lost.extend(tokio::time::timeout(RETRY, returned.recv()).await.ok().flatten());
        }
        lost.extend(std::iter::from_fn(|| returned.try_recv().ok()));
        tracing::debug!(actor = %self.actor, messages = lost.len(), "delivered again");
        self.running = None;
        self.pause = if self.started.elapsed() > LIVES { RETRY } else { self.pause };
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(RETRY_AT_MOST);
        for (number, mut parcel) in lost {
            parcel.come_back(number, way_back);
            self.hand_over(Some(parcel)).await;
        }
    }

    /// Starts the actor if it does not run, and puts the message into its mailbox. If the actor has ended,
    /// the message comes back.
    async fn hand_over(&mut self, mut parcel: Option<Parcel>) {
        if let Some(parcel) = parcel.take_if(|parcel| is_discarded(&parcel.kind)) {
            // It leaves memory, if it runs.
            self.running = None;
            return bury(&self.journal, &self.actor, parcel).await;
        }
        if parcel.is_none() && self.running.as_ref().is_some_and(|hosted| hosted.has_ended()) {
            self.running = None;
        }
        let hosted = match &mut self.running {
            Some(hosted) => hosted,
            None => match start_hosted(&*self.host, &self.journal, &self.actor).await {
                Ok(hosted) => {
                    self.started = Instant::now();
                    self.running.insert(hosted)
                }
                Err(error) => {
                    let stopped = self.journal.stopped();
                    if stopped.is_none() {
                        tracing::error!(actor = %self.actor, error = error_text(&error), "the actor does not start");
                    }
                    if let Some(parcel) = parcel {
                        parcel.answer.answer(match stopped {
                            Some(stopped) => Delivered::Lost(Some(stopped)),
                            None => Delivered::Refused(error_text(&error).into()),
                        });
                    }
                    return;
                }
            },
        };
        let Some(parcel) = parcel else { return };
        if hosted.deliver(parcel).await.is_err() {
            // It stopped of its own accord, or with the journal.
            self.running = None;
        }
    }
}

/// Starts an actor, when the one that was passivated before is gone.
pub(crate) async fn start_hosted(
    host: &dyn Host,
    journal: &EventJournal,
    actor: &ActorId,
) -> Result<Box<dyn Hosted>, Arc<JournalError>> {
    when_gone(|| made(actor, host.start(journal, actor.id()))).await
}

/// Tries again while an actor runs that is leaving memory, for [`LEAVING`].
pub(super) async fn when_gone<T, E: Borrow<JournalError>, F: Future<Output = Result<T, E>>>(
    attempt: impl Fn() -> F,
) -> Result<T, E> {
    let begin = Instant::now();
    loop {
        match attempt().await {
            Err(error)
                if matches!(error.borrow(), JournalError::AlreadyActive { .. })
                    && begin.elapsed() < LEAVING =>
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            attempted => return attempted,
        }
    }
}
