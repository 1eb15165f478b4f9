//! Files of every earlier version, and files that are something else.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rusqlite::{Connection, params};

use super::SqliteActorProvider;
use super::provider::key;
use super::sql::{APPLICATION_ID, MIGRATIONS};
use crate::cluster::ClusterStore;
use crate::engine::{From, Scan};
use crate::envelope::{CommitHeader, encode_commit};
use crate::error::JournalError;
use crate::id::{ActorNo, Epoch, Position, Sequence, ShardId};
use crate::limits::Durability;
use crate::provider::{ActorKey, ActorProvider, RecordFilter, StoredCommit};

/// What a file of any version has in it.
#[derive(Debug, Clone)]
struct Content {
    /// Epoch, first position and batches of each shard.
    shards: Vec<(u64, u64, Vec<Vec<u8>>)>,
    /// Of shard 0.
    records: Vec<(String, u8, Vec<u8>)>,
}

fn content() -> impl Strategy<Value = Content> {
    let blob = || prop::collection::vec(any::<u8>(), 0..600);
    let shard = (1..1_u64 << 40, 1..1_u64 << 40, prop::collection::vec(blob(), 0..12));
    let record = ("[a-z]{1,9}", any::<u8>(), blob());
    (prop::collection::vec(shard, 0..4), prop::collection::vec(record, 0..12))
        .prop_map(|(shards, records)| Content { shards, records })
}

/// A file as the first `version` migrations and their owners left it.
fn write(path: &Path, version: usize, content: &Content) {
    let file = Connection::open(path).unwrap();
    for migration in &MIGRATIONS[..version] {
        file.execute_batch(migration).unwrap();
    }
    file.pragma_update(None, "user_version", version).unwrap();
    file.pragma_update(None, "application_id", APPLICATION_ID).unwrap();
    for (shard, (epoch, first, batches)) in (0..).map(ShardId).zip(&content.shards) {
        let row = params![shard.0, epoch, first - 1];
        file.execute("INSERT INTO journal_shard VALUES (?, ?, ?)", row).unwrap();
        for (position, batch) in (*first..).zip(batches) {
            let row = params![key(shard, position), batch];
            file.execute("INSERT INTO journal_log (key, batch) VALUES (?, ?)", row).unwrap();
        }
    }
    for (no, (name, pending, record)) in (1_u64..).zip(&content.records) {
        let row = params![key(ShardId(0), no), 0, name, no.to_string(), pending, 0, record];
        let insert = "INSERT INTO journal_record
            (key, shard, actor_type, actor_id, pending, dead_letters, record)
            VALUES (?, ?, ?, ?, ?, ?, ?)";
        file.execute(insert, row).unwrap();
    }
}

fn open(path: &Path) -> Result<std::sync::Arc<SqliteActorProvider>, JournalError> {
    SqliteActorProvider::open(path, Durability::ProcessCrash)
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.actors.db");
    (folder, path)
}

fn user_version(path: &Path) -> i32 {
    let file = Connection::open(path).unwrap();
    file.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap()
}

/// Reads all there is, as an owner and a node would. The commits that pass as whole.
fn use_all(path: &Path) -> Result<Vec<StoredCommit>, JournalError> {
    let store = open(path)?;
    pollster::block_on(async {
        store.open_shard(ShardId(0)).await?;
        let mut scan = Scan::new(store.clone(), ShardId(0), From::Oldest);
        let mut whole = Vec::new();
        loop {
            let commits = scan.read().await?;
            if commits.is_empty() {
                break;
            }
            for commit in commits {
                scan.check(&commit)?;
                whole.push(commit);
            }
        }
        let all = [RecordFilter::All, RecordFilter::Pending];
        for filter in all.into_iter().chain([RecordFilter::DeadLetters, RecordFilter::Timers]) {
            for listed in store.list_records(ShardId(0), filter, ActorNo(0), 100).await? {
                store.load_record(ShardId(0), ActorKey::No(listed.no)).await?;
                store.load_record(ShardId(0), ActorKey::Name(&listed.actor)).await?;
            }
        }
        store.check().await?;
        store.leases().await?;
        Ok(whole)
    })
}

/// Whatever it is, it is said of which file.
fn named(error: &JournalError, path: &Path) {
    assert!(error.to_string().contains(&path.display().to_string()), "{error:?}");
    assert!(!error.is_retryable(), "{error:?}");
}

/// Somebody with a newer program looks at the journal of an older one.
#[tokio::test]
async fn an_earlier_version_is_read_beside_its_owner() {
    for version in 1..=MIGRATIONS.len() {
        let (_folder, path) = folder();
        let records = vec![("t".to_owned(), 1, vec![9; 200])];
        write(&path, version, &Content { shards: vec![(1, 1, vec![vec![7]])], records });
        let store = SqliteActorProvider::open_to_read(&path).unwrap().expect("there is one");
        let (shard, no) = (ShardId(0), ActorNo(1));
        assert!(store.read_head(shard).await.unwrap().is_some());
        assert!(store.owner(shard).await.unwrap().is_none());
        assert!(store.load_record(shard, ActorKey::No(no)).await.unwrap().is_some());
        let timers = store.list_records(shard, RecordFilter::Timers, ActorNo(0), 100).await;
        assert_eq!(timers.unwrap(), []);
        assert_eq!(store.load_letters(shard, no, Sequence(0), 100).await.unwrap(), []);
        assert_eq!(store.load_keys(shard, no, &[1.into()]).await.unwrap(), []);
        assert_eq!(store.list_keys(shard, no, None, 100).await.unwrap(), []);
        assert_eq!(user_version(&path) as usize, version, "it stays as it is");
    }
}

proptest! {
    // Every journal that is opened gets a WAL of its full length.
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn every_earlier_version_is_migrated_with_all_that_is_in_it(content in content()) {
        for version in 0..=MIGRATIONS.len() {
            let (_folder, path) = folder();
            if version > 0 {
                write(&path, version, &content);
            }
            let content = if version > 0 {
                content.clone()
            } else {
                Content { shards: Vec::new(), records: Vec::new() }
            };
            let store = open(&path).unwrap();
            prop_assert_eq!(user_version(&path) as usize, MIGRATIONS.len());
            for (shard, (epoch, first, batches)) in (0..).map(ShardId).zip(&content.shards) {
                let commits =
                    pollster::block_on(store.read_commits(shard, Position(1), usize::MAX)).unwrap();
                let stored = (*first..).map(Position).zip(batches.clone());
                let stored = stored.map(|(position, bytes)| StoredCommit { position, bytes });
                prop_assert_eq!(&commits, &stored.collect::<Vec<_>>());
                let head = pollster::block_on(store.open_shard(shard)).unwrap();
                prop_assert_eq!(head.epoch, Epoch(epoch + 1));
                prop_assert_eq!(head.checkpoint, Position(first - 1));
                prop_assert_eq!(head.oldest, commits.first().map(|commit| commit.position));
                prop_assert_eq!(head.tail.0, first - 1 + batches.len() as u64);
            }
            for (no, (name, pending, bytes)) in (1..).map(ActorNo).zip(&content.records) {
                let record = store.load_record(ShardId(0), ActorKey::No(no));
                let record = pollster::block_on(record).unwrap().unwrap();
                prop_assert_eq!(record.actor.actor_type(), name);
                prop_assert_eq!((record.pending, &record.bytes), (u64::from(*pending), bytes));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A version that was never written, or tables that are not those of the version: nothing of a
    /// migration stays, unless all of it does.
    #[test]
    fn a_schema_that_is_not_what_its_version_says_is_an_error_that_names_the_file(
        content in content(),
        version in 1..=MIGRATIONS.len(),
        claimed in prop_oneof![3 => Just(None), 1 => any::<i32>().prop_map(Some), 2 => (-3..5).prop_map(Some)],
        loss in prop_oneof![Just(0), 0..5_usize],
    ) {
        let claimed = claimed.unwrap_or(version as i32);
        let (_folder, path) = folder();
        write(&path, version, &content);
        let file = Connection::open(&path).unwrap();
        let statement = [
            "DROP TABLE journal_shard",
            "DROP TABLE journal_log",
            "ALTER TABLE journal_record RENAME COLUMN record TO recorded",
            "ALTER TABLE journal_shard DROP COLUMN checkpoint",
            "",
        ][loss];
        file.execute_batch(statement).unwrap();
        file.pragma_update(None, "user_version", claimed).unwrap();
        let schema = || -> Vec<(String, String)> {
            let mut rows =
                file.prepare("SELECT name, coalesce(sql, '') FROM sqlite_master").unwrap();
            let rows = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            rows.map(Result::unwrap).collect()
        };
        let before = schema();
        match open(&path) {
            Ok(_) => {
                // What is missing is found by who needs it.
                prop_assert!((version..=MIGRATIONS.len()).contains(&(claimed as usize)));
                prop_assert_eq!(user_version(&path) as usize, MIGRATIONS.len());
            }
            Err(error) => {
                named(&error, &path);
                prop_assert_eq!(&before, &schema());
                prop_assert_eq!(user_version(&path), claimed);
            }
        }
        if let Err(error) = use_all(&path) {
            let bad_commit = matches!(error, JournalError::Corrupt { .. });
            prop_assert!(bad_commit || !statement.is_empty() || claimed != version as i32);
            named(&error, &path);
        }
    }

    #[test]
    fn a_file_of_someone_else_stays_as_it_is(
        application in prop_oneof![Just(0), any::<i32>()],
        version in any::<i32>(),
        tables in 0..3_usize,
        wal in any::<bool>(),
    ) {
        prop_assume!(application != APPLICATION_ID && (application, version, tables) != (0, 0, 0));
        let (folder, path) = folder();
        let file = Connection::open(&path).unwrap();
        if wal {
            file.pragma_update(None, "journal_mode", "WAL").unwrap();
        }
        file.pragma_update(None, "application_id", application).unwrap();
        file.pragma_update(None, "user_version", version).unwrap();
        for table in 0..tables {
            file.execute_batch(&format!("CREATE TABLE t{table} (n); INSERT INTO t{table} VALUES (1)"))
                .unwrap();
        }
        // Either the process of its owner is there, or it was killed.
        let other = folder.path().join("killed.db");
        // The shared memory file is made anew.
        for suffix in ["", "-wal"] {
            let from = folder.path().join(format!("app.actors.db{suffix}"));
            if from.exists() {
                std::fs::copy(from, folder.path().join(format!("killed.db{suffix}"))).unwrap();
            }
        }
        for path in [&path, &other] {
            let wal = PathBuf::from(format!("{}-wal", path.display()));
            let before = (std::fs::read(path).unwrap(), std::fs::read(&wal).ok());
            let error = open(path).unwrap_err();
            prop_assert!(matches!(error, JournalError::NotAJournal { .. }), "{error:?}");
            named(&error, path);
            prop_assert_eq!((std::fs::read(path).unwrap(), std::fs::read(&wal).ok()), before);
        }
    }

    #[test]
    fn a_file_that_is_no_database_stays_as_it_is(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 1..20_000),
            (1..9000_usize).prop_map(|length| vec![0; length]),
            prop::collection::vec(any::<u8>(), 0..200)
                .prop_map(|rest| [b"SQLite format 3\0", rest.as_slice()].concat()),
        ],
    ) {
        let (_folder, path) = folder();
        std::fs::write(&path, &bytes).unwrap();
        let error = open(&path).unwrap_err();
        named(&error, &path);
        prop_assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }

    /// What passes as a commit is one that was written there; all else is an error.
    #[test]
    fn a_damaged_file_gives_what_was_written_or_an_error_that_names_it(
        sizes in prop::collection::vec(0..3000_usize, 1..30),
        place in any::<usize>(),
        noise in prop::collection::vec(any::<u8>(), 1..300),
        cut in prop::option::weighted(0.3, any::<usize>()),
    ) {
        let (_folder, path) = folder();
        let batches: Vec<_> = (1..).zip(&sizes).map(|(position, size)| {
            let header = CommitHeader {
                shard: ShardId(0),
                position: Position(position),
                epoch: Epoch(1),
                at_ms: 0,
                entries: 0,
                clock_ms: 0,
            };
            let mut row = Vec::new();
            encode_commit(&header, &vec![7; *size], &mut row).unwrap();
            row
        }).collect();
        let records = vec![("t".to_owned(), 1, vec![9; 200]); 20];
        write(&path, MIGRATIONS.len(), &Content { shards: vec![(1, 1, batches.clone())], records });
        let mut bytes = std::fs::read(&path).unwrap();
        let place = place % bytes.len();
        for (byte, noise) in bytes[place..].iter_mut().zip(noise) {
            *byte = noise;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut % bytes.len());
        }
        std::fs::write(&path, &bytes).unwrap();
        match use_all(&path) {
            Ok(whole) => for commit in whole {
                let index = usize::try_from(commit.position.0 - 1).unwrap();
                prop_assert_eq!(Some(&commit.bytes), batches.get(index));
            },
            Err(error) => named(&error, &path),
        }
    }
}
