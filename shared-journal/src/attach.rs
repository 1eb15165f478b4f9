//! Finding a journal's place from a user's duroxide provider.

use std::sync::Arc;

use duroxide::providers::Provider;

use crate::error::JournalError;
use crate::limits::Durability;
use crate::provider::ActorProvider;

/// Opens the store that [`EventJournal::open`](crate::EventJournal::open) uses for `provider`;
/// `None` if there is none for its kind.
///
/// For tools that work on stores. Blocks; call it from a thread that may, such as one of
/// `tokio::task::spawn_blocking`. For PostgreSQL it panics in a task of a runtime.
///
/// # Errors
/// The store cannot be opened, is something else, or is of a newer version.
pub fn attach(
    provider: &Arc<dyn Provider>,
    durability: Durability,
) -> Option<Result<Arc<dyn ActorProvider>, JournalError>> {
    if let Some(store) = crate::sqlite::attach(provider, durability) {
        return Some(store.map(|store| store as Arc<dyn ActorProvider>));
    }
    #[cfg(feature = "postgres")]
    if let Some(store) = crate::postgres::attach(provider, durability) {
        return Some(store.map(|store| store as Arc<dyn ActorProvider>));
    }
    None
}
