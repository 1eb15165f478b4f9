//! What an actor that runs receives from its own record: dead letters that are sent again, and the messages of
//! timers that are due.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use super::delivery::{Delivery, Work};
use super::intake::Mailbox;
use super::run::release_of_receipts;
use crate::engine::Batch;
use crate::error::JournalError;
use crate::id::MessageKey;
use crate::record::DeadLetter;
use crate::resend::push_receipt;

impl<W: Work> Mailbox<W> {
    /// Takes the messages of timers that are due ([`Outbox::schedule`](crate::Outbox::schedule)), and dead
    /// letters that somebody sends again
    /// ([`EventJournal::resend_dead_letters`](crate::EventJournal::resend_dead_letters)), as new messages
    /// behind those that wait. Ready when there were some; registers the task in any case, the last
    /// one to ask. With an adapter that never calls this no timer fires, and whoever sends letters waits until
    /// its actor ends.
    ///
    /// Of letters at most half of `capacity`, the number of messages that may wait, is taken at a time, and no
    /// more before all of these have begun: so the actor's senders find room as well. `known` says
    /// whether a message can be decoded, by the name of its type, as in
    /// [`require_known`](Self::require_known).
    ///
    /// # Errors
    /// The journal has stopped.
    pub fn poll_letters(
        &mut self,
        capacity: usize,
        known: impl Fn(&str) -> bool,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Arc<JournalError>>> {
        self.listen(cx);
        match self.receive_due(capacity, &known) {
            Ok(false) => {}
            Ok(true) => return Poll::Ready(Ok(())),
            Err(error) => return Poll::Ready(Err(error)),
        }
        if !self.session.halt().has_letters() {
            return Poll::Pending;
        }
        let most = (capacity / 2).max(1);
        while self.has_room()
            && self.queue.front().is_none_or(|front| front.sequence > self.letters_through)
            && let Some(batch) = self.session.halt().take_letters()
        {
            match self.receive_letters(batch, most, &known) {
                Ok(false) => {}
                Ok(true) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Pending
    }

    /// Receives the first of these letters, at most so many, and submits that at once: so nobody else
    /// sends or discards them. False if nothing can be received of these.
    fn receive_letters(
        &mut self,
        mut batch: Batch,
        most: usize,
        known: impl Fn(&str) -> bool,
    ) -> Result<bool, Arc<JournalError>> {
        if let Some(letter) = batch.letters.front().filter(|letter| !known(&letter.kind)) {
            let place = self.session.place().message(letter.sequence);
            let error = JournalError::UnknownMessage { place, kind: letter.kind.clone() };
            let _ = batch.durable.send(Err(Arc::new(error)));
            return Ok(false);
        }
        let no_room = |letter: &DeadLetter| self.check_room(letter.size()).err();
        if self.is_empty()
            && let Some(error) = batch.letters.front().and_then(no_room)
        {
            let _ = batch.durable.send(Err(Arc::new(error)));
            return Ok(false);
        }
        let shared = self.session.engine().shared().clone();
        let (no, mut read_at) = (self.session.no(), batch.read_at);
        let rest = shared.change_letters(no, &mut read_at, || -> Result<_, Arc<JournalError>> {
            let mut acknowledge = Vec::new();
            // What was received before them comes before them.
            self.push_receipts(&mut acknowledge)?;
            let mut taken = 0;
            while taken < most
                && self.has_room()
                && batch.letters.front().is_some_and(|letter| known(&letter.kind))
                && let Some(letter) = batch.letters.pop_front()
            {
                let sequence = push_receipt(&mut self.session, &letter)?;
                self.letters_through = sequence;
                let (key, kind) = (MessageKey::Anonymous, Cow::Owned(letter.kind));
                let delivery = Delivery::new(sequence, key, kind, letter.payload);
                self.queue.push_back(Delivery { receipt: true, ..delivery });
                taken += 1;
            }
            batch.submitted.fetch_add(taken, Ordering::AcqRel);
            let rest = if batch.letters.is_empty() {
                acknowledge.push(batch.durable);
                None
            } else {
                Some(batch)
            };
            self.session.submit(release_of_receipts(acknowledge)).map(|()| rest)
        });
        match rest.transpose()? {
            // Others have changed letters since these were read.
            None => Ok(false),
            Some(rest) => {
                if let Some(rest) = rest {
                    self.session.halt().put_back(Batch { read_at, ..rest });
                }
                Ok(true)
            }
        }
    }
}
