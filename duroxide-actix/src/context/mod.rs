//! `DurableContext`: an actor context whose messages go through the journal.

mod driving;
mod running;
mod tracked;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::task::{self, Poll, Waker};
use std::time::Duration;

use actix::dev::{AsyncContextParts, ContextFut, ContextParts, Mailbox};
use actix::fut::{ActorFuture, ActorFutureExt};
use actix::{Actor, ActorContext, ActorState, Addr, AsyncContext, Handler, Message, SpawnHandle};
use shared_journal::{ActorId, MessageId, MessageKey, Origin, Outbox, Steps};
use tokio::sync::{mpsc, oneshot};

use self::driving::{Drive, Driving};
use self::running::Running;
use self::tracked::{RunToken, Tracked, Waits};
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
/// - An actor that stops itself before a durable handler is done has failed at that message: it is handled again
///   at the next start, and a dead letter after [`Limits::attempts`](crate::journal::Limits::attempts). In plain
///   actix its reply is dropped.
/// - [`stop`](ActorContext::stop) captures the state first and so takes effect at the end of the
///   current poll. [`terminate`](ActorContext::terminate) is immediate, and leaves what was not
///   committed to the next start.
///
/// # What is captured when
///
/// The state is captured at the end of each poll of the actor in which a durable handler was done,
/// or anything else ran that has the actor: a message that is not durable, an interval, a stream, a
/// future of `ctx.spawn` or `ctx.wait`, `started`. It is written if it is not what was written last.
/// Nobody waits for that to be durable; a reply of a durable message is released after it. While a
/// durable handler is not done, nothing is captured. What `stopping` and `stopped` change is not
/// stored.
///
/// # Futures of a durable handler
///
/// - A future that is returned (`ResponseActFuture`, `AtomicResponse`, …) belongs to the handler: the
///   message is processed when it ends, and handled again if the process dies before.
/// - So does one of [`ctx.wait`](AsyncContext::wait): the reply is released when the wait has ended.
/// - One of [`ctx.spawn`](AsyncContext::spawn) does not. The message is processed when the handler
///   returns, and what the future does to the state is captured as it does it; a crash ends the
///   future, and nothing starts it again. To have that, return the future, or let it end with a
///   `ctx.notify` of a durable message and handle that.
///
/// When a durable handler fails, by its [time limit](DurableActor::TIME_LIMIT) too, the futures that it spawned end, and what they sent is taken back
/// with what it sent itself. What others sent stays. A future that a handler left behind and that
/// panics takes the state back to the last captured one, with an error in the log; one that no
/// durable handler spawned ends the actor, as in actix.
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
    /// The end of a poll: nothing runs, what was changed is captured.
    ending: bool,
    /// What to say of the handler that is not done and was at work for too long.
    over_limit: Option<String>,
    /// Futures of `wait` that have not ended.
    waits: Waits,
    /// Of the handlers of this run.
    run: RunToken,
    notified: Vec<(Origin, Offer<A>)>,
    /// What a node delivers, until it lets the actor go.
    parcels: Option<mpsc::Receiver<Offer<A>>>,
    waker: Option<Waker>,
    /// Told, or dropped, when `started` has run.
    started: Option<oneshot::Sender<()>>,
    /// Told, or dropped, when nothing waits to be handled.
    idle: Option<oneshot::Sender<()>>,
    /// The id of the message whose handler runs.
    message: Option<MessageId>,
    /// What came with the message that a shell forwards.
    pub(crate) current: Option<crate::envelope::Extras>,
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
            ending: false,
            over_limit: None,
            waits: Waits::default(),
            run: RunToken::default(),
            notified: Vec::new(),
            parcels: None,
            waker: None,
            started: None,
            idle: None,
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

    /// Tells, or drops `idle`, when what waits in the durable mailbox is handled.
    pub(crate) fn tell_when_idle(&mut self, idle: oneshot::Sender<()>) {
        self.idle = Some(idle);
    }

    /// Starts the actor on the current arbiter.
    pub(crate) fn run(mut self, act: A) -> Addr<A> {
        // Present until now; a context is run once.
        let mailbox = self.mailbox.take().unwrap_or_default();
        let address = mailbox.address();
        actix::spawn(Running::new(ContextFut::new(self, act, mailbox)));
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
            driver.end_run(act, self);
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

    /// The handler of a message that is not durable begins.
    pub(crate) fn enter_plain(&mut self) {
        self.touch();
        self.keep_driving();
    }

    /// Something that is no durable handler has the actor, and may change its state.
    fn touch(&mut self) {
        if let Some(driver) = &mut self.driver {
            driver.touch();
        }
    }

    /// Whether there is something to do at the end of the poll.
    fn has_run(&mut self, cx: &mut task::Context<'_>) -> bool {
        let Some(driver) = &mut self.driver else {
            return false;
        };
        driver.poll_closing(cx);
        if let Poll::Ready(error) = driver.poll_over_limit(cx) {
            self.over_limit = Some(error);
            return true;
        }
        driver.has_run()
    }

    /// The context has ended.
    fn ended(&mut self) {
        if let Some(driver) = &mut self.driver {
            driver.ended_itself();
        }
    }

    /// Whether somebody wants the actor to end, while it waits for a future.
    fn is_cut_off(&mut self) -> bool {
        // Not by actix's context: it moves what it waits for to where it cannot be seen.
        if !self.waits.any() {
            return false;
        }
        let Some(driver) = &mut self.driver else { return false };
        driver.end_if_asked();
        driver.has_failed()
    }

    /// At the end of a poll: submits what there is.
    fn end_poll(&mut self, act: &mut A) {
        let Some(mut driver) = self.driver.take() else {
            return;
        };
        if let Some(error) = self.over_limit.take() {
            driver.over_limit(&error, act, self);
            // Its futures end in the next poll, and the next attempt begins.
            self.wake();
        }
        driver.end_run(act, self);
        if driver.has_failed() {
            // What the actor has in memory is not what the journal has: nobody may see it.
            self.parts.terminate();
        }
        let has_next = driver.has_next();
        self.driver = Some(driver);
        if has_next && !self.is_held() {
            self.wake();
        }
    }

    /// Whose code runs.
    fn origin(&self) -> Origin {
        self.effects.as_ref().map(|effects| effects.outbox.running()).unwrap_or_default()
    }

    /// Wraps a future of the actor's.
    fn track<F>(&mut self, fut: F, is_wait: bool) -> Tracked<F> {
        let origin = self.origin();
        let run = origin.is_handler().then(|| self.run.clone());
        Tracked::new(fut, origin, run, is_wait.then(|| self.waits.begin()))
    }

    /// The outbox, for something to be sent now.
    pub(crate) fn own_outbox(&mut self) -> Option<Outbox> {
        let origin = self.origin();
        if !origin.is_handler() {
            self.keep_driving();
            self.wake();
        }
        self.effects.as_ref().map(|effects| effects.outbox.of(origin))
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

impl<A: Actor<Context = Self>> Host<A> for DurableContext<A> {
    fn capacity(&mut self) -> usize {
        self.parts.capacity()
    }

    fn enter(&mut self, message: Option<MessageId>) {
        self.message = message;
    }

    fn leave(&mut self) {
        self.message = None;
    }

    fn take_notified(&mut self) -> Vec<(Origin, Offer<A>)> {
        std::mem::take(&mut self.notified)
    }

    fn is_held(&self) -> bool {
        self.stopping || self.parts.waiting() || self.has_waits()
    }

    fn has_waits(&self) -> bool {
        self.waits.any()
    }

    fn taken_back(&mut self) {
        self.run.taken_back();
        // So that they do.
        self.wake();
    }

    fn reopened(&mut self, effects: Effects) {
        self.effects = Some(effects);
    }

    fn run_ended(&mut self) {
        self.run = RunToken::default();
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
        let tracked = self.track(fut, false);
        self.parts.spawn(tracked)
    }

    fn wait<F>(&mut self, fut: F)
    where
        F: ActorFuture<A, Output = ()> + 'static,
    {
        let tracked = self.track(fut, true);
        self.parts.wait(tracked);
    }

    fn waiting(&self) -> bool {
        self.parts.waiting() || self.stopping || self.full || self.ending
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
                let offer = Offer { job, key: MessageKey::Anonymous, acknowledge: None };
                self.notified.push((self.origin(), offer));
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
