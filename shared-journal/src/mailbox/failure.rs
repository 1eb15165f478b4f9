//! Attempts that failed: the way back, the next attempt, and the end as a dead letter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::delivery::{Delivery, Work};
use super::intake::Mailbox;
use crate::durable::DurableState;
use crate::error::JournalError;
use crate::guard::shortened;
use crate::sabotage::sabotaged;

impl<W: Work> Mailbox<W> {
    /// An attempt to handle the message failed: its handler panicked, its reply cannot be stored or
    /// will never come. The actor gets its last captured state back; go on with
    /// [`next`](Self::next).
    ///
    /// # Errors
    /// The last captured state does not decode: the actor must stop.
    pub fn failed<A: DurableState>(
        &mut self,
        delivery: Delivery<W>,
        error: &str,
        actor: &mut A,
    ) -> Result<(), Arc<JournalError>> {
        self.attempt_failed(delivery, error);
        self.restore(actor).map_err(Arc::new)
    }

    /// No handler can be run for the message, and trying again cannot help: it does not decode. It
    /// becomes a dead letter when the run ends, with one more attempt. Go on with
    /// [`next`](Self::next), which may give it out once more: it ends in a run of its own.
    pub fn give_up(&mut self, mut delivery: Delivery<W>, error: &str) {
        delivery.alone = true;
        if !self.run.is_empty() {
            return self.queue.push_front(delivery);
        }
        self.steps.end();
        self.attempt_ended(&mut delivery);
        delivery.attempts += 1;
        self.bury(delivery, shortened(error));
    }

    /// As [`failed`](Self::failed), for an actor that is made anew.
    pub fn attempt_failed(&mut self, mut delivery: Delivery<W>, error: &str) {
        self.steps.end();
        self.attempt_ended(&mut delivery);
        self.outbox.end();
        delivery.attempts += 1;
        // The next attempt is counted before it runs, if the message survives this process.
        delivery.begun = !delivery.receipt;
        let limit = self.session.engine().shared().limits.attempts;
        let attempts = delivery.attempts;
        if let Some(left_out) = self.told_failed.tell(Instant::now()) {
            tracing::warn!(
                actor = %self.actor(),
                kind = %delivery.kind,
                sequence = %delivery.sequence,
                attempts,
                limit,
                error,
                left_out,
                "an attempt to handle a message failed; the actor goes back to its last captured state"
            );
        }
        delivery.alone = true;
        if !sabotaged("sabotage-panic-sends") {
            self.outbox.take_back();
        }
        if self.run.is_empty() && attempts >= limit && !sabotaged("sabotage-poison") {
            return self.bury(delivery, shortened(error));
        }
        self.run_bytes = 0;
        self.queue.push_front(delivery);
        if sabotaged("sabotage-panic-run") {
            self.run.clear();
        }
        for handled in self.run.drain(..).rev() {
            self.queue.push_front(handled.delivery);
        }
    }

    /// The state after the run cannot be stored, or something that ran beside the handlers has
    /// spoilt it. If one message was handled, it is that one's failure; of several, each is handled
    /// again alone, and the one that is at fault is found. The actor is to get its last captured
    /// state back ([`restore`](Self::restore)).
    pub fn run_failed(&mut self, error: &str) {
        if self.is_given_up() {
            // It changes no state, so it goes on.
            return;
        }
        let mut run = std::mem::take(&mut self.run);
        self.run_bytes = 0;
        if run.len() == 1 {
            return run.drain(..).for_each(|handled| self.attempt_failed(handled.delivery, error));
        }
        tracing::warn!(
            actor = %self.actor(),
            handled = run.len(),
            error,
            "the state after a run cannot be stored; the actor goes back to its last captured \
             state, and each message of the run is handled alone"
        );
        if !sabotaged("sabotage-run-sends") {
            self.outbox.take_back();
        }
        for mut handled in run.drain(..).rev() {
            handled.delivery.alone = true;
            self.queue.push_front(handled.delivery);
        }
    }

    pub(super) fn take_back<A: DurableState>(
        &mut self,
        error: &str,
        actor: &mut A,
    ) -> Result<(), Arc<JournalError>> {
        self.run_failed(error);
        self.restore(actor).map_err(Arc::new)
    }
}

/// What to say of an attempt whose handler was at work for longer than its time limit; counts it. Go on
/// with [`Mailbox::failed`], when nothing of the handler is left that has the actor.
#[must_use]
pub fn over_limit(limit: Duration) -> String {
    metrics::counter!("journal_handlers_over_limit_total").increment(1);
    format!("the handler was at work for longer than its limit of {limit:?}")
}

/// An error with all of its causes, for logs and for what is kept of a failed message. A cause that
/// the error before it quotes is not said twice.
#[must_use]
pub fn error_text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.ends_with(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}
