//! Messages whose id was received before: they get the outcome of the first one.
//!
//! While the first is in the mailbox, or its run is not submitted, a duplicate *follows* it: what
//! becomes of the first, in however many attempts, becomes of its followers in the same commit.
//! Otherwise the journal has the outcome, and is asked for it.

use std::sync::Arc;

use super::delivery::{Acknowledge, Delivery, Resolution, Work};
use super::intake::Mailbox;
use crate::error::JournalError;
use crate::id::{MessageId, Sequence};
use crate::record::{Outcome, RecordedOutcome};

/// What a duplicate that waits takes.
pub(super) const FOLLOWER_BYTES: usize = 256;

/// A duplicate, and who waits for its receipt.
#[derive(Debug)]
pub(super) struct Follower<W> {
    pub(super) work: W,
    pub(super) acknowledge: Option<Acknowledge>,
}

impl<W: Work> Follower<W> {
    /// What became of the first one, durably, or why nobody knows.
    pub(super) fn resolve(self, outcome: Result<Outcome, Arc<JournalError>>) {
        if let Some(acknowledge) = self.acknowledge {
            let _ = acknowledge.send(outcome.as_ref().map(drop).map_err(Arc::clone));
        }
        self.work.resolve(outcome.map_or_else(Resolution::Unknown, Resolution::Recorded));
    }
}

impl<W: Work> Mailbox<W> {
    /// A message was received before, at this place if that is known.
    ///
    /// Without an id it is one of a line: what became of it is recorded nowhere, so only its receipt is
    /// waited for.
    pub(super) fn follow(&mut self, id: Option<MessageId>, first: Sequence, follower: Follower<W>) {
        self.session.engine().shared().count_duplicate();
        let acknowledge = match self.queue.follow(first, follower) {
            Ok(acknowledge) => acknowledge,
            Err(follower) => {
                let in_run = self.run.iter_mut().map(|handled| &mut handled.delivery);
                let mut begun = in_run.chain(self.in_progress.as_deref_mut());
                match begun.find(|delivery| delivery.sequence == first) {
                    Some(delivery) => delivery.follow(follower),
                    None => return self.ask_for(id, follower),
                }
            }
        };
        if let Some(acknowledge) = acknowledge {
            self.session.when_durable(move |fate| drop(acknowledge.send(fate)));
        }
    }

    /// Asks the journal: it knows when everything submitted so far is durable. Until then the duplicate
    /// is a part of what waits for the disk.
    fn ask_for(&mut self, id: Option<MessageId>, follower: Follower<W>) {
        let Some(id) = id else {
            return self.session.when_durable(|fate| {
                follower.resolve(fate.map(|()| Outcome::AlreadyProcessed));
            });
        };
        let shared = self.session.engine().shared().clone();
        shared.queue.hold(FOLLOWER_BYTES);
        self.session.recorded_at_last(id, move |recorded| {
            shared.queue.let_go(FOLLOWER_BYTES);
            // If there is none, only the id is left of it.
            let outcome = |it: Option<_>| {
                it.map_or(Outcome::AlreadyProcessed, |it: RecordedOutcome| it.outcome)
            };
            follower.resolve(recorded.map(outcome));
        });
    }
}

impl<W> Delivery<W> {
    /// About how many bytes it takes.
    pub(super) fn size(&self) -> usize {
        self.payload.bytes().len() + self.followers.len() * FOLLOWER_BYTES
    }

    /// A duplicate of it. The acknowledgement is of a receipt that is submitted already.
    pub(super) fn follow(&mut self, mut follower: Follower<W>) -> Option<Acknowledge> {
        let acknowledge = follower.acknowledge.take_if(|_| self.receipt);
        self.followers.push(follower);
        acknowledge
    }
}
