//! The state of every actor: what it was told, in order, and what it does about it.

use serde::{Deserialize, Serialize};
use shared_journal::DurableMessage;
use shared_journal::workflow::WorkflowResult;

/// What was done from outside: the number of the step, and in which age. A restore begins a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Of {
    /// Of the step.
    pub number: u64,
    /// How often a store was restored before it was first sent.
    pub age: u32,
}

/// The way on which a note came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Way {
    /// From a sender outside.
    Outside(u32),
    /// From another actor.
    Actor(u32),
    /// From the actor itself, by a timer.
    Timer,
    /// Asked by a workflow.
    Asked,
    /// Told by a workflow.
    Told,
    /// The result of a workflow.
    Result,
    /// An event of an actor, read by this life of a line.
    Event {
        /// Which line.
        line: u32,
        /// Which life.
        life: u64,
        /// The actor that raised it.
        from: u32,
    },
    /// Asked by this life of an instance that is made anew.
    Anew {
        /// Which instance.
        place: u32,
        /// Which life.
        life: u64,
        /// The number of the ask.
        part: u32,
    },
    /// From a workflow that got a reply that was not its own.
    Wrong,
}

/// What is to be done about a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Deed {
    /// It is written down.
    Nothing,
    /// Another actor is told.
    Tell(u32),
    /// The actor sends to itself by a timer.
    Timer,
    /// A workflow is asked, which asks the first actor and tells the second.
    Work(u32, u32),
    /// An event is raised in this line.
    Raise(u32),
}

/// A note.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// What it comes of.
    pub of: Of,
    /// On which way.
    pub way: Way,
    /// What is to be done.
    pub deed: Deed,
}

impl Note {
    /// A note that is only written down.
    #[must_use]
    pub fn new(of: Of, way: Way) -> Self {
        Self { of, way, deed: Deed::Nothing }
    }
}

/// A message to an actor.
#[derive(Debug, Clone, Serialize, Deserialize, DurableMessage, actix::Message)]
#[rtype(result = "Result<Receipt, String>")]
#[durable(name = "clerk.word")]
pub enum Word {
    /// Something to write down.
    Note(Note),
    /// How a workflow ended.
    Ended(Of, WorkflowResult),
    /// A workflow got this reply, which is not its own.
    Wrong(Of, String),
    /// A question about everything.
    Show,
}

/// The reply.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Receipt {
    /// A note is written down: by this actor, at this place of its log, from 1.
    Noted(u32, Note, u64),
    /// Everything.
    Shown(Desk),
    /// The rest is written down.
    Done,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The note.
    pub note: Note,
    /// The result of a workflow, a wrong reply, or nothing.
    pub text: String,
}

/// What one actor was told.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Desk {
    /// In the order of handling.
    pub log: Vec<Entry>,
}

/// The data of an event.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Raised {
    /// What it comes of.
    pub of: Of,
    /// The actor that raised it.
    pub from: u32,
}

/// What an actor does besides writing.
#[derive(Debug)]
pub enum Effect {
    /// It tells an actor.
    Tell(u32, Word),
    /// It tells itself, a little later.
    Schedule(Word),
    /// It asks a workflow.
    Ask(super::work::Work),
    /// It raises an event in a line.
    Raise(u32, Raised),
}

impl Desk {
    /// Handles a message.
    pub fn handle(&mut self, own: u32, word: Word) -> (Receipt, Option<Effect>) {
        match word {
            Word::Note(note) => {
                let effect = effect(own, &note);
                self.log.push(Entry { note: note.clone(), text: String::new() });
                (Receipt::Noted(own, note, self.log.len() as u64), effect)
            }
            Word::Ended(of, ended) => {
                let text = match ended.result {
                    Ok(place) => place,
                    Err(error) => format!("failed: {error}"),
                };
                self.log.push(Entry { note: Note::new(of, Way::Result), text });
                (Receipt::Done, None)
            }
            Word::Wrong(of, text) => {
                self.log.push(Entry { note: Note::new(of, Way::Wrong), text });
                (Receipt::Done, None)
            }
            Word::Show => (Receipt::Shown(self.clone()), None),
        }
    }
}

fn effect(own: u32, note: &Note) -> Option<Effect> {
    let of = note.of;
    let word = |way| Word::Note(Note::new(of, way));
    Some(match note.deed {
        Deed::Nothing => return None,
        Deed::Tell(to) => Effect::Tell(to, word(Way::Actor(own))),
        Deed::Timer => Effect::Schedule(word(Way::Timer)),
        Deed::Work(asked, told) => Effect::Ask(super::work::Work { of, asked, told }),
        Deed::Raise(line) => Effect::Raise(line, Raised { of, from: own }),
    })
}
