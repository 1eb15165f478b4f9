//! Messages whose id was received before: they wait for what the first one is answered.

use std::collections::HashSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use serde::de::DeserializeOwned;
use shared_journal::mailbox::{Acknowledge, Work};
use shared_journal::{JournalError, Mailbox, MessageId, Outcome};

use crate::error::{CallError, Interruption};
use crate::message::{Answer, Caller};

/// The duplicates of one actor that have no answer yet.
///
/// The journal is asked for the answers when these are polled, not before: the receipt of the
/// first message must have been submitted, or the journal would not know the id.
pub(crate) struct Duplicates<R, E>(FuturesUnordered<Asked<R, E>>);

impl<R, E> Duplicates<R, E>
where
    R: DeserializeOwned,
    E: DeserializeOwned,
{
    pub(crate) fn new() -> Self {
        Self(FuturesUnordered::new())
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn push<W: Work>(
        &mut self,
        id: MessageId,
        caller: Caller<R, E>,
        acknowledge: Option<Acknowledge>,
        mailbox: &Mailbox<W>,
    ) {
        self.0.push(Asked::new(id, caller, acknowledge, mailbox));
    }

    /// Answers one duplicate; false if there is none. Cancel-safe.
    ///
    /// Every receipt in the mailbox must have been submitted.
    pub(crate) async fn answer(&mut self) -> bool {
        self.0.next().await.is_some()
    }

    /// The actor stops: lets go of those whose first message will not be done.
    pub(crate) fn settle<W: Work>(&mut self, mailbox: &Mailbox<W>) {
        let open: HashSet<_> = mailbox.queued().filter_map(|queued| queued.id()).collect();
        self.0 = std::mem::take(&mut self.0)
            .into_iter()
            .filter(|asked| !open.contains(&asked.id))
            .collect();
    }
}

/// Answers a duplicate as soon as the journal has.
struct Asked<R, E> {
    id: MessageId,
    caller: Option<(Caller<R, E>, Option<Acknowledge>)>,
    outcome: BoxFuture<'static, Result<Option<Outcome>, JournalError>>,
}

impl<R, E> Asked<R, E> {
    fn new<W: Work>(
        id: MessageId,
        caller: Caller<R, E>,
        acknowledge: Option<Acknowledge>,
        mailbox: &Mailbox<W>,
    ) -> Self {
        // Whoever waits for an answer has the receipt with it.
        let acknowledge = acknowledge.filter(|_| matches!(caller, Caller::Tell(_)));
        // Who waits for the receipt only does not wait for the outcome. The journal answers a
        // question for an id that it never saw when everything submitted before is durable.
        let asked_for = match acknowledge {
            Some(_) => MessageId::random(),
            None => id,
        };
        Self {
            id,
            caller: Some((caller, acknowledge)),
            outcome: mailbox.recorded(asked_for).boxed(),
        }
    }
}

// Nothing in it is pinned but what is boxed.
impl<R, E> Unpin for Asked<R, E> {}

impl<R, E> Future for Asked<R, E>
where
    R: DeserializeOwned,
    E: DeserializeOwned,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let outcome = ready!(self.outcome.as_mut().poll(cx));
        let id = self.id;
        match self.caller.take() {
            Some((_, Some(acknowledge))) => {
                drop(acknowledge.send(outcome.map(drop).map_err(Arc::new)));
            }
            Some((caller, None)) => caller.answer(recorded(id, outcome)),
            None => {}
        }
        Poll::Ready(())
    }
}

/// The answer to a duplicate, from what the journal has recorded.
fn recorded<R, E>(id: MessageId, outcome: Result<Option<Outcome>, JournalError>) -> Answer<R, E>
where
    R: DeserializeOwned,
    E: DeserializeOwned,
{
    match outcome {
        Ok(Some(Outcome::Processed(reply))) => match reply.decode::<Result<R, E>>() {
            Ok(answer) => answer.map_err(CallError::Domain),
            Err(source) => Err(CallError::Unreadable { id, source }),
        },
        Ok(Some(Outcome::Failed { attempts, error })) => {
            Err(CallError::DeadLetter { id, attempts, error: error.into() })
        }
        Ok(_) => Err(CallError::AlreadyProcessed { id }),
        Err(error) => {
            Err(CallError::OutcomeUnknown { id, source: Interruption::Journal(Arc::new(error)) })
        }
    }
}
