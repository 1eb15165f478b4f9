//! Messages whose keys only the journal can tell from known ones.
//!
//! An actor has its newest keys in memory; of a key that is not there the journal may know that it was
//! used, if any have left the dedup window by count. Then the message, and what comes behind it, has no
//! place in the receipt order until the journal has answered. One question is on its way at a time; what
//! arrives meanwhile is in the next, so many senders share one.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

use super::delivery::{Acknowledge, Resolution, Work};
use super::intake::Mailbox;
use crate::codec::Payload;
use crate::engine::Fate;
use crate::error::JournalError;
use crate::id::{MessageId, MessageKey};
use crate::record::RecordedOutcome;

/// A question is about so many keys at most.
const ASKED_AT_ONCE: usize = 1024;

/// A message that has no place in the receipt order yet.
pub(super) struct Arrival<W> {
    pub(super) work: W,
    pub(super) key: MessageKey,
    pub(super) kind: &'static str,
    pub(super) payload: Payload<'static>,
    pub(super) fingerprint: Option<u64>,
    pub(super) acknowledge: Option<Acknowledge>,
}

/// What the journal said about the first arrivals: for each, what is recorded under its key.
type Answers = Result<Vec<Option<RecordedOutcome>>, Arc<JournalError>>;

/// Where the journal leaves its answer.
#[derive(Default)]
struct Desk {
    answers: Mutex<Option<Answers>>,
    waker: AtomicWaker,
}

/// The messages that arrived, in their order.
pub(super) struct Arrivals<W> {
    waiting: VecDeque<Arrival<W>>,
    bytes: usize,
    desk: Option<Arc<Desk>>,
    /// A question is on its way.
    asked: bool,
}

impl<W> Default for Arrivals<W> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), bytes: 0, desk: None, asked: false }
    }
}

impl<W> Arrivals<W> {
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn push(&mut self, arrival: Arrival<W>) {
        self.bytes += arrival.payload.bytes().len();
        self.waiting.push_back(arrival);
    }

    fn pop(&mut self) -> Option<Arrival<W>> {
        let arrival = self.waiting.pop_front();
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
        self.bytes -= arrival.as_ref().map_or(0, |it| it.payload.bytes().len());
        arrival
    }

    fn answers(&self) -> Option<Answers> {
        self.desk.as_ref()?.answers.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl<W: Work> Mailbox<W> {
    /// Takes a message in; now, if that can be.
    pub(super) fn arrive(&mut self, arrival: Arrival<W>) -> Fate {
        if self.arrivals.is_empty() {
            self.session.settle_done();
            if !self.session.must_ask(arrival.key) {
                return self.admit(arrival);
            }
        }
        self.arrivals.push(arrival);
        self.ask_about_arrivals();
        Ok(())
    }

    /// Takes in what the journal has answered for. Whether there was any.
    pub(super) fn take_arrivals(&mut self) -> Result<bool, Arc<JournalError>> {
        let Some(answers) = self.arrivals.answers() else { return Ok(false) };
        self.arrivals.asked = false;
        for recorded in answers? {
            let Some(arrival) = self.arrivals.pop() else { break };
            match recorded {
                None => match self.session.check_room_for_dead() {
                    Ok(()) => self.admit(arrival)?,
                    Err(error) => arrival.work.resolve(Resolution::Refused(Arc::new(error))),
                },
                Some(recorded) => self.answer_known(arrival, recorded),
            }
        }
        // What needs no answer does not wait for one.
        while let Some(next) = self.arrivals.waiting.front()
            && !self.session.must_ask(next.key)
            && let Some(arrival) = self.arrivals.pop()
        {
            self.admit(arrival)?;
        }
        self.ask_about_arrivals();
        Ok(true)
    }

    /// Ready when there was an answer; registers the task otherwise.
    pub(super) fn poll_arrivals(
        &mut self,
        cx: &Context<'_>,
    ) -> Poll<Result<(), Arc<JournalError>>> {
        if self.arrivals.is_empty() {
            return Poll::Pending;
        }
        self.arrivals.desk.get_or_insert_default().waker.register(cx.waker());
        match self.take_arrivals() {
            Ok(true) => Poll::Ready(Ok(())),
            Ok(false) => Poll::Pending,
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Its first is done, and durable.
    fn answer_known(&mut self, arrival: Arrival<W>, recorded: RecordedOutcome) {
        let Arrival { work, fingerprint, acknowledge, .. } = arrival;
        if matches!((recorded.fingerprint, fingerprint), (Some(known), Some(new)) if known != new) {
            return work.resolve(Resolution::IdReused);
        }
        self.session.engine().shared().count_duplicate();
        if let Some(acknowledge) = acknowledge {
            let _ = acknowledge.send(Ok(()));
        }
        work.resolve(Resolution::Recorded(recorded.outcome));
    }

    fn ask_about_arrivals(&mut self) {
        let Arrivals { waiting, desk, asked, .. } = &mut self.arrivals;
        if waiting.is_empty() || std::mem::replace(asked, true) {
            return;
        }
        // For a message without a key of its caller's the answer is None.
        let ids = waiting.iter().take(ASKED_AT_ONCE).map(|arrival| match arrival.key {
            MessageKey::Caller(id) => Some(id),
            _ => None,
        });
        let ids: Vec<Option<MessageId>> = ids.collect();
        let wanted = ids.iter().copied().flatten().collect();
        let desk = desk.get_or_insert_default().clone();
        self.session.recorded(wanted, move |found| {
            let answers = found.map(|found| {
                let mut found = found.into_iter();
                ids.iter().map(|id| id.and_then(|_| found.next().flatten())).collect()
            });
            *desk.answers.lock().unwrap_or_else(PoisonError::into_inner) = Some(answers);
            desk.waker.wake();
        });
    }
}
