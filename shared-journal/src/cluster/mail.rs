//! The inbox of a receiver that is on no node: it posts, and takes its letters from the store itself.

use super::discarded::{discarded, is_discarded};
use super::error::SendError;
use super::host::Delivered;
use super::letter::{Answer, Letter, Outcome};
use super::node::Cluster;
use super::store::{StoredLetter, StoredReply};
use crate::codec::Payload;
use crate::error::JournalError;
use crate::id::{ActorId, MessageId, MessageKey};
use crate::mailbox::error_text;

/// A letter that waits for its receiver.
pub(crate) struct Mail {
    /// Its number in the inbox of its shard.
    pub(crate) number: u64,
    pub(crate) id: MessageId,
    pub(crate) payload: Payload<'static>,
    /// Who waits for the reply, and what it is known by there.
    pub(crate) reply_to: Option<(String, u64)>,
}

/// A letter that goes, and the outcome for who waits for it.
pub(crate) struct Settled {
    pub(crate) number: u64,
    pub(crate) reply: Option<(String, u64, MessageId, Delivered)>,
}

/// A letter in the inbox of an actor, as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitingLetter {
    /// Its number in the inbox of its shard.
    pub number: u64,
    /// Its id.
    pub key: MessageKey,
    /// The stable name of its type.
    pub kind: String,
    /// The message.
    pub payload: Payload<'static>,
    /// Somebody waits for the reply.
    pub is_asked: bool,
}

impl Cluster {
    /// The letters that wait in an actor's inbox, in their order, beginning after the number `after`: about a MiB
    /// of them. Among them are those that the actor has refused, which are delivered again every 5 s. It needs
    /// no program that knows the actor, and no host. One that is corrupt is in the log only, with its number.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn letters(
        &self,
        actor: &ActorId,
        after: u64,
    ) -> Result<Vec<WaitingLetter>, JournalError> {
        const PAGE: usize = 1 << 20;
        let letters = self.opened(actor, after, PAGE).await?.into_iter().map(|(number, letter)| {
            let Letter { key, kind, payload, reply_to, .. } = letter;
            let awaits = |to: &str| self.host_outside(to).is_none_or(|host| host.awaits(to));
            let is_asked = reply_to.as_deref().is_some_and(awaits);
            WaitingLetter { number, key, kind, payload, is_asked }
        });
        Ok(letters.collect())
    }

    /// Removes a letter from an actor's inbox; who asks gets
    /// [`NotAccepted`](super::SendError::NotAccepted). False if it is not there. If the actor is at it, or has handled
    /// it in this moment, that is not undone.
    ///
    /// A letter that an actor has sent is on a line: what it sent to this one later waits for it. So it is removed as
    /// its actor gets it as a [dead letter](crate::EventJournal::dead_letters), in its turn and without being started:
    /// there it can be sent again or discarded for good. The owner of its shard does that within 5 s, or when a handler
    /// that is at work has ended; an actor that runs leaves memory for it. Until then the letter is listed
    /// under the kind `actors:discarded:` and its own, and discarding that does nothing. An owner of an earlier version
    /// does not know what it means, and leaves it.
    ///
    /// When this returns it is durable that the letter goes. After one that was dropped or failed the
    /// letter may still be listed: discard it again.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn discard_letter(&self, actor: &ActorId, number: u64) -> Result<bool, JournalError> {
        let shard = self.shard_of(actor);
        let letters = self.store().letters_to(shard, actor, number.saturating_sub(1), 1).await?;
        let Some((_, bytes)) = letters.into_iter().find(|(it, _)| *it == number) else {
            return Ok(false);
        };
        let refused = Delivered::Refused("an operator has discarded it".into());
        let mut reply = None;
        if let Ok(Letter { key, kind, payload, reply_to, correlation }) = Letter::decode(&bytes) {
            if let MessageKey::Line { .. } = key {
                if is_discarded(&kind) {
                    return Ok(true);
                }
                self.discard_from_line(actor, key, &kind, payload).await?;
            }
            match (reply_to.as_deref().and_then(|to| self.host_outside(to)), reply_to) {
                (Some(host), Some(to)) if host.awaits(&to) => drop(host.reply(&to, &refused).await),
                (Some(_), _) => {}
                (None, to) => {
                    reply = to.zip(key.id()).map(|(to, id)| (to, correlation, id, refused));
                }
            }
        }
        self.settle(actor, vec![Settled { number, reply }]).await?;
        Ok(true)
    }

    /// Posts a letter that has its number to be received as a dead letter.
    async fn discard_from_line(
        &self,
        actor: &ActorId,
        key: MessageKey,
        kind: &str,
        payload: Payload<'static>,
    ) -> Result<(), JournalError> {
        let encoded = Letter::new(key, &discarded(kind), payload).encode();
        let bytes = encoded.map_err(|error| JournalError::Store {
            store: self.store().location(),
            operation: "encode a letter",
            retryable: false,
            source: error.into(),
        })?;
        let shard = self.shard_of(actor);
        let letter = StoredLetter { actor: actor.clone(), bytes };
        self.store().post(shard, &[letter], u64::MAX).await?;
        Ok(())
    }

    /// Posts a message whose outcome its actor's [host of instances](super::Host::reply) brings to `reply_to`,
    /// if there is one. It waits for nothing but the store.
    ///
    /// # Errors
    /// As [`tell`](Self::tell).
    pub(crate) async fn post_from_outside(
        &self,
        actor: &ActorId,
        key: MessageKey,
        kind: &str,
        payload: Payload<'static>,
        reply_to: Option<String>,
    ) -> Result<(), SendError> {
        self.post(actor, Letter { reply_to, ..Letter::new(key, kind, payload) }).await
    }

    /// The letters that wait for one receiver, in their order, beginning after `after`, until there are so many bytes.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn mail(
        &self,
        receiver: &ActorId,
        after: u64,
        max_bytes: usize,
    ) -> Result<Vec<Mail>, JournalError> {
        let letters = self.opened(receiver, after, max_bytes).await?.into_iter();
        let mail = letters.map(|(number, Letter { key, payload, reply_to, correlation, .. })| {
            let id = key.id().unwrap_or(MessageId::nil());
            let reply_to = reply_to.map(|client| (client, correlation));
            Mail { number, id, payload, reply_to }
        });
        Ok(mail.collect())
    }

    /// The letters to one receiver that can be read.
    async fn opened(
        &self,
        receiver: &ActorId,
        after: u64,
        max_bytes: usize,
    ) -> Result<Vec<(u64, Letter)>, JournalError> {
        let shard = self.shard_of(receiver);
        let letters = self.store().letters_to(shard, receiver, after, max_bytes).await?;
        let opened = letters.into_iter().filter_map(|(number, bytes)| match Letter::decode(&bytes) {
            Ok(letter) => Some((number, letter)),
            Err(error) => {
                tracing::error!(%receiver, %shard, number, error = error_text(&error), "a letter is corrupt and stays");
                None
            }
        });
        Ok(opened.collect())
    }

    /// Removes letters of one receiver; their replies are there.
    ///
    /// # Errors
    /// The store cannot be written.
    pub(crate) async fn settle(
        &self,
        receiver: &ActorId,
        settled: Vec<Settled>,
    ) -> Result<(), JournalError> {
        if settled.is_empty() {
            return Ok(());
        }
        let numbers: Vec<_> = settled.iter().map(|letter| letter.number).collect();
        let replies = settled.into_iter().filter_map(|letter| {
            let (client, correlation, id, delivered) = letter.reply?;
            let outcome = Outcome::of(delivered)?;
            let bytes = Answer { id, outcome, correlation }.encode().ok()?;
            Some(StoredReply { client, bytes })
        });
        let replies: Vec<_> = replies.collect();
        self.store().settle(self.shard_of(receiver), &numbers, &replies).await
    }
}
