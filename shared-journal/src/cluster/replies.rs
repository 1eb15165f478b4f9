//! The replies that come through the store, and who waits for them.

use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lru::LruCache;
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, oneshot};

use super::letter::{Answer, Letter, Outcome};
use super::news::News;
use super::store::ClusterStore;
use crate::id::{ActorId, MessageId, MessageKey};
use crate::mailbox::error_text;

/// Keys of callers whose messages are remembered.
const KEYS: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
/// Messages with one key, to different actors or with different contents, that are told apart.
const NAMES: usize = 16;

pub(super) struct Replies {
    /// Unique to this process: replies to an earlier one are of no use.
    client: String,
    waiting: Mutex<Waiting>,
    hasher: RandomState,
    pub(super) wake: Notify,
    news: News,
}

/// An answer has an id and no more, and one may come twice. So each message with an id gets its answers
/// under a name of its own: that of the client, or, if it is not the first with its id, a name with a
/// number.
struct Waiting {
    senders: FxHashMap<(MessageId, usize), Vec<oneshot::Sender<Outcome>>>,
    /// The messages of each key, the nth of which has the name n.
    messages: LruCache<MessageId, Vec<u64>>,
    /// Names that were ever used.
    names: usize,
}

impl Replies {
    pub(super) fn new(client: String, news: News) -> Self {
        let waiting =
            Waiting { senders: FxHashMap::default(), messages: LruCache::new(KEYS), names: 1 };
        let (hasher, wake) = (RandomState::new(), Notify::new());
        Self { client, waiting: Mutex::new(waiting), hasher, wake, news }
    }

    /// Waits for the reply to a message that is posted next. Returns who it is for.
    pub(super) fn expect(
        &self,
        (actor, id, letter): (&ActorId, MessageId, &Letter),
        sender: oneshot::Sender<Outcome>,
    ) -> String {
        let Letter { key, kind, payload, .. } = letter;
        let mut waiting = self.waiting();
        let name = match key {
            MessageKey::Caller(_) => {
                let about = self.hasher.hash_one((actor, kind, payload.bytes()));
                waiting.name_of(id, about)
            }
            // Nobody else has it.
            _ => 0,
        };
        waiting.senders.entry((id, name)).or_default().push(sender);
        waiting.names = waiting.names.max(name + 1);
        self.name(name)
    }

    /// The store tells of what comes under the first one; the others are looked at as well.
    fn name(&self, number: usize) -> String {
        if number == 0 { self.client.clone() } else { format!("{}+{number}", self.client) }
    }

    /// The name that the store is to listen to.
    pub(super) fn client(&self) -> &str {
        &self.client
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
            let names = self.waiting().names;
            done.resize_with(names, Vec::new);
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

    /// Forgets senders that wait no more. Whether nobody waits.
    fn forget_cancelled(&self) -> bool {
        let senders = &mut self.waiting().senders;
        senders.retain(|_, senders| {
            senders.retain(|sender| !sender.is_closed());
            !senders.is_empty()
        });
        senders.is_empty()
    }

    fn arrived(&self, answer: Answer, name: usize) {
        let senders = self.waiting().senders.remove(&(answer.id, name));
        for sender in senders.unwrap_or_default() {
            let _ = sender.send(answer.outcome.clone());
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn name_of(&mut self, id: MessageId, about: u64) -> usize {
        let messages = self.messages.get_or_insert_mut(id, Vec::new);
        let known = messages.iter().position(|it| *it == about);
        known.unwrap_or_else(|| {
            if messages.len() < NAMES {
                messages.push(about);
            }
            messages.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Codec, Payload};

    #[test]
    fn an_answer_that_comes_twice_is_not_that_of_another_message() {
        let replies = Replies::new("node/1".into(), News::default());
        let (actor, id) = (ActorId::new("account", "1"), MessageId::from(7));
        let expect = |content: &'static str| {
            let key = MessageKey::Caller(id);
            let payload = Payload::new(Codec::Json, content.as_bytes());
            let letter = Letter { key, kind: "deposit".into(), payload, reply_to: None };
            let (sender, receiver) = oneshot::channel();
            (replies.expect((&actor, id, &letter), sender), receiver)
        };
        let answer = |outcome| Answer { id, outcome };
        let (name, mut first) = expect("1");
        assert_eq!(name, "node/1");
        replies.arrived(answer(Outcome::AlreadyProcessed), 0);
        assert_eq!(first.try_recv(), Ok(Outcome::AlreadyProcessed));
        let (name, mut other) = expect("2");
        assert_eq!(name, "node/1+1");
        replies.arrived(answer(Outcome::AlreadyProcessed), 0);
        assert!(other.try_recv().is_err());
        replies.arrived(answer(Outcome::IdReused), 1);
        assert_eq!(other.try_recv(), Ok(Outcome::IdReused));
        assert_eq!(expect("1").0, "node/1");
    }
}
