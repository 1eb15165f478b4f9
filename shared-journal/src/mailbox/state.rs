//! The actor's state on its way into the journal and back.
//!
//! Both ways run code of the user's types, which may panic: that is an error as any other, charged
//! to whoever caused it.

use super::delivery::Work;
use super::intake::Mailbox;
use crate::codec::Payload;
use crate::durable::DurableState;
use crate::error::JournalError;
use crate::guard::guarded;

impl<W: Work> Mailbox<W> {
    /// Puts the last captured state into the actor, if there is one, and tells it so
    /// ([`DurableState::restored`]).
    ///
    /// # Errors
    /// [`JournalError::Decode`]: the stored state does not decode, or the actor panicked.
    pub fn restore<A: DurableState>(&self, actor: &mut A) -> Result<(), JournalError> {
        let stored = self.session.state();
        let restored = guarded(|| {
            if let Some(state) = stored {
                actor.restore(state.decode()?);
            }
            actor.restored();
            Ok(())
        });
        restored.map_err(|source| JournalError::Decode {
            place: self.session.place(),
            what: "state".into(),
            source,
        })
    }

    /// Gives an actor that never ran the state to go back to: that of its construction. It
    /// becomes durable with the actor's first run.
    ///
    /// # Errors
    /// The state does not encode, or is too large.
    pub fn baseline<A: DurableState>(&mut self, actor: &A) -> Result<(), JournalError> {
        if self.session.state().is_none() {
            let state = self.encode_state(actor)?;
            self.session.baseline(state);
        }
        Ok(())
    }

    /// The actor's state, as it would be written.
    pub(super) fn encode_state<A: DurableState>(
        &self,
        actor: &A,
    ) -> Result<Payload<'static>, JournalError> {
        let encoded = guarded(|| {
            let payload = Payload::encode(self.codec(), &actor.snapshot())?;
            if self.checks_values() {
                payload.verify_as::<A::State>()?;
            }
            Ok(payload)
        });
        let state = encoded.map_err(|source| JournalError::Encode {
            actor: self.actor().clone(),
            what: "the state",
            source,
        })?;
        self.session.check_state(&state)?;
        self.check_room_for_state(state.bytes().len())?;
        Ok(state)
    }
}
