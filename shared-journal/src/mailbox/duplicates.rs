//! Messages whose id was received before: they get the outcome of the first one.
//!
//! While the first is in the mailbox, or its run is not submitted, a duplicate *follows* it: what
//! becomes of the first, in however many attempts, becomes of its followers in the same commit.
//! Otherwise the journal has the outcome, and is asked for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::delivery::{Acknowledge, Delivery, Resolution, Work};
use super::intake::Mailbox;
use crate::codec::Payload;
use crate::error::JournalError;
use crate::id::{MessageId, Sequence};
use crate::record::Outcome;

/// What a duplicate that waits takes.
pub(super) const FOLLOWER_BYTES: usize = 256;

/// A duplicate, and who waits for its receipt.
#[derive(Debug)]
pub(super) struct Follower<W> {
    pub(super) work: W,
    pub(super) acknowledge: Option<Acknowledge>,
}

impl<W: Work> Follower<W> {
    /// The first one's commit has its fate.
    pub(super) fn resolve(
        self,
        fate: &Result<(), Arc<JournalError>>,
        result: &Result<Payload<'static>, Arc<str>>,
        attempts: u32,
    ) {
        if let Some(acknowledge) = self.acknowledge {
            let _ = acknowledge.send(fate.clone());
        }
        self.work.resolve(match (fate, result) {
            (Err(error), _) => Resolution::Unknown(error.clone()),
            (Ok(()), Ok(reply)) => Resolution::Recorded(Outcome::Processed(reply.clone())),
            (Ok(()), Err(error)) => {
                let error = error.to_string();
                Resolution::Recorded(Outcome::Failed { attempts, error })
            }
        });
    }
}

/// A duplicate whose outcome the journal was asked for.
fn resolve_asked<W: Work>(
    Follower { work, acknowledge }: Follower<W>,
    outcome: Result<Option<Outcome>, Arc<JournalError>>,
) {
    if let Some(acknowledge) = acknowledge {
        let _ = acknowledge.send(outcome.as_ref().map(drop).map_err(Arc::clone));
    }
    work.resolve(match outcome {
        Ok(Some(outcome)) => Resolution::Recorded(outcome),
        // Only the id is left of it.
        Ok(None) => Resolution::Recorded(Outcome::AlreadyProcessed),
        Err(error) => Resolution::Unknown(error),
    });
}

impl<W: Work> Mailbox<W> {
    /// A message was received before, at this place if that is known.
    pub(super) fn follow(&mut self, id: MessageId, first: Sequence, follower: Follower<W>) {
        self.session.engine().shared().count_duplicate();
        let acknowledge = match self.queue.follow(first, follower) {
            Ok(acknowledge) => acknowledge,
            Err(follower) => {
                let in_run = self.run.iter_mut().map(|handled| &mut handled.delivery);
                let mut begun = in_run.chain(&mut self.in_progress);
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

    /// Asks the journal: it knows when everything submitted so far is durable.
    fn ask_for(&mut self, id: MessageId, follower: Follower<W>) {
        self.asking.fetch_add(1, Ordering::Relaxed);
        let asking = self.asking.clone();
        self.session.ask(
            move |record| record.and_then(|record| record.outcome(id).cloned()),
            move |outcome| {
                asking.fetch_sub(1, Ordering::Relaxed);
                resolve_asked(follower, outcome);
            },
        );
    }

    /// What duplicates take that the journal was asked for.
    pub(super) fn asking_bytes(&self) -> usize {
        self.asking.load(Ordering::Relaxed) * FOLLOWER_BYTES
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
