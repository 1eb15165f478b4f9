//! Whether the store tells of letters and replies, or has to be asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::node::Shared;
use super::store::Note;
use crate::mailbox::error_text;

/// How often inboxes are looked at where the store does not tell of letters.
const LOOK: Duration = Duration::from_millis(50);
/// And where it does, should it have been missed.
const LOOK_IF_TOLD: Duration = Duration::from_secs(1);

/// Whether the store tells of letters and replies, or has to be asked.
#[derive(Debug, Clone, Default)]
pub(super) struct News(Arc<AtomicBool>);

impl News {
    /// How long whoever waits for something does so before he looks.
    pub(super) fn patience(&self) -> Duration {
        if self.are_told() { LOOK_IF_TOLD } else { LOOK }
    }

    /// Whether what comes after a look is told of, so that nobody has to look again at once.
    pub(super) fn are_told(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    fn set(&self, told: bool) {
        self.0.store(told, Ordering::Release);
    }
}

/// Wakes whom the store has news for. What is missed is found by looking.
pub(super) async fn listen(shared: Arc<Shared>) {
    loop {
        match shared.store.listen(shared.replies.client()).await {
            Ok(None) => return,
            Ok(Some(mut notes)) => {
                shared.news.set(true);
                shared.wake_all();
                while let Some(note) = notes.recv().await {
                    match note {
                        Note::Replies => shared.replies.wake.notify_one(),
                        Note::Letters(shard) => {
                            if let Some(tenure) = shared.tenure(shard) {
                                tenure.wake.notify_one();
                            }
                        }
                    }
                }
                shared.news.set(false);
            }
            Err(error) => {
                tracing::warn!(error = error_text(&error), "the store cannot tell of letters")
            }
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
