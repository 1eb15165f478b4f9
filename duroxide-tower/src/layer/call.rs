//! A call: from its key to its answer.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_journal::{JournalError, MessageId, MessageKey, Outcome, Sequence};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::door::{Answered, Door, Underway};
use super::lane::{Inner, id_after, not_final};
use super::request::Slot;
use crate::error::{CallError, Interruption};
use crate::future::ResponseFuture;

/// Who waits for the answer, and what is held until it comes.
struct Call<S: Inner<Req>, Req> {
    id: MessageId,
    caller: oneshot::Sender<Answered<S, Req>>,
    /// None if another request with the same key was on its way.
    underway: Option<Underway<S, Req>>,
    _place: OwnedSemaphorePermit,
}

impl<S: Inner<Req>, Req> Call<S, Req> {
    fn answer(self, answer: Answered<S, Req>) {
        // A caller that does not wait any more is no error: what it sent is handled.
        drop(self.caller.send(answer.map_err(|error| for_caller(self.id, error))));
    }
}

/// Puts a request into its lane. The request is on its way when this returns; `key` is from its
/// caller, or new.
pub(super) fn call<S, Req>(
    door: &Arc<Door<S, Req>>,
    key: MessageKey,
    id: MessageId,
    request: Req,
    place: OwnedSemaphorePermit,
) -> ResponseFuture<S::Response, crate::error::InnerError>
where
    S: Inner<Req>,
    Req: Serialize + DeserializeOwned + Send + 'static,
{
    let (caller, answer) = oneshot::channel();
    let mut call = Call { id, caller, underway: None, _place: place };
    let mut key = key;
    if let MessageKey::Caller(_) = key {
        match door.begin(id) {
            Ok(underway) => call.underway = Some(underway),
            // As that one does: both have one answer.
            Err(other) => key = MessageKey::Caller(other),
        }
    }
    let request = Slot::new(request);
    let entered = door.enter(key, request.clone(), None, {
        let door = door.clone();
        move |answer| answered(door, call, request, answer)
    });
    match entered.outcome {
        Ok(stranded) => ResponseFuture::sent(id, answer, entered.shared, stranded),
        Err(refusal) => ResponseFuture::refused(refusal),
    }
}

/// The lane has answered.
fn answered<S, Req>(
    door: Arc<Door<S, Req>>,
    call: Call<S, Req>,
    request: Slot<Req>,
    answer: Answered<S, Req>,
) where
    S: Inner<Req>,
    Req: Serialize + DeserializeOwned + Send + 'static,
{
    match answer {
        // The lane has not tried it: its key belongs to an older request, which is a dead letter.
        Err(CallError::DeadLetter { attempts, error, .. })
            if not_final(&error).is_some() && call.underway.is_some() && !request.is_taken() =>
        {
            let runtime = door.runtime.clone();
            runtime.spawn(again(door, call, request, (attempts, error)));
        }
        answer => call.answer(answer),
    }
}

/// Sends a dead letter again, under the id that comes after its own: what is recorded for an id
/// stays. The letter itself shows that nobody else has sent it again or discarded it.
async fn again<S, Req>(
    door: Arc<Door<S, Req>>,
    call: Call<S, Req>,
    request: Slot<Req>,
    recorded: (u32, Arc<str>),
) where
    S: Inner<Req>,
    Req: Serialize + DeserializeOwned + Send + 'static,
{
    // Until the request is in the channel; it is in front of those that look after it then.
    let turn = door.again.lock().await;
    let key = call.id;
    let next = match next_round(&door, key).await {
        Ok(next) => next,
        Err(error) => {
            let source = Interruption::Journal(Arc::new(error));
            return call.answer(Err(CallError::OutcomeUnknown { id: key, source }));
        }
    };
    let Some((id, letter)) = next else {
        let (attempts, error) = recorded;
        let error = not_final(&error).map_or(error.clone(), Arc::from);
        return call.answer(Err(CallError::DeadLetter { id: key, attempts, error }));
    };
    if let Some(underway) = &call.underway {
        underway.becomes(id);
    }
    door.enter(MessageKey::Caller(id), request, letter, move |answer| call.answer(answer));
    drop(turn);
}

/// The id under which a key is tried again, with the dead letter that it takes the place of; the
/// id alone if that was done before, and what is recorded for it is the answer. None if somebody
/// else has the letter.
async fn next_round<S: Inner<Req>, Req>(
    door: &Door<S, Req>,
    key: MessageId,
) -> Result<Option<(MessageId, Option<Sequence>)>, JournalError> {
    let mut failed = key;
    loop {
        let next = id_after(failed);
        match door.journal.outcome(&door.actor, next).await? {
            Some(Outcome::Failed { error, .. }) if not_final(&error).is_some() => failed = next,
            Some(_) => return Ok(Some((next, None))),
            None => {
                let letters = door.journal.dead_letters(&door.actor).await?;
                let letter = letters.iter().find(|letter| letter.id == Some(failed));
                return Ok(letter.map(|letter| (next, Some(letter.sequence))));
            }
        }
    }
}

/// What the lane says of the id in the journal, said of the caller's.
fn for_caller<E>(key: MessageId, error: CallError<E>) -> CallError<E> {
    match error {
        CallError::DeadLetter { attempts, error, .. } => match not_final(&error) {
            Some(error) => CallError::NoFinalOutcome { id: key, attempts, error: error.into() },
            None => CallError::DeadLetter { id: key, attempts, error },
        },
        CallError::OutcomeUnknown { source, .. } => CallError::OutcomeUnknown { id: key, source },
        CallError::AlreadyProcessed { .. } => CallError::AlreadyProcessed { id: key },
        CallError::IdReused { .. } => CallError::IdReused { id: key },
        CallError::Unreadable { source, .. } => CallError::Unreadable { id: key, source },
        other => other,
    }
}
