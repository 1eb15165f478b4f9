//! A journal stays where it is when the process goes elsewhere. A process of its own: the working
//! directory is that of all threads.

use std::sync::Arc;

use duroxide::providers::sqlite::SqliteProvider;
use shared_journal::EventJournal;

#[tokio::test]
async fn a_relative_path_is_that_of_the_moment_of_opening() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    std::env::set_current_dir(first.path()).unwrap();
    let provider = Arc::new(SqliteProvider::new("sqlite:app.db?mode=rwc", None).await.unwrap());
    let journal = EventJournal::open(provider.clone()).await.unwrap();
    std::env::set_current_dir(second.path()).unwrap();
    // So that only the right file is clean.
    let file = first.path().canonicalize().unwrap().join("app.actors.db");
    assert_eq!(journal.location(), file.display().to_string());
    assert!(journal.verify().await.unwrap().is_clean());
    let made: Vec<_> = std::fs::read_dir(second.path()).unwrap().map(Result::unwrap).collect();
    assert!(made.is_empty(), "{made:?}");
    // Of what is not there nothing is made.
    drop(journal);
    let error = EventJournal::open(provider).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("working directory"), "{source}");
    assert_eq!(std::fs::read_dir(second.path()).unwrap().count(), 0);
}
