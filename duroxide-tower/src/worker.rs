//! The loop of a service: from the mailbox through the actor and back.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures::FutureExt;
use shared_journal::mailbox::{self, Delivery, REPLY};
use shared_journal::{CodecError, JournalError, Mailbox};

use crate::actor::{ActorContext, DurableActor};
use crate::intake::{Intake, Work};
use crate::message::IntoRequest;

pub(crate) struct Worker<A: DurableActor, T> {
    actor: A,
    context: ActorContext,
    intake: Intake<A, T>,
}

/// How a handler ended: with an outcome, or with a panic.
type Handled<A> =
    std::thread::Result<Result<<A as DurableActor>::Reply, <A as DurableActor>::Error>>;

impl<A: DurableActor, T: IntoRequest<A>> Worker<A, T> {
    pub(crate) fn new(actor: A, context: ActorContext, intake: Intake<A, T>) -> Self {
        Self { actor, context, intake }
    }

    /// The service's whole life.
    pub(crate) async fn run(mut self) -> Result<(), Arc<JournalError>> {
        match self.work().await {
            Ok(()) => Ok(()),
            // While the channel is still open: its closing tells the callers to look here.
            Err(error) => Err(self.intake.shared.fail(error)),
        }
    }

    async fn work(&mut self) -> Result<(), Arc<JournalError>> {
        self.actor.started(&mut self.context).await;
        // Recovered messages first: they were received before any new one.
        self.handle_waiting().await?;
        while !self.context.is_stopping() && self.intake.receive().await? {
            self.intake.fill()?;
            self.handle_waiting().await?;
        }
        // The replies of the last run do not wait for the hook.
        self.intake.mailbox.end_run(self.actor.snapshot())?;
        self.actor.stopped(&mut self.context).await;
        if self.context.is_stopping() {
            self.intake.mailbox.stopped(self.actor.snapshot())?;
        } else {
            self.intake.mailbox.end_run(self.actor.snapshot())?;
        }
        self.intake.finish().await
    }

    /// Handles until no message waits, or the actor stops: then the run is not ended.
    async fn handle_waiting(&mut self) -> Result<(), Arc<JournalError>> {
        loop {
            while !self.context.is_stopping()
                && let Some(delivery) = self.intake.mailbox.next()
            {
                self.handle(delivery).await?;
            }
            if self.context.is_stopping() {
                return Ok(());
            }
            self.intake.mailbox.end_run(self.actor.snapshot())?;
            if !self.intake.mailbox.has_room() {
                self.intake.mailbox.room().await;
            }
            if self.intake.mailbox.is_empty() {
                return Ok(());
            }
            // Between full runs other tasks have their turn.
            tokio::task::yield_now().await;
        }
    }

    async fn handle(&mut self, mut delivery: Delivery<Work<A>>) -> Result<(), Arc<JournalError>> {
        let message = self.message_of(&mut delivery)?;
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
        let Self { actor, context, intake } = self;
        let handling = AssertUnwindSafe(async { actor.handle(context, message).await });
        let mut handling = pin!(handling.catch_unwind());
        if let Poll::Ready(handled) = futures::poll!(handling.as_mut()) {
            return Ok((Some(delivery), handled));
        }
        intake.mailbox.in_progress(delivery)?;
        loop {
            tokio::select! {
                biased;
                handled = handling.as_mut() => {
                    return Ok((intake.mailbox.take_in_progress(), handled));
                }
                received = intake.receive_forever() => received?,
            }
        }
    }

    /// The message to handle: as it came, or as it was stored.
    fn message_of(
        &self,
        delivery: &mut Delivery<Work<A>>,
    ) -> Result<A::Message, Arc<JournalError>> {
        match delivery.work.as_mut().and_then(|work| work.message.take()) {
            Some(message) => Ok(message),
            None => delivery
                .payload()
                .decode()
                .map_err(|source| Arc::new(self.intake.mailbox.undecodable(delivery, source))),
        }
    }

    fn record(
        &mut self,
        mut delivery: Delivery<Work<A>>,
        handled: Handled<A>,
    ) -> Result<(), Arc<JournalError>> {
        let mailbox = &mut self.intake.mailbox;
        let failure = match handled {
            Ok(answer) => match mailbox.encode(REPLY, &answer) {
                Ok(reply) => {
                    if answer.is_err() {
                        self.context.take_back();
                    }
                    if let Some(work) = &mut delivery.work {
                        work.answer = Some(answer);
                    }
                    mailbox.processed(delivery, reply);
                    self.context.end(true);
                    return Ok(());
                }
                Err(error) => format!("{error}: {}", source_of(&error)),
            },
            Err(panic) => text_of(&*panic),
        };
        mailbox.panicked(delivery, &failure);
        self.context.end(false);
        restore(&mut self.actor, mailbox)
            .map_err(|source| Arc::new(undecodable_state(mailbox, source)))
    }
}

/// Puts the last captured state into the actor, if there is one.
pub(crate) fn restore<A: DurableActor>(
    actor: &mut A,
    mailbox: &Mailbox<Work<A>>,
) -> Result<(), CodecError> {
    if let Some(state) = mailbox.state() {
        actor.restore(state.decode()?);
    }
    Ok(())
}

/// The error for a state that does not decode.
pub(crate) fn undecodable_state<W: mailbox::Work>(
    mailbox: &Mailbox<W>,
    source: CodecError,
) -> JournalError {
    JournalError::Decode { place: mailbox.place(), what: "state".to_owned(), source }
}

fn source_of(error: &JournalError) -> String {
    std::error::Error::source(error).map_or_else(String::new, ToString::to_string)
}

pub(crate) fn text_of(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a text".to_owned()
    }
}
