//! Steps: side effects of a handler whose results are recorded.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use fail::fail_point;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::codec::{CodecError, Payload};
use crate::engine::{Engine, Running};
use crate::error::JournalError;
use crate::id::{ActorNo, Sequence};
use crate::limits::steps_room;
use crate::record::RecordedStep;
use crate::session::Session;

/// Runs side effects for the message that is being handled, each at most once after its result is
/// recorded. Adapters get it from [`Mailbox::steps`](crate::Mailbox::steps) and give their contexts a
/// method on top of it. Cloning is cheap.
#[derive(Clone)]
pub struct Steps {
    shared: Arc<Shared>,
    /// The only attempt whose steps it runs, if it was given away to one.
    attempt: Option<u64>,
}

struct Shared {
    engine: Arc<Engine>,
    no: ActorNo,
    running: Arc<Running>,
    /// The receipt of the message is written, so its steps can be.
    received: AtomicBool,
    /// There are results of messages that are not processed.
    has_recorded: AtomicBool,
    /// Once there is a step.
    open: Mutex<Option<Box<Open>>>,
}

#[derive(Default)]
struct Open {
    recorded: BTreeMap<(Sequence, String), Payload<'static>>,
    /// How often each name was used, in one attempt.
    used: (u64, BTreeMap<String, u32>),
    /// Steps that wait for the receipt.
    waiting: Vec<Waker>,
}

impl std::fmt::Debug for Steps {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Steps").field("no", &self.shared.no).finish_non_exhaustive()
    }
}

/// Why a step has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StepError {
    /// The message of the step is not being handled: a step belongs into the future of a durable
    /// handler, and cannot outlive it.
    #[error("the step {step:?} is not part of the handling of a durable message")]
    NoMessage {
        /// The name of the step.
        step: String,
    },
    /// The result does not encode, or what was recorded does not decode into today's type.
    #[error("the result of the step {step:?} cannot be recorded or read")]
    Codec {
        /// The name of the step.
        step: String,
        /// Why not.
        source: CodecError,
    },
    /// The result is larger than [`Limits::reply_bytes`](crate::Limits::reply_bytes), or than what those
    /// before it have left of a sixteenth of the store's largest row
    /// ([`row_bytes`](crate::provider::ActorProvider::row_bytes)), 56 MB, for all results that are kept for
    /// the messages of one actor.
    #[error("the result of the step {step:?} has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// The name of the step.
        step: String,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The journal has stopped. The message is handled again by its next owner.
    #[error("the result of the step {step:?} is not recorded")]
    Journal {
        /// The name of the step.
        step: String,
        /// Why it has stopped.
        source: JournalError,
    },
}

impl StepError {
    /// Whether the same step can succeed when the message is handled again.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Journal { .. })
    }
}

impl Steps {
    pub(super) fn new(session: &Session, recorded: Vec<RecordedStep>) -> Self {
        let has_recorded = !recorded.is_empty();
        let recorded = recorded.into_iter().map(|it| ((it.sequence, it.name), it.result)).collect();
        let shared = Shared {
            engine: session.engine().clone(),
            no: session.no(),
            running: session.running().clone(),
            received: AtomicBool::new(false),
            has_recorded: AtomicBool::new(has_recorded),
            open: Mutex::new(has_recorded.then(|| Box::new(Open { recorded, ..Open::default() }))),
        };
        Self { attempt: None, shared: Arc::new(shared) }
    }

    /// For a future that may outlive the attempt at its message that runs now: then it runs no steps
    /// any more, so that they are not taken for those of the next attempt.
    #[must_use]
    pub fn of_this_attempt(&self) -> Self {
        Self { attempt: Some(self.shared.running.station.attempt()), ..self.clone() }
    }

    /// Whether what is done for the message still counts, as far as this process knows: the attempt has not ended
    /// ([`of_this_attempt`](Self::of_this_attempt)), nobody has asked the actor to stop, and the journal has not
    /// stopped. For code that cannot be cut off, a loop in a thread say, so that it ends before another
    /// node handles the message again. A node that was paused finds out with its next commit.
    #[must_use]
    pub fn is_owner(&self) -> bool {
        let Shared { engine, running, .. } = &*self.shared;
        let is_at =
            |attempt| running.station.attempt() == attempt && self.shared.message().is_some();
        self.attempt.is_none_or(is_at)
            && running.halt.asked().is_none()
            && engine.shared().queue.stopped().is_none()
    }

    /// Runs a side effect and records its result, durably, before it returns it. When the message is
    /// handled again, after a crash or a panic, it returns the recorded result and does not run it.
    ///
    /// A crash between the effect and its recording makes it run again: give it an idempotency key,
    /// the message's id for example. A name that is used again while the same message is handled is
    /// another step: the second of that name. The result is recorded whatever it is, an error too; it
    /// is forgotten when the message is processed.
    ///
    /// It belongs into the future of a durable handler, which then is one that takes its time. The
    /// place of a step among those of its name is that of this call. Dropping the future leaves open
    /// whether the effect happened.
    ///
    /// # Errors
    /// See [`StepError`].
    pub fn step<T, E, F>(
        &self,
        name: &str,
        effect: E,
    ) -> impl Future<Output = Result<T, StepError>> + use<T, E, F>
    where
        T: Serialize + DeserializeOwned,
        E: FnOnce() -> F,
        F: Future<Output = T>,
    {
        let (shared, step) = (self.shared.clone(), name.to_owned());
        let begun = shared.begin(name, self.attempt);
        async move {
            let (message, name) = begun.ok_or(StepError::NoMessage { step: step.clone() })?;
            let recorded = shared.recorded(message, &name);
            if let Some(recorded) = recorded {
                return recorded.decode().map_err(|source| StepError::Codec { step, source });
            }
            #[cfg(feature = "test-util")]
            shared.refuse_in_rehearsal(&step);
            let result = effect().await;
            let encoded = Payload::encode(shared.engine.shared().codec, &result);
            let is_checked = shared.engine.shared().checks_values;
            let (payload, result) = encoded
                .and_then(|payload| {
                    let result = if is_checked { payload.verify_as()? } else { result };
                    Ok((payload, result))
                })
                .map_err(|source| StepError::Codec { step: step.clone(), source })?;
            let (size, limit) = (payload.bytes().len(), shared.limit());
            if size > limit {
                return Err(StepError::TooLarge { step, size, limit });
            }
            if !shared.is_received(message).await {
                return Err(StepError::NoMessage { step });
            }
            let payload = payload.into_owned();
            fail_point!("before-step");
            // Before it is durable: it is before anything of a next attempt is, and if this one ends
            // here, that one knows it.
            let recorded = ((message, name.clone()), payload.clone());
            shared.lock().get_or_insert_default().recorded.extend([recorded]);
            shared.has_recorded.store(true, Ordering::Release);
            shared
                .engine
                .step(shared.no, message, &name, &payload)
                .await
                .map_err(|source| StepError::Journal { step, source })?;
            fail_point!("after-step");
            Ok(result)
        }
    }

    /// The handler of a message begins.
    #[expect(clippy::ptr_arg, reason = "it is kept, and a static name stays one")]
    pub(super) fn begin(&self, message: Sequence, kind: &Cow<'static, str>, received: bool) {
        self.shared.received.store(received, Ordering::Release);
        self.shared.running.station.begin(message, kind);
    }

    /// The receipt of the message is written: its handler is not done.
    pub(super) fn received(&self) {
        self.shared.received.store(true, Ordering::Release);
        let waiting = self.shared.lock().as_mut().map(|open| std::mem::take(&mut open.waiting));
        waiting.into_iter().flatten().for_each(Waker::wake);
    }

    /// The handler has ended, one way or the other.
    pub(super) fn end(&self) {
        self.shared.running.station.end();
    }

    /// Messages are processed: their results are not needed any more.
    pub(super) fn forget(&self, messages: impl Iterator<Item = Sequence>) {
        if !self.shared.has_recorded.load(Ordering::Acquire) {
            return;
        }
        let mut open = self.shared.lock();
        let open = open.get_or_insert_default();
        for message in messages {
            open.recorded.retain(|(of, _), _| *of != message);
        }
        self.shared.has_recorded.store(!open.recorded.is_empty(), Ordering::Release);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Option<Box<Open>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The result of a step of a message, from an earlier attempt.
    fn recorded(&self, message: Sequence, name: &str) -> Option<Payload<'static>> {
        self.lock().as_ref()?.recorded.get(&(message, name.to_owned())).cloned()
    }

    /// The handler ends with this panic, and its message as a dead letter of the rehearsal.
    #[cfg(feature = "test-util")]
    fn refuse_in_rehearsal(&self, step: &str) {
        let is_rehearsal = self.engine.shared().rehearsal.get().is_some();
        assert!(!is_rehearsal, "{} {step:?}", crate::test_util::UNRECORDED_STEP);
    }

    /// The next result may have so many bytes.
    fn limit(&self) -> usize {
        let shared = self.engine.shared();
        let all = steps_room(shared.provider.row_bytes());
        let open = self.lock();
        let recorded = open.iter().flat_map(|open| open.recorded.values());
        let recorded = recorded.map(|it| it.bytes().len()).sum();
        shared.limits.reply_bytes.min(all.saturating_sub(recorded))
    }

    fn message(&self) -> Option<Sequence> {
        self.running.station.message()
    }

    /// The message of a step that is called now, and the step's own name among its steps.
    fn begin(&self, name: &str, of: Option<u64>) -> Option<(Sequence, String)> {
        let message = self.message()?;
        let mut open = self.lock();
        let open = open.get_or_insert_default();
        let attempt = self.running.station.attempt();
        if of.is_some_and(|of| of != attempt) {
            return None;
        }
        if open.used.0 != attempt {
            open.used = (attempt, BTreeMap::new());
        }
        let count = open.used.1.entry(name.to_owned()).or_default();
        *count += 1;
        // With its number, so that no other name is the same.
        Some((message, format!("{name}#{count}")))
    }

    /// Waits until the receipt of the message is written. False if it is not handled any more.
    async fn is_received(&self, message: Sequence) -> bool {
        poll_fn(|cx| {
            if self.message() != Some(message) {
                return Poll::Ready(false);
            }
            // Under the lock, so that it is not missed.
            let mut open = self.lock();
            let open = open.get_or_insert_default();
            if self.received.load(Ordering::Acquire) {
                return Poll::Ready(true);
            }
            open.waiting.push(cx.waker().clone());
            Poll::Pending
        })
        .await
    }
}
