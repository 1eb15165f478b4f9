//! `ActorProvider` over two SQLite connections: one writes, one reads.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::connection::{Location, prepare, version};
use super::error::classify;
use super::keeper::Keeper;
use super::network::{Mount, mount_of};
use super::{sql, wal};
use crate::cluster::ClusterStore;
use crate::error::JournalError;
use crate::group::{Append, Group};
use crate::id::{ActorId, ActorNo, Epoch, MessageId, Position, Sequence, ShardId};
use crate::limits::Durability;
use crate::owner::Owner;
use crate::provider::{
    ActorKey, ActorProvider, CheckpointPart, ListedActor, RecordFilter, ShardHead, StoredCommit,
    StoredKey, StoredLetter, StoredRecord, Write,
};

/// How long opening is tried again while another process is opening the same file.
const OPEN_RETRY: Duration = Duration::from_secs(5);

/// So many idempotency keys are deleted in one statement.
const KEYS_AT_ONCE: i64 = 4096;

/// A journal in a SQLite database.
///
/// Usually made by [`EventJournal::open`](crate::EventJournal::open) from duroxide's provider;
/// made directly only where there is none.
pub struct SqliteActorProvider {
    location: Location,
    /// The keeper of the WAL borrows it.
    writer: Arc<Mutex<Connection>>,
    keeper: Option<Arc<Keeper>>,
    group: Group<Ownership>,
    reader: Mutex<Connection>,
    /// The version of the schema. One that is only read may be older than ours.
    version: u32,
}

impl std::fmt::Debug for SqliteActorProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteActorProvider")
            .field("location", &self.location)
            .finish_non_exhaustive()
    }
}

impl SqliteActorProvider {
    /// Opens or creates the journal at `path`.
    ///
    /// On a network file system it only warns: this is how a journal is opened there by somebody who
    /// knows that no other machine has it.
    ///
    /// # Errors
    /// The path cannot be written, the file is not a journal, or it is of a newer version.
    pub fn open(path: impl AsRef<Path>, durability: Durability) -> Result<Arc<Self>, JournalError> {
        Self::connect(Location::file(path.as_ref())?, durability).map(Arc::new)
    }

    /// The journal at `path`, to be read beside its owner: nothing is made or migrated, and writing is
    /// an error. None if there is no journal.
    ///
    /// # Errors
    /// The file cannot be read, is not a journal, or it is of a newer version.
    pub fn open_to_read(path: impl AsRef<Path>) -> Result<Option<Arc<Self>>, JournalError> {
        Self::read_only(Location::file(path.as_ref())?)
    }

    pub(super) fn read_only(location: Location) -> Result<Option<Arc<Self>>, JournalError> {
        match &location {
            Location::File { path, .. } if !path.exists() => return Ok(None),
            _ => {}
        }
        let (writer, reader) = (location.connect_to_read()?, location.connect_to_read()?);
        let version = version(&reader, &location.to_string())?;
        // Of a file without tables its owner is about to make a journal.
        if version == 0 {
            return Ok(None);
        }
        let (writer, reader) = (Arc::new(Mutex::new(writer)), Mutex::new(reader));
        let group = Group::default();
        Ok(Some(Arc::new(Self { location, writer, keeper: None, group, reader, version })))
    }

    pub(super) fn connect(
        location: Location,
        durability: Durability,
    ) -> Result<Self, JournalError> {
        if let Location::File { path, .. } = &location
            && let Some(mount) = mount_of(path).filter(Mount::is_doubtful)
        {
            tracing::warn!(
                store = %location,
                file_system = mount.kind,
                mount = mount.point,
                "the journal may be on another machine: if a second machine opens it, both can \
                 write, and acknowledged messages are lost"
            );
        }
        location.make()?;
        // Two processes that make the file at the same time are in each other's way in places
        // where SQLite's busy timeout does not wait.
        let deadline = Instant::now() + OPEN_RETRY;
        let writer = loop {
            let opened = location.connect(durability).and_then(|mut writer| {
                prepare(&mut writer, &location.to_string())?;
                if let Location::File { path, .. } = &location {
                    wal::lengthen(&mut writer, path)?;
                }
                Ok(writer)
            });
            match opened {
                Err(error) if error.is_retryable() && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                opened => break opened?,
            }
        };
        let reader = location.connect(durability)?;
        let (writer, reader) = (Arc::new(Mutex::new(writer)), Mutex::new(reader));
        let (keeper, group) = (Keeper::new(&location), Group::default());
        Ok(Self { location, writer, keeper, group, reader, version: sql::VERSION })
    }

    pub(super) fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn keeper(&self) -> Option<&Arc<Keeper>> {
        self.keeper.as_ref()
    }

    #[cfg(test)]
    pub(super) fn writer_lock(&self) -> &Mutex<Connection> {
        &self.writer
    }

    pub(super) fn reader(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Several statements that happen together.
    pub(super) fn transaction<T>(
        &self,
        statements: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let mut writer = self.writer();
        let transaction = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = statements(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    fn apply(&self, write: &Write<'_>) -> Result<(), JournalError> {
        let fail = self.fail("commit");
        match (write.append, write.checkpoint) {
            (None, None) => Ok(()),
            (Some(append), None) => {
                let appended = self.group.append(
                    &Append::of(write, append),
                    // One statement is its own transaction.
                    |append| append_commit(&self.writer(), append),
                    |appends| {
                        self.transaction(|transaction| {
                            let owned =
                                |it: &&Append<Vec<u8>>| append_commit(transaction, &it.borrowed());
                            appends.iter().map(owned).collect()
                        })
                    },
                );
                appended.map_err(&fail)?.or_fenced(write)
            }
            (append, Some(part)) => {
                let mut writer = self.writer();
                let transaction = writer
                    .transaction_with_behavior(TransactionBehavior::Immediate)
                    .map_err(&fail)?;
                owned(&transaction, write).map_err(&fail)?.or_fenced(write)?;
                if let Some(append) = append {
                    let append = Append::of(write, append);
                    append_commit(&transaction, &append).map_err(&fail)?.or_fenced(write)?;
                }
                save(&transaction, write.shard, part).map_err(&fail)?;
                transaction.commit().map_err(&fail)
            }
        }
    }

    pub(super) fn fail(&self, operation: &'static str) -> impl Fn(rusqlite::Error) -> JournalError {
        move |error| classify(&self.location.to_string(), operation, error)
    }
}

#[async_trait]
impl ActorProvider for SqliteActorProvider {
    fn location(&self) -> String {
        self.location.to_string()
    }

    fn cluster(self: Arc<Self>) -> Option<Arc<dyn ClusterStore>> {
        Some(self)
    }

    async fn open_shard(&self, shard: ShardId) -> Result<ShardHead, JournalError> {
        let fail = self.fail("open shard");
        let mut writer = self.writer();
        let transaction =
            writer.transaction_with_behavior(TransactionBehavior::Immediate).map_err(&fail)?;
        let owner = transaction
            .query_row(sql::BUMP_EPOCH, [shard.0], epoch_and_checkpoint)
            .map_err(&fail)?;
        let Owner { host, pid, program, opened_ms } = Owner::this_process();
        transaction
            .execute(sql::SAVE_OWNER, params![shard.0, host, pid, program, opened_ms])
            .map_err(&fail)?;
        let head = head(&transaction, shard, owner).map_err(&fail)?;
        transaction.commit().map_err(&fail)?;
        Ok(head)
    }

    async fn read_head(&self, shard: ShardId) -> Result<Option<ShardHead>, JournalError> {
        let fail = self.fail("read a shard's head");
        let reader = self.reader();
        // At one moment.
        let moment = reader.unchecked_transaction().map_err(&fail)?;
        let owner = moment
            .query_row(sql::HEAD, [shard.0], epoch_and_checkpoint)
            .optional()
            .map_err(&fail)?;
        let head = owner.map(|owner| head(&moment, shard, owner)).transpose().map_err(&fail)?;
        moment.rollback().map_err(&fail)?;
        Ok(head)
    }

    async fn owner(&self, shard: ShardId) -> Result<Option<Owner>, JournalError> {
        let fail = self.fail("read a shard's owner");
        let reader = self.reader();
        let kept: bool = reader.query_row(sql::HAS_OWNERS, [], |row| row.get(0)).map_err(&fail)?;
        if !kept {
            return Ok(None);
        }
        let owner = reader.query_row(sql::OWNER, [shard.0], |row| {
            Ok(Owner {
                host: row.get(0)?,
                pid: row.get(1)?,
                program: row.get(2)?,
                opened_ms: row.get(3)?,
            })
        });
        owner.optional().map_err(fail)
    }

    async fn write(&self, write: &Write<'_>) -> Result<(), JournalError> {
        self.apply(write)?;
        if let Some(keeper) = &self.keeper {
            keeper.written(&self.writer);
        }
        Ok(())
    }

    async fn read_commits(
        &self,
        shard: ShardId,
        from: Position,
        max_bytes: usize,
    ) -> Result<Vec<StoredCommit>, JournalError> {
        let fail = self.fail("read the log");
        let reader = self.reader();
        let mut statement = reader.prepare_cached(sql::READ_COMMITS).map_err(&fail)?;
        let mut rows = statement.query([key(shard, from.0), keys(shard).1]).map_err(&fail)?;
        let (mut commits, mut bytes_read) = (Vec::new(), 0);
        while bytes_read < max_bytes {
            let Some(row) = rows.next().map_err(&fail)? else {
                break;
            };
            let bytes: Vec<u8> = row.get(1).map_err(&fail)?;
            bytes_read += bytes.len();
            let position = position(row.get(0).map_err(&fail)?);
            commits.push(StoredCommit { position, bytes });
        }
        Ok(commits)
    }

    async fn load_record(
        &self,
        shard: ShardId,
        actor: ActorKey<'_>,
    ) -> Result<Option<StoredRecord>, JournalError> {
        let fail = self.fail("load an actor");
        let reader = self.reader();
        match actor {
            ActorKey::Name(name) => reader
                .prepare_cached(&sql::load_by_name(self.version))
                .and_then(|mut statement| {
                    let name = params![shard.0, name.actor_type(), name.id()];
                    statement.query_row(name, stored_record).optional()
                })
                .map_err(fail),
            ActorKey::No(no) => reader
                .prepare_cached(&sql::load_by_key(self.version))
                .and_then(|mut statement| {
                    statement.query_row([key(shard, no.0)], stored_record).optional()
                })
                .map_err(fail),
        }
    }

    async fn list_records(
        &self,
        shard: ShardId,
        filter: RecordFilter,
        after: ActorNo,
        limit: usize,
    ) -> Result<Vec<ListedActor>, JournalError> {
        let fail = self.fail("list actors");
        let condition = match filter {
            RecordFilter::All => "true",
            RecordFilter::Pending => "pending > 0",
            RecordFilter::DeadLetters => "dead_letters > 0",
            RecordFilter::Timers if self.version < sql::TIMERS_SINCE => return Ok(Vec::new()),
            RecordFilter::Timers => "due IS NOT NULL",
        };
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let reader = self.reader();
        let mut statement =
            reader.prepare_cached(&sql::list_records(self.version, condition)).map_err(&fail)?;
        statement
            .query_map([key(shard, after.0), keys(shard).1, limit], |row| {
                let no = ActorNo(low(row.get(0)?));
                Ok(ListedActor { no, actor: actor_id(row)?, due_ms: row.get(3)? })
            })
            .and_then(Iterator::collect)
            .map_err(fail)
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
        let fail = self.fail("load dead letters");
        let reader = self.reader();
        let mut statement = reader.prepare_cached(sql::LOAD_LETTERS).map_err(&fail)?;
        let mut rows = statement.query([key(shard, no.0), signed(after)]).map_err(&fail)?;
        let (mut letters, mut bytes_read) = (Vec::new(), 0);
        while bytes_read < max_bytes {
            let Some(row) = rows.next().map_err(&fail)? else { break };
            let bytes: Vec<u8> = row.get(1).map_err(&fail)?;
            bytes_read += bytes.len();
            let sequence = Sequence(row.get::<_, i64>(0).map_err(&fail)?.unsigned_abs());
            letters.push(StoredLetter { no, sequence, bytes });
        }
        Ok(letters)
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
        let fail = self.fail("load keys");
        let reader = self.reader();
        let mut statement = reader.prepare_cached(sql::LOAD_KEY).map_err(&fail)?;
        let mut found = Vec::new();
        for id in ids {
            let key = params![key(shard, no.0), blob(*id)];
            let row = statement.query_row(key, |row| stored_key(no, row)).optional();
            found.extend(row.map_err(&fail)?);
        }
        Ok(found)
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
        let after = after.map_or_else(Vec::new, |it| blob(it).to_vec());
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let reader = self.reader();
        let mut statement =
            reader.prepare_cached(sql::LIST_KEYS).map_err(self.fail("list keys"))?;
        statement
            .query_map(params![key(shard, no.0), after, limit], |row| stored_key(no, row))
            .and_then(Iterator::collect)
            .map_err(self.fail("list keys"))
    }

    async fn check(&self) -> Result<Vec<String>, JournalError> {
        let fail = self.fail("check");
        // A connection of its own where that is possible: this takes long, and the reader is
        // wanted elsewhere.
        let own = match self.location {
            Location::File { .. } => Some(self.location.connect_to_read()?),
            Location::Memory(_) => None,
        };
        let shared = own.is_none().then(|| self.reader());
        let Some(reader) = own.as_ref().or(shared.as_deref()) else { return Ok(Vec::new()) };
        let mut statement = reader.prepare("PRAGMA integrity_check").map_err(&fail)?;
        let mut complaints = statement
            .query_map([], |row| row.get(0))
            .and_then(Iterator::collect::<rusqlite::Result<Vec<String>>>)
            .map_err(fail)?;
        complaints.retain(|line| line != "ok");
        Ok(complaints)
    }
}

/// Whether the writer still owns the shard.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ownership {
    Ours,
    Lost,
}

impl Ownership {
    fn or_fenced(self, write: &Write<'_>) -> Result<(), JournalError> {
        match self {
            Self::Ours => Ok(()),
            Self::Lost => {
                Err(JournalError::Fenced { shard: write.shard, epoch: write.epoch, by: None })
            }
        }
    }
}

fn epoch_and_checkpoint(row: &Row<'_>) -> rusqlite::Result<(Epoch, Position)> {
    Ok((Epoch(row.get(0)?), Position(row.get(1)?)))
}

/// A shard as it is in this transaction.
fn head(
    transaction: &Transaction<'_>,
    shard: ShardId,
    (epoch, checkpoint): (Epoch, Position),
) -> rusqlite::Result<ShardHead> {
    let (first, last) = keys(shard);
    let number = |statement: &str| {
        transaction.query_row(statement, [first, last], |row| row.get::<_, Option<i64>>(0))
    };
    let tail = number(sql::LOG_TAIL)?.map_or(Position(0), position);
    Ok(ShardHead {
        epoch,
        checkpoint,
        oldest: number(sql::LOG_OLDEST)?.map(position),
        tail: tail.max(checkpoint),
        last_actor: number(sql::LAST_ACTOR)?.map_or(ActorNo(0), |key| ActorNo(low(key))),
        actors: number(sql::COUNT_ACTORS)?.unwrap_or(0).unsigned_abs(),
    })
}

fn owned(connection: &Connection, write: &Write<'_>) -> rusqlite::Result<Ownership> {
    let epoch: Option<u64> = connection
        .prepare_cached(sql::EPOCH)?
        .query_row([write.shard.0], |row| row.get(0))
        .optional()?;
    Ok(if epoch == Some(write.epoch.0) { Ownership::Ours } else { Ownership::Lost })
}

fn append_commit(connection: &Connection, append: &Append<&[u8]>) -> rusqlite::Result<Ownership> {
    let key = key(append.shard, append.position.0);
    let inserted = connection.prepare_cached(sql::APPEND)?.execute(params![
        key,
        append.batch,
        append.shard.0,
        append.epoch.0
    ]);
    match inserted {
        Ok(1) => Ok(Ownership::Ours),
        Ok(_) => Ok(Ownership::Lost),
        Err(error)
            if error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) =>
        {
            // The place is taken: by an earlier attempt of ours whose outcome was unknown, or by
            // a newer owner.
            let stored: Vec<u8> =
                connection.query_row(sql::READ_COMMIT, [key], |row| row.get(0))?;
            Ok(if stored == append.batch { Ownership::Ours } else { Ownership::Lost })
        }
        Err(error) => Err(error),
    }
}

fn save(
    transaction: &Transaction<'_>,
    shard: ShardId,
    part: &CheckpointPart,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(sql::SAVE_RECORD)?;
    for record in &part.records {
        statement.execute(params![
            key(shard, record.no.0),
            shard.0,
            record.actor.actor_type(),
            record.actor.id(),
            record.pending,
            record.dead_letters,
            record.bytes,
            record.due_ms,
        ])?;
    }
    if !part.letters.is_empty() {
        let mut statement = transaction.prepare_cached(sql::SAVE_LETTER)?;
        for letter in &part.letters {
            let actor = key(shard, letter.no.0);
            statement.execute(params![actor, signed(letter.sequence), letter.bytes])?;
        }
    }
    if !part.removed_letters.is_empty() {
        let mut statement = transaction.prepare_cached(sql::DELETE_LETTER)?;
        for (no, sequence) in &part.removed_letters {
            statement.execute([key(shard, no.0), signed(*sequence)])?;
        }
    }
    if let Some(no) = part.keys_of {
        transaction
            .prepare_cached(sql::DELETE_KEYS_OF)?
            .execute([key(shard, no.0), KEYS_AT_ONCE])?;
    }
    if let Some(before) = part.keys_before {
        transaction.prepare_cached(sql::DELETE_KEYS_BEFORE)?.execute(params![
            shard.0,
            before,
            KEYS_AT_ONCE
        ])?;
    }
    if !part.keys.is_empty() {
        let mut statement = transaction.prepare_cached(sql::SAVE_KEY)?;
        for stored in &part.keys {
            let actor = key(shard, stored.no.0);
            statement.execute(params![actor, blob(stored.id), stored.at_ms, stored.bytes])?;
        }
    }
    if let Some(checkpoint) = part.checkpoint {
        transaction
            .prepare_cached(sql::SAVE_CHECKPOINT)?
            .execute(params![shard.0, checkpoint.0])?;
    }
    if let Some(before) = part.truncate_before {
        transaction
            .prepare_cached(sql::TRUNCATE)?
            .execute([keys(shard).0, key(shard, before.0)])?;
    }
    Ok(())
}

fn stored_record(row: &Row<'_>) -> rusqlite::Result<StoredRecord> {
    Ok(StoredRecord {
        no: ActorNo(low(row.get(0)?)),
        actor: actor_id(row)?,
        due_ms: row.get(3)?,
        pending: row.get(4)?,
        dead_letters: row.get(5)?,
        bytes: row.get(6)?,
    })
}

fn stored_key(no: ActorNo, row: &Row<'_>) -> rusqlite::Result<StoredKey> {
    let id = MessageId::from(u128::from_be_bytes(row.get(0)?));
    Ok(StoredKey { no, id, at_ms: row.get(1)?, bytes: row.get(2)? })
}

/// In the order of the ids.
fn blob(id: MessageId) -> [u8; 16] {
    id.as_u128().to_be_bytes()
}

pub(super) fn actor_id(row: &Row<'_>) -> rusqlite::Result<ActorId> {
    Ok(ActorId::new(row.get::<_, String>(1)?, row.get::<_, String>(2)?))
}

pub(super) fn key(shard: ShardId, number: u64) -> i64 {
    // Both halves fit: at 10,000 commits a second, 2^44 positions last 55 years.
    (i64::from(shard.0) << sql::KEY_BITS) | i64::try_from(number).unwrap_or(i64::MAX)
}

/// SQLite has signed integers only; receipts do not get that far.
fn signed(sequence: Sequence) -> i64 {
    i64::try_from(sequence.0).unwrap_or(i64::MAX)
}

/// The first and the last key of a shard.
pub(super) fn keys(shard: ShardId) -> (i64, i64) {
    (key(shard, 0), key(shard, (1 << sql::KEY_BITS) - 1))
}

pub(super) fn low(key: i64) -> u64 {
    key.unsigned_abs() & ((1 << sql::KEY_BITS) - 1)
}

fn position(key: i64) -> Position {
    Position(low(key))
}
