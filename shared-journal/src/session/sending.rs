//! What a running actor sends: from its outbox into its history, and on to the relay.

use std::borrow::Cow;

use super::Session;
use crate::engine::Shared;
use crate::error::JournalError;
use crate::event::ActorEvent;
use crate::outbox::{Addressed, Outbox, Put, Sent, Written};
use crate::record::OutgoingMessage;
use crate::timers::Timer;

impl Session {
    /// The outbox of this activation.
    pub(crate) fn outbox(&self) -> Outbox {
        let Shared { codec, limits, relay, checks_values, incarnation, .. } =
            &**self.engine.shared();
        let (relayed, undelivered) = (relay.get().is_some(), self.undelivered.clone());
        Outbox::new(self.actor.clone(), *codec, limits.message_bytes, relayed, self.sent)
            .of_incarnation(*incarnation)
            .checked(*checks_values)
            .bounded(limits.outbox_bytes, undelivered)
    }

    /// Gives what is sent its places on its lines, and knows which timers are set.
    pub(crate) fn address(&mut self, put: Vec<Put>) -> Vec<Written> {
        if put.is_empty() {
            return Vec::new();
        }
        self.has_sent = true;
        let line = self.lines.id(&self.actor);
        let written = put.into_iter().filter_map(|put| match put {
            Put::Message(message) => Some(Written::Message(self.lines.address(line, message))),
            Put::Timer(number, timer) => {
                self.timer_set(number, &timer);
                Some(Written::Timer(number, timer))
            }
            Put::Cancel { of, .. } => self.timer_cancelled(of).then_some(Written::Cancelled(of)),
        });
        written.collect()
    }

    /// Adds what is sent to the run.
    pub(crate) fn send(&mut self, written: &[Written]) -> Result<(), JournalError> {
        for written in written {
            self.push(&match written {
                Written::Message(Addressed { message, .. }) => {
                    let OutgoingMessage { number, to, id, kind, payload } = message;
                    ActorEvent::MessageSent {
                        number: *number,
                        to: to.clone(),
                        id: *id,
                        kind: Cow::Borrowed(kind),
                        payload: payload.as_borrowed(),
                    }
                }
                Written::Timer(number, Timer { due_ms, every, kind, payload }) => {
                    ActorEvent::TimerSet {
                        number: *number,
                        due_ms: *due_ms,
                        every: *every,
                        kind: Cow::Borrowed(kind),
                        payload: payload.as_borrowed(),
                    }
                }
                Written::Cancelled(number) => ActorEvent::TimerCancelled { number: *number },
            })?;
        }
        Ok(())
    }

    /// Says that messages are sent, when they are durable.
    pub(crate) fn relay(&self, written: Vec<Written>) -> impl FnOnce() + Send + use<> {
        let messages = written.into_iter().filter_map(|written| match written {
            Written::Message(message) => Some(message),
            Written::Timer(..) | Written::Cancelled(_) => None,
        });
        let messages: Vec<_> = messages.collect();
        // Most runs send nothing, and what is cloned here is dropped by another thread.
        let sent = self.engine.shared().relay.get().filter(|_| !messages.is_empty()).map(|relay| {
            let (no, undelivered) = (self.lease.no, self.undelivered.clone());
            (relay.clone(), Sent { no, messages, undelivered })
        });
        move || {
            if let Some((relay, sent)) = sent {
                // Without a relay the next owner finds them.
                let _ = relay.send(sent);
            }
        }
    }
}
