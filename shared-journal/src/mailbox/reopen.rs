//! The way on after the journal has stopped and is opened again.

use std::sync::Arc;

use futures::future::BoxFuture;

use super::delivery::Work;
use super::intake::Mailbox;
use crate::error::JournalError;

/// The mailbox of the same actor in the journal that is opened again, when it is.
pub type Reopening<W> = BoxFuture<'static, Result<Mailbox<W>, Arc<JournalError>>>;

impl<W: Work> Mailbox<W> {
    /// Why the journal has stopped, if it has. Ask before a message is taken from wherever it waits: what
    /// is accepted after that has an outcome that is unknown.
    #[must_use]
    pub fn has_stopped(&self) -> Option<Arc<JournalError>> {
        self.session.engine().shared().queue.stopped()
    }

    /// What to do after this mailbox has answered with an error. None: the actor must stop. Else the
    /// journal is opened again by itself, and the actor goes on with another mailbox: drop this one, wait
    /// for that one, put its state into the actor ([`restore`](Self::restore)), and take its outbox and its
    /// steps. The actor takes no messages meanwhile.
    ///
    /// Everybody who waits for something of this mailbox is told that its outcome is unknown.
    ///
    /// The future is cancel-safe. Its error is why the journal is not opened again, or the actor not
    /// loaded: then the actor must stop.
    pub fn reopened(&mut self, error: &Arc<JournalError>) -> Option<Reopening<W>> {
        if !self.door.goes_on_after(error) {
            return None;
        }
        let run = std::mem::take(&mut self.run).into_iter().map(|handled| handled.delivery);
        let waiting = self.queue.take_all();
        for delivery in self.take_in_progress().into_iter().chain(run).chain(waiting) {
            delivery.resolve(&Err(error.clone()), &Err("".into()));
        }
        self.steps.end();
        let (door, actor) = (self.door.clone(), self.actor().clone());
        let constructed = self.session.constructed().cloned();
        let mut epoch = self.session.engine().shared().epoch;
        Some(Box::pin(async move {
            loop {
                let engine = door.engine_after(epoch).await?;
                epoch = engine.shared().epoch;
                match Self::activate(&door, engine, &actor).await {
                    Ok(mut mailbox) => {
                        if let (None, Some(state)) = (mailbox.session.state(), constructed) {
                            mailbox.session.baseline(state);
                        }
                        return Ok(mailbox);
                    }
                    // Again.
                    Err(error) if door.goes_on_after(&error) => {}
                    Err(error) => return Err(Arc::new(error)),
                }
            }
        }))
    }
}
