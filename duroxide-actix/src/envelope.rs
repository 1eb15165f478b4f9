//! Envelopes: what actix's mailbox holds for a durable actor.

use std::cell::RefCell;
use std::sync::Arc;

use actix::dev::{Envelope, EnvelopeProxy, MessageResponse, OneshotSender, ToEnvelope};
use actix::{Actor, Handler, Message};
use shared_journal::MessageKey;
use shared_journal::mailbox::Acknowledge;

use crate::context::DurableContext;
use crate::driver::Offer;
use crate::error::{AskError, Fate};
use crate::job::TypedJob;

/// What a message has besides itself when it was sent with
/// [`DurableSend`](crate::DurableSend).
#[derive(Debug)]
pub(crate) struct Extras {
    /// Whether the sender wants the id recorded.
    pub(crate) keyed: bool,
    pub(crate) fate: Arc<Fate>,
    pub(crate) acknowledge: Option<Acknowledge>,
}

thread_local! {
    /// The extras of the message that is being packed on this thread. `Addr::send` packs a message
    /// in the same call, or in a later poll of its future, and has no room for anything else.
    static EXTRAS: RefCell<Option<Extras>> = const { RefCell::new(None) };
}

/// Runs `send`, which packs a message or not, with `extras` at hand; takes back what is left.
pub(crate) fn with_extras<R>(extras: &mut Option<Extras>, send: impl FnOnce() -> R) -> R {
    EXTRAS.with(|place| place.replace(extras.take()));
    let result = send();
    *extras = EXTRAS.with(RefCell::take);
    result
}

impl<A, M> ToEnvelope<A, M> for DurableContext<A>
where
    A: Actor<Context = Self> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn pack(message: M, sender: Option<OneshotSender<M::Result>>) -> Envelope<A> {
        let extras = EXTRAS.with(RefCell::take);
        Envelope::with_proxy(Box::new(Proxy { letter: Some(Letter { message, sender, extras }) }))
    }
}

/// A message, who waits for its reply, and what else is known of it.
pub(crate) struct Letter<M: Message> {
    pub(crate) message: M,
    pub(crate) sender: Option<OneshotSender<M::Result>>,
    pub(crate) extras: Option<Extras>,
}

struct Proxy<M: Message> {
    letter: Option<Letter<M>>,
}

impl<A, M> EnvelopeProxy<A> for Proxy<M>
where
    A: Actor<Context = DurableContext<A>> + Handler<M>,
    M: Message + Send + 'static,
    M::Result: Send,
{
    fn handle(&mut self, act: &mut A, ctx: &mut DurableContext<A>) {
        // Unlike actix's own proxy this one does not ask whether the sender still waits.
        let Some(Letter { message, sender, extras }) = self.letter.take() else {
            return;
        };
        match ctx.table().and_then(|table| table.form::<M>()).cloned() {
            Some(form) => ctx.offer(Offer::new(form, message, sender, extras), act),
            None if ctx.table().is_some() && extras.is_some() => refuse::<M>(extras),
            None => {
                ctx.enter_plain();
                ctx.current = extras;
                <A as Handler<M>>::handle(act, message, ctx).handle(ctx, sender);
                ctx.current = None;
            }
        }
    }
}

/// A message that is not durable cannot have what its sender asked for.
pub(crate) fn refuse<M>(extras: Option<Extras>) {
    if let Some(extras) = extras {
        extras.fate.failed(AskError::NotDurable { message: std::any::type_name::<M>() });
    }
}

impl<A: Actor> Offer<A> {
    pub(crate) fn new<M>(
        form: Arc<crate::message::Form<M>>,
        message: M,
        sender: Option<OneshotSender<M::Result>>,
        extras: Option<Extras>,
    ) -> Self
    where
        A: Handler<M>,
        M: Message + Send + 'static,
        M::Result: Send,
    {
        let (key, fate, acknowledge) = match extras {
            Some(Extras { keyed, fate, acknowledge }) => {
                (keyed.then(|| fate.id()).into(), Some(fate), acknowledge)
            }
            None => (MessageKey::Anonymous, None, None),
        };
        Self { job: Box::new(TypedJob::new(form, message, sender, fate)), key, acknowledge }
    }
}
