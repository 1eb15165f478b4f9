//! What a service and its handles share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use shared_journal::{JournalError, MessageId, MessageKey};
use tokio::sync::Notify;

use crate::error::{CallError, Interruption, Refusal};

/// Why the service failed, if it did, and a source of message ids.
#[derive(Debug)]
pub(crate) struct Shared {
    failure: OnceLock<Arc<JournalError>>,
    failed: Notify,
    ids: u128,
    next_id: AtomicU64,
}

impl Shared {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            failure: OnceLock::new(),
            failed: Notify::new(),
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

    /// The key of a message that is told: its sender gets the id in any case.
    pub(crate) fn key_to_tell(&self, chosen: Option<MessageId>) -> (MessageKey, MessageId) {
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
        let first = self.failure.get_or_init(|| error).clone();
        self.failed.notify_waiters();
        first
    }

    /// Waits until the service has failed. Cancel-safe.
    pub(crate) async fn failed(&self) -> Arc<JournalError> {
        loop {
            let mut failed = std::pin::pin!(self.failed.notified());
            // Registered before the check: a failure between the two is not missed.
            failed.as_mut().enable();
            if let Some(error) = self.failure.get() {
                return error.clone();
            }
            failed.await;
        }
    }

    /// Why nothing is accepted any more, given that the channel is closed.
    pub(crate) fn refusal(&self) -> Refusal {
        match self.failure.get() {
            Some(error) => Refusal::Failed(error.clone()),
            None => Refusal::Closed,
        }
    }

    /// The refusal of a service that is known to have failed.
    pub(crate) fn failure(&self) -> Option<Refusal> {
        self.failure.get().cloned().map(Refusal::Failed)
    }

    /// Why an answer never came, given that nobody is left to send it.
    pub(crate) fn unknown<E>(&self, id: MessageId) -> CallError<E> {
        let source = match self.failure.get() {
            Some(error) => Interruption::Journal(error.clone()),
            None => Interruption::Ended,
        };
        CallError::OutcomeUnknown { id, source }
    }
}
