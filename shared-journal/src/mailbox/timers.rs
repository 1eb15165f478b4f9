//! The messages of timers that are due.

use std::borrow::Cow;
use std::sync::Arc;

use super::delivery::{Delivery, Work};
use super::intake::Mailbox;
use crate::engine::{DueTimer, now_ms};
use crate::error::JournalError;
use crate::id::MessageKey;

impl<W: Work> Mailbox<W> {
    /// Receives messages of timers while fewer than `capacity` wait. Whether there were any. A receipt is
    /// written as that of any other message; the timer has not fired before that is durable.
    pub(super) fn receive_due(
        &mut self,
        capacity: usize,
        known: impl Fn(&str) -> bool,
    ) -> Result<bool, Arc<JournalError>> {
        let mut any = false;
        while self.session.halt().has_due()
            && self.len() < capacity.max(1)
            && self.has_room()
            && let Some(timer) = self.session.halt().take_due()
        {
            if known(&timer.kind) {
                any |= self.receive_timer(timer);
            } else {
                // It is asked again when it starts, perhaps as another version.
                tracing::error!(
                    actor = %self.actor(),
                    timer = timer.number,
                    kind = timer.kind,
                    "the actor does not know the type of the message that its timer sends; the timer waits"
                );
            }
        }
        if any && self.is_busy() {
            self.write_receipts()?;
        }
        Ok(any)
    }

    /// False if it was cancelled since.
    fn receive_timer(&mut self, timer: DueTimer) -> bool {
        let DueTimer { number, due_ms, every, kind, payload } = timer;
        let now_ms = now_ms();
        let key = MessageKey::Timer {
            number,
            due_ms,
            next_ms: every.map(|every| every.next(due_ms, now_ms)),
        };
        let Ok(sequence) = self.session.admit(key, None) else { return false };
        let late = now_ms.saturating_sub(due_ms);
        metrics::histogram!("journal_timer_late_seconds").record(late as f64 / 1e3);
        self.queue.push_back(Delivery::new(sequence, key, Cow::Owned(kind), payload));
        true
    }
}

#[cfg(feature = "test-util")]
#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use crate::engine::now_ms;
    use crate::mailbox::MESSAGE;
    use crate::seen::{Nobody, Seen};
    use crate::test_util::MemoryActorProvider;
    use crate::timer::{Due, Missed, TimerId};
    use crate::{ActorEvent, ActorId, EventJournal, Limits};

    const COUNT: u64 = 12;

    fn actor() -> ActorId {
        ActorId::new("seen", "1")
    }

    async fn open(store: Arc<MemoryActorProvider>) -> EventJournal {
        let limits = Limits { attempts: 1, ..Limits::default() };
        EventJournal::builder().limits(limits).open_on(store).await.unwrap()
    }

    async fn start(journal: &EventJournal) -> (Mailbox<Nobody>, Seen) {
        let mailbox: Mailbox<Nobody> = journal.activate(&actor()).await.unwrap();
        let mut seen = Seen::default();
        mailbox.restore(&mut seen).unwrap();
        (mailbox, seen)
    }

    /// A message whose handler does something with the outbox.
    fn handle<T>(
        mailbox: &mut Mailbox<Nobody>,
        seen: &mut Seen,
        act: impl FnOnce(&Mailbox<Nobody>) -> T,
    ) -> T {
        let payload = mailbox.encode(MESSAGE, &0).unwrap();
        mailbox.accept(None, "act", payload, None, Nobody, None).unwrap();
        let delivery = mailbox.next().unwrap().unwrap();
        assert_eq!(delivery.kind(), "act");
        let done = act(mailbox);
        let reply = mailbox.encode("the reply", &0).unwrap();
        mailbox.processed(delivery, reply);
        let _ = mailbox.end_run(seen).unwrap();
        done
    }

    fn set(mailbox: &Mailbox<Nobody>, due: impl Into<Due>, number: u64) -> TimerId {
        mailbox.outbox().schedule(due, "number", &number).unwrap()
    }

    /// Handles what is due, until so many numbers were handled.
    async fn until(mailbox: &mut Mailbox<Nobody>, seen: &mut Seen, count: usize) {
        while seen.0.len() < count {
            poll_fn(|cx| mailbox.poll_letters(3, |kind| kind == "number", cx)).await.unwrap();
            while let Some(delivery) = mailbox.next().unwrap() {
                seen.0.push(delivery.payload().decode().unwrap());
                let reply = mailbox.encode("the reply", &()).unwrap();
                mailbox.processed(delivery, reply);
                let _ = mailbox.end_run(seen).unwrap();
                mailbox.flushed().await.unwrap();
            }
        }
    }

    async fn waiting(journal: &EventJournal) -> Vec<u64> {
        let timers = journal.timers(&actor()).await.unwrap();
        timers.iter().map(|timer| timer.payload.decode().unwrap()).collect()
    }

    #[tokio::test]
    async fn after_a_crash_at_any_moment_each_waits_or_has_fired_once() {
        let store = MemoryActorProvider::new();
        let journal = open(store.clone()).await;
        let (mut mailbox, mut seen) = start(&journal).await;
        let before = store.writes();
        handle(&mut mailbox, &mut seen, |mailbox| {
            for number in 1..=COUNT {
                set(mailbox, UNIX_EPOCH + Duration::from_millis(number), number);
            }
        });
        // While a handler is at work receipts are written alone.
        let payload = mailbox.encode(MESSAGE, &0).unwrap();
        mailbox.accept(None, "act", payload, None, Nobody, None).unwrap();
        let delivery = mailbox.next().unwrap().unwrap();
        mailbox.in_progress(delivery).unwrap();
        poll_fn(|cx| mailbox.poll_letters(3, |_| true, cx)).await.unwrap();
        mailbox.flushed().await.unwrap();
        let delivery = mailbox.take_in_progress().unwrap();
        let reply = mailbox.encode("the reply", &0).unwrap();
        mailbox.processed(delivery, reply);
        while let Some(delivery) = mailbox.next().unwrap() {
            seen.0.push(delivery.payload().decode().unwrap());
            let reply = mailbox.encode("the reply", &()).unwrap();
            mailbox.processed(delivery, reply);
        }
        let _ = mailbox.end_run(&mut seen).unwrap();
        for count in 1..=COUNT as usize {
            until(&mut mailbox, &mut seen, count).await;
            journal.checkpoint().await.unwrap();
        }
        assert_eq!(waiting(&journal).await, [] as [u64; 0]);
        let mut moments = std::collections::BTreeSet::new();
        for moment in before..=store.writes() {
            let journal = open(store.as_of(moment)).await;
            assert!(journal.verify().await.unwrap().is_clean(), "{moment}");
            let waits = waiting(&journal).await;
            let (mailbox, seen) = start(&journal).await;
            let received: Vec<u64> = mailbox
                .queued()
                .filter(|it| it.kind() == "number")
                .map(|it| it.payload().decode().unwrap())
                .collect();
            moments.insert((seen.0.len(), received.len(), waits.len()));
            let all = [seen.0, received, waits].concat();
            assert!(all.is_empty() || all.into_iter().eq(1..=COUNT), "{moment}");
        }
        assert!(moments.len() > COUNT as usize, "{moments:?}");
    }

    #[tokio::test]
    async fn what_is_cancelled_after_it_is_due_does_not_fire() {
        let store = MemoryActorProvider::new();
        let journal = open(store.clone()).await;
        let (mut mailbox, mut seen) = start(&journal).await;
        let timer = handle(&mut mailbox, &mut seen, |mailbox| set(mailbox, UNIX_EPOCH, 1));
        while !mailbox.session.halt().has_due() {
            tokio::task::yield_now().await;
        }
        handle(&mut mailbox, &mut seen, |mailbox| {
            mailbox.outbox().cancel(&timer).unwrap();
            // There is nothing to cancel any more, and what another one is called is not known here.
            mailbox.outbox().cancel(&timer).unwrap();
            let other = TimerId::new(&ActorId::new("seen", "2"), 1);
            mailbox.outbox().cancel(&other).unwrap_err();
            set(mailbox, UNIX_EPOCH, 2);
        });
        until(&mut mailbox, &mut seen, 1).await;
        assert_eq!(seen.0, [2]);
        assert_eq!(waiting(&journal).await, [] as [u64; 0]);
        assert!(journal.verify().await.unwrap().is_clean());
    }

    #[tokio::test]
    async fn a_handler_that_fails_has_set_and_cancelled_nothing() {
        let journal = open(MemoryActorProvider::new()).await;
        let (mut mailbox, mut seen) = start(&journal).await;
        let hour = Duration::from_secs(3600);
        let timer = handle(&mut mailbox, &mut seen, |mailbox| set(mailbox, hour, 1));
        let payload = mailbox.encode(MESSAGE, &0).unwrap();
        mailbox.accept(None, "act", payload, None, Nobody, None).unwrap();
        let delivery = mailbox.next().unwrap().unwrap();
        mailbox.outbox().cancel(&timer).unwrap();
        let taken_back = set(&mailbox, hour, 2);
        mailbox.failed(delivery, "boom", &mut seen).unwrap();
        let _ = mailbox.end_run(&mut seen).unwrap();
        assert_eq!(waiting(&journal).await, [1]);
        // The number of what was taken back, less that of the cancellation, is used again.
        let next = handle(&mut mailbox, &mut seen, |mailbox| set(mailbox, hour, 3));
        assert_ne!(next, timer);
        assert!(next.to_string() < taken_back.to_string());
    }

    #[tokio::test]
    async fn an_operator_cancels_a_timer_of_an_actor_that_runs_and_of_one_that_does_not() {
        let journal = open(MemoryActorProvider::new()).await;
        let repair = journal.repair("ada", "a test").unwrap();
        let (mut mailbox, mut seen) = start(&journal).await;
        let hour = Duration::from_secs(3600);
        let timers =
            handle(&mut mailbox, &mut seen, |mailbox| [1, 2].map(|n| set(mailbox, hour, n)));
        let name = actor();
        let mut cancelling = std::pin::pin!(repair.cancel_timer(&name, &timers[0]));
        loop {
            tokio::select! {
                biased;
                cancelled = &mut cancelling => break cancelled.unwrap(),
                news = poll_fn(|cx| mailbox.poll_news(cx)) => news.unwrap(),
            }
        }
        assert_eq!(waiting(&journal).await, [2]);
        drop(mailbox);
        repair.cancel_timer(&name, &timers[1]).await.unwrap();
        assert_eq!(waiting(&journal).await, [] as [u64; 0]);
        let again = repair.cancel_timer(&name, &timers[1]).await.unwrap_err();
        assert!(matches!(again, JournalError::NoSuchTimer { .. }), "{again}");
    }

    #[tokio::test]
    async fn a_periodic_timer_is_due_again_after_each_message_and_outlives_its_process() {
        let store = MemoryActorProvider::new();
        let journal = open(store.clone()).await;
        let (mut mailbox, mut seen) = start(&journal).await;
        let begun = now_ms();
        let period = Duration::from_millis(3);
        handle(&mut mailbox, &mut seen, |mailbox| {
            mailbox.outbox().schedule_every(period, Missed::Each, "number", &7).unwrap()
        });
        until(&mut mailbox, &mut seen, 3).await;
        drop((mailbox, journal));
        let journal = open(store.clone()).await;
        let (mut mailbox, mut seen) = start(&journal).await;
        until(&mut mailbox, &mut seen, 9).await;
        let history = futures::StreamExt::collect::<Vec<_>>(journal.history(&actor())).await;
        let dues = history.iter().filter_map(|entry| match entry.as_ref().unwrap().event {
            ActorEvent::MessageReceived { key: MessageKey::Timer { due_ms, .. }, .. } => {
                Some(due_ms)
            }
            _ => None,
        });
        let dues: Vec<_> = dues.collect();
        assert!(dues[0] >= begun + 3 && dues.len() == seen.0.len(), "{dues:?}");
        assert!(dues.windows(2).all(|two| two[1] - two[0] == 3), "{dues:?}");
    }

    #[tokio::test]
    async fn an_actor_that_does_not_run_is_asked_for_and_one_of_an_unknown_message_waits() {
        let store = MemoryActorProvider::new();
        let journal = open(store.clone()).await;
        let (mut mailbox, mut seen) = start(&journal).await;
        handle(&mut mailbox, &mut seen, |mailbox| {
            set(mailbox, UNIX_EPOCH, 5);
            mailbox.outbox().schedule(UNIX_EPOCH, "other", &6).unwrap();
        });
        drop(mailbox);
        let mut awaited = journal.awaited();
        assert_eq!(awaited.recv().await, Some(actor()));
        // Before and after a checkpoint; and whoever looks later.
        for _ in 0..2 {
            let journal = open(store.clone()).await;
            assert_eq!(journal.with_timers().await.unwrap(), [actor()]);
            assert_eq!(journal.awaited().recv().await, Some(actor()));
            assert_eq!(journal.awaited().recv().await, Some(actor()));
            journal.checkpoint().await.unwrap();
        }
        let journal = open(store.clone()).await;
        let (mut mailbox, mut seen) = start(&journal).await;
        until(&mut mailbox, &mut seen, 1).await;
        assert_eq!((seen.0.as_slice(), waiting(&journal).await), (&[5][..], vec![6]));
        // One that is held is not asked for, and is when it is released.
        let repair = journal.repair("ada", "a test").unwrap();
        drop(mailbox);
        let mut awaited = journal.awaited();
        assert_eq!(awaited.recv().await, Some(actor()));
        repair.stop(&actor()).await.unwrap();
        repair.release(&actor()).await.unwrap();
        assert_eq!(awaited.recv().await, Some(actor()));
        repair.delete(&actor()).await.unwrap();
        assert_eq!(journal.with_timers().await.unwrap(), []);
    }
}
