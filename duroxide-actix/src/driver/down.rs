//! What ends a handler, or the actor, from outside: a time limit, a panic in the context, and the end of
//! the journal.

use std::sync::Arc;
use std::task::{Context, Poll};

use shared_journal::mailbox::{Reopening, error_text, over_limit};
use shared_journal::{JournalError, Mailbox, Origin};

use super::Driver;
use crate::actor::DurableActor;
use crate::error::AskError;
use crate::host::Host;
use crate::job::BoxJob;

impl<A: DurableActor> Driver<A>
where
    A::Context: Host<A>,
{
    /// Whether the journal has stopped and is opened again.
    pub(crate) fn is_down(&self) -> bool {
        self.reopening.is_some()
    }

    pub(super) fn is_up(&self) -> bool {
        self.failed.is_none() && !self.is_down()
    }

    /// Ready when the handler that is not done has been at work for too long: what to say of it.
    pub(crate) fn poll_over_limit(&mut self, cx: &mut Context<'_>) -> Poll<String> {
        let Some(ends) = self.limit.as_mut().filter(|_| self.mailbox.is_busy()) else {
            return Poll::Pending;
        };
        ends.as_mut().poll(cx).map(|()| {
            self.limit = None;
            over_limit(A::TIME_LIMIT.unwrap_or_default())
        })
    }

    /// The handler that is not done has failed. Its futures are to end before anything else runs.
    pub(crate) fn over_limit(&mut self, error: &str, act: &mut A, ctx: &mut A::Context) {
        self.own.extend(ctx.take_notified());
        if let Some(delivery) = self.mailbox.take_in_progress() {
            self.attempt_failed(delivery, error, act, ctx);
        }
    }

    /// For an actor that is made anew: what to wait for.
    pub(crate) fn take_reopening(&mut self) -> Option<Reopening<BoxJob<A>>> {
        self.reopening.take()
    }

    /// Goes on with the mailbox of the journal that was opened again, and the state that is in it.
    pub(crate) fn reopened(
        &mut self,
        reopened: Result<Mailbox<BoxJob<A>>, Arc<JournalError>>,
        act: &mut A,
        ctx: &mut A::Context,
    ) {
        self.reopening = None;
        match reopened {
            Ok(mailbox) => self.renew(mailbox),
            Err(error) => return self.end(error),
        }
        ctx.reopened(self.effects());
        self.restore(act);
        if let Err(error) = self.mailbox.baseline(act) {
            self.fail(Arc::new(error));
        }
        for offer in std::mem::take(&mut self.held) {
            self.offer(offer, act, ctx);
        }
    }

    fn renew(&mut self, mailbox: Mailbox<BoxJob<A>>) {
        self.mailbox = mailbox;
        self.room = None;
        self.touched = true;
    }

    /// The actor has to stop, unless the journal that has stopped is opened again.
    pub(super) fn fail(&mut self, error: Arc<JournalError>) {
        if !self.is_up() {
            return;
        }
        if let Some(reopening) = self.mailbox.reopened(&error) {
            self.reopening = Some(reopening);
            self.own.clear();
            self.limit = None;
            return;
        }
        self.end(error);
    }

    pub(crate) fn end(&mut self, error: Arc<JournalError>) {
        if let JournalError::Closed = *error {
            tracing::debug!(actor = %self.actor(), "a durable actor stops with its journal");
        } else {
            tracing::error!(actor = %self.actor(), error = error_text(&error), "a durable actor has to stop");
        }
        for offer in std::mem::take(&mut self.held) {
            offer.job.refuse(AskError::refused(error.clone()));
        }
        self.failed.get_or_insert(error);
    }

    /// A future that a handler spawned panicked. If that handler is not done it has failed;
    /// otherwise what it left in the state is undone, with the run.
    pub(crate) fn future_panicked(
        &mut self,
        origin: Origin,
        error: &str,
        act: &mut A,
        ctx: &mut A::Context,
    ) {
        if origin != self.mailbox.outbox().not_done() {
            tracing::error!(actor = %self.actor(), panic = error, "a future that a durable handler left behind panicked; the actor goes back to its last captured state");
        }
        self.own.extend(ctx.take_notified());
        if self.context_panicked(error) {
            ctx.taken_back();
        }
        self.restore(act);
    }

    /// The context has ended by itself.
    pub(crate) fn ended_itself(&mut self) {
        if self.is_up() && self.mailbox.asked_to_stop().is_none() {
            self.mailbox.ended_itself();
        }
    }

    /// Where nothing of the actor can run before a wait ends: whether somebody wants it to end.
    pub(crate) fn end_if_asked(&mut self) {
        if self.is_up()
            && let Some(error) = self.mailbox.asked_to_stop()
        {
            self.fail(error);
        }
    }

    /// What runs in the actor's context panicked. Whether there was a message to blame for it.
    pub(crate) fn context_panicked(&mut self, error: &str) -> bool {
        self.forget_own();
        if let Some(delivery) = self.mailbox.take_in_progress() {
            self.mailbox.attempt_failed(delivery, error);
            return true;
        }
        let blamed = self.mailbox.has_handled();
        if blamed {
            self.mailbox.run_failed(error);
        }
        blamed
    }
}
