//! How many messages there were between whom, compared with what the actors have counted.

use std::collections::BTreeMap;

use super::book::{Act, Deed, FIRST_ACTOR, Tally};
use super::verdict::Verdict;
use super::wire::Found;

/// The messages of one sender to one actor.
#[derive(Debug, Default, Clone, Copy)]
struct Sent {
    count: u64,
    unanswered: u64,
}

/// All of them, by sender and actor.
#[derive(Debug, Default)]
pub(super) struct Census(BTreeMap<(u32, u32), Sent>);

impl Census {
    /// The next message of a sender to an actor.
    pub(super) fn sends(&mut self, sender: u32, actor: u32, deed: Deed) -> Act {
        if let Deed::Send(to) = deed {
            self.0.entry((FIRST_ACTOR + actor, to)).or_default().count += 1;
        }
        let sent = self.0.entry((sender, actor)).or_default();
        sent.count += 1;
        Act { sender, number: sent.count, deed, counted: true }
    }

    /// A message without an answer.
    pub(super) fn unanswered(&mut self, sender: u32, actor: u32) {
        self.0.entry((sender, actor)).or_default().unanswered += 1;
    }

    /// Compares with what the actors have.
    pub(super) fn check(mut self, found: &BTreeMap<u32, Found>, verdict: &mut Verdict) {
        for (actor, found) in found {
            for tally in &found.book.tallies {
                let sent = self.0.remove(&(tally.sender, *actor)).unwrap_or_default();
                compare(*actor, sent, tally, verdict);
            }
        }
        // Nothing came of these.
        for ((sender, actor), sent) in self.0 {
            compare(actor, sent, &Tally { sender, ..Tally::default() }, verdict);
        }
    }
}

/// A message that is late has come into a gap, or a second time. What is above the last one, or left
/// of the gaps, has not come.
fn compare(actor: u32, sent: Sent, tally: &Tally, verdict: &mut Verdict) {
    let reordered = tally.late.min(tally.skipped);
    let duplicated = tally.late - reordered;
    let missing = tally.skipped - reordered + sent.count.saturating_sub(tally.last);
    let lost = missing.max(sent.unanswered);
    let unexplained = tally.last.saturating_sub(sent.count);
    verdict.lost += lost;
    verdict.duplicated += duplicated;
    verdict.reordered += reordered;
    verdict.unexplained += unexplained;
    if lost + duplicated + reordered + unexplained > 0 {
        verdict.problems.push(format!("actor {actor} was sent {sent:?} and has {tally:?}"));
    }
}
