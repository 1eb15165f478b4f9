//! The receiving side of a service: from the channel into the journal's mailbox.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::OptionFuture;
use shared_journal::mailbox::{MESSAGE, fingerprint};
use shared_journal::{DurableMessage, JournalError, Mailbox, MessageKey};
use tokio::sync::mpsc;

use crate::actor::DurableActor;
use crate::message::{IntoRequest, Pending, Request};
use crate::shared::Shared;

pub(crate) type Work<A> =
    Pending<<A as DurableActor>::Message, <A as DurableActor>::Reply, <A as DurableActor>::Error>;

pub(crate) struct Intake<A: DurableActor, T> {
    receiver: mpsc::Receiver<T>,
    /// Came when the journal had stopped.
    held: Option<Request<A>>,
    pub(crate) mailbox: Mailbox<Work<A>>,
    pub(crate) shared: Arc<Shared>,
}

impl<A: DurableActor, T: IntoRequest<A>> Intake<A, T> {
    pub(crate) fn new(
        receiver: mpsc::Receiver<T>,
        mailbox: Mailbox<Work<A>>,
        shared: Arc<Shared>,
    ) -> Self {
        Self { receiver, held: None, mailbox, shared }
    }

    /// Goes on with the mailbox of a journal that was opened again.
    pub(crate) fn renew(&mut self, mailbox: Mailbox<Work<A>>) {
        self.mailbox = mailbox;
    }

    /// The service has failed; why is known already.
    pub(crate) fn refuse_held(&mut self) {
        if let Some(held) = self.held.take() {
            held.caller.refuse(self.shared.refusal());
        }
    }

    /// Waits for a message, or for dead letters that are sent again, and accepts them; false if no more
    /// will come. Cancel-safe.
    ///
    /// # Errors
    /// The journal has stopped, or somebody has stopped the actor.
    pub(crate) async fn receive(&mut self) -> Result<bool, Arc<JournalError>> {
        if let Some(held) = self.held.take() {
            self.accept(held)?;
            return Ok(true);
        }
        loop {
            let ready = self.mailbox.is_ready();
            let getting_ready = OptionFuture::from((!ready).then(|| self.mailbox.ready()));
            let room = ready && self.has_room();
            let letters = ready.then(|| self.receiver.max_capacity());
            tokio::select! {
                biased;
                asked = poll_fn(|cx| poll_asked::<A>(&mut self.mailbox, letters, cx)) => {
                    asked?;
                    // With letters that never end and room for one message it would not be taken.
                    if let Ok(message) = self.receiver.try_recv() {
                        self.accept(message.into_request())?;
                    }
                    return Ok(true);
                }
                // Others may have been faster, or the journal closes.
                Some(()) = getting_ready => tokio::task::yield_now().await,
                received = self.receiver.recv(), if room => match received {
                    Some(message) => {
                        self.accept(message.into_request())?;
                        return Ok(true);
                    }
                    None => return Ok(false),
                },
            }
        }
    }

    /// As [`receive`](Self::receive), but never says that no more will come.
    pub(crate) async fn receive_forever(&mut self) -> Result<(), Arc<JournalError>> {
        match self.receive().await? {
            true => Ok(()),
            false => Err(poll_fn(|cx| self.mailbox.poll_asked_to_stop(cx)).await),
        }
    }

    /// Accepts what is there already.
    ///
    /// # Errors
    /// The journal has stopped.
    pub(crate) fn fill(&mut self) -> Result<(), Arc<JournalError>> {
        while self.has_room()
            && self.mailbox.has_stopped().is_none()
            && let Ok(message) = self.receiver.try_recv()
        {
            self.accept(message.into_request())?;
        }
        Ok(())
    }

    /// As many may wait in the mailbox as in the channel.
    fn has_room(&self) -> bool {
        self.mailbox.len() < self.receiver.max_capacity() && self.mailbox.has_room()
    }

    fn accept(&mut self, request: Request<A>) -> Result<(), Arc<JournalError>> {
        if let Some(error) = self.mailbox.has_stopped() {
            // Nobody is told anything: it waits for another journal, if there is one.
            self.held = Some(request);
            return Err(error);
        }
        let Request { message, key, caller, acknowledge } = request;
        let fingerprint = match key {
            MessageKey::Caller(_) => fingerprint(A::Message::NAME, &message).ok(),
            _ => None,
        };
        if let Err(error) = self.mailbox.check_dead_letters(key) {
            caller.refuse(error.into());
            return Ok(());
        }
        let payload = match self.mailbox.encode(MESSAGE, &message) {
            Ok(payload) => payload,
            Err(error) => {
                caller.refuse(error.into());
                return Ok(());
            }
        };
        let (key, id) = match key {
            MessageKey::Anonymous => self.shared.key(None),
            MessageKey::Caller(id) | MessageKey::Generated(id) | MessageKey::Transient(id) => {
                (key, id)
            }
        };
        let work = Pending {
            id,
            // When values are checked it is decoded at its turn, as after a crash.
            message: (!(A::AS_DECODED && self.mailbox.checks_values())).then_some(message),
            answer: None,
            caller,
            shared: self.shared.clone(),
        };
        self.mailbox.accept(key, A::Message::NAME, payload, fingerprint, work, acknowledge)
    }

    /// Waits until everything submitted is durable.
    ///
    /// # Errors
    /// The journal has stopped before.
    pub(crate) async fn finish(&mut self) -> Result<(), Arc<JournalError>> {
        match self.mailbox.flushed().await {
            // A journal that was closed has written everything that was submitted.
            Err(error) if !matches!(*error, JournalError::Closed) => Err(error),
            _ => Ok(()),
        }
    }
}

/// Whether dead letters were accepted that somebody sends again, of a mailbox with room for so many
/// messages if it takes any; or the actor is asked to stop.
fn poll_asked<A: DurableActor>(
    mailbox: &mut Mailbox<Work<A>>,
    capacity: Option<usize>,
    cx: &Context<'_>,
) -> Poll<Result<(), Arc<JournalError>>> {
    if let Poll::Ready(error) = mailbox.poll_asked_to_stop(cx) {
        return Poll::Ready(Err(error));
    }
    match capacity {
        Some(capacity) => mailbox.poll_letters(capacity, |kind| kind == A::Message::NAME, cx),
        None => Poll::Pending,
    }
}
