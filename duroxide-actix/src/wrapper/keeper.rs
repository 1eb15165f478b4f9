//! The keeper: runs the wrapped actor's context, and the pump in it.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll};

use actix::dev::AsyncContextParts;
use actix::fut::ActorFuture;
use actix::{Actor, ActorContext, ActorState, AsyncContext, Context};
use futures::FutureExt;
use futures::future::poll_fn;
use shared_journal::mailbox::panic_text;

use super::queue::Queue;
use crate::actor::DurableActor;
use crate::driver::Driver;
use crate::effects::with_effects;

/// Runs the actor until it stops, making a new one when a handler's future panics.
pub(super) async fn keep<A: DurableActor + Actor<Context = Context<A>>>(
    queue: Rc<Queue<A>>,
    driver: Driver<A>,
    first: (A, Context<A>),
    mut create: impl FnMut(&mut Context<A>) -> A,
) {
    // Also when `create` panics: the shell must not take messages for an actor that is gone.
    let _end = End(queue.clone());
    let effects = driver.effects();
    let driver = Rc::new(RefCell::new(driver));
    let mut next = Some(first);
    while let Some((act, mut ctx)) = next.take() {
        ctx.spawn(Pump {
            queue: queue.clone(),
            driver: driver.clone(),
            first: true,
            stopped: false,
        });
        let mut running = Box::pin(ctx.into_future(act));
        let polling = poll_fn(|cx| {
            let polled = with_effects(&effects, || running.as_mut().poll(cx));
            // The pump may have had its turn before the future that sent something.
            if polled.is_pending() && driver.borrow().has_sent() {
                queue.wake_pump();
            }
            polled
        });
        let outcome = AssertUnwindSafe(polling).catch_unwind().await;
        let Err(panic) = outcome else { break };
        let text = panic_text(&*panic);
        // Dropping the context runs `stopping` and `stopped` of an actor that has just panicked.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(running)));
        if !driver.borrow_mut().context_panicked(&text) {
            let driver = driver.borrow();
            tracing::error!(actor = %driver.actor(), panic = text, "a durable actor panicked outside of its durable handlers; it has stopped");
            break;
        }
        let mut ctx = Context::new();
        let mut act = create(&mut ctx);
        match driver.borrow_mut().mailbox().restore(&mut act) {
            Ok(()) => next = Some((act, ctx)),
            Err(error) => tracing::error!(%error, "a durable actor has to stop"),
        }
    }
}

struct End<A: Actor>(Rc<Queue<A>>);

impl<A: Actor> Drop for End<A> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// Takes messages from the queue to the driver, inside the wrapped actor's context.
struct Pump<A: DurableActor> {
    queue: Rc<Queue<A>>,
    driver: Rc<RefCell<Driver<A>>>,
    first: bool,
    /// The stop is written; `Actor::stopping` decides.
    stopped: bool,
}

impl<A: DurableActor + Actor<Context = Context<A>>> ActorFuture<A> for Pump<A> {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        act: &mut A,
        ctx: &mut Context<A>,
        cx: &mut task::Context<'_>,
    ) -> Poll<()> {
        let this = &mut *self;
        if std::mem::take(&mut this.first) {
            this.queue.set_started(ctx.parts().capacity());
        }
        this.queue.register_pump(cx);
        let mut driver = this.driver.borrow_mut();
        let capacity = ctx.parts().capacity();
        // What was accepted before comes first, and a late reply may make room.
        if driver.poll(act, ctx, cx).is_ready() {
            ctx.terminate();
            return Poll::Ready(());
        }
        let mut taken = false;
        while !driver.is_full(capacity) && ctx.state() == ActorState::Running && !ctx.waiting() {
            let Some(item) = this.queue.pop() else { break };
            item.deliver(&mut driver, act, ctx);
            taken = true;
        }
        if taken && driver.poll(act, ctx, cx).is_ready() {
            ctx.terminate();
            return Poll::Ready(());
        }
        if ctx.state() != ActorState::Running {
            if !std::mem::replace(&mut this.stopped, true) {
                driver.stop(act);
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
            driver.finish(act);
            return Poll::Ready(());
        }
        Poll::Pending
    }
}
