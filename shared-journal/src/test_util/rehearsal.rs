//! What a journal has recorded, played again by the program of today.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;

use super::deviation::{self, Aspect, Deviation, Moment};
use super::piece::{Piece, Recorded};
use super::recording::recording_of;
use super::stage::{Given, Stage};
use super::value::{covers, json};
use crate::cluster::{Delivered, Host};
use crate::error::JournalError;
use crate::id::ActorId;
use crate::provider::ActorProvider;
use crate::record::ActorRecord;

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
/// - Every actor starts with its present state, and its waiting messages decode.
/// - Messages that were handled are handled again, from the recorded state before them, as far back as
///   the log goes ([`Limits::history_commits`](crate::Limits::history_commits)). The replies, the state
///   behind each commit and what was sent are compared. A field that only the new program has is not
///   compared; one that it no longer has is a deviation.
/// - Steps are not run: they return what was recorded. Whatever else handlers do to the outside world
///   they do again, so give `host` actors with test doubles.
///
/// The journal may be in use: it is read and not written, and its owner is not fenced. Get its store
/// with [`attach`](crate::attach). What was changed in the state by something other than a durable
/// message, an interval for example, and what depends on the clock or on chance, deviates.
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
        let mut stage = match Stage::of_record(host.clone(), actor.clone(), piece.before).await {
            Ok(stage) => stage,
            Err(error) => return Ok(self.does_not_start(actor, moment, &error)),
        };
        for (message, outcome) in piece.messages {
            let (number, kind) = (message.sequence.0, message.kind.clone());
            let given = Given { key: message.key, kind: message.kind, payload: message.payload };
            let delivered = match stage.give(given).await {
                Ok(delivered) => delivered,
                Err(error) => return Ok(self.does_not_start(actor, moment, &error)),
            };
            self.messages += 1;
            let expected = match outcome {
                Ok(reply) => json(&reply),
                Err(error) => format!("given up: {error}").into(),
            };
            let found = deviation::reply(&delivered);
            self.compare(actor, moment, Aspect::Reply(number, kind), expected, found);
        }
        let expected = piece.after.as_ref().map_or(Value::Null, json);
        self.compare(actor, moment, Aspect::State, expected, stage.state().await?);
        let found = deviation::sent(&stage.sent().await?);
        self.compare(actor, moment, Aspect::Sent, deviation::sent(&piece.sent), found);
        Ok(true)
    }

    /// Starts an actor as it is today.
    async fn wake(
        &mut self,
        host: &Arc<dyn Host>,
        actor: &ActorId,
        mut now: ActorRecord,
    ) -> Result<(), JournalError> {
        let pending = std::mem::take(&mut now.pending);
        now.received.0 -= pending.len() as u64;
        let mut stage = match Stage::of_record(host.clone(), actor.clone(), now).await {
            Ok(stage) => stage,
            Err(error) => {
                self.does_not_start(actor, Moment::Now, &error);
                return Ok(());
            }
        };
        self.actors += 1;
        for message in pending {
            let (number, kind) = (message.sequence.0, message.kind.clone());
            let given = Given { key: message.key, kind: message.kind, payload: message.payload };
            let delivered = stage.give(given).await;
            if let Ok(Delivered::Refused(reason)) = delivered {
                let aspect = Aspect::Reply(number, kind);
                let expected = "received".into();
                let found = format!("refused: {reason}").into();
                self.deviations.push(Deviation {
                    actor: actor.clone(),
                    moment: Moment::Now,
                    aspect,
                    expected,
                    found,
                });
            }
        }
        Ok(())
    }

    fn compare(
        &mut self,
        actor: &ActorId,
        moment: Moment,
        aspect: Aspect,
        expected: Value,
        found: Value,
    ) {
        if !covers(&expected, &found) {
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
            found: with_sources(error).into(),
        });
        false
    }
}

fn with_sources(error: &JournalError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        // Some say what their source says.
        if !text.contains(&error.to_string()) {
            text = format!("{text}: {error}");
        }
        source = error.source();
    }
    text
}
