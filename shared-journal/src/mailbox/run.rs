//! The run: what is handled, and what is written.

use std::borrow::Cow;
use std::sync::Arc;

use super::attempts::last_of;
use super::delivery::{Acknowledge, Delivery, Work};
use super::failure::error_text;
use super::intake::Mailbox;
use crate::codec::Payload;
use crate::durable::DurableState;
use crate::engine::Release;
use crate::error::JournalError;
use crate::event::ActorEvent;
use crate::id::Sequence;
use crate::outbox::Written;
use crate::session::Session;

/// A run ends after so many bytes of messages and replies, so that commits stay of a size that
/// the disk takes in a few milliseconds.
const RUN_BYTES: usize = 1 << 20;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Ended {
    /// What there was is on its way to the disk.
    Submitted,
    /// The state after it cannot be stored. The actor has its last captured state again. The
    /// messages of the run wait for their turn, go on with [`Mailbox::next`]; or the only one was
    /// given up.
    TakenBack,
}

/// The state after a run, encoded: between [`Mailbox::seal`] and [`Mailbox::submit_sealed`].
#[derive(Debug)]
#[must_use]
pub struct Sealed {
    state: Option<Payload<'static>>,
    is_current: bool,
}

impl Sealed {
    /// Whether the state is the actor's as it is now; false if the run is a message that was given
    /// up, which changes no state.
    #[must_use]
    pub fn is_current(&self) -> bool {
        self.is_current
    }
}

/// A message whose handler is done.
pub(super) struct Handled<W> {
    pub(super) delivery: Delivery<W>,
    pub(super) result: Result<Payload<'static>, Arc<str>>,
}

impl<W> Handled<W> {
    /// What is in the run's entries is not kept until the commit is durable as well.
    fn written(&mut self) {
        let Self { delivery, result } = self;
        delivery.payload = Payload::new(delivery.payload.codec(), Vec::new());
        if let Ok(reply) = result
            && delivery.followers.is_empty()
        {
            *reply = Payload::new(reply.codec(), Vec::new());
        }
    }
}

impl<W: Work> Mailbox<W> {
    /// The next message to handle. None if there is none, if a handler is not done, if the run
    /// must end first ([`end_run`](Self::end_run), then ask again), or if that it is about to be
    /// handled must be durable first ([`ready`](Self::ready), then ask again).
    ///
    /// # Errors
    /// The journal has stopped.
    #[expect(clippy::should_implement_trait, reason = "an iterator would have to end")]
    pub fn next(&mut self) -> Result<Option<Delivery<W>>, Arc<JournalError>> {
        self.do_by_hand()?;
        // Somebody else may have the actor by the time that a handler is done that blocked its thread.
        if self.asked_to_stop().is_some() {
            return Ok(None);
        }
        let Some(front) = self.queue.front() else { return Ok(None) };
        let full = self.run.len() >= self.session.engine().shared().limits.run_messages
            || self.run_bytes + self.outbox.bytes() >= RUN_BYTES;
        let own_run = front.alone || self.slow.contains(&front.kind);
        let after_alone = self.run.last().is_some_and(|handled| handled.delivery.alone);
        if self.is_busy() || full || after_alone || (own_run && !self.run.is_empty()) {
            return Ok(None);
        }
        if !self.front_may_begin()? {
            return Ok(None);
        }
        let Some(delivery) = self.queue.pop_front() else { return Ok(None) };
        self.steps.begin(delivery.sequence, &delivery.kind, delivery.receipt);
        self.outbox.begin();
        Ok(Some(delivery))
    }

    /// The handler is done; `reply` is what it answered.
    pub fn processed(&mut self, delivery: Delivery<W>, reply: Payload<'static>) {
        self.steps.end();
        self.outbox.end();
        self.run_bytes += delivery.payload.bytes().len() + reply.bytes().len();
        if self.run.is_empty() {
            // Most runs are of one message; a vector would begin with room for four.
            self.run.reserve_exact(1);
        }
        self.run.push(Handled { delivery, result: Ok(reply) });
    }

    /// The handler is not done: writes the receipts of everything received so far.
    ///
    /// # Errors
    /// The journal has stopped.
    pub fn in_progress(&mut self, delivery: Delivery<W>) -> Result<(), Arc<JournalError>> {
        if !self.slow.contains(&delivery.kind) {
            self.slow.insert(delivery.kind.clone());
        }
        self.in_progress = Some(Box::new(delivery));
        self.outbox.in_progress();
        self.write_receipts()?;
        self.steps.received();
        Ok(())
    }

    /// The message whose handler is not done.
    pub fn in_progress_mut(&mut self) -> Option<&mut Delivery<W>> {
        self.in_progress.as_deref_mut()
    }

    /// The message whose handler was not done and now is, one way or the other.
    pub fn take_in_progress(&mut self) -> Option<Delivery<W>> {
        self.in_progress.take().map(|delivery| *delivery)
    }

    /// Ends the run: captures the state, unless it is the one captured before, and submits
    /// everything. Replies are released when it is durable. Does nothing if nothing happened.
    ///
    /// While a handler is in progress the state is between two messages, so nothing happens
    /// either.
    ///
    /// # Errors
    /// The journal has stopped, or the last captured state does not decode: the actor must stop.
    /// Callers that wait for a reply of the run are told.
    pub fn end_run<A: DurableState>(&mut self, actor: &mut A) -> Result<Ended, Arc<JournalError>> {
        self.submit_run(actor, false)
    }

    /// As [`end_run`](Self::end_run), with the receipts of what waits behind the run in the same
    /// commit.
    ///
    /// # Errors
    /// As [`end_run`](Self::end_run).
    pub fn end_run_and_receive<A: DurableState>(
        &mut self,
        actor: &mut A,
    ) -> Result<Ended, Arc<JournalError>> {
        self.submit_run(actor, true)
    }

    fn submit_run<A: DurableState>(
        &mut self,
        actor: &mut A,
        receive: bool,
    ) -> Result<Ended, Arc<JournalError>> {
        if self.is_busy() {
            return Ok(Ended::Submitted);
        }
        match self.seal(actor)? {
            Some(sealed) => self.submit(sealed, receive),
            None => Ok(Ended::TakenBack),
        }
    }

    /// The first half of the end of a run, while no handler is in progress: encodes the state. None
    /// if it cannot be stored; then the run was taken back ([`Ended::TakenBack`]). Between this and
    /// [`submit_sealed`](Self::submit_sealed) the adapter accepts what the run's handlers sent to
    /// the actor itself.
    ///
    /// # Errors
    /// The last captured state does not decode: the actor must stop.
    pub fn seal<A: DurableState>(
        &mut self,
        actor: &mut A,
    ) -> Result<Option<Sealed>, Arc<JournalError>> {
        if self.is_given_up() {
            // The actor went back to what was captured before.
            return Ok(Some(Sealed { state: None, is_current: false }));
        }
        match self.encode_state(actor) {
            Ok(state) => {
                // An actor that did nothing yet leaves no trace.
                let is_new = self.has_run()
                    || self.session.is_captured()
                    || self.session.state() != Some(&state);
                Ok(Some(Sealed { state: is_new.then_some(state), is_current: true }))
            }
            Err(error) => {
                self.take_back(&error_text(&error), actor)?;
                if self.is_given_up() {
                    let _ = self.submit(Sealed { state: None, is_current: false }, false)?;
                }
                Ok(None)
            }
        }
    }

    /// The second half: submits the run, the state, and the receipts of what waits behind it.
    ///
    /// # Errors
    /// The journal has stopped.
    pub fn submit_sealed(&mut self, sealed: Sealed) -> Result<(), Arc<JournalError>> {
        self.submit(sealed, true).map(drop)
    }

    fn submit(&mut self, sealed: Sealed, receive: bool) -> Result<Ended, Arc<JournalError>> {
        let state = sealed.state;
        // Again: what the actor sends to itself came after it was sealed.
        let size = state.as_ref().map(|state| state.bytes().len());
        let room = size.map_or(Ok(()), |size| self.check_room_for_state(size));
        let mut run = std::mem::take(&mut self.run);
        let counted = run.iter_mut().map(|handled| &mut handled.delivery);
        let counted =
            counted.filter_map(|it| std::mem::take(&mut it.counted).then_some(it.sequence));
        let counted: Vec<Sequence> = counted.collect();
        self.run_bytes = 0;
        if let Some(done) = last_of(&run) {
            self.session.done(done);
        }
        self.steps.forget(run.iter().map(|handled| handled.delivery.sequence));
        let mut acknowledge = Vec::new();
        let sent = if room.is_ok() { self.outbox.take() } else { Vec::new() };
        let sent = self.session.address(sent);
        let mut result = room.and_then(|()| self.write_run(&run, &sent, state));
        if receive && result.is_ok() {
            result = self.write_queue(&mut acknowledge);
        }
        run.iter_mut().for_each(Handled::written);
        let release = release_of(run, self.session.relay(sent), acknowledge);
        match result {
            Ok(()) if self.session.is_empty() => Ok(Ended::Submitted),
            Ok(()) => {
                self.session.submit(release)?;
                // Not before: what is not submitted because the journal closes was no attempt.
                self.attempts_ended(&counted);
                Ok(Ended::Submitted)
            }
            Err(error) => {
                self.session.discard();
                let error = Arc::new(error);
                release(Err(error.clone()));
                Err(error)
            }
        }
    }

    /// Whether the run is a message that was given up. Such a run changes no state.
    pub(super) fn is_given_up(&self) -> bool {
        !self.run.is_empty() && self.run.iter().all(|handled| handled.result.is_err())
    }

    /// Whether messages were handled since the last run ended.
    #[must_use]
    pub fn has_handled(&self) -> bool {
        !self.run.is_empty()
    }

    /// Whether there is a run to end: messages that were handled, or something that was sent.
    #[must_use]
    pub fn has_run(&self) -> bool {
        !self.run.is_empty() || !self.outbox.is_empty()
    }

    /// Whether something waits whose receipt is not written.
    #[must_use]
    pub fn has_unwritten(&self) -> bool {
        self.queue.back().is_some_and(|delivery| !delivery.receipt)
    }

    /// Ends the run, and captures the state even if no message was handled: something else may
    /// have changed it.
    ///
    /// # Errors
    /// As [`end_run`](Self::end_run).
    pub fn capture<A: DurableState>(&mut self, actor: &mut A) -> Result<Ended, Arc<JournalError>> {
        self.end_run(actor)
    }

    /// Writes that the actor stopped of its own will, with its state. If the run was taken back,
    /// that is not written.
    ///
    /// # Errors
    /// As [`end_run`](Self::end_run).
    pub fn stopped<A: DurableState>(&mut self, actor: &mut A) -> Result<Ended, Arc<JournalError>> {
        self.ended_itself();
        if self.capture(actor)? == Ended::TakenBack {
            return Ok(Ended::TakenBack);
        }
        self.session.push(&ActorEvent::ActorStopped)?;
        self.session.submit(Box::new(|_| {}))?;
        Ok(Ended::Submitted)
    }

    fn write_run(
        &mut self,
        run: &[Handled<W>],
        sent: &[Written],
        state: Option<Payload<'static>>,
    ) -> Result<(), JournalError> {
        for Handled { delivery, result } in run {
            push_receipt(&mut self.session, delivery)?;
            let sequence = delivery.sequence;
            match result {
                Ok(reply) => {
                    let reply = reply.as_borrowed();
                    self.session.replied(delivery.key, reply.bytes().len());
                    self.session.push(&ActorEvent::MessageProcessed { sequence, reply })?;
                }
                Err(error) => self.session.push(&ActorEvent::MessageFailed {
                    sequence,
                    attempts: delivery.attempts,
                    error: Cow::Borrowed(error),
                })?,
            }
        }
        self.session.send(sent)?;
        state.map_or(Ok(()), |state| self.session.capture(state))
    }

    /// Adds the receipts of what waits in the queue to the run.
    fn write_queue(&mut self, acknowledge: &mut Vec<Acknowledge>) -> Result<(), JournalError> {
        for delivery in self.queue.unwritten() {
            write_receipt(&mut self.session, delivery, acknowledge)?;
        }
        Ok(())
    }

    /// Submits every receipt that is not written yet, and acknowledges them when durable.
    pub(super) fn write_receipts(&mut self) -> Result<(), Arc<JournalError>> {
        let mut acknowledge = Vec::new();
        self.push_receipts(&mut acknowledge)?;
        if self.session.is_empty() {
            return Ok(());
        }
        self.session.submit(release_of_receipts(acknowledge))
    }

    /// Adds every receipt that is not written yet to the run.
    pub(super) fn push_receipts(
        &mut self,
        acknowledge: &mut Vec<Acknowledge>,
    ) -> Result<(), JournalError> {
        for handled in &mut self.run {
            write_receipt(&mut self.session, &mut handled.delivery, acknowledge)?;
        }
        if let Some(mut delivery) = self.in_progress.take() {
            let written = write_receipt(&mut self.session, &mut delivery, acknowledge)
                .and_then(|()| self.count_slow_attempt(&mut delivery));
            self.in_progress = Some(delivery);
            written?;
        }
        self.write_queue(acknowledge)
    }
}

/// What happens when receipts are durable.
pub(super) fn release_of_receipts(acknowledge: Vec<Acknowledge>) -> Release {
    Box::new(move |outcome| {
        for waiting in acknowledge {
            let _ = waiting.send(outcome.clone());
        }
    })
}

/// Adds a receipt to the run and takes whoever waits for it.
fn write_receipt<W>(
    session: &mut Session,
    delivery: &mut Delivery<W>,
    acknowledge: &mut Vec<Acknowledge>,
) -> Result<(), JournalError> {
    push_receipt(session, delivery)?;
    delivery.receipt = true;
    acknowledge.extend(delivery.acknowledge.take());
    acknowledge.extend(delivery.followers.iter_mut().filter_map(|it| it.acknowledge.take()));
    Ok(())
}

fn push_receipt<W>(session: &mut Session, delivery: &Delivery<W>) -> Result<(), JournalError> {
    if delivery.receipt {
        return Ok(());
    }
    session.push(&Session::received_event(
        delivery.sequence,
        delivery.key,
        &delivery.kind,
        &delivery.payload,
        None,
    ))?;
    match delivery.fingerprint {
        Some(fingerprint) => {
            session.push(&ActorEvent::Fingerprinted { sequence: delivery.sequence, fingerprint })
        }
        None => Ok(()),
    }
}

/// What happens when the commit of a run is durable.
pub(super) fn release_of<W: Work>(
    run: Vec<Handled<W>>,
    relay: impl FnOnce() + Send + 'static,
    acknowledge: Vec<Acknowledge>,
) -> Release {
    Box::new(move |outcome| {
        if outcome.is_ok() {
            relay();
        }
        for waiting in acknowledge {
            let _ = waiting.send(outcome.clone());
        }
        for Handled { delivery, result } in run {
            delivery.resolve(&outcome, &result);
        }
    })
}
