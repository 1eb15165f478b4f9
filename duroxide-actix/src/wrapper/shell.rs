//! The shell: the actor that callers of a wrapped actor see.

use std::any::Any;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll};

use actix::dev::{MessageResponse, OneshotSender};
use actix::fut::ActorFuture;
use actix::{
    Actor, ActorContext, Addr, AsyncContext, Context, Handler, Message, Running, SystemService,
    WeakAddr,
};
use futures::future::poll_fn;
use shared_journal::{ActorId, EventJournal, JournalError};

use super::inner::{Inner, guard_registry, guard_system_registry};
use super::keeper::keep;
use super::queue::Queue;
use crate::actor::DurableActor;
use crate::context::DurableContext;
use crate::effects::{Effects, current, with_effects};
use crate::envelope::{Extras, Letter};
use crate::start::{load, synced};

/// A durable actor around `A`, which is not changed: it keeps its `Context<A>`.
///
/// Callers use `Addr<DurableActixActor<A>>` as they used `Addr<A>`, or a `Recipient<M>`, which is
/// the same type as before.
///
/// ```
/// # use actix::prelude::*;
/// # use serde::{Deserialize, Serialize};
/// # use duroxide_actix::DurableActor;
/// # use duroxide_actix::journal::{DurableMessage, DurableState, EventJournal};
/// # #[derive(Default)]
/// # struct Counter { count: u64 }
/// # impl Actor for Counter { type Context = Context<Self>; }
/// # #[derive(Message, Serialize, Deserialize)]
/// # #[rtype(result = "u64")]
/// # struct Add(u64);
/// # impl Handler<Add> for Counter {
/// #     type Result = u64;
/// #     fn handle(&mut self, add: Add, _: &mut Self::Context) -> u64 { self.count += add.0; self.count }
/// # }
/// # impl DurableMessage for Add { const NAME: &'static str = "counter.add"; }
/// # impl DurableState for Counter {
/// #     const ACTOR_TYPE: &'static str = "counter";
/// #     type State = u64;
/// #     fn snapshot(&self) -> impl Serialize { self.count }
/// #     fn restore(&mut self, count: u64) { self.count = count }
/// # }
/// # impl DurableActor for Counter { type Messages = (Add,); }
/// use duroxide_actix::DurableActixActor;
///
/// # actix::System::new().block_on(async {
/// # let provider = duroxide::providers::sqlite::SqliteProvider::new_in_memory().await?;
/// # let journal = EventJournal::open(std::sync::Arc::new(provider)).await?;
/// let counter = DurableActixActor::start(&journal, "42", |_| Counter::default()).await?;
/// assert_eq!(counter.send(Add(1)).await?, 1);
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// # }).unwrap();
/// ```
///
/// # Limits
///
/// - What is sent to the wrapped actor's own `ctx.address()` would not pass the shell and is refused
///   ([`InnerAddress`](crate::InnerAddress)). In handlers, in `started` and in `create`,
///   [`ctx.durable_recipient`](crate::DurableEffects::durable_recipient) and
///   [`address_in`](Self::address_in) are the way that does.
/// - What it sends to itself through `ctx.notify()` is not journaled. [`DurableContext`] does that.
/// - Actix's registries start plain actors. `from_registry()` of an `ArbiterService` is refused as its
///   own address is, on the arbiter of a durable actor of the type; one of a `SystemService` if it was
///   started with [`start_service`](Self::start_service).
/// - When a future of a handler panics (not the handler itself), or a handler is over its
///   [time limit](DurableActor::TIME_LIMIT), actix cannot go on with the
///   actor's context. The state goes back as always, but in a new actor, made by the same
///   function; `started` runs again. What futures sent while the handler was not done is taken back
///   with it, except for those that `create` and `started` spawned.
/// - Futures that a handler spawned with `ctx.spawn` before it panicked go on.
/// - While it waits for a future (`ctx.wait`) that no durable handler began, its state is captured when
///   the wait ends.
/// - A `ctx.stop()` outside of a handler of a durable message, from an interval say, takes effect
///   before this crate sees it: it is not in the history, and what was changed in the same poll is not
///   captured. In a future of a durable handler, or in one of `ctx.wait`, it is a failed attempt at the message
///   whose handler is not done, even if the future is done with it: the message is handled again at the next start, and a
///   dead letter after [`Limits::attempts`](crate::journal::Limits::attempts). [`DurableContext`] captures it.
pub struct DurableActixActor<A: DurableActor + Actor<Context = Context<A>>> {
    actor: ActorId,
    queue: Rc<Queue<A>>,
}

impl<A: DurableActor + Actor<Context = Context<A>>> std::fmt::Debug for DurableActixActor<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DurableActixActor").field("actor", &self.actor).finish_non_exhaustive()
    }
}

impl<A: DurableActor + Actor<Context = Context<A>>> DurableActixActor<A> {
    /// Starts the actor that `create` makes on the current arbiter, under the name
    /// [`ACTOR_TYPE`](shared_journal::DurableState::ACTOR_TYPE)`/id`.
    ///
    /// When this returns, the stored state is in the actor and `A::started` has run. What an
    /// earlier process received and did not process comes next, then new messages.
    ///
    /// # Errors
    /// The actor runs already in this process, its stored state does not decode, a received message
    /// has a type that is not listed, or the journal has stopped. Nothing is lost: the actor can be
    /// started again when the cause is mended. A received message of a listed type that does not
    /// decode becomes a dead letter at its turn.
    ///
    /// # Panics
    /// Outside of an actix system, as `Actor::start` does.
    pub async fn start(
        journal: &EventJournal,
        id: impl AsRef<str>,
        create: impl FnMut(&mut Context<A>) -> A + 'static,
    ) -> Result<Addr<Self>, JournalError> {
        let actor = ActorId::new(A::ACTOR_TYPE, &id);
        let mut shell = DurableContext::plain();
        let address = shell.address().downgrade();
        let queue = Self::run(journal, id, create, Some(address)).await?;
        // `started` may ask for another capacity; it is the shell's mailbox that callers meet.
        if let Some(capacity) = poll_fn(|cx| queue.poll_started(cx)).await {
            shell.set_mailbox_capacity(capacity);
        }
        shell.spawn(Watch { queue: queue.clone() });
        Ok(shell.run(Self { actor, queue }))
    }

    /// Starts an actor that was a service of the system, as
    /// [`SystemService::start_service`] does: made by `Default`, with `service_started` before
    /// `started`. `A::from_registry()`, which would start a second, plain actor, is refused from here
    /// on, as [`InnerAddress`](crate::InnerAddress) says; one that did so before is found, with an
    /// error in the log.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Panics
    /// As [`start`](Self::start).
    pub async fn start_service(
        journal: &EventJournal,
        id: impl AsRef<str>,
    ) -> Result<Addr<Self>, JournalError>
    where
        A: SystemService,
    {
        guard_system_registry::<A>();
        let create = |ctx: &mut Context<A>| {
            let mut service = A::default();
            service.service_started(ctx);
            service
        };
        Self::start(journal, id, create).await
    }

    /// The address of the durable actor, from the context of the wrapped one: in its handlers, its
    /// futures, `started` and `create`. What is sent there goes through the journal. None if the
    /// actor is not durable, or a node runs it, which has no address of this kind.
    ///
    /// An actor that keeps its own address does not end by itself.
    #[must_use]
    pub fn address_in(_: &Context<A>) -> Option<Addr<Self>> {
        let shell = current()?.shell?;
        shell.downcast_ref::<WeakAddr<Self>>()?.upgrade()
    }

    /// Starts the wrapped actor without a shell.
    pub(crate) async fn run(
        journal: &EventJournal,
        id: impl AsRef<str>,
        mut create: impl FnMut(&mut Context<A>) -> A + 'static,
        shell: Option<WeakAddr<Self>>,
    ) -> Result<Rc<Queue<A>>, JournalError> {
        let actor = ActorId::new(A::ACTOR_TYPE, id);
        guard_registry::<A>();
        let (mailbox, table) = load::<A>(journal, &actor).await?;
        let mut effects = Effects::of(&mailbox);
        effects.of_start = Some(Rc::default());
        effects.shell = shell.map(|shell| Rc::new(shell) as Rc<dyn Any>);
        let (mut ctx, inner) = Inner::context();
        let mut act = with_effects(&effects, || create(&mut ctx));
        let driver = synced(mailbox, table, &mut act)?;
        let queue = Rc::new(Queue::new());
        actix::spawn(keep(queue.clone(), driver, effects, (act, ctx, inner), create));
        Ok(queue)
    }

    /// The name of the actor in the journal.
    #[must_use]
    pub fn actor_id(&self) -> &ActorId {
        &self.actor
    }
}

impl<A: DurableActor + Actor<Context = Context<A>>> Actor for DurableActixActor<A> {
    type Context = DurableContext<Self>;

    fn stopping(&mut self, _: &mut Self::Context) -> Running {
        Running::Stop
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.queue.shut();
    }
}

impl<A, M> Handler<M> for DurableActixActor<A>
where
    A: DurableActor + Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    type Result = Forward<A, M>;

    fn handle(&mut self, message: M, ctx: &mut Self::Context) -> Forward<A, M> {
        Forward { message, extras: ctx.current.take(), queue: self.queue.clone() }
    }
}

/// A message on its way from the shell to the wrapped actor, which replies itself.
pub struct Forward<A: Actor, M: Message> {
    message: M,
    extras: Option<Extras>,
    queue: Rc<Queue<A>>,
}

impl<A: Actor, M: Message> std::fmt::Debug for Forward<A, M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forward").finish_non_exhaustive()
    }
}

impl<A, M> MessageResponse<DurableActixActor<A>, M> for Forward<A, M>
where
    A: DurableActor + Actor<Context = Context<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn handle(
        self,
        ctx: &mut DurableContext<DurableActixActor<A>>,
        sender: Option<OneshotSender<M::Result>>,
    ) {
        let Self { message, extras, queue } = self;
        queue.push(Box::new(Letter { message, sender, extras }));
        if queue.is_full() {
            ctx.wait(Room { queue });
        }
    }
}

/// Holds the shell's mailbox back while the queue is full.
struct Room<A: Actor> {
    queue: Rc<Queue<A>>,
}

impl<A: DurableActor + Actor<Context = Context<A>>> ActorFuture<DurableActixActor<A>> for Room<A> {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _: &mut DurableActixActor<A>,
        _: &mut DurableContext<DurableActixActor<A>>,
        cx: &mut task::Context<'_>,
    ) -> Poll<()> {
        self.queue.poll_room(cx)
    }
}

/// Ends the shell with the wrapped actor, and the wrapped actor with the shell.
struct Watch<A: Actor> {
    queue: Rc<Queue<A>>,
}

impl<A: DurableActor + Actor<Context = Context<A>>> ActorFuture<DurableActixActor<A>> for Watch<A> {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _: &mut DurableActixActor<A>,
        ctx: &mut DurableContext<DurableActixActor<A>>,
        cx: &mut task::Context<'_>,
    ) -> Poll<()> {
        self.queue.register_shell(cx);
        if self.queue.has_ended() {
            ctx.stop();
            return Poll::Ready(());
        }
        // Nobody can send any more: the shell may end.
        if ctx.connected() { Poll::Pending } else { Poll::Ready(()) }
    }
}
