//! What an actor sends to itself later.

use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Outbox, OutboxError, Put};
use crate::engine::now_ms;
use crate::timer::{Due, Every, Kept, Missed, TimerId, millis};
use crate::timers::Timer;

impl Outbox {
    /// Sends a message of the type with the stable name `kind` to this actor, when it is due. It is received
    /// then behind what waits for the actor, which is started if it does not run. See [`Due`].
    ///
    /// Works in every journal, also in that of one process. What waits counts towards
    /// [`Limits::outbox_bytes`](crate::Limits::outbox_bytes).
    ///
    /// # Errors
    /// See [`OutboxError`]; then no timer is set.
    pub fn schedule(
        &self,
        due: impl Into<Due>,
        kind: &str,
        message: &(impl Serialize + DeserializeOwned),
    ) -> Result<TimerId, OutboxError> {
        self.set_timer(due.into(), None, kind, message)
    }

    /// As [`schedule`](Self::schedule), every so long, for the first time after one period. A period of less
    /// than a millisecond is one.
    ///
    /// # Errors
    /// See [`OutboxError`]; then no timer is set.
    pub fn schedule_every(
        &self,
        period: Duration,
        missed: Missed,
        kind: &str,
        message: &(impl Serialize + DeserializeOwned),
    ) -> Result<TimerId, OutboxError> {
        let every = Every { period_ms: millis(period).max(1), missed };
        self.set_timer(period.into(), Some(every), kind, message)
    }

    fn set_timer(
        &self,
        due: Due,
        every: Option<Every>,
        kind: &str,
        message: &(impl Serialize + DeserializeOwned),
    ) -> Result<TimerId, OutboxError> {
        let actor = self.actor();
        if self.shared.is_of_orchestration {
            return Err(OutboxError::NoTimers { actor: actor.clone() });
        }
        let payload = self.encode(self.shared.codec, actor, message)?;
        self.check_size(actor, &payload)?;
        let number = self.put(|number| {
            self.check_bound()?;
            let (due_ms, kind) = (due.at_ms(now_ms()), kind.to_owned());
            Ok(Put::Timer(number, Timer { due_ms, every, kind, payload }))
        })?;
        Ok(TimerId::new(actor, number))
    }

    /// Cancels a timer of this actor. One that has fired is gone already; its message may still wait, and is
    /// handled.
    ///
    /// # Errors
    /// [`OutboxError::OtherTimer`].
    pub fn cancel(&self, timer: &TimerId) -> Result<(), OutboxError> {
        match timer.kept_by(self.actor()) {
            Kept::Record(of) => self.put(|number| Ok(Put::Cancel { number, of })).map(drop),
            Kept::Instance(instance) => self.cancel_instance(instance),
            Kept::Elsewhere => {
                let (actor, timer) = (self.actor().clone(), timer.clone());
                Err(OutboxError::OtherTimer { actor, timer })
            }
        }
    }
}
