//! The way back to an orchestration: the outcomes of the messages that it posted, as events.
//!
//! What is for one execution is brought by one task, which reads the history once for all of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use duroxide::{Client, ClientError};
use fail::fail_point;
use rustc_hash::FxHashMap;
use tokio::sync::{Notify, Semaphore, oneshot};

use super::asker::Asker;
use super::awaited::{Awaited, Waits};
use super::message::{Answer, event};
use crate::cluster::Delivered;
use crate::mailbox::error_text;

/// Before a history is read again that shows no wait yet, at first.
const AGAIN: Duration = Duration::from_millis(10);
/// And at most.
const AGAIN_AT_MOST: Duration = Duration::from_secs(30);
/// A history is read for a fifth of the time at most.
pub(super) const PAUSES_PER_READ: u32 = 4;

/// An instance and the number of its execution.
type Execution = (String, u64);

/// Outcomes on their way to executions.
#[derive(Clone)]
pub(super) struct Replies {
    client: Client,
    calls: Arc<Semaphore>,
    waiting: Arc<Mutex<FxHashMap<Execution, Waiting>>>,
}

/// What is for one execution.
#[derive(Default)]
struct Waiting {
    replies: Vec<Reply>,
    /// There is more.
    more: Arc<Notify>,
}

/// An outcome. What waits for `done` has its letter, and may be gone.
struct Reply {
    id: String,
    /// None: nobody waits for it, only for the history to show that it was posted.
    answer: Option<String>,
    done: oneshot::Sender<()>,
}

impl Replies {
    pub(super) fn new(client: Client, calls: Arc<Semaphore>) -> Self {
        Self { client, calls, waiting: Arc::default() }
    }

    /// Returns when the execution has the outcome, or will never want it. False: its task has ended with its runtime.
    pub(super) async fn bring(&self, to: &str, outcome: &Delivered) -> bool {
        let (Ok(asker), Some(answer)) = (to.parse::<Asker>(), Answer::of_delivered(outcome)) else {
            tracing::error!(to, "a reply leads nowhere");
            return true;
        };
        let Asker { waits, execution, id, instance } = asker;
        let answer = match waits.then(|| serde_json::to_string(&answer)).transpose() {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(to, error = error_text(&error), "a reply does not encode");
                return true;
            }
        };
        let (done, is_done) = oneshot::channel();
        self.add((instance, execution), Reply { id, answer, done });
        is_done.await.is_ok()
    }

    fn add(&self, execution: Execution, reply: Reply) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = waiting.get_mut(&execution) {
            known.replies.push(reply);
            known.more.notify_one();
            return;
        }
        let more = Arc::<Notify>::default();
        waiting.insert(execution.clone(), Waiting { replies: vec![reply], more: more.clone() });
        drop(waiting);
        tokio::spawn(self.clone().run(execution, more));
    }

    async fn run(self, execution: Execution, more: Arc<Notify>) {
        let mut pause = AGAIN;
        loop {
            let begin = Instant::now();
            let replies = self.taken(&execution);
            let count = replies.len();
            let left = self.round(&execution, replies).await;
            let took = begin.elapsed();
            pause = if left.len() < count { AGAIN } else { (pause * 2).min(AGAIN_AT_MOST) };
            if self.is_empty_with(&execution, left) {
                return;
            }
            tokio::time::sleep((took * PAUSES_PER_READ).max(AGAIN)).await;
            tokio::select! {
                () = more.notified() => pause = AGAIN,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn taken(&self, execution: &Execution) -> Vec<Reply> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.get_mut(execution).map(|it| std::mem::take(&mut it.replies)).unwrap_or_default()
    }

    /// Puts back what is left. Whether nothing is there then; nobody waits for what is added later.
    fn is_empty_with(&self, execution: &Execution, left: Vec<Reply>) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(known) = waiting.get_mut(execution) else { return true };
        known.replies.extend(left);
        let is_empty = known.replies.is_empty();
        if is_empty {
            waiting.remove(execution);
        }
        is_empty
    }

    /// Brings what can be brought. What cannot yet.
    async fn round(&self, execution: &Execution, mut replies: Vec<Reply>) -> Vec<Reply> {
        replies.retain(|reply| !reply.done.is_closed());
        if replies.is_empty() {
            return replies;
        }
        let mut left = Vec::new();
        let raised = self.raise(execution, replies, &mut left).await;
        if let Err(error) = raised {
            let (instance, error) = (&execution.0, error_text(&error));
            tracing::warn!(instance, error, "replies are raised again");
        }
        left
    }

    async fn raise(
        &self,
        (instance, execution): &Execution,
        replies: Vec<Reply>,
        left: &mut Vec<Reply>,
    ) -> Result<(), ClientError> {
        let _call = self.calls.acquire().await;
        let mut replies = replies.into_iter();
        let awaited = if self.client.has_management_capability() {
            match self.client.read_execution_history(instance, *execution).await {
                Ok(history) => Some(Awaited::of(&history)),
                Err(error) => {
                    left.extend(replies);
                    return Err(error);
                }
            }
        } else {
            None
        };
        while let Some(reply) = replies.next() {
            let waits = awaited.as_ref().map_or(Waits::Now, |awaited| awaited.waits(&reply.id));
            match (waits, &reply.answer) {
                (Waits::NotYet, _) => {
                    left.push(reply);
                    continue;
                }
                (Waits::Now, Some(answer)) => {
                    fail_point!("before-reply");
                    let name = event(&reply.id);
                    let raised =
                        self.client.raise_event(instance.as_str(), name, answer.as_str()).await;
                    if let Err(error) = raised {
                        left.push(reply);
                        left.extend(replies);
                        return Err(error);
                    }
                    fail_point!("after-reply");
                }
                (Waits::Now, None) | (Waits::NoMore, _) => {}
            }
            // Who had the letter may be gone; the next owner brings it again, and nobody waits for it then.
            let _ = reply.done.send(());
        }
        Ok(())
    }
}
