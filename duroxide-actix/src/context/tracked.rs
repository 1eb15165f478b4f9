//! The futures of an actor: whose they are, and that they ran.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{self, Poll};

use actix::Actor;
use actix::fut::ActorFuture;
use shared_journal::Origin;
use shared_journal::mailbox::caught;

use super::DurableContext;

/// Futures of `ctx.wait` that have not ended.
#[derive(Debug, Default)]
pub(super) struct Waits(Rc<Cell<usize>>);

impl Waits {
    pub(super) fn any(&self) -> bool {
        self.0.get() > 0
    }

    pub(super) fn begin(&self) -> Wait {
        self.0.set(self.0.get() + 1);
        Wait(self.0.clone())
    }
}

/// One of them.
#[derive(Debug)]
pub(super) struct Wait(Rc<Cell<usize>>);

impl Drop for Wait {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Of the futures that the handlers of a run spawned: they end when it is taken back. Made with the
/// first of them.
#[derive(Debug, Default)]
pub(super) struct RunToken(Option<Rc<Cell<bool>>>);

impl RunToken {
    /// For a future that a handler spawns.
    pub(super) fn clone(&mut self) -> Rc<Cell<bool>> {
        self.0.get_or_insert_with(|| Rc::new(Cell::new(true))).clone()
    }

    pub(super) fn taken_back(&mut self) {
        if let Some(stands) = self.0.take() {
            stands.set(false);
        }
    }
}

/// A future of the actor's.
///
/// It has the actor, so it touches the state. If a handler spawned it, what it sends is the
/// handler's, and its panic is not the end of the actor.
pub(super) struct Tracked<F> {
    fut: Option<Pin<Box<F>>>,
    origin: Origin,
    /// False when what its handler did was taken back.
    stands: Option<Rc<Cell<bool>>>,
    wait: Option<Wait>,
}

impl<F> Tracked<F> {
    pub(super) fn new(
        fut: F,
        origin: Origin,
        stands: Option<Rc<Cell<bool>>>,
        wait: Option<Wait>,
    ) -> Self {
        Self { fut: Some(Box::pin(fut)), origin, stands, wait }
    }

    fn end(&mut self) -> Poll<()> {
        self.fut = None;
        self.wait = None;
        Poll::Ready(())
    }
}

impl<A, F> ActorFuture<A> for Tracked<F>
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
        if ctx.ending {
            ctx.end_poll(act);
            return Poll::Pending;
        }
        let this = &mut *self;
        let Some(fut) = &mut this.fut else {
            return Poll::Ready(());
        };
        if this.stands.as_ref().is_some_and(|stands| !stands.get()) {
            // The failure is told already: what panics as it is dropped adds nothing to it.
            let _ = catch_unwind(AssertUnwindSafe(|| this.fut = None));
            return this.end();
        }
        ctx.touch();
        if !this.origin.is_handler() {
            let polled = fut.as_mut().poll(act, ctx, cx);
            return if polled.is_ready() { this.end() } else { polled };
        }
        let outbox = ctx.effects.as_ref().map(|effects| effects.outbox.clone());
        let before = outbox.as_ref().map(|outbox| outbox.set_running(this.origin));
        let polled = catch_unwind(AssertUnwindSafe(|| fut.as_mut().poll(act, ctx, cx)));
        if let (Some(outbox), Some(before)) = (outbox, before) {
            outbox.set_running(before);
        }
        match polled {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(())) => this.end(),
            Err(panic) => {
                let text = caught(panic);
                if let Some(mut driver) = ctx.driver.take() {
                    driver.future_panicked(this.origin, &text, act, ctx);
                    ctx.driver = Some(driver);
                }
                // What waits behind it goes on.
                cx.waker().wake_by_ref();
                this.end()
            }
        }
    }
}
