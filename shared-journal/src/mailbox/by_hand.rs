//! What an operator wants of an actor that runs: to give up a message that waits, or to cancel a timer.

use std::borrow::Cow;
use std::sync::Arc;

use super::delivery::{Delivery, Work};
use super::intake::Mailbox;
use super::run::{Handled, release_of, release_of_receipts};
use crate::engine::{ByHand, Wanted};
use crate::error::JournalError;
use crate::event::{ActorEvent, RepairAction};
use crate::id::Sequence;
use crate::recovery::given_up;
use crate::timer::TimerId;

impl<W: Work> Mailbox<W> {
    /// Does what somebody wants ([`Repair::give_up`](crate::Repair::give_up),
    /// [`Repair::cancel_timer`](crate::Repair::cancel_timer)). Whether a message was given up.
    pub(super) fn do_by_hand(&mut self) -> Result<bool, Arc<JournalError>> {
        let mut any = false;
        for wanted in self.session.halt().take_by_hand() {
            // Else nobody waits for it any more.
            if !wanted.durable.is_closed() {
                match wanted.what {
                    Wanted::GiveUp(sequence) => any |= self.give_up_waiting(sequence, wanted)?,
                    Wanted::Cancel(number) => self.cancel_timer(number, wanted)?,
                }
            }
        }
        Ok(any)
    }

    fn cancel_timer(&mut self, number: u64, wanted: ByHand) -> Result<(), Arc<JournalError>> {
        let ByHand { by, why, durable, .. } = wanted;
        if !self.session.timer_cancelled(number) {
            let (actor, timer) = (self.actor().clone(), TimerId::new(self.actor(), number));
            let _ = durable.send(Err(Arc::new(JournalError::NoSuchTimer { actor, timer })));
            return Ok(());
        }
        let mut acknowledge = Vec::new();
        // What was received before it comes before it.
        self.push_receipts(&mut acknowledge)?;
        let action = RepairAction::TimerCancelled { number };
        let (by, why) = (Cow::Owned(by), Cow::Owned(why));
        self.session.push(&ActorEvent::Repaired { by, why, action })?;
        let release = release_of_receipts(acknowledge);
        self.session.submit(Box::new(move |outcome| {
            release(outcome.clone());
            let _ = durable.send(outcome);
        }))
    }

    /// One commit has the message's end, and its receipt if that is not written. Whoever waits for its
    /// outcome gets that of a dead letter.
    fn give_up_waiting(
        &mut self,
        sequence: Sequence,
        wanted: ByHand,
    ) -> Result<bool, Arc<JournalError>> {
        let ByHand { by, why, durable, .. } = wanted;
        if !self.queue.has(sequence) {
            let _ = durable.send(Err(Arc::new(self.not_waiting(sequence))));
            return Ok(false);
        }
        let mut acknowledge = Vec::new();
        // What was received before it comes before it.
        self.push_receipts(&mut acknowledge)?;
        let Some(mut delivery) = self.queue.remove(sequence) else { return Ok(false) };
        let counted = self.attempt_ended(&mut delivery);
        let attempts = delivery.attempts;
        if counted || attempts > 0 {
            // The journal may know of another number.
            self.session.push(&ActorEvent::AttemptsCounted { sequence, attempts })?;
        }
        let error = given_up(&by, &why);
        let (by, why) = (Cow::Owned(by), Cow::Owned(why));
        let action = RepairAction::GivenUp { sequence };
        self.session.push(&ActorEvent::Repaired { by, why, action })?;
        self.steps.forget(std::iter::once(sequence));
        self.count_dead(&delivery, &error);
        let given_up = vec![Handled { delivery, result: Err(error.into()) }];
        let release = release_of(given_up, || {}, acknowledge);
        self.session.submit(Box::new(move |outcome| {
            release(outcome.clone());
            let _ = durable.send(outcome);
        }))?;
        Ok(true)
    }

    /// Why a message cannot be given up.
    fn not_waiting(&self, sequence: Sequence) -> JournalError {
        let actor = self.actor().clone();
        let in_run = self.run.iter().map(|handled| &handled.delivery);
        let mut begun = in_run.chain(self.in_progress.as_deref()).map(Delivery::sequence);
        match begun.any(|begun| begun == sequence) {
            true => JournalError::BeingHandled { actor, sequence },
            false => JournalError::NoSuchMessage { actor, sequence },
        }
    }
}

#[cfg(feature = "test-util")]
#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::future::poll_fn;
    use std::pin::pin;

    use super::*;
    use crate::mailbox::MESSAGE;
    use crate::seen::{Nobody, Seen};
    use crate::test_util::MemoryActorProvider;
    use crate::{ActorId, EventJournal};

    const COUNT: u64 = 12;

    async fn open(store: Arc<MemoryActorProvider>) -> EventJournal {
        EventJournal::builder().open_on(store).await.unwrap()
    }

    fn end(mailbox: &mut Mailbox<Nobody>, seen: &mut Seen, delivery: Delivery<Nobody>) {
        let number: u64 = delivery.payload().decode().unwrap();
        seen.0.push(number);
        let reply = mailbox.encode("the reply", &number).unwrap();
        mailbox.processed(delivery, reply);
        let _ = mailbox.end_run(seen).unwrap();
    }

    /// Each number waits, is handled or is a dead letter; and once it is a letter, it stays one.
    #[tokio::test]
    async fn after_a_crash_at_any_moment_each_waits_or_is_a_letter() {
        let (store, actor) = (MemoryActorProvider::new(), ActorId::new("seen", "1"));
        let journal = open(store.clone()).await;
        let mut mailbox: Mailbox<Nobody> = journal.activate(&actor).await.unwrap();
        let mut seen = Seen::default();
        let repair = journal.repair("ada", "a test").unwrap();
        for number in 1..=COUNT {
            let payload = mailbox.encode(MESSAGE, &number).unwrap();
            mailbox.accept(None, "number", payload, None, Nobody, None).unwrap();
        }
        // While the first one that is left is being handled.
        for number in [12, 9, 7, 5] {
            let delivery = mailbox.next().unwrap().unwrap();
            mailbox.in_progress(delivery).unwrap();
            let mut giving_up = pin!(repair.give_up(&actor, Sequence(number)));
            loop {
                tokio::select! {
                    biased;
                    given_up = &mut giving_up => break given_up.unwrap(),
                    news = poll_fn(|cx| mailbox.poll_news(cx)) => news.unwrap(),
                }
            }
            let delivery = mailbox.take_in_progress().unwrap();
            end(&mut mailbox, &mut seen, delivery);
            journal.checkpoint().await.unwrap();
        }
        while let Some(delivery) = mailbox.next().unwrap() {
            end(&mut mailbox, &mut seen, delivery);
            journal.actors().await.unwrap();
        }
        let (mut letters_before, mut moments) = (0, BTreeSet::new());
        for moment in 0..=store.writes() {
            let journal = open(store.as_of(moment)).await;
            let letters = journal.dead_letters(&actor).await.unwrap();
            let letters: Vec<u64> = letters.iter().map(|it| it.payload.decode().unwrap()).collect();
            let mailbox: Mailbox<Nobody> = journal.activate(&actor).await.unwrap();
            let state = mailbox.state().map(|it| it.decode::<Vec<u64>>().unwrap());
            let handled = state.unwrap_or_default();
            let waiting: Vec<u64> =
                mailbox.queued().map(|it| it.payload().decode().unwrap()).collect();
            assert!(letters.len() >= letters_before, "{moment}");
            letters_before = letters.len();
            moments.insert((handled.len(), letters.len()));
            let mut all = [handled, waiting, letters].concat();
            all.sort_unstable();
            assert!(all.is_empty() || all.into_iter().eq(1..=COUNT), "{moment}");
            assert!(journal.verify().await.unwrap().is_clean(), "{moment}");
        }
        assert_eq!(letters_before, 4);
        assert!(moments.len() >= 12, "{moments:?}");
    }
}
