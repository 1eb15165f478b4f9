//! What the directory is told and asked.

use std::ops::RangeInclusive;
use std::sync::Arc;

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;

use super::letters::{Letters, Receiver};
use super::running::Running;
use super::{Answer, Shared, Ticket};
use crate::codec::Payload;
use crate::error::JournalError;
use crate::id::{ActorId, ActorNo, MessageId, MessageKey, Position, Sequence};
use crate::lines::Lines;
use crate::outbox::Sent;
use crate::provider::{ListedActor, RecordFilter};
use crate::record::{ActorRecord, Outcome, PendingMessage, RecordedOutcome, RecordedStep};
use crate::timers::SetTimers;
use crate::undelivered::Undelivered;

/// A durable commit on its way from the writer.
pub(super) struct Committed {
    pub(super) position: Position,
    pub(super) at_ms: u64,
    pub(super) clock_ms: u64,
    /// The last submission in it.
    pub(super) ticket: Ticket,
    pub(super) row_bytes: usize,
    pub(super) count: u64,
    pub(super) entries: Vec<u8>,
}

pub(super) enum Mail {
    Committed(Committed),
    /// The part of the checkpoint on its way is durable.
    PartSaved,
    /// Look at what is in memory, for the gauges.
    Measure,
    /// To be answered when every submission up to `after` is folded.
    Request {
        after: Ticket,
        request: Request,
    },
    Stopped(Arc<JournalError>),
    WriterDone,
}

pub(super) type Reply<T> = oneshot::Sender<Result<T, JournalError>>;
/// Resolved when a submission is durable.
pub(crate) type Durable = oneshot::Receiver<Result<(), Arc<JournalError>>>;

/// How many letters are thrown away, and when that is durable.
pub(super) type Discarded = (usize, Durable);

pub(super) enum Request {
    Activate {
        actor: ActorId,
        purpose: Purpose,
        reply: Reply<Activation>,
    },
    /// Looks at an actor, if it exists.
    Look {
        actor: ActorId,
        look: Look,
    },
    /// Asks a held actor to stop; answered when it does not run any more.
    Stop {
        actor: ActorId,
        reply: Reply<()>,
    },
    Deactivate {
        no: ActorNo,
    },
    /// Answered when no actor runs. Those that do are asked to stop, if there is a reason.
    Alone {
        reason: Option<Arc<JournalError>>,
        reply: Reply<()>,
    },
    Outcome {
        actor: ActorId,
        id: MessageId,
        reply: Reply<Option<Outcome>>,
    },
    /// What is recorded under keys of an actor, which may be gone by now. If it cannot be read, the
    /// journal stops.
    Recorded {
        actor: ActorId,
        ids: Vec<MessageId>,
        answer: Answer<Vec<Option<RecordedOutcome>>>,
    },
    Number {
        actor: ActorId,
        reply: Reply<Option<ActorNo>>,
    },
    Outbox {
        actor: ActorId,
        reply: Reply<Option<Sent>>,
    },
    DeadLetters {
        actor: ActorId,
        after: Sequence,
        limit: usize,
        reply: Reply<Letters>,
    },
    Receiver {
        actor: ActorId,
        reply: Reply<Receiver>,
    },
    Discard {
        actor: ActorId,
        range: RangeInclusive<Sequence>,
        reply: Reply<Discarded>,
    },
    List {
        filter: RecordFilter,
        after: ActorNo,
        limit: usize,
        reply: Reply<Page>,
    },
    Checkpoint {
        history: Keep,
        reply: oneshot::Sender<()>,
    },
    WriterDone {
        reply: oneshot::Sender<()>,
    },
    /// What was submitted is to be folded soon. Somebody may wait for that.
    Fold {
        folded: Option<oneshot::Sender<()>>,
    },
    /// Somebody who starts actors with timers that are due, when they do not run.
    AddStarter {
        starter: UnboundedSender<ActorId>,
    },
}

/// What an actor is activated for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Run,
    /// One that is held, too.
    Repair,
}

/// How much of the log a checkpoint leaves for histories.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// As [`Limits`](crate::Limits) say.
    Usual,
    /// The last commit.
    Nothing,
}

pub(super) type Look = Box<dyn FnOnce(Result<Option<&ActorRecord>, JournalError>) + Send>;

/// An actor as its history left it.
pub(crate) struct Activation {
    pub(crate) lease: Lease,
    pub(crate) running: Arc<Running>,
    pub(crate) spawned: bool,
    pub(crate) position: Position,
    pub(crate) received: Sequence,
    /// The number of the last message that was sent.
    pub(crate) sent: u64,
    pub(crate) undelivered: Arc<Undelivered>,
    pub(crate) lines: Lines,
    pub(crate) timers: SetTimers,
    pub(crate) state: Option<Payload<'static>>,
    pub(crate) pending: Vec<PendingMessage>,
    pub(crate) steps: Vec<RecordedStep>,
    /// The ids of the dedup windows, when they got in and what they are about, oldest first.
    pub(crate) window: Vec<(MessageKey, u64, Option<u64>)>,
    /// The sizes of the newest outcomes, of a caller's id and of a generated one, in bytes.
    pub(crate) newest: [usize; 2],
    /// When the newest key was recorded that is in no window any more; 0 if there is none.
    pub(crate) aged_ms: u64,
}

impl Activation {
    /// The bytes of the messages that wait.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending.iter().map(|message| message.payload.bytes().len()).sum()
    }
}

/// A part of a listing.
pub(crate) struct Page {
    pub(crate) actors: Vec<ListedActor>,
    /// The last actor of this page, if there may be more after it.
    pub(crate) next: Option<ActorNo>,
}

/// The reservation of an actor: nobody else in this process can activate it. Ends when dropped,
/// after everything submitted so far is folded.
pub(crate) struct Lease {
    pub(super) shared: Arc<Shared>,
    pub(crate) no: ActorNo,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let request = Request::Deactivate { no: self.no };
        self.shared.directory.send(Mail::Request { after: self.shared.queue.ticket(), request });
    }
}
