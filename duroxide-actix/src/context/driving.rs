//! The future among those of a context that runs its driver.

use std::pin::Pin;
use std::task::{self, Poll};

use actix::Actor;
use actix::fut::ActorFuture;
use shared_journal::Origin;

use super::DurableContext;
use crate::actor::DurableActor;
use crate::driver::{Driver, Offer};
use crate::host::Host;

/// The driver, for contexts that do not know whether their actor is durable.
pub(super) trait Drive<A: Actor> {
    fn offer(&mut self, offer: Offer<A>, act: &mut A, ctx: &mut A::Context);
    fn poll(&mut self, act: &mut A, ctx: &mut A::Context, cx: &mut task::Context<'_>) -> Poll<()>;
    fn is_idle(&self) -> bool;
    fn has_next(&self) -> bool;
    fn is_full(&self, capacity: usize) -> bool;
    fn poll_full(&mut self, capacity: usize, cx: &mut task::Context<'_>) -> bool;
    fn poll_closing(&mut self, cx: &task::Context<'_>);
    fn poll_over_limit(&mut self, cx: &mut task::Context<'_>) -> Poll<String>;
    fn over_limit(&mut self, error: &str, act: &mut A, ctx: &mut A::Context);
    fn ended_itself(&mut self);
    fn end_if_asked(&mut self);
    fn touch(&mut self);
    fn has_run(&self) -> bool;
    fn has_failed(&self) -> bool;
    fn end_run(&mut self, act: &mut A, ctx: &mut A::Context);
    fn future_panicked(&mut self, origin: Origin, error: &str, act: &mut A, ctx: &mut A::Context);
    fn stop(&mut self, act: &mut A, ctx: &mut A::Context);
    fn finish(&mut self, act: &mut A, ctx: &mut A::Context);
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

    fn has_next(&self) -> bool {
        Self::has_next(self)
    }

    fn is_full(&self, capacity: usize) -> bool {
        Self::is_full(self, capacity)
    }

    fn poll_full(&mut self, capacity: usize, cx: &mut task::Context<'_>) -> bool {
        Self::poll_full(self, capacity, cx)
    }

    fn poll_closing(&mut self, cx: &task::Context<'_>) {
        Self::poll_closing(self, cx);
    }

    fn poll_over_limit(&mut self, cx: &mut task::Context<'_>) -> Poll<String> {
        Self::poll_over_limit(self, cx)
    }

    fn over_limit(&mut self, error: &str, act: &mut A, ctx: &mut A::Context) {
        Self::over_limit(self, error, act, ctx);
    }

    fn ended_itself(&mut self) {
        Self::ended_itself(self);
    }

    fn end_if_asked(&mut self) {
        Self::end_if_asked(self);
    }

    fn touch(&mut self) {
        Self::touch(self);
    }

    fn has_run(&self) -> bool {
        Self::has_run(self)
    }

    fn has_failed(&self) -> bool {
        Self::has_failed(self)
    }

    fn end_run(&mut self, act: &mut A, ctx: &mut A::Context) {
        Self::end_run(self, act, ctx);
    }

    fn future_panicked(&mut self, origin: Origin, error: &str, act: &mut A, ctx: &mut A::Context) {
        Self::future_panicked(self, origin, error, act, ctx);
    }

    fn stop(&mut self, act: &mut A, ctx: &mut A::Context) {
        Self::stop(self, act, ctx);
    }

    fn finish(&mut self, act: &mut A, ctx: &mut A::Context) {
        Self::finish(self, act, ctx);
    }
}

/// Takes what was delivered and ends the run of each poll. One of the futures of the context, not two:
/// actix does not keep their order.
pub(super) struct Driving;

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
        if ctx.ending {
            ctx.end_poll(act);
            return Poll::Pending;
        }
        // Mostly it is the same one, and nothing is cloned.
        ctx.waker.get_or_insert_with(|| cx.waker().clone()).clone_from(cx.waker());
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
            driver.stop(act, ctx);
            ctx.parts.stop();
            // `Actor::stopping` may decide to go on: then there is a new future for it.
            ctx.stopping = false;
            ctx.driving = false;
            ctx.driver = Some(driver);
            ctx.keep_driving();
            return Poll::Ready(());
        }
        if driver.is_idle()
            && let Some(idle) = ctx.idle.take()
        {
            let _ = idle.send(());
        }
        let was_full = ctx.full;
        ctx.full = driver.poll_full(ctx.parts.capacity(), cx);
        let is_let_go = !ctx.parts.connected() && ctx.parcels.is_none();
        if was_full && !ctx.full {
            // What was held back comes before the end, and the mailbox comes before the futures in a
            // poll: it needs another one.
            cx.waker().wake_by_ref();
        } else if is_let_go && !ctx.full && driver.is_idle() {
            driver.finish(act, ctx);
            ctx.driving = false;
            ctx.driver = Some(driver);
            return Poll::Ready(());
        }
        ctx.driver = Some(driver);
        Poll::Pending
    }
}
