//! What a service and its handles share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use shared_journal::{ActorId, JournalError, MessageId, MessageKey};

use crate::error::{CallError, Interruption, Refusal, Route};

/// Why a service ended before its time.
#[derive(Debug, Clone)]
pub(crate) enum Failure {
    Journal(Arc<JournalError>),
    Panicked { actor: ActorId, panic: Arc<str> },
    RouteTaken { layer: Arc<str>, route: Route },
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Journal(error) => Self::Failed(error),
            Failure::Panicked { actor, panic } => Self::Panicked { actor, panic },
            Failure::RouteTaken { layer, route } => Self::RouteTaken { layer, route },
        }
    }
}

/// Why the service failed, if it did, and a source of message ids.
#[derive(Debug)]
pub(crate) struct Shared {
    failure: OnceLock<Failure>,
    ids: u128,
    next_id: AtomicU64,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            failure: OnceLock::new(),
            ids: MessageId::random().as_u128() & !u128::from(u64::MAX),
            next_id: AtomicU64::new(0),
        })
    }

    /// The key of a message that is asked, and the id in it: an error can reveal it, so every
    /// message has one.
    pub(crate) fn key(&self, chosen: Option<MessageId>) -> (MessageKey, MessageId) {
        match chosen {
            Some(id) => (MessageKey::Caller(id), id),
            None => {
                let id = self.new_id();
                (MessageKey::Transient(id), id)
            }
        }
    }

    /// As [`key`](Self::key), for a message whose sender may ask for it later in any case.
    pub(crate) fn key_to_keep(&self, chosen: Option<MessageId>) -> (MessageKey, MessageId) {
        match self.key(chosen) {
            (MessageKey::Transient(id), _) => (MessageKey::Generated(id), id),
            key => key,
        }
    }

    /// A new id: random for the family of handles, counted within it. A random one for each
    /// message would cost a system call.
    fn new_id(&self) -> MessageId {
        let count = self.next_id.fetch_add(1, Ordering::Relaxed);
        MessageId::from(self.ids | u128::from(count))
    }

    /// Records why the service ends, unless that is known already; answers with the first reason.
    ///
    /// Before the receiver is dropped: whoever finds the channel closed finds the reason here.
    pub(crate) fn fail(&self, error: Arc<JournalError>) -> Arc<JournalError> {
        self.fail_with(Failure::Journal(error.clone()));
        match self.failure.get() {
            Some(Failure::Journal(first)) => first.clone(),
            _ => error,
        }
    }

    /// As [`fail`](Self::fail), for a panic that ends the service.
    pub(crate) fn panicked(&self, actor: &ActorId, panic: &str) {
        self.fail_with(Failure::Panicked { actor: actor.clone(), panic: panic.into() });
    }

    pub(crate) fn fail_with(&self, failure: Failure) {
        let _ = self.failure.set(failure);
    }

    /// Why nothing is accepted any more, given that the channel is closed.
    pub(crate) fn refusal(&self) -> Refusal {
        self.failure().unwrap_or(Refusal::Closed)
    }

    /// The refusal of a service that is known to have failed.
    pub(crate) fn failure(&self) -> Option<Refusal> {
        self.failure.get().cloned().map(Refusal::from)
    }

    /// Why an answer never came, given that nobody is left to send it.
    pub(crate) fn unknown<E>(&self, id: MessageId) -> CallError<E> {
        let source = match self.failure.get().cloned() {
            Some(Failure::Journal(error)) => Interruption::Journal(error),
            Some(Failure::Panicked { actor, panic }) => Interruption::Panicked { actor, panic },
            Some(Failure::RouteTaken { .. }) | None => Interruption::Ended,
        };
        CallError::OutcomeUnknown { id, source }
    }
}
