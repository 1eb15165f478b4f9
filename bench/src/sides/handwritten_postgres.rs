//! The counter as a user would make it durable by hand in PostgreSQL: one transaction a message.

use actix::prelude::*;
use anyhow::Result;
use sqlx::PgPool;

use crate::counter::{Add, Count, STATE_BYTES};
use crate::load::Side;

struct Counter {
    id: i64,
    state: Count,
    pool: PgPool,
}

/// Makes the tables in the schema that the pool's connections search first.
pub(crate) async fn create(pool: &PgPool) -> Result<()> {
    let tables = "CREATE TABLE state (id BIGINT PRIMARY KEY, state TEXT NOT NULL);
                  CREATE TABLE message (number BIGSERIAL PRIMARY KEY, actor BIGINT NOT NULL,
                                        body TEXT NOT NULL)";
    sqlx::raw_sql(tables).execute(pool).await?;
    Ok(())
}

/// Writes a message and the state after it.
async fn store(pool: &PgPool, id: i64, add: &Add, state: &Count) -> Result<()> {
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

impl Actor for Counter {
    type Context = Context<Self>;
    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1024);
    }
}

impl Handler<Add> for Counter {
    type Result = AtomicResponse<Self, u64>;

    fn handle(&mut self, add: Add, _: &mut Self::Context) -> Self::Result {
        let mut state = self.state.clone();
        let reply = state.add(&add);
        let (id, pool) = (self.id, self.pool.clone());
        let stored = async move {
            store(&pool, id, &add, &state).await?;
            anyhow::Ok(state)
        };
        AtomicResponse::new(Box::pin(stored.into_actor(self).map(move |stored, act, ctx| {
            match stored {
                Ok(state) => act.state = state,
                Err(error) => {
                    eprintln!("the hand-written actor stops: {error}");
                    ctx.terminate();
                }
            }
            reply
        })))
    }
}

pub(crate) struct Handwritten(Vec<Addr<Counter>>);

impl Handwritten {
    pub(crate) fn start(pool: &PgPool, actors: usize) -> Self {
        let start = |id| {
            Counter { id: id as i64, state: Count::of(STATE_BYTES), pool: pool.clone() }.start()
        };
        Self((0..actors).map(start).collect())
    }
}

impl Side for Handwritten {
    async fn ask(&self, _: usize, actor: usize) -> Result<()> {
        self.0[actor].send(Add::sample()).await?;
        Ok(())
    }
}
