//! The actors of a shard that run on this node, each behind a lane: a queue in the order of
//! delivery, and a task that starts the actor when there is something for it.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use rustc_hash::FxHashMap;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::host::{Delivered, Host, Hosted, Parcel};
use crate::error::JournalError;
use crate::id::ActorId;
use crate::journal::EventJournal;
use crate::mailbox::error_text;

/// How long an actor that is leaving memory is waited for before it is started again.
const LEAVING: Duration = Duration::from_secs(30);

pub(super) type Hosts = FxHashMap<&'static str, Arc<dyn Host>>;

pub(super) struct Lanes {
    journal: EventJournal,
    hosts: Arc<Hosts>,
    lanes: Mutex<LruCache<ActorId, Lane>>,
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
        Self { journal, hosts, lanes: Mutex::new(LruCache::unbounded()), capacity, places }
    }

    /// Puts a message behind those that were delivered before.
    pub(super) fn deliver(&self, actor: &ActorId, parcel: Parcel) {
        self.send(actor, Some(parcel));
    }

    /// Starts an actor, so that it handles what an earlier owner received.
    pub(super) fn wake(&self, actor: &ActorId) {
        self.send(actor, None);
    }

    /// Lets all actors go. They handle what was delivered.
    pub(super) fn clear(&self) {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn send(&self, actor: &ActorId, parcel: Option<Parcel>) {
        let Some(host) = self.hosts.get(actor.actor_type()) else {
            let actor_type = actor.actor_type();
            tracing::error!(%actor, "no host for actors of this type on this node");
            if let Some(parcel) = parcel {
                let reason = format!("the node of {actor} has no host for actors of {actor_type}");
                parcel.answer.answer(Delivered::Refused(reason.into()));
            }
            return;
        };
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let lane = lanes.get_or_insert(actor.clone(), || {
            let (queue, parcels) = unbounded_channel();
            let waiting = Arc::<AtomicUsize>::default();
            let name = actor.clone();
            let places = Arc::new(Semaphore::new(self.places));
            let runner = Runner { host: host.clone(), journal: self.journal.clone(), actor: name };
            tokio::spawn(runner.run(parcels, waiting.clone(), places));
            Lane { queue, waiting }
        });
        lane.waiting.fetch_add(1, Ordering::AcqRel);
        // The task ends after the lane is dropped, so it is there.
        let _ = lane.queue.send(parcel);
        // The least used ones go, unless messages wait in them: those must not be overtaken.
        while lanes.len() > self.capacity.get()
            && lanes.peek_lru().is_some_and(|(_, it)| it.waiting.load(Ordering::Acquire) == 0)
        {
            lanes.pop_lru();
        }
    }
}

/// The task of a lane.
struct Runner {
    host: Arc<dyn Host>,
    journal: EventJournal,
    actor: ActorId,
}

impl Runner {
    async fn run(
        self,
        mut parcels: UnboundedReceiver<Option<Parcel>>,
        waiting: Arc<AtomicUsize>,
        places: Arc<Semaphore>,
    ) {
        let mut running: Option<Box<dyn Hosted>> = None;
        while let Some(mut parcel) = parcels.recv().await {
            if let Some(parcel) = &mut parcel
                && let Ok(place) = places.clone().acquire_owned().await
            {
                parcel.answer.take_place(place);
            }
            self.hand_over(&mut running, parcel).await;
            waiting.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Starts the actor if it does not run, and puts the message into its mailbox.
    async fn hand_over(&self, running: &mut Option<Box<dyn Hosted>>, mut parcel: Option<Parcel>) {
        let Self { host, journal, actor } = self;
        loop {
            let hosted = match &mut *running {
                Some(hosted) => hosted,
                None => match start_hosted(&**host, journal, actor).await {
                    Ok(hosted) => running.insert(hosted),
                    Err(error) => {
                        tracing::error!(%actor, error = error_text(&error), "the actor does not start");
                        if let Some(parcel) = parcel.take() {
                            parcel.answer.answer(match journal.stopped() {
                                Some(stopped) => Delivered::Lost(Some(stopped)),
                                None => Delivered::Refused(error_text(&error).into()),
                            });
                        }
                        return;
                    }
                },
            };
            let Some(present) = parcel.take() else { return };
            match hosted.deliver(present).await {
                Ok(()) => return,
                // It stopped of its own accord.
                Err(returned) => {
                    *running = None;
                    if journal.stopped().is_some() {
                        return;
                    }
                    parcel = Some(returned);
                }
            }
        }
    }
}

/// Starts an actor, when the one that was passivated before is gone.
pub(crate) async fn start_hosted(
    host: &dyn Host,
    journal: &EventJournal,
    actor: &ActorId,
) -> Result<Box<dyn Hosted>, Arc<JournalError>> {
    let begin = Instant::now();
    loop {
        match host.start(journal, actor.id()).await {
            Err(error)
                if matches!(&*error, JournalError::AlreadyActive { .. })
                    && begin.elapsed() < LEAVING =>
            {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            started => return started,
        }
    }
}
