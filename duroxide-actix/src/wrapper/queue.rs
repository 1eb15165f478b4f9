//! The queue between the shell and the wrapped actor. Both live on one thread.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use actix::dev::MessageResponse;
use actix::{Actor, Context as ActixContext, Handler, Message};

use crate::actor::DurableActor;
use crate::driver::{Driver, Offer};
use crate::envelope::{Letter, refuse};

/// Messages in the queue when the shell stops filling it.
const QUEUE_LIMIT: usize = 256;

/// A message of some type on its way to the wrapped actor.
pub(crate) trait Item<A: Actor> {
    fn deliver(self: Box<Self>, driver: &mut Driver<A>, act: &mut A, ctx: &mut A::Context);
}

impl<A, M> Item<A> for Letter<M>
where
    A: DurableActor + Actor<Context = ActixContext<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn deliver(self: Box<Self>, driver: &mut Driver<A>, act: &mut A, ctx: &mut A::Context) {
        let Self { message, sender, extras } = *self;
        match driver.table().form::<M>().cloned() {
            Some(form) => driver.offer(Offer::new(form, message, sender, extras), act, ctx),
            None if extras.is_some() => refuse::<M>(extras),
            None => {
                driver.touch();
                <A as Handler<M>>::handle(act, message, ctx).handle(ctx, sender);
            }
        }
    }
}

impl<A> Item<A> for Offer<A>
where
    A: DurableActor + Actor<Context = ActixContext<A>>,
{
    fn deliver(self: Box<Self>, driver: &mut Driver<A>, act: &mut A, ctx: &mut A::Context) {
        driver.offer(*self, act, ctx);
    }
}

pub(crate) struct Queue<A: Actor> {
    items: RefCell<VecDeque<Box<dyn Item<A>>>>,
    /// The wrapped actor takes no more for now.
    full: Cell<bool>,
    /// The shell has stopped: nothing more will come.
    shut: Cell<bool>,
    /// The wrapped actor has stopped: nothing more is taken.
    ended: Cell<bool>,
    /// The mailbox capacity that the wrapped actor asked for, once it has started.
    capacity: Cell<Option<usize>>,
    pump: RefCell<Option<Waker>>,
    shell: RefCell<Option<Waker>>,
}

impl<A: Actor> Queue<A> {
    pub(super) fn new() -> Self {
        Self {
            items: RefCell::default(),
            full: Cell::new(false),
            shut: Cell::new(false),
            ended: Cell::new(false),
            capacity: Cell::new(None),
            pump: RefCell::default(),
            shell: RefCell::default(),
        }
    }

    pub(crate) fn push(&self, item: Box<dyn Item<A>>) {
        self.items.borrow_mut().push_back(item);
        wake(&self.pump);
    }

    pub(super) fn pop(&self) -> Option<Box<dyn Item<A>>> {
        self.items.borrow_mut().pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.borrow().is_empty()
    }

    /// Whether the shell should leave messages in its mailbox.
    pub(super) fn is_full(&self) -> bool {
        !self.ended.get() && (self.full.get() || self.items.borrow().len() >= QUEUE_LIMIT)
    }

    /// For the shell: resolves when the queue is not full.
    pub(crate) fn poll_room(&self, cx: &Context<'_>) -> Poll<()> {
        if self.is_full() {
            *self.shell.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// For the pump: whether it takes more.
    pub(super) fn set_full(&self, full: bool) {
        self.full.set(full);
        if !self.is_full() {
            wake(&self.shell);
        }
    }

    pub(super) fn register_pump(&self, cx: &Context<'_>) {
        *self.pump.borrow_mut() = Some(cx.waker().clone());
    }

    pub(crate) fn register_shell(&self, cx: &Context<'_>) {
        *self.shell.borrow_mut() = Some(cx.waker().clone());
    }

    /// Tells the pump that nothing more will come.
    pub(crate) fn shut(&self) {
        self.shut.set(true);
        wake(&self.pump);
    }

    /// Shuts the queue when this is dropped.
    pub(crate) fn shut_when_dropped(self: &Rc<Self>) -> impl Drop + use<A> {
        struct Shut<A: Actor>(Rc<Queue<A>>);
        impl<A: Actor> Drop for Shut<A> {
            fn drop(&mut self) {
                self.0.shut();
            }
        }
        Shut(self.clone())
    }

    pub(super) fn is_shut(&self) -> bool {
        self.shut.get()
    }

    /// Tells the shell that the wrapped actor has stopped. What is in the queue goes nowhere.
    pub(super) fn end(&self) {
        self.ended.set(true);
        self.items.borrow_mut().clear();
        wake(&self.shell);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.get()
    }

    /// For the pump: `started` has run, and this is the capacity that it left.
    pub(super) fn set_started(&self, capacity: usize) {
        self.capacity.set(Some(capacity));
        wake(&self.shell);
    }

    /// For the shell: waits until `started` has run. None if the actor did not get that far.
    pub(super) fn poll_started(&self, cx: &Context<'_>) -> Poll<Option<usize>> {
        if self.capacity.get().is_none() && !self.ended.get() {
            *self.shell.borrow_mut() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(self.capacity.get())
    }
}

fn wake(place: &RefCell<Option<Waker>>) {
    // Taken before it is woken: a waker may run code that comes back here.
    let waker = place.borrow_mut().take();
    if let Some(waker) = waker {
        waker.wake();
    }
}
