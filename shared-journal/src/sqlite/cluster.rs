//! Leases, inboxes and replies in SQLite: for several processes on one machine.

use std::time::Duration;

use async_trait::async_trait;
use rusqlite::{Connection, Row, params};
use tokio::sync::mpsc::UnboundedReceiver;

use super::cluster_sql as sql;
use super::provider::{SqliteActorProvider, actor_id, key, keys, low};
use crate::cluster::{ClusterStore, Founding, Lease, Note, StoredLetter, StoredReply};
use crate::engine::now_ms;
use crate::error::JournalError;
use crate::id::{ActorId, ShardId};

impl SqliteActorProvider {
    fn together<T>(
        &self,
        operation: &'static str,
        statements: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, JournalError> {
        self.transaction(statements).map_err(self.fail(operation))
    }
}

#[async_trait]
impl ClusterStore for SqliteActorProvider {
    async fn found(&self, founding: &Founding) -> Result<Founding, JournalError> {
        self.together("read the founding", |connection| {
            connection.execute(sql::FOUND, params![founding.cluster, founding.shards])?;
            connection.query_row(sql::READ_FOUNDING, [], |row| {
                Ok(Founding { cluster: row.get(0)?, shards: row.get(1)? })
            })
        })
    }

    async fn claim(
        &self,
        shard: ShardId,
        node: &str,
        lease: Duration,
    ) -> Result<bool, JournalError> {
        self.together("claim a shard", |connection| {
            let claimed =
                connection.execute(sql::CLAIM, params![shard.0, node, now_ms(), ms(lease)])?;
            Ok(claimed > 0)
        })
    }

    async fn renew(
        &self,
        shards: &[ShardId],
        node: &str,
        lease: Duration,
    ) -> Result<(), JournalError> {
        self.together("renew leases", |connection| {
            for shard in shards {
                connection.execute(sql::RENEW, params![shard.0, node, now_ms() + ms(lease)])?;
            }
            Ok(())
        })
    }

    async fn release(
        &self,
        shard: ShardId,
        node: &str,
        to: Option<(&str, Duration)>,
    ) -> Result<(), JournalError> {
        let until = now_ms() + to.map_or(0, |(_, reserved)| ms(reserved));
        let to = to.map(|(node, _)| node);
        self.together("release a shard", |connection| {
            connection.execute(sql::RELEASE, params![shard.0, node, to, until]).map(drop)
        })
    }

    async fn want(&self, shard: ShardId, node: &str, wish: Duration) -> Result<(), JournalError> {
        self.together("ask for a shard", |connection| {
            connection.execute(sql::WANT, params![shard.0, node, now_ms() + ms(wish)]).map(drop)
        })
    }

    async fn leases(&self) -> Result<Vec<Lease>, JournalError> {
        let fail = self.fail("read leases");
        let lease = |row: &Row<'_>| {
            Ok(Lease {
                shard: ShardId(row.get(0)?),
                node: row.get(1)?,
                runs: row.get(2)?,
                wanted_by: row.get(3)?,
            })
        };
        let reader = self.reader();
        let mut statement = reader.prepare_cached(sql::LEASES).map_err(&fail)?;
        statement.query_map([now_ms()], lease).and_then(Iterator::collect).map_err(fail)
    }

    async fn post(
        &self,
        shard: ShardId,
        letters: &[StoredLetter],
        limit: u64,
    ) -> Result<Vec<Option<u64>>, JournalError> {
        self.together("post letters", |connection| {
            let mut count = connection.prepare_cached(sql::COUNT_LETTERS)?;
            let mut next = connection.prepare_cached(sql::NEXT_NUMBER)?;
            let mut post = connection.prepare_cached(sql::POST)?;
            let mut posted = Vec::with_capacity(letters.len());
            for StoredLetter { actor, bytes } in letters {
                let name = (actor.actor_type(), actor.id());
                let held: u64 =
                    count.query_row(params![shard.0, name.0, name.1], |row| row.get(0))?;
                if held >= limit {
                    posted.push(None);
                    continue;
                }
                let number: u64 = next.query_row([shard.0], |row| row.get(0))?;
                post.execute(params![key(shard, number), shard.0, name.0, name.1, bytes])?;
                posted.push(Some(number));
            }
            Ok(posted)
        })
    }

    async fn take(
        &self,
        shard: ShardId,
        after: u64,
        max_bytes: usize,
    ) -> Result<Vec<(u64, StoredLetter)>, JournalError> {
        let fail = self.fail("take letters");
        let reader = self.reader();
        let mut statement = reader.prepare_cached(sql::TAKE).map_err(&fail)?;
        let mut rows = statement.query([key(shard, after), keys(shard).1]).map_err(&fail)?;
        let (mut letters, mut bytes_read) = (Vec::new(), 0);
        while bytes_read < max_bytes {
            let Some(row) = rows.next().map_err(&fail)? else { break };
            let letter = actor_id(row)
                .and_then(|actor| Ok(StoredLetter { actor, bytes: row.get(3)? }))
                .map_err(&fail)?;
            bytes_read += letter.bytes.len();
            letters.push((low(row.get(0).map_err(&fail)?), letter));
        }
        Ok(letters)
    }

    async fn letters_to(
        &self,
        shard: ShardId,
        actor: &ActorId,
        after: u64,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, JournalError> {
        let fail = self.fail("take letters");
        let reader = self.reader();
        let mut statement = reader.prepare_cached(sql::LETTERS_TO).map_err(&fail)?;
        let mut rows = statement
            .query(params![shard.0, actor.actor_type(), actor.id(), key(shard, after)])
            .map_err(&fail)?;
        let (mut letters, mut bytes_read) = (Vec::new(), 0);
        while bytes_read < max_bytes {
            let Some(row) = rows.next().map_err(&fail)? else { break };
            let letter: Vec<u8> = row.get(1).map_err(&fail)?;
            bytes_read += letter.len();
            letters.push((low(row.get(0).map_err(&fail)?), letter));
        }
        Ok(letters)
    }

    async fn settle(
        &self,
        shard: ShardId,
        letters: &[u64],
        replies: &[StoredReply],
    ) -> Result<(), JournalError> {
        self.together("settle letters", |connection| {
            let mut settle = connection.prepare_cached(sql::SETTLE)?;
            for number in letters {
                settle.execute([key(shard, *number)])?;
            }
            let mut reply = connection.prepare_cached(sql::REPLY)?;
            for StoredReply { client, bytes } in replies {
                reply.execute(params![client, now_ms(), bytes])?;
            }
            Ok(())
        })
    }

    async fn collect(
        &self,
        client: &str,
        done: &[u64],
    ) -> Result<Vec<(u64, Vec<u8>)>, JournalError> {
        if !done.is_empty() {
            self.together("collect replies", |connection| {
                let mut delete = connection.prepare_cached(sql::DELETE_REPLY)?;
                for number in done {
                    delete.execute([number])?;
                }
                Ok(())
            })?;
        }
        let fail = self.fail("collect replies");
        let reader = self.reader();
        let mut statement = reader.prepare_cached(sql::COLLECT).map_err(&fail)?;
        statement
            .query_map([client], |row| Ok((row.get(0)?, row.get(1)?)))
            .and_then(Iterator::collect)
            .map_err(fail)
    }

    async fn forget_replies(&self, older_than: Duration) -> Result<(), JournalError> {
        self.together("forget replies", |connection| {
            let before = now_ms().saturating_sub(ms(older_than));
            connection.execute(sql::FORGET_REPLIES, [before]).map(drop)
        })
    }

    /// SQLite does not tell other processes.
    async fn listen(&self, _: &str) -> Result<Option<UnboundedReceiver<Note>>, JournalError> {
        Ok(None)
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
