//! Finding the place of the journal from a user's duroxide provider.

use std::any::Any;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use duroxide::providers::Provider;
use duroxide::providers::sqlite::SqliteProvider;

use super::connection::Location;
use super::provider::SqliteActorProvider;
use crate::error::JournalError;
use crate::limits::Durability;

/// The journal that belongs to a provider of this process, kept for as long as the provider is:
/// an in-memory database is gone with its last connection.
struct InMemory {
    provider: Weak<dyn Provider>,
    journal: Arc<SqliteActorProvider>,
}

static IN_MEMORY: Mutex<Vec<InMemory>> = Mutex::new(Vec::new());

/// Opens the journal next to `provider`'s database; `None` if it is not a `SqliteProvider`.
pub(crate) fn attach(
    provider: &Arc<dyn Provider>,
    durability: Durability,
) -> Option<Result<Arc<SqliteActorProvider>, JournalError>> {
    let any: &dyn Any = &**provider;
    let sqlite = any.downcast_ref::<SqliteProvider>()?;
    let file = sqlite.get_pool().connect_options().get_filename().to_owned();
    // How sqlx names a shared in-memory database.
    if file.to_string_lossy().starts_with("file:sqlx-in-memory-") {
        return Some(in_memory(provider, &file, durability));
    }
    let location = Location::File(sibling(&file));
    Some(SqliteActorProvider::connect(location, durability).map(Arc::new))
}

/// `app.db` has its journal at `app.actors.db`.
fn sibling(file: &Path) -> PathBuf {
    let mut extension = OsString::from("actors");
    if let Some(own) = file.extension() {
        extension.push(".");
        extension.push(own);
    }
    file.with_extension(extension)
}

fn in_memory(
    provider: &Arc<dyn Provider>,
    file: &Path,
    durability: Durability,
) -> Result<Arc<SqliteActorProvider>, JournalError> {
    let mut kept = IN_MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    kept.retain(|entry| entry.provider.strong_count() > 0);
    if let Some(entry) = kept.iter().find(|entry| entry.provider.ptr_eq(&Arc::downgrade(provider)))
    {
        return Ok(entry.journal.clone());
    }
    let name = file.to_string_lossy().trim_start_matches("file:").replace("sqlx", "actors");
    let journal = Arc::new(SqliteActorProvider::connect(Location::Memory(name), durability)?);
    kept.push(InMemory { provider: Arc::downgrade(provider), journal: journal.clone() });
    Ok(journal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_journal_lies_next_to_the_store() {
        assert_eq!(sibling(Path::new("/data/app.db")), Path::new("/data/app.actors.db"));
        assert_eq!(sibling(Path::new("app")), Path::new("app.actors"));
    }
}
