//! How the lanes of a service are started.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, Weak};

use futures::FutureExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_journal::ActorId;
use shared_journal::mailbox::caught;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;
use tower_service::Service;

use super::attendant::{Attendant, Route, is_permanent};
use super::door::{Door, Life, Sent};
use super::lane::{Common, Inner, Lane};
use super::name::RouteName;
use super::route::{Claim, Routes, ended};
use crate::service::Recovered;
use crate::shared::{Failure, Shared};

/// A service whose lanes are not started.
pub(super) struct Starting<S: Service<Req>, Req> {
    pub(super) claim: Claim,
    pub(super) original: S,
    pub(super) common: Common<S, Req>,
    pub(super) lanes: Vec<StartingLane<S, Req>>,
    pub(super) capacity: usize,
    pub(super) route: Route,
    pub(super) routes: Arc<Routes>,
    pub(super) tasks: TaskTracker,
    pub(super) before: Option<TaskTracker>,
}

pub(super) struct StartingLane<S: Service<Req>, Req> {
    pub(super) actor: ActorId,
    pub(super) door: Weak<Door<S, Req>>,
    pub(super) receiver: mpsc::Receiver<Sent<S, Req>>,
    pub(super) shared: Arc<Shared>,
}

type Opened<S, Req> = (Attendant<S, Req>, Result<Recovered<Lane<S, Req>>, Failure>);

impl<S, Req> Starting<S, Req>
where
    S: Inner<Req>,
    Req: Serialize + DeserializeOwned + Send + 'static,
{
    /// Starts all lanes, or none if one of them cannot.
    pub(super) async fn all(self) -> Result<(), Failure> {
        self.start(|_| false).await
    }

    /// Starts those lanes that can start; the others are tried again. None if that is of no use.
    pub(super) async fn some(self) {
        let (route, first) = (self.route.clone(), self.claim.name.lane(0, self.lanes.len()));
        let starting = AssertUnwindSafe(self.start(|failure| !is_permanent(failure)));
        let failure = match starting.catch_unwind().await {
            Ok(Ok(())) => return,
            Ok(Err(failure)) => failure,
            Err(panic) => Failure::Panicked { actor: first.clone(), panic: caught(panic).into() },
        };
        route.fail(&first, failure);
    }

    async fn start(self, goes_on: impl Fn(&Failure) -> bool) -> Result<(), Failure> {
        let (claim, tasks) = (self.claim.clone(), self.tasks.clone());
        let lives: Vec<_> = self.lanes.iter().map(|lane| lane.shared.clone()).collect();
        // Before the channels are dropped: callers that find them closed look here.
        let refuse = |failure: Failure| {
            for life in &lives {
                life.fail_with(failure.clone());
            }
            failure
        };
        let opened = self.open(goes_on, &refuse).await?;
        // After the last wait: as late as can be, and in one step with looking.
        claim.start().map_err(&refuse)?;
        for (attendant, recovered) in opened {
            tasks.spawn(attendant.attend(recovered));
        }
        Ok(())
    }

    async fn open(
        self,
        goes_on: impl Fn(&Failure) -> bool,
        refuse: impl Fn(Failure) -> Failure,
    ) -> Result<Vec<Opened<S, Req>>, Failure> {
        if let Some(before) = &self.before {
            ended(before).await;
        }
        let journal = &self.common.journal;
        let waiting = journal.pending().await;
        let waiting = waiting.map_err(|error| refuse(Failure::Journal(Arc::new(error))))?;
        let mut lanes = self.lanes;
        for actor in waiting {
            let Some(name) = RouteName::of_lane(&self.claim.name.layer, &actor) else { continue };
            if name == self.claim.name && lanes.iter().all(|lane| lane.actor != actor) {
                // Of an earlier number of lanes, with requests that were accepted.
                let (life, receiver) = Life::<S, Req>::new(1);
                let (door, shared) = (Weak::new(), life.shared.clone());
                lanes.push(StartingLane { actor, door, receiver, shared });
            } else if !self.routes.is_taken(&name) {
                tracing::warn!(
                    lane = %actor,
                    "requests wait for a route that has no service yet"
                );
            }
        }
        let original = Arc::new(Mutex::new(self.original));
        let mut opened = Vec::with_capacity(lanes.len());
        for StartingLane { actor, door, receiver, shared } in lanes {
            let mut attendant = Attendant {
                actor,
                door,
                receiver,
                shared,
                capacity: self.capacity,
                original: original.clone(),
                common: self.common.clone(),
                done: Arc::default(),
                route: self.route.clone(),
            };
            let recovered = attendant.recover().await;
            if let Err(failure) = &recovered
                && (journal.stopped().is_some() || !goes_on(failure))
            {
                return Err(refuse(failure.clone()));
            }
            opened.push((attendant, recovered));
        }
        Ok(opened)
    }
}
