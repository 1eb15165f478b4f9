//! What a journal has recorded, played again by the program of today.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::deviation::{self, Aspect, Deviation, Moment};
use super::look::Look;
use super::piece::{Piece, Recorded};
use super::recording::recording_of;
use super::stage::{Before, Given, Stage};
use super::value::Typed;
use crate::cluster::{Delivered, Host};
use crate::codec::{Codec, Comparison, Payload};
use crate::error::JournalError;
use crate::id::{ActorId, MessageId, MessageKey, Sequence};
use crate::mailbox::error_text;
use crate::provider::ActorProvider;
use crate::record::{ActorRecord, PendingMessage};

/// What the panic of a handler says that comes to a step without a result.
pub(crate) const UNRECORDED_STEP: &str = "a rehearsal has no result for the step";

/// What [`rehearse`] found.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Rehearsal {
    /// Actors whose present state the new program took.
    pub actors: u64,
    /// Messages that were handled again and compared.
    pub messages: u64,
    /// Messages that were not: the log begins with them, so it does not say which state they met.
    pub unknown: u64,
    /// Where it deviates.
    pub deviations: Vec<Deviation>,
}

impl Rehearsal {
    /// Whether the new program does what the old one did.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.deviations.is_empty()
    }
}

/// A line for the counts, and one for each deviation.
impl fmt::Display for Rehearsal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { actors, messages, unknown, deviations } = self;
        let count = deviations.len();
        write!(
            f,
            "{count} deviations; {actors} actors, {messages} messages, {unknown} not compared"
        )?;
        for deviation in deviations {
            write!(f, "\n{deviation}")?;
        }
        Ok(())
    }
}

/// Plays what a journal has recorded of the actors of one type through the program of today, before it
/// is rolled out.
///
/// - Every actor starts with its present state, and handles what waits for it, as far as a step.
/// - Messages that were handled are handled again, from the recorded state before them, as far back as
///   the log goes ([`Limits::history_commits`](crate::Limits::history_commits)). The replies, the state
///   behind each commit and what was sent are compared. A field that only the new program has is not
///   compared; one that it no longer has is a deviation.
/// - No step is run. One returns what was recorded; if there is nothing, because it is new or was not
///   done yet, its message is given up there. Whatever else handlers do to the outside world they do
///   again, so give `host` actors with test doubles.
///
/// The journal may be in use: it is read and not written, and its owner is not fenced. Get its store
/// with [`attach`](crate::attach). What was changed in the state, or sent, by something other than a
/// durable message, an interval for example, and what depends on the clock or on chance, deviates.
/// [`Limits::attempts`](crate::Limits::attempts) is the default.
///
/// Needs a tokio runtime, and memory for the log.
///
/// # Errors
/// The journal cannot be read.
pub async fn rehearse(
    store: Arc<dyn ActorProvider>,
    host: impl Host,
) -> Result<Rehearsal, JournalError> {
    let recorded = recording_of(store, host.actor_type()).await?;
    let host: Arc<dyn Host> = Arc::new(host);
    let mut rehearsal = Rehearsal::default();
    for Recorded { actor, pieces, unknown, now } in recorded {
        rehearsal.unknown += unknown;
        for piece in pieces {
            if !rehearsal.play(&host, &actor, piece).await? {
                // Nor would it from the next state.
                break;
            }
        }
        rehearsal.wake(&host, &actor, now).await?;
    }
    Ok(rehearsal)
}

impl Rehearsal {
    /// False if the actor does not start.
    async fn play(
        &mut self,
        host: &Arc<dyn Host>,
        actor: &ActorId,
        piece: Piece,
    ) -> Result<bool, JournalError> {
        let moment = Moment::Commit(piece.position);
        let codec = piece.messages.first().map_or_else(Codec::default, |it| it.0.payload.codec());
        let before = Before { record: piece.before, codec, rehearsal: true };
        let mut stage = match Stage::of(host.clone(), actor.clone(), before.clone()).await {
            Ok(stage) => stage,
            Err(error) => return Ok(self.does_not_start(actor, moment, &error)),
        };
        let types = host.types();
        let typed = Typed { types: &types, actor };
        let mut last = Sequence(0);
        for (message, outcome) in piece.messages {
            last = message.sequence;
            let delivered = match stage.done_already(&message).await? {
                Some(delivered) => delivered,
                None => match stage.give(given(&message)).await {
                    Ok(delivered) => delivered,
                    Err(error) => return Ok(self.does_not_start(actor, moment, &error)),
                },
            };
            self.messages += 1;
            let expected = match &outcome {
                Ok(reply) => typed.payload_of_reply(&message.kind, reply),
                Err(error) => Comparison::plain(format!("given up: {error}").into()),
            };
            let aspect = Aspect::Reply(message.sequence.0, message.kind);
            self.compare(actor, moment, aspect, expected, deviation::reply(&delivered));
        }
        let look = Look::of_messages(stage.journal(), actor, before.record.state, last).await?;
        let expected = typed.state(piece.after.as_ref());
        self.compare(actor, moment, Aspect::State, expected, look.state());
        if !typed.same_sent(&piece.sent, &look.sent, true) {
            let (expected, found) = (deviation::sent(&piece.sent), deviation::sent(&look.sent));
            let (actor, aspect) = (actor.clone(), Aspect::Sent);
            self.deviations.push(Deviation { actor, moment, aspect, expected, found });
        }
        Ok(true)
    }

    /// Starts an actor as it is today, with what waits for it.
    async fn wake(
        &mut self,
        host: &Arc<dyn Host>,
        actor: &ActorId,
        mut now: ActorRecord,
    ) -> Result<(), JournalError> {
        let moment = Moment::Now;
        let pending = std::mem::take(&mut now.pending);
        now.received.0 -= pending.len() as u64;
        let codec = now.state.as_ref().map_or_else(Codec::default, Payload::codec);
        let before = Before { record: now, codec, rehearsal: true };
        let mut stage = match Stage::of(host.clone(), actor.clone(), before).await {
            Ok(stage) => stage,
            Err(error) => {
                self.does_not_start(actor, moment, &error);
                return Ok(());
            }
        };
        self.actors += 1;
        for message in pending {
            let delivered = match stage.give(given(&message)).await {
                Ok(delivered) => delivered,
                Err(error) => {
                    self.does_not_start(actor, moment, &error);
                    return Ok(());
                }
            };
            let is_as_good = match &delivered {
                Delivered::Processed(_) => true,
                // It came as far as a side effect, which is for production to have.
                Delivered::Failed { error, .. } => error.starts_with(UNRECORDED_STEP),
                _ => false,
            };
            if !is_as_good {
                let aspect = Aspect::Reply(message.sequence.0, message.kind);
                let (expected, found) = ("waiting".into(), deviation::reply(&delivered));
                let actor = actor.clone();
                self.deviations.push(Deviation { actor, moment, aspect, expected, found });
            }
        }
        Ok(())
    }

    fn compare(
        &mut self,
        actor: &ActorId,
        moment: Moment,
        aspect: Aspect,
        expected: Comparison<'_>,
        found: Value,
    ) {
        let expected = expected.covering();
        if expected.difference(&found).is_some() {
            let expected = expected.into_value();
            self.deviations.push(Deviation {
                actor: actor.clone(),
                moment,
                aspect,
                expected,
                found,
            });
        }
    }

    fn does_not_start(&mut self, actor: &ActorId, moment: Moment, error: &JournalError) -> bool {
        self.deviations.push(Deviation {
            actor: actor.clone(),
            moment,
            aspect: Aspect::Start,
            expected: Value::Null,
            found: error_text(error).into(),
        });
        false
    }
}

impl Stage {
    /// What became of a message that the actor has sent to itself here as well.
    async fn done_already(
        &self,
        message: &PendingMessage,
    ) -> Result<Option<Delivered>, JournalError> {
        if message.key != MessageKey::Anonymous {
            return Ok(None);
        }
        Ok(self.look().await?.done.remove(&message.sequence))
    }
}

fn given(message: &PendingMessage) -> Given {
    let PendingMessage { sequence, key, kind, payload, .. } = message.clone();
    let key = match key {
        // What was sent before it and the timer that it comes from are not here. On a line of its own it is
        // handled as a message of either: without an id.
        MessageKey::Line { .. } | MessageKey::Timer { .. } => {
            let line = MessageId::from_key(&format!("rehearsed/{sequence}"));
            MessageKey::Line { line, number: 1 }
        }
        key => key,
    };
    Given { key, kind, payload }
}
