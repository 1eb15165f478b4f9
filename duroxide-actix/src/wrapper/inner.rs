//! The ways to a wrapped actor that go past its journal, closed.
//!
//! `ctx.address()` is the address of the actor inside, and `from_registry()` starts a second actor of
//! the type without a journal. An envelope does not tell the type of its message, so whoever sends a
//! listed message there cannot be told from others: all are refused, and the log says what to do.

use std::any::{TypeId, type_name};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task;

use actix::dev::channel::{AddressReceiver, AddressSender, channel};
use actix::dev::{AsyncContextParts, ContextFut, ContextParts, Mailbox, Registry, SystemRegistry};
use actix::{Actor, Addr, Context, SystemService};
use futures::{Stream, StreamExt};
use rustc_hash::FxHashSet;
use shared_journal::ActorId;

use crate::actor::{DurableActor, InnerAddress};

/// As in actix.
const CAPACITY: usize = 16;

/// The mailbox behind a wrapped actor's own address, if what comes there is refused.
pub(super) struct Inner<A: Actor> {
    receiver: Option<AddressReceiver<A>>,
    refused: u64,
}

impl<A: DurableActor + Actor<Context = Context<A>>> Inner<A> {
    /// A context, and the mailbox behind its address.
    pub(super) fn context() -> (Context<A>, Self) {
        let mut ctx = Context::new();
        if A::INNER_ADDRESS == InnerAddress::Plain {
            return (ctx, Self { receiver: None, refused: 0 });
        }
        let (_, receiver) = channel(CAPACITY);
        *ctx.parts() = ContextParts::new(receiver.sender_producer());
        (ctx, Self { receiver: Some(receiver), refused: 0 })
    }

    /// The running context.
    pub(super) fn run(&self, ctx: Context<A>, act: A) -> ContextFut<A, Context<A>> {
        match self.receiver {
            // A mailbox that nobody can send to.
            Some(_) => ContextFut::new(ctx, act, Mailbox::default()),
            None => ctx.into_future(act),
        }
    }

    /// Refuses what has come. To be polled after the context, which gives the addresses away.
    pub(super) fn poll(&mut self, actor: &ActorId, cx: &mut task::Context<'_>) {
        let Some(receiver) = &mut self.receiver else {
            return;
        };
        while let task::Poll::Ready(Some(envelope)) = Pin::new(&mut *receiver).poll_next(cx) {
            // The sender is told, as it is dropped.
            drop(envelope);
            self.refused += 1;
            // A sender that goes on does not fill the log.
            if self.refused.is_power_of_two() {
                tracing::error!(
                    %actor,
                    refused = self.refused,
                    "a message was refused: it was sent to ctx.address() of a wrapped actor, past \
                     its journal. Give away ctx.durable_recipient() or \
                     DurableActixActor::address_in(ctx) instead; if only messages that are not \
                     durable are sent there, set DurableActor::INNER_ADDRESS to InnerAddress::Plain"
                );
            }
        }
    }
}

thread_local! {
    /// The actor types whose place in this arbiter's registry is taken.
    static GUARDED: RefCell<FxHashSet<TypeId>> = RefCell::default();
}

/// Takes the place of the actor type in the registry of this arbiter, so that `from_registry` starts
/// no plain actor; and finds one that was started before.
pub(super) fn guard_registry<A: DurableActor + Actor<Context = Context<A>>>() {
    let is_first = GUARDED.with_borrow_mut(|guarded| guarded.insert(TypeId::of::<A>()));
    if A::INNER_ADDRESS == InnerAddress::Refuse && is_first {
        take_place::<A>("ArbiterService", Registry::set);
    }
}

/// As [`guard_registry`], in the registry of the system.
pub(super) fn guard_system_registry<A>()
where
    A: DurableActor + Actor<Context = Context<A>> + SystemService,
{
    if A::INNER_ADDRESS == InnerAddress::Refuse {
        take_place::<A>("SystemService", SystemRegistry::set);
    }
}

fn take_place<A: Actor<Context = Context<A>>>(registry: &'static str, set: impl FnOnce(Addr<A>)) {
    let (sender, receiver) = channel::<A>(CAPACITY);
    // It panics if the place is taken.
    if catch_unwind(AssertUnwindSafe(|| set(address(sender)))).is_ok() {
        actix::spawn(refuse(registry, receiver));
        return;
    }
    tracing::error!(
        actor = type_name::<A>(),
        registry,
        "from_registry() has started an actor of a durable type: it has no journal, and is another \
         one than those that DurableActixActor starts. Use their addresses instead"
    );
}

fn address<A: Actor<Context = Context<A>>>(sender: AddressSender<A>) -> Addr<A> {
    Addr::new(sender)
}

async fn refuse<A: Actor<Context = Context<A>>>(
    registry: &'static str,
    mut receiver: AddressReceiver<A>,
) {
    let mut refused = 0_u64;
    while let Some(envelope) = receiver.next().await {
        drop(envelope);
        refused += 1;
        if refused.is_power_of_two() {
            tracing::error!(
                actor = type_name::<A>(),
                registry,
                refused,
                "a message was refused: it was sent to what from_registry() returned, which is no \
                 durable actor. Use the address that DurableActixActor::start returned"
            );
        }
    }
}
