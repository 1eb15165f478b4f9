//! Repair: what is stuck is seen and mended by hand, without the types of the application.

mod letters;

use std::borrow::Cow;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::codec::{CodecError, Payload};
use crate::engine::{Activation, ByHand, Engine, Keep, Receiver, Wanted, unshare};
use crate::error::JournalError;
use crate::event::{ActorEvent, RepairAction};
use crate::id::{ActorId, ActorNo, MessageId, Sequence};
use crate::journal::EventJournal;
use crate::record::PendingMessage;
use crate::session::Session;
use crate::timer::{Kept, TimerId};

/// Longest name of who repairs, in bytes.
pub const MAX_REPAIR_BY_BYTES: usize = 255;
/// Longest reason of a repair, in bytes.
pub const MAX_REPAIR_WHY_BYTES: usize = 1024;

/// Mends what is stuck, in the name of somebody and for a reason, which become part of the history
/// ([`ActorEvent::Repaired`]). From [`EventJournal::repair`], in the process that has the journal.
///
/// States and messages are text: JSON, also for what is stored as MessagePack. What JSON has no form for
/// is an object with one field:
///
/// | form | what |
/// |---|---|
/// | `{"$map": [[1, "a"], [2, "b"]]}` | a map with keys that are no text |
/// | `{"$bytes": "AAE="}` | bytes, in base64; integers of 128 bits are 16 bytes, the highest first |
/// | `{"$float": "NaN"}`, `"inf"`, `"-inf"`, `"NaN:7ff8000000000001"` | a float that is not finite |
/// | `{"$ext": [5, "AAE="]}` | an extension of MessagePack |
///
/// Nothing checks that a
/// text is what the application's type wants: a state that is not refuses the actor's start, and a
/// message that is not becomes a dead letter again.
///
/// What changes an actor is durable when the call returns `Ok`. A call that is dropped may or may not
/// have been done. What a running actor has in its memory is not changed behind its back: what waits
/// there it [gives up](Self::give_up) itself; the other calls answer with
/// [`JournalError::AlreadyActive`], and [`stop`](Self::stop) comes first.
///
/// ```
/// # use std::sync::Arc;
/// # use duroxide::providers::sqlite::SqliteProvider;
/// # use shared_journal::{ActorId, EventJournal, JournalError};
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let journal = EventJournal::open(Arc::new(SqliteProvider::new_in_memory().await?)).await?;
/// let account = ActorId::new("account", "42");
/// let repair = journal.repair("ada", "the import of Monday wrote cents for euros")?;
/// let replaced = repair.replace_state(&account, r#"{"cents": 500}"#).await;
/// assert!(matches!(replaced, Err(JournalError::NoSuchActor { .. })));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Repair {
    journal: EventJournal,
    by: String,
    why: String,
}

/// Who did something.
#[derive(PartialEq, Eq)]
enum By {
    Us,
    Actor,
}

/// A message that waits.
#[derive(Debug)]
#[non_exhaustive]
pub struct PendingText {
    /// Its place in the receipt order.
    pub sequence: Sequence,
    /// Its id, if it has one.
    pub id: Option<MessageId>,
    /// The stable name of the message's type.
    pub kind: String,
    /// How many attempts were counted in the journal.
    pub attempts: u32,
    /// The message, as [`Payload::to_text`] says it.
    pub text: String,
}

impl Repair {
    pub(crate) fn new(
        journal: EventJournal,
        by: String,
        why: String,
    ) -> Result<Self, JournalError> {
        let texts =
            [("the name", &by, MAX_REPAIR_BY_BYTES), ("the reason", &why, MAX_REPAIR_WHY_BYTES)];
        for (what, text, limit) in texts {
            let size = text.len();
            if size == 0 || size > limit {
                return Err(JournalError::InvalidRepair { what, size, limit });
            }
        }
        Ok(Self { journal, by, why })
    }

    /// The last captured state of an actor, running or not, as text. None if none was captured.
    ///
    /// # Errors
    /// [`JournalError::NoSuchActor`]; [`JournalError::Encode`] if it is no text; the journal has
    /// stopped.
    pub async fn state_text(&self, actor: &ActorId) -> Result<Option<String>, JournalError> {
        let state = self.look(actor, |record| record.state.clone()).await?;
        Ok(state.map(|state| state.to_text().into_owned()))
    }

    /// Gives an actor that does not run another state.
    ///
    /// # Errors
    /// [`JournalError::NoSuchActor`]; [`JournalError::AlreadyActive`]; [`JournalError::Encode`] if
    /// `text` is not JSON; [`JournalError::TooLarge`]; the journal has stopped.
    pub async fn replace_state(&self, actor: &ActorId, text: &str) -> Result<(), JournalError> {
        let engine = self.journal.engine();
        let shared = engine.shared();
        self.apply(actor, |activation| {
            let codec = activation.state.as_ref().map_or(shared.codec, Payload::codec);
            let state = Payload::from_text(codec, text).map_err(|source| encode(actor, source))?;
            let others = activation.pending_bytes() + activation.undelivered.bytes();
            let room = shared.limits.record_room(shared.provider.row_bytes());
            let limit = shared.limits.state_bytes.min(room.saturating_sub(others));
            self.fits(actor, "the state", &state, limit)?;
            Ok(RepairAction::StateReplaced { state })
        })
        .await
    }

    /// The messages that an actor received after `after` and has not processed, running or not, at
    /// most `limit` of them. The first begin after `Sequence(0)`.
    ///
    /// # Errors
    /// [`JournalError::NoSuchActor`], or the journal has stopped.
    pub async fn pending(
        &self,
        actor: &ActorId,
        after: Sequence,
        limit: usize,
    ) -> Result<Vec<PendingText>, JournalError> {
        let pending = self.look(actor, move |record| {
            let later = record.pending.iter().filter(|message| message.sequence > after);
            later.take(limit).cloned().collect::<Vec<_>>()
        });
        Ok(pending.await?.into_iter().map(PendingText::from).collect())
    }

    /// Gives up one message that waits, the oldest or any other: it becomes a dead letter. Its sender
    /// gets the outcome of one, if it asks or waits. Of a running actor, too: the call waits until that
    /// looks, between two messages or while a handler awaits something.
    ///
    /// One commit has all of it: after a crash the message waits or is a dead letter.
    ///
    /// # Errors
    /// [`JournalError::BeingHandled`]: the running actor has begun with it, so [`stop`](Self::stop) comes
    /// first. [`JournalError::NoSuchActor`], [`JournalError::NoSuchMessage`]; the journal has stopped.
    pub async fn give_up(&self, actor: &ActorId, sequence: Sequence) -> Result<(), JournalError> {
        let missing = || JournalError::NoSuchMessage { actor: actor.clone(), sequence };
        let waits = |activation: &Activation| {
            let waits = activation.pending.iter().any(|it| it.sequence == sequence);
            if waits { Ok(RepairAction::GivenUp { sequence }) } else { Err(missing()) }
        };
        if self.by_hand(actor, Wanted::GiveUp(sequence), waits).await? == By::Us {
            self.journal.engine().shared().count_dead_letter();
        }
        Ok(())
    }

    /// Cancels a timer of an actor, running or not. If it runs, the call waits until that looks, as in
    /// [`give_up`](Self::give_up). One whose message is received already has fired: give that up.
    ///
    /// # Errors
    /// [`JournalError::NoSuchActor`], [`JournalError::NoSuchTimer`]; the journal has stopped.
    pub async fn cancel_timer(&self, actor: &ActorId, timer: &TimerId) -> Result<(), JournalError> {
        let missing = || JournalError::NoSuchTimer { actor: actor.clone(), timer: timer.clone() };
        let Kept::Record(number) = timer.kept_by(actor) else { return Err(missing()) };
        let is_set = |activation: &Activation| {
            let is_set = activation.timers.contains_key(&number);
            if is_set { Ok(RepairAction::TimerCancelled { number }) } else { Err(missing()) }
        };
        self.by_hand(actor, Wanted::Cancel(number), is_set).await.map(drop)
    }

    /// Lets a running actor do something, or does it in the name of one that does not run.
    async fn by_hand(
        &self,
        actor: &ActorId,
        what: Wanted,
        decide: impl Fn(&Activation) -> Result<RepairAction<'static>, JournalError>,
    ) -> Result<By, JournalError> {
        let engine = self.journal.engine();
        loop {
            let outcome = match engine.receiver(actor.clone()).await? {
                Receiver::Running(running) => {
                    let (durable, outcome) = oneshot::channel();
                    let (by, why) = (self.by.clone(), self.why.clone());
                    running.halt.do_by_hand(ByHand { what, by, why, durable });
                    outcome
                }
                Receiver::Asker(activation) => {
                    self.apply_to(&engine, actor, *activation, decide).await?;
                    return Ok(By::Us);
                }
            };
            // If it is dropped, the actor has ended.
            if let Ok(outcome) = outcome.await {
                outcome.map_err(unshare)?;
                self.log(
                    actor,
                    &match what {
                        Wanted::GiveUp(sequence) => RepairAction::GivenUp { sequence },
                        Wanted::Cancel(number) => RepairAction::TimerCancelled { number },
                    },
                );
                return Ok(By::Actor);
            }
        }
    }

    /// Stops an actor and holds it: it cannot be started, in this process or a later one, until
    /// [`release`](Self::release); the attempt is a [`JournalError::Held`]. What is sent to it
    /// meanwhile is not accepted, or waits in the inbox of its shard.
    ///
    /// Waits until the actor has ended. A handler that awaits something is cut off, as when its process
    /// dies, and no attempt is charged; one that never awaits cannot be stopped. The hold is
    /// durable first, and stays if this call is dropped or fails.
    ///
    /// # Errors
    /// [`JournalError::NoSuchActor`]; [`JournalError::CannotStop`]; the journal has stopped.
    pub async fn stop(&self, actor: &ActorId) -> Result<(), JournalError> {
        self.write(actor, &[self.event(RepairAction::Held)]).await?;
        self.journal.engine().stop(actor.clone()).await
    }

    /// A held actor can be started again. It is not started: whoever starts actors does that.
    ///
    /// # Errors
    /// [`JournalError::NoSuchActor`], or the journal has stopped.
    pub async fn release(&self, actor: &ActorId) -> Result<(), JournalError> {
        self.write(actor, &[self.event(RepairAction::Released)]).await
    }

    /// Deletes an actor that does not run: its state, messages that wait, dead letters, recorded
    /// outcomes, what it sent and has not arrived, a hold. One that is started under its name begins
    /// empty.
    ///
    /// Two things stay: its name ([`EventJournal::deleted`]), and the numbers of its last received and
    /// sent message, in all and of each line, so that none is ever used twice. Its earlier events stay in the log until that is
    /// truncated ([`Limits::history_commits`](crate::Limits::history_commits)), which
    /// [`purge_history`](Self::purge_history) does at once. After that the store does not return
    /// them; their bytes are in free pages until the store writes over them.
    ///
    /// # Errors
    /// [`JournalError::NoSuchActor`]; [`JournalError::AlreadyActive`]; the journal has stopped.
    pub async fn delete(&self, actor: &ActorId) -> Result<(), JournalError> {
        self.apply(actor, |_| Ok(RepairAction::Deleted)).await
    }

    /// Truncates the log but for its last commit: makes a checkpoint and waits for it. The histories of
    /// *all* actors begin anew with it.
    ///
    /// # Errors
    /// The journal has stopped.
    pub async fn purge_history(&self) -> Result<(), JournalError> {
        self.journal.engine().checkpoint(Keep::Nothing).await
    }

    fn log(&self, actor: &ActorId, action: &RepairAction<'_>) {
        let action = action.name();
        tracing::info!(%actor, by = self.by, why = self.why, action, "an actor is repaired by hand");
    }

    fn event<'e>(&'e self, action: RepairAction<'e>) -> ActorEvent<'e> {
        ActorEvent::Repaired { by: Cow::Borrowed(&self.by), why: Cow::Borrowed(&self.why), action }
    }

    /// Does something to an actor that does not run, with the right to write its history.
    async fn apply(
        &self,
        actor: &ActorId,
        decide: impl FnOnce(&Activation) -> Result<RepairAction<'static>, JournalError>,
    ) -> Result<(), JournalError> {
        let engine = self.journal.engine();
        let activation = engine.activate_for_repair(actor.clone()).await?;
        self.apply_to(&engine, actor, activation, decide).await
    }

    async fn apply_to(
        &self,
        engine: &Arc<Engine>,
        actor: &ActorId,
        activation: Activation,
        decide: impl FnOnce(&Activation) -> Result<RepairAction<'static>, JournalError>,
    ) -> Result<(), JournalError> {
        if !activation.spawned {
            return Err(JournalError::NoSuchActor { actor: actor.clone() });
        }
        let action = decide(&activation)?;
        self.log(actor, &action);
        let mut session = Session::new(engine.clone(), actor.clone(), activation, &[]);
        session.push(&self.event(action))?;
        commit(session).await
    }

    /// Writes events of an actor that may run.
    async fn write(&self, actor: &ActorId, events: &[ActorEvent<'_>]) -> Result<(), JournalError> {
        self.look(actor, |_| ()).await?;
        let engine = self.journal.engine();
        let no = self.number(&engine, actor).await?;
        self.log_first(actor, events);
        engine.write(no, events).await?;
        // Its timers depend on it.
        engine.shared().folded().await
    }

    async fn number(&self, engine: &Engine, actor: &ActorId) -> Result<ActorNo, JournalError> {
        let missing = || JournalError::NoSuchActor { actor: actor.clone() };
        engine.number(actor.clone()).await?.ok_or_else(missing)
    }

    fn log_first(&self, actor: &ActorId, events: &[ActorEvent<'_>]) {
        if let Some(ActorEvent::Repaired { action, .. }) = events.first() {
            self.log(actor, action);
        }
    }

    async fn look<T: Send + 'static>(
        &self,
        actor: &ActorId,
        look: impl FnOnce(&crate::record::ActorRecord) -> T + Send + 'static,
    ) -> Result<T, JournalError> {
        let engine = self.journal.engine();
        let seen = engine.look(actor.clone(), |record| record.spawned.then(|| look(record)));
        let missing = || JournalError::NoSuchActor { actor: actor.clone() };
        seen.await?.flatten().ok_or_else(missing)
    }

    fn fits(
        &self,
        actor: &ActorId,
        what: &'static str,
        payload: &Payload<'_>,
        limit: usize,
    ) -> Result<(), JournalError> {
        let size = payload.bytes().len();
        if size <= limit {
            return Ok(());
        }
        Err(JournalError::TooLarge { actor: actor.clone(), what, size, limit })
    }
}

/// Writes what was added in the name of an actor, which may run again while that is on its way.
async fn commit(mut session: Session) -> Result<(), JournalError> {
    let (durable, outcome) = oneshot::channel();
    session.submit(Box::new(move |outcome| drop(durable.send(outcome)))).map_err(unshare)?;
    // They may be others.
    session.engine().shared().letters_changed(session.no());
    drop(session);
    outcome.await.map_err(|_| JournalError::Closed)?.map_err(unshare)
}

impl From<PendingMessage> for PendingText {
    fn from(message: PendingMessage) -> Self {
        Self {
            sequence: message.sequence,
            id: message.key.id(),
            text: message.payload.to_text().into_owned(),
            kind: message.kind,
            attempts: message.attempts.unwrap_or(0),
        }
    }
}

fn encode(actor: &ActorId, source: CodecError) -> JournalError {
    JournalError::Encode { actor: actor.clone(), what: "the text", source }
}
