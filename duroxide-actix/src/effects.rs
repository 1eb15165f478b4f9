//! What a handler does besides changing the state: it sends, and it has side effects.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::marker::PhantomData;
use std::rc::Rc;
use std::time::Duration;

use actix::{Actor, Context, Handler, Message, Recipient, SpawnHandle};
use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use rustc_hash::FxHashSet;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_journal::mailbox::Work;
use shared_journal::workflow::WorkflowResult;
use shared_journal::{
    ActorId, Due, DurableMessage, Mailbox, Missed, Outbox, OutboxError, StepError, Steps, TimerId,
};

use crate::actor::DurableActor;
use crate::context::DurableContext;
use crate::wrapper::DurableActixActor;

/// Sending from a durable actor, exactly once, and side effects whose results are recorded.
///
/// What a handler sends becomes durable with what it does to the state, and is sent on after that. A
/// handler that panics has sent nothing. A reply that is an error is a reply: what its handler sent
/// is sent. What a handler does to the world is done in a [`step`](Self::step).
///
/// For both contexts, that of actix and [`DurableContext`]: an actor that is not changed otherwise
/// only gets these calls. They work in handlers, and in the futures and intervals that a context
/// runs; what is sent outside of a handler is sent with the actor's state as it is then.
///
/// Only an actor of a [`Cluster`](shared_journal::cluster::Cluster), which may be of one node, can
/// send. Orchestrations need [`workflow::register`](shared_journal::workflow::register) and
/// [`register_orchestrations`](shared_journal::workflow::register_orchestrations) in the runtime.
///
/// ```
/// use std::time::Duration;
///
/// use actix::prelude::*;
/// use duroxide_actix::journal::workflow::WorkflowResult;
/// use duroxide_actix::journal::{DurableMessage, DurableState, OutboxError};
/// use duroxide_actix::{DurableActor, DurableEffects};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, DurableState)]
/// #[durable(actor_type = "customer")]
/// struct Customer { name: String, renewed: u32 }
///
/// #[derive(Message, Serialize, Deserialize, DurableMessage)]
/// #[rtype(result = "Result<(), String>")]
/// #[durable(name = "customer.subscribe")]
/// struct Subscribe;
///
/// #[derive(Message, Serialize, Deserialize, DurableMessage)]
/// #[rtype(result = "()")]
/// #[durable(name = "customer.renewed")]
/// struct Renewed(WorkflowResult);
///
/// impl Actor for Customer { type Context = Context<Self>; }
/// impl DurableActor for Customer { type Messages = (Subscribe, Renewed); }
///
/// impl Handler<Subscribe> for Customer {
///     type Result = Result<(), String>;
///     fn handle(&mut self, _: Subscribe, ctx: &mut Self::Context) -> Self::Result {
///         let instance = format!("renew/{}", self.name);
///         let asked = ctx.ask_workflow("renew", &instance, &self.name, Renewed);
///         asked.map_err(|error| error.to_string())
///     }
/// }
///
/// impl Handler<Renewed> for Customer {
///     type Result = ();
///     fn handle(&mut self, Renewed(how): Renewed, _: &mut Self::Context) {
///         self.renewed += u32::from(how.result.is_ok());
///     }
/// }
/// ```
pub trait DurableEffects<A: DurableActor> {
    /// The outbox itself, for messages without a Rust type.
    ///
    /// # Errors
    /// [`OutboxError::NoActor`] if this is not the context of a durable actor that runs.
    fn outbox(&mut self) -> Result<Outbox, OutboxError>;

    /// The actor as its callers reach it, to be given away: what is sent there goes through the
    /// journal. Also in `started`, and where the actor is constructed.
    ///
    /// For a wrapped actor that is not the same as `ctx.address()`, the address of the actor inside,
    /// past its journal ([`InnerAddress`](crate::InnerAddress)). None outside of a durable actor, and
    /// for a wrapped actor that a node runs, which has no address.
    ///
    /// ```
    /// # use actix::prelude::*;
    /// # use duroxide_actix::journal::{DurableMessage, DurableState};
    /// # use duroxide_actix::{DurableActor, DurableEffects};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Default, DurableState)]
    /// # #[durable(actor_type = "meter")]
    /// # struct Meter { sum: u64 }
    /// # #[derive(Message, Serialize, Deserialize, DurableMessage)]
    /// # #[rtype(result = "()")]
    /// # #[durable(name = "meter.value")]
    /// # struct Value(u64);
    /// # impl DurableActor for Meter { type Messages = (Value,); }
    /// # impl Handler<Value> for Meter {
    /// #     type Result = ();
    /// #     fn handle(&mut self, value: Value, _: &mut Self::Context) { self.sum += value.0; }
    /// # }
    /// # fn subscribe(_: Recipient<Value>) {}
    /// impl Actor for Meter {
    ///     type Context = Context<Self>;
    ///     fn started(&mut self, ctx: &mut Self::Context) {
    ///         if let Some(recipient) = ctx.durable_recipient::<Value>() {
    ///             subscribe(recipient); // was: ctx.address().recipient()
    ///         }
    ///     }
    /// }
    /// ```
    fn durable_recipient<M>(&mut self) -> Option<Recipient<M>>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send;

    /// The side effects of the message that is being handled, for a future that has more than one.
    /// None if this is not the context of a durable actor that runs. They are those of the attempt that
    /// runs: when it has failed they answer with [`StepError::NoMessage`].
    fn steps(&mut self) -> Option<Steps>;

    /// Runs a side effect and records its result. See [`Steps::step`].
    ///
    /// ```
    /// # use actix::prelude::*;
    /// # use duroxide_actix::journal::{DurableMessage, DurableState};
    /// # use duroxide_actix::{DurableActor, DurableEffects};
    /// # use serde::{Deserialize, Serialize};
    /// # #[derive(Default, DurableState)]
    /// # #[durable(actor_type = "customer")]
    /// # struct Customer { paid: u32 }
    /// # impl Actor for Customer { type Context = Context<Self>; }
    /// # impl DurableActor for Customer { type Messages = (Pay,); }
    /// # #[derive(Message, Serialize, Deserialize, DurableMessage)]
    /// # #[rtype(result = "Result<u32, String>")]
    /// # #[durable(name = "customer.pay")]
    /// # struct Pay;
    /// # async fn charge() -> Result<u32, String> { Ok(5) }
    /// impl Handler<Pay> for Customer {
    ///     type Result = ResponseActFuture<Self, Result<u32, String>>;
    ///     fn handle(&mut self, _: Pay, ctx: &mut Self::Context) -> Self::Result {
    ///         let charged = ctx.step("charge", || charge());
    ///         Box::pin(charged.into_actor(self).map(|charged, customer, _| {
    ///             let cents = charged.map_err(|error| error.to_string())??;
    ///             customer.paid += cents;
    ///             Ok(cents)
    ///         }))
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// See [`StepError`].
    fn step<T, E, F>(
        &mut self,
        name: &str,
        effect: E,
    ) -> LocalBoxFuture<'static, Result<T, StepError>>
    where
        T: Serialize + DeserializeOwned + 'static,
        E: FnOnce() -> F + 'static,
        F: Future<Output = T> + 'static,
    {
        match self.steps() {
            Some(steps) => steps.step(name, effect).boxed_local(),
            None => ready(Err(StepError::NoMessage { step: name.to_owned() })).boxed_local(),
        }
    }

    /// The actor of type `B` with this id, on whichever node it runs, to tell it something.
    fn actor<B: DurableActor>(&mut self, id: impl AsRef<str>) -> Receiver<'_, A, B, Self> {
        Receiver { context: self, to: ActorId::new(B::ACTOR_TYPE, id), handles: PhantomData }
    }

    /// See [`Outbox::start_workflow`].
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    fn start_workflow(
        &mut self,
        orchestration: &str,
        instance: &str,
        input: &str,
    ) -> Result<(), OutboxError> {
        self.outbox()?.start_workflow(orchestration, instance, input)
    }

    /// See [`Outbox::ask_workflow`].
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    fn ask_workflow<M>(
        &mut self,
        orchestration: &str,
        instance: &str,
        input: &str,
        message: impl FnOnce(WorkflowResult) -> M,
    ) -> Result<(), OutboxError>
    where
        A: Handler<M>,
        M: Message + DurableMessage,
    {
        self.outbox()?.ask_workflow(orchestration, instance, input, M::NAME, message)
    }

    /// See [`Outbox::raise_event`].
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    fn raise_event(&mut self, instance: &str, queue: &str, data: &str) -> Result<(), OutboxError> {
        self.outbox()?.raise_event(instance, queue, data)
    }

    /// Sends a message to this actor when it is due: after a `Duration`, or at a `SystemTime`. See
    /// [`Outbox::schedule`].
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    fn schedule<M>(&mut self, due: impl Into<Due>, message: M) -> Result<TimerId, OutboxError>
    where
        A: Handler<M>,
        M: Message + DurableMessage,
    {
        self.outbox()?.schedule(due, M::NAME, &message)
    }

    /// Sends a message to this actor every so long. See [`Outbox::schedule_every`].
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    fn schedule_every<M>(
        &mut self,
        period: Duration,
        missed: Missed,
        message: M,
    ) -> Result<TimerId, OutboxError>
    where
        A: Handler<M>,
        M: Message + DurableMessage,
    {
        self.outbox()?.schedule_every(period, missed, M::NAME, &message)
    }

    /// Cancels a timer. See [`Outbox::cancel`].
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    fn cancel(&mut self, timer: &TimerId) -> Result<(), OutboxError> {
        self.outbox()?.cancel(timer)
    }
}

/// An actor to send to, from the handler of another. See [`DurableEffects::actor`].
pub struct Receiver<'c, A, B, C: ?Sized> {
    context: &'c mut C,
    to: ActorId,
    handles: PhantomData<fn(A, B)>,
}

impl<A, B, C: ?Sized> fmt::Debug for Receiver<'_, A, B, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Receiver").field(&self.to).finish()
    }
}

impl<A: DurableActor, B: DurableActor, C: DurableEffects<A> + ?Sized> Receiver<'_, A, B, C> {
    /// Sends a message. Messages from one actor to another are handled in the order of these calls.
    ///
    /// # Errors
    /// See [`OutboxError`]; then nothing is sent.
    pub fn tell<M>(self, message: M) -> Result<(), OutboxError>
    where
        B: Handler<M>,
        M: Message + DurableMessage,
    {
        self.context.outbox()?.tell(&self.to, M::NAME, &message)
    }
}

impl<A: DurableActor + Actor<Context = Self>> DurableEffects<A> for DurableContext<A> {
    fn outbox(&mut self) -> Result<Outbox, OutboxError> {
        self.own_outbox().ok_or(OutboxError::NoActor)
    }

    fn durable_recipient<M>(&mut self) -> Option<Recipient<M>>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        Some(actix::AsyncContext::address(self).recipient())
    }

    fn steps(&mut self) -> Option<Steps> {
        self.own_steps().map(|steps| steps.of_this_attempt())
    }
}

impl<A: DurableActor + Actor<Context = Self>> DurableEffects<A> for Context<A> {
    fn outbox(&mut self) -> Result<Outbox, OutboxError> {
        let effects = current().ok_or(OutboxError::NoActor)?;
        Ok(effects.outbox_of(self.handle()))
    }

    fn durable_recipient<M>(&mut self) -> Option<Recipient<M>>
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        DurableActixActor::<A>::address_in(self).map(actix::Addr::recipient)
    }

    fn steps(&mut self) -> Option<Steps> {
        current().map(|effects| effects.steps.of_this_attempt())
    }
}

/// What an actor's context has of its mailbox.
#[derive(Clone)]
pub(crate) struct Effects {
    pub(crate) outbox: Outbox,
    pub(crate) steps: Steps,
    /// The address of the shell of a wrapped actor, as a `WeakAddr<DurableActixActor<A>>`.
    pub(crate) shell: Option<Rc<dyn Any>>,
    /// Of a wrapped actor: its futures that surely are no handler's.
    pub(crate) of_start: Option<Rc<RefCell<FxHashSet<SpawnHandle>>>>,
}

impl Effects {
    pub(crate) fn of<W: Work>(mailbox: &Mailbox<W>) -> Self {
        Self {
            outbox: mailbox.outbox().clone(),
            steps: mailbox.steps().clone(),
            shell: None,
            of_start: None,
        }
    }

    /// Those of another mailbox of the same actor.
    pub(crate) fn renew<W: Work>(&mut self, mailbox: &Mailbox<W>) {
        (self.outbox, self.steps) = (mailbox.outbox().clone(), mailbox.steps().clone());
    }

    /// The outbox, for the code of a wrapped actor that runs now.
    fn outbox_of(&self, future: SpawnHandle) -> Outbox {
        let running = self.outbox.running();
        let of_start = self.of_start.as_ref();
        if running.is_handler() || of_start.is_some_and(|it| it.borrow().contains(&future)) {
            return self.outbox.of(running);
        }
        // Nobody tells whose future runs while a handler is not done. If it is that handler's, what
        // it sends must not stay when the handler fails.
        self.outbox.of(self.outbox.not_done())
    }
}

thread_local! {
    /// Of the wrapped actor whose context is polled on this thread.
    static CURRENT: RefCell<Option<Effects>> = const { RefCell::new(None) };
}

pub(crate) fn current() -> Option<Effects> {
    CURRENT.with_borrow(Option::clone)
}

/// Runs something with these effects as those that a context of actix finds.
pub(crate) fn with_effects<T>(effects: &Effects, run: impl FnOnce() -> T) -> T {
    struct Reset(Option<Effects>);
    impl Drop for Reset {
        fn drop(&mut self) {
            CURRENT.set(self.0.take());
        }
    }
    let _reset = Reset(CURRENT.replace(Some(effects.clone())));
    run()
}
