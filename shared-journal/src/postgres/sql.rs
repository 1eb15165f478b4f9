//! Every statement, in one place.

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
    // 1. A commit is not compressible enough to pay for trying.
    "CREATE TABLE {schema}.journal_shard (
         shard      BIGINT PRIMARY KEY,
         epoch      BIGINT NOT NULL,
         checkpoint BIGINT NOT NULL
     );
     CREATE TABLE {schema}.journal_log (
         shard      BIGINT NOT NULL,
         position   BIGINT NOT NULL,
         batch      BYTEA NOT NULL,
         PRIMARY KEY (shard, position)
     );
     ALTER TABLE {schema}.journal_log ALTER COLUMN batch SET STORAGE EXTERNAL;
     CREATE TABLE {schema}.journal_record (
         shard        BIGINT NOT NULL,
         no           BIGINT NOT NULL,
         actor_type   TEXT COLLATE \"C\" NOT NULL,
         actor_id     TEXT COLLATE \"C\" NOT NULL,
         pending      BIGINT NOT NULL,
         dead_letters BIGINT NOT NULL,
         record       BYTEA NOT NULL,
         PRIMARY KEY (shard, no)
     );
     CREATE UNIQUE INDEX journal_record_name
         ON {schema}.journal_record (shard, actor_type, actor_id);
     CREATE INDEX journal_record_pending
         ON {schema}.journal_record (shard, no) WHERE pending > 0;
     CREATE INDEX journal_record_dead_letters
         ON {schema}.journal_record (shard, no) WHERE dead_letters > 0;",
    // 2. Several nodes. A journal that is there already has one shard.
    "CREATE TABLE {schema}.journal_founding (
         only_one   BOOLEAN PRIMARY KEY DEFAULT true CHECK (only_one),
         cluster    TEXT NOT NULL,
         shards     BIGINT NOT NULL
     );
     INSERT INTO {schema}.journal_founding (cluster, shards)
         SELECT '', 1 WHERE EXISTS (SELECT FROM {schema}.journal_shard);
     CREATE TABLE {schema}.journal_lease (
         shard      BIGINT PRIMARY KEY,
         node       TEXT,
         expires    TIMESTAMPTZ NOT NULL,
         wanted_by  TEXT,
         wanted_until TIMESTAMPTZ
     );
     CREATE TABLE {schema}.journal_inbox_head (
         shard      BIGINT PRIMARY KEY,
         number     BIGINT NOT NULL
     );
     CREATE TABLE {schema}.journal_inbox (
         shard      BIGINT NOT NULL,
         number     BIGINT NOT NULL,
         actor_type TEXT COLLATE \"C\" NOT NULL,
         actor_id   TEXT COLLATE \"C\" NOT NULL,
         letter     BYTEA NOT NULL,
         PRIMARY KEY (shard, number)
     );
     CREATE INDEX journal_inbox_actor
         ON {schema}.journal_inbox (shard, actor_type, actor_id);
     CREATE TABLE {schema}.journal_reply (
         number     BIGSERIAL PRIMARY KEY,
         client     TEXT NOT NULL,
         at         TIMESTAMPTZ NOT NULL DEFAULT now(),
         reply      BYTEA NOT NULL
     );
     CREATE INDEX journal_reply_client ON {schema}.journal_reply (client);",
    // 3. Who opened a shard last, for people. `opened` is milliseconds of its clock.
    "CREATE TABLE {schema}.journal_owner (
         shard      BIGINT PRIMARY KEY,
         host       TEXT NOT NULL,
         pid        BIGINT NOT NULL,
         program    TEXT NOT NULL,
         opened     BIGINT NOT NULL
     );",
    // 4. Dead letters beside the records. Those in old records move with the next checkpoint.
    "CREATE TABLE {schema}.journal_dead_letter (
         shard      BIGINT NOT NULL,
         no         BIGINT NOT NULL,
         sequence   BIGINT NOT NULL,
         letter     BYTEA NOT NULL,
         PRIMARY KEY (shard, no, sequence)
     );
     ALTER TABLE {schema}.journal_dead_letter ALTER COLUMN letter SET STORAGE EXTERNAL;",
    // 5. Idempotency keys that are in no record any more. `at` is milliseconds of the shard's clock.
    "CREATE TABLE {schema}.journal_key (
         shard      BIGINT NOT NULL,
         no         BIGINT NOT NULL,
         id         BYTEA NOT NULL,
         at         BIGINT NOT NULL,
         outcome    BYTEA NOT NULL,
         PRIMARY KEY (shard, no, id)
     );
     CREATE INDEX journal_key_age ON {schema}.journal_key (shard, at);",
    // 6. When the next timer of an actor is due, in milliseconds since 1970.
    "ALTER TABLE {schema}.journal_record ADD COLUMN due BIGINT;
     CREATE INDEX journal_record_due
         ON {schema}.journal_record (shard, no, due, actor_type, actor_id) WHERE due IS NOT NULL;",
];

pub(super) const CREATE_VERSION: &str = "
    CREATE TABLE IF NOT EXISTS {schema}.journal_schema (version INTEGER NOT NULL)";
pub(super) const HAS_VERSION: &str = "SELECT to_regclass('{schema}.journal_schema') IS NOT NULL";
pub(super) const READ_VERSION: &str = "SELECT max(version) FROM {schema}.journal_schema";
pub(super) const SAVE_VERSION: &str = "INSERT INTO {schema}.journal_schema VALUES ($1)";
/// Until the end of the transaction; the number is ours ("DXRA").
pub(super) const LOCK_SCHEMA: &str =
    "SELECT pg_advisory_xact_lock(1146638913, hashtext('{schema}'))";

/// Waits for a commit of the owner before, if one is under way, and fences the next.
pub(super) const BUMP_EPOCH: &str = "
    WITH owner AS (
        INSERT INTO {schema}.journal_shard AS s (shard, epoch, checkpoint) VALUES ($1, 1, 0)
        ON CONFLICT (shard) DO UPDATE SET epoch = s.epoch + 1
        RETURNING epoch, checkpoint
    ), named AS (
        INSERT INTO {schema}.journal_owner (shard, host, pid, program, opened)
        SELECT $1, $2, $3, $4, $5 FROM owner
        ON CONFLICT (shard) DO UPDATE SET
            host = excluded.host,
            pid = excluded.pid,
            program = excluded.program,
            opened = excluded.opened
    )
    SELECT epoch, checkpoint FROM owner";
pub(super) const OWNER: &str = "
    SELECT host, pid, program, opened FROM {schema}.journal_owner WHERE shard = $1";
/// At one moment, and without a lock.
pub(super) const READ_HEAD: &str = "
    SELECT (SELECT min(position) FROM {schema}.journal_log WHERE shard = $1),
           (SELECT max(position) FROM {schema}.journal_log WHERE shard = $1),
           (SELECT max(no) FROM {schema}.journal_record WHERE shard = $1),
           (SELECT count(*) FROM {schema}.journal_record WHERE shard = $1),
           epoch, checkpoint
    FROM {schema}.journal_shard WHERE shard = $1";
pub(super) const HEAD: &str = "
    SELECT (SELECT min(position) FROM {schema}.journal_log WHERE shard = $1),
           (SELECT max(position) FROM {schema}.journal_log WHERE shard = $1),
           (SELECT max(no) FROM {schema}.journal_record WHERE shard = $1),
           (SELECT count(*) FROM {schema}.journal_record WHERE shard = $1)";

/// The shared lock holds up the next owner's [`BUMP_EPOCH`] until this is durable. If that came
/// first, this waits, looks again, and finds nothing.
pub(super) const APPEND: &str = "
    WITH owner AS (
        SELECT 1 FROM {schema}.journal_shard WHERE shard = $1 AND epoch = $2 FOR SHARE
    )
    INSERT INTO {schema}.journal_log (shard, position, batch)
    SELECT $1, $3, $4 FROM owner
    ON CONFLICT (shard, position) DO NOTHING";

/// The same for several shards. It says which got theirs.
pub(super) const APPEND_ALL: &str = "
    WITH commit AS (
        SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[])
                 AS commit (shard, epoch, position, batch)
    ), owner AS (
        SELECT shard FROM {schema}.journal_shard JOIN commit USING (shard, epoch)
        ORDER BY shard FOR SHARE OF journal_shard
    )
    INSERT INTO {schema}.journal_log (shard, position, batch)
    SELECT shard, position, batch FROM commit JOIN owner USING (shard)
    ON CONFLICT (shard, position) DO NOTHING
    RETURNING shard";

/// A commit, if there is one, and a part of a checkpoint.
pub(super) const SAVE_PART: &str = "
    WITH owner AS (
        SELECT 1 FROM {schema}.journal_shard WHERE shard = $1 AND epoch = $2 FOR SHARE
    ), appended AS (
        INSERT INTO {schema}.journal_log (shard, position, batch)
        SELECT $1, $3, $4 FROM owner WHERE $3 IS NOT NULL
        ON CONFLICT (shard, position) DO NOTHING
        RETURNING 1
    ), saved AS (
        INSERT INTO {schema}.journal_record
            (shard, no, actor_type, actor_id, pending, dead_letters, record, due)
        SELECT $1, part.*
        FROM owner,
             unnest($5::bigint[], $6::text[], $7::text[], $8::bigint[], $9::bigint[],
                    $10::bytea[], $24::bigint[]) AS part
        ON CONFLICT (shard, no) DO UPDATE SET
            pending = excluded.pending,
            dead_letters = excluded.dead_letters,
            record = excluded.record,
            due = excluded.due
    ), lettered AS (
        INSERT INTO {schema}.journal_dead_letter (shard, no, sequence, letter)
        SELECT $1, part.*
        FROM owner, unnest($13::bigint[], $14::bigint[], $15::bytea[]) AS part
        ON CONFLICT (shard, no, sequence) DO UPDATE SET letter = excluded.letter
    ), removed AS (
        DELETE FROM {schema}.journal_dead_letter AS dead
        USING owner, unnest($16::bigint[], $17::bigint[]) AS gone (no, sequence)
        WHERE dead.shard = $1 AND dead.no = gone.no AND dead.sequence = gone.sequence
    ), keyed AS (
        INSERT INTO {schema}.journal_key (shard, no, id, at, outcome)
        SELECT $1, part.*
        FROM owner, unnest($18::bigint[], $19::bytea[], $20::bigint[], $21::bytea[]) AS part
        ON CONFLICT (shard, no, id) DO UPDATE SET at = excluded.at, outcome = excluded.outcome
    ), unkeyed AS (
        DELETE FROM {schema}.journal_key USING owner
        WHERE shard = $1 AND no = $22 AND id IN
            (SELECT id FROM {schema}.journal_key
             WHERE shard = $1 AND no = $22 ORDER BY id LIMIT 4096)
    ), expired AS (
        DELETE FROM {schema}.journal_key AS old
        USING owner, (SELECT no, id FROM {schema}.journal_key
                      WHERE shard = $1 AND at < $23 ORDER BY at LIMIT 4096) AS gone
        WHERE old.shard = $1 AND old.no = gone.no AND old.id = gone.id
    ), moved AS (
        UPDATE {schema}.journal_shard SET checkpoint = $11
        FROM owner WHERE shard = $1 AND $11 IS NOT NULL
    ), truncated AS (
        DELETE FROM {schema}.journal_log
        USING owner WHERE shard = $1 AND position < $12
    )
    SELECT (SELECT count(*) FROM owner), (SELECT count(*) FROM appended)";

/// Why nothing was appended.
pub(super) const EXAMINE: &str = "
    SELECT (SELECT epoch FROM {schema}.journal_shard WHERE shard = $1),
           (SELECT batch FROM {schema}.journal_log WHERE shard = $1 AND position = $2)";

/// Until so many bytes were read, or so many commits.
pub(super) const READ_COMMITS: &str = "
    SELECT position, batch
    FROM (SELECT position, batch,
                 sum(octet_length(batch)) OVER (ORDER BY position) - octet_length(batch) AS before
          FROM {schema}.journal_log
          WHERE shard = $1 AND position >= $2
          ORDER BY position LIMIT 4096) AS ahead
    WHERE before < $3
    ORDER BY position";

/// As [`READ_COMMITS`].
pub(super) const LOAD_LETTERS: &str = "
    SELECT sequence, letter
    FROM (SELECT sequence, letter,
                 sum(octet_length(letter)) OVER (ORDER BY sequence) - octet_length(letter)
                     AS before
          FROM {schema}.journal_dead_letter
          WHERE shard = $1 AND no = $2 AND sequence > $3
          ORDER BY sequence LIMIT 4096) AS ahead
    WHERE before < $4
    ORDER BY sequence";

/// What stands for the column in a schema of this version.
fn due(version: u32) -> &'static str {
    if version < TIMERS_SINCE { "NULL::bigint" } else { "due" }
}

fn load(version: u32, condition: &str) -> String {
    let due = due(version);
    format!(
        "SELECT no, actor_type, actor_id, {due}, pending, dead_letters, record
         FROM {{schema}}.journal_record WHERE {condition}"
    )
}

pub(super) fn load_by_name(version: u32) -> String {
    load(version, "shard = $1 AND actor_type = $2 AND actor_id = $3")
}

pub(super) fn load_by_no(version: u32) -> String {
    load(version, "shard = $1 AND no = $2")
}

pub(super) fn list_records(version: u32, condition: &str) -> String {
    let due = due(version);
    format!(
        "SELECT no, actor_type, actor_id, {due} FROM {{schema}}.journal_record
         WHERE shard = $1 AND no > $2 AND {condition} ORDER BY no LIMIT $3"
    )
}

pub(super) const LOAD_KEYS: &str = "
    SELECT id, at, outcome FROM {schema}.journal_key
    WHERE shard = $1 AND no = $2 AND id = ANY($3::bytea[])";
pub(super) const LIST_KEYS: &str = "
    SELECT id, at, outcome FROM {schema}.journal_key
    WHERE shard = $1 AND no = $2 AND id > $3 ORDER BY id LIMIT $4";
