//! Attempts that are counted in the journal before a handler runs.
//!
//! A message that an earlier process received may be what that process died of. So before it is
//! handled, that it is about to be is durable. Messages that nobody began to handle before are
//! begun together; after a death in the middle of them each is handled alone, and its attempts are
//! counted.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use tokio::sync::Notify;

use super::delivery::{Delivery, Work};
use super::intake::Mailbox;
use super::run::Handled;
use crate::error::JournalError;
use crate::event::ActorEvent;
use crate::id::Sequence;
use crate::record::DeadLetter;
use crate::sabotage::sabotaged;

/// Kept with a message that was given up because its processes died, or its actor ended itself.
const DIED: &str = "the process died, or the actor stopped itself, while the message was handled";

/// A count on its way to the disk.
#[derive(Default)]
pub(super) struct Counting {
    outcome: OnceLock<Result<(), Arc<JournalError>>>,
    counted: Notify,
}

impl Counting {
    fn done(&self, outcome: Result<(), Arc<JournalError>>) {
        let _ = self.outcome.set(outcome);
        self.counted.notify_waiters();
    }

    pub(super) fn is_done(&self) -> bool {
        self.outcome.get().is_some()
    }

    /// Waits until it is durable, or the journal has stopped. Cancel-safe.
    pub(super) async fn wait(&self) {
        loop {
            // Made before the look: it hears of what happens between the two.
            let counted = self.counted.notified();
            if self.is_done() {
                return;
            }
            counted.await;
        }
    }
}

impl<W: Work> Mailbox<W> {
    /// Whether the message at the front may be handled as far as its attempts go. If not, they are
    /// being counted, or it was given up and the run is to be ended.
    pub(super) fn front_may_begin(&mut self) -> Result<bool, Arc<JournalError>> {
        if let Some(counting) = &self.counting {
            match counting.outcome.get() {
                None => return Ok(false),
                Some(Err(error)) => return Err(error.clone()),
                Some(Ok(())) => self.counting = None,
            }
        }
        let limit = self.session.engine().shared().limits.attempts;
        match self.queue.front() {
            None => return Ok(false),
            Some(front) if front.begun || sabotaged("sabotage-attempts") => return Ok(true),
            Some(front) if front.attempts >= limit => {
                if self.run.is_empty()
                    && let Some(delivery) = self.queue.pop_front()
                {
                    self.bury(delivery, DIED);
                }
                return Ok(false);
            }
            Some(_) => {}
        }
        self.count_attempt()?;
        Ok(false)
    }

    /// The message becomes a dead letter when the run ends.
    pub(super) fn bury(&mut self, delivery: Delivery<W>, error: &str) {
        if let Some(left_out) = self.told_given_up.tell(Instant::now()) {
            tracing::error!(
                actor = %self.actor(),
                kind = %delivery.kind,
                sequence = %delivery.sequence,
                attempts = delivery.attempts,
                error,
                left_out,
                "a message was given up; it is a dead letter"
            );
        }
        self.count_dead(&delivery, error);
        self.run.push(Handled { delivery, result: Err(error.into()) });
    }

    /// A message becomes a dead letter: the actor has one more from here on.
    pub(super) fn count_dead(&self, delivery: &Delivery<W>, error: &str) {
        self.session.engine().shared().count_dead_letter();
        let bytes = DeadLetter::size_of(&delivery.kind, &delivery.payload, error);
        self.session.running().dead.add(bytes);
    }

    /// Writes that the message at the front, or it and those behind it, are about to be handled.
    fn count_attempt(&mut self) -> Result<(), Arc<JournalError>> {
        let longest = self.session.engine().shared().limits.run_messages;
        let Some(front) = self.queue.front_mut() else { return Ok(()) };
        let event = if front.alone {
            front.begun = true;
            front.counted = true;
            let (sequence, attempts) = (front.sequence, front.attempts + 1);
            let (no, before) = (self.session.no(), front.attempts);
            self.session.engine().shared().at_work.begin(no, sequence, before);
            ActorEvent::AttemptsCounted { sequence, attempts }
        } else {
            let mut through = front.sequence;
            let together = self.queue.iter_mut().take(longest);
            for delivery in together.take_while(|it| !it.begun && !it.alone) {
                delivery.begun = true;
                through = delivery.sequence;
            }
            ActorEvent::RunBegan { through }
        };
        self.session.push(&event)?;
        let counting = Arc::new(Counting::default());
        self.counting = Some(counting.clone());
        self.session.submit(Box::new(move |outcome| counting.done(outcome)))
    }

    /// A handler takes its time: that is an attempt from now on, if it was not counted before.
    pub(super) fn count_slow_attempt(
        &mut self,
        delivery: &mut Delivery<W>,
    ) -> Result<(), JournalError> {
        if std::mem::replace(&mut delivery.counted, true) || sabotaged("sabotage-attempts") {
            return Ok(());
        }
        let (sequence, before) = (delivery.sequence, delivery.attempts);
        self.session.engine().shared().at_work.begin(self.session.no(), sequence, before);
        self.session.push(&ActorEvent::AttemptsCounted { sequence, attempts: before + 1 })
    }

    /// An attempt has failed, or what became of it is submitted. Whether the journal has counted it.
    pub(super) fn attempt_ended(&self, delivery: &mut Delivery<W>) -> bool {
        let counted = std::mem::take(&mut delivery.counted);
        if counted {
            let shared = self.session.engine().shared();
            shared.at_work.end(self.session.no(), delivery.sequence);
        }
        counted
    }

    /// What became of these messages is submitted.
    pub(super) fn attempts_ended(&self, counted: &[Sequence]) {
        let at_work = &self.session.engine().shared().at_work;
        counted.iter().for_each(|sequence| at_work.end(self.session.no(), *sequence));
    }

    /// The actor ends of its own accord, not because it was asked to. If a handler is not done, that was an
    /// attempt: it may be what stops the actor, each time. Nothing to do if none is at work.
    pub fn ended_itself(&mut self) {
        let Some(mut delivery) = self.in_progress.take() else { return };
        tracing::warn!(
            actor = %self.actor(),
            kind = %delivery.kind,
            sequence = %delivery.sequence,
            "the actor stopped itself before the handler of a message was done; that was an attempt, and the \
             message is handled again when the actor starts"
        );
        self.attempt_ended(&mut delivery);
        self.in_progress = Some(delivery);
    }

    /// The actor ends in good order: a handler that is cut off was no attempt, nor one whose run was not
    /// submitted.
    pub(super) fn take_back_attempts(&mut self) {
        let attempts = self.session.engine().shared().at_work.take_back(self.session.no());
        if attempts.is_empty() {
            return;
        }
        for event in attempts {
            // If it cannot be written, it counts: better once too often than a loop.
            let _ = self.session.push(&event);
        }
        let _ = self.session.submit(Box::new(|_| {}));
    }
}

/// The last message that is done in a run.
pub(super) fn last_of<W>(run: &[Handled<W>]) -> Option<Sequence> {
    run.last().map(|handled| handled.delivery.sequence)
}

#[cfg(feature = "test-util")]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::mailbox::{MESSAGE, Resolution};
    use crate::test_util::MemoryActorProvider;
    use crate::{ActorId, DurableState, EventJournal};

    struct Nobody;

    impl Work for Nobody {
        fn resolve(self, _: Resolution) {}
    }

    struct Stateless;

    impl DurableState for Stateless {
        const ACTOR_TYPE: &'static str = "stateless";
        type State = ();
        fn snapshot(&self) -> impl serde::Serialize {}
        fn restore(&mut self, (): ()) {}
    }

    /// What is handled again because its actor ended in good order was no attempt: wherever that was.
    #[tokio::test]
    async fn an_end_in_good_order_charges_no_attempt() {
        #[derive(Debug, PartialEq, Clone, Copy)]
        enum End {
            AtWork,
            Done,
            DoneAndNextAtWork,
            Submitted,
        }
        for end in [End::AtWork, End::Done, End::DoneAndNextAtWork, End::Submitted] {
            for closes in [false, true] {
                let (store, actor) = (MemoryActorProvider::new(), ActorId::new("stateless", "1"));
                let journal = EventJournal::builder().open_on(store.clone()).await.unwrap();
                let mut mailbox: Mailbox<Nobody> = journal.activate(&actor).await.unwrap();
                for name in ["first", "second"] {
                    let payload = mailbox.encode(MESSAGE, &()).unwrap();
                    mailbox.accept(None, name, payload, None, Nobody, None).unwrap();
                }
                let delivery = mailbox.next().unwrap().unwrap();
                mailbox.in_progress(delivery).unwrap();
                if end != End::AtWork {
                    let delivery = mailbox.take_in_progress().unwrap();
                    let reply = mailbox.encode("the reply", &()).unwrap();
                    mailbox.processed(delivery, reply);
                }
                if end == End::DoneAndNextAtWork {
                    let delivery = mailbox.next().unwrap().unwrap();
                    mailbox.in_progress(delivery).unwrap();
                }
                if end == End::Submitted {
                    let _ = mailbox.end_run(&mut Stateless).unwrap();
                }
                if closes {
                    journal.close().await.unwrap();
                    drop(mailbox);
                } else {
                    drop(mailbox);
                    journal.checkpoint().await.unwrap();
                }
                let journal = EventJournal::builder().open_on(store).await.unwrap();
                let mailbox: Mailbox<Nobody> = journal.activate(&actor).await.unwrap();
                let left: Vec<_> = mailbox.queued().map(|it| (it.kind(), it.attempts)).collect();
                let expected = [("first", 0), ("second", 0)];
                let expected = &expected[usize::from(end == End::Submitted)..];
                assert_eq!(left, expected, "{end:?}, closes: {closes}");
            }
        }
    }
}
