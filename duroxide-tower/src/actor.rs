//! What an actor is, and what it sees while it handles a message.

use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_journal::{
    ActorId, DurableMessage, DurableState, Mailbox, MessageId, Outbox, Steps, mailbox,
};

/// An actor whose messages, replies and state survive the process.
///
/// It handles one message at a time, in the order of their durable receipt. What it does to its
/// own state happens exactly once per message id; what it does to the outside world happens at
/// least once, because a message that was not processed when the process died is handled again.
///
/// ```
/// use duroxide_tower::{ActorContext, DurableActor, DurableMessage, DurableState, async_trait};
/// use serde::{Deserialize, Serialize};
///
/// struct Account { cents: i64 }
///
/// #[derive(Serialize, Deserialize)]
/// enum Command { Deposit(i64), Withdraw(i64) }
///
/// #[derive(Debug, Serialize, Deserialize)]
/// struct Overdrawn { missing: i64 }
///
/// impl DurableState for Account {
///     const ACTOR_TYPE: &'static str = "account";
///     type State = i64;
///     fn snapshot(&self) -> impl Serialize { self.cents }
///     fn restore(&mut self, cents: i64) { self.cents = cents }
/// }
///
/// impl DurableMessage for Command {
///     const NAME: &'static str = "account.command";
/// }
///
/// #[async_trait]
/// impl DurableActor for Account {
///     type Message = Command;
///     type Reply = i64;
///     type Error = Overdrawn;
///
///     async fn handle(&mut self, _: &mut ActorContext, command: Command) -> Result<i64, Overdrawn> {
///         match command {
///             Command::Deposit(cents) => self.cents += cents,
///             Command::Withdraw(cents) if cents > self.cents => {
///                 return Err(Overdrawn { missing: cents - self.cents });
///             }
///             Command::Withdraw(cents) => self.cents -= cents,
///         }
///         Ok(self.cents)
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a durable actor",
    label = "it does not say how it handles messages",
    note = "write `#[async_trait] impl DurableActor for {Self}`, with its message, reply and error types"
)]
#[async_trait]
pub trait DurableActor: DurableState + Send + 'static {
    /// What it is asked, usually an enum. [`DurableMessage::NAME`] is its name in the journal.
    type Message: DurableMessage + Send + 'static;

    /// What it answers. Recorded, so that the same message id gets the same reply again.
    type Reply: Serialize + DeserializeOwned + Send + 'static;

    /// How it says no. This is an outcome like a reply: it is recorded, the message is done, and
    /// what the handler did before it returned the error is kept: what it changed, and what it sent.
    /// A handler that is to leave nothing behind checks first, or panics.
    type Error: Serialize + DeserializeOwned + Send + 'static;

    /// Not part of the API: whether its handler gets messages as they were decoded while values are
    /// checked.
    #[doc(hidden)]
    const AS_DECODED: bool = true;

    /// How long a handler may be at work. None, the default, for as long as it likes.
    ///
    /// Beyond it the attempt has failed as by a panic: its future is dropped,
    /// the state goes back to the last captured one, and the message is tried again up to
    /// [`Limits::attempts`](shared_journal::Limits::attempts) times; then it is a dead letter. The time
    /// runs from the handler's beginning and includes what its steps wait for the disk. A
    /// handler that does not wait for anything cannot be interrupted, so one that blocks its thread is only
    /// named in the log ([`Limits::slow_handler`](shared_journal::Limits::slow_handler)); one that is
    /// done has not failed, however long it took.
    const TIME_LIMIT: Option<Duration> = None;

    /// Handles one message.
    ///
    /// A handler that does not wait for anything is the fast case: many of them share one commit.
    /// When a handler does wait, its message's receipt is written, and so are those of the
    /// messages that arrive meanwhile; they are handled after it.
    ///
    /// If it panics, the state goes back to the one before, and the message is tried again up to
    /// [`Limits::attempts`](shared_journal::Limits::attempts) times; then it becomes a dead
    /// letter. A reply that does not encode counts as a panic.
    ///
    /// The future is dropped in the middle if it is over its [`TIME_LIMIT`](Self::TIME_LIMIT), if the
    /// service's `run` is dropped or the journal stops. Nothing of such a message is recorded but its receipt.
    async fn handle(
        &mut self,
        context: &mut ActorContext,
        message: Self::Message,
    ) -> Result<Self::Reply, Self::Error>;

    /// Called once, with the state restored, before the first message. Does nothing by default.
    ///
    /// A panic here ends [`run`](crate::DurableActorService::run) with that panic.
    async fn started(&mut self, _context: &mut ActorContext) {}

    /// Called once, after the last message, when all handles are gone or
    /// [`ActorContext::stop`] was called; what it changes is captured. Does nothing by default.
    ///
    /// It is not called when the journal stops or `run` is dropped: do not rely on it.
    async fn stopped(&mut self, _context: &mut ActorContext) {}
}

/// What an actor knows about the message it handles, and how it stops.
#[derive(Debug)]
pub struct ActorContext {
    outbox: Outbox,
    steps: Option<Steps>,
    message: Option<MessageId>,
    attempts: u32,
    /// Why this attempt has failed, although the handler did not panic.
    failure: Option<String>,
    stopping: bool,
}

impl ActorContext {
    pub(crate) fn new<W: mailbox::Work>(mailbox: &Mailbox<W>) -> Self {
        let (outbox, steps) = (mailbox.outbox().clone(), mailbox.steps().clone());
        Self { steps: Some(steps), ..Self::without_journal(outbox) }
    }

    /// Of an actor whose side effects cannot be recorded.
    pub(crate) fn without_journal(outbox: Outbox) -> Self {
        Self { outbox, steps: None, message: None, attempts: 0, failure: None, stopping: false }
    }

    /// The actor's name.
    #[must_use]
    pub fn actor_id(&self) -> &ActorId {
        self.outbox.actor()
    }

    /// The side effects of the messages that are handled, for a future or a thread of a handler. None for an
    /// actor that is an orchestration.
    ///
    /// ```
    /// # use duroxide_tower::ActorContext;
    /// # fn handle(ctx: &ActorContext) {
    /// if let Some(steps) = ctx.steps() {
    ///     let this = steps.of_this_attempt();
    ///     std::thread::spawn(move || {
    ///         while this.is_owner() {
    ///             // Something that nobody can cut off.
    /// #           break;
    ///         }
    ///     });
    /// }
    /// # }
    /// ```
    #[must_use]
    pub fn steps(&self) -> Option<&Steps> {
        self.steps.as_ref()
    }

    /// The outbox, for messages without a Rust type.
    #[must_use]
    pub fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    /// The id of the message that is being handled. A good idempotency key for what the handler
    /// does outside: it is the same when the message is handled again.
    ///
    /// None in [`started`](DurableActor::started) and [`stopped`](DurableActor::stopped), and for
    /// a dead letter that was sent again.
    #[must_use]
    pub fn message_id(&self) -> Option<MessageId> {
        self.message
    }

    /// How many attempts at this message have failed so far, in this process and in earlier ones.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Stops the actor after this message. The stop is written to the journal.
    ///
    /// Messages whose receipt is durable stay there and are handled when the actor is started
    /// again; the callers of all waiting messages are told
    /// [`OutcomeUnknown`](crate::CallError::OutcomeUnknown) or
    /// [`NotAccepted`](crate::CallError::NotAccepted). If the handler panics after this call, the
    /// call did not happen.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping
    }

    pub(crate) fn begin(&mut self, message: Option<MessageId>, attempts: u32) {
        self.message = message;
        self.attempts = attempts;
        self.failure = None;
    }

    /// This attempt has failed, as if the handler had panicked: whatever it answers does not count.
    pub(crate) fn fail(&mut self, failure: String) {
        self.failure = Some(failure);
    }

    pub(crate) fn take_failure(&mut self) -> Option<String> {
        self.failure.take()
    }

    /// The message is done. If it was not `handled`, its wish to stop goes with it.
    pub(crate) fn end(&mut self, handled: bool) {
        self.begin(None, 0);
        self.stopping &= handled;
    }
}
