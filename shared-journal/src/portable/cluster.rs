//! Leases, inboxes and replies in a provider's history: a log for all leases, one for each inbox,
//! one for each client.

use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc::UnboundedReceiver;

use super::inbox::{InboxStep, Posted, ReplyStep};
use super::leases::{LeaseStep, Leases};
use super::log::{Log, State};
use super::provider::PortableActorProvider;
use super::slots::Slots;
use crate::cluster::{ClusterStore, Founding, Lease, Note, StoredLetter, StoredReply};
use crate::error::JournalError;
use crate::id::{ActorId, ShardId};

/// The instance with the founding.
const FOUNDING: &str = "actor-journal";

/// Appends what `decide` says of everything that came before it; nothing, if it says so.
async fn append<S, T>(
    log: &mut Log<S>,
    slots: &Slots,
    mut decide: impl FnMut(&S) -> (T, Option<S::Entry>) + Send,
) -> Result<T, JournalError>
where
    S: State<Entry: Send> + Send,
    T: Send,
{
    log.catch_up(slots).await?;
    loop {
        let (decision, entry) = decide(&log.state);
        let Some(entry) = entry else { return Ok(decision) };
        if log.append(slots, entry).await? {
            log.compact(slots).await;
            return Ok(decision);
        }
    }
}

impl PortableActorProvider {
    async fn lease<T: Send>(
        &self,
        decide: impl FnMut(&Leases) -> (T, Option<LeaseStep>) + Send,
    ) -> Result<T, JournalError> {
        append(&mut *self.leases.lock().await, &self.slots, decide).await
    }

    fn root_of_inbox(shard: ShardId) -> String {
        format!("actor-journal/{shard}/inbox")
    }

    fn root_of_replies(client: &str) -> String {
        format!("actor-journal/replies/{client}")
    }
}

#[async_trait]
impl ClusterStore for PortableActorProvider {
    async fn found(&self, founding: &Founding) -> Result<Founding, JournalError> {
        let value = serde_json::to_string(&(&founding.cluster, founding.shards));
        let corrupt = |error: serde_json::Error| JournalError::NotAJournal {
            store: self.slots.store().to_owned(),
            reason: format!("instance {FOUNDING}: {error}"),
        };
        let there = self.slots.put(FOUNDING, 1, &value.map_err(corrupt)?).await?;
        let (cluster, shards) = serde_json::from_str(&there).map_err(corrupt)?;
        Ok(Founding { cluster, shards })
    }

    async fn claim(
        &self,
        shard: ShardId,
        node: &str,
        lease: Duration,
    ) -> Result<bool, JournalError> {
        self.lease(|leases| {
            let free = leases.is_free_for(shard, node);
            let leased =
                LeaseStep::Leased { shard, node: Some(node.to_owned()), lease_ms: ms(lease) };
            (free, free.then_some(leased))
        })
        .await
    }

    async fn renew(
        &self,
        shards: &[ShardId],
        node: &str,
        lease: Duration,
    ) -> Result<(), JournalError> {
        let renewed = || LeaseStep::Renewed {
            shards: shards.to_vec(),
            node: node.to_owned(),
            lease_ms: ms(lease),
        };
        self.lease(|_| ((), Some(renewed()))).await
    }

    async fn release(
        &self,
        shard: ShardId,
        node: &str,
        to: Option<(&str, Duration)>,
    ) -> Result<(), JournalError> {
        self.lease(|leases| {
            let released = LeaseStep::Leased {
                shard,
                node: to.map(|(node, _)| node.to_owned()),
                lease_ms: to.map_or(0, |(_, reserved)| ms(reserved)),
            };
            ((), leases.is_held_by(shard, node).then_some(released))
        })
        .await
    }

    async fn want(&self, shard: ShardId, node: &str, wish: Duration) -> Result<(), JournalError> {
        let wanted = || LeaseStep::Wanted { shard, node: node.to_owned(), wish_ms: ms(wish) };
        self.lease(|_| ((), Some(wanted()))).await
    }

    async fn leases(&self) -> Result<Vec<Lease>, JournalError> {
        self.lease(|leases| (leases.list(), None)).await
    }

    async fn post(
        &self,
        shard: ShardId,
        letters: &[StoredLetter],
        limit: u64,
    ) -> Result<Vec<Option<u64>>, JournalError> {
        let new = || Log::new(shard, Self::root_of_inbox(shard));
        let mut log = self.inboxes.get(shard, new).await;
        append(&mut log, &self.slots, |inbox| {
            let (mut numbers, mut posted): (Vec<_>, Vec<Posted>) = (Vec::new(), Vec::new());
            for StoredLetter { actor, bytes } in letters {
                let is_its = |it: &&Posted| ActorId::new(&it.actor_type, &it.actor_id) == *actor;
                let held = inbox.count(actor) + posted.iter().filter(is_its).count() as u64;
                let number = inbox.last + posted.len() as u64 + 1;
                numbers.push((held < limit).then_some(number));
                if held < limit {
                    posted.push(Posted {
                        number,
                        actor_type: actor.actor_type().to_owned(),
                        actor_id: actor.id().to_owned(),
                        letter: bytes.clone(),
                    });
                }
            }
            let step = (!posted.is_empty()).then_some(InboxStep::Posted { letters: posted });
            (numbers, step)
        })
        .await
    }

    async fn take(
        &self,
        shard: ShardId,
        after: u64,
        max_bytes: usize,
    ) -> Result<Vec<(u64, StoredLetter)>, JournalError> {
        let new = || Log::new(shard, Self::root_of_inbox(shard));
        let mut log = self.inboxes.get(shard, new).await;
        log.catch_up(&self.slots).await?;
        Ok(log.state.after(after, max_bytes))
    }

    async fn letters_to(
        &self,
        shard: ShardId,
        actor: &ActorId,
        after: u64,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Vec<u8>)>, JournalError> {
        let new = || Log::new(shard, Self::root_of_inbox(shard));
        let mut log = self.inboxes.get(shard, new).await;
        log.catch_up(&self.slots).await?;
        Ok(log.state.to(actor, after, max_bytes))
    }

    /// The replies first: if nothing comes after them, the letters are handled again and answered
    /// once more.
    async fn settle(
        &self,
        shard: ShardId,
        letters: &[u64],
        replies: &[StoredReply],
    ) -> Result<(), JournalError> {
        for StoredReply { client, bytes } in replies {
            let new = || Log::new(shard, Self::root_of_replies(client));
            let mut log = self.replies.get(client.clone(), new).await;
            append(&mut log, &self.slots, |_| {
                ((), Some(ReplyStep::Replied { reply: bytes.clone() }))
            })
            .await?;
        }
        let new = || Log::new(shard, Self::root_of_inbox(shard));
        let mut log = self.inboxes.get(shard, new).await;
        append(&mut log, &self.slots, |inbox| {
            let settled = InboxStep::Settled { letters: letters.to_vec() };
            ((), inbox.has_any(letters).then_some(settled))
        })
        .await
    }

    async fn collect(
        &self,
        client: &str,
        done: &[u64],
    ) -> Result<Vec<(u64, Vec<u8>)>, JournalError> {
        let new = || Log::new(ShardId(0), Self::root_of_replies(client));
        let mut log = self.replies.get(client.to_owned(), new).await;
        append(&mut log, &self.slots, |_| {
            let collected = ReplyStep::Collected { replies: done.to_vec() };
            ((), (!done.is_empty()).then_some(collected))
        })
        .await?;
        Ok(log.state.all())
    }

    /// Replies of clients that are gone stay: without an index nobody knows of them.
    async fn forget_replies(&self, _: Duration) -> Result<(), JournalError> {
        Ok(())
    }

    /// A provider does not tell.
    async fn listen(&self, _: &str) -> Result<Option<UnboundedReceiver<Note>>, JournalError> {
        Ok(None)
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
