//! Names: of actors, of messages, of places in the log.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::limits::{MAX_ACTOR_ID_BYTES, MAX_ACTOR_TYPE_BYTES};

/// The name of one actor, for ever: its type and its id, both chosen by the user.
///
/// `account/42` is the actor of type `account` with id `42`. Cloning is cheap.
///
/// The type is at most [`MAX_ACTOR_TYPE_BYTES`] bytes long, the id at most
/// [`MAX_ACTOR_ID_BYTES`]; neither is empty. Types that begin with `actors:` are reserved. The
/// journal checks this when the actor is activated
/// and answers with [`JournalError::InvalidActorId`](crate::JournalError::InvalidActorId).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ActorId {
    actor_type: Arc<str>,
    id: Arc<str>,
}

impl ActorId {
    /// Names the actor of type `actor_type` with id `id`.
    pub fn new(actor_type: impl AsRef<str>, id: impl AsRef<str>) -> Self {
        Self { actor_type: actor_type.as_ref().into(), id: id.as_ref().into() }
    }

    /// The actor type.
    #[must_use]
    pub fn actor_type(&self) -> &str {
        &self.actor_type
    }

    /// The id within the type.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Both names in one, that no other actor has: a slash in the type is escaped, so the first one
    /// ends it.
    pub(crate) fn path(&self) -> String {
        format!("{}/{}", self.actor_type.replace('%', "%25").replace('/', "%2F"), self.id)
    }

    /// Whether it is the address of something that is no actor.
    pub(crate) fn is_reserved(&self) -> bool {
        self.actor_type.starts_with("actors:")
    }

    /// What makes this name unfit for the journal, if anything does.
    pub(crate) fn invalid(&self) -> Option<String> {
        match (self.actor_type.len(), self.id.len()) {
            (0, _) => Some("the actor type is empty".into()),
            (_, 0) => Some("the id is empty".into()),
            (n, _) if n > MAX_ACTOR_TYPE_BYTES => {
                Some(format!("the actor type has {n} bytes, the limit is {MAX_ACTOR_TYPE_BYTES}"))
            }
            (_, n) if n > MAX_ACTOR_ID_BYTES => {
                Some(format!("the id has {n} bytes, the limit is {MAX_ACTOR_ID_BYTES}"))
            }
            _ if self.actor_type.contains('\0') || self.id.contains('\0') => {
                Some("it contains a zero byte, which PostgreSQL does not store".into())
            }
            _ => None,
        }
    }
}

impl fmt::Display for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.actor_type, self.id)
    }
}

impl fmt::Debug for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ActorId({self})")
    }
}

/// The unit of exactly-once: 128 bits that name one message to one actor.
///
/// A caller that may have to ask again chooses the id itself (an *idempotency key*). For the
/// [age of keys](crate::Limits::dedup_age), a second message with the same id to the same actor
/// is not handled; its caller gets the recorded reply of the first.
///
/// It is made of a `u128`, so of the `u64` of a database as `u128::from(id)`; of a UUID; or of a text
/// ([`from_key`](Self::from_key)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MessageId(u128);

impl MessageId {
    /// A new random id (UUID version 4).
    #[must_use]
    pub fn random() -> Self {
        Self(Uuid::new_v4().as_u128())
    }

    /// The id that belongs to a textual key, such as an `Idempotency-Key` header: the same text
    /// gives the same id (UUID version 5 in a name space of this crate).
    #[must_use]
    pub fn from_key(key: &str) -> Self {
        const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_91a3_7c0e_4d5b_9a52_3e07_b84c_66f0);
        Self(Uuid::new_v5(&NAMESPACE, key.as_bytes()).as_u128())
    }

    /// The id of no message.
    pub(crate) const fn nil() -> Self {
        Self(0)
    }

    /// The id as a number.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }
}

impl From<u128> for MessageId {
    fn from(id: u128) -> Self {
        Self(id)
    }
}

impl From<Uuid> for MessageId {
    fn from(id: Uuid) -> Self {
        Self(id.as_u128())
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Uuid::from_u128(self.0).fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({self})")
    }
}

/// Whether a message has an id, and who chose it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum MessageKey {
    /// It has none: nobody can ask for it again, so its outcome is not recorded.
    #[default]
    Anonymous,
    /// Its sender chose it.
    Caller(MessageId),
    /// An adapter made it, so that the sender can ask again should the outcome be unknown.
    /// Recorded in a window of its own: such ids never push out those that senders chose.
    Generated(MessageId),
    /// An adapter made it for a sender in this process, which learns it only if the outcome is
    /// unknown. Recorded until the sender must have its reply: with the next commit of the same
    /// owner that has an outcome of this actor.
    Transient(MessageId),
    /// It is one of those that an actor sends to another: they are numbered, and the receiver knows the
    /// last number that it received, for ever. Its outcome is not recorded.
    Line {
        /// The line: the sender, until it is deleted.
        line: MessageId,
        /// Its place among what the sender has sent to this receiver, counted from 1.
        number: u64,
    },
    /// It is the message of a timer of the actor's own: the timer is in the actor's record until the receipt of
    /// this. Its outcome is not recorded.
    Timer {
        /// The number of the timer.
        number: u64,
        /// When it was due, in milliseconds since 1970.
        due_ms: u64,
        /// When it is due again, if it is.
        next_ms: Option<u64>,
    },
}

impl MessageKey {
    /// The id, whoever chose it.
    #[must_use]
    pub const fn id(self) -> Option<MessageId> {
        match self {
            Self::Anonymous | Self::Line { .. } | Self::Timer { .. } => None,
            Self::Caller(id) | Self::Generated(id) | Self::Transient(id) => Some(id),
        }
    }
}

impl From<MessageId> for MessageKey {
    fn from(id: MessageId) -> Self {
        Self::Caller(id)
    }
}

impl From<Option<MessageId>> for MessageKey {
    fn from(id: Option<MessageId>) -> Self {
        id.map_or(Self::Anonymous, Self::Caller)
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $word:literal) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($word, " {}"), self.0)
            }
        }
    };
}

number! {
    /// The number of a shard: a totally ordered log with one owner.
    ShardId(u32), "shard"
}
number! {
    /// How many times a shard was opened. A commit of an older epoch is refused.
    Epoch(u64), "epoch"
}
number! {
    /// The place of a commit in its shard's log, counted from 1 without gaps.
    Position(u64), "position"
}
number! {
    /// The number that stands for an [`ActorId`] in its shard's log, counted from 1.
    ActorNo(u64), "actor number"
}
number! {
    /// The place of a message in the receipt order of its actor, counted from 1 without gaps.
    Sequence(u64), "sequence"
}

impl Position {
    /// The next place in the log; the last has none, and is its own.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Sequence {
    /// The next place in the receipt order; the last has none, and is its own.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}
