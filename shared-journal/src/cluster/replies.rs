//! The replies that come through the store, and who waits for them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::{Notify, oneshot};

use super::letter::{Answer, Outcome};
use super::news::News;
use super::store::ClusterStore;
use crate::id::MessageId;
use crate::mailbox::error_text;

pub(super) struct Replies {
    /// Unique to this process: replies to an earlier one are of no use.
    pub(super) client: String,
    waiting: Mutex<FxHashMap<MessageId, Vec<oneshot::Sender<Outcome>>>>,
    pub(super) wake: Notify,
    news: News,
}

impl Replies {
    pub(super) fn new(client: String, news: News) -> Self {
        Self { client, waiting: Mutex::default(), wake: Notify::new(), news }
    }

    /// Waits for the reply to a message that is posted next.
    pub(super) fn expect(&self, id: MessageId, sender: oneshot::Sender<Outcome>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(id).or_default().push(sender);
    }

    /// Collects replies for as long as the node is there.
    pub(super) async fn collect(self: Arc<Self>, store: Arc<dyn ClusterStore>) {
        let mut done = Vec::new();
        loop {
            let idle = self.forget_cancelled() && done.is_empty();
            let look = if idle { Duration::from_secs(3600) } else { self.news.patience() };
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(look) => {}
            }
            match store.collect(&self.client, &done).await {
                Ok(replies) => {
                    done.clear();
                    for (number, bytes) in replies {
                        done.push(number);
                        match Answer::decode(&bytes) {
                            Ok(answer) => self.arrived(answer),
                            Err(error) => tracing::error!(
                                number,
                                error = error_text(&error),
                                "a reply is corrupt"
                            ),
                        }
                    }
                    if !done.is_empty() {
                        // They are removed with the next look.
                        self.wake.notify_one();
                    }
                }
                Err(error) => {
                    tracing::warn!(error = error_text(&error), "replies cannot be collected")
                }
            }
        }
    }

    /// Forgets senders that wait no more. Whether nobody waits.
    fn forget_cancelled(&self) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
        waiting.is_empty()
    }

    fn arrived(&self, answer: Answer) {
        let senders = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.remove(&answer.id)
        };
        for sender in senders.unwrap_or_default() {
            let _ = sender.send(answer.outcome.clone());
        }
    }
}
