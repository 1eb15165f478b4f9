//! A model of the lines between two actors, checked in every order of its steps: relays of an old and a new
//! owner that send at once, letters that come again and in any order, a sender that is deleted and begins anew.
//!
//! Each promise is an invariant; each test that ends in `is_found` takes one rule away and expects an invariant to
//! break.

use stateright::{Checker, Model, Property};

/// Relays at once: that of an owner that was replaced, and the next one's.
const RELAYS: usize = 2;
/// Messages of each life of the sender.
const MESSAGES: u8 = 2;
/// Lives of the sender.
const LIVES: u8 = 2;
/// Letters in the inbox at a time.
const INBOX: usize = 2;

/// The rules of the protocol, to be taken away one by one.
#[derive(Debug, Clone, Copy)]
struct Rules {
    /// What is not above the watermark is not received again.
    watermark: bool,
    /// What is not the next is refused.
    gapless: bool,
    /// A sender that begins anew has other lines.
    incarnation: bool,
}

const ALL: Rules = Rules { watermark: true, gapless: true, incarnation: true };

/// A message: the life of its sender, and its number on the line.
type Letter = (u8, u8);

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct World {
    /// The sender's record: how many it has sent in this life, and what is not known to have arrived.
    life: u8,
    sent: u8,
    outbox: Vec<Letter>,
    /// What each relay has read, and how many of that it has posted.
    relays: [Option<(Vec<Letter>, usize)>; RELAYS],
    inbox: Vec<Letter>,
    /// The receiver's record: the last number of each line, and what it has received, in order.
    watermarks: [u8; LIVES as usize],
    received: Vec<Letter>,
    /// What was taken from the inbox for good.
    settled: Vec<Letter>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The sender's commit has one message more.
    Send,
    /// It is deleted.
    Delete,
    /// A relay reads what has not arrived.
    Read(usize),
    /// It posts the next.
    Post(usize),
    /// The sender's record says that all that it has posted has arrived.
    Delivered(usize),
    Crash(usize),
    /// The receiver gets a letter, and it is settled, unless it is refused.
    Take(usize),
    /// The same, and the owner dies before it is settled.
    TakeUnsettled(usize),
}

struct Lines(Rules);

impl Lines {
    /// Whether the letter is done with.
    fn receive(&self, world: &mut World, letter: Letter) -> bool {
        let (life, number) = letter;
        let line = if self.0.incarnation { usize::from(life) } else { 0 };
        let last = world.watermarks[line];
        if self.0.watermark && number <= last {
            return true;
        }
        if self.0.gapless && number > last + 1 {
            return false;
        }
        world.watermarks[line] = number;
        world.received.push(letter);
        true
    }
}

impl Model for Lines {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::default()]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        if world.sent < MESSAGES {
            steps.push(Step::Send);
        }
        if world.life + 1 < LIVES && world.sent > 0 {
            steps.push(Step::Delete);
        }
        for (at, relay) in world.relays.iter().enumerate() {
            match relay {
                None if !world.outbox.is_empty() => steps.push(Step::Read(at)),
                None => {}
                Some((letters, posted)) => {
                    steps.push(Step::Crash(at));
                    if *posted < letters.len() && world.inbox.len() < INBOX {
                        steps.push(Step::Post(at));
                    }
                    if *posted > 0 {
                        steps.push(Step::Delivered(at));
                    }
                }
            }
        }
        for at in 0..world.inbox.len() {
            steps.extend([Step::Take(at), Step::TakeUnsettled(at)]);
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut world = world.clone();
        match step {
            Step::Send => {
                world.sent += 1;
                world.outbox.push((world.life, world.sent));
            }
            Step::Delete => {
                world.life += 1;
                world.sent = 0;
                world.outbox.clear();
            }
            Step::Read(at) => world.relays[at] = Some((world.outbox.clone(), 0)),
            Step::Post(at) => {
                let (letters, posted) = world.relays[at].as_mut()?;
                world.inbox.push(letters[*posted]);
                *posted += 1;
            }
            Step::Delivered(at) => {
                let (letters, posted) = world.relays[at].take()?;
                world.outbox.retain(|letter| !letters[..posted].contains(letter));
            }
            Step::Crash(at) => world.relays[at] = None,
            Step::Take(at) => {
                let letter = world.inbox[at];
                if !self.receive(&mut world, letter) {
                    return None;
                }
                world.inbox.remove(at);
                if !world.settled.contains(&letter) {
                    world.settled.push(letter);
                    world.settled.sort_unstable();
                }
            }
            Step::TakeUnsettled(at) => {
                let letter = world.inbox[at];
                self.receive(&mut world, letter);
            }
        }
        (world.received.len() <= usize::from(MESSAGES * LIVES) + 1).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a message is received once", |_, world: &World| {
                let received = &world.received;
                received.iter().enumerate().all(|(at, letter)| !received[..at].contains(letter))
            }),
            Property::always("a line is received in order", |_, world: &World| {
                (0..LIVES).all(|life| {
                    let numbers = world.received.iter().filter(|it| it.0 == life).map(|it| it.1);
                    numbers.zip(1..).all(|(number, place)| number == place)
                })
            }),
            Property::always("a letter that is settled was received", |_, world: &World| {
                world.settled.iter().all(|letter| world.received.contains(letter))
            }),
            Property::sometimes("everything is received", |_, world: &World| {
                world.received.len() == usize::from(MESSAGES * LIVES)
            }),
        ]
    }
}

fn broken(rules: Rules) -> Vec<&'static str> {
    let checker = Lines(rules).checker().threads(2).spawn_bfs().join();
    let found = checker.discoveries();
    found.keys().copied().filter(|name| name.starts_with("a ")).collect()
}

#[test]
fn every_order_of_steps_keeps_every_promise() {
    let checker = Lines(ALL).checker().threads(2).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn a_forgotten_watermark_is_found() {
    let broken = broken(Rules { watermark: false, ..ALL });
    assert!(broken.contains(&"a message is received once"), "{broken:?}");
}

#[test]
fn a_gap_that_is_passed_over_is_found() {
    let broken = broken(Rules { gapless: false, ..ALL });
    assert!(broken.contains(&"a line is received in order"), "{broken:?}");
}

#[test]
fn a_line_that_is_used_again_is_found() {
    let broken = broken(Rules { incarnation: false, ..ALL });
    assert!(broken.contains(&"a letter that is settled was received"), "{broken:?}");
}
