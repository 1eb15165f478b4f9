//! Where two runs of an actor differ.

use std::fmt;

use serde_json::Value;

use super::sent::Sent;
use crate::cluster::Delivered;
use crate::codec::json;
use crate::id::{ActorId, Position};

/// Something that should be the same and is not. Its `Display` is for people.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Deviation {
    /// The actor.
    pub actor: ActorId,
    /// At which moment.
    pub moment: Moment,
    /// What differs.
    pub aspect: Aspect,
    /// What it was, or should be; text if it is not JSON.
    pub expected: Value,
    /// What it is.
    pub found: Value,
}

/// When the two runs began to differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Moment {
    /// When the process died behind so many writes of its journal, and the callers sent everything
    /// again.
    Crash(usize),
    /// In this commit of the recording.
    Commit(Position),
    /// Today: what the recording ends with.
    Now,
}

/// What can differ.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Aspect {
    /// The actor does not start.
    Start,
    /// The reply to a message: its number, counted from 1, and the stable name of its type.
    Reply(u64, String),
    /// The state.
    State,
    /// What the actor has sent.
    Sent,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { actor, moment, aspect, expected, found } = self;
        match moment {
            Moment::Crash(writes) => write!(f, "{actor}, a crash behind write {writes}: ")?,
            Moment::Commit(position) => write!(f, "{actor}, commit {position}: ")?,
            Moment::Now => write!(f, "{actor}, now: ")?,
        }
        match aspect {
            Aspect::Start => {
                return write!(f, "it does not start: {}", found.as_str().unwrap_or_default());
            }
            Aspect::Reply(number, kind) => write!(f, "the reply to message {number}, {kind},")?,
            Aspect::State => write!(f, "the state")?,
            Aspect::Sent => write!(f, "what it sent")?,
        }
        write!(f, " was {expected} and is {found}")
    }
}

impl std::error::Error for Deviation {}

/// What became of a message, without what differs from run to run.
pub(super) fn reply(delivered: &Delivered) -> Value {
    match delivered {
        Delivered::Processed(reply) => json(reply),
        Delivered::Failed { error, .. } => format!("given up: {error}").into(),
        Delivered::AlreadyProcessed => "its reply is no longer recorded".into(),
        Delivered::IdReused => "its id was used for another message".into(),
        Delivered::Refused(reason) => format!("refused: {reason}").into(),
        Delivered::Kept => "kept in its inbox".into(),
        Delivered::Lost(_) => "lost: the actor has ended".into(),
    }
}

pub(super) fn sent(sent: &[Sent]) -> Value {
    Value::Array(sent.iter().map(Sent::comparable).collect())
}
