//! A context that runs.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use actix::Actor;
use actix::dev::ContextFut;
use shared_journal::mailbox::panic_text;

use super::DurableContext;

/// Polls an actor's context, and captures what was changed in it.
///
/// Actix keeps no order among the futures of a context, so what comes last in one poll cannot be one
/// of them. It is a second poll of the same context, in which each of them knows that it must not
/// run, and the first has the actor.
pub(super) struct Running<A: Actor<Context = DurableContext<A>>>(ContextFut<A, DurableContext<A>>);

impl<A: Actor<Context = DurableContext<A>>> Running<A> {
    pub(super) fn new(context: ContextFut<A, DurableContext<A>>) -> Self {
        Self(context)
    }
}

impl<A: Actor<Context = DurableContext<A>>> Future for Running<A> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let context = &mut self.0;
        let polled = catch_unwind(AssertUnwindSafe(|| Pin::new(&mut *context).poll(cx)));
        let polled = polled.unwrap_or_else(|panic| {
            if let Some(actor) = context.ctx().actor_id() {
                tracing::error!(%actor, panic = panic_text(&*panic), "a durable actor panicked outside of its durable handlers; it has stopped");
            }
            resume_unwind(panic)
        });
        if polled.is_ready() {
            context.ctx().ended();
            return polled;
        }
        if context.ctx().is_cut_off() {
            return Poll::Ready(());
        }
        if !context.ctx().has_run(cx) {
            return polled;
        }
        context.ctx().ending = true;
        let polled = Pin::new(&mut *context).poll(cx);
        context.ctx().ending = false;
        polled
    }
}
