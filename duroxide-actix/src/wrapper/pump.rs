//! The pump: takes messages from the queue to the driver, inside the wrapped actor's context.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context as TaskContext, Poll};

use actix::dev::AsyncContextParts;
use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, ActorState, AsyncContext, Context, SpawnHandle};

use super::queue::Queue;
use super::turn::Turn;
use crate::actor::DurableActor;
use crate::driver::Driver;
use crate::effects::Effects;
use crate::host::Host;

pub(super) struct Pump<A: DurableActor> {
    queue: Rc<Queue<A>>,
    driver: Rc<RefCell<Driver<A>>>,
    turn: Rc<Turn>,
    effects: Effects,
    /// Until `started` has run.
    first: bool,
    /// The stop is written; `Actor::stopping` decides.
    stopped: bool,
    presence: Rc<()>,
}

impl<A: DurableActor + Actor<Context = Context<A>>> Pump<A> {
    pub(super) fn new(
        queue: &Rc<Queue<A>>,
        driver: &Rc<RefCell<Driver<A>>>,
        turn: &Rc<Turn>,
        effects: &Effects,
    ) -> Self {
        Self {
            queue: queue.clone(),
            driver: driver.clone(),
            turn: turn.clone(),
            effects: effects.clone(),
            first: true,
            stopped: false,
            presence: Rc::new(()),
        }
    }

    /// Ends with the pump.
    pub(super) fn presence(&self) -> Weak<()> {
        Rc::downgrade(&self.presence)
    }

    /// What was spawned until now, by `create` and `started`, is no durable handler's.
    fn note_futures(&self, ctx: &mut Context<A>) {
        let Some(of_start) = &self.effects.of_start else { return };
        let mut of_start = of_start.borrow_mut();
        of_start.clear();
        let last = ctx.spawn(Nothing);
        let mut handle = SpawnHandle::default();
        while handle != last {
            handle = handle.next();
            of_start.insert(handle);
        }
    }
}

impl<A: DurableActor + Actor<Context = Context<A>>> ActorFuture<A> for Pump<A> {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        act: &mut A,
        ctx: &mut Context<A>,
        _: &mut TaskContext<'_>,
    ) -> Poll<()> {
        let this = &mut *self;
        this.turn.pump();
        if std::mem::take(&mut this.first) {
            this.note_futures(ctx);
            this.queue.set_started(ctx.parts().capacity());
        }
        let mut driver = this.driver.borrow_mut();
        if this.turn.is_last() {
            driver.end_run(act, ctx);
            if driver.has_failed() {
                // What the actor has in memory is not what the journal has: nobody may see it.
                ctx.terminate();
                return Poll::Ready(());
            }
            if driver.has_next() && !ctx.is_held() {
                // The state could not be stored: the run was taken back, and is handled again.
                this.turn.waker().wake();
            }
            return Poll::Pending;
        }
        let waker = this.turn.waker();
        let cx = &mut TaskContext::from_waker(&waker);
        this.queue.register_pump(cx);
        let capacity = ctx.parts().capacity();
        // What was accepted before comes first, and a late reply may make room.
        driver.go_on(act, ctx, cx);
        let mut taken = false;
        while !driver.is_full(capacity) && ctx.state() == ActorState::Running && !ctx.waiting() {
            let Some(item) = this.queue.pop() else { break };
            item.deliver(&mut driver, act, ctx);
            taken = true;
        }
        if taken {
            driver.go_on(act, ctx, cx);
        }
        if this.turn.has_others() || ctx.waiting() {
            // The end of the poll may be out of reach, if the actor comes to wait for something.
            driver.end_run(act, ctx);
        }
        if driver.has_failed() {
            ctx.terminate();
            return Poll::Ready(());
        }
        if ctx.state() != ActorState::Running {
            if !std::mem::replace(&mut this.stopped, true) {
                driver.stop(act, ctx);
            }
            return Poll::Pending;
        }
        this.stopped = false;
        let full = driver.poll_full(capacity, cx);
        this.queue.set_full(full);
        if !full && !this.queue.is_empty() && !ctx.waiting() {
            // There is room only since the queue was looked at.
            cx.waker().wake_by_ref();
        }
        if this.queue.is_shut() && this.queue.is_empty() && driver.is_idle() {
            driver.end_run(act, ctx);
            if driver.has_next() {
                // The run was taken back.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            driver.finish(act, ctx);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

/// Captures the state of an actor without a pump, once.
pub(super) struct Capture<A: DurableActor> {
    pub(super) driver: Rc<RefCell<Driver<A>>>,
}

impl<A: DurableActor + Actor<Context = Context<A>>> ActorFuture<A> for Capture<A> {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        act: &mut A,
        ctx: &mut Context<A>,
        _: &mut TaskContext<'_>,
    ) -> Poll<()> {
        self.driver.borrow_mut().end_run(act, ctx);
        Poll::Ready(())
    }
}

/// Is spawned for its handle.
struct Nothing;

impl<A: Actor> ActorFuture<A> for Nothing {
    type Output = ();

    fn poll(
        self: Pin<&mut Self>,
        _: &mut A,
        _: &mut A::Context,
        _: &mut TaskContext<'_>,
    ) -> Poll<()> {
        Poll::Ready(())
    }
}
