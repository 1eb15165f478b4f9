//! The outside record of what was asked and answered, and the promises checked against it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::book::{Book, Deed, FIRST_ACTOR, bulk, trim};
use super::memory::{Bits, Floats};
use super::program::{FAT, Program};
use super::verdict::Verdict;
use super::wire::{Answer, Found};

/// A message, by its sender and number.
pub(super) type Key = (u32, u64);

/// What the actors have in the end.
type All = BTreeMap<u32, Found>;

/// One message, as the outside saw it.
#[derive(Debug)]
struct Message {
    actor: u32,
    deed: Deed,
    /// When it was first sent.
    sent: u64,
    acked: bool,
    /// The first reply, and when it came.
    reply: Option<((u64, Bits), u64)>,
    dead: bool,
    /// It was sent again after an error, so others may have come before it.
    retried: bool,
}

impl Message {
    /// It is a dead letter, as far as that can be said before the end.
    fn is_fatal(&self) -> bool {
        self.deed.is_fatal()
    }
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

    /// Whether its outcome is known.
    pub(super) fn is_answered(&self, key: Key) -> bool {
        self.messages.get(&key).is_some_and(|message| message.reply.is_some() || message.dead)
    }

    /// Whether the operation is over.
    pub(super) fn answered(&mut self, key: Key, answer: Answer) -> bool {
        self.clock += 1;
        let Some(message) = self.messages.get_mut(&key) else { return true };
        match answer {
            Answer::Replied(place, floats) => {
                let reply = (place, floats);
                let (first, _) = *message.reply.get_or_insert((reply, self.clock));
                if first != reply {
                    let problem = format!("{key:?} was answered with {first:?} and with {reply:?}");
                    self.verdict.unexplained(problem);
                }
                if floats != Floats::of(&message.deed).bits() {
                    let deed = &message.deed;
                    let problem = format!("{key:?}, {deed:?}, was answered with {floats:?}");
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
            Answer::Reused => {
                self.verdict.unexplained(format!("{key:?} was taken for another message"));
            }
            wrong => self.verdict.unexplained(format!("{key:?}: {wrong:?}")),
        }
        message.acked = true;
        true
    }

    /// Whether the operation is over: another message under the key of one that was acknowledged.
    pub(super) fn answered_other(&mut self, key: Key, answer: &Answer) -> bool {
        match answer {
            Answer::Reused => {}
            Answer::Refused(_) | Answer::Unknown(_) => {
                self.verdict.retried += 1;
                return false;
            }
            other => {
                let problem = format!("another message under the key {key:?} has {other:?}");
                self.verdict.unexplained(problem);
            }
        }
        true
    }

    /// Compares with what the actors have.
    pub(super) fn check(mut self, program: &Program, found: &All) -> Verdict {
        let mut places: HashMap<(u32, Key), u64> = HashMap::new();
        for (actor, Found { book, .. }) in found {
            for (place, key) in (1..).zip(&book.log) {
                let twice = places.insert((*actor, *key), place).is_some();
                if twice {
                    self.verdict.duplicated(format!("actor {actor} has handled {key:?} twice"));
                }
            }
            self.check_order(*actor, book);
        }
        let fat = self.fat(program);
        let mut dead: BTreeSet<(u32, Key)> = BTreeSet::new();
        for (actor, found) in found {
            for (sender, number, attempts) in &found.dead {
                let key = (*sender, *number);
                self.verdict.buried += 1;
                if !dead.insert((*actor, key)) {
                    self.verdict.duplicated(format!("actor {actor} has two letters of {key:?}"));
                }
                let fatal = self.messages.get(&key).is_some_and(Message::is_fatal);
                if *attempts != program.attempts || !(fatal || fat.contains(actor)) {
                    let problem = format!("{key:?} is a dead letter after {attempts} attempts");
                    self.verdict.unexplained(problem);
                }
            }
        }
        self.check_messages(&places, &dead);
        for (actor, Found { book, floats, .. }) in found {
            self.check_sent(*actor, book, found);
            self.check_state(*actor, book, *floats);
        }
        self.verdict
    }

    /// Actors whose states may be over their limit now and then, so that what makes them larger fails.
    fn fat(&self, program: &Program) -> BTreeSet<u32> {
        let grown = |message: &&Message| matches!(message.deed, Deed::Grow(bytes) if bytes > FAT);
        let fat = self.messages.values().filter(grown).filter(|_| program.tight);
        fat.map(|message| message.actor).collect()
    }

    /// Everything acknowledged is in the state, where the reply said, or a dead letter.
    fn check_messages(&mut self, places: &HashMap<(u32, Key), u64>, dead: &BTreeSet<(u32, Key)>) {
        for (key, message) in &self.messages {
            let of = (message.actor, *key);
            let (place, dead) = (places.get(&of).copied(), dead.contains(&of));
            let deed = &message.deed;
            self.verdict.acked += u64::from(message.acked);
            if message.is_fatal() && message.reply.is_some() {
                self.verdict.unexplained(format!("{key:?}, {deed:?}, was answered"));
            }
            match place {
                Some(_) if dead || message.dead || message.is_fatal() => {
                    let problem = format!("{key:?}, {deed:?}, was given up and is in the state");
                    self.verdict.unexplained(problem);
                }
                // The last one counts.
                Some(place) => match message.reply {
                    Some(((reply, _), _)) if reply != place => {
                        let problem = format!("{key:?}: the answer was {reply}, it is at {place}");
                        self.verdict.unexplained(problem);
                    }
                    _ => {}
                },
                None if dead && *deed == Deed::Trim => {
                    let problem = format!("{key:?} was given up and makes the state smaller");
                    self.verdict.unexplained(problem);
                }
                None if dead && message.reply.is_some() => {
                    self.verdict.unexplained(format!("{key:?} was answered and is a dead letter"));
                }
                None if message.acked && !dead => {
                    let actor = message.actor;
                    self.verdict.lost(format!("{key:?}, {deed:?}, has left nothing at {actor}"));
                }
                None => {}
            }
        }
        for (actor, key) in dead {
            let known = self.messages.get(key).is_some_and(|message| message.actor == *actor);
            if key.0 < FIRST_ACTOR && !known {
                self.verdict.unexplained(format!("a letter of {key:?} at {actor}: never sent"));
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
    fn check_sent(&mut self, actor: u32, book: &Book, found: &All) {
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
        for (to, Found { book, dead, .. }) in found {
            let sender = FIRST_ACTOR + actor;
            let came = book.log.iter().filter(|(from, _)| *from == sender).map(|(_, it)| *it);
            let came: Vec<u64> = came.collect();
            let expected = sent.get(to).copied().unwrap_or_default();
            let dead = dead.iter().filter(|(from, ..)| *from == sender).map(|(_, it, _)| *it);
            let once: BTreeSet<u64> = came.iter().copied().chain(dead).collect();
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

    /// The rest of the state is what the last message made it that had something for it.
    fn check_state(&mut self, actor: u32, book: &Book, floats: Bits) {
        let (mut left, mut expected) = (String::new(), Bits::default());
        for key in &book.log {
            let Some(Message { deed, .. }) = self.messages.get(key) else { continue };
            match deed {
                Deed::Grow(bytes) => left = bulk(key.1, *bytes),
                Deed::Trim => trim(&mut left),
                Deed::Float(_) => expected = Floats::of(deed).bits(),
                _ => {}
            }
        }
        if left != book.bulk {
            self.verdict.unexplained(format!("actor {actor} has the bulk of another moment"));
        }
        if expected != floats {
            let problem = format!("actor {actor} has the floats {floats:x?}, not {expected:x?}");
            self.verdict.unexplained(problem);
        }
    }
}
