//! One activation of an actor: the right to write its history.

mod sending;
mod timers;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use rustc_hash::{FxBuildHasher, FxHashMap};

use crate::codec::Payload;
use crate::engine::{
    Activation, Answer, Engine, Fate, Gate, Halt, Lease, Release, Running, Shared, Ticket, window,
};
use crate::envelope::push_entry;
use crate::error::{JournalError, Place};
use crate::event::ActorEvent;
use crate::id::{ActorId, ActorNo, MessageId, MessageKey, Position, Sequence};
use crate::ids::{Ids, Seen};
use crate::lines::{Lines, Numbered};
use crate::rare::{Empty, Rare};
use crate::record::{ActorRecord, PendingMessage, RecordedOutcome};
use crate::sabotage::sabotaged;
use crate::timers::SetTimers;
use crate::undelivered::Undelivered;

/// What a run of one message and a small state takes.
const ENTRIES_BYTES: usize = 512;

/// What a row has around the entries of a commit, at most.
const HEADER_BYTES: usize = 128;

type LinePlaces = FxHashMap<MessageId, Sequence>;

impl Empty for LinePlaces {
    const EMPTY: &'static Self = &FxHashMap::with_hasher(FxBuildHasher);

    fn holds_nothing(&self) -> bool {
        self.is_empty()
    }
}

/// Writes events of one actor, in memory first; [`Session::submit`] hands them to the writer.
pub(crate) struct Session {
    // The lease before the engine: fields are dropped in this order, and the end of the lease is
    // announced through the engine.
    lease: Lease,
    running: Arc<Running>,
    engine: Arc<Engine>,
    actor: ActorId,
    position: Position,
    spawned: bool,
    received: Sequence,
    sent: u64,
    /// Something, at some time.
    has_sent: bool,
    undelivered: Arc<Undelivered>,
    ids: Ids,
    lines: Lines,
    /// The last message of each line that was received in this activation.
    line_places: Rare<LinePlaces>,
    timers: Rare<SetTimers>,
    /// What was added changes when the next timer is due.
    moves_timers: bool,
    /// The last message that is done in what was added, and in what was submitted and is not known to be
    /// durable.
    done: Option<Sequence>,
    submitted: VecDeque<(Ticket, Sequence)>,
    /// The state as it was last captured: what a panic goes back to, and what a capture is
    /// compared with.
    state: Option<Payload<'static>>,
    /// `state` is in the history, not only the state of construction.
    captured: bool,
    /// The state of construction, of an actor that was new: nothing of it may be durable.
    constructed: Option<Payload<'static>>,
    entries: Vec<u8>,
    count: u64,
    /// What fits into the actor's record, in bytes.
    room: usize,
    /// The size of the newest reply to a caller's id and to a generated one: it is kept, whatever its size.
    newest: [usize; 2],
    /// Of the runtime that drives the actor, once that is known.
    gate: Option<Option<Gate>>,
}

impl Session {
    /// Takes what only the session needs from `activation`.
    /// `pending` are the messages received and not processed.
    pub(crate) fn new(
        engine: Arc<Engine>,
        actor: ActorId,
        activation: Activation,
        pending: &[PendingMessage],
    ) -> Self {
        let Shared { limits, provider, .. } = &**engine.shared();
        let room = limits.record_room(provider.row_bytes());
        let window = window(limits);
        let mut ids = Ids::new(window, activation.aged_ms);
        for (key, at_ms, fingerprint) in activation.window {
            ids.insert(key, fingerprint, at_ms, Sequence(0));
        }
        for message in pending {
            // What was sent without an id of its own may be asked for by now.
            let key = match message.key {
                MessageKey::Transient(id) => MessageKey::Generated(id),
                key => key,
            };
            let now_ms = engine.shared().clock_ms();
            ids.insert(key, message.fingerprint, now_ms, message.sequence);
        }
        Self {
            lease: activation.lease,
            running: activation.running,
            engine,
            actor,
            position: activation.position,
            spawned: activation.spawned,
            received: activation.received,
            sent: activation.sent,
            has_sent: activation.sent > 0,
            undelivered: activation.undelivered,
            ids,
            lines: activation.lines,
            line_places: Rare::default(),
            timers: activation.timers.into(),
            moves_timers: false,
            done: None,
            submitted: VecDeque::new(),
            captured: activation.state.is_some(),
            state: activation.state,
            constructed: None,
            entries: Vec::new(),
            count: 0,
            room,
            newest: activation.newest,
            gate: None,
        }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(crate) fn actor(&self) -> &ActorId {
        &self.actor
    }

    pub(crate) fn state(&self) -> Option<&Payload<'static>> {
        self.state.as_ref()
    }

    pub(crate) fn halt(&self) -> &Halt {
        &self.running.halt
    }

    pub(crate) fn running(&self) -> &Arc<Running> {
        &self.running
    }

    pub(crate) fn no(&self) -> ActorNo {
        self.lease.no
    }

    /// Where the actor's history stood when it was activated.
    pub(crate) fn place(&self) -> Place {
        Place::shard(self.engine.shared().shard).at(self.position).of(&self.actor)
    }

    /// The next place in the receipt order, or what the id is if it was received before.
    pub(crate) fn admit(
        &mut self,
        key: MessageKey,
        fingerprint: Option<u64>,
    ) -> Result<Sequence, Seen> {
        let seen = self.look(key, fingerprint);
        if seen != Seen::New && !sabotaged("sabotage-known-ids") {
            return Err(seen);
        }
        self.received = self.received.next();
        match key {
            MessageKey::Line { line, number } => {
                self.lines.receive(line, number);
                self.line_places.insert(line, self.received);
            }
            MessageKey::Timer { number, next_ms, .. } => self.timer_fired(number, next_ms),
            _ => {}
        }
        // Most messages have no key that is remembered, and need no look at the clock.
        if matches!(key, MessageKey::Caller(_) | MessageKey::Generated(_)) {
            let now_ms = self.engine.shared().clock_ms();
            self.ids.insert(key, fingerprint, now_ms, self.received);
        }
        Ok(self.received)
    }

    /// Whether a new message may be taken: not if too many were given up. One that the journal is asked
    /// about is looked at when it has answered.
    pub(crate) fn check_dead(&self, key: MessageKey) -> Result<(), JournalError> {
        match self.check_room_for_dead() {
            Err(_) if self.must_ask(key) || !self.is_new(key) => Ok(()),
            checked => checked,
        }
    }

    /// Whether nothing in memory was received under this key.
    pub(crate) fn is_new(&self, key: MessageKey) -> bool {
        self.look(key, None) == Seen::New
    }

    /// Whether a message under this key was received before.
    fn look(&self, key: MessageKey, fingerprint: Option<u64>) -> Seen {
        let (line, number) = match key {
            MessageKey::Line { line, number } => (line, number),
            MessageKey::Timer { number, due_ms, .. } if self.is_set(number, due_ms) => {
                return Seen::New;
            }
            MessageKey::Timer { .. } => return Seen::Known { first: Sequence(0) },
            _ => return self.ids.look(key, fingerprint),
        };
        match self.lines.look(line, number) {
            Numbered::Next => Seen::New,
            // When the last one's receipt is durable, so are those before it.
            Numbered::Before => {
                Seen::Known { first: self.line_places.get(&line).copied().unwrap_or_default() }
            }
            Numbered::Early(missing) => Seen::Early { missing },
        }
    }

    /// As [`check_dead`](Self::check_dead), for a message that is new.
    pub(crate) fn check_room_for_dead(&self) -> Result<(), JournalError> {
        let limits = &self.engine.shared().limits;
        let (count, bytes) = self.running.dead.get();
        let full = count >= limits.dead_letters || bytes >= limits.dead_letter_bytes;
        if full {
            return Err(JournalError::DeadLettersFull { actor: self.actor.clone(), count, bytes });
        }
        Ok(())
    }

    /// Whether only the journal can say if a message under this key was received before.
    pub(crate) fn must_ask(&self, key: MessageKey) -> bool {
        matches!(key, MessageKey::Caller(_))
            && self.ids.must_ask(key, self.engine.shared().clock_ms())
    }

    /// Everything up to this message is done, and in what is submitted next.
    pub(crate) fn done(&mut self, sequence: Sequence) {
        // What an actor without ids has done is of no use.
        self.done = Some(sequence).filter(|_| !self.ids.is_empty());
    }

    /// Lets ids go whose outcomes are durable: not while the journal is being asked, or what it did not know
    /// then would be known to nobody.
    pub(crate) fn settle_done(&mut self) {
        while let Some((ticket, done)) = self.submitted.front().copied()
            && ticket <= self.engine.shared().queue.durable()
        {
            self.submitted.pop_front();
            self.ids.done(done);
        }
    }

    /// Asks what is recorded under keys. Until the answer is made use of nothing is let go here, so what is
    /// in neither was not received. The answer is given in the runtime that drives the actor.
    pub(crate) fn recorded(
        &mut self,
        ids: Vec<MessageId>,
        then: impl FnOnce(Result<Vec<Option<RecordedOutcome>>, Arc<JournalError>>) + Send + 'static,
    ) {
        self.settle_done();
        // What was let go here is durable, so this waits for no commit.
        let after = self.engine.shared().queue.durable();
        self.ask_recorded(ids, after, then);
    }

    /// As [`recorded`](Self::recorded), when everything submitted so far is durable.
    pub(crate) fn recorded_at_last(
        &mut self,
        id: MessageId,
        then: impl FnOnce(Result<Option<RecordedOutcome>, Arc<JournalError>>) + Send + 'static,
    ) {
        let after = self.engine.shared().queue.ticket();
        let first = |found: Vec<_>| found.into_iter().next().flatten();
        self.ask_recorded(vec![id], after, move |found| then(found.map(first)));
    }

    fn ask_recorded(
        &mut self,
        ids: Vec<MessageId>,
        after: Ticket,
        then: impl FnOnce(Result<Vec<Option<RecordedOutcome>>, Arc<JournalError>>) + Send + 'static,
    ) {
        let shared = self.engine.shared();
        let gate = self.gate.get_or_insert_with(|| shared.gates.here()).clone();
        let answer = Answer::new(shared.clone(), gate, then);
        shared.recorded(self.actor.clone(), ids, after, answer);
    }

    /// Looks at the actor's record when everything submitted so far is durable. The answer is given
    /// in the runtime that drives the actor.
    pub(crate) fn ask<T: Send + 'static>(
        &mut self,
        look: impl FnOnce(Option<&ActorRecord>) -> T + Send + 'static,
        then: impl FnOnce(Result<T, Arc<JournalError>>) + Send + 'static,
    ) {
        let shared = self.engine.shared();
        let gate = self.gate.get_or_insert_with(|| shared.gates.here()).clone();
        let answer = Answer::new(shared.clone(), gate, then);
        shared.look(self.actor.clone(), Box::new(move |record| answer.give(record.map(look))));
    }

    /// Says when everything submitted so far is durable.
    pub(crate) fn when_durable(&mut self, then: impl FnOnce(Fate) + Send + 'static) {
        self.ask(|_| (), then);
    }

    /// Adds an event to the run.
    pub(crate) fn push(&mut self, event: &ActorEvent<'_>) -> Result<(), JournalError> {
        let Self { spawned, actor, entries, count, lease, engine, moves_timers, .. } = self;
        if entries.is_empty() {
            entries.reserve(ENTRIES_BYTES);
        }
        *moves_timers |= matches!(
            event,
            ActorEvent::TimerSet { .. }
                | ActorEvent::MessageReceived { key: MessageKey::Timer { .. }, .. }
        );
        let mut push = |event: &ActorEvent<'_>| {
            *count += 1;
            push_entry(entries, lease.no, event).map_err(|error| JournalError::Store {
                store: engine.shared().provider.location(),
                operation: "encode an event",
                retryable: false,
                source: error.into(),
            })
        };
        if !*spawned {
            *spawned = true;
            push(&ActorEvent::Spawned { actor: actor.clone() })?;
        }
        push(event)
    }

    /// Whether a state is of a size that can be stored. One that is over the limit may become
    /// smaller: it, or the limit, was different before.
    pub(crate) fn check_state(&self, state: &Payload<'_>) -> Result<(), JournalError> {
        let limit = self.engine.shared().limits.state_bytes;
        let size = state.bytes().len();
        let before = self.state.as_ref().map_or(0, |state| state.bytes().len());
        let shrinks = self.captured && size <= before && !sabotaged("sabotage-shrink");
        if size <= limit || shrinks {
            return Ok(());
        }
        Err(JournalError::TooLarge { actor: self.actor.clone(), what: "the state", size, limit })
    }

    /// Whether there is room in a row of the store for so many bytes beside the state and what was sent.
    ///
    /// # Errors
    /// [`JournalError::TooLarge`].
    pub(crate) fn check_room(&self, others: usize) -> Result<(), JournalError> {
        self.check_room_with(self.state.as_ref().map_or(0, |state| state.bytes().len()), others)
    }

    /// As [`check_room`](Self::check_room), with another state.
    pub(crate) fn check_room_with(&self, state: usize, others: usize) -> Result<(), JournalError> {
        let window = self.engine.shared().limits.dedup_bytes;
        let newest: usize = self.newest.iter().map(|reply| reply.saturating_sub(window)).sum();
        let undelivered = if self.has_sent { self.undelivered.bytes() } else { 0 };
        let (size, limit) = (state + others + newest + undelivered, self.room);
        if size <= limit {
            return Ok(());
        }
        let what = "all that it has at once (its state, what waits, what it sent)";
        Err(JournalError::TooLarge { actor: self.actor.clone(), what, size, limit })
    }

    /// So large a reply is the newest.
    pub(crate) fn replied(&mut self, key: MessageKey, bytes: usize) {
        let [caller, generated] = &mut self.newest;
        *(if matches!(key, MessageKey::Caller(_)) { caller } else { generated }) = bytes;
    }

    /// Adds the state to the run if it is not the one captured before.
    pub(crate) fn capture(&mut self, state: Payload<'static>) -> Result<(), JournalError> {
        let unchanged = self.captured && self.state.as_ref() == Some(&state);
        if unchanged || sabotaged("sabotage-state") {
            return Ok(());
        }
        self.push(&ActorEvent::StateChanged { state: state.as_borrowed() })?;
        self.state = Some(state);
        self.captured = true;
        Ok(())
    }

    /// Sets the state to go back to without writing it.
    pub(crate) fn baseline(&mut self, state: Payload<'static>) {
        self.constructed = Some(state.clone());
        self.state = Some(state);
    }

    /// What the actor was made with, if it was new.
    pub(crate) fn constructed(&self) -> Option<&Payload<'static>> {
        self.constructed.as_ref()
    }

    /// Whether the actor's state is in its history.
    pub(crate) fn is_captured(&self) -> bool {
        self.captured
    }

    /// Whether nothing was added since the last submission.
    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Sends the run to the writer. `release` is called in any case.
    pub(crate) fn submit(&mut self, release: Release) -> Result<(), Arc<JournalError>> {
        let shared = self.engine.shared();
        if self.entries.len().saturating_add(HEADER_BYTES) > shared.provider.row_bytes() {
            let (size, limit) = (self.entries.len(), shared.provider.row_bytes());
            let (actor, what) = (self.actor.clone(), "what it has done at once");
            let error = Arc::new(JournalError::TooLarge { actor, what, size, limit });
            self.discard();
            release(Err(error.clone()));
            return Err(error);
        }
        // Here and not before: it is the runtime that drives the actor.
        let gate = self.gate.get_or_insert_with(|| shared.gates.here()).as_ref();
        let submitted = shared.queue.submit(&self.entries, self.count, gate, release);
        // Idle actors keep no room.
        self.entries = Vec::new();
        self.count = 0;
        if let (Ok(ticket), Some(done)) = (&submitted, self.done.take()) {
            self.submitted.push_back((*ticket, done));
        }
        if let (Ok(ticket), true) = (&submitted, std::mem::take(&mut self.moves_timers)) {
            shared.look_at_timers(*ticket);
        }
        submitted.map(drop)
    }

    /// Forgets what was added since the last submission.
    pub(crate) fn discard(&mut self) {
        self.entries.clear();
        self.count = 0;
        self.moves_timers = false;
    }

    /// The event of a message's receipt.
    pub(crate) fn received_event<'e>(
        sequence: Sequence,
        key: MessageKey,
        kind: &'e str,
        payload: &'e Payload<'static>,
        resend_of: Option<Sequence>,
    ) -> ActorEvent<'e> {
        ActorEvent::MessageReceived {
            sequence,
            key,
            kind: Cow::Borrowed(kind),
            payload: payload.as_borrowed(),
            resend_of,
        }
    }
}
