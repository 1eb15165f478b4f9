//! An answer of the directory to an actor.

use std::sync::Arc;

use super::Shared;
use super::gate::{Gate, Releases};
use crate::error::JournalError;

type Then<T> = Box<dyn FnOnce(Result<T, Arc<JournalError>>) + Send>;

/// Given once, in the runtime of the actor; dropped, it says why the journal has none.
pub(crate) struct Answer<T: Send + 'static> {
    then: Option<Then<T>>,
    gate: Option<Gate>,
    shared: Arc<Shared>,
}

impl<T: Send + 'static> Answer<T> {
    pub(crate) fn new(
        shared: Arc<Shared>,
        gate: Option<Gate>,
        then: impl FnOnce(Result<T, Arc<JournalError>>) + Send + 'static,
    ) -> Self {
        Self { then: Some(Box::new(then)), gate, shared }
    }

    pub(crate) fn give(mut self, answer: Result<T, JournalError>) {
        self.answer(answer.map_err(Arc::new));
    }

    fn answer(&mut self, answer: Result<T, Arc<JournalError>>) {
        let Some(then) = self.then.take() else { return };
        let mut releases = Releases::default();
        releases.push(self.gate.as_ref(), Box::new(move |_| then(answer)));
        releases.open();
    }
}

impl<T: Send + 'static> Drop for Answer<T> {
    fn drop(&mut self) {
        if self.then.is_some() {
            let refusal = self.shared.queue.refusal();
            self.answer(Err(refusal.unwrap_or_else(|| Arc::new(JournalError::Closed))));
        }
    }
}
