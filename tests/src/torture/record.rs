//! The outside record of what was asked and answered, and the promises checked against it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::book::{Book, Deed, FIRST_ACTOR, bulk};
use super::wire::Answer;

/// What a program did to the promises.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Processes that were killed, or paused past their lease.
    pub kills: u64,
    /// Messages that were acknowledged: answered, received, or buried.
    pub acked: u64,
    /// Of those, not in the state of their actor; and messages of actors that did not arrive.
    pub lost: u64,
    /// In a state more than once.
    pub duplicated: u64,
    /// Handled in another order than that of their sender, or than an answer showed.
    pub reordered: u64,
    /// Anything else that should not be.
    pub unexplained: u64,
    /// Messages that were refused, or whose outcome was unknown, and were sent again.
    pub retried: u64,
    /// In words.
    pub problems: Vec<String>,
}

impl Verdict {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.reordered + self.unexplained == 0
    }

    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.acked += other.acked;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.unexplained += other.unexplained;
        self.retried += other.retried;
        self.problems.extend(other.problems);
    }

    pub(super) fn unexplained(&mut self, problem: String) {
        self.unexplained += 1;
        self.problems.push(problem);
    }

    fn lost(&mut self, problem: String) {
        self.lost += 1;
        self.problems.push(problem);
    }

    fn duplicated(&mut self, problem: String) {
        self.duplicated += 1;
        self.problems.push(problem);
    }

    fn reordered(&mut self, problem: String) {
        self.reordered += 1;
        self.problems.push(problem);
    }
}

/// A message, by its sender and number.
pub(super) type Key = (u32, u64);

/// One message, as the outside saw it.
#[derive(Debug)]
struct Message {
    actor: u32,
    deed: Deed,
    /// When it was first sent.
    sent: u64,
    acked: bool,
    /// The first reply, and when it came.
    reply: Option<(u64, u64)>,
    dead: bool,
    /// It was sent again after an error, so others may have come before it.
    retried: bool,
}

/// Everything that was sent and answered.
#[derive(Debug, Default)]
pub(super) struct Record {
    clock: u64,
    messages: BTreeMap<Key, Message>,
    pub(super) verdict: Verdict,
}

impl Record {
    pub(super) fn sent(&mut self, key: Key, actor: u32, deed: &Deed) {
        self.clock += 1;
        let sent = self.clock;
        self.messages.entry(key).or_insert_with(|| Message {
            actor,
            deed: deed.clone(),
            sent,
            acked: false,
            reply: None,
            dead: false,
            retried: false,
        });
    }

    /// Whether the operation is over.
    pub(super) fn answered(&mut self, key: Key, answer: Answer) -> bool {
        self.clock += 1;
        let Some(message) = self.messages.get_mut(&key) else { return true };
        match answer {
            Answer::Replied(reply) => {
                let (first, _) = *message.reply.get_or_insert((reply, self.clock));
                if first != reply {
                    let problem = format!("{key:?} was answered with {first} and with {reply}");
                    self.verdict.unexplained(problem);
                }
            }
            Answer::Done => {}
            Answer::Dead => message.dead = true,
            Answer::Refused(_) | Answer::Unknown(_) => {
                message.retried = true;
                self.verdict.retried += 1;
                return false;
            }
            Answer::Wrong(what) => self.verdict.unexplained(format!("{key:?}: {what}")),
        }
        message.acked = true;
        true
    }

    /// Compares with what the actors have.
    pub(super) fn check(mut self, books: &BTreeMap<u32, Book>) -> Verdict {
        let mut places: HashMap<(u32, Key), u64> = HashMap::new();
        for (actor, book) in books {
            for (place, key) in (1..).zip(&book.log) {
                if places.insert((*actor, *key), place).is_some() {
                    self.verdict.duplicated(format!("actor {actor} has handled {key:?} twice"));
                }
            }
            self.check_order(*actor, book);
        }
        self.check_messages(&places);
        for (actor, book) in books {
            self.check_sent(*actor, book, books);
            self.check_bulk(*actor, book);
        }
        self.verdict
    }

    /// Everything acknowledged is in the state, where the reply said.
    fn check_messages(&mut self, places: &HashMap<(u32, Key), u64>) {
        for (key, message) in &self.messages {
            let place = places.get(&(message.actor, *key)).copied();
            let poison = matches!(message.deed, Deed::Poison(_));
            if message.acked {
                self.verdict.acked += 1;
            }
            match (poison, place) {
                (true, Some(place)) => {
                    self.verdict.unexplained(format!("{key:?} always panics and is at {place}"));
                }
                (true, None) if message.reply.is_some() => {
                    self.verdict.unexplained(format!("{key:?} always panics and was answered"));
                }
                (true, None) => {}
                (false, None) if message.acked && !message.dead => {
                    let actor = message.actor;
                    self.verdict.lost(format!("{key:?} is not in the state of actor {actor}"));
                }
                (false, None) => {}
                (false, Some(_)) if message.dead => {
                    self.verdict.unexplained(format!("{key:?} is a dead letter and was handled"));
                }
                (false, Some(place)) => match message.reply {
                    Some((reply, _)) if reply != place => {
                        let problem = format!("{key:?}: the answer was {reply}, it is at {place}");
                        self.verdict.unexplained(problem);
                    }
                    _ => {}
                },
            }
        }
    }

    /// The order of each sender, and the one that answers showed: a message that was sent after
    /// another was answered comes after that one.
    fn check_order(&mut self, actor: u32, book: &Book) {
        let mut last: BTreeMap<u32, u64> = BTreeMap::new();
        let mut latest_sent = 0;
        for (sender, number) in &book.log {
            if *sender >= FIRST_ACTOR {
                continue;
            }
            let Some(message) = self.messages.get(&(*sender, *number)) else {
                let problem = format!("actor {actor} has handled {sender}/{number}: never sent");
                self.verdict.unexplained(problem);
                continue;
            };
            // The answer came before something was sent that was handled earlier.
            if message.reply.is_some_and(|(_, at)| at < latest_sent) {
                let problem = format!("actor {actor}: {sender}/{number} is later than its answer");
                self.verdict.reordered(problem);
            }
            latest_sent = latest_sent.max(message.sent);
            if message.retried {
                continue;
            }
            let last = last.entry(*sender).or_default();
            if number < last {
                let problem = format!("actor {actor}: {number} of sender {sender} after {last}");
                self.verdict.reordered(problem);
            }
            *last = *number;
        }
    }

    /// What an actor has sent arrives once and in order, and nothing else does.
    fn check_sent(&mut self, actor: u32, book: &Book, books: &BTreeMap<u32, Book>) {
        let mut sent: BTreeMap<u32, u64> = BTreeMap::new();
        for key in &book.log {
            if let Some(Message { deed: Deed::Send(to), .. }) = self.messages.get(key) {
                *sent.entry(*to).or_default() += 1;
            }
        }
        let said: BTreeMap<u32, u64> = book.sent.iter().copied().collect();
        if said != sent {
            let problem = format!("actor {actor} has sent {said:?}, and was to send {sent:?}");
            self.verdict.unexplained(problem);
        }
        for (to, book) in books {
            let sender = FIRST_ACTOR + actor;
            let came = book.log.iter().filter(|(from, _)| *from == sender).map(|(_, it)| *it);
            let came: Vec<u64> = came.collect();
            let expected = sent.get(to).copied().unwrap_or_default();
            let once: BTreeSet<u64> = came.iter().copied().collect();
            for number in (1..=expected).filter(|number| !once.contains(number)) {
                self.verdict.lost(format!("{number} from actor {actor} to {to} has not arrived"));
            }
            for number in once.iter().filter(|number| **number > expected) {
                let problem = format!("{number} from actor {actor} to {to} was never sent");
                self.verdict.unexplained(problem);
            }
            if !came.is_sorted() {
                self.verdict.reordered(format!("from actor {actor} to {to} came {came:?}"));
            }
        }
    }

    fn check_bulk(&mut self, actor: u32, book: &Book) {
        let last = book.log.iter().rev().find_map(|key| match self.messages.get(key)?.deed {
            Deed::Grow(bytes) => Some(bulk(key.1, bytes)),
            _ => None,
        });
        if last.unwrap_or_default() != book.bulk {
            self.verdict.unexplained(format!("actor {actor} has the bulk of another moment"));
        }
    }
}
