//! Finding the place of the journal from a user's duroxide provider.

use std::any::Any;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use duroxide::providers::Provider;
use duroxide::providers::sqlite::SqliteProvider;

use super::connection::Location;
use super::place;
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
    Some(place::of_database(&file).and_then(|(path, model)| {
        let location = Location::File { path, model: Some(model) };
        SqliteActorProvider::connect(location, durability).map(Arc::new)
    }))
}

/// As [`attach`], to read. None inside if there is no journal.
pub(crate) fn attach_to_read(
    provider: &Arc<dyn Provider>,
) -> Option<Result<Option<Arc<SqliteActorProvider>>, JournalError>> {
    let any: &dyn Any = &**provider;
    let sqlite = any.downcast_ref::<SqliteProvider>()?;
    let file = sqlite.get_pool().connect_options().get_filename().to_owned();
    if file.to_string_lossy().starts_with("file:sqlx-in-memory-") {
        let kept = IN_MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |entry: &&InMemory| entry.provider.ptr_eq(&Arc::downgrade(provider));
        return Some(Ok(kept.iter().find(of).map(|entry| entry.journal.clone())));
    }
    Some(
        place::of_database(&file).and_then(|(path, _)| {
            SqliteActorProvider::read_only(Location::File { path, model: None })
        }),
    )
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
#[cfg(unix)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::journal::EventJournal;
    use crate::provider::ActorProvider;

    async fn provider(file: &Path) -> Arc<dyn Provider> {
        let url = format!("sqlite:{}?mode=rwc", file.display());
        Arc::new(SqliteProvider::new(&url, None).await.unwrap())
    }

    /// As a deployment does: `releases/N/app.db` is a link to one database.
    fn release(folder: &Path, number: u32) -> std::path::PathBuf {
        let release = folder.join(format!("releases/{number}"));
        std::fs::create_dir_all(&release).unwrap();
        std::fs::create_dir_all(folder.join("shared")).unwrap();
        symlink("../../shared/app.db", release.join("app.db")).unwrap();
        release.join("app.db")
    }

    fn journals(folder: &Path) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(next) = folders.pop() {
            for entry in std::fs::read_dir(next).unwrap().map(Result::unwrap) {
                if entry.file_type().unwrap().is_dir() {
                    folders.push(entry.path());
                } else if entry.file_name() == "app.actors.db" {
                    found.push(entry.path().strip_prefix(folder).unwrap().display().to_string());
                }
            }
        }
        found
    }

    #[tokio::test]
    async fn every_link_to_a_database_leads_to_its_journal() {
        let folder = tempfile::tempdir().unwrap();
        let first = EventJournal::open(provider(&release(folder.path(), 1)).await).await.unwrap();
        assert_eq!(first.epoch().0, 1);
        let second = EventJournal::open(provider(&release(folder.path(), 2)).await).await.unwrap();
        assert_eq!(second.epoch().0, 2, "the same journal");
        let direct = provider(&folder.path().join("shared/app.db")).await;
        assert_eq!(EventJournal::open(direct).await.unwrap().epoch().0, 3);
        // A folder that is a link, as `current -> releases/2`.
        symlink("releases/2", folder.path().join("current")).unwrap();
        let current = provider(&folder.path().join("current/app.db")).await;
        assert_eq!(EventJournal::open(current).await.unwrap().epoch().0, 4);
        assert_eq!(journals(folder.path()), ["shared/app.actors.db"]);
    }

    #[tokio::test]
    async fn a_journal_beside_a_link_is_refused_with_both_places() {
        let folder = tempfile::tempdir().unwrap();
        let link = release(folder.path(), 1);
        let beside = link.with_file_name("app.actors.db");
        let journal = folder.path().canonicalize().unwrap().join("shared/app.actors.db");
        // As earlier versions did.
        drop(SqliteActorProvider::open(&beside, Durability::ProcessCrash).unwrap());
        for both in [false, true] {
            if both {
                drop(SqliteActorProvider::open(&journal, Durability::ProcessCrash).unwrap());
            }
            let error = EventJournal::open(provider(&link).await).await.unwrap_err();
            let JournalError::BesideLink { both: said, .. } = &error else { panic!("{error:?}") };
            assert_eq!(*said, both);
            let text = error.to_string();
            for place in [&beside, &journal] {
                assert!(text.contains(place.to_str().unwrap()), "no {place:?} in: {text}");
            }
            assert!(text.contains("stop everything"), "{text}");
            assert_eq!(journal.exists(), both, "nothing is made");
        }
        // What the error says.
        std::fs::rename(&beside, &journal).unwrap();
        EventJournal::open(provider(&link).await).await.unwrap();
        // A link beside the link is no second journal.
        symlink(&journal, &beside).unwrap();
        EventJournal::open(provider(&link).await).await.unwrap();
    }

    #[tokio::test]
    async fn a_database_that_has_gone_is_told_and_nothing_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("app.db");
        let provider = provider(&file).await;
        std::fs::remove_file(&file).unwrap();
        let error = EventJournal::open(provider).await.unwrap_err();
        let JournalError::Store { source, .. } = &error else { panic!("{error:?}") };
        assert!(source.to_string().contains(file.to_str().unwrap()), "{source}");
        assert_eq!(journals(folder.path()), [""; 0]);
    }

    #[tokio::test]
    async fn the_files_get_the_permissions_of_the_database() {
        for mode in [0o600, 0o640, 0o660, 0o644, 0o666] {
            let folder = tempfile::tempdir().unwrap();
            let file = folder.path().join("app.db");
            let provider = provider(&file).await;
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).unwrap();
            let journal = EventJournal::open(provider).await.unwrap();
            for suffix in ["", "-wal", "-shm"] {
                let of = folder.path().join(format!("app.actors.db{suffix}"));
                let found = std::fs::metadata(of).unwrap().permissions().mode() & 0o777;
                assert_eq!(found, mode, "{found:o} of {suffix:?}, not {mode:o}");
            }
            drop(journal);
        }
    }

    /// SQLite makes the WAL beside the file that a link points to.
    #[tokio::test]
    async fn a_journal_that_is_a_link_itself_has_its_wal_where_sqlite_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let (link, file) = (folder.path().join("link.db"), folder.path().join("at/file.db"));
        std::fs::create_dir(folder.path().join("at")).unwrap();
        symlink("at/file.db", &link).unwrap();
        let store = SqliteActorProvider::open(&link, Durability::ProcessCrash).unwrap();
        assert_eq!(store.location(), file.canonicalize().unwrap().display().to_string());
        let wal = std::fs::metadata(folder.path().join("at/file.db-wal")).unwrap();
        assert!(wal.len() >= 24 << 20, "{} bytes", wal.len());
    }
}
