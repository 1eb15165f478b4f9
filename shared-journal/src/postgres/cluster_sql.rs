//! The statements of leases, inboxes and replies.

pub(super) const FOUND: &str = "
    INSERT INTO {schema}.journal_founding (cluster, shards) VALUES ($1, $2)
    ON CONFLICT DO NOTHING";
pub(super) const READ_FOUNDING: &str = "SELECT cluster, shards FROM {schema}.journal_founding";

pub(super) const CLAIM: &str = "
    INSERT INTO {schema}.journal_lease AS lease (shard, node, expires)
    VALUES ($1, $2, now() + $3)
    ON CONFLICT (shard) DO UPDATE
        SET node = excluded.node, expires = excluded.expires, wanted_by = NULL
        WHERE lease.node IS NULL OR lease.node = excluded.node OR lease.expires <= now()";
pub(super) const RENEW: &str = "
    UPDATE {schema}.journal_lease SET expires = now() + $3
    WHERE shard = ANY($1) AND node = $2";
pub(super) const RELEASE: &str = "
    UPDATE {schema}.journal_lease SET node = $3, expires = now() + $4, wanted_by = NULL
    WHERE shard = $1 AND node = $2";
pub(super) const WANT: &str = "
    UPDATE {schema}.journal_lease SET wanted_by = $2, wanted_until = now() + $3
    WHERE shard = $1";
pub(super) const LEASES: &str = "
    SELECT shard, node, expires > now(), CASE WHEN wanted_until > now() THEN wanted_by END
    FROM {schema}.journal_lease ORDER BY shard";

/// The row of the head is locked until this is durable, so numbers become visible in their order.
pub(super) const POST: &str = "
    WITH head AS (
        INSERT INTO {schema}.journal_inbox_head AS head (shard, number) VALUES ($1, $2)
        ON CONFLICT (shard) DO UPDATE SET number = head.number + $2
        RETURNING number
    ), letter AS (
        SELECT letter.*, row_number() OVER (PARTITION BY actor_type, actor_id ORDER BY place) AS nth
        FROM unnest($3::text[], $4::text[], $5::bytea[])
             WITH ORDINALITY AS letter (actor_type, actor_id, letter, place)
    )
    INSERT INTO {schema}.journal_inbox (shard, number, actor_type, actor_id, letter)
    SELECT $1, head.number - $2 + place, actor_type, actor_id, letter
    FROM head, letter
    WHERE nth + (SELECT count(*) FROM {schema}.journal_inbox AS held
                 WHERE held.shard = $1 AND held.actor_type = letter.actor_type
                   AND held.actor_id = letter.actor_id) <= $6
    RETURNING number, (SELECT number FROM head)";

pub(super) const TAKE: &str = "
    SELECT number, actor_type, actor_id, letter
    FROM (SELECT number, actor_type, actor_id, letter,
                 sum(octet_length(letter)) OVER (ORDER BY number) - octet_length(letter) AS before
          FROM {schema}.journal_inbox
          WHERE shard = $1 AND number > $2
          ORDER BY number LIMIT $4) AS ahead
    WHERE before < $3
    ORDER BY number";
pub(super) const LETTERS_TO: &str = "
    SELECT number, letter
    FROM (SELECT number, letter,
                 sum(octet_length(letter)) OVER (ORDER BY number) - octet_length(letter) AS before
          FROM {schema}.journal_inbox
          WHERE shard = $1 AND actor_type = $2 AND actor_id = $3 AND number > $4
          ORDER BY number LIMIT $6) AS ahead
    WHERE before < $5
    ORDER BY number";
/// It does not wait for the disk, nor does anybody who notifies wait for it: the letter goes after it, in a
/// transaction of its own that does. So what a crash of the server takes is answered again from the letter.
pub(super) const REPLY: &str = "
    INSERT INTO {schema}.journal_reply (client, reply)
    SELECT * FROM unnest($1::text[], $2::bytea[])
    WHERE set_config('synchronous_commit', 'off', true) = 'off'";
pub(super) const SETTLE: &str = "
    DELETE FROM {schema}.journal_inbox WHERE shard = $1 AND number = ANY($2)";
/// A reply that comes back with a crash of the server is collected again, which its client copes with.
pub(super) const COLLECT: &str = "
    WITH gone AS (
        DELETE FROM {schema}.journal_reply
        WHERE number = ANY($2) AND set_config('synchronous_commit', 'off', true) = 'off'
    )
    SELECT number, reply FROM {schema}.journal_reply
    WHERE client = $1 AND number <> ALL($2)
    ORDER BY number LIMIT 1024";
pub(super) const FORGET_REPLIES: &str = "
    DELETE FROM {schema}.journal_reply WHERE at < now() - $1";

pub(super) const NOTIFY: &str = "SELECT pg_notify($1, note) FROM unnest($2::text[]) AS note";
