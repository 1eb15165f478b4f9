//! Every statement, in one place.
//!
//! Rows of the log and of the records have one integer key, `shard << 44 | number`: appends go to
//! the end of one B-tree, and a shard's rows lie together.

/// The bits of a key that hold a position or an actor number.
pub(super) const KEY_BITS: u32 = 44;

/// "DXRA", so that a file of ours is known from others.
pub(super) const APPLICATION_ID: i32 = 0x4458_5241;

/// The version of the schema.
pub(super) const VERSION: u32 = 6;
const _: () = assert!(MIGRATIONS.len() == VERSION as usize);
/// There are tables for dead letters and for keys since these.
pub(super) const LETTERS_SINCE: u32 = 4;
pub(super) const KEYS_SINCE: u32 = 5;
/// Records say since this when a timer is due.
pub(super) const TIMERS_SINCE: u32 = 6;

/// One entry a version, applied in order. An entry that was released never changes.
pub(super) const MIGRATIONS: &[&str] = &[
    // 1
    "CREATE TABLE journal_shard (
         shard      INTEGER PRIMARY KEY,
         epoch      INTEGER NOT NULL,
         checkpoint INTEGER NOT NULL
     );
     CREATE TABLE journal_log (
         key        INTEGER PRIMARY KEY,
         shard      INTEGER GENERATED ALWAYS AS (key >> 44) VIRTUAL,
         position   INTEGER GENERATED ALWAYS AS (key & 17592186044415) VIRTUAL,
         batch      BLOB NOT NULL
     );
     CREATE TABLE journal_record (
         key          INTEGER PRIMARY KEY,
         shard        INTEGER NOT NULL,
         actor_type   TEXT NOT NULL,
         actor_id     TEXT NOT NULL,
         pending      INTEGER NOT NULL,
         dead_letters INTEGER NOT NULL,
         record       BLOB NOT NULL
     );
     CREATE UNIQUE INDEX journal_record_name
         ON journal_record (shard, actor_type, actor_id);
     CREATE INDEX journal_record_pending
         ON journal_record (key) WHERE pending > 0;
     CREATE INDEX journal_record_dead_letters
         ON journal_record (key) WHERE dead_letters > 0;",
    // 2. Several nodes. A journal that is there already has one shard. Times are milliseconds.
    "CREATE TABLE journal_founding (
         only_one   INTEGER PRIMARY KEY CHECK (only_one = 1),
         cluster    TEXT NOT NULL,
         shards     INTEGER NOT NULL
     );
     INSERT INTO journal_founding
         SELECT 1, '', 1 WHERE EXISTS (SELECT 1 FROM journal_shard);
     CREATE TABLE journal_lease (
         shard      INTEGER PRIMARY KEY,
         node       TEXT,
         expires    INTEGER NOT NULL,
         wanted_by  TEXT,
         wanted_until INTEGER
     );
     CREATE TABLE journal_inbox_head (
         shard      INTEGER PRIMARY KEY,
         number     INTEGER NOT NULL
     );
     CREATE TABLE journal_inbox (
         key        INTEGER PRIMARY KEY,
         shard      INTEGER NOT NULL,
         actor_type TEXT NOT NULL,
         actor_id   TEXT NOT NULL,
         letter     BLOB NOT NULL
     );
     CREATE INDEX journal_inbox_actor
         ON journal_inbox (shard, actor_type, actor_id);
     CREATE TABLE journal_reply (
         number     INTEGER PRIMARY KEY AUTOINCREMENT,
         client     TEXT NOT NULL,
         at         INTEGER NOT NULL,
         reply      BLOB NOT NULL
     );
     CREATE INDEX journal_reply_client ON journal_reply (client);",
    // 3. Who opened a shard last, for people. `opened` is milliseconds.
    "CREATE TABLE journal_owner (
         shard      INTEGER PRIMARY KEY,
         host       TEXT NOT NULL,
         pid        INTEGER NOT NULL,
         program    TEXT NOT NULL,
         opened     INTEGER NOT NULL
     );",
    // 4. Dead letters beside the records. Those in old records move with the next checkpoint.
    "CREATE TABLE journal_dead_letter (
         actor      INTEGER NOT NULL,
         sequence   INTEGER NOT NULL,
         letter     BLOB NOT NULL,
         PRIMARY KEY (actor, sequence)
     );",
    // 5. Idempotency keys that are in no record any more. `at` is milliseconds of the shard's clock.
    "CREATE TABLE journal_key (
         actor      INTEGER NOT NULL,
         id         BLOB NOT NULL,
         at         INTEGER NOT NULL,
         outcome    BLOB NOT NULL,
         PRIMARY KEY (actor, id)
     ) WITHOUT ROWID;
     CREATE INDEX journal_key_age ON journal_key (actor >> 44, at);",
    // 6. When the next timer of an actor is due, in milliseconds since 1970.
    "ALTER TABLE journal_record ADD COLUMN due INTEGER;
     CREATE INDEX journal_record_due
         ON journal_record (key, due, actor_type, actor_id) WHERE due IS NOT NULL;",
];

pub(super) const BUMP_EPOCH: &str = "
    INSERT INTO journal_shard (shard, epoch, checkpoint) VALUES (?1, 1, 0)
    ON CONFLICT (shard) DO UPDATE SET epoch = epoch + 1
    RETURNING epoch, checkpoint";
pub(super) const SAVE_OWNER: &str = "
    INSERT INTO journal_owner (shard, host, pid, program, opened) VALUES (?1, ?2, ?3, ?4, ?5)
    ON CONFLICT (shard) DO UPDATE SET
        host = excluded.host,
        pid = excluded.pid,
        program = excluded.program,
        opened = excluded.opened";
pub(super) const OWNER: &str = "
    SELECT host, pid, program, opened FROM journal_owner WHERE shard = ?1";
/// A journal of an earlier version that is only read has no such table.
pub(super) const HAS_OWNERS: &str = "
    SELECT count(*) FROM sqlite_master WHERE name = 'journal_owner'";
pub(super) const HEAD: &str = "SELECT epoch, checkpoint FROM journal_shard WHERE shard = ?1";
pub(super) const LOG_OLDEST: &str = "
    SELECT min(key) FROM journal_log WHERE key BETWEEN ?1 AND ?2";
pub(super) const LOG_TAIL: &str = "
    SELECT max(key) FROM journal_log WHERE key BETWEEN ?1 AND ?2";
pub(super) const LAST_ACTOR: &str = "
    SELECT max(key) FROM journal_record WHERE key BETWEEN ?1 AND ?2";
pub(super) const COUNT_ACTORS: &str = "
    SELECT count(*) FROM journal_record WHERE key BETWEEN ?1 AND ?2";

pub(super) const EPOCH: &str = "SELECT epoch FROM journal_shard WHERE shard = ?1";

/// The fence is part of the statement: no row is inserted for an epoch that has passed.
pub(super) const APPEND: &str = "
    INSERT INTO journal_log (key, batch)
    SELECT ?1, ?2 WHERE (SELECT epoch FROM journal_shard WHERE shard = ?3) = ?4";
pub(super) const READ_COMMIT: &str = "SELECT batch FROM journal_log WHERE key = ?1";
pub(super) const READ_COMMITS: &str = "
    SELECT key, batch FROM journal_log WHERE key BETWEEN ?1 AND ?2 ORDER BY key";

pub(super) const SAVE_RECORD: &str = "
    INSERT INTO journal_record
        (key, shard, actor_type, actor_id, pending, dead_letters, record, due)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
    ON CONFLICT (key) DO UPDATE SET
        pending = excluded.pending,
        dead_letters = excluded.dead_letters,
        record = excluded.record,
        due = excluded.due";
pub(super) const SAVE_CHECKPOINT: &str = "
    UPDATE journal_shard SET checkpoint = ?2 WHERE shard = ?1";
pub(super) const TRUNCATE: &str = "DELETE FROM journal_log WHERE key >= ?1 AND key < ?2";

/// What stands for the column in a schema of this version.
fn due(version: u32) -> &'static str {
    if version < TIMERS_SINCE { "NULL" } else { "due" }
}

fn load(version: u32, condition: &str) -> String {
    let due = due(version);
    format!(
        "SELECT key, actor_type, actor_id, {due}, pending, dead_letters, record
         FROM journal_record WHERE {condition}"
    )
}

pub(super) fn load_by_name(version: u32) -> String {
    load(version, "shard = ?1 AND actor_type = ?2 AND actor_id = ?3")
}

pub(super) fn load_by_key(version: u32) -> String {
    load(version, "key = ?1")
}

pub(super) fn list_records(version: u32, condition: &str) -> String {
    let due = due(version);
    format!(
        "SELECT key, actor_type, actor_id, {due} FROM journal_record
         WHERE key > ?1 AND key <= ?2 AND {condition} ORDER BY key LIMIT ?3"
    )
}

pub(super) const SAVE_LETTER: &str = "
    INSERT INTO journal_dead_letter (actor, sequence, letter) VALUES (?1, ?2, ?3)
    ON CONFLICT (actor, sequence) DO UPDATE SET letter = excluded.letter";
pub(super) const DELETE_LETTER: &str =
    "DELETE FROM journal_dead_letter WHERE actor = ?1 AND sequence = ?2";
pub(super) const LOAD_LETTERS: &str = "
    SELECT sequence, letter FROM journal_dead_letter
    WHERE actor = ?1 AND sequence > ?2 ORDER BY sequence";

pub(super) const SAVE_KEY: &str = "
    INSERT INTO journal_key (actor, id, at, outcome) VALUES (?1, ?2, ?3, ?4)
    ON CONFLICT (actor, id) DO UPDATE SET at = excluded.at, outcome = excluded.outcome";
pub(super) const LOAD_KEY: &str = "
    SELECT id, at, outcome FROM journal_key WHERE actor = ?1 AND id = ?2";
pub(super) const LIST_KEYS: &str = "
    SELECT id, at, outcome FROM journal_key WHERE actor = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
/// Some of them.
pub(super) const DELETE_KEYS_OF: &str = "
    DELETE FROM journal_key WHERE actor = ?1 AND id IN
        (SELECT id FROM journal_key WHERE actor = ?1 ORDER BY id LIMIT ?2)";
/// Some of them, the oldest first.
pub(super) const DELETE_KEYS_BEFORE: &str = "
    DELETE FROM journal_key WHERE (actor, id) IN
        (SELECT actor, id FROM journal_key
         WHERE actor >> 44 = ?1 AND at < ?2 ORDER BY at LIMIT ?3)";
