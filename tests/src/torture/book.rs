//! The state of every actor that is tortured: all it did, in order.

use std::collections::HashSet;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

/// From here on senders are actors: this one is actor 0.
pub const FIRST_ACTOR: u32 = 1000;

/// What a message asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// To be written down.
    Note,
    /// By a handler that is not done at once.
    Slow,
    /// With a state of so many bytes from then on.
    Grow(u32),
    /// And another actor told of it.
    Send(u32),
    /// By a handler that panics the first time.
    Flaky,
    /// By a handler that always panics, after it has sent.
    Poison(u32),
}

/// The `number`th message of a sender.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// Who sends.
    pub sender: u32,
    /// Grows.
    pub number: u64,
    /// What is to be done.
    pub deed: Deed,
}

/// What one actor has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// Sender and number of every message, in the order of handling.
    pub log: Vec<(u32, u64)>,
    /// How many messages it has sent to each actor.
    pub sent: Vec<(u32, u64)>,
    /// As many bytes as the last [`Deed::Grow`] said.
    pub bulk: String,
}

impl Book {
    /// Handles a message; `send` sends one to another actor. The reply is how many were handled.
    ///
    /// # Panics
    /// The message says so.
    pub fn enter(&mut self, own: u32, act: &Act, send: impl FnOnce(u32, Act)) -> u64 {
        self.log.push((act.sender, act.number));
        match act.deed {
            Deed::Note | Deed::Slow => {}
            Deed::Grow(bytes) => self.bulk = bulk(act.number, bytes),
            Deed::Send(to) | Deed::Poison(to) => {
                let number = self.next_to(to);
                send(to, Act { sender: FIRST_ACTOR + own, number, deed: Deed::Note });
            }
            Deed::Flaky => assert!(!first_time(act), "the first time"),
        }
        assert!(!matches!(act.deed, Deed::Poison(_)), "always");
        self.log.len() as u64
    }

    fn next_to(&mut self, to: u32) -> u64 {
        if let Some((_, last)) = self.sent.iter_mut().find(|(actor, _)| *actor == to) {
            *last += 1;
            return *last;
        }
        self.sent.push((to, 1));
        1
    }
}

/// So many bytes that show whose they are.
#[must_use]
pub(super) fn bulk(number: u64, bytes: u32) -> String {
    format!("{number} ").repeat(bytes as usize / 2).chars().take(bytes as usize).collect()
}

/// Whether this process has not seen the message before.
fn first_time(act: &Act) -> bool {
    static SEEN: LazyLock<Mutex<HashSet<(u32, u64)>>> = LazyLock::new(Mutex::default);
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).insert((act.sender, act.number))
}
