//! The driver: runs an actor's handlers for the messages of its durable mailbox.
//!
//! Both ways into this crate end here. A message comes in through [`Driver::offer`], in the middle
//! of a poll of the actor's context; the run of everything that came in ends in [`Driver::end_run`],
//! at the end of that poll. What else ran in it (intervals, futures, messages that are not durable)
//! may have changed the state: [`Driver::touch`] says so, and the state is captured then as well.

mod down;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use actix::clock::{Sleep, sleep};
use actix::{Actor, ActorContext, ActorState};
use shared_journal::mailbox::{
    Acknowledge, Delivery, Ended, MESSAGE, Reopening, caught, error_text,
};
use shared_journal::{ActorId, JournalError, Mailbox, MessageKey, Origin, Payload};

use crate::actor::DurableActor;
use crate::effects::Effects;
use crate::error::AskError;
use crate::host::Host;
use crate::job::BoxJob;
use crate::message::Table;

/// A message for the driver.
pub(crate) struct Offer<A: Actor> {
    pub(crate) job: BoxJob<A>,
    pub(crate) key: MessageKey,
    pub(crate) acknowledge: Option<Acknowledge>,
}

pub(crate) struct Driver<A: Actor> {
    mailbox: Mailbox<BoxJob<A>>,
    table: Arc<Table<A>>,
    /// What was sent to the actor itself. Accepted at the end of the run, in its commit; what
    /// handlers of the run sent is forgotten when the run goes back.
    own: Vec<(Origin, Offer<A>)>,
    /// Something other than a durable handler may have changed the state since it was captured.
    touched: bool,
    /// Waits for the disk to catch up.
    room: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// Of the handler that is not done, if there is a limit.
    limit: Option<Pin<Box<Sleep>>>,
    failed: Option<Arc<JournalError>>,
    /// The journal has stopped and is opened again: the actor takes nothing until then.
    reopening: Option<Reopening<BoxJob<A>>>,
    /// What came since.
    held: Vec<Offer<A>>,
    /// The journal is about to close, and waits for an answer.
    closing: bool,
}

impl<A: DurableActor> Driver<A>
where
    A::Context: Host<A>,
{
    /// Takes over a mailbox whose every message is of a type in the table.
    pub(crate) fn new(mailbox: Mailbox<BoxJob<A>>, table: Arc<Table<A>>) -> Self {
        Self {
            mailbox,
            table,
            own: Vec::new(),
            // By `started`.
            touched: true,
            room: None,
            limit: None,
            failed: None,
            reopening: None,
            held: Vec::new(),
            closing: false,
        }
    }

    pub(crate) fn actor(&self) -> &ActorId {
        self.mailbox.actor()
    }

    pub(crate) fn table(&self) -> &Arc<Table<A>> {
        &self.table
    }

    pub(crate) fn effects(&self) -> Effects {
        Effects::of(&self.mailbox)
    }

    /// Something that is no durable handler ran, and may have changed the state.
    pub(crate) fn touch(&mut self) {
        self.touched = true;
    }

    /// Whether [`end_run`](Self::end_run) has something to do.
    pub(crate) fn has_run(&self) -> bool {
        self.has_something_to_write() || self.closing
    }

    fn has_something_to_write(&self) -> bool {
        !self.mailbox.is_busy()
            && self.is_up()
            && (self.touched
                || !self.own.is_empty()
                || self.mailbox.has_run()
                || self.mailbox.has_unwritten())
    }

    /// At the end of a poll: looks whether the journal is about to close. Then the run ends.
    pub(crate) fn poll_closing(&mut self, cx: &Context<'_>) {
        self.closing |= self.is_up() && self.mailbox.poll_closing(cx);
    }

    /// Says that nothing can be submitted now that is not.
    pub(crate) fn answer_closing(&mut self) {
        if std::mem::take(&mut self.closing) {
            self.mailbox.answer_closing();
        }
    }

    /// Whether the actor must end, because the journal has.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Whether nothing waits to be handled.
    pub(crate) fn is_idle(&self) -> bool {
        self.mailbox.is_empty() && !self.mailbox.is_busy() && !self.is_down()
    }

    /// Whether a message can be handled, and nothing else is going to wake the actor for it. The end of
    /// a run that cannot be stored puts messages there.
    pub(crate) fn has_next(&self) -> bool {
        self.is_up()
            && self.mailbox.has_next()
            && !self.mailbox.is_busy()
            && (self.mailbox.is_ready() || self.room.is_none())
    }

    /// Whether the actor should take no further message for now.
    pub(crate) fn is_full(&self, capacity: usize) -> bool {
        let waits = self.mailbox.is_busy() || !(self.mailbox.is_empty() || self.mailbox.has_next());
        self.is_down()
            || (waits && (self.mailbox.len() >= capacity.max(1) || !self.mailbox.has_room()))
            || !self.mailbox.is_ready()
    }

    /// As [`is_full`](Self::is_full); if it is, the task is woken when the disk has caught up.
    /// The end of a busy handler wakes it anyway.
    pub(crate) fn poll_full(&mut self, capacity: usize, cx: &mut Context<'_>) -> bool {
        if !self.is_full(capacity) {
            let was_held_back = self.room.take().is_some() || self.mailbox.has_next();
            if was_held_back && !self.mailbox.is_busy() {
                // There may be room only since the mailbox was looked at.
                cx.waker().wake_by_ref();
            }
            return false;
        }
        if self.is_down() {
            // The task is woken by what opens the journal.
            return true;
        }
        // What it was held back for may be over, and something else hold it back since.
        for _ in 0..2 {
            if self.mailbox.is_ready() {
                break;
            }
            let ready = self.room.get_or_insert_with(|| Box::pin(self.mailbox.ready()));
            if ready.as_mut().poll(cx).is_pending() {
                return true;
            }
            self.room = None;
        }
        let full = self.is_full(capacity);
        if !full {
            // What waits in the mailbox was held back; it needs another poll.
            cx.waker().wake_by_ref();
        }
        full
    }

    /// Puts a message into the mailbox and handles what can be handled.
    pub(crate) fn offer(&mut self, offer: Offer<A>, act: &mut A, ctx: &mut A::Context) {
        if let Some(error) = self.mailbox.has_stopped() {
            self.fail(error);
            if self.is_down() {
                return self.held.push(offer);
            }
        }
        match self.mailbox.check_dead_letters(offer.key) {
            Ok(()) => self.accept(offer),
            Err(error) => offer.job.refuse(AskError::refused(Arc::new(error))),
        }
        self.handle_all(act, ctx);
    }

    fn accept(&mut self, Offer { job, key, acknowledge }: Offer<A>) {
        let name = job.name();
        let fingerprint = match key {
            MessageKey::Caller(_) => job.fingerprint(),
            _ => None,
        };
        let Some((job, payload)) = self.encode(job) else { return };
        let accepted = self.mailbox.accept(key, name, payload, fingerprint, job, acknowledge);
        if let Err(error) = accepted {
            self.fail(error);
        }
    }

    /// Puts a message into the mailbox that the actor sends to itself.
    fn accept_own(&mut self, job: BoxJob<A>) {
        let name = job.name();
        let Some((job, payload)) = self.encode(job) else { return };
        if let Err(error) = self.mailbox.accept_own(name, payload, job) {
            self.fail(error);
        }
    }

    /// The message of a job, encoded. If that cannot be its sender is told.
    fn encode(&mut self, mut job: BoxJob<A>) -> Option<(BoxJob<A>, Payload<'static>)> {
        let checks = self.mailbox.checks_values();
        let encoded = self.mailbox.encode_with(MESSAGE, |codec| job.encode_checked(codec, checks));
        match encoded {
            Ok(payload) => {
                job.accepted();
                Some((job, payload))
            }
            Err(error) => {
                tracing::warn!(actor = %self.actor(), kind = job.name(), error = error_text(&error), "message refused");
                job.refuse(AskError::refused(Arc::new(error)));
                None
            }
        }
    }

    /// Handles messages until the run is full, there is none, one takes its time, or the actor
    /// may not go on.
    fn handle_all(&mut self, act: &mut A, ctx: &mut A::Context) {
        while self.is_up()
            && ctx.state() == ActorState::Running
            && !ctx.is_held()
            && self.mailbox.is_ready()
        {
            match self.mailbox.next() {
                Ok(Some(delivery)) => self.handle(delivery, act, ctx),
                Ok(None) => break,
                Err(error) => self.fail(error),
            }
        }
    }

    fn handle(&mut self, mut delivery: Delivery<BoxJob<A>>, act: &mut A, ctx: &mut A::Context) {
        // Decodes at most once: a message from a sender is there already.
        let mut job = match delivery.work.take() {
            Some(job) => job,
            None => match self.table.job(delivery.kind()) {
                Some(job) => job,
                None => return self.fail(Arc::new(self.mailbox.unknown(&delivery))),
            },
        };
        if let Err(source) = job.decode(delivery.payload()) {
            delivery.work = Some(job);
            let error = error_text(&self.mailbox.undecodable(&delivery, source));
            return self.mailbox.give_up(delivery, &error);
        }
        let ends = A::TIME_LIMIT.map(sleep);
        ctx.enter(delivery.id());
        let started = catch_unwind(AssertUnwindSafe(|| job.start(act, ctx)));
        ctx.leave();
        // What runs from here on is not this handler's, unless it says so.
        self.mailbox.outbox().set_running(Origin::default());
        self.own.extend(ctx.take_notified());
        let reply = match started {
            // With `ctx.wait` it is done when the wait ends.
            Ok(()) if ctx.has_waits() => Poll::Pending,
            Ok(()) => self.reply(&mut job, None),
            Err(panic) => Poll::Ready(Err(caught(panic))),
        };
        delivery.work = Some(job);
        match reply {
            Poll::Ready(Ok(reply)) => self.mailbox.processed(delivery, reply),
            Poll::Ready(Err(error)) => self.attempt_failed(delivery, &error, act, ctx),
            Poll::Pending => {
                self.limit = ends.map(Box::pin);
                if let Err(error) = self.mailbox.in_progress(delivery) {
                    self.fail(error);
                }
            }
        }
    }

    /// The encoded reply of a handler, or what it died of.
    fn reply(
        &self,
        job: &mut BoxJob<A>,
        cx: Option<&mut Context<'_>>,
    ) -> Poll<Result<Payload<'static>, String>> {
        let checks = self.mailbox.checks_values();
        let reply = std::task::ready!(job.poll_checked(self.mailbox.codec(), checks, cx));
        Poll::Ready(match reply {
            Ok(reply) => self.mailbox.check_reply(reply).map_err(|error| error_text(&error)),
            Err(error) => Err(error_text(&error)),
        })
    }

    /// Goes on where the actor's context was woken: a late reply, the end of the run. Ready when
    /// the actor must end, because the journal has.
    pub(crate) fn poll(
        &mut self,
        act: &mut A,
        ctx: &mut A::Context,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        if let Some(reopening) = &mut self.reopening {
            match reopening.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(reopened) => self.reopened(reopened, act, ctx),
            }
        }
        self.go_on(act, ctx, cx);
        self.end_run(act, ctx);
        if self.is_down() {
            // To wait for the journal.
            cx.waker().wake_by_ref();
        }
        if self.has_failed() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// The first half of [`poll`](Self::poll); the run is still to end.
    pub(crate) fn go_on(&mut self, act: &mut A, ctx: &mut A::Context, cx: &mut Context<'_>) {
        // Before the news, which may be the actor's end: what is done is written.
        self.poll_in_progress(act, ctx, cx);
        while self.is_up()
            && let Poll::Ready(news) = self.mailbox.poll_news(cx)
        {
            if let Err(error) = news {
                self.end_run(act, ctx);
                self.fail(error);
            }
        }
        self.handle_all(act, ctx);
        self.receive_letters(act, ctx, cx);
        // A handler that began just now is to wake the actor too.
        self.poll_in_progress(act, ctx, cx);
        if self.is_up()
            && self.mailbox.has_next()
            && !self.mailbox.is_busy()
            && !ctx.is_held()
            && self.mailbox.is_ready()
        {
            // The next run, after others had their turn.
            cx.waker().wake_by_ref();
        }
    }

    /// Takes dead letters that somebody sends again, and handles what can be handled.
    fn receive_letters(&mut self, act: &mut A, ctx: &mut A::Context, cx: &Context<'_>) {
        let table = self.table.clone();
        while self.is_up() && ctx.state() == ActorState::Running && self.mailbox.is_ready() {
            let known = |kind: &str| table.job(kind).is_some();
            match self.mailbox.poll_letters(ctx.capacity(), known, cx) {
                Poll::Ready(Ok(())) => self.handle_all(act, ctx),
                Poll::Ready(Err(error)) => self.fail(error),
                Poll::Pending => break,
            }
        }
    }

    fn poll_in_progress(&mut self, act: &mut A, ctx: &mut A::Context, cx: &mut Context<'_>) {
        if ctx.has_waits() {
            return;
        }
        let Some(mut job) = self.mailbox.in_progress_mut().and_then(|it| it.work.take()) else {
            return;
        };
        let reply = self.reply(&mut job, Some(cx));
        if let Some(delivery) = self.mailbox.in_progress_mut() {
            delivery.work = Some(job);
        }
        if let Poll::Ready(reply) = reply
            && let Some(delivery) = self.mailbox.take_in_progress()
        {
            match reply {
                Ok(reply) => self.mailbox.processed(delivery, reply),
                Err(error) => self.attempt_failed(delivery, &error, act, ctx),
            }
        }
    }

    fn restore(&mut self, act: &mut A) {
        if let Err(error) = self.mailbox.restore(act) {
            self.fail(Arc::new(error));
        }
    }

    /// Forgets what the handlers of the run sent to the actor itself.
    fn forget_own(&mut self) {
        let outbox = self.mailbox.outbox();
        self.own.retain(|(origin, _)| !outbox.is_of_run(*origin));
    }

    pub(crate) fn mailbox(&mut self) -> &mut Mailbox<BoxJob<A>> {
        &mut self.mailbox
    }

    /// The actor stops of its own will: captures what it has and says so in its history.
    pub(crate) fn stop(&mut self, act: &mut A, ctx: &mut A::Context) {
        self.end_run(act, ctx);
        self.last(|mailbox| mailbox.stopped(act));
    }

    /// The actor ends because nobody can send to it any more.
    pub(crate) fn finish(&mut self, act: &mut A, ctx: &mut A::Context) {
        self.end_run(act, ctx);
        self.last(|mailbox| mailbox.capture(act));
    }

    /// If what the actor has cannot be stored, it ends as it was before.
    fn last(
        &mut self,
        write: impl FnOnce(&mut Mailbox<BoxJob<A>>) -> Result<Ended, Arc<JournalError>>,
    ) {
        if self.is_up()
            && let Err(error) = write(&mut self.mailbox)
        {
            self.fail(error);
        }
    }

    /// Submits what was handled and accepted since the last time, and what else changed the state.
    pub(crate) fn end_run(&mut self, act: &mut A, ctx: &mut A::Context) {
        self.own.extend(ctx.take_notified());
        while self.has_something_to_write() && self.submit(act, ctx) {}
        self.answer_closing();
        if self.is_down() {
            // Their futures end in the next poll.
            ctx.taken_back();
        }
    }

    /// Submits a run. Whether there may be more to submit.
    fn submit(&mut self, act: &mut A, ctx: &mut A::Context) -> bool {
        let sealed = match self.mailbox.seal(act) {
            Ok(Some(sealed)) => sealed,
            Ok(None) => {
                // The state could not be stored, and is what it was.
                self.touched = false;
                self.forget_own();
                ctx.taken_back();
                return false;
            }
            Err(error) => {
                self.fail(error);
                return false;
            }
        };
        for (_, offer) in std::mem::take(&mut self.own) {
            self.accept_own(offer.job);
        }
        if !self.is_up() {
            return false;
        }
        // A message that was given up is written without a state, and the state after it.
        self.touched &= !sealed.is_current();
        ctx.run_ended();
        if let Err(error) = self.mailbox.submit_sealed(sealed) {
            self.fail(error);
        }
        self.touched
    }

    fn attempt_failed(
        &mut self,
        delivery: Delivery<BoxJob<A>>,
        error: &str,
        act: &mut A,
        ctx: &mut A::Context,
    ) {
        self.forget_own();
        ctx.taken_back();
        if let Err(error) = self.mailbox.failed(delivery, error, act) {
            self.fail(error);
        }
    }
}
