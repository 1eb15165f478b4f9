//! Tells an instance that it has mail, and clears away what it has read, or never will.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use duroxide::{Event, EventKind};
use tokio::sync::mpsc::UnboundedReceiver;

use super::cursor::{Cursor, keys, note, note_of};
use super::instance::WorkflowHost;
use super::instance_address;
use super::taking::{Mark, opened};
use crate::cluster::{Cluster, Settled};
use crate::error::BoxError;
use crate::id::{ActorId, MessageId};
use crate::journal::EventJournal;
use crate::mailbox::error_text;

/// Read from the inbox at a time.
const PAGE: usize = 1 << 20;
/// How often an instance is looked at that has mail, at first.
const LOOK: Duration = Duration::from_millis(20);
/// And at most.
const LOOK_AT_MOST: Duration = Duration::from_secs(30);

/// There is mail.
pub(super) struct News {
    pub(super) queue: String,
    /// The orchestration and its input, if it begins with its first mail.
    pub(super) begin: Option<(String, String)>,
}

/// What one instance is to be told.
pub(super) struct Notes {
    host: WorkflowHost,
    journal: EventJournal,
    instance: String,
    address: ActorId,
    begin: Option<(String, String)>,
    /// The last note that is known of, by queue.
    sent: BTreeMap<String, String>,
}

/// The mail of a queue that the instance has not read.
type Unread = BTreeMap<String, Vec<Settled>>;

impl Notes {
    pub(super) fn new(host: WorkflowHost, journal: EventJournal, instance: &str) -> Self {
        Self {
            host,
            journal,
            instance: instance.to_owned(),
            address: instance_address(instance),
            begin: None,
            sent: BTreeMap::new(),
        }
    }

    /// Runs as long as there may be mail.
    pub(super) async fn run(mut self, mut news: UnboundedReceiver<News>) {
        let mut pause = LOOK;
        let mut has_mail = false;
        let mut open = true;
        while open || has_mail {
            tokio::select! {
                received = news.recv(), if open => {
                    open = received.is_some();
                    let more = std::iter::from_fn(|| news.try_recv().ok());
                    let queues = received.into_iter().chain(more).map(|it| self.heard(it));
                    let queues: BTreeSet<String> = queues.collect();
                    if queues.is_empty() || self.are_noted(&queues).await {
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
            has_mail = match self.look(&cluster).await {
                Ok(has_mail) => has_mail,
                Err(error) => {
                    let instance = &self.instance;
                    tracing::warn!(
                        instance,
                        error = error_text(&*error),
                        "an instance that has mail is not told"
                    );
                    true
                }
            };
        }
    }

    fn heard(&mut self, news: News) -> String {
        self.begin = news.begin.or(self.begin.take());
        news.queue
    }

    /// Whether each has a note that the instance has not taken: then it finds all that is there now.
    async fn are_noted(&self, queues: &BTreeSet<String>) -> bool {
        let _call = self.host.calls.acquire().await;
        for queue in queues {
            let Some(sent) = self.sent.get(queue) else { return false };
            let cursor = self.host.client.get_kv_value(&self.instance, &keys(queue).0).await;
            let Ok(cursor) = cursor else { return false };
            if cursor.is_some_and(|it| Cursor::decode(&it).noted == *sent) {
                return false;
            }
        }
        true
    }

    /// Whether there is mail that is not read.
    async fn look(&mut self, cluster: &Cluster) -> Result<bool, BoxError> {
        let values = {
            let _call = self.host.calls.acquire().await;
            self.host.client.get_kv_all_values(&self.instance).await?
        };
        let unread = self.clear(cluster, &values).await?;
        if unread.is_empty() {
            return Ok(false);
        }
        let calls = self.host.calls.clone();
        let _call = calls.acquire().await;
        let history = self.host.provider.read(&self.instance).await?;
        match history.last().map(|event| &event.kind) {
            None => {
                if let Some((orchestration, input)) = &self.begin {
                    let (client, name) = (&self.host.client, self.instance.as_str());
                    client.start_orchestration(name, orchestration, input.as_str()).await?;
                }
            }
            Some(
                EventKind::OrchestrationCompleted { .. } | EventKind::OrchestrationFailed { .. },
            ) => return self.ended(cluster, unread).await,
            Some(EventKind::OrchestrationContinuedAsNew { .. }) => {}
            Some(_) => {
                for queue in unread.into_keys() {
                    self.note(&queue, &values, &history).await?;
                }
            }
        }
        Ok(true)
    }

    /// Removes what the instance has read. What it has not.
    async fn clear(
        &self,
        cluster: &Cluster,
        values: &HashMap<String, String>,
    ) -> Result<Unread, BoxError> {
        let (mut read, mut unread, mut after) = (Vec::new(), Unread::new(), 0);
        let mut known: BTreeMap<String, Vec<Mark>> = BTreeMap::new();
        loop {
            let page = cluster.mail(&self.address, after, PAGE).await?;
            let Some(last) = page.last() else { break };
            after = last.number;
            for (queue, entry) in page.iter().filter_map(opened) {
                let marks = known.entry(queue.clone()).or_insert_with(|| {
                    let value = values.get(&keys(&queue).0);
                    value.map(|it| Cursor::decode(it).read).unwrap_or_default()
                });
                let Some(mark) = entry.mark else { continue };
                let letter = Settled { number: mark.0, reply: None };
                if marks.contains(&mark) {
                    read.push(letter);
                } else {
                    unread.entry(queue).or_default().push(letter);
                }
            }
        }
        cluster.settle(&self.address, read).await?;
        Ok(unread)
    }

    /// Enqueues a note, unless one is there.
    async fn note(
        &mut self,
        queue: &str,
        values: &HashMap<String, String>,
        history: &[Event],
    ) -> Result<(), BoxError> {
        let noted = values.get(&keys(queue).0).map(|it| Cursor::decode(it).noted);
        let is_taken = |id: &String| noted.as_ref() == Some(id);
        if self.sent.get(queue).is_some_and(|sent| !is_taken(sent)) {
            return Ok(());
        }
        let delivered = history.iter().rev().find_map(|event| match &event.kind {
            EventKind::QueueEventDelivered { name, data } if name == queue => note_of(data),
            _ => None,
        });
        if let Some(delivered) = delivered.filter(|id| !is_taken(id)) {
            // By an owner before this one.
            self.sent.insert(queue.to_owned(), delivered);
            return Ok(());
        }
        let id = MessageId::random().to_string();
        self.host.client.enqueue_event(self.instance.as_str(), queue, note(&id)).await?;
        fail::fail_point!("after-note");
        self.sent.insert(queue.to_owned(), id);
        Ok(())
    }

    /// Nobody reads it.
    async fn ended(&self, cluster: &Cluster, unread: Unread) -> Result<bool, BoxError> {
        let instance = &self.instance;
        if self.begin.is_some() {
            tracing::error!(
                instance,
                "an actor that is an orchestration has ended, and should not have; what was sent to it waits"
            );
            return Ok(true);
        }
        for (queue, letters) in unread {
            let events = letters.len();
            tracing::warn!(
                instance,
                queue,
                events,
                "actors raised events in an instance that has ended: they are dropped"
            );
            cluster.settle(&self.address, letters).await?;
        }
        Ok(false)
    }
}
