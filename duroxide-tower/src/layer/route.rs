//! The routes that a layer was applied to in this process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::name::RouteName;
use crate::shared::Failure;

/// The routes of a layer and its clones.
#[derive(Default)]
pub(super) struct Routes(Mutex<HashMap<RouteName, Seat>>);

/// The place of one service: which has it, and the tasks of its lanes.
struct Seat {
    service: Weak<Alive>,
    tasks: TaskTracker,
}

/// A service exists, and has its route.
pub(super) struct Alive {
    pub(super) claim: Claim,
    /// For the lanes; cancelled when the service is gone.
    _gone: DropGuard,
}

/// What a service and the start of its lanes share.
#[derive(Clone)]
pub(super) struct Claim {
    pub(super) name: RouteName,
    state: Arc<Mutex<State>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its lanes are not started.
    Starting,
    Started,
    /// Another one came before its lanes were started.
    Disputed,
}

/// What a new service has of its route.
pub(super) struct Taken {
    pub(super) alive: Arc<Alive>,
    /// Cancelled when nobody has the service any more.
    pub(super) gone: CancellationToken,
    /// Where the tasks of its lanes are counted.
    pub(super) tasks: TaskTracker,
    /// The tasks of the service that was there before, and is gone.
    pub(super) before: Option<TaskTracker>,
}

impl Routes {
    /// Takes a route for a new service.
    ///
    /// # Errors
    /// Another service has it. If that one has not started its lanes, it never will: which of the
    /// two comes first may be chance, as in a router that keeps its routes in a hash map.
    pub(super) fn take(&self, name: &RouteName) -> Result<Taken, Failure> {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(other) = seats.get(name).and_then(|seat| seat.service.upgrade()) {
            other.claim.dispute();
            return Err(taken(name));
        }
        let gone = CancellationToken::new();
        let claim = Claim { name: name.clone(), state: Arc::new(Mutex::new(State::Starting)) };
        let alive = Arc::new(Alive { claim, _gone: gone.clone().drop_guard() });
        let tasks = TaskTracker::new();
        let seat = Seat { service: Arc::downgrade(&alive), tasks: tasks.clone() };
        let before = seats.insert(name.clone(), seat).map(|seat| seat.tasks);
        Ok(Taken { alive, gone, tasks, before })
    }

    pub(super) fn is_taken(&self, name: &RouteName) -> bool {
        let seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seats.get(name).is_some_and(|seat| seat.service.strong_count() > 0)
    }

    /// Waits until the tasks of all its services have ended. Cancel-safe.
    pub(super) async fn ended(&self) {
        let tasks: Vec<_> = {
            let seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            seats.values().map(|seat| seat.tasks.clone()).collect()
        };
        for tasks in tasks {
            ended(&tasks).await;
        }
    }
}

/// Waits until there are no more tasks. Cancel-safe.
pub(super) async fn ended(tasks: &TaskTracker) {
    // Others can still be started.
    tasks.close();
    tasks.wait().await;
}

impl Claim {
    /// The lanes may start.
    ///
    /// # Errors
    /// Another service wanted the route.
    pub(super) fn start(&self) -> Result<(), Failure> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Disputed => Err(taken(&self.name)),
            State::Starting | State::Started => {
                *state = State::Started;
                Ok(())
            }
        }
    }

    fn dispute(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if *state == State::Starting {
            *state = State::Disputed;
        }
    }
}

fn taken(name: &RouteName) -> Failure {
    Failure::RouteTaken { layer: name.layer.clone(), route: name.route.clone() }
}
