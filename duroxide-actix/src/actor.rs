//! What an Actix actor says of itself to be durable.

use std::time::Duration;

use actix::{Actor, Handler, Message};
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_journal::{DurableMessage, DurableState};

use crate::message::Table;

/// An Actix actor that can be durable: it has a state that can be stored ([`DurableState`]) and
/// lists the messages that are.
///
/// A message type that is not in the list is handled as plain actix does it: not written, not
/// repeated, lost in a crash. That is right for questions.
///
/// ```
/// use actix::prelude::*;
/// use duroxide_actix::DurableActor;
/// use duroxide_actix::journal::{DurableMessage, DurableState};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default)]
/// struct Counter { count: u64 }
///
/// impl Actor for Counter {
///     type Context = Context<Self>;
/// }
///
/// #[derive(Message, Serialize, Deserialize)]
/// #[rtype(result = "u64")]
/// struct Add(u64);
///
/// impl Handler<Add> for Counter {
///     type Result = u64;
///     fn handle(&mut self, add: Add, _: &mut Self::Context) -> u64 {
///         self.count += add.0;
///         self.count
///     }
/// }
///
/// // This is all that durability asks for.
/// impl DurableMessage for Add {
///     const NAME: &'static str = "counter.add";
/// }
///
/// impl DurableState for Counter {
///     const ACTOR_TYPE: &'static str = "counter";
///     type State = u64;
///     fn snapshot(&self) -> impl Serialize { self.count }
///     fn restore(&mut self, count: u64) { self.count = count }
/// }
///
/// impl DurableActor for Counter {
///     type Messages = (Add,);
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not list its durable messages",
    label = "not a durable actor",
    note = "add `impl DurableActor for {Self} {{ type Messages = (FirstMessage, SecondMessage); }}`"
)]
pub trait DurableActor: Actor + DurableState + Unpin {
    /// The durable messages, as a tuple of up to sixteen types: `(Deposit, Withdraw)`. One type
    /// alone is `(Deposit,)`. For more than sixteen, implement [`MessageList`] through
    /// [`Table::insert`].
    ///
    /// A type stays in the list as long as a journal may hold a message of it.
    type Messages: MessageList<Self>;

    /// For an actor with a `Context<Self>` of actix's, what happens to messages that reach it past
    /// its journal. With a [`DurableContext`](crate::DurableContext) there is no such way.
    const INNER_ADDRESS: InnerAddress = InnerAddress::Refuse;

    /// How long the handler of a durable message may be at work. None, the default, for as long as it
    /// likes.
    ///
    /// Beyond it the attempt has failed as by a panic: the state goes back to the last captured one, and
    /// the message is tried again up to [`Limits::attempts`](shared_journal::Limits::attempts) times;
    /// then it is a dead letter. The time runs from the handler's beginning and includes what its steps
    /// wait for the disk, and what it waits for with `ctx.wait`.
    ///
    /// The futures of the handler that have the actor end: returned ones (`ResponseActFuture`,
    /// `AtomicResponse`) and those of `ctx.spawn` and `ctx.wait`. With a
    /// [`DurableContext`](crate::DurableContext) they are dropped. An actor with a `Context<Self>` of
    /// actix's is made anew, as after a panic in such a future, with all futures of its context. A
    /// `ResponseFuture` runs in a task of actix's own that nobody can end: it goes on without the actor,
    /// its reply goes nowhere, and [`steps`](crate::DurableEffects::steps) that it took along run no
    /// more.
    ///
    /// A handler that does not wait for anything cannot be interrupted, so one that blocks its thread is
    /// only named in the log ([`Limits::slow_handler`](shared_journal::Limits::slow_handler)); one that
    /// is done has not failed, however long it took.
    const TIME_LIMIT: Option<Duration> = None;
}

/// What happens to messages that reach a wrapped actor past its journal: through its own
/// `ctx.address()`, or through `from_registry()`.
///
/// Nobody can tell their types before they are handled, so it is all of them or none. Messages of
/// `ctx.notify`, `notify_later`, streams and intervals do not come this way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum InnerAddress {
    /// They are refused, with an error in the log: their senders get `MailboxError::Closed`. Give
    /// away [`durable_recipient`](crate::DurableEffects::durable_recipient) or
    /// [`DurableActixActor::address_in`](crate::DurableActixActor::address_in) instead.
    #[default]
    Refuse,
    /// They are handled as plain actix does it. For an actor to whose inner address only messages
    /// are sent that are not durable: a listed one would not be journaled there.
    Plain,
}

/// A tuple of message types that the actor `A` handles durably.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list of durable messages of `{A}`",
    note = "each must be `Message + DurableMessage`, handled by the actor, with a result that is \
            `Serialize + DeserializeOwned`; one message alone is written `(Deposit,)`"
)]
pub trait MessageList<A: Actor> {
    /// Enters every message into the table.
    fn register(table: &mut Table<A>);
}

macro_rules! tuples {
    ($($message:ident)*) => {
        impl<Act, $($message),*> MessageList<Act> for ($($message,)*)
        where
            Act: Actor $(+ Handler<$message>)*,
            $(
                $message: Message + DurableMessage + Send + 'static,
                $message::Result: Serialize + DeserializeOwned + Send,
            )*
        {
            fn register(table: &mut Table<Act>) {
                $(table.insert::<$message>();)*
            }
        }
    };
}

tuples!(A);
tuples!(A B);
tuples!(A B C);
tuples!(A B C D);
tuples!(A B C D E);
tuples!(A B C D E F);
tuples!(A B C D E F G);
tuples!(A B C D E F G H);
tuples!(A B C D E F G H I);
tuples!(A B C D E F G H I J);
tuples!(A B C D E F G H I J K);
tuples!(A B C D E F G H I J K L);
tuples!(A B C D E F G H I J K L M);
tuples!(A B C D E F G H I J K L M N);
tuples!(A B C D E F G H I J K L M N O);
tuples!(A B C D E F G H I J K L M N O P);
