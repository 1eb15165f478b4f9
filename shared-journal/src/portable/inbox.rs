//! Letters that wait for a shard, and replies that wait for a client, as logs tell them.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::entry::base64_bytes;
use super::log::State;
use crate::cluster::StoredLetter;
use crate::id::ActorId;

/// One step of an inbox's history.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum InboxStep {
    Posted {
        letters: Vec<Posted>,
    },
    Settled {
        letters: Vec<u64>,
    },
    /// At the beginning of a segment: numbers go on from here.
    Numbered {
        last: u64,
    },
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Posted {
    pub(super) number: u64,
    pub(super) actor_type: String,
    pub(super) actor_id: String,
    #[serde(with = "base64_bytes")]
    pub(super) letter: Vec<u8>,
}

#[derive(Debug, Default)]
pub(super) struct Inbox {
    letters: BTreeMap<u64, StoredLetter>,
    counts: FxHashMap<ActorId, u64>,
    pub(super) last: u64,
    bytes: usize,
}

impl Inbox {
    /// How many letters wait for an actor.
    pub(super) fn count(&self, actor: &ActorId) -> u64 {
        self.counts.get(actor).copied().unwrap_or_default()
    }

    /// A letter is not here any more.
    fn forget(&mut self, letter: &StoredLetter) {
        self.bytes -= letter.bytes.len();
        if let Some(count) = self.counts.get_mut(&letter.actor) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&letter.actor);
            }
        }
    }

    pub(super) fn has_any(&self, numbers: &[u64]) -> bool {
        numbers.iter().any(|number| self.letters.contains_key(number))
    }

    pub(super) fn after(&self, after: u64, max_bytes: usize) -> Vec<(u64, StoredLetter)> {
        let (mut letters, mut bytes_read) = (Vec::new(), 0);
        for (number, letter) in self.letters.range(after.saturating_add(1)..) {
            if bytes_read >= max_bytes {
                break;
            }
            bytes_read += letter.bytes.len();
            letters.push((*number, letter.clone()));
        }
        letters
    }
}

impl Inbox {
    pub(super) fn to(&self, actor: &ActorId, after: u64, max_bytes: usize) -> Vec<(u64, Vec<u8>)> {
        let (mut letters, mut bytes_read) = (Vec::new(), 0);
        for (number, letter) in
            self.letters.range(after.saturating_add(1)..).filter(|(_, it)| it.actor == *actor)
        {
            if bytes_read >= max_bytes {
                break;
            }
            bytes_read += letter.bytes.len();
            letters.push((*number, letter.bytes.clone()));
        }
        letters
    }
}

impl State for Inbox {
    type Entry = InboxStep;

    fn apply(&mut self, step: InboxStep) {
        match step {
            InboxStep::Numbered { last } => self.last = last,
            InboxStep::Posted { letters } => {
                for Posted { number, actor_type, actor_id, letter } in letters {
                    let actor = ActorId::new(actor_type, actor_id);
                    self.last = self.last.max(number);
                    self.bytes += letter.len();
                    *self.counts.entry(actor.clone()).or_default() += 1;
                    let letter = StoredLetter { actor, bytes: letter };
                    if let Some(twin) = self.letters.insert(number, letter) {
                        self.forget(&twin);
                    }
                }
            }
            InboxStep::Settled { letters } => {
                for number in letters {
                    if let Some(letter) = self.letters.remove(&number) {
                        self.forget(&letter);
                    }
                }
            }
        }
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    fn whole(&self) -> Vec<InboxStep> {
        let posted = |(number, letter): (&u64, &StoredLetter)| Posted {
            number: *number,
            actor_type: letter.actor.actor_type().to_owned(),
            actor_id: letter.actor.id().to_owned(),
            letter: letter.bytes.clone(),
        };
        let letters = self.letters.iter().map(posted);
        let one = |letter| InboxStep::Posted { letters: vec![letter] };
        letters.map(one).chain([InboxStep::Numbered { last: self.last }]).collect()
    }
}

/// One step of the history of a client's replies.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReplyStep {
    Replied {
        #[serde(with = "base64_bytes")]
        reply: Vec<u8>,
    },
    Collected {
        replies: Vec<u64>,
    },
    Numbered {
        last: u64,
    },
}

#[derive(Debug, Default)]
pub(super) struct Replies {
    replies: BTreeMap<u64, Vec<u8>>,
    last: u64,
    bytes: usize,
}

impl Replies {
    pub(super) fn all(&self) -> Vec<(u64, Vec<u8>)> {
        self.replies.iter().map(|(number, reply)| (*number, reply.clone())).collect()
    }
}

impl State for Replies {
    type Entry = ReplyStep;

    fn apply(&mut self, step: ReplyStep) {
        match step {
            ReplyStep::Numbered { last } => self.last = last,
            ReplyStep::Replied { reply } => {
                self.last = self.last.saturating_add(1);
                self.bytes += reply.len();
                let twin = self.replies.insert(self.last, reply);
                self.bytes -= twin.map_or(0, |reply| reply.len());
            }
            ReplyStep::Collected { replies } => {
                for reply in replies.iter().filter_map(|number| self.replies.remove(number)) {
                    self.bytes -= reply.len();
                }
            }
        }
    }

    fn bytes(&self) -> usize {
        self.bytes
    }

    /// Replies get new numbers: what was collected with the old ones is removed by nobody else.
    fn whole(&self) -> Vec<ReplyStep> {
        let begin = ReplyStep::Numbered { last: self.last };
        let replied = |reply: &Vec<u8>| ReplyStep::Replied { reply: reply.clone() };
        std::iter::once(begin).chain(self.replies.values().map(replied)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_that_takes_the_number_of_another_takes_its_place() {
        let mut inbox = Inbox::default();
        for id in ["1", "2"] {
            let (actor_type, actor_id) = ("t".into(), id.into());
            let letter = Posted { number: 5, actor_type, actor_id, letter: vec![0; 3] };
            inbox.apply(InboxStep::Posted { letters: vec![letter] });
        }
        let counts = ["1", "2"].map(|id| inbox.count(&ActorId::new("t", id)));
        assert_eq!((inbox.bytes(), counts), (3, [0, 1]));
    }
}
