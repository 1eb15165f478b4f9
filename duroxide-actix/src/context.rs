//! `DurableContext`: an actor context whose messages go through the journal.

use std::fmt;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker};
use std::time::Duration;

use actix::dev::{AsyncContextParts, ContextFut, ContextParts, Mailbox};
use actix::fut::{ActorFuture, ActorFutureExt};
use actix::{Actor, ActorContext, ActorState, Addr, AsyncContext, Handler, Message, SpawnHandle};
use shared_journal::mailbox::panic_text;
use shared_journal::{ActorId, MessageId, MessageKey, Outbox, Steps};
use tokio::sync::{mpsc, oneshot};

use crate::actor::DurableActor;
use crate::driver::{Driver, Offer};
use crate::effects::Effects;
use crate::host::Host;
use crate::message::Table;

/// The context of an actor whose messages go through the journal.
///
/// Put it where the actor has `Context<Self>`; nothing else of the actor changes, and its callers
/// keep `Addr<A>`, `send`, `try_send`, `do_send` and `Recipient`:
///
/// ```
/// # use actix::prelude::*;
/// # struct Account;
/// use duroxide_actix::DurableContext;
///
/// impl Actor for Account {
///     type Context = DurableContext<Self>;
/// }
/// ```
///
/// The actor starts with [`StartDurable::start_durable`](crate::StartDurable::start_durable).
///
/// # What is different from `Context`
///
/// - A durable message whose handler answers later (`ResponseFuture`, `ResponseActFuture`, …)
///   holds back the durable messages behind it. Messages that are not durable, intervals and
///   streams go on.
/// - [`notify`](AsyncContext::notify) of a durable message is journaled, together with the message
///   whose handler called it. `notify_later` is journaled when its time has come; the timer itself
///   is not durable.
/// - Dropping the future of a `send` does not take the message back.
/// - [`stop`](ActorContext::stop) captures the state first and so takes effect at the end of the
///   current poll. [`terminate`](ActorContext::terminate) is immediate, and leaves what was not
///   committed to the next start.
///
/// State that an interval or a message that is not durable changes is captured with the next
/// durable message, or at the stop. To have it durable at once, `notify` yourself a durable
/// message.
pub struct DurableContext<A>
where
    A: Actor<Context = Self>,
{
    parts: ContextParts<A>,
    mailbox: Option<Mailbox<A>>,
    /// Away while a handler runs.
    driver: Option<Box<dyn Drive<A>>>,
    actor: Option<ActorId>,
    effects: Option<Effects>,
    table: Option<Arc<Table<A>>>,
    /// The future that ends runs is among the context's futures.
    driving: bool,
    stopping: bool,
    full: bool,
    /// The futures spawned now belong to a handler.
    in_handler: bool,
    notified: Vec<Offer<A>>,
    /// What a node delivers, until it lets the actor go.
    parcels: Option<mpsc::Receiver<Offer<A>>>,
    last_panic: Option<String>,
    waker: Option<Waker>,
    /// Told, or dropped, when `started` has run.
    started: Option<oneshot::Sender<()>>,
    /// The id of the message whose handler runs.
    message: Option<MessageId>,
    /// What came with the message that a shell forwards.
    pub(crate) current: Option<crate::envelope::Extras>,
}

/// The driver, for contexts that do not know whether their actor is durable.
pub(crate) trait Drive<A: Actor> {
    fn offer(&mut self, offer: Offer<A>, act: &mut A, ctx: &mut A::Context);
    fn poll(&mut self, act: &mut A, ctx: &mut A::Context, cx: &mut task::Context<'_>) -> Poll<()>;
    fn is_idle(&self) -> bool;
    fn is_full(&self, capacity: usize) -> bool;
    fn poll_full(&mut self, capacity: usize, cx: &mut task::Context<'_>) -> bool;
    fn end_run(&mut self, act: &mut A);
    fn stop(&mut self, act: &mut A);
    fn finish(&mut self, act: &mut A);
}

impl<A: DurableActor> Drive<A> for Driver<A>
where
    A::Context: Host<A>,
{
    fn offer(&mut self, offer: Offer<A>, act: &mut A, ctx: &mut A::Context) {
        Self::offer(self, offer, act, ctx);
    }

    fn poll(&mut self, act: &mut A, ctx: &mut A::Context, cx: &mut task::Context<'_>) -> Poll<()> {
        Self::poll(self, act, ctx, cx)
    }

    fn is_idle(&self) -> bool {
        Self::is_idle(self)
    }

    fn is_full(&self, capacity: usize) -> bool {
        Self::is_full(self, capacity)
    }

    fn poll_full(&mut self, capacity: usize, cx: &mut task::Context<'_>) -> bool {
        Self::poll_full(self, capacity, cx)
    }

    fn end_run(&mut self, act: &mut A) {
        Self::end_run(self, act);
    }

    fn stop(&mut self, act: &mut A) {
        Self::stop(self, act);
    }

    fn finish(&mut self, act: &mut A) {
        Self::finish(self, act);
    }
}

impl<A: Actor<Context = Self>> DurableContext<A> {
    /// A context without a journal: every message is handled as plain actix does it, except that
    /// a dropped `send` does not take it back.
    pub(crate) fn plain() -> Self {
        let mailbox = Mailbox::default();
        Self {
            parts: ContextParts::new(mailbox.sender_producer()),
            mailbox: Some(mailbox),
            driver: None,
            actor: None,
            effects: None,
            table: None,
            driving: false,
            stopping: false,
            full: false,
            in_handler: false,
            notified: Vec::new(),
            parcels: None,
            last_panic: None,
            waker: None,
            started: None,
            message: None,
            current: None,
        }
    }

    /// Gives the context its journal.
    pub(crate) fn drive(&mut self, driver: Driver<A>)
    where
        A: DurableActor,
    {
        self.actor = Some(driver.actor().clone());
        self.effects = Some(driver.effects());
        self.table = Some(driver.table().clone());
        self.driver = Some(Box::new(driver));
        self.keep_driving();
    }

    /// Messages will come this way as well.
    pub(crate) fn receive(&mut self, parcels: mpsc::Receiver<Offer<A>>) {
        self.parcels = Some(parcels);
    }

    /// Takes what was delivered, until the actor is held back.
    fn take_parcels(&mut self, act: &mut A, cx: &mut task::Context<'_>) {
        while !self.waiting()
            && let Some(parcels) = &mut self.parcels
        {
            match parcels.poll_recv(cx) {
                Poll::Ready(Some(offer)) => self.offer(offer, act),
                Poll::Ready(None) => self.parcels = None,
                Poll::Pending => return,
            }
        }
    }

    /// Resolves when `started` has run.
    pub(crate) fn when_started(&mut self) -> impl Future<Output = ()> + use<A> {
        let (started, told) = oneshot::channel();
        self.started = Some(started);
        async move { told.await.unwrap_or_default() }
    }

    /// Starts the actor on the current arbiter.
    pub(crate) fn run(mut self, act: A) -> Addr<A> {
        // Present until now; a context is run once.
        let mailbox = self.mailbox.take().unwrap_or_default();
        let address = mailbox.address();
        actix::spawn(ContextFut::new(self, act, mailbox));
        address
    }

    /// The name of the actor in the journal. None before it is started durably.
    #[must_use]
    pub fn actor_id(&self) -> Option<&ActorId> {
        self.actor.as_ref()
    }

    /// The id of the durable message whose handler is called, if its sender chose one. For
    /// idempotent calls to the outside world; a future takes it along.
    #[must_use]
    pub fn message_id(&self) -> Option<MessageId> {
        self.message
    }

    /// Sets the capacity of the mailbox. The default is 16, as in actix.
    ///
    /// While a handler takes its time, as many messages again may be accepted behind it: those are
    /// in the journal already.
    pub fn set_mailbox_capacity(&mut self, capacity: usize) {
        self.parts.set_mailbox_capacity(capacity);
    }

    /// Whether anybody can still send to this actor.
    #[must_use]
    pub fn connected(&self) -> bool {
        self.parts.connected()
    }

    pub(crate) fn table(&self) -> Option<&Arc<Table<A>>> {
        self.table.as_ref()
    }

    /// Hands a durable message to the driver.
    pub(crate) fn offer(&mut self, offer: Offer<A>, act: &mut A) {
        self.keep_driving();
        let Some(mut driver) = self.driver.take() else {
            return;
        };
        driver.offer(offer, act, self);
        if self.parts.waiting() {
            // The context's futures, and with them the end of the run, may be far away.
            driver.end_run(act);
        }
        self.full = driver.is_full(self.parts.capacity());
        self.driver = Some(driver);
    }

    /// The future that ends runs ends when nobody can send any more; a context that goes on after
    /// that gets a new one.
    fn keep_driving(&mut self) {
        if self.driver.is_some() && !self.driving {
            self.driving = true;
            self.parts.spawn(Driving);
        }
    }

    /// The outbox, for something to be sent now.
    pub(crate) fn own_outbox(&mut self) -> Option<Outbox> {
        if !self.in_handler {
            self.keep_driving();
            self.wake();
        }
        self.effects.as_ref().map(|effects| effects.outbox.clone())
    }

    pub(crate) fn own_steps(&self) -> Option<Steps> {
        self.effects.as_ref().map(|effects| effects.steps.clone())
    }

    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// Takes what was delivered and ends the run of each poll. One of the futures of the context, not two:
/// actix does not keep their order.
struct Driving;

impl<A> ActorFuture<A> for Driving
where
    A: Actor<Context = DurableContext<A>>,
{
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        act: &mut A,
        ctx: &mut DurableContext<A>,
        cx: &mut task::Context<'_>,
    ) -> Poll<()> {
        ctx.waker = Some(cx.waker().clone());
        if let Some(started) = ctx.started.take() {
            let _ = started.send(());
        }
        ctx.take_parcels(act, cx);
        let Some(mut driver) = ctx.driver.take() else {
            return Poll::Ready(());
        };
        let ended = driver.poll(act, ctx, cx).is_ready();
        if ended {
            // What the actor has in memory is not what the journal has: nobody may see it.
            ctx.parts.terminate();
            ctx.driving = false;
            return Poll::Ready(());
        }
        if ctx.stopping {
            driver.stop(act);
            ctx.parts.stop();
            // `Actor::stopping` may decide to go on: then there is a new future for it.
            ctx.stopping = false;
            ctx.driving = false;
            ctx.driver = Some(driver);
            ctx.keep_driving();
            return Poll::Ready(());
        }
        let was_full = ctx.full;
        ctx.full = driver.poll_full(ctx.parts.capacity(), cx);
        let is_let_go = !ctx.parts.connected() && ctx.parcels.is_none();
        if was_full && !ctx.full {
            // What was held back comes before the end, and the mailbox comes before the futures in a
            // poll: it needs another one.
            cx.waker().wake_by_ref();
        } else if is_let_go && !ctx.full && driver.is_idle() {
            driver.finish(act);
            ctx.driving = false;
            ctx.driver = Some(driver);
            return Poll::Ready(());
        }
        ctx.driver = Some(driver);
        Poll::Pending
    }
}

impl<A: Actor<Context = Self>> Host<A> for DurableContext<A> {
    fn enter(&mut self, message: Option<MessageId>) {
        self.in_handler = true;
        self.message = message;
    }

    fn leave(&mut self) -> Vec<Offer<A>> {
        self.in_handler = false;
        self.message = None;
        std::mem::take(&mut self.notified)
    }

    fn take_notified(&mut self) -> Vec<Offer<A>> {
        std::mem::take(&mut self.notified)
    }

    fn is_held(&self) -> bool {
        self.stopping || self.parts.waiting()
    }

    fn last_panic(&mut self) -> Option<String> {
        self.last_panic.take()
    }
}

impl<A: Actor<Context = Self>> ActorContext for DurableContext<A> {
    fn stop(&mut self) {
        if self.driving {
            // The driver captures the state first.
            self.stopping = true;
            self.wake();
        } else {
            self.parts.stop();
        }
    }

    fn terminate(&mut self) {
        self.parts.terminate();
    }

    fn state(&self) -> ActorState {
        match self.parts.state() {
            ActorState::Running if self.stopping => ActorState::Stopping,
            state => state,
        }
    }
}

impl<A: Actor<Context = Self>> AsyncContext<A> for DurableContext<A> {
    fn spawn<F>(&mut self, fut: F) -> SpawnHandle
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        if self.in_handler { self.parts.spawn(Guarded::new(fut)) } else { self.parts.spawn(fut) }
    }

    fn wait<F>(&mut self, fut: F)
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        if self.in_handler {
            self.parts.wait(Guarded::new(fut));
        } else {
            self.parts.wait(fut);
        }
    }

    fn waiting(&self) -> bool {
        self.parts.waiting() || self.stopping || self.full
    }

    fn cancel_future(&mut self, handle: SpawnHandle) -> bool {
        self.parts.cancel_future(handle)
    }

    fn address(&self) -> Addr<A> {
        self.parts.address()
    }

    fn notify<M>(&mut self, message: M)
    where
        A: Handler<M>,
        M: Message + 'static,
    {
        let own = match &self.table {
            Some(table) => table.own_job(message),
            None => Err(message),
        };
        match own {
            Ok(job) => {
                self.notified.push(Offer { job, key: MessageKey::Anonymous, acknowledge: None });
                self.keep_driving();
                self.wake();
            }
            Err(message) => {
                self.spawn(actix::fut::ready(message).map(|message, act: &mut A, ctx| {
                    // As actix does it: the result goes nowhere.
                    let result = <A as Handler<M>>::handle(act, message, ctx);
                    actix::dev::MessageResponse::handle(result, ctx, None);
                }));
            }
        }
    }

    fn notify_later<M>(&mut self, message: M, after: Duration) -> SpawnHandle
    where
        A: Handler<M>,
        M: Message + 'static,
    {
        let mut message = Some(message);
        self.run_later(after, move |_, ctx| {
            if let Some(message) = message.take() {
                ctx.notify(message);
            }
        })
    }
}

impl<A: Actor<Context = Self>> AsyncContextParts<A> for DurableContext<A> {
    fn parts(&mut self) -> &mut ContextParts<A> {
        &mut self.parts
    }
}

impl<A: Actor<Context = Self>> fmt::Debug for DurableContext<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DurableContext")
            .field("actor", &self.actor)
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

/// A future that a handler spawned: its panic is the handler's, not the end of the actor.
struct Guarded<F>(Option<Pin<Box<F>>>);

impl<F> Guarded<F> {
    fn new(fut: F) -> Self {
        Self(Some(Box::pin(fut)))
    }
}

impl<A, F> ActorFuture<A> for Guarded<F>
where
    A: Actor<Context = DurableContext<A>>,
    F: ActorFuture<A, Output = ()>,
{
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        act: &mut A,
        ctx: &mut DurableContext<A>,
        cx: &mut task::Context<'_>,
    ) -> Poll<()> {
        let Some(fut) = &mut self.0 else {
            return Poll::Ready(());
        };
        match catch_unwind(AssertUnwindSafe(|| fut.as_mut().poll(act, ctx, cx))) {
            Ok(poll) => poll,
            Err(panic) => {
                // Dropping it drops the reply's sender: that is how the driver hears of it.
                ctx.last_panic = Some(panic_text(&*panic));
                self.0 = None;
                cx.waker().wake_by_ref();
                Poll::Ready(())
            }
        }
    }
}
