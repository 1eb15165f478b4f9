//! The output gate: replies wait there until their commit is durable.
//!
//! What is released runs on the runtime of the actor that submitted it, all of a commit in one
//! task: the writer goes on with the next commit at once, wakes a thread once instead of once for
//! every reply, and what a thread allocated it frees itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::runtime;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::error::JournalError;

/// Called once, when the fate of a submission is known: it is durable, or the journal stopped and
/// nobody knows.
pub(crate) type Release = Box<dyn FnOnce(Fate) + Send>;

pub(crate) type Fate = Result<(), Arc<JournalError>>;

/// Where the releases of a runtime's actors run.
#[derive(Clone)]
pub(crate) struct Gate(UnboundedSender<Opened>);

/// The gates of a journal, one a runtime.
#[derive(Default)]
pub(crate) struct Gates(Mutex<Vec<(runtime::Id, Gate)>>);

impl Gates {
    /// The gate of the current runtime; none outside of a runtime.
    pub(crate) fn here(&self) -> Option<Gate> {
        let runtime = runtime::Handle::try_current().ok()?;
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        gates.retain(|(_, gate)| !gate.0.is_closed());
        if let Some((_, gate)) = gates.iter().find(|(id, _)| *id == runtime.id()) {
            return Some(gate.clone());
        }
        let (sender, mut receiver) = unbounded_channel();
        // Ends with the journal; or with the runtime, and then the writer releases.
        runtime.spawn(async move {
            while let Some(opened) = receiver.recv().await {
                drop::<Opened>(opened);
            }
        });
        let gate = Gate(sender);
        gates.push((runtime.id(), gate.clone()));
        Some(gate)
    }
}

/// The releases of one commit, by their gates.
#[derive(Default)]
pub(crate) struct Releases(Vec<(Option<Gate>, Vec<Release>)>);

impl Releases {
    pub(crate) fn push(&mut self, gate: Option<&Gate>, release: Release) {
        let same = |other: &Option<Gate>| match (gate, other) {
            (Some(gate), Some(other)) => gate.0.same_channel(&other.0),
            (gate, other) => gate.is_none() && other.is_none(),
        };
        match self.0.iter_mut().find(|(other, _)| same(other)) {
            Some((_, releases)) => releases.push(release),
            None => self.0.push((gate.cloned(), vec![release])),
        }
    }

    /// The commit is durable.
    pub(crate) fn open(self) {
        for (gate, releases) in self.0 {
            let opened = Opened { releases, fate: Ok(()) };
            match gate {
                // If its runtime has ended, the error holds what was opened, and runs it here.
                Some(gate) => drop(gate.0.send(opened)),
                None => drop(opened),
            }
        }
    }

    /// Nobody knows whether the commit is durable.
    pub(crate) fn fail(self, error: &Arc<JournalError>) {
        for (_, releases) in self.0 {
            drop(Opened { releases, fate: Err(error.clone()) });
        }
    }
}

/// Releases whose time has come: they run when this is dropped, wherever that happens. So none is
/// lost with a runtime that ends.
struct Opened {
    releases: Vec<Release>,
    fate: Fate,
}

impl Drop for Opened {
    fn drop(&mut self) {
        for release in self.releases.drain(..) {
            let fate = self.fate.clone();
            // A release drops messages and replies of the user's types. If one of them panics,
            // the others are released all the same.
            if catch_unwind(AssertUnwindSafe(|| release(fate))).is_err() {
                tracing::error!("dropping a message or a reply panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread;
    use std::time::Duration;

    use super::*;

    fn runtime() -> runtime::Runtime {
        runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    /// A release that says where it ran.
    fn telling(told: &Sender<thread::ThreadId>) -> Release {
        let told = told.clone();
        Box::new(move |_| told.send(thread::current().id()).unwrap())
    }

    fn next(told: &Receiver<thread::ThreadId>) -> thread::ThreadId {
        told.recv_timeout(Duration::from_secs(20)).expect("it was never released")
    }

    #[test]
    fn releases_run_in_the_runtime_that_submitted() {
        let (sender, told) = channel();
        let gates = Gates::default();
        let runtime = runtime();
        let mut releases = Releases::default();
        let gate = runtime.block_on(async { gates.here() });
        releases.push(gate.as_ref(), telling(&sender));
        thread::spawn(|| releases.open()).join().unwrap();
        assert!(told.try_recv().is_err(), "released before the runtime ran");
        let released = async {
            while told.try_recv().is_err() {
                tokio::task::yield_now().await;
            }
        };
        runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(20), released).await })
            .expect("it was never released");
    }

    #[test]
    fn a_runtime_that_ends_takes_no_reply_with_it() {
        let (sender, told) = channel();
        let gates = Gates::default();
        let runtime = runtime();
        let gate = runtime.block_on(async { gates.here() });
        let mut queued = Releases::default();
        queued.push(gate.as_ref(), telling(&sender));
        queued.open();
        let mut late = Releases::default();
        late.push(gate.as_ref(), telling(&sender));
        drop(runtime);
        assert_eq!(next(&told), thread::current().id(), "what was queued runs as it is dropped");
        late.open();
        assert_eq!(next(&told), thread::current().id(), "what comes later runs at the writer's");
        assert!(gates.here().is_none());
    }

    #[test]
    fn a_panicking_release_does_not_hold_up_the_others() {
        let (sender, told) = channel();
        let mut releases = Releases::default();
        releases.push(None, Box::new(|_| panic!("on purpose")));
        releases.push(None, telling(&sender));
        releases.open();
        next(&told);
    }
}
