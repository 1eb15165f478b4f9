//! What the journal has of the actors that are tortured: messages, replies and states with floats of any
//! bits, and with traps that make them impossible to store.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::book::{Act, Book, Deed, Poison, Trap};

/// Larger than a state or a reply may be.
const LARGE: usize = super::ROOMY + 1;

/// The bits of [`Floats`]. Between processes there are only these: JSON has no form for every float.
pub type Bits = (u64, u32);

/// A float of each width.
#[derive(Debug, Default, Clone, Copy, Serialize, Deserialize)]
pub struct Floats {
    double: f64,
    single: f32,
}

impl Floats {
    /// The second has the lower half of the bits.
    #[must_use]
    pub fn of(deed: &Deed) -> Self {
        let Deed::Float(bits) = deed else { return Self::default() };
        Self { double: f64::from_bits(*bits), single: f32::from_bits(*bits as u32) }
    }

    /// What they are, exactly.
    #[must_use]
    pub fn bits(self) -> Bits {
        (self.double.to_bits(), self.single.to_bits())
    }
}

/// A message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Letter {
    /// What is to be done.
    pub act: Act,
    floats: Floats,
}

impl Letter {
    /// With the floats that the act says.
    #[must_use]
    pub fn of(act: Act) -> Self {
        Self { floats: Floats::of(&act.deed), act }
    }
}

/// A reply.
#[derive(Debug, Serialize, Deserialize, actix::MessageResponse)]
pub struct Reply {
    /// How many messages were handled.
    pub place: u64,
    /// Those of the message.
    pub floats: Floats,
    armed: Armed,
}

/// A state.
#[derive(Debug, Default, Serialize, Deserialize, actix::MessageResponse)]
pub struct Memory {
    /// What the actor has done.
    pub book: Book,
    /// Those of the last message that had some.
    pub floats: Floats,
    armed: Armed,
}

impl Memory {
    /// As `Book::enter`.
    ///
    /// # Panics
    /// The message says so.
    pub fn enter(&mut self, own: u32, letter: &Letter, send: impl FnOnce(u32, Letter)) -> Reply {
        let Letter { act, floats } = letter;
        let place = self.book.enter(own, act, |to, act| send(to, Letter::of(act)));
        let mut reply = Reply { place, floats: *floats, armed: Armed(None) };
        match act.deed {
            Deed::Float(_) => self.floats = *floats,
            Deed::Poison(Poison::State(trap), _) => self.armed = Armed(Some(trap)),
            Deed::Poison(Poison::Reply(trap), _) => reply.armed = Armed(Some(trap)),
            Deed::Poison(Poison::Handler, _) => panic!("always"),
            _ => {}
        }
        reply
    }

    /// The state as it is stored.
    ///
    /// # Panics
    /// A message said so.
    #[must_use]
    pub fn snapshot(&self) -> &Self {
        assert!(self.armed.0 != Some(Trap::Snapshot), "a trap in the snapshot");
        self
    }

    /// What it is, as a reply.
    #[must_use]
    pub fn shown(&self) -> Self {
        Self { book: self.book.clone(), floats: self.floats, armed: Armed(None) }
    }
}

/// Something that cannot be stored, or nothing.
#[derive(Debug, Default)]
struct Armed(Option<Trap>);

impl Serialize for Armed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            None => serializer.serialize_none(),
            Some(Trap::Large) => serializer.serialize_str(&"x".repeat(LARGE)),
            // It would be read as None.
            Some(Trap::Refused) => serializer.serialize_some(&()),
            Some(Trap::Panics | Trap::Snapshot) => panic!("a trap in what is written"),
        }
    }
}

impl<'de> Deserialize<'de> for Armed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<()>::deserialize(deserializer).map(|_| Self(None))
    }
}
