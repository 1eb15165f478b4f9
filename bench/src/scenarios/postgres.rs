//! Asks per second on PostgreSQL: ours, by hand, and what the server allows.

use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use duroxide_actix::journal::EventJournal;
use duroxide_pg::PostgresProvider;
use serde_json::{Value, json};
use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};

use super::WARM_UP;
use crate::Common;
use crate::counter::STATE_BYTES;
use crate::load::{Shape, ask, median, middle, percentile, rounded};
use crate::sides::handwritten::{Handwritten, Pool};
use crate::sides::handwritten_postgres::create;
use crate::sides::limit::COMMIT_BYTES;
use crate::sides::ours::Ours;

/// Everything is in a schema that goes at the end, or with the next run if there was no end.
pub(super) const SCHEMA: &str = "journal_bench";

pub(crate) async fn run(shape: Shape, common: Common) -> Result<Value> {
    let url = std::env::var("DATABASE_URL").context("set DATABASE_URL=postgres://...")?;
    let load = shape.load();
    let time = Duration::from_secs(common.seconds);
    let durability = common.durability.durability();
    clear(&mut url.parse::<PgConnectOptions>()?.connect().await?).await?;
    let provider = Arc::new(PostgresProvider::new_with_schema(&url, Some(SCHEMA)).await?);
    let options = (*provider.pool().connect_options()).clone();
    let options = options.options([("search_path", SCHEMA)]);
    let pool = PgPoolOptions::new().max_connections(10).connect_with(options.clone()).await?;
    create(&pool).await?;
    let mut raw = options.connect().await?;
    create_raw(&mut raw).await?;
    let journal = EventJournal::builder().durability(durability).open(provider.clone()).await?;
    let ours = Rc::new(Ours::start(&journal, load.actors, STATE_BYTES).await?);
    let by_hand = Rc::new(Handwritten::start(&Pool::Postgres(pool.clone()), load.actors));
    ask(&ours, load, WARM_UP).await?;
    ask(&by_hand, load, WARM_UP).await?;
    let (mut of_ours, mut of_hand, mut of_raw) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..common.rounds {
        of_ours.push(ask(&ours, load, time).await?);
        of_hand.push(ask(&by_hand, load, time).await?);
        of_raw.push(single_row(&mut raw, time / 2).await?);
    }
    journal.close().await?;
    clear(&mut raw).await?;
    let (ours, by_hand, raw) = (median(of_ours)?, median(of_hand)?, middle(of_raw)?);
    Ok(json!({
        "scenario": "postgres",
        "shape": shape.name(),
        "durability": common.durability.name(),
        "ours": ours,
        "handwritten": by_hand,
        "limit": { "single_row_us": rounded(raw, 1) },
        "ratio": {
            "handwritten": rounded(ours.per_s / by_hand.per_s, 1),
            "limit": rounded(ours.p50_us / raw, 3),
        },
    }))
}

/// Makes the table of [`single_row`].
pub(super) async fn create_raw(connection: &mut PgConnection) -> Result<()> {
    sqlx::raw_sql("CREATE TABLE raw (number BIGSERIAL PRIMARY KEY, body BYTEA NOT NULL)")
        .execute(connection)
        .await?;
    Ok(())
}

/// The median of one row a transaction, in microseconds.
pub(super) async fn single_row(connection: &mut PgConnection, time: Duration) -> Result<f64> {
    let row = vec![7_u8; COMMIT_BYTES];
    let (begin, mut taken) = (Instant::now(), Vec::new());
    while begin.elapsed() < time {
        let start = Instant::now();
        let insert = sqlx::query("INSERT INTO raw (body) VALUES ($1)").bind(&row);
        insert.execute(&mut *connection).await?;
        taken.push(start.elapsed());
    }
    taken.sort_unstable();
    Ok(percentile(&taken, 0.5).as_secs_f64() * 1e6)
}

pub(super) async fn clear(connection: &mut PgConnection) -> Result<()> {
    let statement = format!("DROP SCHEMA IF EXISTS {SCHEMA} CASCADE");
    sqlx::raw_sql(&statement).execute(connection).await?;
    Ok(())
}
