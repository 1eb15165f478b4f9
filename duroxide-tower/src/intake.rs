//! The receiving side of a service: from the channel into the journal's mailbox.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::OptionFuture;
use shared_journal::mailbox::{MESSAGE, fingerprint};
use shared_journal::{DurableMessage, JournalError, Mailbox, MessageId, MessageKey};
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

    /// Waits until messages are taken in: new ones, those that waited for an answer of the journal, or dead
    /// letters that are sent again. False if no more will come. Cancel-safe.
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
                news = poll_fn(|cx| poll_news::<A>(&mut self.mailbox, letters, cx)) => {
                    // With letters that never end and room for one message it would not be taken.
                    if let News::Letters = news?
                        && let Ok(message) = self.receiver.try_recv()
                    {
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
                    None if self.mailbox.is_empty() => return Ok(false),
                    // What waits for an answer of the journal comes before the end.
                    None => {
                        poll_fn(|cx| self.mailbox.poll_news(cx)).await?;
                        return Ok(true);
                    }
                },
            }
        }
    }

    /// As [`receive`](Self::receive), but never says that no more will come.
    pub(crate) async fn receive_forever(&mut self) -> Result<(), Arc<JournalError>> {
        match self.receive().await? {
            true => Ok(()),
            false => poll_fn(|cx| self.mailbox.poll_news(cx)).await,
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
            // Nobody asks for it under an id; and what timers send does not come in here.
            MessageKey::Line { line, .. } => (key, line),
            MessageKey::Timer { .. } => (key, MessageId::random()),
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

/// What was taken in.
enum News {
    Answered,
    Letters,
}

/// As [`Mailbox::poll_news`], and of dead letters that somebody sends again, if the mailbox takes any: it
/// has room for so many messages.
fn poll_news<A: DurableActor>(
    mailbox: &mut Mailbox<Work<A>>,
    capacity: Option<usize>,
    cx: &Context<'_>,
) -> Poll<Result<News, Arc<JournalError>>> {
    if let Poll::Ready(news) = mailbox.poll_news(cx) {
        return Poll::Ready(news.map(|()| News::Answered));
    }
    let Some(capacity) = capacity else { return Poll::Pending };
    let letters = mailbox.poll_letters(capacity, |kind| kind == A::Message::NAME, cx);
    letters.map_ok(|()| News::Letters)
}
