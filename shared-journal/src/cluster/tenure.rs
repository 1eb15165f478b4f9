//! A shard that this node runs: its journal, its actors, and its inbox.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fail::fail_point;
use futures::future::{BoxFuture, FutureExt};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;

use super::host::{Answered, Answering, Delivered, Parcel, Place};
use super::lanes::Lanes;
use super::letter::{Answer, Letter, Outcome};
use super::news::News;
use super::node::{Shared, WeakCluster};
use super::relay::relay;
use super::store::{ClusterStore, LETTERS_AT_ONCE, StoredLetter, StoredReply};
use crate::error::JournalError;
use crate::id::{ActorId, MessageId, MessageKey, ShardId};
use crate::journal::EventJournal;
use crate::mailbox::error_text;

/// Before something is tried again.
const RETRY: Duration = Duration::from_millis(50);
/// Before letters that were refused are delivered again: somebody has to do something first.
const RETRY_REFUSED: Duration = Duration::from_secs(5);
/// Letters on their way through actors at a time. What an actor that is slow has of them is limited
/// by its inbox, so it does not keep those of others back.
const IN_FLIGHT: usize = 16_384;
/// Read from the inbox at a time.
const TAKE_BYTES: usize = 1 << 20;

pub(super) struct Tenure {
    pub(super) shard: ShardId,
    pub(super) journal: EventJournal,
    lanes: Lanes,
    relay: JoinHandle<()>,
    store: Arc<dyn ClusterStore>,
    /// Every letter up to this number was delivered.
    taken: AtomicU64,
    /// So were all that were there at the beginning: what is sent now does not overtake what was acknowledged before.
    caught_up: AtomicBool,
    closing: AtomicBool,
    /// How long handlers at work are waited for at the end.
    patience: Duration,
    news: News,
    /// There are letters, or the tenure ends.
    pub(super) wake: Notify,
}

/// The letters on their way.
type Answers = FuturesUnordered<BoxFuture<'static, Option<Opened>>>;
/// A receiver and the id of a line to it.
type Line = (ActorId, MessageId);
/// Letters that were refused, by their numbers.
type Refused = BTreeMap<u64, Option<Line>>;

/// A letter whose answer is there.
struct Settled {
    number: u64,
    line: Option<Line>,
    /// If anybody waits for it.
    reply: Option<StoredReply>,
    /// Which it has until it is settled.
    _place: Option<Place>,
}

/// What became of a letter.
enum Opened {
    Settled(Settled),
    /// It stays in the inbox, under its number, and nobody waits for a reply.
    Refused(u64, Option<Line>),
}

impl Tenure {
    pub(super) async fn begin(
        shared: &Shared,
        cluster: WeakCluster,
        journal: EventJournal,
        shard: ShardId,
    ) -> Result<(Arc<Self>, JoinHandle<()>), JournalError> {
        let Shared { options, hosts, store, news, .. } = shared;
        let lanes =
            Lanes::new(journal.clone(), hosts.clone(), options.active_actors, options.places());
        let pending = journal.pending().await?;
        let relay = relay(cluster, &journal, &pending).await?;
        for actor in pending {
            lanes.wake(&actor);
        }
        let tenure = Arc::new(Self {
            shard,
            journal,
            lanes,
            relay,
            store: store.clone(),
            news: news.clone(),
            taken: AtomicU64::new(0),
            caught_up: AtomicBool::new(false),
            closing: AtomicBool::new(false),
            patience: options.patience,
            wake: Notify::new(),
        });
        // Before anybody can send here.
        let mut answers = Answers::new();
        let more = tenure.deliver_letters(&mut answers).await;
        let intake = tokio::spawn(tenure.clone().take_letters(answers, more));
        Ok((tenure, intake))
    }

    /// Whether senders on this node may go past the inbox, where their last letter was `posted`.
    pub(super) fn is_open_after(&self, posted: u64) -> bool {
        !self.closing.load(Ordering::Acquire)
            && self.caught_up.load(Ordering::Acquire)
            && self.taken.load(Ordering::Acquire) >= posted
            && self.journal.stopped().is_none()
    }

    pub(super) fn deliver(&self, actor: &ActorId, parcel: Parcel) {
        self.lanes.deliver(actor, parcel);
    }

    /// Takes nothing more.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.relay.abort();
        self.wake.notify_one();
    }

    /// Takes nothing more, lets the actors finish for a moment, cuts off those that do not, and writes what is
    /// to be written. The next owner finds the rest: letters in the inbox, receipts in the journal.
    pub(super) async fn end(&self, mut intake: JoinHandle<()>) -> Result<(), JournalError> {
        self.close();
        if tokio::time::timeout(self.patience, &mut intake).await.is_err() {
            intake.abort();
        }
        self.lanes.clear();
        self.journal.hand_over(self.patience).await
    }

    /// `look`: there may be letters that nobody told of.
    async fn take_letters(self: Arc<Self>, mut answers: Answers, mut look: bool) {
        let (mut refused, mut due) = (Refused::new(), Refused::new());
        let mut again = Instant::now();
        let mut awaited = self.journal.awaited();
        loop {
            if look && !self.is_ending() {
                look = self.deliver_letters(&mut answers).await;
            }
            if again.elapsed() >= RETRY_REFUSED && !refused.is_empty() {
                due.append(&mut refused);
                again = Instant::now();
            }
            if !due.is_empty() && !self.is_ending() {
                refused.append(
                    &mut self.deliver_refused(&mut answers, std::mem::take(&mut due)).await,
                );
            }
            let ending = self.is_ending();
            if ending && answers.is_empty() {
                return;
            }
            tokio::select! {
                Some(answer) = answers.next(), if !answers.is_empty() => {
                    let mut opened: Vec<Opened> = answer.into_iter().collect();
                    while let Some(Some(answer)) = answers.next().now_or_never() {
                        opened.extend(answer);
                    }
                    let mut settled = Vec::with_capacity(opened.len());
                    for letter in opened {
                        match letter {
                            Opened::Settled(letter) => settled.push(letter),
                            Opened::Refused(number, line) => drop(refused.insert(number, line)),
                        }
                    }
                    if !refused.is_empty() {
                        (due, refused) = next_of_lines(&settled, refused);
                    }
                    self.settle(settled).await;
                }
                () = self.wake.notified(), if !ending => look = true,
                Some(actor) = awaited.recv(), if !ending => self.lanes.wake(&actor),
                () = tokio::time::sleep(RETRY_REFUSED), if !ending && !refused.is_empty() => {}
                () = tokio::time::sleep(self.news.patience()), if !ending => look = true,
            }
        }
    }

    fn is_ending(&self) -> bool {
        self.closing.load(Ordering::Acquire) || self.journal.stopped().is_some()
    }

    /// Delivers what is in the inbox. True if there may be more: as many as may are on their way.
    async fn deliver_letters(&self, answers: &mut Answers) -> bool {
        while answers.len() < IN_FLIGHT {
            let after = self.taken.load(Ordering::Acquire);
            let letters = match self.store.take(self.shard, after, TAKE_BYTES).await {
                Ok(letters) if letters.is_empty() => {
                    self.caught_up.store(true, Ordering::Release);
                    return false;
                }
                Ok(letters) => letters,
                Err(error) => {
                    tracing::warn!(shard = %self.shard, error = error_text(&error), "letters cannot be taken");
                    return false;
                }
            };
            if self.is_ending() {
                return false;
            }
            let bytes: usize = letters.iter().map(|(_, letter)| letter.bytes.len()).sum();
            let all = letters.len() < LETTERS_AT_ONCE && bytes < TAKE_BYTES;
            for (number, letter) in letters {
                answers.extend(self.open(number, letter, false));
                self.taken.store(number, Ordering::Release);
            }
            if all && self.news.are_told() {
                self.caught_up.store(true, Ordering::Release);
                return false;
            }
        }
        true
    }

    /// Delivers letters again, those of a line in its order, which is another one if some were posted again. Those that
    /// are left, if the store cannot be read.
    async fn deliver_refused(&self, answers: &mut Answers, mut refused: Refused) -> Refused {
        while let Some(first) = refused.first_key_value().map(|(first, _)| *first) {
            let letters = match self.store.take(self.shard, first - 1, TAKE_BYTES).await {
                Ok(letters) => letters,
                Err(error) => {
                    tracing::warn!(shard = %self.shard, error = error_text(&error), "letters cannot be taken");
                    return refused;
                }
            };
            let Some((last, _)) = letters.last() else { return Refused::new() };
            let left = refused.split_off(&(last + 1));
            let mut again: Vec<_> =
                letters.into_iter().filter(|(it, _)| refused.contains_key(it)).collect();
            again.sort_by_cached_key(|(number, letter)| match Letter::decode(&letter.bytes) {
                Ok(Letter { key: MessageKey::Line { line, number }, .. }) => (Some(line), number),
                _ => (None, *number),
            });
            for (number, letter) in again {
                answers.extend(self.open(number, letter, true));
            }
            refused = left;
        }
        refused
    }

    /// Delivers a letter, for the first time or `again`. `None` if it cannot be read: it stays in the inbox.
    fn open(
        &self,
        number: u64,
        stored: StoredLetter,
        again: bool,
    ) -> Option<BoxFuture<'static, Option<Opened>>> {
        let actor = stored.actor;
        let letter = match Letter::decode(&stored.bytes) {
            Ok(letter) => letter,
            Err(error) => {
                let shard = self.shard;
                tracing::error!(%actor, %shard, number, error = error_text(&error), "a letter is corrupt and stays");
                metrics::counter!("journal_undeliverable_letters_total").increment(1);
                return None;
            }
        };
        let (answer, outcome) = Answering::new();
        let Letter { key, kind, payload, reply_to, correlation } = letter;
        let id = key.id();
        let line = match key {
            MessageKey::Line { line, .. } => Some((actor.clone(), line)),
            _ => None,
        };
        let parcel = Parcel { key, kind, payload, acknowledge: None, answer };
        let outside =
            reply_to.as_deref().and_then(|to| Some((self.lanes.host_of(to)?, to.to_owned())));
        let awaited = outside.as_ref().map_or(reply_to.is_some(), |(host, to)| host.awaits(to));
        self.lanes.deliver(&actor, parcel);
        Some(
            async move {
                let (delivered, place) = answered(outcome).await;
                match &delivered {
                    // Its actor has ended, and its lane.
                    Delivered::Lost(None) => return Some(Opened::Refused(number, line)),
                    Delivered::Refused(reason) if !awaited => {
                        if !again {
                            tracing::error!(%actor, number, %reason, "a letter is not accepted and stays; it is delivered again every 5 s");
                            metrics::counter!("journal_undeliverable_letters_total").increment(1);
                        }
                        return Some(Opened::Refused(number, line));
                    }
                    Delivered::IdReused if !awaited => {
                        tracing::error!(%actor, number, "a letter is dropped: its sender was told that it is accepted, and its id was used before for another message");
                        metrics::counter!("journal_reused_letters_total").increment(1);
                    }
                    Delivered::Kept | Delivered::Lost(Some(_)) => return None,
                    _ => {}
                }
                if let Some((host, to)) = outside {
                    // Its place is for others: what it has handled it knows for long.
                    drop(place);
                    let done = host.reply(&to, &delivered).await;
                    let settled = Settled { number, line, reply: None, _place: None };
                    return done.then_some(Opened::Settled(settled));
                }
                let outcome = Outcome::of(delivered)?;
                let reply = reply_to.zip(id).and_then(|(client, id)| {
                    let bytes = Answer { id, outcome, correlation }.encode().ok()?;
                    Some(StoredReply { client, bytes })
                });
                Some(Opened::Settled(Settled { number, line, reply, _place: place }))
            }
            .boxed(),
        )
    }

    /// The letters go and the replies are there, at once. If the store does not do it, the next
    /// owner finds the letters, and the actors' recorded replies.
    async fn settle(&self, mut settled: Vec<Settled>) {
        if settled.is_empty() {
            return;
        }
        let numbers: Vec<u64> = settled.iter().map(|letter| letter.number).collect();
        let replies: Vec<StoredReply> =
            settled.iter_mut().filter_map(|letter| letter.reply.take()).collect();
        loop {
            match self.store.settle(self.shard, &numbers, &replies).await {
                Ok(()) => {
                    fail_point!("after-settle");
                    return;
                }
                Err(error) if error.is_retryable() && self.journal.stopped().is_none() => {
                    tracing::warn!(shard = %self.shard, error = error_text(&error), "letters are settled again");
                    tokio::time::sleep(RETRY).await;
                }
                Err(error) => {
                    tracing::error!(shard = %self.shard, error = error_text(&error), "letters are not settled");
                    return;
                }
            }
        }
    }
}

/// Those that waited in lines which have gone on, and the others.
fn next_of_lines(settled: &[Settled], refused: Refused) -> (Refused, Refused) {
    let lines: BTreeSet<&Line> = settled.iter().filter_map(|letter| letter.line.as_ref()).collect();
    refused.into_iter().partition(|(_, line)| line.as_ref().is_some_and(|it| lines.contains(it)))
}

pub(super) async fn answered(outcome: oneshot::Receiver<Answered>) -> Answered {
    outcome.await.unwrap_or((Delivered::Lost(None), None))
}
