//! Derives the two traits that a durable type implements: [`DurableState`](macro@DurableState) for
//! an actor, [`DurableMessage`](macro@DurableMessage) for what it is sent.
//!
//! Use them through `shared_journal`, or through `duroxide_actix::journal` and
//! `duroxide_tower::journal`, which are the same crate:
//!
//! ```
//! use serde::{Deserialize, Serialize};
//! use shared_journal::{DurableMessage, DurableState};
//!
//! #[derive(DurableState)]
//! #[durable(actor_type = "account")]
//! struct Account {
//!     balance: i64,
//!     #[serde(default)] // states stored before there was a limit have none
//!     limit: Option<i64>,
//!     #[durable(skip)]
//!     http: HttpClient,
//! }
//!
//! #[derive(Serialize, Deserialize, DurableMessage)]
//! #[durable(name = "account.deposit")]
//! struct Deposit {
//!     cents: i64,
//! }
//!
//! # struct HttpClient;
//! assert_eq!(Account::ACTOR_TYPE, "account");
//! assert_eq!(Deposit::NAME, "account.deposit");
//! ```
//!
//! # Names
//!
//! Both derives ask for a name and have no default. The name is stored with every event, so it
//! outlives the Rust type: a type may be renamed or moved, its name in the journal may not.
//!
//! # Where the traits come from
//!
//! The derives look into the `Cargo.toml` of the crate that uses them and name the traits through
//! the first of these that it depends on: `shared-journal`, `duroxide-actix`, `duroxide-tower`.
//! A crate that gets them another way says how, on each type:
//! `#[durable(actor_type = "account", crate = "my_platform::journal")]`.

mod attr;
mod message;
mod state;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Derives `DurableState` for a struct: the stored state is its fields.
///
/// `#[durable(actor_type = "…")]` on the struct is the actor type: 1 to 255 bytes that never
/// change.
///
/// A field with `#[durable(skip)]` is not stored, and `restore` leaves its value alone. Handles,
/// addresses and connection pools are fields of this kind.
///
/// The other fields are stored under their names, as serde would, and their types implement
/// `Serialize` and `Deserialize`. So a struct may gain a field that has `#[serde(default)]`, and
/// lose a field; to rename one, keep the old name as `#[serde(alias = "…")]`. A unit struct stores
/// a state without fields, and may gain some.
///
/// # Attributes of serde
///
/// Those on a stored field have their usual meaning, with these exceptions, which would lose state
/// and are refused:
///
/// - `skip`, `skip_serializing`, `skip_deserializing`: use `#[durable(skip)]`, which keeps the
///   value that the actor was constructed with.
/// - `skip_serializing_if` without `default`: what was left out could not be read back.
/// - `rename(serialize = …, deserialize = …)`: what was written could not be read back.
///
/// On the struct itself, `rename_all = "…"` and `deny_unknown_fields` are supported.
///
/// # Generics
///
/// Types and constants may be parameters of the struct. A type parameter in a stored field gets
/// the bounds `Serialize + DeserializeOwned`; one that occurs in skipped fields only, such as the
/// type of a client, gets none. All instances of the struct have the same actor type, so do not
/// keep two of them in one journal if their states differ. Lifetimes are refused: an actor outlives
/// what it could borrow.
///
/// # By hand
///
/// Enums, tuple structs and anything above that does not fit: implement the trait, it has two
/// methods.
#[proc_macro_derive(DurableState, attributes(durable, serde))]
pub fn derive_durable_state(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    state::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Derives `DurableMessage` for a struct or an enum: its stable name in the journal.
///
/// `#[durable(name = "…")]` on the type is the name: 1 to 200 bytes that never change, unlike any
/// other message of the same actor. A good one starts with the actor type, as in
/// `account.deposit`.
///
/// The message itself is encoded by serde; derive `Serialize` and `Deserialize` beside this. A
/// generic type is refused, since one name would stand for many types.
#[proc_macro_derive(DurableMessage, attributes(durable))]
pub fn derive_durable_message(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    message::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
