//! Says to other nodes that there is something for them.
//!
//! A transaction that notifies holds a lock of the whole server from before its commit until that is on the disk, so
//! those that do commit one after the other. So it is not the transaction that writes: a note goes out when what it
//! is about can be read, by itself, and does not wait for the disk.
//!
//! Notes are hints. What one was about is found without it, by looking, within a second.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sqlx::PgPool;
use tokio::sync::Mutex as Turn;

use super::cluster_sql::NOTIFY;
use super::error::Failure;
use super::pool::{Ask, Connections};
use crate::limits::Durability;
use crate::mailbox::error_text;

/// A connection of its own: notes do not wait for those who write, nor those for notes.
const CONNECTIONS: usize = 1;
/// How long a statement may take. As those about leases; a note that is as late is of little use.
const PATIENCE: Duration = Duration::from_secs(3);
/// After a failure. Until then everything is found by looking.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Notifier {
    channel: String,
    connections: Connections,
    /// Each once, however often it is due.
    due: Mutex<BTreeSet<String>>,
    /// One statement at a time: what is due meanwhile goes with the next one.
    turn: Turn<()>,
}

impl Notifier {
    pub(super) fn new(origin: PgPool, channel: String) -> Arc<Self> {
        // Nothing is lost with a note, so none waits for the disk.
        let durability = Durability::ProcessCrash;
        let connections =
            Connections::new(origin, "journal notifier", CONNECTIONS, PATIENCE, durability);
        Arc::new(Self { channel, connections, due: Mutex::default(), turn: Turn::new(()) })
    }

    /// What listeners listen to.
    pub(super) fn channel(&self) -> &str {
        &self.channel
    }

    /// Sends notes about what can be read now. Waits for nothing, and belongs into a task of a runtime.
    pub(super) fn notify(self: &Arc<Self>, notes: impl IntoIterator<Item = String>) {
        self.due.lock().unwrap_or_else(PoisonError::into_inner).extend(notes);
        let notifier = self.clone();
        // One each time: the runtime of an earlier one may have ended before its turn.
        tokio::spawn(async move {
            let _turn = notifier.turn.lock().await;
            let due = notifier.due();
            if let Err(failure) = notifier.send(&due).await {
                let (Failure::NoConnection(error) | Failure::Asked(error)) = failure;
                metrics::counter!("journal_failed_notes_total").increment(due.len() as u64);
                tracing::warn!(
                    error = error_text(&error),
                    "other nodes are not told of letters and replies: they look, once a second"
                );
                tokio::time::sleep(PAUSE).await;
            }
        });
    }

    /// Everything that is due, which it is then no more.
    fn due(&self) -> Vec<String> {
        let due = std::mem::take(&mut *self.due.lock().unwrap_or_else(PoisonError::into_inner));
        due.into_iter().collect()
    }

    async fn send(&self, notes: &[String]) -> Result<(), Failure> {
        if notes.is_empty() {
            return Ok(());
        }
        let notify = sqlx::query(NOTIFY).bind(&self.channel).bind(notes);
        notify.rows_from(&self.connections).await.map(drop)
    }
}
