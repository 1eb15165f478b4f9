//! Finding a journal's place from a user's duroxide provider.

use std::sync::Arc;

use duroxide::providers::Provider;

use crate::error::JournalError;
use crate::limits::Durability;
use crate::portable::PortableActorProvider;
use crate::provider::ActorProvider;
use crate::sqlite::OneWriter;

/// Opens the store that [`EventJournal::open`](crate::EventJournal::open) uses for `provider`.
///
/// For tools that work on stores. Blocks; call it from a thread that may, such as one of
/// `tokio::task::spawn_blocking`. For PostgreSQL it panics in a task of a runtime.
///
/// # Errors
/// The store cannot be opened, is something else, or is of a newer version; or it is PostgreSQL and
/// the feature `postgres` is off.
pub fn attach(
    provider: &Arc<dyn Provider>,
    durability: Durability,
) -> Result<Arc<dyn ActorProvider>, JournalError> {
    let provider = &OneWriter::under(provider);
    if let Some(store) = crate::sqlite::attach(provider, durability) {
        return store.map(|store| store as Arc<dyn ActorProvider>);
    }
    #[cfg(feature = "postgres")]
    if let Some(store) = crate::postgres::attach(provider, durability) {
        return store.map(|store| store as Arc<dyn ActorProvider>);
    }
    // Not in its history: with the feature the same provider would then be found to be empty.
    #[cfg(not(feature = "postgres"))]
    if provider.name() == "duroxide-pg" {
        return Err(JournalError::UnsupportedProvider { name: provider.name().to_owned() });
    }
    Ok(PortableActorProvider::new(provider.clone()))
}

/// Opens the store that [`JournalReader::open`](crate::JournalReader::open) uses for `provider`: it
/// makes and migrates nothing, and refuses to be written. None if there is no journal.
///
/// Blocks as [`attach`] does.
///
/// # Errors
/// As [`attach`].
pub fn attach_to_read(
    provider: &Arc<dyn Provider>,
) -> Result<Option<Arc<dyn ActorProvider>>, JournalError> {
    let provider = &OneWriter::under(provider);
    if let Some(store) = crate::sqlite::attach_to_read(provider) {
        return Ok(store?.map(|store| store as Arc<dyn ActorProvider>));
    }
    #[cfg(feature = "postgres")]
    if let Some(store) = crate::postgres::attach_to_read(provider) {
        return Ok(store?.map(|store| store as Arc<dyn ActorProvider>));
    }
    // Of the others none is opened before it is used.
    attach(provider, Durability::PowerLoss).map(Some)
}

/// As [`attach_to_read`], from a task.
pub(crate) async fn attach_to_read_aside(
    provider: Arc<dyn Provider>,
) -> Result<Option<Arc<dyn ActorProvider>>, JournalError> {
    let attached = tokio::task::spawn_blocking(move || attach_to_read(&provider));
    attached.await.map_err(|_| JournalError::Closed)?
}

/// As [`attach`], from a task.
pub(crate) async fn attach_aside(
    provider: Arc<dyn Provider>,
    durability: Durability,
) -> Result<Arc<dyn ActorProvider>, JournalError> {
    // Opening a file blocks.
    let attached = tokio::task::spawn_blocking(move || attach(&provider, durability));
    attached.await.map_err(|_| JournalError::Closed)?
}
