//! The keeper: runs the wrapped actor's context, and what it needs at the end of each poll.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context as TaskContext, Poll};

use actix::dev::ContextFut;
use actix::{Actor, AsyncContext, Context};
use futures::FutureExt;
use futures::future::poll_fn;
use shared_journal::mailbox::caught;

use super::inner::Inner;
use super::pump::{Capture, Pump};
use super::queue::Queue;
use super::turn::Turn;
use crate::actor::DurableActor;
use crate::driver::Driver;
use crate::effects::{Effects, with_effects};

/// A context that is about to run, its actor, and the mailbox behind the context's address.
pub(super) type Fresh<A> = (A, Context<A>, Inner<A>);

/// Runs the actor until it stops, making a new one when a handler's future panics or takes too long, and
/// when the journal was opened again.
pub(super) async fn keep<A: DurableActor + Actor<Context = Context<A>>>(
    queue: Rc<Queue<A>>,
    driver: Driver<A>,
    mut effects: Effects,
    first: Fresh<A>,
    mut create: impl FnMut(&mut Context<A>) -> A,
) {
    // Also when `create` panics: the shell must not take messages for an actor that is gone.
    let _end = EndOfQueue(queue.clone());
    let driver = Rc::new(RefCell::new(driver));
    let mut next = Some(first);
    while let Some((act, mut ctx, mut inner)) = next.take() {
        let turn = Rc::new(Turn::default());
        let pump = Pump::new(&queue, &driver, &turn, &effects);
        let has_pump = pump.presence();
        ctx.spawn(pump);
        let mut running = Box::pin(inner.run(ctx, act));
        driver.borrow_mut().touch();
        let polling = poll_fn(|cx| {
            let polled = with_effects(&effects, || {
                poll(&mut running, &turn, &driver, || has_pump.strong_count() > 0, cx)
            });
            if polled.is_pending() {
                inner.poll(driver.borrow().actor(), cx);
            }
            polled
        });
        let outcome = AssertUnwindSafe(polling).catch_unwind().await;
        let text = match outcome {
            Ok(End::Stopped) => {
                driver.borrow_mut().ended_itself();
                break;
            }
            Ok(End::Asked) => break,
            Ok(End::OverLimit(text)) => Some(text),
            Ok(End::Down) => None,
            Err(panic) => Some(caught(panic)),
        };
        effects.outbox.set_running(shared_journal::Origin::default());
        // Dropping the context runs `stopping` and `stopped` of an actor that has just panicked.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(running)));
        let Some(text) = text else {
            let reopening = driver.borrow_mut().take_reopening();
            let Some(reopening) = reopening else { break };
            let reopened = reopening.await;
            match &reopened {
                Ok(mailbox) => effects.renew(mailbox),
                Err(error) => {
                    driver.borrow_mut().end(error.clone());
                    break;
                }
            }
            let (mut ctx, inner) = Inner::context();
            let mut act = with_effects(&effects, || create(&mut ctx));
            let mut driver = driver.borrow_mut();
            driver.reopened(reopened, &mut act, &mut ctx);
            if driver.has_failed() {
                break;
            }
            next = Some((act, ctx, inner));
            continue;
        };
        if !driver.borrow_mut().context_panicked(&text) {
            let driver = driver.borrow();
            tracing::error!(actor = %driver.actor(), panic = text, "a durable actor panicked outside of its durable handlers; it has stopped");
            break;
        }
        let (mut ctx, inner) = Inner::context();
        let mut act = with_effects(&effects, || create(&mut ctx));
        match driver.borrow_mut().mailbox().restore(&mut act) {
            Ok(()) => next = Some((act, ctx, inner)),
            Err(error) => {
                let error = shared_journal::mailbox::error_text(&error);
                tracing::error!(error, "a durable actor has to stop");
            }
        }
    }
}

/// Why a context runs no more.
enum End {
    Stopped,
    /// From outside, while it waits for a future.
    Asked,
    OverLimit(String),
    Down,
}

/// One poll of the context, and a second one if there is a run to end after everything has run. It ends
/// too if a handler is over its time limit, or the journal has stopped: nobody can end the futures of
/// handlers alone.
fn poll<A: DurableActor + Actor<Context = Context<A>>>(
    running: &mut Pin<Box<ContextFut<A, Context<A>>>>,
    turn: &Turn,
    driver: &Rc<RefCell<Driver<A>>>,
    has_pump: impl Fn() -> bool,
    cx: &mut TaskContext<'_>,
) -> Poll<End> {
    let waker = turn.begin(cx);
    let mut others = TaskContext::from_waker(&waker);
    if turn.has_others() {
        driver.borrow_mut().touch();
    }
    if running.as_mut().poll(&mut others).is_ready() {
        return Poll::Ready(End::Stopped);
    }
    if let Poll::Ready(over_limit) = driver.borrow_mut().poll_over_limit(cx) {
        return Poll::Ready(End::OverLimit(over_limit));
    }
    if !turn.has_pumped() {
        // The actor waits for a future.
        driver.borrow_mut().end_if_asked();
    }
    if driver.borrow().is_down() {
        return Poll::Ready(End::Down);
    }
    if driver.borrow().has_failed() {
        return Poll::Ready(End::Asked);
    }
    driver.borrow_mut().poll_closing(cx);
    if !driver.borrow().has_run() {
        return Poll::Pending;
    }
    if !has_pump() {
        // The pump has ended, and other futures keep the actor.
        running.ctx().spawn(Capture { driver: driver.clone() });
    }
    turn.set_last(true);
    let polled = running.as_mut().poll(&mut others);
    turn.set_last(false);
    // If the actor waits for a future, nobody gets at its state before that has ended.
    driver.borrow_mut().answer_closing();
    if polled.is_pending() && driver.borrow().is_down() {
        return Poll::Ready(End::Down);
    }
    polled.map(|()| End::Stopped)
}

struct EndOfQueue<A: Actor>(Rc<Queue<A>>);

impl<A: Actor> Drop for EndOfQueue<A> {
    fn drop(&mut self) {
        self.0.end();
    }
}
