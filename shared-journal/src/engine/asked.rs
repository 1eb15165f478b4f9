//! Who waits for the outcomes of messages that an actor has received.

use rustc_hash::FxHashMap;

use super::request::Reply;
use crate::event::ActorEvent;
use crate::id::MessageId;
use crate::record::{ActorRecord, Outcome};

/// Questions about one actor, by the ids of messages that are pending.
#[derive(Default)]
pub(super) struct Asked(FxHashMap<MessageId, Vec<Reply<Option<Outcome>>>>);

/// What an event may have answered.
pub(super) enum Answered {
    Nothing,
    One(MessageId),
    All,
}

impl Asked {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn push(&mut self, id: MessageId, reply: Reply<Option<Outcome>>) {
        let waiting = self.0.entry(id).or_default();
        waiting.retain(|reply| !reply.is_closed());
        waiting.push(reply);
    }

    /// Looks at an event before it is applied.
    pub(super) fn answered_by(&self, event: &ActorEvent<'_>, record: &ActorRecord) -> Answered {
        match event {
            _ if self.0.is_empty() => Answered::Nothing,
            ActorEvent::MessageProcessed { .. } | ActorEvent::MessageFailed { .. } => {
                let oldest = record.pending.front().and_then(|message| message.key.id());
                oldest.map_or(Answered::Nothing, Answered::One)
            }
            ActorEvent::Repaired { .. } => Answered::All,
            _ => Answered::Nothing,
        }
    }

    /// The event is applied.
    pub(super) fn answer(&mut self, answered: &Answered, record: &ActorRecord) {
        let ids: Vec<_> = match answered {
            Answered::Nothing => return,
            Answered::One(id) => vec![*id],
            Answered::All => self.0.keys().copied().filter(|id| !record.is_pending(*id)).collect(),
        };
        for id in ids {
            for reply in self.0.remove(&id).into_iter().flatten() {
                drop(reply.send(Ok(record.outcome(id).cloned())));
            }
        }
    }
}
