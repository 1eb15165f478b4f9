//! The lines between the torturer and its processes: JSON, a line each.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use super::book::{Act, Book};
use super::memory::Bits;
use super::traffic::{Desk, Instance, Note, Receipt};

/// What a process is told to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Order {
    /// To send a message.
    Message {
        /// Of the operation.
        op: (u32, u64),
        /// The receiver.
        actor: u32,
        /// Whether the reply is waited for, or the receipt.
        ask: bool,
        /// The message.
        act: Act,
    },
    /// To make a checkpoint of every shard.
    Checkpoint {
        /// Of the operation.
        op: (u32, u64),
    },
    /// To wait until nothing is left to do, and to show so many actors.
    Show(u32),
    /// To send a note.
    Note {
        /// Of the operation.
        op: (u32, u64),
        /// The receiver.
        to: u32,
        /// Of which its id is made.
        key: u64,
        /// Whether the reply is waited for, or the receipt.
        ask: bool,
        /// The note.
        note: Note,
    },
    /// To delete an instance, and to start it again.
    Renew {
        /// Of the operation.
        op: (u32, u64),
        /// As it is from then on.
        instance: Instance,
    },
    /// To show what so many actors were told, at once, or when duroxide has nothing left to do either.
    Look {
        /// So many.
        actors: u32,
        /// Not at once.
        settled: bool,
    },
}

/// What became of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// The reply.
    Replied(u64, Bits),
    /// The reply to a note.
    Noted(Receipt),
    /// The receipt is durable, or the checkpoint.
    Done,
    /// The message is a dead letter.
    Dead,
    /// Another message had its id before.
    Reused,
    /// Not accepted: it can be sent anew.
    Refused(String),
    /// Perhaps accepted: it can be sent again.
    Unknown(String),
    /// What should not be.
    Wrong(String),
}

/// What a process says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Said {
    /// It can be told something.
    Ready,
    /// What became of an operation.
    Answer((u32, u64), Answer),
    /// What an actor has.
    Shown(u32, Found),
    /// That was all, with what the journals complain of.
    All(Vec<String>),
    /// What actors were told, and complaints.
    Desks(BTreeMap<u32, Desk>, Vec<String>),
}

/// What an actor has in the end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Found {
    /// What it has done.
    pub book: Book,
    /// The floats in its state.
    pub floats: Bits,
    /// Its dead letters: sender, number, and how often they were tried.
    pub dead: Vec<(u32, u64, u32)>,
}
