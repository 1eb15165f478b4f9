//! One transaction a message in PostgreSQL, for the counter that is durable by hand.

use anyhow::Result;
use sqlx::PgPool;

use crate::counter::{Add, Count};

/// Makes the tables in the schema that the pool's connections search first.
pub(crate) async fn create(pool: &PgPool) -> Result<()> {
    let tables = "CREATE TABLE state (id BIGINT PRIMARY KEY, state TEXT NOT NULL);
                  CREATE TABLE message (number BIGSERIAL PRIMARY KEY, actor BIGINT NOT NULL,
                                        body TEXT NOT NULL)";
    sqlx::raw_sql(tables).execute(pool).await?;
    Ok(())
}

/// Writes a message and the state after it.
pub(super) async fn store(pool: &PgPool, id: i64, add: &Add, state: &Count) -> Result<()> {
    let mut transaction = pool.begin().await?;
    sqlx::query("INSERT INTO message (actor, body) VALUES ($1, $2)")
        .bind(id)
        .bind(serde_json::to_string(add)?)
        .execute(&mut *transaction)
        .await?;
    sqlx::query(
        "INSERT INTO state (id, state) VALUES ($1, $2)
         ON CONFLICT (id) DO UPDATE SET state = excluded.state",
    )
    .bind(id)
    .bind(serde_json::to_string(state)?)
    .execute(&mut *transaction)
    .await?;
    Ok(transaction.commit().await?)
}
