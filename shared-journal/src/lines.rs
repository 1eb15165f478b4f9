//! Lines: what one actor sends to another arrives once and in order, however long that takes.
//!
//! A line leads from one life of a sender to one receiver. Its messages are numbered from 1 without gaps,
//! and the receiver has the number of the last one that it received, its *watermark*. A message at or below
//! it was received before; one that is not the next is refused, and comes again behind the one that is
//! missing. So no window has to be large enough, and no order of arrival is a silent loss.
//!
//! The sender counts as it sends, in the commit that sends; the receiver in the commit that has the receipt.
//! A sender that is deleted begins new lines in its next life. A receiver that is deleted keeps its
//! watermarks: its senders go on counting. So a line ends with both.
//!
//! The watermark of a connection is TCP's idea; that of a durable queue is in the [notes on exactly-once in
//! Kafka] (producer id, epoch, sequence).
//!
//! [notes on exactly-once in Kafka]: https://cwiki.apache.org/confluence/display/KAFKA/KIP-98

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::id::{ActorId, MessageId, MessageKey};
use crate::ordered::in_order;
use crate::outbox::Addressed;
use crate::record::{ON_A_LINE, OutgoingMessage};

/// What an actor's record has of its lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lines(Option<Box<Ends>>);

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Ends {
    /// How often the actor was deleted after it had sent something.
    life: u64,
    /// The last number received on each line, by its id.
    #[serde(deserialize_with = "in_order")]
    watermarks: BTreeMap<MessageId, u64>,
    /// The last number sent to each receiver, by the hash of its name.
    #[serde(deserialize_with = "in_order")]
    sent: BTreeMap<MessageId, u64>,
}

/// What a number is to the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbered {
    Next,
    /// It was received.
    Before,
    /// Those from this one on were not.
    Early(u64),
}

impl Lines {
    /// The id of the lines that begin at this actor.
    pub(crate) fn id(&self, sender: &ActorId) -> MessageId {
        let life = self.0.as_ref().map_or(0, |ends| ends.life);
        MessageId::from_key(&format!("line/{life}/{}", sender.path()))
    }

    pub(crate) fn look(&self, line: MessageId, number: u64) -> Numbered {
        let ends = self.0.as_ref();
        let last = ends.and_then(|ends| ends.watermarks.get(&line)).map_or(0, |last| *last);
        match number {
            _ if number <= last => Numbered::Before,
            _ if number == last + 1 => Numbered::Next,
            _ => Numbered::Early(last + 1),
        }
    }

    /// The next message of a line was received.
    pub(crate) fn receive(&mut self, line: MessageId, number: u64) {
        self.ends().watermarks.insert(line, number);
    }

    /// Numbers the next message to a receiver.
    pub(crate) fn send(&mut self, to: &ActorId) -> u64 {
        let last = self.ends().sent.entry(receiver(to)).or_default();
        *last += 1;
        *last
    }

    /// What an actor sends, on its line with this id, is numbered.
    pub(crate) fn address(&mut self, line: MessageId, message: OutgoingMessage) -> Addressed {
        // To an instance of a workflow no line leads.
        if message.to.is_reserved() {
            return Addressed { key: MessageKey::Generated(message.id), message };
        }
        let number = self.send(&message.to);
        let message = OutgoingMessage { id: ON_A_LINE, ..message };
        Addressed { key: MessageKey::Line { line, number }, message }
    }

    /// What an actor had sent, numbered as it was then.
    pub(crate) fn address_again(
        &self,
        sender: &ActorId,
        left: &VecDeque<OutgoingMessage>,
    ) -> Vec<Addressed> {
        let line = self.id(sender);
        let is_numbered = |message: &&OutgoingMessage| message.id == ON_A_LINE;
        let numbers = self.numbers(left.iter().filter(is_numbered).map(|message| &message.to));
        let mut numbers = numbers.into_iter();
        let address = |message: &OutgoingMessage| {
            let number = if is_numbered(&message) { numbers.next() } else { None };
            let key = match number {
                Some(number) => MessageKey::Line { line, number },
                None => MessageKey::Generated(message.id),
            };
            Addressed { key, message: message.clone() }
        };
        left.iter().map(address).collect()
    }

    /// The numbers of what has not arrived, in its order, by whom it goes to.
    fn numbers<'a>(&self, left: impl DoubleEndedIterator<Item = &'a ActorId>) -> Vec<u64> {
        let mut next = BTreeMap::new();
        let sent = self.0.as_ref().map(|ends| &ends.sent);
        let mut numbers: Vec<_> = left
            .rev()
            .map(|to| match next.entry(receiver(to)) {
                Entry::Occupied(mut next) => {
                    *next.get_mut() -= 1;
                    *next.get()
                }
                Entry::Vacant(next) => {
                    let last = sent.and_then(|sent| sent.get(next.key())).map_or(0, |last| *last);
                    *next.insert(last)
                }
            })
            .collect();
        numbers.reverse();
        numbers
    }

    /// The actor is deleted. What it had sent and has not arrived is gone, so its numbers would leave gaps.
    pub(crate) fn end_life(&mut self) {
        if let Some(ends) = self.0.as_mut().filter(|ends| !ends.sent.is_empty()) {
            ends.life += 1;
            ends.sent.clear();
        }
    }

    fn ends(&mut self) -> &mut Ends {
        self.0.get_or_insert_default()
    }
}

fn receiver(to: &ActorId) -> MessageId {
    MessageId::from_key(&format!("to/{}", to.path()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn actor(id: &str) -> ActorId {
        ActorId::new("a", id)
    }

    #[test]
    fn only_the_next_number_of_a_line_is_new() {
        let mut lines = Lines::default();
        let (one, other) = (lines.id(&actor("1")), lines.id(&actor("2")));
        assert_ne!(one, other);
        assert_eq!(lines.look(one, 1), Numbered::Next);
        assert_eq!(lines.look(one, 2), Numbered::Early(1));
        lines.receive(one, 1);
        assert_eq!(lines.look(one, 1), Numbered::Before);
        assert_eq!(lines.look(one, 2), Numbered::Next);
        assert_eq!(lines.look(other, 1), Numbered::Next);
    }

    #[test]
    fn what_has_not_arrived_has_the_last_numbers() {
        let mut lines = Lines::default();
        let (one, two) = (actor("1"), actor("2"));
        let sent = [&one, &two, &one, &one, &two].map(|to| (to, lines.send(to)));
        assert_eq!(sent.map(|(_, number)| number), [1, 1, 2, 3, 2]);
        for arrived in 0..=sent.len() {
            let left = &sent[arrived..];
            let numbers: Vec<_> = left.iter().map(|(_, number)| *number).collect();
            assert_eq!(lines.numbers(left.iter().map(|(to, _)| *to)), numbers);
        }
    }

    #[test]
    fn a_deleted_sender_begins_new_lines_and_a_deleted_receiver_goes_on() {
        let (mut lines, sender, to) = (Lines::default(), actor("1"), actor("2"));
        let first = lines.id(&sender);
        lines.receive(first, 1);
        lines.end_life();
        assert_eq!(lines.id(&sender), first, "it had sent nothing");
        lines.send(&to);
        lines.end_life();
        assert_ne!(lines.id(&sender), first);
        assert_eq!(lines.send(&to), 1);
        assert_eq!(lines.look(first, 2), Numbered::Next);
    }
}
