//! The way out of a node: one task a shard, so that the order of senders is kept on whichever way
//! their messages take.
//!
//! A message goes straight to its actor if this node has the shard and everything this node posted
//! to the shard's inbox was taken from there; else through the inbox. When the node loses the shard,
//! what was delivered and not answered is sent again, in the old order and before anything else: it
//! may have been handled, and then its id says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};

use super::busy::Busy;
use super::error::SendError;
use super::host::{Answered, Answering, Parcel};
use super::letter::{Letter, Outcome};
use super::node::Shared;
use super::store::StoredLetter;
use super::tenure::{Tenure, answered};
use crate::codec::Payload;
use crate::engine::Retry;
use crate::error::JournalError;
use crate::id::{ActorId, Epoch, MessageId, MessageKey, ShardId};
use crate::mailbox::error_text;

/// Sent on at a time.
const BATCH: usize = 256;

/// Before something is tried again.
const RETRY: Duration = Duration::from_millis(10);

/// A message on its way out.
pub(super) struct Outgoing {
    pub(super) actor: ActorId,
    pub(super) id: MessageId,
    /// One, or several whose receipts are wanted.
    pub(super) letters: Vec<Letter>,
    pub(super) wanted: Wanted,
    /// Whether it was delivered on this node before, so that it may have been handled.
    pub(super) delivered: bool,
}

impl Outgoing {
    /// What to say of it if it does not go on because of `error`, which says that it was not accepted. Nobody
    /// knows that of one that was delivered before.
    fn why(&self, error: SendError) -> SendError {
        match error {
            error if !self.delivered => error,
            SendError::Unreachable { id, source } => {
                SendError::OutcomeUnknown { id, source: Some(source) }
            }
            _ => SendError::OutcomeUnknown { id: self.id, source: None },
        }
    }
}

/// What the sender waits for.
pub(super) enum Wanted {
    Reply(ReplySender),
    Receipts(oneshot::Sender<Arrived>),
    /// That they are in the inbox of the shard, wherever that is.
    Posts(oneshot::Sender<Arrived>),
}

/// How many of some letters have arrived, from the first on, and why the next one has not.
pub(super) struct Arrived {
    pub(super) count: usize,
    pub(super) error: Option<SendError>,
}

/// The receiver of what is not on its way any more; and itself with its place, if it was lost.
type Ended = (ActorId, Option<(u64, Outgoing)>);

/// A letter that was delivered on this node.
struct Under {
    acknowledged: oneshot::Receiver<Result<(), Arc<JournalError>>>,
    outcome: oneshot::Receiver<Answered>,
}

type ReplySender = oneshot::Sender<Result<Payload<'static>, SendError>>;

impl Wanted {
    fn arrived(self, count: usize, error: Option<SendError>) {
        match self {
            Self::Receipts(sender) | Self::Posts(sender) => {
                drop(sender.send(Arrived { count, error }));
            }
            Self::Reply(_) => {}
        }
    }

    /// Nobody waits.
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Reply(sender) => sender.is_closed(),
            Self::Receipts(sender) | Self::Posts(sender) => sender.is_closed(),
        }
    }

    fn fail(self, error: SendError) {
        match self {
            Self::Reply(sender) => drop(sender.send(Err(error))),
            Self::Receipts(_) | Self::Posts(_) => self.arrived(0, Some(error)),
        }
    }
}

pub(super) struct Router {
    shared: Arc<Shared>,
    shard: ShardId,
    /// The number of the last letter that was posted to an actor with receipts.
    posted: u64,
    /// That of the tenure that has what is in flight.
    epoch: Option<Epoch>,
    /// How many messages were delivered on this node.
    delivered: u64,
    busy: Busy,
    in_flight: FuturesUnordered<BoxFuture<'static, Ended>>,
    /// Lost on the way, to be sent again, in the order of their delivery.
    lost: BTreeMap<u64, Outgoing>,
}

impl Router {
    pub(super) fn new(shared: Arc<Shared>, shard: ShardId) -> Self {
        Self {
            shared,
            shard,
            posted: 0,
            epoch: None,
            delivered: 0,
            busy: Busy::default(),
            in_flight: FuturesUnordered::new(),
            lost: BTreeMap::new(),
        }
    }

    /// Runs until nobody can send any more.
    pub(super) async fn run(mut self, mut outgoing: mpsc::Receiver<Outgoing>) {
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                Some((actor, lost)) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    match lost {
                        Some(lost) => drop(self.lost.insert(lost.0, lost.1)),
                        None => self.go_on(&actor),
                    }
                }
                received = outgoing.recv_many(&mut batch, BATCH), if self.lost.is_empty() => {
                    if received == 0 {
                        break;
                    }
                }
            }
            if !self.lost.is_empty() {
                self.come_back(&mut batch).await;
                tokio::time::sleep(RETRY).await;
            }
            if !batch.is_empty() {
                self.send(std::mem::take(&mut batch)).await;
            }
        }
        while self.in_flight.next().await.is_some() {}
    }

    /// The shard is lost, so everything on its way comes back, and goes before the batch.
    async fn come_back(&mut self, batch: &mut Vec<Outgoing>) {
        while let Some((_, lost)) = self.in_flight.next().await {
            self.lost.extend(lost);
        }
        let held = self.busy.clear();
        batch.splice(0..0, std::mem::take(&mut self.lost).into_values().chain(held));
    }

    /// An actor has one message less.
    fn go_on(&mut self, actor: &ActorId) {
        let Some(next) = self.busy.end(actor) else { return };
        match self.tenure().filter(|it| Some(it.journal.epoch()) == self.epoch) {
            Some(tenure) => self.deliver(&tenure, next),
            // The shard is lost.
            None => {
                self.delivered += 1;
                self.lost.insert(self.delivered, next);
            }
        }
    }

    /// That of the shard, if messages may go straight to its actors.
    fn tenure(&self) -> Option<Arc<Tenure>> {
        self.shared.tenure(self.shard).filter(|it| it.is_open_after(self.posted))
    }

    async fn send(&mut self, mut batch: Vec<Outgoing>) {
        let without_receipts = |outgoing: &Outgoing| {
            let host = self.shared.hosts.get(outgoing.actor.actor_type());
            host.is_some_and(|host| !host.has_receipts())
        };
        let inbox_only: Vec<_> = batch.extract_if(.., |it| without_receipts(it)).collect();
        if !inbox_only.is_empty() {
            self.post(inbox_only).await;
        }
        let is_posted = |outgoing: &Outgoing| matches!(outgoing.wanted, Wanted::Posts(_));
        let posts: Vec<_> = batch.extract_if(.., |it| is_posted(it)).collect();
        if !posts.is_empty() {
            // What is sent from here later does not overtake them.
            let posted = self.post(posts).await;
            self.posted = self.posted.max(posted);
        }
        if batch.is_empty() {
            return;
        }
        let tenure = self.tenure();
        let epoch = tenure.as_ref().map(|tenure| tenure.journal.epoch());
        if epoch != self.epoch {
            // It may be known here that the shard is lost before it is known of what was delivered:
            // that must not be overtaken.
            self.come_back(&mut batch).await;
            self.epoch = epoch;
        }
        match tenure {
            Some(tenure) => {
                for outgoing in batch {
                    if let Some(outgoing) = self.busy.begin(outgoing) {
                        self.deliver(&tenure, outgoing);
                    }
                }
            }
            None => {
                let posted = self.post(batch).await;
                self.posted = self.posted.max(posted);
            }
        }
    }

    fn deliver(&mut self, tenure: &Tenure, mut outgoing: Outgoing) {
        outgoing.delivered = true;
        let receipts = matches!(outgoing.wanted, Wanted::Receipts(_));
        let deliver = |letter: &Letter| {
            let (answer, outcome) = Answering::new();
            let (sender, acknowledged) = oneshot::channel();
            let acknowledge = receipts.then_some(sender);
            let Letter { key, kind, payload, .. } = letter.clone();
            tenure.deliver(&outgoing.actor, Parcel { key, kind, payload, acknowledge, answer });
            Under { acknowledged, outcome }
        };
        let under: Vec<Under> = outgoing.letters.iter().map(deliver).collect();
        self.delivered += 1;
        let place = self.delivered;
        let actor = outgoing.actor.clone();
        let settled = async move {
            let mut count = 0;
            for Under { acknowledged, outcome } in under {
                if let Ok(Ok(())) = acknowledged.await {
                    count += 1;
                    continue;
                }
                let (delivered, _place) = answered(outcome).await;
                let Some(outcome) = Outcome::of(delivered.clone()) else {
                    tracing::debug!(actor = %outgoing.actor, ?delivered, "sent again");
                    return Some((place, outgoing));
                };
                match outgoing.wanted {
                    Wanted::Reply(sender) => {
                        let _ = sender.send(reply(outgoing.id, outcome));
                        return None;
                    }
                    Wanted::Receipts(_) | Wanted::Posts(_) => {
                        match not_received(outgoing.id, outcome) {
                            None => count += 1,
                            Some(error) => {
                                outgoing.wanted.arrived(count, Some(error));
                                return None;
                            }
                        }
                    }
                }
            }
            outgoing.wanted.arrived(count, None);
            None
        };
        self.in_flight.push(async move { (actor, settled.await) }.boxed());
    }

    /// Posts letters. The number of the last of them.
    async fn post(&mut self, batch: Vec<Outgoing>) -> u64 {
        let mut last = 0;
        let mut letters = Vec::with_capacity(batch.len());
        let mut posted = Vec::with_capacity(batch.len());
        for mut outgoing in batch {
            outgoing.letters.iter_mut().for_each(leave_this_process);
            let reply = self.expect(&mut outgoing);
            let encoded: Result<Vec<_>, _> = outgoing.letters.iter().map(Letter::encode).collect();
            match encoded {
                Ok(encoded) => {
                    let actor = &outgoing.actor;
                    let stored = |bytes| StoredLetter { actor: actor.clone(), bytes };
                    letters.extend(encoded.into_iter().map(stored));
                    posted.push((outgoing, reply));
                }
                Err(error) => {
                    let reason = error_text(&error).into();
                    let error = outgoing.why(SendError::NotAccepted { reason });
                    outgoing.wanted.fail(error);
                }
            }
        }
        let numbers = match post_letters(&self.shared, self.shard, &letters).await {
            Ok(numbers) => numbers,
            Err(NotPosted { error, sent }) => {
                let source = Arc::new(error);
                for (outgoing, _) in posted {
                    let (id, source) = (outgoing.id, source.clone());
                    let error = if sent {
                        SendError::OutcomeUnknown { id, source: Some(source) }
                    } else {
                        outgoing.why(SendError::Unreachable { id, source })
                    };
                    outgoing.wanted.fail(error);
                }
                return last;
            }
        };
        if let Some(tenure) = self.shared.tenure(self.shard) {
            // Not every store tells it.
            tenure.wake.notify_one();
        }
        let mut numbers = numbers.into_iter();
        for (outgoing, reply) in posted {
            // The store refuses the last ones, if any.
            let its: Vec<_> = numbers.by_ref().take(outgoing.letters.len()).collect();
            let accepted: Vec<u64> = its.iter().map_while(|number| *number).collect();
            last = accepted.last().map_or(last, |number| last.max(*number));
            let limit = self.shared.options.inbox_letters;
            let full =
                || outgoing.why(SendError::InboxFull { actor: outgoing.actor.clone(), limit });
            let error = (accepted.len() < its.len()).then(full);
            match (outgoing.wanted, reply, error) {
                (wanted @ (Wanted::Receipts(_) | Wanted::Posts(_)), _, error) => {
                    wanted.arrived(accepted.len(), error);
                }
                (wanted, _, Some(error)) => wanted.fail(error),
                (Wanted::Reply(sender), Some(reply), None) => {
                    tokio::spawn(forward(outgoing.id, sender, reply));
                }
                (wanted, None, None) => {
                    wanted.fail(SendError::OutcomeUnknown { id: outgoing.id, source: None })
                }
            }
        }
        last
    }

    /// Waits for the reply, if anybody wants it.
    fn expect(&self, outgoing: &mut Outgoing) -> Option<oneshot::Receiver<Outcome>> {
        let Outgoing { letters, wanted: Wanted::Reply(_), .. } = outgoing else { return None };
        letters.first_mut().map(|letter| self.shared.replies.expect(letter))
    }
}

/// From here on the receiver may be in another process, where a transient id would be forgotten too early.
fn leave_this_process(letter: &mut Letter) {
    if let MessageKey::Transient(id) = letter.key {
        letter.key = MessageKey::Generated(id);
    }
}

/// Why letters were not posted.
struct NotPosted {
    /// What the last attempt failed of.
    error: JournalError,
    /// Whether any attempt got as far as the store, so that they may be there.
    sent: bool,
}

/// Repeats it while the store says that it may succeed later. A letter that is there twice is
/// handled once.
async fn post_letters(
    shared: &Shared,
    shard: ShardId,
    letters: &[StoredLetter],
) -> Result<Vec<Option<u64>>, NotPosted> {
    let mut retry = Retry::new(shared.options.journal.limits.commit_retry);
    let mut sent = false;
    loop {
        let error = match shared.store.post(shard, letters, shared.options.inbox_letters).await {
            Ok(posted) => return Ok(posted),
            Err(error) => error,
        };
        sent |= !error.is_unsent();
        let pause = if error.is_retryable() { retry.again() } else { None };
        let Some(pause) = pause else { return Err(NotPosted { error, sent }) };
        tracing::warn!(%shard, error = error_text(&error), "letters are posted again");
        tokio::time::sleep(pause).await;
    }
}

/// Hands on the reply that comes through the store, unless the sender waits no more.
async fn forward(id: MessageId, mut sender: ReplySender, mut outcome: oneshot::Receiver<Outcome>) {
    tokio::select! {
        () = sender.closed() => {}
        outcome = &mut outcome => {
            let unknown = |_| Err(SendError::OutcomeUnknown { id, source: None });
            let _ = sender.send(outcome.map_or_else(unknown, |outcome| reply(id, outcome)));
        }
    }
}

fn reply(id: MessageId, outcome: Outcome) -> Result<Payload<'static>, SendError> {
    Err(match outcome {
        Outcome::Processed(reply) => return Ok(reply),
        Outcome::Failed { attempts, error } => {
            SendError::DeadLetter { id, attempts, error: error.into() }
        }
        Outcome::AlreadyProcessed => SendError::AlreadyProcessed { id },
        Outcome::Refused(reason) => SendError::NotAccepted { reason: reason.into() },
        Outcome::IdReused => SendError::IdReused { id },
    })
}

/// Why a message was not received, if it was not: whatever came after its receipt does not matter.
fn not_received(id: MessageId, outcome: Outcome) -> Option<SendError> {
    match outcome {
        Outcome::Refused(_) | Outcome::IdReused => reply(id, outcome).err(),
        _ => None,
    }
}
