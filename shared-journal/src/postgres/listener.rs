//! The connection that hears of letters and replies.

use std::time::Duration;

use sqlx::postgres::{PgListener, PgPoolOptions};
use sqlx::{Executor, PgPool};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::timeout;

use super::connection::{CONNECT, PROOF, no_answer, options};
use super::error::Failure;
use crate::cluster::Note;
use crate::id::ShardId;

/// Longer than [`PROOF`]: what is lost with the connection is found by looking, once a second, and a server
/// that is busy is there.
const PATIENCE: Duration = Duration::from_secs(5);

/// For a process that is stopped and does not read: as long as its notifications wait to be sent the server keeps
/// everything that was ever deleted, for all of the database. After so long it hangs up instead. No server before
/// PostgreSQL 12 can, and none does by a socket of the file system.
const HANG_UP: &str = "
    SELECT set_config('tcp_user_timeout', '30000', false)
    WHERE EXISTS (SELECT FROM pg_settings WHERE name = 'tcp_user_timeout')";

/// Listens to a channel, on a connection of its own. The notes end when it is lost, or silent.
pub(super) async fn listen(
    origin: &PgPool,
    channel: &str,
    own: String,
) -> Result<UnboundedReceiver<Note>, Failure> {
    // sqlx listens on a connection of a pool only. It is the only one of this one.
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .max_lifetime(None)
        .idle_timeout(None)
        .acquire_timeout(CONNECT)
        .connect_lazy_with(options(origin, "journal listener"));
    let mut listener = PgListener::connect_with(&pool).await.map_err(Failure::NoConnection)?;
    // Whoever reads the notes has to know of the gap before anything is heard again.
    listener.eager_reconnect(false);
    let listens = timeout(CONNECT, async {
        listener.execute(HANG_UP).await?;
        listener.listen(channel).await
    });
    listens.await.unwrap_or_else(|_| Err(no_answer(CONNECT)))?;
    let (notes, heard) = unbounded_channel();
    tokio::spawn(hear(listener, notes, own));
    Ok(heard)
}

/// Passes on what is heard, until nobody wants to know any more or the server is not there.
async fn hear(mut listener: PgListener, notes: UnboundedSender<Note>, own: String) {
    loop {
        let told = tokio::select! {
            // `None` is a connection that was lost: what came meanwhile was not heard.
            told = listener.try_recv() => told,
            () = notes.closed() => break,
            () = tokio::time::sleep(PROOF) => {
                let proof = sqlx::query("SELECT 1").execute(&mut listener);
                match timeout(PATIENCE, proof).await {
                    Ok(Ok(_)) => continue,
                    _ => break,
                }
            }
        };
        let Ok(Some(notification)) = told else { break };
        let payload = notification.payload();
        let shard = payload.strip_prefix('i').and_then(|shard| shard.parse().ok());
        let note = match shard {
            Some(shard) => Note::Letters(ShardId(shard)),
            None if payload == own => Note::Replies,
            None => continue,
        };
        if notes.send(note).is_err() {
            break;
        }
    }
}
