//! What an actor's history says of it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::TryStreamExt;
use serde_json::Value;

use super::sent::Sent;
use crate::cluster::Delivered;
use crate::codec::{Payload, json};
use crate::error::JournalError;
use crate::event::ActorEvent;
use crate::id::{ActorId, Sequence};
use crate::journal::EventJournal;

/// How long an actor has for what it sent to itself. Then what there is counts.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(1);

/// The history of one actor, folded.
#[derive(Default)]
pub(super) struct Look {
    pub(super) state: Option<Payload<'static>>,
    pub(super) sent: Vec<Sent>,
    /// What became of each message.
    pub(super) done: BTreeMap<Sequence, Delivered>,
    received: Sequence,
}

impl Look {
    /// Looks until everything that was received is done: an actor may have sent itself a message.
    pub(super) async fn at(
        journal: &EventJournal,
        actor: &ActorId,
        before: Option<Payload<'static>>,
    ) -> Result<Self, JournalError> {
        let begin = Instant::now();
        loop {
            let look = Self::now(journal, actor, before.clone(), None).await?;
            let last_done = look.done.last_key_value().map(|(sequence, _)| *sequence);
            let is_settled = last_done.unwrap_or_default() >= look.received;
            if is_settled || begin.elapsed() > PATIENCE || journal.stopped().is_some() {
                return Ok(look);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Up to the run that ends with `last`, without what was sent before the first message was done.
    pub(super) async fn of_messages(
        journal: &EventJournal,
        actor: &ActorId,
        before: Option<Payload<'static>>,
        last: Sequence,
    ) -> Result<Self, JournalError> {
        Self::now(journal, actor, before, Some(last)).await
    }

    async fn now(
        journal: &EventJournal,
        actor: &ActorId,
        before: Option<Payload<'static>>,
        last: Option<Sequence>,
    ) -> Result<Self, JournalError> {
        let mut look = Self { state: before, ..Self::default() };
        let mut history = journal.history(actor);
        while let Some(entry) = history.try_next().await? {
            match entry.event {
                ActorEvent::MessageProcessed { sequence, .. }
                | ActorEvent::MessageFailed { sequence, .. }
                    if last.is_some_and(|last| sequence > last) =>
                {
                    break;
                }
                ActorEvent::MessageReceived { sequence, .. } => look.received = sequence,
                ActorEvent::MessageProcessed { sequence, reply } => {
                    look.done.insert(sequence, Delivered::Processed(reply));
                }
                ActorEvent::MessageFailed { sequence, attempts, error } => {
                    let error = error.into_owned().into();
                    look.done.insert(sequence, Delivered::Failed { attempts, error });
                }
                ActorEvent::StateChanged { state } => look.state = Some(state),
                // What its start sends comes before.
                ActorEvent::MessageSent { .. }
                | ActorEvent::TimerSet { .. }
                | ActorEvent::TimerCancelled { .. }
                    if last.is_some() && look.done.is_empty() => {}
                event => look.sent.extend(Sent::of(actor, event)),
            }
        }
        Ok(look)
    }

    pub(super) fn state(&self) -> Value {
        self.state.as_ref().map_or(Value::Null, json)
    }
}
