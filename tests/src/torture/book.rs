//! The state of every actor that is tortured: all it did, in order.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Most often a receipt is durable after it. If not, there is one death more.
const TO_BE_DURABLE: Duration = Duration::from_millis(20);
/// Its key comes again meanwhile.
const LONG: Duration = Duration::from_millis(100);

/// What an actor sends to itself is sent by a timer, after this.
pub const SOON: Duration = Duration::from_millis(3);

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
    /// With a state that is a little smaller than before, if it was large.
    Trim,
    /// And another actor told of it.
    Send(u32),
    /// By a handler that panics the first time.
    Flaky,
    /// With floats of these bits.
    Float(u64),
    /// And another actor told of it; but it never succeeds.
    Poison(Poison, u32),
    /// By a handler that takes the process with it, always, when its receipt had time to be durable.
    Abort,
    /// By a handler that is not done before it is told so.
    Hold,
}

impl Deed {
    /// Whether it ends as a dead letter.
    #[must_use]
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Poison(..) | Self::Abort)
    }
}

/// Where a message that never succeeds fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Poison {
    /// Its handler panics.
    Handler,
    /// The state after it cannot be stored.
    State(Trap),
    /// Its reply cannot be stored.
    Reply(Trap),
}

/// Why something cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trap {
    /// It is over its limit.
    Large,
    /// Its codec has no form for it.
    Refused,
    /// Its `Serialize` panics.
    Panics,
    /// `snapshot` panics: only in a state.
    Snapshot,
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
    /// Whether it is only counted, not written down. The messages of its sender to its actor are
    /// numbered from 1, without a gap.
    pub counted: bool,
}

impl Act {
    /// Whether its handler is not done at once.
    #[must_use]
    pub fn is_slow(&self) -> bool {
        match self.deed {
            Deed::Slow | Deed::Abort | Deed::Hold => true,
            Deed::Poison(..) => self.number.is_multiple_of(2),
            _ => false,
        }
    }

    /// What a slow handler does before it enters the message.
    pub async fn pause(&self) {
        match self.deed {
            Deed::Abort => {
                tokio::time::sleep(TO_BE_DURABLE).await;
                std::process::abort();
            }
            Deed::Hold => tokio::time::sleep(LONG).await,
            _ => {
                for _ in 0..20 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
}

/// How many messages one sender's were, and which of them were not in their place.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Who sent them.
    pub sender: u32,
    /// The highest number that came.
    pub last: u64,
    /// Numbers below it that were not there when a higher one came.
    pub skipped: u64,
    /// Messages that came after a higher number, or after themselves.
    pub late: u64,
}

impl Tally {
    /// How many messages were handled.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.last - self.skipped + self.late
    }

    fn enter(&mut self, number: u64) {
        if number > self.last {
            self.skipped += number - self.last - 1;
            self.last = number;
        } else {
            self.late += 1;
        }
    }
}

/// What one actor has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Book {
    /// Sender and number of every message, in the order of handling.
    pub log: Vec<(u32, u64)>,
    /// Those that are only counted, by their senders.
    pub tallies: Vec<Tally>,
    /// How many messages it has sent to each actor.
    pub sent: Vec<(u32, u64)>,
    /// As many bytes as the last [`Deed::Grow`] said.
    pub bulk: String,
}

impl Book {
    /// Handles a message; `send` sends one to another actor. The reply is how many were handled, of
    /// those that are counted: how many of its sender.
    ///
    /// # Panics
    /// The first time, if the message says so.
    pub(super) fn enter(&mut self, own: u32, act: &Act, send: impl FnOnce(u32, Act)) -> u64 {
        let handled = self.note(act);
        match act.deed {
            Deed::Note | Deed::Slow | Deed::Float(_) | Deed::Abort | Deed::Hold => {}
            Deed::Grow(bytes) => self.bulk = bulk(act.number, bytes),
            Deed::Trim => trim(&mut self.bulk),
            Deed::Send(to) | Deed::Poison(_, to) => {
                let number = self.next_to(to);
                let (sender, counted) = (FIRST_ACTOR + own, act.counted);
                send(to, Act { sender, number, deed: Deed::Note, counted });
            }
            Deed::Flaky => assert!(!first_time(own, act), "the first time"),
        }
        handled
    }

    fn note(&mut self, act: &Act) -> u64 {
        if !act.counted {
            self.log.push((act.sender, act.number));
            return self.log.len() as u64;
        }
        let known = self.tallies.iter().position(|tally| tally.sender == act.sender);
        let at = known.unwrap_or_else(|| {
            self.tallies.push(Tally { sender: act.sender, ..Tally::default() });
            self.tallies.len() - 1
        });
        self.tallies[at].enter(act.number);
        self.tallies[at].count()
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

/// More goes than a message leaves.
pub(super) fn trim(bulk: &mut String) {
    bulk.truncate(bulk.len().saturating_sub(1000));
}

/// Whether this process has not seen the message lately.
fn first_time(own: u32, act: &Act) -> bool {
    /// Far more than are on their way at a time; few, so that a long life does not show.
    const LATELY: usize = 256;
    static SEEN: Mutex<VecDeque<(u32, u32, u64)>> = Mutex::new(VecDeque::new());
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let message = (own, act.sender, act.number);
    if seen.contains(&message) {
        return false;
    }
    seen.push_back(message);
    if seen.len() > LATELY {
        seen.pop_front();
    }
    true
}
