//! The replies that come through the store, and who waits for them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio::sync::{Notify, oneshot};

use super::letter::{Answer, Letter, Outcome};
use super::news::News;
use super::store::ClusterStore;
use crate::mailbox::error_text;

/// How often the store is looked at while nobody waits.
const IDLE: Duration = Duration::from_secs(3600);
/// How long replies that were collected may stay in the store. Those that go together are one statement.
const REMOVAL: Duration = Duration::from_millis(50);

/// A reply is known by the number that its letter got here, and by nothing that callers choose. A letter
/// that is posted twice may be answered twice: then nobody waits for the second.
pub(super) struct Replies {
    /// Unique to this process: replies to an earlier one are of no use.
    client: String,
    waiting: Mutex<Waiting>,
    /// There are replies.
    pub(super) wake: Notify,
    /// Somebody waits, where nobody did.
    begun: Notify,
    news: News,
}

#[derive(Default)]
struct Waiting {
    senders: FxHashMap<u64, oneshot::Sender<Outcome>>,
    /// The correlation number of the last letter.
    last: u64,
}

impl Replies {
    pub(super) fn new(client: String, news: News) -> Self {
        let (wake, begun) = (Notify::new(), Notify::new());
        Self { client, waiting: Mutex::default(), wake, begun, news }
    }

    /// Waits for the reply to a letter that is posted next.
    pub(super) fn expect(&self, letter: &mut Letter) -> oneshot::Receiver<Outcome> {
        let (sender, outcome) = oneshot::channel();
        let mut waiting = self.waiting();
        waiting.last += 1;
        let correlation = waiting.last;
        if waiting.senders.is_empty() {
            self.begun.notify_one();
        }
        waiting.senders.insert(correlation, sender);
        letter.reply_to = Some(self.client.clone());
        letter.correlation = correlation;
        outcome
    }

    /// The name that the store is to listen to.
    pub(super) fn client(&self) -> &str {
        &self.client
    }

    /// Collects replies for as long as the node is there.
    pub(super) async fn collect(self: Arc<Self>, store: Arc<dyn ClusterStore>) {
        let mut done = Vec::new();
        loop {
            let look = match (done.is_empty(), self.forget_cancelled()) {
                (true, true) => IDLE,
                (true, false) => self.news.patience(),
                // Of the next replies nobody tells.
                (false, _) if !self.news.are_told() => Duration::ZERO,
                (false, _) => REMOVAL,
            };
            tokio::select! {
                () = self.wake.notified() => {}
                () = self.begun.notified() => continue,
                () = tokio::time::sleep(look) => {}
            }
            let replies = match store.collect(&self.client, &done).await {
                Ok(replies) => replies,
                Err(error) => {
                    tracing::warn!(error = error_text(&error), "replies cannot be collected");
                    tokio::time::sleep(self.news.patience()).await;
                    continue;
                }
            };
            done.clear();
            for (number, bytes) in replies {
                done.push(number);
                match Answer::decode(&bytes) {
                    Ok(answer) => self.arrived(answer),
                    Err(error) => {
                        tracing::error!(number, error = error_text(&error), "a reply is corrupt")
                    }
                }
            }
        }
    }

    /// Forgets senders that wait no more. Whether nobody waits.
    fn forget_cancelled(&self) -> bool {
        let senders = &mut self.waiting().senders;
        senders.retain(|_, sender| !sender.is_closed());
        senders.is_empty()
    }

    fn arrived(&self, answer: Answer) {
        let sender = self.waiting().senders.remove(&answer.correlation);
        sender.map(|sender| sender.send(answer.outcome));
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Codec, Payload};
    use crate::id::{MessageId, MessageKey};

    #[test]
    fn an_answer_is_that_of_its_letter_whatever_the_keys() {
        let replies = Replies::new("node/1".into(), News::default());
        // A key on many actors, many messages under one key, one message twice: the same to a client.
        let expect = |_| {
            let key = MessageKey::Caller(MessageId::from(7));
            let payload = Payload::new(Codec::Json, &b"1"[..]);
            let kind = "deposit".into();
            let mut letter = Letter { key, kind, payload, reply_to: None, correlation: 0 };
            let outcome = replies.expect(&mut letter);
            assert_eq!(letter.reply_to.as_deref(), Some("node/1"));
            (letter.correlation, outcome)
        };
        let mut expected: Vec<_> = (0..100).map(expect).collect();
        let answer = |correlation: u64| {
            let id = MessageId::from(7);
            let outcome = Outcome::Refused(correlation.to_string());
            replies.arrived(Answer { id, outcome, correlation });
        };
        for (correlation, outcome) in expected.iter_mut().rev() {
            assert!(outcome.try_recv().is_err());
            // It comes twice.
            answer(*correlation);
            answer(*correlation);
            assert_eq!(outcome.try_recv(), Ok(Outcome::Refused(correlation.to_string())));
        }
        assert!(replies.forget_cancelled());
    }
}
