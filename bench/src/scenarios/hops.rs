//! What a lone ask between nodes takes at least: its two commits and the ways between them, on bare rows. A row
//! is posted and noted, another thread hears of it, reads it, commits, and leaves a reply in the same way.

use std::time::{Duration, Instant};

use anyhow::Result;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgListener, PgPoolOptions};
use sqlx::{ConnectOptions, Executor};

use crate::load::percentile;
use crate::sides::limit::COMMIT_BYTES;

/// The end of the other thread, as a note.
const END: &str = "end";

pub(super) async fn create(connection: &mut PgConnection) -> Result<()> {
    let tables = "CREATE TABLE hop_letter (number BIGINT PRIMARY KEY, body BYTEA NOT NULL);
                  CREATE TABLE hop_reply (number BIGINT PRIMARY KEY, body BYTEA NOT NULL)";
    connection.execute(tables).await?;
    Ok(())
}

/// The median of an ask, in microseconds.
pub(super) async fn lone(options: &PgConnectOptions, time: Duration) -> Result<f64> {
    let mut replies = listener(options, "hop_reply").await?;
    let (of_answers, ready) = (options.clone(), tokio::sync::oneshot::channel());
    let answering = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(answer(&of_answers, ready.0))
    });
    ready.1.await?;
    let (mut post, mut collect) = (options.connect().await?, options.connect().await?);
    let mut note = quick(options).await?;
    let row = vec![7_u8; COMMIT_BYTES];
    let (begin, mut taken) = (Instant::now(), Vec::new());
    let mut number: i64 = sqlx::query_scalar("SELECT coalesce(max(number), 0) FROM hop_letter")
        .fetch_one(&mut post)
        .await?;
    while begin.elapsed() < time {
        let start = Instant::now();
        number += 1;
        insert(&mut post, "hop_letter", number, &row).await?;
        notify(&mut note, "hop_letter", &number.to_string()).await?;
        replies.recv().await?;
        read(&mut collect, "hop_reply", number).await?;
        taken.push(start.elapsed());
    }
    notify(&mut note, "hop_letter", END).await?;
    answering.join().expect("it does not panic")?;
    taken.sort_unstable();
    Ok(percentile(&taken, 0.5).as_secs_f64() * 1e6)
}

/// Answers until it is told to end.
async fn answer(options: &PgConnectOptions, ready: tokio::sync::oneshot::Sender<()>) -> Result<()> {
    let mut letters = listener(options, "hop_letter").await?;
    let (mut take, mut commit) = (options.connect().await?, options.connect().await?);
    let (mut reply, mut note) = (quick(options).await?, quick(options).await?);
    let row = vec![7_u8; COMMIT_BYTES];
    let _ = ready.send(());
    loop {
        let heard = letters.recv().await?;
        let Ok(number) = heard.payload().parse() else { return Ok(()) };
        read(&mut take, "hop_letter", number).await?;
        sqlx::query("INSERT INTO raw (body) VALUES ($1)").bind(&row).execute(&mut commit).await?;
        insert(&mut reply, "hop_reply", number, &row).await?;
        notify(&mut note, "hop_reply", heard.payload()).await?;
    }
}

async fn listener(options: &PgConnectOptions, channel: &str) -> Result<PgListener> {
    let pool = PgPoolOptions::new().max_connections(1).connect_lazy_with(options.clone());
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.listen(channel).await?;
    Ok(listener)
}

/// A connection that does not wait for the disk.
async fn quick(options: &PgConnectOptions) -> Result<PgConnection> {
    Ok(options.clone().options([("synchronous_commit", "off")]).connect().await?)
}

async fn insert(to: &mut PgConnection, table: &str, number: i64, row: &[u8]) -> Result<()> {
    let insert = format!("INSERT INTO {table} VALUES ($1, $2)");
    sqlx::query(&insert).bind(number).bind(row).execute(to).await?;
    Ok(())
}

async fn read(from: &mut PgConnection, table: &str, number: i64) -> Result<()> {
    let read = format!("SELECT number, body FROM {table} WHERE number >= $1");
    sqlx::query(&read).bind(number).fetch_one(from).await?;
    Ok(())
}

async fn notify(on: &mut PgConnection, channel: &str, note: &str) -> Result<()> {
    sqlx::query("SELECT pg_notify($1, $2)").bind(channel).bind(note).execute(on).await?;
    Ok(())
}
