//! The replies that come through the store, and who waits for them.

use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::{Notify, oneshot};

use super::letter::{Answer, Letter, Outcome};
use super::news::News;
use super::store::ClusterStore;
use crate::id::{ActorId, MessageId, MessageKey};
use crate::mailbox::error_text;

/// Callers' keys for which nobody waits any more that are kept: their replies may still come.
const LEFT: usize = 10_000;

/// Who waits under an id, and with which message.
struct Waiting {
    about: u64,
    senders: Vec<oneshot::Sender<Outcome>>,
    /// The id can come again with another message.
    chosen: bool,
}

pub(super) struct Replies {
    /// Unique to this process: replies to an earlier one are of no use.
    pub(super) client: String,
    /// By the id and the name under which replies come. An answer has only its id, so two messages with
    /// one id, to two actors perhaps, need names of their own: the first has the number 0.
    waiting: Mutex<FxHashMap<(MessageId, usize), Waiting>>,
    hasher: RandomState,
    pub(super) wake: Notify,
    news: News,
}

impl Replies {
    pub(super) fn new(client: String, news: News) -> Self {
        let (waiting, hasher, wake) = (Mutex::default(), RandomState::new(), Notify::new());
        Self { client, waiting, hasher, wake, news }
    }

    /// Waits for the reply to a message that is posted next. It is to be sent to the client of this name.
    pub(super) fn expect(
        &self,
        (actor, id, letter): (&ActorId, MessageId, &Letter),
        sender: oneshot::Sender<Outcome>,
    ) -> String {
        let Letter { key, kind, payload, .. } = letter;
        let about = self.hasher.hash_one((actor, kind, payload.bytes()));
        let chosen = matches!(key, MessageKey::Caller(_));
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut name = 0;
        while waiting.get(&(id, name)).is_some_and(|waiting| waiting.about != about) {
            name += 1;
        }
        let new = || Waiting { about, senders: Vec::new(), chosen };
        waiting.entry((id, name)).or_insert_with(new).senders.push(sender);
        self.name(name)
    }

    /// Of a client. The store tells of the first one's replies; those of others are looked for.
    fn name(&self, number: usize) -> String {
        if number == 0 { self.client.clone() } else { format!("{}+{number}", self.client) }
    }

    /// Collects replies for as long as the node is there.
    pub(super) async fn collect(self: Arc<Self>, store: Arc<dyn ClusterStore>) {
        let mut done: Vec<Vec<u64>> = vec![Vec::new()];
        loop {
            let idle = self.forget_cancelled() && done.iter().all(Vec::is_empty);
            let look = if idle { Duration::from_secs(3600) } else { self.news.patience() };
            tokio::select! {
                () = self.wake.notified() => {}
                () = tokio::time::sleep(look) => {}
            }
            done.resize_with(self.names().max(done.len()), Vec::new);
            for (name, done) in done.iter_mut().enumerate() {
                self.collect_from(&*store, name, done).await;
            }
        }
    }

    /// Collects what came under a name, after what is done there was removed.
    async fn collect_from(&self, store: &dyn ClusterStore, name: usize, done: &mut Vec<u64>) {
        let replies = match store.collect(&self.name(name), done).await {
            Ok(replies) => replies,
            Err(error) => {
                tracing::warn!(error = error_text(&error), "replies cannot be collected");
                return;
            }
        };
        done.clear();
        for (number, bytes) in replies {
            done.push(number);
            match Answer::decode(&bytes) {
                Ok(answer) => self.arrived(answer, name),
                Err(error) => {
                    tracing::error!(number, error = error_text(&error), "a reply is corrupt")
                }
            }
        }
        if !done.is_empty() {
            // They are removed with the next look.
            self.wake.notify_one();
        }
    }

    /// How many names are in use.
    fn names(&self) -> usize {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.keys().map(|(_, name)| name + 1).max().unwrap_or(1)
    }

    /// Forgets senders that wait no more. Whether nobody waits.
    fn forget_cancelled(&self) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut idle = true;
        let many = waiting.len() > LEFT;
        waiting.retain(|_, Waiting { senders, chosen, .. }| {
            senders.retain(|sender| !sender.is_closed());
            idle &= senders.is_empty();
            !senders.is_empty() || (*chosen && !many)
        });
        idle
    }

    fn arrived(&self, answer: Answer, name: usize) {
        let came = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.remove(&(answer.id, name))
        };
        for sender in came.into_iter().flat_map(|waiting| waiting.senders) {
            let _ = sender.send(answer.outcome.clone());
        }
    }
}
