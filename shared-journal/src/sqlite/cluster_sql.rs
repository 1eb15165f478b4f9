//! The statements of leases, inboxes and replies.

pub(super) const FOUND: &str = "
    INSERT INTO journal_founding (only_one, cluster, shards) VALUES (1, ?1, ?2)
    ON CONFLICT DO NOTHING";
pub(super) const READ_FOUNDING: &str = "SELECT cluster, shards FROM journal_founding";

pub(super) const CLAIM: &str = "
    INSERT INTO journal_lease (shard, node, expires) VALUES (?1, ?2, ?3 + ?4)
    ON CONFLICT (shard) DO UPDATE
        SET node = excluded.node, expires = excluded.expires, wanted_by = NULL
        WHERE node IS NULL OR node = excluded.node OR expires <= ?3";
pub(super) const RENEW: &str = "
    UPDATE journal_lease SET expires = ?3 WHERE shard = ?1 AND node = ?2";
pub(super) const RELEASE: &str = "
    UPDATE journal_lease SET node = ?3, expires = ?4, wanted_by = NULL
    WHERE shard = ?1 AND node = ?2";
pub(super) const WANT: &str = "
    UPDATE journal_lease SET wanted_by = ?2, wanted_until = ?3 WHERE shard = ?1";
pub(super) const LEASES: &str = "
    SELECT shard, node, expires > ?1, iif(wanted_until > ?1, wanted_by, NULL)
    FROM journal_lease ORDER BY shard";

pub(super) const NEXT_NUMBER: &str = "
    INSERT INTO journal_inbox_head (shard, number) VALUES (?1, 1)
    ON CONFLICT (shard) DO UPDATE SET number = number + 1
    RETURNING number";
pub(super) const COUNT_LETTERS: &str = "
    SELECT count(*) FROM journal_inbox WHERE shard = ?1 AND actor_type = ?2 AND actor_id = ?3";
pub(super) const POST: &str = "
    INSERT INTO journal_inbox (key, shard, actor_type, actor_id, letter)
    VALUES (?1, ?2, ?3, ?4, ?5)";
pub(super) const TAKE: &str = "
    SELECT key, actor_type, actor_id, letter FROM journal_inbox
    WHERE key > ?1 AND key <= ?2 ORDER BY key";
pub(super) const LETTERS_TO: &str = "
    SELECT key, letter FROM journal_inbox
    WHERE shard = ?1 AND actor_type = ?2 AND actor_id = ?3 AND key > ?4 ORDER BY key";
pub(super) const SETTLE: &str = "DELETE FROM journal_inbox WHERE key = ?1";
pub(super) const REPLY: &str = "
    INSERT INTO journal_reply (client, at, reply) VALUES (?1, ?2, ?3)";
pub(super) const DELETE_REPLY: &str = "DELETE FROM journal_reply WHERE number = ?1";
pub(super) const COLLECT: &str = "
    SELECT number, reply FROM journal_reply WHERE client = ?1 ORDER BY number LIMIT 1024";
pub(super) const FORGET_REPLIES: &str = "DELETE FROM journal_reply WHERE at < ?1";
