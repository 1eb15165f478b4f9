//! What is measured beside the work: every ten seconds, by one thread for all journals of a process.
//!
//! What the writer and the directory know they leave here, in atomics; the thread reads it. So nothing
//! of it is on the way of a message.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use super::request::Mail;
use super::slot::Slots;
use super::{Shared, now_ms, spawn};
use crate::dead::Summary;

const TICK: Duration = Duration::from_secs(10);
/// The directory looks at all actors in memory, and takes no more of its time for it than a part of so
/// many.
pub(super) const SCAN_PAUSE: u32 = 100;

/// Of so many recorded actors it gets to know the dead letters at a time.
pub(super) const LETTERS_LEARNED: usize = 1000;

/// What the gauges of a shard are set from.
#[derive(Default)]
pub(crate) struct Gauges {
    /// The last commit that is durable, and the last one that the directory has.
    pub(super) durable: AtomicU64,
    pub(super) folded: AtomicU64,
    /// When the last checkpoint was finished, or the journal opened: milliseconds by its clock.
    pub(super) checkpoint_ms: AtomicU64,
    /// When the journal was opened.
    opened_ms: AtomicU64,
    /// When the oldest message was received that waits; 0 if there is none.
    oldest_pending_ms: AtomicU64,
    /// How many dead letters there are, and when the oldest was given up: milliseconds since 1970.
    dead_letters: AtomicU64,
    oldest_dead_ms: AtomicU64,
    /// Of the fullest dedup window, in thousandths.
    window_use: AtomicU64,
    /// Actors with a timer that is due, which do not run.
    pub(super) timers_awaited: AtomicU64,
    /// The directory was asked to look and has not done it.
    asked: AtomicBool,
}

impl Gauges {
    /// The directory has no time to look.
    pub(super) fn not_now(&self) {
        self.asked.store(false, Ordering::Release);
    }

    /// Looks at the actors that are in memory.
    pub(super) fn scan(&self, slots: &Slots, window: usize) {
        let (mut oldest, mut fullest) = (u64::MAX, 0_usize);
        for (_, slot) in slots.iter() {
            if let Some(first) = slot.record.pending.front() {
                // What was read from a record is from before the journal was opened.
                let opened = self.opened_ms.load(Ordering::Relaxed);
                oldest =
                    oldest.min(if first.received_ms == 0 { opened } else { first.received_ms });
            }
            fullest = fullest.max(slot.record.window.iter().len());
        }
        self.oldest_pending_ms
            .store(if oldest == u64::MAX { 0 } else { oldest }, Ordering::Relaxed);
        let (mut dead, mut oldest_dead) = (0, u64::MAX);
        for Summary { count, oldest_ms } in slots.letters() {
            dead += count as u64;
            oldest_dead = oldest_dead.min(oldest_ms);
        }
        self.dead_letters.store(dead, Ordering::Relaxed);
        self.oldest_dead_ms.store(oldest_dead, Ordering::Relaxed);
        let thousandths = fullest.saturating_mul(1000) / window.max(1);
        self.window_use.store(thousandths as u64, Ordering::Relaxed);
        self.asked.store(false, Ordering::Release);
    }
}

impl Shared {
    /// Sets the gauges.
    fn publish(&self) {
        let Gauges { durable, folded, checkpoint_ms, oldest_pending_ms, window_use, .. } =
            &self.gauges;
        let Gauges { dead_letters, oldest_dead_ms, .. } = &self.gauges;
        let awaited = &self.gauges.timers_awaited;
        let labels = [("shard", self.shard.to_string())];
        let read = |from: &AtomicU64| from.load(Ordering::Relaxed);
        let now = self.clock_ms();
        let age = |since: u64| now.saturating_sub(since) as f64 / 1000.0;
        metrics::gauge!("journal_timers_awaited", &labels).set(read(awaited) as f64);
        metrics::gauge!("journal_queue_bytes", &labels).set(self.queue.waiting_bytes() as f64);
        // The directory first: what it has was durable before.
        let folded = read(folded);
        let lag = read(durable).saturating_sub(folded);
        metrics::gauge!("journal_directory_lag_commits", &labels).set(lag as f64);
        metrics::gauge!("journal_checkpoint_age_seconds", &labels).set(age(read(checkpoint_ms)));
        let oldest = read(oldest_pending_ms);
        let oldest = if oldest == 0 { 0.0 } else { age(oldest) };
        metrics::gauge!("journal_oldest_pending_seconds", &labels).set(oldest);
        let dead = read(dead_letters);
        metrics::gauge!("journal_dead_letters", &labels).set(dead as f64);
        let since = if dead == 0 { u64::MAX } else { read(oldest_dead_ms) };
        let oldest = now_ms().saturating_sub(since) as f64 / 1000.0;
        metrics::gauge!("journal_oldest_dead_letter_seconds", &labels).set(oldest);
        let at_work = self.at_work.oldest().map_or(0.0, |age| age.as_secs_f64());
        metrics::gauge!("journal_oldest_handler_seconds", &labels).set(at_work);
        metrics::gauge!("journal_window_use_ratio", &labels).set(read(window_use) as f64 / 1000.0);
    }

    fn tick(&self) {
        self.publish();
        // For the next time. One that is busy is not asked twice.
        if !self.gauges.asked.swap(true, Ordering::AcqRel) {
            self.directory.send(Mail::Measure);
        }
    }
}

/// The journals that are open.
#[derive(Default)]
struct Watched {
    shards: Vec<Weak<Shared>>,
    running: bool,
}

static WATCHED: Mutex<Watched> = Mutex::new(Watched { shards: Vec::new(), running: false });

/// Measures a shard as long as it is open.
pub(super) fn watch(shared: &Arc<Shared>) {
    let now = shared.clock_ms();
    shared.gauges.opened_ms.store(now, Ordering::Relaxed);
    shared.gauges.checkpoint_ms.store(now, Ordering::Relaxed);
    let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
    watched.shards.push(Arc::downgrade(shared));
    if !watched.running {
        // Without the thread there are no gauges, and everything else works.
        watched.running = spawn("journal-gauges", measure).is_ok();
    }
}

fn measure() {
    loop {
        std::thread::sleep(TICK);
        let mut watched = WATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        watched.shards.retain(|shard| shard.strong_count() > 0);
        if watched.shards.is_empty() {
            watched.running = false;
            return;
        }
        let shards = watched.shards.clone();
        drop(watched);
        shards.iter().filter_map(Weak::upgrade).for_each(|shard| shard.tick());
    }
}

#[cfg(feature = "test-util")]
#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use metrics::{
        Counter, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
    };

    use super::*;
    use crate::engine::slot::Slots;
    use crate::event::ActorEvent;
    use crate::id::{ActorId, MessageKey, Position, Sequence};
    use crate::mailbox::{Resolution, Work};
    use crate::record::Stamp;
    use crate::sum::Sum;
    use crate::{Codec, EventJournal, Payload};

    /// Keeps what gauges are set to.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<BTreeMap<String, f64>>>);

    struct One(Kept, String);

    impl GaugeFn for One {
        fn increment(&self, _: f64) {}
        fn decrement(&self, _: f64) {}
        fn set(&self, value: f64) {
            self.0.0.lock().unwrap().insert(self.1.clone(), value);
        }
    }

    impl Recorder for Kept {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
            Counter::noop()
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(Arc::new(One(self.clone(), key.name().to_owned())))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    fn published(shared: &Shared) -> BTreeMap<String, f64> {
        let kept = Kept::default();
        metrics::with_local_recorder(&kept, || shared.publish());
        std::mem::take(&mut *kept.0.lock().unwrap())
    }

    /// An actor with a message that waits since `received_ms`, and so many recorded outcomes.
    fn slots(shared: &Shared, received_ms: u64, outcomes: u64) -> Slots {
        let mut slots = Slots::default();
        let no = slots.create(ActorId::new("a", "1"));
        let payload = Payload::encode(Codec::Json, &1).unwrap();
        let mut position = 0;
        let mut apply = |event: ActorEvent<'_>| {
            position += 1;
            let position = Position(position);
            let stamp = Stamp { position, clock_ms: received_ms, ..Stamp::default() };
            slots.apply(shared, stamp, no, event).unwrap();
        };
        apply(ActorEvent::Spawned { actor: ActorId::new("a", "1") });
        for n in 1..=outcomes + 1 {
            let key = MessageKey::Caller(u128::from(n).into());
            let event =
                crate::session::Session::received_event(Sequence(n), key, "k", &payload, None);
            apply(event);
            if n <= outcomes {
                let reply = payload.as_borrowed();
                apply(ActorEvent::MessageProcessed { sequence: Sequence(n), reply });
            }
        }
        slots
    }

    #[tokio::test]
    async fn they_say_what_waits_and_since_when() {
        let store = crate::test_util::MemoryActorProvider::new();
        let journal = EventJournal::builder().open_on(store).await.unwrap();
        let engine = journal.engine();
        let shared = engine.shared();
        let before = published(shared);
        assert!(before.values().all(|value| *value < 1.0), "{before:?}");

        shared.gauges.scan(&slots(shared, shared.clock_ms() - 60_000, 256), 1024);
        shared.gauges.durable.store(9, Ordering::Relaxed);
        shared.gauges.folded.store(5, Ordering::Relaxed);
        shared.gauges.checkpoint_ms.store(shared.clock_ms() - 90_000, Ordering::Relaxed);
        shared.at_work.begin(crate::id::ActorNo(1), Sequence(1), 0);
        let after = published(shared);
        let is = |name: &str, at_least: f64| {
            let value = after[name];
            assert!((at_least..at_least + 20.0).contains(&value), "{name}: {value}");
        };
        is("journal_oldest_pending_seconds", 60.0);
        is("journal_checkpoint_age_seconds", 90.0);
        is("journal_directory_lag_commits", 4.0);
        is("journal_window_use_ratio", 0.25);
        assert!(after["journal_oldest_handler_seconds"] > 0.0, "{after:?}");
        assert_eq!(after["journal_queue_bytes"], 0.0);

        shared.gauges.scan(&Slots::default(), 1024);
        assert_eq!(published(shared)["journal_oldest_pending_seconds"], 0.0);
    }

    struct Nobody;

    impl Work for Nobody {
        fn resolve(self, _: Resolution) {}
    }

    async fn give_up(journal: &EventJournal, actor: &ActorId, count: usize) {
        let mut mailbox = journal.activate::<Nobody>(actor).await.unwrap();
        for _ in 0..count {
            let payload = mailbox.encode("the message", &1).unwrap();
            mailbox.accept(None, "k", payload, None, Nobody, None).unwrap();
            let delivery = mailbox.next().unwrap().unwrap();
            mailbox.give_up(delivery, "a test");
            let _ = mailbox.end_run(&mut Sum(0)).unwrap();
        }
    }

    /// Waits until so many dead letters are counted.
    async fn counted(journal: &EventJournal, count: f64) {
        let (engine, begun) = (journal.engine(), std::time::Instant::now());
        loop {
            engine.shared().directory.send(Mail::Measure);
            journal.actors().await.unwrap();
            let published = published(engine.shared());
            let age = published["journal_oldest_dead_letter_seconds"];
            assert!((0.0..60.0).contains(&age), "{age}");
            let found = published["journal_dead_letters"];
            if found == count {
                return;
            }
            assert!(begun.elapsed().as_secs() < 20, "{found} are not {count}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// In memory and in records, of this process and of one before.
    #[tokio::test]
    async fn they_count_dead_letters_wherever_they_are() {
        let store = crate::test_util::MemoryActorProvider::new();
        let mut expected = 0.0;
        for life in ["one", "other"] {
            let journal = EventJournal::builder().open_on(store.clone()).await.unwrap();
            let actor = ActorId::new("a", life);
            give_up(&journal, &actor, 5).await;
            give_up(&journal, &ActorId::new("b", life), 7).await;
            expected += 12.0;
            counted(&journal, expected).await;
            journal.checkpoint().await.unwrap();
            counted(&journal, expected).await;
            assert_eq!(journal.dead_letters(&actor).await.unwrap().len(), 5);
            counted(&journal, expected).await;
            journal.discard_dead_letter(&actor, Sequence(1)).await.unwrap();
            expected -= 1.0;
            counted(&journal, expected).await;
            journal.close().await.unwrap();
        }
    }
}
