//! A journal that stopped because its store was away for long is opened again.
//!
//! What an application holds, and what its actors hold, is the door: behind it an engine that has
//! stopped is replaced by one that is freshly opened and recovered, as a process that starts again
//! would do it. What the old one had not committed is forgotten; whoever waited for it was told so.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::builder::EventJournalBuilder;
use crate::codec::Codec;
use crate::engine::{Counters, Engine, Opening};
use crate::error::JournalError;
use crate::id::{Epoch, ShardId};
use crate::limits::Limits;
use crate::mailbox::error_text;
use crate::provider::ActorProvider;

/// Before the first attempt; each pause is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(crate) struct Door {
    store: Arc<dyn ActorProvider>,
    shard: ShardId,
    limits: Limits,
    codec: Codec,
    checks_values: bool,
    reopens: bool,
    counters: Arc<Counters>,
    runtime: Option<Handle>,
    state: Mutex<State>,
    /// There is another engine, or there will be none.
    changed: Notify,
}

struct State {
    engine: Arc<Engine>,
    /// The engine after the one of this epoch is being opened.
    opening: Option<Epoch>,
    /// Why there will be no other engine.
    ended: Option<Arc<JournalError>>,
    /// Somebody has closed the journal: it is not opened again.
    closing: bool,
}

impl Door {
    pub(crate) async fn open(
        store: Arc<dyn ActorProvider>,
        shard: ShardId,
        builder: EventJournalBuilder,
    ) -> Result<Arc<Self>, JournalError> {
        let EventJournalBuilder { limits, codec, check_values, keeps_stopped, .. } = builder;
        let counters = Arc::<Counters>::default();
        let opening =
            Opening { counters: counters.clone(), checks_values: check_values, after: None };
        let engine = Engine::open(store.clone(), shard, limits.clone(), codec, opening).await?;
        let engine = Arc::new(engine);
        let state = State { engine: engine.clone(), opening: None, ended: None, closing: false };
        let door = Arc::new(Self {
            store,
            shard,
            limits,
            codec,
            checks_values: check_values,
            reopens: !keeps_stopped,
            counters,
            runtime: Handle::try_current().ok(),
            state: Mutex::new(state),
            changed: Notify::new(),
        });
        door.attend(&engine);
        Ok(door)
    }

    /// The engine that runs now, or the last one that did.
    pub(crate) fn engine(&self) -> Arc<Engine> {
        self.lock().engine.clone()
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether an engine that answers with this error is going to be replaced.
    pub(crate) fn goes_on_after(&self, error: &JournalError) -> bool {
        self.reopens && matches!(error, JournalError::Stopped { .. }) && error.is_retryable()
    }

    /// Why nothing is taken any more, for good.
    pub(crate) fn ended(&self) -> Option<Arc<JournalError>> {
        let state = self.lock();
        let refusal = || state.engine.shared().queue.refusal();
        state.ended.clone().or_else(|| refusal().filter(|error| !self.goes_on_after(error)))
    }

    /// The engine after the one of this epoch, which has stopped. Cancel-safe.
    pub(crate) async fn engine_after(
        &self,
        epoch: Epoch,
    ) -> Result<Arc<Engine>, Arc<JournalError>> {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Before the look: what happens between the two is not missed.
            changed.as_mut().enable();
            {
                let state = self.lock();
                if let Some(ended) = &state.ended {
                    return Err(ended.clone());
                }
                if state.engine.shared().epoch > epoch {
                    return Ok(state.engine.clone());
                }
            }
            changed.await;
        }
    }

    pub(crate) async fn close(&self) -> Result<(), JournalError> {
        let engine = {
            let mut state = self.lock();
            state.closing = true;
            state.engine.clone()
        };
        let closed = engine.close().await;
        if let Some(refusal) = engine.shared().queue.refusal() {
            self.end(refusal);
        }
        closed
    }

    fn end(&self, error: Arc<JournalError>) {
        self.lock().ended.get_or_insert(error);
        self.changed.notify_waiters();
    }

    /// Hears of the engine's end.
    fn attend(self: &Arc<Self>, engine: &Engine) {
        let shared = engine.shared();
        let _ = shared.door.set(Arc::downgrade(self));
        // It may have stopped before it knew whom to tell.
        if let Some(error) = shared.queue.refusal() {
            self.has_stopped(shared.epoch, &error);
        }
    }

    /// An engine has stopped, and tells so, more than once perhaps.
    pub(crate) fn has_stopped(self: &Arc<Self>, epoch: Epoch, error: &Arc<JournalError>) {
        if !self.goes_on_after(error) {
            return;
        }
        {
            let mut state = self.lock();
            if state.opening >= Some(epoch) {
                return;
            }
            state.opening = Some(epoch);
        }
        // Not by the thread that tells: it has others to tell.
        let (door, cause, refusal) = (Arc::downgrade(self), error.clone(), error.clone());
        let thread = std::thread::Builder::new().name("journal-reopen".to_owned());
        if let Err(error) = thread.spawn(move || Self::reopen(&door, epoch, &cause)) {
            tracing::error!(error = error_text(&error), "no thread to open the journal again");
            self.end(refusal);
        }
    }

    /// Opens the next engine, sooner or later. Ends with the last handle of the journal.
    fn reopen(door: &Weak<Self>, stopped: Epoch, cause: &Arc<JournalError>) {
        let (mut pause, mut attempts) = (FIRST_PAUSE, 0_u32);
        loop {
            std::thread::sleep(pause);
            let Some(door) = door.upgrade() else { return };
            if door.lock().closing {
                return door.end(cause.clone());
            }
            let _runtime = door.runtime.as_ref().map(Handle::enter);
            let opening = Opening {
                counters: door.counters.clone(),
                checks_values: door.checks_values,
                after: Some((stopped, attempts > 0)),
            };
            let (store, limits) = (door.store.clone(), door.limits.clone());
            let opened = Engine::open(store, door.shard, limits, door.codec, opening);
            attempts += 1;
            match pollster::block_on(opened) {
                Ok(engine) => return door.replace(Arc::new(engine), attempts),
                Err(error) if error.is_retryable() => {
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    tracing::warn!(
                        store = door.store.location(),
                        attempts,
                        ?pause,
                        error = error_text(&error),
                        "the journal cannot be opened again yet"
                    );
                }
                Err(error) => {
                    tracing::error!(
                        store = door.store.location(),
                        error = error_text(&error),
                        "the journal is not opened again"
                    );
                    return door.end(Arc::new(JournalError::Stopped { source: Arc::new(error) }));
                }
            }
        }
    }

    fn replace(self: &Arc<Self>, engine: Arc<Engine>, attempts: u32) {
        let old = {
            let mut state = self.lock();
            if state.closing {
                drop(state);
                return self.end(Arc::new(JournalError::Closed));
            }
            std::mem::replace(&mut state.engine, engine.clone())
        };
        drop(old);
        self.counters.reopenings.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("journal_reopened_total").increment(1);
        let (store, epoch) = (self.store.location(), engine.shared().epoch);
        tracing::warn!(store, ?epoch, attempts, "the journal was opened again");
        self.changed.notify_waiters();
        self.attend(&engine);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
