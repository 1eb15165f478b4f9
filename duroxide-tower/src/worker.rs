//! The loop of a service: from the mailbox through the actor and back.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use futures::future::OptionFuture;
use futures::{FutureExt, TryFutureExt};
use shared_journal::JournalError;
use shared_journal::cluster::handling;
use shared_journal::mailbox::{Delivery, Ended, REPLY, caught, error_text, over_limit, panic_text};

use crate::actor::{ActorContext, DurableActor};
use crate::intake::{Intake, Work};
use crate::message::IntoRequest;

pub(crate) struct Worker<A: DurableActor, T> {
    actor: A,
    context: ActorContext,
    intake: Intake<A, T>,
    /// The actor has come to its end; what is left is to be written.
    ending: bool,
    /// It ends when the journal stops, also if that is opened again.
    ends_with_journal: bool,
}

/// How a handler ended: with an outcome, or with what it died of.
type Handled<A> = Result<Result<<A as DurableActor>::Reply, <A as DurableActor>::Error>, String>;

impl<A: DurableActor, T: IntoRequest<A>> Worker<A, T> {
    pub(crate) fn new(actor: A, context: ActorContext, intake: Intake<A, T>) -> Self {
        Self { actor, context, intake, ending: false, ends_with_journal: false }
    }

    /// Whoever runs it starts it again.
    pub(crate) fn end_with_journal(&mut self) {
        self.ends_with_journal = true;
    }

    /// The service's whole life.
    pub(crate) async fn run(mut self) -> Result<(), Arc<JournalError>> {
        match AssertUnwindSafe(self.live()).catch_unwind().await {
            Ok(Ok(())) => Ok(()),
            // While the channel is still open: its closing tells the callers to look here.
            Ok(Err(error)) => {
                let error = self.intake.shared.fail(error);
                self.intake.refuse_held();
                Err(error)
            }
            Err(panic) => {
                self.intake.shared.panicked(self.context.actor_id(), &panic_text(&*panic));
                // An actor that panics once more as it is dropped must not do so while unwinding.
                let _ = catch_unwind(AssertUnwindSafe(|| drop(self)));
                resume_unwind(panic)
            }
        }
    }

    async fn live(&mut self) -> Result<(), Arc<JournalError>> {
        self.actor.started(&mut self.context).await;
        loop {
            let Err(error) = self.work().await else { return Ok(()) };
            self.reopen(error).await?;
        }
    }

    /// Goes back to what is durable, when the journal that has stopped is opened again.
    async fn reopen(&mut self, error: Arc<JournalError>) -> Result<(), Arc<JournalError>> {
        if self.ending || self.ends_with_journal {
            return Err(error);
        }
        let reopening = self.intake.mailbox.reopened(&error).ok_or(error)?;
        let mailbox = reopening.await?;
        mailbox.restore(&mut self.actor).map_err(Arc::new)?;
        self.context = ActorContext::new(&mailbox);
        self.intake.renew(mailbox);
        self.intake.mailbox.baseline(&self.actor).map_err(Arc::new)
    }

    async fn work(&mut self) -> Result<(), Arc<JournalError>> {
        // Recovered messages first: they were received before any new one.
        self.handle_waiting().await?;
        while !self.context.is_stopping() && self.intake.receive().await? {
            self.intake.fill()?;
            self.handle_waiting().await?;
        }
        self.ending = true;
        self.actor.stopped(&mut self.context).await;
        // If what the hook left cannot be stored, the actor ends as it was before it.
        let _ = if self.context.is_stopping() {
            self.intake.mailbox.stopped(&mut self.actor)?
        } else {
            self.intake.mailbox.end_run(&mut self.actor)?
        };
        self.intake.finish().await
    }

    /// Handles until no message waits, or the actor stops, and ends the run.
    async fn handle_waiting(&mut self) -> Result<(), Arc<JournalError>> {
        loop {
            while !self.context.is_stopping()
                && let Some(delivery) = self.intake.mailbox.next()?
            {
                self.handle(delivery).await?;
            }
            if self.intake.mailbox.end_run(&mut self.actor)? == Ended::TakenBack {
                self.context.end(false);
            }
            if let Some(error) = self.intake.mailbox.asked_to_stop() {
                return Err(error);
            }
            if self.context.is_stopping() {
                return Ok(());
            }
            if !self.intake.mailbox.is_ready() {
                self.intake.mailbox.ready().await;
            }
            if !self.intake.mailbox.has_next() {
                return Ok(());
            }
            // Between full runs other tasks have their turn.
            tokio::task::yield_now().await;
        }
    }

    async fn handle(&mut self, mut delivery: Delivery<Work<A>>) -> Result<(), Arc<JournalError>> {
        let message = match self.message_of(&mut delivery) {
            Ok(message) => message,
            Err(error) => {
                self.intake.mailbox.give_up(delivery, &error_text(&error));
                return Ok(());
            }
        };
        self.context.begin(delivery.id(), delivery.attempts());
        match self.drive(delivery, message).await? {
            (Some(delivery), handled) => self.record(delivery, handled),
            (None, _) => Ok(()),
        }
    }

    /// Runs the handler to its end, and receives messages while it waits for something.
    async fn drive(
        &mut self,
        delivery: Delivery<Work<A>>,
        message: A::Message,
    ) -> Result<(Option<Delivery<Work<A>>>, Handled<A>), Arc<JournalError>> {
        let Self { actor, context, intake, .. } = self;
        let began = Instant::now();
        let id = context.actor_id().clone();
        let handling = handling(id, async { actor.handle(context, message).await });
        let handling = AssertUnwindSafe(handling).catch_unwind().map_err(caught);
        let mut handling = pin!(OptionFuture::from(Some(handling)));
        if let Poll::Ready(Some(handled)) = futures::poll!(handling.as_mut()) {
            return Ok((Some(delivery), handled));
        }
        intake.mailbox.in_progress(delivery)?;
        let over = async {
            match A::TIME_LIMIT {
                Some(limit) => {
                    tokio::time::sleep(limit.saturating_sub(began.elapsed())).await;
                    limit
                }
                None => std::future::pending().await,
            }
        };
        let mut over = pin!(over);
        loop {
            tokio::select! {
                biased;
                Some(handled) = handling.as_mut() => {
                    return Ok((intake.mailbox.take_in_progress(), handled));
                }
                limit = over.as_mut() => {
                    let error = over_limit(limit);
                    // What it drops may panic as it is dropped; that is the same failure.
                    let _ = catch_unwind(AssertUnwindSafe(|| handling.set(None.into())));
                    return Ok((intake.mailbox.take_in_progress(), Err(error)));
                }
                received = intake.receive_forever() => received?,
            }
        }
    }

    /// The message to handle: as it came, or as it was stored.
    fn message_of(&self, delivery: &mut Delivery<Work<A>>) -> Result<A::Message, JournalError> {
        match delivery.work.as_mut().and_then(|work| work.message.take()) {
            Some(message) => Ok(message),
            None => delivery
                .payload()
                .decode()
                .map_err(|source| self.intake.mailbox.undecodable(delivery, source)),
        }
    }

    fn record(
        &mut self,
        mut delivery: Delivery<Work<A>>,
        handled: Handled<A>,
    ) -> Result<(), Arc<JournalError>> {
        let mailbox = &mut self.intake.mailbox;
        let failure = match (self.context.take_failure(), handled) {
            (Some(failure), Ok(_)) => failure,
            (None, Ok(answer)) => match mailbox.encode(REPLY, &answer) {
                Ok(reply) => {
                    if let Some(work) = &mut delivery.work {
                        let decoded = mailbox.checks_values().then(|| reply.decode().ok());
                        work.answer = Some(decoded.flatten().unwrap_or(answer));
                    }
                    mailbox.processed(delivery, reply);
                    self.context.end(true);
                    return Ok(());
                }
                Err(error) => error_text(&error),
            },
            (_, Err(error)) => error,
        };
        self.context.end(false);
        mailbox.failed(delivery, &failure, &mut self.actor)
    }
}
