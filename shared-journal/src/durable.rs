//! What a type needs to be durable.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// State that can be stored and put back.
///
/// The state is what the actor says it is: handles, addresses and connection pools stay out of it.
/// Derive it for a plain struct (`#[derive(DurableState)]`, leaving fields out with
/// `#[durable(skip)]`), or write it by hand:
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use shared_journal::DurableState;
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Balance { cents: i64 }
///
/// struct Account { balance: Balance, http: () /* a client, say */ }
///
/// impl DurableState for Account {
///     const ACTOR_TYPE: &'static str = "account";
///     type State = Balance;
///     fn snapshot(&self) -> impl Serialize { &self.balance }
///     fn restore(&mut self, state: Balance) { self.balance = state }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say what its durable state is",
    label = "its state cannot be stored",
    note = "add `#[derive(DurableState)] #[durable(actor_type = \"…\")]`, or implement `DurableState` by hand"
)]
pub trait DurableState {
    /// The actor type: the first half of an actor's name in the journal. Never change it.
    const ACTOR_TYPE: &'static str;

    /// What a stored state decodes to. Its own encoding is that of [`snapshot`](Self::snapshot).
    type State: Serialize + DeserializeOwned;

    /// The state to store, usually borrowed from `self`. Called once per run, not per message.
    fn snapshot(&self) -> impl Serialize;

    /// Puts a stored state into an actor that was just constructed, or into one whose handler
    /// failed. It must replace everything that [`snapshot`](Self::snapshot) covers.
    fn restore(&mut self, state: Self::State);

    /// Called whenever the durable state was put into the actor: at each start, also the first
    /// one, and each time it goes back to the last durable state because a message failed. Fields
    /// that are derived from the state and not stored (an index, a cache, `#[durable(skip)]`) are
    /// made anew here. Does nothing by default.
    fn restored(&mut self) {}
}

/// A message that can be stored under a stable name.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use shared_journal::DurableMessage;
///
/// #[derive(Serialize, Deserialize)]
/// struct Deposit { cents: i64 }
///
/// impl DurableMessage for Deposit {
///     const NAME: &'static str = "account.deposit";
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored as a message",
    label = "it has no stable name",
    note = "add `#[derive(Serialize, Deserialize, DurableMessage)] #[durable(name = \"…\")]`"
)]
pub trait DurableMessage: Serialize + DeserializeOwned {
    /// The stable name of this message type in the journal. Never change it, and never give it to
    /// another type of the same actor.
    const NAME: &'static str;
}
