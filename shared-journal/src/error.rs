//! What can go wrong, and where.

use std::sync::Arc;

use crate::cluster::Founding;
use crate::codec::CodecError;
use crate::id::{ActorId, ActorNo, Epoch, Position, Sequence, ShardId};
use crate::owner::Owner;
use crate::timer::TimerId;

/// The source of an error in a store.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why the journal did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JournalError {
    /// The journal of this duroxide provider needs a feature that is off.
    #[error(
        "the journal of the duroxide provider {name:?} needs the feature `postgres` of \
         shared-journal; turn it on, or give the builder a PortableActorProvider"
    )]
    UnsupportedProvider {
        /// The name that the provider gives itself.
        name: String,
    },
    /// The store refused an operation.
    #[error("{store}: {operation} failed")]
    Store {
        /// The file or database.
        store: String,
        /// What was tried.
        operation: &'static str,
        /// Whether the same operation can succeed later.
        retryable: bool,
        /// The store's own error.
        source: BoxError,
    },
    /// There was no connection to the store, so nothing was asked of it, and nothing has happened.
    #[error("{store}: {operation} was not tried, as there is no connection")]
    NoConnection {
        /// The database.
        store: String,
        /// What was to be tried.
        operation: &'static str,
        /// Whether there may be a connection later.
        retryable: bool,
        /// Why there is none.
        source: BoxError,
    },
    /// The file exists and is something else.
    #[error("{store} is not a journal: {reason}; give the journal a path of its own")]
    NotAJournal {
        /// The file or database.
        store: String,
        /// How that was seen.
        reason: String,
    },
    /// A field of [`Limits`](crate::Limits), or an option of a builder, has a value with which nothing
    /// would work.
    #[error("{field} cannot be {value}; allowed is {allowed}")]
    InvalidLimits {
        /// The field or option.
        field: &'static str,
        /// Its value.
        value: String,
        /// What is allowed, in words.
        allowed: &'static str,
    },
    /// The database was opened by a symbolic link, and a journal is beside the link, where earlier
    /// versions put it, instead of beside the database itself.
    #[error(
        "{link} is a symbolic link, and its journal is {journal}, beside the file it points to; {}",
        if *both {
            format!("but another journal is at {beside}: stop everything that uses either, keep the \
                     one that you want at {journal}, and move the other away with its -wal and -shm")
        } else {
            format!("the one at {beside} is of an earlier version: stop everything that uses it, \
                     and move it there with its -wal and -shm")
        }
    )]
    BesideLink {
        /// The link.
        link: String,
        /// The journal beside the link.
        beside: String,
        /// Where the journal belongs.
        journal: String,
        /// Whether there is one as well.
        both: bool,
    },
    /// The journal would be on a file system of another machine. SQLite's WAL needs memory that is
    /// shared by everybody who uses it, so two machines could own the journal at once.
    #[error(
        "{store} is on a network file system ({kind} at {mount}), where SQLite cannot keep two \
         machines apart; put the database on a local disk, or use PostgreSQL; if no other machine \
         ever has it, give the builder a SqliteActorProvider"
    )]
    NetworkFileSystem {
        /// The file.
        store: String,
        /// The kind of file system.
        kind: String,
        /// Where it is mounted.
        mount: String,
    },
    /// Between this process and the database is a pooler that gives a session another server for each
    /// transaction. Notifications, prepared statements and settings would be lost in it.
    #[error(
        "{store} is behind a connection pooler that shares servers among sessions (in pgbouncer, \
         pool_mode = transaction or statement); connect to the server itself, or set \
         pool_mode = session for this user or database"
    )]
    TransactionPooler {
        /// The database.
        store: String,
    },
    /// The store was written by another version of this crate that this one cannot read.
    #[error(
        "{store} has schema version {found}, this version of shared-journal reads up to \
         {supported}; upgrade shared-journal"
    )]
    SchemaVersion {
        /// The file or database.
        store: String,
        /// The version found.
        found: u32,
        /// The newest version this crate knows.
        supported: u32,
    },
    /// The store belongs to another cluster, or has another number of shards.
    #[error(
        "{store} was founded as {found}; it cannot be opened as {wanted}, and neither can be changed"
    )]
    Founding {
        /// The file or database.
        store: String,
        /// What the store is.
        found: Founding,
        /// What it was opened as.
        wanted: Founding,
    },
    /// The store cannot be shared by nodes.
    #[error("{store} cannot be shared by several nodes; use SQLite or PostgreSQL")]
    NotShared {
        /// The store.
        store: String,
    },
    /// There is nothing to read.
    #[error("{store} has no journal yet; it is made when a process opens one")]
    NoJournal {
        /// The store.
        store: String,
    },
    /// A journal is to be copied to where one is already.
    #[error("{store} has a journal already; copy into an empty store")]
    NotEmpty {
        /// The file or database.
        store: String,
    },
    /// Another journal opened the shard after this one. Nothing that this one computed since its
    /// last commit was released.
    #[error(
        "{shard:?} was opened by a newer owner{}; this one ({epoch:?}) has stopped",
        by.as_ref().map_or_else(String::new, |by| format!(", {by}"))
    )]
    Fenced {
        /// The shard.
        shard: ShardId,
        /// The epoch of the owner that was replaced.
        epoch: Epoch,
        /// The newer owner, if the store keeps who it is.
        by: Option<Box<Owner>>,
    },
    /// Stored bytes are not what was written.
    #[error("{store}: {place} is corrupt: {reason}")]
    Corrupt {
        /// The file or database.
        store: String,
        /// Where.
        place: Place,
        /// How that was seen.
        reason: String,
    },
    /// The log tells a history that cannot have happened.
    #[error("{store}: {place}: illegal history")]
    IllegalHistory {
        /// The file or database.
        store: String,
        /// Where.
        place: Place,
        /// What does not fit.
        source: IllegalEvent,
    },
    /// A message, a reply or a state does not encode.
    #[error("{actor}: {what} does not encode")]
    Encode {
        /// The actor.
        actor: ActorId,
        /// What was to be encoded.
        what: &'static str,
        /// Why not.
        source: CodecError,
    },
    /// Something stored does not decode into today's type.
    #[error("{place}: the stored {what} does not decode; was its type changed?")]
    Decode {
        /// Where it is stored.
        place: Place,
        /// What was to be decoded, with the name of a message's type.
        what: String,
        /// Why not.
        source: CodecError,
    },
    /// A stored message has a type that the actor does not list.
    #[error(
        "{place}: the actor does not know messages of type {kind:?}; \
         add the type to the actor's list of durable messages"
    )]
    UnknownMessage {
        /// Where it is stored.
        place: Place,
        /// The stable name of the message's type.
        kind: String,
    },
    /// A message or a state is larger than its limit.
    #[error("{actor}: {what} of {size} bytes is over the limit of {limit}; see Limits")]
    TooLarge {
        /// The actor.
        actor: ActorId,
        /// What is too large.
        what: &'static str,
        /// Its size, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The actor is running already in this process.
    #[error("{actor} is running already; stop it before it is started again")]
    AlreadyActive {
        /// The actor.
        actor: ActorId,
    },
    /// Somebody has stopped the actor by hand, or prevents its start.
    #[error("{actor} is held by {by}: {why}; release it before it is started again")]
    Held {
        /// The actor.
        actor: ActorId,
        /// Who holds it.
        by: String,
        /// Why.
        why: String,
    },
    /// Whatever runs the actor does not listen when it is asked to stop.
    #[error("{actor} is held now, and runs on until it ends by itself")]
    CannotStop {
        /// The actor.
        actor: ActorId,
    },
    /// There is no such actor.
    #[error("there is no actor {actor}")]
    NoSuchActor {
        /// The name.
        actor: ActorId,
    },
    /// There is no such message that waits.
    #[error("{actor} has no message {sequence} that waits")]
    NoSuchMessage {
        /// The actor.
        actor: ActorId,
        /// The message.
        sequence: Sequence,
    },
    /// The actor panicked as it was made or started; the node goes on.
    #[error("{actor} panicked as it was started: {reason}")]
    NotMade {
        /// The actor.
        actor: ActorId,
        /// The text of the panic.
        reason: String,
    },
    /// There is no such timer: it was cancelled, or has fired for the last time, or never was.
    #[error("{actor} has no timer {timer}")]
    NoSuchTimer {
        /// The actor.
        actor: ActorId,
        /// The timer.
        timer: TimerId,
    },
    /// The message is being handled, or its outcome is being written.
    #[error(
        "{actor} is at work on message {sequence}; to give that up, stop the actor first \
         (Repair::stop)"
    )]
    BeingHandled {
        /// The actor.
        actor: ActorId,
        /// The message.
        sequence: Sequence,
    },
    /// Who repairs, and why, cannot be written into the history.
    #[error("{what} of a repair has {size} bytes; it needs one at least and {limit} at most")]
    InvalidRepair {
        /// What of it.
        what: &'static str,
        /// Its size, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The name cannot be an actor's.
    #[error("{actor} cannot name an actor: {reason}")]
    InvalidActorId {
        /// The name.
        actor: ActorId,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no such dead letter.
    #[error("{actor} has no dead letter with {sequence:?}")]
    NoSuchDeadLetter {
        /// The actor.
        actor: ActorId,
        /// The message.
        sequence: Sequence,
    },
    /// The actor has as many dead letters as it may have, and takes no new message until some are
    /// sent again or discarded.
    #[error(
        "{actor} has {count} dead letters of {bytes} bytes and takes no new message; \
         send them again or discard them (see Limits::dead_letters)"
    )]
    DeadLettersFull {
        /// The actor.
        actor: ActorId,
        /// How many dead letters it has.
        count: usize,
        /// Their bytes.
        bytes: u64,
    },
    /// A message that another actor has sent comes before one that was sent earlier and was not accepted
    /// here. It is not received; its sender sends both again, in their order.
    #[error(
        "{actor} has not received message {missing} of its sender, so it does not receive a \
         {kind} that was sent after it"
    )]
    EarlyMessage {
        /// The receiver.
        actor: ActorId,
        /// The stable name of the type of the later message.
        kind: String,
        /// The first that is missing, by its place among what the sender has sent to this actor.
        missing: u64,
    },
    /// The journal was closed.
    #[error("the journal is closed")]
    Closed,
    /// The journal stopped because of an earlier error. What it had not committed was not
    /// released; open it again to go on from what is durable.
    #[error("the journal has stopped: {source}")]
    Stopped {
        /// The error that stopped it.
        source: Arc<JournalError>,
    },
}

impl JournalError {
    /// Whether the same call can succeed later without anything being changed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store { retryable, .. } | Self::NoConnection { retryable, .. } => *retryable,
            Self::Stopped { source } => source.is_retryable(),
            _ => false,
        }
    }

    /// Whether the store was never asked, so that nothing of what was tried can have happened.
    #[must_use]
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::NoConnection { .. })
    }

    /// Whether a newer owner has taken over, here or further down in the sources.
    #[must_use]
    pub fn is_fenced(&self) -> bool {
        match self {
            Self::Fenced { .. } => true,
            Self::Stopped { source } => source.is_fenced(),
            _ => false,
        }
    }
}

/// A place in a journal, as exact as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Place {
    /// The shard.
    pub shard: ShardId,
    /// The commit, or `None` for an actor's checkpointed record.
    pub position: Option<Position>,
    /// The actor, if it is known by name.
    pub actor: Option<ActorId>,
    /// The actor's number, if that is all that is known.
    pub actor_no: Option<ActorNo>,
    /// The message in the actor's receipt order.
    pub sequence: Option<Sequence>,
}

impl Place {
    /// A whole shard.
    #[must_use]
    pub fn shard(shard: ShardId) -> Self {
        Self { shard, position: None, actor: None, actor_no: None, sequence: None }
    }

    /// The same place, in the commit at `position`.
    #[must_use]
    pub fn at(mut self, position: Position) -> Self {
        self.position = Some(position);
        self
    }

    /// The same place, of the actor with this name.
    #[must_use]
    pub fn of(mut self, actor: &ActorId) -> Self {
        self.actor = Some(actor.clone());
        self
    }

    /// The same place, of the actor with this number.
    #[must_use]
    pub fn of_no(mut self, no: ActorNo) -> Self {
        self.actor_no = Some(no);
        self
    }

    /// The same place, at one message.
    #[must_use]
    pub fn message(mut self, sequence: Sequence) -> Self {
        self.sequence = Some(sequence);
        self
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.shard)?;
        if let Some(position) = self.position {
            write!(f, ", {position:?}")?;
        }
        match (&self.actor, self.actor_no) {
            (Some(actor), _) => write!(f, ", actor {actor}")?,
            (None, Some(no)) => write!(f, ", {no:?}")?,
            (None, None) => {}
        }
        if let Some(sequence) = self.sequence {
            write!(f, ", message {sequence}")?;
        }
        Ok(())
    }
}

/// An event that cannot follow what came before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{event} cannot follow: {state}")]
pub struct IllegalEvent {
    /// The event, by name, with what is remarkable about it.
    pub event: String,
    /// The state it met.
    pub state: String,
}
