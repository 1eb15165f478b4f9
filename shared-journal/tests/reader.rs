//! Looking at a journal from its duroxide provider: nothing is made, and nobody is fenced.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::Path;
use std::sync::Arc;

use duroxide::providers::Provider;
use duroxide::providers::sqlite::SqliteProvider;
use shared_journal::portable::PortableActorProvider;
use shared_journal::sqlite::SqliteActorProvider;
use shared_journal::{
    ActorProvider, Durability, EventJournal, JournalError, JournalReader, ShardId,
};

async fn provider(folder: &Path) -> Arc<dyn Provider> {
    let url = format!("sqlite:{}?mode=rwc", folder.join("app.db").display());
    Arc::new(SqliteProvider::new(&url, None).await.unwrap())
}

fn files(folder: &Path) -> Vec<String> {
    let names = std::fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.contains("actors"));
    names.sort();
    names
}

#[tokio::test]
async fn a_store_without_a_journal_stays_without() {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(folder.path()).await;
    let error = JournalReader::open(provider.clone()).await.unwrap_err();
    assert!(matches!(error, JournalError::NoJournal { .. }), "{error:?}");
    assert_eq!(files(folder.path()), [""; 0]);
    let memory: Arc<dyn Provider> = Arc::new(SqliteProvider::new_in_memory().await.unwrap());
    let error = JournalReader::open(memory.clone()).await.unwrap_err();
    assert!(matches!(error, JournalError::NoJournal { .. }), "{error:?}");
    let owner = EventJournal::open(memory.clone()).await.unwrap();
    let view = JournalReader::open(memory).await.unwrap().view().await.unwrap();
    assert_eq!((view.epoch(), owner.epoch().0), (owner.epoch(), 1));
    // In duroxide's history.
    let rows = || {
        let file = rusqlite::Connection::open(folder.path().join("app.db")).unwrap();
        file.query_row("SELECT count(*) FROM history", [], |row| row.get::<_, u64>(0)).unwrap()
    };
    let before = rows();
    let reader = JournalReader::open_on(PortableActorProvider::new(provider.clone()));
    let error = reader.view().await.unwrap_err();
    assert!(matches!(error, JournalError::NoJournal { .. }), "{error:?}");
    assert_eq!(reader.owner().await.unwrap(), None);
    assert_eq!(rows(), before);
}

#[tokio::test]
async fn what_is_read_does_not_change_a_byte_and_can_not_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(folder.path()).await;
    let journal = EventJournal::open(provider.clone()).await.unwrap();
    journal.close().await.unwrap();
    drop(journal);
    let path = folder.path().join("app.actors.db");
    // The journal's threads close the file.
    while folder.path().join("app.actors.db-wal").exists() {
        tokio::task::yield_now().await;
    }
    let before = std::fs::read(&path).unwrap();
    let reader = JournalReader::open(provider.clone()).await.unwrap();
    assert_eq!(reader.view().await.unwrap().epoch().0, 1);
    assert!(reader.verify().await.unwrap().is_clean());
    drop(reader);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    let store = SqliteActorProvider::open_to_read(&path).unwrap().unwrap();
    let error = store.open_shard(ShardId(0)).await.unwrap_err();
    assert!(!error.is_retryable(), "{error:?}");
    drop(store);
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(EventJournal::open(provider).await.unwrap().epoch().0, 2);
}

#[tokio::test]
async fn a_file_of_an_earlier_version_is_read_and_one_of_a_later_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let provider = provider(folder.path()).await;
    drop(EventJournal::open(provider.clone()).await.unwrap());
    let path = folder.path().join("app.actors.db");
    let file = rusqlite::Connection::open(&path).unwrap();
    // As version 2 left it.
    file.execute_batch("DROP TABLE journal_owner; PRAGMA user_version = 2").unwrap();
    let reader = JournalReader::open(provider.clone()).await.unwrap();
    assert_eq!(reader.view().await.unwrap().epoch().0, 1);
    assert_eq!(reader.owner().await.unwrap(), None);
    let version = |file: &rusqlite::Connection| {
        file.pragma_query_value(None, "user_version", |row| row.get::<_, u32>(0)).unwrap()
    };
    assert_eq!(version(&file), 2, "not migrated");
    file.pragma_update(None, "user_version", 99).unwrap();
    let error = JournalReader::open(provider).await.unwrap_err();
    assert!(matches!(error, JournalError::SchemaVersion { found: 99, .. }), "{error:?}");
}

#[tokio::test]
async fn a_fenced_owner_learns_who_the_newer_one_is() {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = || {
        let path = folder.path().join("a.db");
        SqliteActorProvider::open(path, Durability::ProcessCrash).unwrap() as Arc<dyn ActorProvider>
    };
    let duroxide = provider(folder.path()).await;
    let portable = || PortableActorProvider::new(duroxide.clone()) as Arc<dyn ActorProvider>;
    let stores: [&dyn Fn() -> Arc<dyn ActorProvider>; 2] = [&sqlite, &portable];
    for open in stores {
        let first = EventJournal::builder().open_on(open()).await.unwrap();
        let _second = EventJournal::builder().open_on(open()).await.unwrap();
        first.checkpoint().await.unwrap_err();
        let stopped = first.stopped().unwrap();
        let JournalError::Stopped { source } = &*stopped else { panic!("{stopped:?}") };
        let JournalError::Fenced { by: Some(by), .. } = &**source else { panic!("{source:?}") };
        assert_eq!(by.pid, std::process::id());
        let text = stopped.to_string();
        for word in [&by.host, &by.pid.to_string(), &by.program] {
            assert!(text.contains(word.as_str()), "no {word:?} in: {text}");
        }
        let reader = JournalReader::open_on(open());
        assert_eq!(reader.owner().await.unwrap().as_ref(), Some(&**by));
    }
}
