//! The state that every child's actors keep: enough to see a lost, repeated or misplaced message.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::protocol::Sender;

/// What one actor has seen.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Messages handled.
    pub total: u64,
    /// Of each sender, the last message handled.
    pub last: BTreeMap<Sender, u64>,
    /// Messages that did not come right after the one before from the same sender.
    pub misplaced: Vec<Entry>,
}

/// A message: the `number`th of its sender to this actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Who sent it.
    pub sender: Sender,
    /// Counted from 1, for each actor.
    pub number: u64,
}

/// Where an actor and a sender meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// The actor.
    pub actor: u32,
    /// The sender.
    pub sender: Sender,
}

impl Ledger {
    /// Handles a message. The reply is the number of messages handled so far: it tells the first
    /// handling of a message from any other.
    pub fn enter(&mut self, entry: Entry) -> u64 {
        self.total += 1;
        let last = self.last.entry(entry.sender).or_default();
        if entry.number == *last + 1 {
            *last = entry.number;
        } else {
            self.misplaced.push(entry);
        }
        self.total
    }
}
