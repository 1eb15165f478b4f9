//! Puts an instance's mail into its queue, a batch at a time, and clears away what it has read, or never will.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use duroxide::{Event, EventKind};
use tokio::sync::mpsc::UnboundedReceiver;

use super::carried::Carried;
use super::cursor::{Batch, BatchId, Cursor, Cursors};
use super::entry::{Entry, Mark, opened};
use super::instance::WorkflowHost;
use super::instance_address;
use super::successor::Successor;
use crate::cluster::{Cluster, Settled};
use crate::error::BoxError;
use crate::id::{ActorId, MessageId};
use crate::journal::EventJournal;
use crate::mailbox::error_text;

/// Read from the inbox at a time.
const PAGE: usize = 1 << 20;
/// Of a batch. What of it is not handed out at once is kept in the instance's key-value store, which takes 64 KiB.
const BATCH: usize = 16;
const BATCH_BYTES: usize = 48 << 10;
/// How often an instance is looked at that has mail, at first.
const LOOK: Duration = Duration::from_millis(20);
/// And at most.
const LOOK_AT_MOST: Duration = Duration::from_secs(30);
/// When it is said that nobody is there who could read it.
const LONG: Duration = Duration::from_secs(5);
/// When a batch is put into the queue again that is not seen there, at first. It takes twice as long each time: if no
/// runtime is there, the queue would fill with them.
const UNSEEN: Duration = Duration::from_secs(5);

/// There is mail, or some was read. The orchestration and its input, if it begins with its first mail.
pub(super) struct News(pub(super) Option<(String, String)>);

/// The mail of one instance.
pub(super) struct Batches {
    host: WorkflowHost,
    journal: EventJournal,
    instance: String,
    address: ActorId,
    begin: Option<(String, String)>,
    /// What the instance begins with instead, as the successor of another one.
    input: Option<String>,
    /// The instance has a history.
    was_there: bool,
    /// The last batch, by queue.
    sent: BTreeMap<String, Sent>,
}

/// A batch that was put into the queue.
struct Sent {
    id: String,
    to: Execution,
    at: Instant,
    patience: Duration,
    /// It was seen in the history of that execution.
    seen: bool,
    /// Of what was told.
    marks: Vec<Mark>,
}

/// An execution of an instance: its number, and when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Execution(u64, u64);

impl Execution {
    /// The one that a history is of.
    fn of(history: &[Event]) -> Option<Self> {
        history.first().map(|event| match event.kind {
            EventKind::OrchestrationStarted { .. } => Self(event.execution_id, event.timestamp_ms),
            // It was given up before it began. duroxide writes that with the number of the one before.
            _ => Self(event.execution_id + 1, event.timestamp_ms),
        })
    }

    /// Whether its instance is gone, if this is the one with its name now.
    fn is_gone(self, now: Option<Self>) -> bool {
        now.is_none_or(|now| now.0 < self.0 || (now.0 == self.0 && now.1 != self.1))
    }
}

/// The mail that an instance has not taken, by queue.
type Unread = BTreeMap<String, Vec<Entry>>;

impl Batches {
    pub(super) fn new(host: WorkflowHost, journal: EventJournal, instance: &str) -> Self {
        Self {
            host,
            journal,
            instance: instance.to_owned(),
            address: instance_address(instance),
            begin: None,
            input: None,
            was_there: false,
            sent: BTreeMap::new(),
        }
    }

    /// Runs as long as there may be mail.
    pub(super) async fn run(mut self, mut news: UnboundedReceiver<News>) {
        let (mut pause, mut has_mail, mut open) = (LOOK, false, true);
        while open || has_mail {
            tokio::select! {
                received = news.recv(), if open => {
                    open = received.is_some();
                    let more = std::iter::from_fn(|| news.try_recv().ok());
                    let heard = received.into_iter().chain(more);
                    if heard.map(|news| self.heard(news)).count() == 0 {
                        continue;
                    }
                    pause = LOOK;
                }
                () = tokio::time::sleep(pause), if has_mail => {
                    pause = (pause * 2).min(LOOK_AT_MOST);
                }
            }
            if self.journal.stopped().is_some() {
                // The next owner finds the letters.
                return;
            }
            let Some(cluster) = self.host.cluster() else {
                if open {
                    // The node has not joined yet.
                    has_mail = true;
                    continue;
                }
                return;
            };
            has_mail = match self.look(&cluster, pause >= LONG).await {
                Ok(has_mail) => has_mail,
                Err(error) => {
                    let instance = &self.instance;
                    tracing::warn!(
                        instance,
                        error = error_text(&*error),
                        "an instance does not get its mail"
                    );
                    true
                }
            };
        }
    }

    fn heard(&mut self, news: News) {
        self.begin = news.0.or(self.begin.take());
    }

    /// Does what can be done. Whether there is something left to do: mail that is not read.
    async fn look(&mut self, cluster: &Cluster, for_long: bool) -> Result<bool, BoxError> {
        let calls = self.host.calls.clone();
        let _call = calls.acquire().await;
        // In this order: a batch that is in the history and was taken since is known as taken.
        let history = self.host.provider.read(&self.instance).await?;
        let cursors = self.cursors().await?;
        let execution = Execution::of(&history);
        let deleted = self.of_the_deleted(execution);
        let unread = self.clear(cluster, &cursors, &deleted).await?;
        if unread.is_empty() && cursors.left() == 0 {
            return Ok(false);
        }
        let Some(execution) = execution else {
            if self.was_there && self.input.take().is_some() {
                // The successor was deleted. Where its actor goes on follows from the first instance again.
                self.go_to(self.address.id().to_owned());
                return Ok(true);
            }
            if let Some((orchestration, input)) = &self.begin {
                let (client, name) = (&self.host.client, self.instance.as_str());
                let input = self.input.as_ref().unwrap_or(input);
                client.start_orchestration(name, orchestration, input.as_str()).await?;
            } else if for_long {
                let (instance, queues) = (&self.instance, unread.len());
                tracing::warn!(
                    instance,
                    queues,
                    "events wait for an instance that was not started"
                );
            }
            return Ok(true);
        };
        self.was_there = true;
        if !history.iter().any(is_end) {
            for (queue, entries) in unread {
                self.send(&queue, entries, cursors.of(&queue), &history, execution).await?;
            }
            return Ok(true);
        }
        if self.begin.is_none() {
            return self.ended(cluster).await;
        }
        self.succeed(&history).await?;
        Ok(true)
    }

    /// How far the instance has read.
    async fn cursors(&self) -> Result<Cursors, BoxError> {
        let values = self.host.client.get_kv_all_values(&self.instance).await?;
        Ok(Cursors::of_values(values))
    }

    /// What was sent to an instance that was deleted since: the one that has its name now begins anew.
    fn of_the_deleted(&mut self, now: Option<Execution>) -> Vec<Mark> {
        let mut marks = Vec::new();
        self.sent.retain(|_, sent| {
            let is_gone = sent.to.is_gone(now);
            if is_gone {
                marks.append(&mut sent.marks);
            }
            !is_gone
        });
        if !marks.is_empty() {
            let (instance, events) = (&self.instance, marks.len());
            tracing::warn!(
                instance,
                events,
                "events went to an instance that was deleted: what it had not read is dropped"
            );
        }
        marks
    }

    /// Removes what the instance has read. What it has not taken.
    async fn clear(
        &self,
        cluster: &Cluster,
        cursors: &Cursors,
        deleted: &[Mark],
    ) -> Result<Unread, BoxError> {
        let (mut read, mut unread, mut after) = (Vec::new(), Unread::new(), 0);
        loop {
            let page = cluster.mail(&self.address, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.number;
            for (queue, entry) in page.iter().filter_map(opened) {
                let Some(mark) = &entry.mark else { continue };
                if cursors.of(&queue).read.contains(mark) || deleted.contains(mark) {
                    read.push(Settled { number: mark.0, reply: None });
                } else {
                    unread.entry(queue).or_default().push(entry);
                }
            }
        }
        cluster.settle(&self.address, read).await?;
        Ok(unread)
    }

    /// Puts the next batch into the queue, if the instance has read the last one.
    async fn send(
        &mut self,
        queue: &str,
        entries: Vec<Entry>,
        cursor: &Cursor,
        history: &[Event],
        execution: Execution,
    ) -> Result<(), BoxError> {
        if cursor.left() > 0 {
            return Ok(());
        }
        // They are taken in their order, so those behind the last that was taken were not.
        let mut waiting: Vec<String> = Vec::new();
        for event in history {
            if let EventKind::QueueEventDelivered { name, data } = &event.kind
                && name == queue
                && let Ok(BatchId { id }) = serde_json::from_str(data)
            {
                if id == cursor.taken { waiting.clear() } else { waiting.push(id) }
            }
        }
        let sent = self.sent.get_mut(queue).filter(|sent| sent.id != cursor.taken);
        let mut patience = UNSEEN;
        if let Some(sent) = sent {
            if waiting.contains(&sent.id) {
                (sent.seen, sent.to) = (true, execution);
                return Ok(());
            }
            if !sent.seen && sent.to == execution && sent.at.elapsed() < sent.patience {
                return Ok(());
            }
            // An execution that goes on in another one may have dropped it.
            patience = sent.patience * 2;
        }
        if !waiting.is_empty() {
            // By an owner before this one.
            return Ok(());
        }
        let entries = first_batch(entries);
        // Who waits for a reply gets one, from whoever has the name.
        let told = entries.iter().filter(|entry| entry.reply_to.is_none());
        let marks = told.filter_map(|entry| entry.mark.clone()).collect();
        let id = MessageId::random().to_string();
        let batch = serde_json::to_string(&Batch { id: id.clone(), entries })?;
        self.host.client.enqueue_event(self.instance.as_str(), queue, batch).await?;
        fail::fail_point!("after-mail");
        let at = Instant::now();
        let sent = Sent { id, to: execution, at, patience, seen: false, marks };
        self.sent.insert(queue.to_owned(), sent);
        Ok(())
    }

    /// The instance of an actor was given up: the actor goes on in another one.
    async fn succeed(&mut self, history: &[Event]) -> Result<(), BoxError> {
        let Some((orchestration, input)) = &self.begin else { return Ok(()) };
        let began = self.input.as_ref().unwrap_or(input).as_str();
        let (provider, instance) = (&*self.host.provider, &self.instance);
        let Some(successor) =
            Successor::of(provider, instance, history, Some(began), Carried::fold).await?
        else {
            tracing::error!(
                instance,
                "an actor that is an orchestration was cancelled: what was sent to it waits until its instances are deleted, the first one first"
            );
            return Ok(());
        };
        if !successor.start(&self.host, instance, orchestration).await? {
            return Ok(());
        }
        self.input = Some(successor.input);
        self.go_to(successor.instance);
        Ok(())
    }

    fn go_to(&mut self, instance: String) {
        self.instance = instance;
        self.was_there = false;
        self.sent.clear();
    }

    /// Nobody reads it.
    async fn ended(&self, cluster: &Cluster) -> Result<bool, BoxError> {
        let instance = &self.instance;
        // It may have read something since it was looked at.
        let cursors = self.cursors().await?;
        let unread = self.clear(cluster, &cursors, &[]).await?;
        let left = cursors.left();
        if unread.is_empty() && left == 0 {
            return Ok(false);
        }
        let entries: Vec<_> = unread.into_values().flatten().collect();
        // The latter were taken, and are in its key-value store.
        let events = entries.len() + left;
        tracing::warn!(
            instance,
            events,
            "actors raised events in an instance that has ended without reading them: they are dropped"
        );
        let letters = entries.into_iter().filter_map(|entry| entry.mark);
        let letters = letters.map(|(number, _)| Settled { number, reply: None }).collect();
        cluster.settle(&self.address, letters).await?;
        Ok(false)
    }
}

fn is_end(event: &Event) -> bool {
    matches!(
        event.kind,
        EventKind::OrchestrationCompleted { .. } | EventKind::OrchestrationFailed { .. }
    )
}

/// As much as goes into one batch: one entry at least, however large.
fn first_batch(mut entries: Vec<Entry>) -> Vec<Entry> {
    let mut bytes = 0;
    let fits = |entry: &Entry| {
        // As it is kept.
        bytes += serde_json::to_string(entry).map_or(0, |entry| entry.len());
        bytes <= BATCH_BYTES
    };
    let count = entries.iter().take(BATCH).map(fits).take_while(|fits| *fits).count();
    entries.truncate(count.max(1));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workflow::events::Event;

    #[test]
    fn a_batch_is_as_large_as_what_is_kept_of_it_may_be() {
        let entry = |bytes| Entry::from_queue(Event::new("a/1".into(), 1, "\u{1}".repeat(bytes)));
        let sizes =
            |bytes: &[usize]| first_batch(bytes.iter().map(|it| entry(*it)).collect()).len();
        assert_eq!(sizes(&[0; 40]), BATCH);
        // A byte is six as JSON.
        assert_eq!(sizes(&[4000; 40]), 2);
        assert_eq!(sizes(&[100_000, 1]), 1);
        assert_eq!(sizes(&[1, 100_000]), 1);
    }

    #[test]
    fn an_instance_that_was_deleted_is_known_by_its_executions() {
        let execution = Execution(3, 700);
        for (now, is_gone) in [
            (Some(Execution(3, 700)), false),
            (Some(Execution(4, 800)), false),
            (Some(Execution(1, 900)), true),
            (Some(Execution(3, 900)), true),
            (None, true),
        ] {
            assert_eq!(execution.is_gone(now), is_gone, "{now:?}");
        }
    }
}
