//! The relay of a shard: sends on what its actors have put into their outboxes.
//!
//! ```text
//! handler -> outbox -> commit -> relay -> receiver's journal -> MessageDelivered
//! ```
//!
//! It learns of messages when they are durable, from the actors' releases and, for those of earlier
//! owners, from the records. Between one sender and one receiver it keeps the order: a line. Each
//! line has so many messages on their way that are not known to have arrived; the next ones wait
//! until it is durable that those have. So few messages come twice after a crash, and those are found
//! by their ids.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use fail::fail_point;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use rustc_hash::FxHashMap;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use super::letter::Letter;
use super::node::WeakCluster;
use crate::engine::Engine;
use crate::error::JournalError;
use crate::id::{ActorId, ActorNo, MessageId, MessageKey};
use crate::journal::EventJournal;
use crate::mailbox::error_text;
use crate::outbox::{Addressed, Sent};
use crate::record::OutgoingMessage;
use crate::sabotage::sabotaged;
use crate::undelivered::Undelivered;

/// Of one line on their way at a time.
const BATCH: usize = 64;
/// Before something is sent again, at first.
const RETRY: Duration = Duration::from_millis(20);
/// And at most.
const RETRY_AT_MOST: Duration = Duration::from_millis(320);

/// A sender and a receiver.
type Line = (ActorNo, ActorId);

/// Sends on what the actors of a journal have sent and will send. `recovered` are the actors that
/// have something left to do.
pub(super) async fn relay(
    cluster: WeakCluster,
    journal: &EventJournal,
    recovered: &[ActorId],
) -> Result<JoinHandle<()>, JournalError> {
    let (sender, sent) = unbounded_channel();
    let engine = journal.engine();
    // Before any of its actors runs.
    let _ = engine.shared().relay.set(sender.clone());
    for actor in recovered.iter().filter(|_| !sabotaged("sabotage-relay-recovery")) {
        if let Some(left) = engine.outbox(actor.clone()).await? {
            let _ = sender.send(left);
        }
    }
    let relay =
        Relay { cluster, engine, waiting: FxHashMap::default(), couriers: FuturesUnordered::new() };
    Ok(tokio::spawn(relay.run(sent)))
}

/// What waits on a line.
struct Waiting {
    messages: VecDeque<Addressed>,
    /// Of the sender.
    undelivered: Arc<Undelivered>,
}

struct Relay {
    cluster: WeakCluster,
    engine: Arc<Engine>,
    /// The lines on which something is on its way, and what waits behind that.
    waiting: FxHashMap<Line, Waiting>,
    couriers: FuturesUnordered<BoxFuture<'static, Option<Line>>>,
}

impl Relay {
    async fn run(mut self, mut sent: UnboundedReceiver<Sent>) {
        loop {
            tokio::select! {
                Some(line) = self.couriers.next(), if !self.couriers.is_empty() => {
                    // Without a line: the journal has ended, or the node has.
                    let Some(line) = line else { return };
                    self.go_on(line);
                }
                received = sent.recv() => match received {
                    Some(sent) => self.accept(sent),
                    None => return,
                },
            }
        }
    }

    fn accept(&mut self, Sent { no, messages, undelivered }: Sent) {
        metrics::counter!("journal_sent_messages_total").increment(messages.len() as u64);
        let mut idle = Vec::new();
        for message in messages {
            match self.waiting.entry((no, message.message.to.clone())) {
                Entry::Occupied(mut line) => line.get_mut().messages.push_back(message),
                Entry::Vacant(line) => {
                    idle.push(line.key().clone());
                    let messages = VecDeque::from([message]);
                    line.insert(Waiting { messages, undelivered: undelivered.clone() });
                }
            }
        }
        for line in idle {
            self.go_on(line);
        }
    }

    /// The line has nothing on its way.
    fn go_on(&mut self, line: Line) {
        let Some(waiting) = self.waiting.get_mut(&line) else { return };
        let Waiting { messages, undelivered } = waiting;
        let batch: Vec<_> = messages.drain(..messages.len().min(BATCH)).collect();
        if batch.is_empty() {
            self.waiting.remove(&line);
            return;
        }
        let undelivered = undelivered.clone();
        let courier = deliver(self.cluster.clone(), self.engine.clone(), line, batch, undelivered);
        self.couriers.push(courier.boxed());
    }
}

/// Sends until everything has arrived, and writes that.
async fn deliver(
    cluster: WeakCluster,
    engine: Arc<Engine>,
    (no, to): Line,
    batch: Vec<Addressed>,
    undelivered: Arc<Undelivered>,
) -> Option<Line> {
    fail_point!("before-relay");
    // To an instance one after the other: an event that overtakes another one takes it away.
    let together = if to.is_reserved() { 1 } else { BATCH };
    for messages in batch.chunks(together) {
        tell(&cluster, &to, messages).await?;
    }
    fail_point!("before-delivered");
    let numbers: Vec<u64> = batch.iter().map(|it| it.message.number).collect();
    match engine.delivered(no, &numbers).await {
        Ok(()) => {
            fail_point!("after-delivered");
            undelivered.arrived(&batch);
            metrics::counter!("journal_arrived_messages_total").increment(numbers.len() as u64);
            Some((no, to))
        }
        Err(error) => {
            tracing::debug!(%to, error = error_text(&error), "the next owner sends it again");
            None
        }
    }
}

/// Tells until each of the messages has arrived. What its receiver on this node does not accept has arrived in the
/// inbox, as from any other node: there it is listed, delivered again, and can be discarded. None: the node is gone.
async fn tell(cluster: &WeakCluster, to: &ActorId, mut left: &[Addressed]) -> Option<()> {
    let mut pause = RETRY;
    while !left.is_empty() {
        let cluster = cluster.upgrade()?;
        let mut arrived = cluster.tell_in_order(to, letters(left)).await;
        left = left.get(arrived.count..).unwrap_or_default();
        if let (Some(refusal), Some(refused)) = (&arrived.error, left.first())
            && !refusal.is_retryable()
        {
            metrics::counter!("journal_undeliverable_messages_total").increment(1);
            let (number, error) = (refused.message.number, error_text(refusal));
            tracing::error!(%to, number, error, "a sent message is not accepted; it waits in the inbox, and what was sent after it behind it");
            arrived = cluster.post_in_order(to, letters(left)).await;
            left = left.get(arrived.count..).unwrap_or_default();
        }
        drop(cluster);
        let (Some(error), Some(first)) = (arrived.error, left.first()) else { continue };
        tracing::debug!(%to, number = first.message.number, error = error_text(&error), "sent again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RETRY_AT_MOST);
    }
    Some(())
}

fn letters(messages: &[Addressed]) -> Vec<Letter> {
    messages.iter().map(|it| letter(it.key, &it.message)).collect()
}

fn letter(key: MessageKey, message: &OutgoingMessage) -> Letter {
    let key = match key {
        MessageKey::Line { .. } if sabotaged("sabotage-relay-id") => {
            MessageKey::Generated(MessageId::random())
        }
        key => key,
    };
    Letter::new(key, &message.kind, message.payload.clone())
}
