//! The lines between child and parent.

use std::fmt;
use std::str::FromStr;

use shared_journal::MessageId;

use crate::ledger::Slot;

/// Before the address of a provider in whose history the journal is.
pub const PORTABLE: &str = "portable:";

/// A sender's number.
pub type Sender = u32;

/// Actors in a child.
pub const ACTORS: u32 = 4;
/// Senders in a child; each sends to every actor.
pub const SENDERS: u32 = 3;
/// Messages of one sender to one actor that wait for their reply.
pub const IN_FLIGHT: u64 = 6;

/// What a child says. A line is one write, so a killed child leaves whole lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// The journal is open and the actors run.
    Ready,
    /// A message was answered.
    Replied(Slot, u64, u64),
    /// A message was acknowledged as received.
    Received(Slot, u64),
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => write!(f, "ready"),
            Self::Replied(Slot { actor, sender }, number, reply) => {
                write!(f, "replied {actor} {sender} {number} {reply}")
            }
            Self::Received(Slot { actor, sender }, number) => {
                write!(f, "received {actor} {sender} {number}")
            }
        }
    }
}

impl FromStr for Line {
    type Err = anyhow::Error;

    fn from_str(line: &str) -> Result<Self, anyhow::Error> {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let numbers = words.map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let slot = |actor, sender| -> Result<Slot, anyhow::Error> {
            Ok(Slot { actor: u32::try_from(actor)?, sender: u32::try_from(sender)? })
        };
        match (kind, &numbers[..]) {
            ("ready", []) => Ok(Self::Ready),
            ("replied", [actor, sender, number, reply]) => {
                Ok(Self::Replied(slot(*actor, *sender)?, *number, *reply))
            }
            ("received", [actor, sender, number]) => {
                Ok(Self::Received(slot(*actor, *sender)?, *number))
            }
            _ => anyhow::bail!("the child said {line:?}"),
        }
    }
}

/// The id of a message: the same in every life of the child.
#[must_use]
pub fn message_id(slot: Slot, number: u64) -> MessageId {
    let Slot { actor, sender } = slot;
    MessageId::from(u128::from(actor) << 96 | u128::from(sender) << 64 | u128::from(number))
}

/// Every third message is only told, every fifth has a slow handler.
#[must_use]
pub fn is_tell(number: u64) -> bool {
    number.is_multiple_of(3)
}

/// As [`is_tell`].
#[must_use]
pub fn is_slow(number: u64) -> bool {
    number.is_multiple_of(5)
}
