//! The outside record of what was sent and answered, and in which age.

use std::collections::{BTreeMap, BTreeSet};

use super::super::verdict::Verdict;
use super::super::wire::Answer;
use super::begin::{Anew, Instance};
use super::desk::{Deed, Note, Of, Receipt, Way};

/// One message, as the outside saw it.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) to: u32,
    pub(super) note: Note,
    /// When it was first sent.
    pub(super) at: u64,
    pub(super) acked: bool,
    /// Where it was written down, if that was answered.
    pub(super) place: Option<u64>,
    /// It was sent again after an error, so others may have come before it.
    pub(super) retried: bool,
}

/// All, by their numbers.
pub(super) type Messages = BTreeMap<u64, Sent>;

/// When an instance was last made anew.
#[derive(Debug, Clone)]
pub(super) struct Renewed {
    /// The step that was to do it. Steps are done in the order in which they were sent.
    number: u64,
    /// The answer came then. None: it did not.
    pub(super) acked: Option<u64>,
    pub(super) instance: Instance,
}

/// Everything that was sent and answered.
#[derive(Debug, Default)]
pub(super) struct Record {
    clock: u64,
    /// How often a store was put back.
    pub(super) age: u32,
    pub(super) sent: Messages,
    /// In this age, by name.
    pub(super) renewed: BTreeMap<String, Renewed>,
    /// All that was ever sent.
    pub(super) ever: BTreeMap<Of, Deed>,
    /// Those that a copy of the journal had on their way, perhaps: they may have been done before, by workflows that are not
    /// put back with it.
    pub(super) repeated: BTreeSet<Of>,
    /// Duroxide's store was put back once.
    pub(super) steps_lost: bool,
    pub(super) verdict: Verdict,
}

impl Record {
    /// A message is sent, for the first time or again: always the same.
    pub(super) fn send(&mut self, number: u64, sender: u32, to: u32, deed: Deed) -> Note {
        self.clock += 1;
        let (at, of) = (self.clock, Of { number, age: self.age });
        let new = || Sent {
            to,
            note: Note { of, way: Way::Outside(sender), deed },
            at,
            acked: false,
            place: None,
            retried: false,
        };
        let note = self.sent.entry(number).or_insert_with(new).note.clone();
        self.ever.insert(note.of, note.deed);
        note
    }

    /// An instance is to be made anew.
    pub(super) fn renew(&mut self, number: u64, instance: &Instance) {
        let renewed = Renewed { number, acked: None, instance: instance.clone() };
        self.renewed.insert(instance.name(), renewed);
    }

    /// What became of that. Whether it is over.
    pub(super) fn answered_renewal(&mut self, number: u64, answer: &Answer) -> bool {
        self.clock += 1;
        match answer {
            Answer::Done => {}
            Answer::Refused(_) | Answer::Unknown(_) => {
                self.verdict.retried += 1;
                return false;
            }
            other => self.verdict.unexplained(format!("{number} made anew: {other:?}")),
        }
        let mut renewed = self.renewed.values_mut();
        if let Some(renewed) = renewed.find(|renewed| renewed.number == number) {
            renewed.acked = Some(self.clock);
        }
        true
    }

    /// What became of a message. Whether it is over.
    pub(super) fn answered(&mut self, number: u64, answer: Answer) -> bool {
        let Some(sent) = self.sent.get_mut(&number) else { return true };
        match answer {
            Answer::Noted(Receipt::Noted(actor, note, place)) => {
                let first = *sent.place.get_or_insert(place);
                if actor != sent.to || note != sent.note || first != place {
                    let problem = format!(
                        "{sent:?} was answered with {note:?} of {actor} at {place}, first at {first}"
                    );
                    self.verdict.unexplained(problem);
                }
            }
            Answer::Done => {}
            Answer::Refused(_) | Answer::Unknown(_) => {
                sent.retried = true;
                self.verdict.retried += 1;
                return false;
            }
            other => self.verdict.unexplained(format!("{number} was answered with {other:?}")),
        }
        sent.acked = true;
        true
    }

    /// The journal was put back to where it was when this record was what the other one is.
    pub(super) fn journal_restored(&mut self, copy: &Messages) {
        self.sent.clone_from(copy);
        // What was told may have been accepted and not yet handled.
        let flying = self.sent.values().filter(|sent| sent.place.is_none());
        self.repeated.extend(flying.map(|sent| sent.note.of));
        self.new_age();
    }

    /// Duroxide's store was put back to an earlier moment.
    pub(super) fn duroxide_restored(&mut self) {
        self.steps_lost = true;
        self.new_age();
    }

    /// No process is there that could do anything yet.
    fn new_age(&mut self) {
        self.age += 1;
        self.renewed.clear();
    }

    /// Whether a note may be there twice. An execution that duroxide has lost with its beginning begins again, with
    /// messages of its own. What waits for a workflow tells its actor once even so.
    pub(super) fn may_repeat(&self, way: Way, of: Of) -> bool {
        match way {
            Way::Outside(_) | Way::Actor(_) | Way::Timer => false,
            Way::Wrong => true,
            Way::Result => self.repeated.contains(&of),
            Way::Asked | Way::Told | Way::Event { .. } | Way::Anew { .. } => {
                self.repeated.contains(&of) || (self.steps_lost && !self.is_certain(of))
            }
        }
    }

    /// Whether what comes of it by workflows and events is to come: it was sent after the last restore.
    pub(super) fn is_certain(&self, of: Of) -> bool {
        of.age == self.age
    }

    /// Whether all events that come of it are to be read: its line was not made anew since it was sent.
    pub(super) fn is_raised_for_sure(&self, sent: &Sent, line: &str) -> bool {
        let renewed = self.renewed.get(line);
        let before = renewed.is_none_or(|it| it.acked.is_some_and(|acked| acked < sent.at));
        self.is_certain(sent.note.of) && before
    }

    /// Instances that ask, in the lives that last.
    pub(super) fn lasting(&self) -> Vec<Anew> {
        let lasting = self.renewed.values().filter(|renewed| renewed.acked.is_some());
        let anew = lasting.filter_map(|renewed| match &renewed.instance {
            Instance::Anew(anew) => Some(anew.clone()),
            Instance::Line(_) => None,
        });
        anew.collect()
    }
}
