//! Finding the place of the journal from a user's duroxide provider.

use std::any::Any;
use std::sync::Arc;

use duroxide::providers::Provider;
use duroxide_pg::PostgresProvider;

use super::provider::PostgresActorProvider;
use crate::error::JournalError;
use crate::limits::Durability;

/// Opens the journal in `provider`'s schema; `None` if it is not a `PostgresProvider`.
pub(crate) fn attach(
    provider: &Arc<dyn Provider>,
    durability: Durability,
) -> Option<Result<Arc<PostgresActorProvider>, JournalError>> {
    let any: &dyn Any = &**provider;
    let postgres = any.downcast_ref::<PostgresProvider>()?;
    Some(PostgresActorProvider::open(postgres, durability))
}

/// As [`attach`], to read. None inside if there is no journal.
pub(crate) fn attach_to_read(
    provider: &Arc<dyn Provider>,
) -> Option<Result<Option<Arc<PostgresActorProvider>>, JournalError>> {
    let any: &dyn Any = &**provider;
    Some(PostgresActorProvider::open_to_read(any.downcast_ref::<PostgresProvider>()?))
}
