//! Leases, inboxes and replies in PostgreSQL.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::postgres::PgRow;
use sqlx::postgres::types::PgInterval;
use sqlx::{Error, Row};
use tokio::sync::mpsc::UnboundedReceiver;

use super::cluster_sql as sql;
use super::listener::listen;
use super::pool::Ask;
use super::provider::PostgresActorProvider;
use super::rows::{actor_id, signed, unsigned};
use crate::cluster::{
    ClusterStore, Founding, LETTERS_AT_ONCE, Lease, Note, StoredLetter, StoredReply,
};
use crate::error::JournalError;
use crate::id::{ActorId, ShardId};

#[async_trait]
impl ClusterStore for PostgresActorProvider {
    async fn found(&self, founding: &Founding) -> Result<Founding, JournalError> {
        let fail = self.fail("read the founding");
        sqlx::query(&self.sql(sql::FOUND))
            .bind(&founding.cluster)
            .bind(i64::from(founding.shards))
            .execute_on(&self.leases)
            .await
            .map_err(&fail)?;
        let read = sqlx::query(&self.sql(sql::READ_FOUNDING)).row_from(&self.leases).await;
        read.and_then(|row| {
            let row = row.ok_or(Error::RowNotFound)?;
            let shards = u32::try_from(row.try_get::<i64, _>(1)?).unwrap_or(u32::MAX);
            Ok(Founding { cluster: row.try_get(0)?, shards })
        })
        .map_err(fail)
    }

    async fn claim(
        &self,
        shard: ShardId,
        node: &str,
        lease: Duration,
    ) -> Result<bool, JournalError> {
        let claimed = sqlx::query(&self.sql(sql::CLAIM))
            .bind(i64::from(shard.0))
            .bind(node)
            .bind(interval(lease))
            .execute_on(&self.leases)
            .await;
        claimed.map(|rows| rows > 0).map_err(self.fail("claim a shard"))
    }

    async fn renew(
        &self,
        shards: &[ShardId],
        node: &str,
        lease: Duration,
    ) -> Result<(), JournalError> {
        let renewed = sqlx::query(&self.sql(sql::RENEW))
            .bind(shards.iter().map(|shard| i64::from(shard.0)).collect::<Vec<_>>())
            .bind(node)
            .bind(interval(lease))
            .execute_on(&self.leases)
            .await;
        renewed.map(drop).map_err(self.fail("renew leases"))
    }

    async fn release(
        &self,
        shard: ShardId,
        node: &str,
        to: Option<(&str, Duration)>,
    ) -> Result<(), JournalError> {
        let released = sqlx::query(&self.sql(sql::RELEASE))
            .bind(i64::from(shard.0))
            .bind(node)
            .bind(to.map(|(node, _)| node))
            .bind(interval(to.map_or(Duration::ZERO, |(_, reserved)| reserved)))
            .execute_on(&self.leases)
            .await;
        released.map(drop).map_err(self.fail("release a shard"))
    }

    async fn want(&self, shard: ShardId, node: &str, wish: Duration) -> Result<(), JournalError> {
        let wanted = sqlx::query(&self.sql(sql::WANT))
            .bind(i64::from(shard.0))
            .bind(node)
            .bind(interval(wish))
            .execute_on(&self.leases)
            .await;
        wanted.map(drop).map_err(self.fail("ask for a shard"))
    }

    async fn leases(&self) -> Result<Vec<Lease>, JournalError> {
        let rows = sqlx::query(&self.sql(sql::LEASES)).rows_from(&self.leases).await;
        let lease = |row: &PgRow| {
            Ok(Lease {
                shard: ShardId(u32::try_from(row.try_get::<i64, _>(0)?).unwrap_or(u32::MAX)),
                node: row.try_get(1)?,
                runs: row.try_get(2)?,
                wanted_by: row.try_get(3)?,
            })
        };
        rows.and_then(|rows| rows.iter().map(lease).collect()).map_err(self.fail("read leases"))
    }

    async fn post(
        &self,
        shard: ShardId,
        letters: &[StoredLetter],
        limit: u64,
    ) -> Result<Vec<Option<u64>>, JournalError> {
        let fail = self.fail("post letters");
        let rows = sqlx::query(&self.sql(sql::POST))
            .bind(i64::from(shard.0))
            .bind(i64::try_from(letters.len()).unwrap_or(i64::MAX))
            .bind(letters.iter().map(|it| it.actor.actor_type()).collect::<Vec<_>>())
            .bind(letters.iter().map(|it| it.actor.id()).collect::<Vec<_>>())
            .bind(letters.iter().map(|it| it.bytes.as_slice()).collect::<Vec<_>>())
            .bind(signed(limit))
            .rows_from(&self.letters)
            .await
            .map_err(&fail)?;
        let mut posted = vec![None; letters.len()];
        for row in rows {
            let (number, last) =
                unsigned(&row, 0).and_then(|it| Ok((it, unsigned(&row, 1)?))).map_err(&fail)?;
            let place = number + letters.len() as u64 - last - 1;
            if let Some(letter) = usize::try_from(place).ok().and_then(|it| posted.get_mut(it)) {
                *letter = Some(number);
            }
        }
        if posted.iter().any(Option::is_some) {
            self.notifier.notify([format!("i{shard}")]);
        }
        Ok(posted)
    }

    async fn take(
        &self,
        shard: ShardId,
        after: u64,
        max_bytes: usize,
    ) -> Result<Vec<(u64, StoredLetter)>, JournalError> {
        let rows = sqlx::query(&self.sql(sql::TAKE))
            .bind(i64::from(shard.0))
            .bind(signed(after))
            .bind(i64::try_from(max_bytes).unwrap_or(i64::MAX))
            .bind(LETTERS_AT_ONCE as i64)
            .rows_from(&self.letters)
            .await;
        let letter = |row: &PgRow| {
            let letter = StoredLetter { actor: actor_id(row)?, bytes: row.try_get(3)? };
            Ok((unsigned(row, 0)?, letter))
        };
        rows.and_then(|rows| rows.iter().map(letter).collect()).map_err(self.fail("take letters"))
    }

    async fn letters_to(
        &self,
        shard: ShardId,
        actor: &ActorId,
        after: u64,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, JournalError> {
        let rows = sqlx::query(&self.sql(sql::LETTERS_TO))
            .bind(i64::from(shard.0))
            .bind(actor.actor_type())
            .bind(actor.id())
            .bind(signed(after))
            .bind(i64::try_from(max_bytes).unwrap_or(i64::MAX))
            .bind(LETTERS_AT_ONCE as i64)
            .rows_from(&self.letters)
            .await;
        let letter = |row: &PgRow| Ok((unsigned(row, 0)?, row.try_get(1)?));
        rows.and_then(|rows| rows.iter().map(letter).collect()).map_err(self.fail("take letters"))
    }

    async fn settle(
        &self,
        shard: ShardId,
        letters: &[u64],
        replies: &[StoredReply],
    ) -> Result<(), JournalError> {
        if !replies.is_empty() {
            sqlx::query(&self.sql(sql::REPLY))
                .bind(replies.iter().map(|it| it.client.as_str()).collect::<Vec<_>>())
                .bind(replies.iter().map(|it| it.bytes.as_slice()).collect::<Vec<_>>())
                .execute_on(&self.letters)
                .await
                .map_err(self.fail("leave replies"))?;
            self.notifier.notify(replies.iter().map(|it| format!("r{}", it.client)));
        }
        let settled = sqlx::query(&self.sql(sql::SETTLE))
            .bind(i64::from(shard.0))
            .bind(numbers(letters))
            .execute_on(&self.letters)
            .await;
        settled.map(drop).map_err(self.fail("settle letters"))
    }

    async fn collect(
        &self,
        client: &str,
        done: &[u64],
    ) -> Result<Vec<(u64, Vec<u8>)>, JournalError> {
        let rows = sqlx::query(&self.sql(sql::COLLECT))
            .bind(client)
            .bind(numbers(done))
            .rows_from(&self.letters)
            .await;
        let reply = |row: &PgRow| Ok((unsigned(row, 0)?, row.try_get(1)?));
        rows.and_then(|rows| rows.iter().map(reply).collect()).map_err(self.fail("collect replies"))
    }

    async fn forget_replies(&self, older_than: Duration) -> Result<(), JournalError> {
        let forgotten = sqlx::query(&self.sql(sql::FORGET_REPLIES))
            .bind(interval(older_than))
            .execute_on(&self.letters)
            .await;
        forgotten.map(drop).map_err(self.fail("forget replies"))
    }

    async fn listen(&self, client: &str) -> Result<Option<UnboundedReceiver<Note>>, JournalError> {
        let heard = listen(&self.origin, self.notifier.channel(), format!("r{client}")).await;
        heard.map(Some).map_err(self.fail("listen"))
    }
}

fn numbers(numbers: &[u64]) -> Vec<i64> {
    numbers.iter().copied().map(signed).collect()
}

fn interval(time: Duration) -> PgInterval {
    let microseconds = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}
