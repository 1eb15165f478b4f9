//! The directory's timers: actors that run are told of what is due, and others are asked for.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::super::alarms::DueTimer;
use super::super::now_ms;
use super::Directory;
use crate::error::JournalError;
use crate::id::ActorNo;
use crate::provider::RecordFilter;

/// Actors that are listed at once.
const PAGE: usize = 65_536;

impl Directory {
    /// Gets to know when the timers of recorded actors are due.
    pub(in super::super) fn learn_timers(&mut self) -> Result<(), JournalError> {
        let mut after = ActorNo(0);
        loop {
            let (provider, shard) = (&self.shared.provider, self.shared.shard);
            let listing = provider.list_records(shard, RecordFilter::Timers, after, PAGE);
            let listed = pollster::block_on(listing)?;
            let Some(last) = listed.last() else { return Ok(()) };
            after = last.no;
            for actor in listed {
                self.slots.learn_timer(actor.no, actor.due_ms);
            }
        }
    }

    /// Tells actors of timers that are due. How long nothing has to be looked at.
    pub(super) fn ring(&mut self) -> Result<Option<Duration>, JournalError> {
        #[cfg(feature = "test-util")]
        if self.shared.rests.get().is_some() {
            return Ok(None);
        }
        self.slots.settle_timers(&self.shared)?;
        let now_ms = now_ms();
        while let Some(no) = self.slots.alarms.pop(now_ms) {
            self.ring_actor(no, now_ms)?;
        }
        self.slots.alarms.ask_again();
        let awaited = self.slots.alarms.awaited() as u64;
        self.shared.gauges.timers_awaited.store(awaited, Ordering::Relaxed);
        Ok(self.slots.alarms.pause(now_ms))
    }

    fn ring_actor(&mut self, no: ActorNo, now_ms: u64) -> Result<(), JournalError> {
        let Some(slot) = self.slots.loaded(&self.shared, no)? else { return Ok(()) };
        let running = slot.running.clone().filter(|running| running.halt.asked().is_none());
        if let Some(running) = running {
            let is_new = |number: &u64| !slot.told.contains(number);
            let due = slot.record.timers.iter();
            let due = due.filter(|(number, timer)| timer.due_ms <= now_ms && is_new(number));
            let mut due: Vec<_> = due
                .map(|(number, timer)| DueTimer {
                    number,
                    due_ms: timer.due_ms,
                    every: timer.every,
                    kind: timer.kind.clone(),
                    payload: timer.payload.clone(),
                })
                .collect();
            due.sort_by_key(|timer| (timer.due_ms, timer.number));
            slot.told.extend(due.iter().map(|timer| timer.number));
            running.halt.remind(due);
            self.slots.settle_timer(no);
        } else if !slot.active {
            // One that is held is asked for when it is released.
            if let (None, Some(due_ms)) = (&slot.record.held, slot.record.timers.next_ms()) {
                let actor = slot.actor.clone();
                self.slots.alarms.await_actor(no, actor, due_ms);
            }
            self.slots.evict(no);
        }
        // Else it ends in a moment, and is looked at then.
        Ok(())
    }
}
