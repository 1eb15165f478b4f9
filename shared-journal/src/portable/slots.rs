//! Write-once slots in a provider's history.

use std::sync::Arc;

use duroxide::providers::{Provider, ProviderError};
use duroxide::{Event, EventKind};

use crate::error::JournalError;

/// The name of the event in a slot.
const EVENT: &str = "actor-journal";

/// The slots of a provider, by instance and number.
pub(super) struct Slots {
    provider: Arc<dyn Provider>,
    store: String,
}

impl Slots {
    pub(super) fn new(provider: Arc<dyn Provider>) -> Self {
        let store = format!("the history of duroxide's provider {}", provider.name());
        Self { provider, store }
    }

    pub(super) fn store(&self) -> &str {
        &self.store
    }

    /// What is in a slot.
    pub(super) async fn get(
        &self,
        instance: &str,
        slot: u64,
    ) -> Result<Option<String>, JournalError> {
        let events = self.provider.read_with_execution(instance, slot).await;
        let first = events.map_err(|error| self.error("read a slot", error))?.into_iter().next();
        match first.map(|event| event.kind) {
            None => Ok(None),
            Some(EventKind::QueueEventDelivered { name, data }) if name == EVENT => Ok(Some(data)),
            Some(_) => Err(self.foreign(instance, slot)),
        }
    }

    /// Puts a value into a slot if it is empty, and says what is there then.
    pub(super) async fn put(
        &self,
        instance: &str,
        slot: u64,
        value: &str,
    ) -> Result<String, JournalError> {
        let kind = EventKind::QueueEventDelivered { name: EVENT.into(), data: value.into() };
        let event = Event::with_event_id(1, instance, slot, None, kind);
        let written = self.provider.append_with_execution(instance, slot, vec![event]).await;
        match (self.get(instance, slot).await?, written) {
            (Some(there), _) => Ok(there),
            // Not written now; a write that is still under way is found by the next attempt.
            (None, Err(error)) => {
                Err(self.error("write a slot", ProviderError { retryable: true, ..error }))
            }
            (None, Ok(())) => Err(self.error(
                "write a slot",
                ProviderError::permanent("append_with_execution", "what was written is not there"),
            )),
        }
    }

    /// Deletes all slots of an instance.
    pub(super) async fn delete(&self, instance: &str) -> Result<(), JournalError> {
        let Some(admin) = self.provider.as_management_capability() else { return Ok(()) };
        let deleted = admin.delete_instances_atomic(&[instance.to_owned()], true).await;
        deleted.map(drop).map_err(|error| self.error("delete a segment", error))
    }

    fn error(&self, operation: &'static str, error: ProviderError) -> JournalError {
        JournalError::Store {
            store: self.store.clone(),
            operation,
            retryable: error.is_retryable(),
            source: error.into(),
        }
    }

    fn foreign(&self, instance: &str, slot: u64) -> JournalError {
        JournalError::NotAJournal {
            store: self.store.clone(),
            reason: format!("instance {instance}, execution {slot} is of someone else"),
        }
    }
}
