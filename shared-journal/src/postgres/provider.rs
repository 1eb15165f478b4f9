//! `ActorProvider` over a connection that writes and a pool that reads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use duroxide_pg::PostgresProvider;
use sqlx::postgres::PgRow;
use sqlx::{Error, PgPool, Row};

use super::connection::{Link, PATIENCE, prepare, version};
use super::error::{Failure, classify};
use super::horizon::Horizon;
use super::notifier::Notifier;
use super::pool::{Ask, Connections};
use super::rows::{actor_id, blob, head, optional, signed, stored_key, stored_record, unsigned};
use super::{pooler, sql};
use crate::cluster::ClusterStore;
use crate::engine::Retry;
use crate::error::JournalError;
use crate::group::{Append, Group};
use crate::id::{ActorNo, Epoch, MessageId, Position, Sequence, ShardId};
use crate::limits::Durability;
use crate::owner::Owner;
use crate::provider::{
    ActorKey, ActorProvider, CheckpointPart, ListedActor, RecordFilter, ShardHead, StoredCommit,
    StoredKey, StoredLetter, StoredRecord, Write,
};

/// For inboxes and replies. One more listens, and one notifies.
const LETTER_CONNECTIONS: usize = 3;
/// Of its own, so that no lease is lost because letters have all the others.
const LEASE_CONNECTIONS: usize = 1;
/// For the directory, and for histories and `verify` beside it.
const READ_CONNECTIONS: usize = 2;

/// How long a statement about leases may take. A lease is renewed when a third of it is over; what is left of
/// the usual 15 s is enough to wait for so long, to connect again, and to renew.
const LEASE_PATIENCE: Duration = Duration::from_secs(3);

/// How long opening is tried again after it failed: a server may be starting as well.
const OPEN_RETRY: Duration = Duration::from_secs(5);

/// A journal in a schema of a PostgreSQL database.
///
/// Usually made by [`EventJournal::open`](crate::EventJournal::open) from duroxide's provider.
///
/// `open_shard` and `write` block the thread that polls them, and panic inside a tokio runtime; the
/// other methods need one.
pub struct PostgresActorProvider {
    store: String,
    /// The version of the schema. One that is only read may be older than ours.
    version: u32,
    pub(super) schema: String,
    /// The statement of nearly every commit.
    append: String,
    writer: Mutex<Link>,
    horizon: Mutex<Horizon>,
    group: Group<bool>,
    reader: Connections,
    /// For inboxes and replies. Of their own, so that they do not keep duroxide's dispatchers
    /// from theirs.
    pub(super) letters: Connections,
    pub(super) leases: Connections,
    pub(super) notifier: Arc<Notifier>,
    /// The provider's, for the options of the connection that listens.
    pub(super) origin: PgPool,
}

impl std::fmt::Debug for PostgresActorProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresActorProvider").field("store", &self.store).finish_non_exhaustive()
    }
}

impl PostgresActorProvider {
    /// Opens or creates the journal in the schema of `provider`. Blocks; call it from a thread
    /// that may, such as one of `tokio::task::spawn_blocking`.
    ///
    /// # Errors
    /// The database cannot be reached, or only through a pooler that shares servers among sessions
    /// ([`JournalError::TransactionPooler`]); the role may not create tables in the schema, or the
    /// journal is of a newer version.
    pub fn open(
        provider: &PostgresProvider,
        durability: Durability,
    ) -> Result<Arc<Self>, JournalError> {
        let mut store = Self::new(provider, durability)?;
        let (schema, name) = (store.schema.clone(), store.store.clone());
        store.patiently(|writer| {
            pooler::refuse(writer, &name)?;
            prepare(writer, &schema, &name)
        })?;
        Ok(Arc::new(store))
    }

    /// The journal in the schema of `provider`, to be read beside its owner: nothing is made or
    /// migrated. None if there is no journal. Blocks as [`open`](Self::open) does.
    ///
    /// # Errors
    /// The database cannot be reached, the role may not read it, or the journal is of a newer version.
    pub fn open_to_read(provider: &PostgresProvider) -> Result<Option<Arc<Self>>, JournalError> {
        let mut store = Self::new(provider, Durability::PowerLoss)?;
        let (schema, name) = (store.schema.clone(), store.store.clone());
        store.version = store.patiently(|writer| {
            pooler::refuse(writer, &name)?;
            version(writer, &schema, &name)
        })?;
        Ok((store.version > 0).then(|| Arc::new(store)))
    }

    fn new(provider: &PostgresProvider, durability: Durability) -> Result<Self, JournalError> {
        let (pool, schema) = (provider.pool().clone(), provider.schema_name());
        let options = pool.connect_options();
        let database = options.get_database().unwrap_or_else(|| options.get_username());
        let store = format!(
            "postgres://{}:{}/{database}, schema {schema}",
            options.get_host(),
            options.get_port()
        );
        let writer = Link::new(pool.clone(), durability)
            .map_err(|error| classify(&store, "connect", Error::Io(error)))?;
        let connections =
            |name, most, patience| Connections::new(pool.clone(), name, most, patience, durability);
        // Notifications are the database's, so the schema is in the name of their channel, which is short.
        let channel = format!("actors_{:08x}", crc32fast::hash(schema.as_bytes()));
        Ok(Self {
            version: sql::VERSION,
            schema: schema.to_owned(),
            append: sql::APPEND.replace("{schema}", schema),
            writer: Mutex::new(writer),
            horizon: Mutex::default(),
            group: Group::default(),
            letters: connections("journal letters", LETTER_CONNECTIONS, PATIENCE),
            leases: connections("journal leases", LEASE_CONNECTIONS, LEASE_PATIENCE),
            notifier: Notifier::new(pool.clone(), channel),
            reader: connections("journal reader", READ_CONNECTIONS, PATIENCE),
            origin: pool,
            store,
        })
    }

    fn patiently<T>(
        &mut self,
        mut open: impl FnMut(&mut Link) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let writer = self.writer.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut retry = Retry::new(OPEN_RETRY);
        loop {
            match open(writer) {
                Err(error) if error.is_retryable() => match retry.again() {
                    Some(pause) => std::thread::sleep(pause),
                    None => return Err(error),
                },
                opened => return opened,
            }
        }
    }

    fn writer(&self) -> MutexGuard<'_, Link> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sql(&self, statement: &str) -> String {
        statement.replace("{schema}", &self.schema)
    }

    pub(super) fn fail(&self, operation: &'static str) -> impl Fn(Failure) -> JournalError {
        move |failure| classify(&self.store, operation, failure)
    }

    /// One statement for a commit without a checkpoint: whether it was appended.
    fn append(&self, append: &Append<&[u8]>) -> Result<bool, Failure> {
        self.writer().run(async |connection| {
            let done = sqlx::query(&self.append)
                .bind(i64::from(append.shard.0))
                .bind(signed(append.epoch.0))
                .bind(signed(append.position.0))
                .bind(append.batch)
                .execute(connection)
                .await?;
            Ok(done.rows_affected() > 0)
        })
    }

    /// One statement for commits of several shards: which were appended.
    fn append_all(&self, appends: &[&Append<Vec<u8>>]) -> Result<Vec<bool>, Failure> {
        let statement = self.sql(sql::APPEND_ALL);
        let appended = self.writer().run(async |connection| {
            let appended = sqlx::query_scalar::<_, i64>(&statement)
                .bind(appends.iter().map(|it| i64::from(it.shard.0)).collect::<Vec<_>>())
                .bind(appends.iter().map(|it| signed(it.epoch.0)).collect::<Vec<_>>())
                .bind(appends.iter().map(|it| signed(it.position.0)).collect::<Vec<_>>())
                .bind(appends.iter().map(|it| it.batch.as_slice()).collect::<Vec<_>>())
                .fetch_all(connection)
                .await?;
            Ok(appended)
        })?;
        Ok(appends.iter().map(|it| appended.contains(&i64::from(it.shard.0))).collect())
    }

    /// One statement for everything: whether the shard is ours, and how many rows it appended.
    fn save(&self, write: &Write<'_>, part: &CheckpointPart) -> Result<(bool, u64), Failure> {
        let statement = self.sql(sql::SAVE_PART);
        let (records, letters) = (&part.records, &part.letters);
        let (removed, keys) = (&part.removed_letters, &part.keys);
        let mut writer = self.writer();
        let saved = writer.run(async |connection| {
            let done = sqlx::query(&statement)
                .bind(i64::from(write.shard.0))
                .bind(signed(write.epoch.0))
                .bind(write.append.map(|(position, _)| signed(position.0)))
                .bind(write.append.map(|(_, batch)| batch))
                .bind(records.iter().map(|it| signed(it.no.0)).collect::<Vec<_>>())
                .bind(records.iter().map(|it| it.actor.actor_type()).collect::<Vec<_>>())
                .bind(records.iter().map(|it| it.actor.id()).collect::<Vec<_>>())
                .bind(records.iter().map(|it| signed(it.pending)).collect::<Vec<_>>())
                .bind(records.iter().map(|it| signed(it.dead_letters)).collect::<Vec<_>>())
                .bind(records.iter().map(|it| it.bytes.as_slice()).collect::<Vec<_>>())
                .bind(part.checkpoint.map(|checkpoint| signed(checkpoint.0)))
                .bind(part.truncate_before.map(|before| signed(before.0)))
                .bind(letters.iter().map(|it| signed(it.no.0)).collect::<Vec<_>>())
                .bind(letters.iter().map(|it| signed(it.sequence.0)).collect::<Vec<_>>())
                .bind(letters.iter().map(|it| it.bytes.as_slice()).collect::<Vec<_>>())
                .bind(removed.iter().map(|(no, _)| signed(no.0)).collect::<Vec<_>>())
                .bind(removed.iter().map(|(_, it)| signed(it.0)).collect::<Vec<_>>())
                .bind(keys.iter().map(|it| signed(it.no.0)).collect::<Vec<_>>())
                .bind(keys.iter().map(|it| blob(it.id)).collect::<Vec<_>>())
                .bind(keys.iter().map(|it| signed(it.at_ms)).collect::<Vec<_>>())
                .bind(keys.iter().map(|it| it.bytes.as_slice()).collect::<Vec<_>>())
                .bind(part.keys_of.map(|no| signed(no.0)))
                .bind(part.keys_before.map(signed))
                .bind(records.iter().map(|it| it.due_ms.map(signed)).collect::<Vec<_>>())
                .fetch_one(connection)
                .await?;
            Ok((done.try_get::<i64, _>(0)? > 0, unsigned(&done, 1)?))
        });
        if saved.is_ok() {
            let mut horizon = self.horizon.lock().unwrap_or_else(PoisonError::into_inner);
            horizon.look(&mut writer, &self.store);
        }
        saved
    }

    /// Nothing was appended: an earlier attempt of ours was, or a newer owner exists.
    fn examine(
        &self,
        write: &Write<'_>,
        (position, batch): (Position, &[u8]),
    ) -> Result<(), JournalError> {
        let statement = self.sql(sql::EXAMINE);
        let found = self.writer().run(async |connection| {
            let found = sqlx::query(&statement)
                .bind(i64::from(write.shard.0))
                .bind(signed(position.0))
                .fetch_one(connection)
                .await?;
            Ok((found.try_get::<Option<i64>, _>(0)?, found.try_get::<Option<Vec<u8>>, _>(1)?))
        });
        let (epoch, stored) = found.map_err(self.fail("commit"))?;
        if epoch == Some(signed(write.epoch.0)) && stored.as_deref() == Some(batch) {
            return Ok(());
        }
        Err(fenced(write))
    }
}

#[async_trait]
impl ActorProvider for PostgresActorProvider {
    fn location(&self) -> String {
        self.store.clone()
    }

    fn cluster(self: Arc<Self>) -> Option<Arc<dyn ClusterStore>> {
        Some(self)
    }

    async fn open_shard(&self, shard: ShardId) -> Result<ShardHead, JournalError> {
        let (bump, head) = (self.sql(sql::BUMP_EPOCH), self.sql(sql::HEAD));
        let (shard, process) = (i64::from(shard.0), Owner::this_process());
        let opened = self.writer().run(async |connection| {
            let owner = sqlx::query(&bump)
                .bind(shard)
                .bind(&process.host)
                .bind(i64::from(process.pid))
                .bind(&process.program)
                .bind(signed(process.opened_ms))
                .fetch_one(&mut *connection)
                .await?;
            // A statement of its own: it sees what the owner before was still writing.
            let head = sqlx::query(&head).bind(shard).fetch_one(connection).await?;
            self::head(&head, Epoch(unsigned(&owner, 0)?), Position(unsigned(&owner, 1)?))
        });
        opened.map_err(self.fail("open shard"))
    }

    async fn read_head(&self, shard: ShardId) -> Result<Option<ShardHead>, JournalError> {
        let row = sqlx::query(&self.sql(sql::READ_HEAD))
            .bind(i64::from(shard.0))
            .row_from(&self.reader)
            .await;
        let head = |row: PgRow| head(&row, Epoch(unsigned(&row, 4)?), Position(unsigned(&row, 5)?));
        row.and_then(|row| row.map(head).transpose()).map_err(self.fail("read a shard's head"))
    }

    async fn owner(&self, shard: ShardId) -> Result<Option<Owner>, JournalError> {
        let row = sqlx::query(&self.sql(sql::OWNER))
            .bind(i64::from(shard.0))
            .row_from(&self.reader)
            .await;
        let owner = |row: PgRow| {
            Ok(Owner {
                host: row.try_get(0)?,
                pid: u32::try_from(unsigned(&row, 1)?).unwrap_or(u32::MAX),
                program: row.try_get(2)?,
                opened_ms: unsigned(&row, 3)?,
            })
        };
        match row {
            // A journal of an earlier version that is only read has no such table.
            Err(Failure::Asked(Error::Database(error)))
                if error.code().is_some_and(|code| code == "42P01") =>
            {
                Ok(None)
            }
            row => row
                .and_then(|row| row.map(owner).transpose())
                .map_err(self.fail("read a shard's owner")),
        }
    }

    async fn write(&self, write: &Write<'_>) -> Result<(), JournalError> {
        let fail = self.fail("commit");
        match (write.append, write.checkpoint) {
            (None, None) => Ok(()),
            (Some(append), None) => {
                let appended = self.group.append(
                    &Append::of(write, append),
                    |append| self.append(append),
                    |appends| self.append_all(appends),
                );
                if appended.map_err(fail)? { Ok(()) } else { self.examine(write, append) }
            }
            (append, Some(part)) => match (self.save(write, part).map_err(fail)?, append) {
                ((false, _), _) => Err(fenced(write)),
                // The checkpoint's part was saved with it, this time or the last.
                ((true, 0), Some(append)) => self.examine(write, append),
                ((true, _), _) => Ok(()),
            },
        }
    }

    async fn read_commits(
        &self,
        shard: ShardId,
        from: Position,
        max_bytes: usize,
    ) -> Result<Vec<StoredCommit>, JournalError> {
        let rows = sqlx::query(&self.sql(sql::READ_COMMITS))
            .bind(i64::from(shard.0))
            .bind(signed(from.0))
            .bind(i64::try_from(max_bytes).unwrap_or(i64::MAX))
            .rows_from(&self.reader)
            .await;
        let commit = |row: &PgRow| {
            Ok(StoredCommit { position: Position(unsigned(row, 0)?), bytes: row.try_get(1)? })
        };
        rows.and_then(|rows| rows.iter().map(commit).collect()).map_err(self.fail("read the log"))
    }

    async fn load_record(
        &self,
        shard: ShardId,
        actor: ActorKey<'_>,
    ) -> Result<Option<StoredRecord>, JournalError> {
        let statement = self.sql(&match actor {
            ActorKey::Name(_) => sql::load_by_name(self.version),
            ActorKey::No(_) => sql::load_by_no(self.version),
        });
        let query = sqlx::query(&statement).bind(i64::from(shard.0));
        let query = match actor {
            ActorKey::Name(name) => query.bind(name.actor_type()).bind(name.id()),
            ActorKey::No(no) => query.bind(signed(no.0)),
        };
        let row = query.row_from(&self.reader).await;
        row.and_then(|row| row.as_ref().map(stored_record).transpose())
            .map_err(self.fail("load an actor"))
    }

    async fn list_records(
        &self,
        shard: ShardId,
        filter: RecordFilter,
        after: ActorNo,
        limit: usize,
    ) -> Result<Vec<ListedActor>, JournalError> {
        let condition = match filter {
            RecordFilter::All => "true",
            RecordFilter::Pending => "pending > 0",
            RecordFilter::DeadLetters => "dead_letters > 0",
            RecordFilter::Timers if self.version < sql::TIMERS_SINCE => return Ok(Vec::new()),
            RecordFilter::Timers => "due IS NOT NULL",
        };
        let statement = self.sql(&sql::list_records(self.version, condition));
        let rows = sqlx::query(&statement)
            .bind(i64::from(shard.0))
            .bind(signed(after.0))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .rows_from(&self.reader)
            .await;
        let listed = |row: &PgRow| {
            let (no, due_ms) = (ActorNo(unsigned(row, 0)?), optional(row, 3)?);
            Ok(ListedActor { no, actor: actor_id(row)?, due_ms })
        };
        rows.and_then(|rows| rows.iter().map(listed).collect()).map_err(self.fail("list actors"))
    }

    async fn load_letters(
        &self,
        shard: ShardId,
        no: ActorNo,
        after: Sequence,
        max_bytes: usize,
    ) -> Result<Vec<StoredLetter>, JournalError> {
        if self.version < sql::LETTERS_SINCE {
            return Ok(Vec::new());
        }
        let rows = sqlx::query(&self.sql(sql::LOAD_LETTERS))
            .bind(i64::from(shard.0))
            .bind(signed(no.0))
            .bind(signed(after.0))
            .bind(i64::try_from(max_bytes).unwrap_or(i64::MAX))
            .rows_from(&self.reader)
            .await;
        let letter = |row: &PgRow| {
            let sequence = Sequence(unsigned(row, 0)?);
            Ok(StoredLetter { no, sequence, bytes: row.try_get(1)? })
        };
        rows.and_then(|rows| rows.iter().map(letter).collect())
            .map_err(self.fail("load dead letters"))
    }

    async fn load_keys(
        &self,
        shard: ShardId,
        no: ActorNo,
        ids: &[MessageId],
    ) -> Result<Vec<StoredKey>, JournalError> {
        if self.version < sql::KEYS_SINCE {
            return Ok(Vec::new());
        }
        let rows = sqlx::query(&self.sql(sql::LOAD_KEYS))
            .bind(i64::from(shard.0))
            .bind(signed(no.0))
            .bind(ids.iter().map(|id| blob(*id)).collect::<Vec<_>>())
            .rows_from(&self.reader)
            .await;
        rows.and_then(|rows| rows.iter().map(|row| stored_key(no, row)).collect())
            .map_err(self.fail("load keys"))
    }

    async fn list_keys(
        &self,
        shard: ShardId,
        no: ActorNo,
        after: Option<MessageId>,
        limit: usize,
    ) -> Result<Vec<StoredKey>, JournalError> {
        if self.version < sql::KEYS_SINCE {
            return Ok(Vec::new());
        }
        let rows = sqlx::query(&self.sql(sql::LIST_KEYS))
            .bind(i64::from(shard.0))
            .bind(signed(no.0))
            .bind(after.map_or_else(Vec::new, blob))
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .rows_from(&self.reader)
            .await;
        rows.and_then(|rows| rows.iter().map(|row| stored_key(no, row)).collect())
            .map_err(self.fail("list keys"))
    }

    /// PostgreSQL checks its own pages (`data_checksums`); there is nothing to ask it here.
    async fn check(&self) -> Result<Vec<String>, JournalError> {
        Ok(Vec::new())
    }
}

fn fenced(write: &Write<'_>) -> JournalError {
    JournalError::Fenced { shard: write.shard, epoch: write.epoch, by: None }
}
