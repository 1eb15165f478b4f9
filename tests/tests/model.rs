//! A model of the journal's protocol, checked in every order of its steps: two owners of one shard,
//! commits whose outcome is unknown, checkpoints, crashes, and a caller that sends again.
//!
//! The model has a step for each write of the store, which is atomic there, and for each thing that an
//! owner does in memory between two of them. Each promise is an invariant; each test that ends in
//! `is_found` takes one rule away and expects the invariant to break.

use stateright::{Checker, Model, Property};

/// Owners that a shard can have, one after the other or believing so at once.
const OWNERS: usize = 2;
/// Messages that a caller sends, each again until it has a reply.
const MESSAGES: u8 = 3;
/// Epochs that are looked at.
const EPOCHS: u8 = 3;

/// The rules of the protocol, to be taken away one by one.
#[derive(Debug, Clone, Copy)]
struct Rules {
    /// The store refuses commits of an older epoch, and of a position that is taken.
    fenced: bool,
    /// A reply waits until its commit is durable.
    gate: bool,
    /// A message whose id is known is not handled again.
    dedup: bool,
    /// A record contains every commit that its checkpoint claims.
    covered: bool,
    /// A commit whose outcome is unknown is repeated before anything else.
    repeated: bool,
}

const ALL: Rules = Rules { fenced: true, gate: true, dedup: true, covered: true, repeated: true };

/// What is on the disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Store {
    epoch: u8,
    /// The record: the messages it contains, in order, and up to which commit.
    record: Vec<u8>,
    checkpoint: usize,
    /// The log after the checkpoint; commits are of one message.
    log: Vec<u8>,
}

impl Store {
    fn tail(&self) -> usize {
        self.checkpoint + self.log.len()
    }

    /// What recovery makes of it.
    fn recovered(&self) -> Vec<u8> {
        [&self.record[..], &self.log[..]].concat()
    }
}

/// A process that believes to own the shard.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Owner {
    epoch: u8,
    /// Its actor's state: the messages handled, in order. The last may be in no commit yet.
    state: Vec<u8>,
    /// How many of them are durable, as far as it knows.
    durable: usize,
    /// Where its next commit goes.
    position: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct World {
    store: Store,
    owners: [Option<Owner>; OWNERS],
    /// Replies that callers have: the message, and how many were handled before it.
    replies: Vec<(u8, usize)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Opens the shard: a new epoch, and what was recovered.
    Open(usize),
    /// A message, new or sent again, is handled in memory; what is known is answered.
    Handle(usize, u8),
    /// The store applies the commit, and the owner hears of it.
    Commit(usize),
    /// The store applies the commit, and the connection is lost.
    CommitUnheard(usize),
    /// The reply of the last message is released.
    Release(usize),
    /// What is durable goes into the record, and the log before it goes.
    Checkpoint(usize),
    /// The process dies.
    Crash(usize),
}

struct Journal(Rules);

impl Journal {
    /// Whether the store takes the owner's commit, or has taken this very one before.
    fn append(&self, store: &mut Store, owner: &Owner) -> bool {
        let message = owner.state[owner.durable];
        if self.0.fenced {
            if owner.epoch != store.epoch {
                return false;
            }
            if owner.position < store.tail() {
                let at = owner.position - store.checkpoint;
                return store.log.get(at) == Some(&message);
            }
        }
        store.log.push(message);
        true
    }
}

impl Model for Journal {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::default()]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for (at, owner) in world.owners.iter().enumerate() {
            let Some(owner) = owner else {
                if world.store.epoch < EPOCHS {
                    steps.push(Step::Open(at));
                }
                continue;
            };
            steps.push(Step::Crash(at));
            let waits = owner.durable < owner.state.len();
            if waits {
                steps.push(Step::Commit(at));
                steps.push(Step::CommitUnheard(at));
            }
            if waits && !self.0.gate {
                steps.push(Step::Release(at));
            }
            if !waits && owner.state.len() < usize::from(MESSAGES) + 1 {
                steps.extend((0..MESSAGES).map(|message| Step::Handle(at, message)));
            }
            if owner.durable > world.store.checkpoint {
                steps.push(Step::Checkpoint(at));
            }
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut world = world.clone();
        let World { store, owners, replies } = &mut world;
        match step {
            Step::Open(at) => {
                store.epoch += 1;
                let state = store.recovered();
                owners[at] = Some(Owner {
                    epoch: store.epoch,
                    durable: state.len(),
                    state,
                    position: store.tail(),
                });
            }
            Step::Handle(at, message) => {
                let owner = owners[at].as_mut()?;
                let known = owner.state.iter().position(|known| *known == message);
                match known.filter(|_| self.0.dedup) {
                    Some(place) => answer(replies, message, place),
                    None => owner.state.push(message),
                }
            }
            Step::Commit(at) => {
                let owner = owners[at].as_mut()?;
                if self.append(store, owner) {
                    owner.durable += 1;
                    owner.position += 1;
                    let place = owner.durable - 1;
                    answer(replies, owner.state[place], place);
                } else {
                    // Fenced: it releases nothing and stops.
                    owners[at] = None;
                }
            }
            Step::CommitUnheard(at) => {
                let owner = owners[at].as_mut()?;
                if !self.append(store, owner) {
                    return None;
                }
                if !self.0.repeated {
                    // It takes the commit for not written, forgets the message, and goes on at the end.
                    owner.state.pop();
                    owner.position = store.tail();
                }
            }
            Step::Release(at) => {
                let owner = owners[at].as_ref()?;
                let place = owner.state.len() - 1;
                answer(replies, owner.state[place], place);
            }
            Step::Checkpoint(at) => {
                let owner = owners[at].as_ref()?;
                if self.0.fenced && owner.epoch != store.epoch {
                    owners[at] = None;
                    return Some(world);
                }
                let less = usize::from(!self.0.covered);
                store.record = owner.state[..owner.durable - less].to_vec();
                store.log.drain(..owner.durable - store.checkpoint);
                store.checkpoint = owner.durable;
            }
            Step::Crash(at) => owners[at] = None,
        }
        (world.store.tail() <= usize::from(MESSAGES) + 1).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a reply is durable", |_, world: &World| {
                let recovered = world.store.recovered();
                world.replies.iter().all(|(message, place)| recovered.get(*place) == Some(message))
            }),
            Property::always("a message has its effect once", |_, world: &World| {
                let recovered = world.store.recovered();
                (0..MESSAGES).all(|it| recovered.iter().filter(|seen| **seen == it).count() <= 1)
            }),
            Property::always("a message has one reply", |_, world: &World| {
                let again = |(message, place)| {
                    world.replies.iter().all(|(other, at)| *other != message || *at == place)
                };
                world.replies.iter().copied().all(again)
            }),
            Property::sometimes("everything is answered", |_, world: &World| {
                (0..MESSAGES).all(|it| world.replies.iter().any(|(message, _)| *message == it))
            }),
            Property::sometimes("two believe to be the owner", |_, world: &World| {
                world.owners.iter().all(Option::is_some)
            }),
        ]
    }
}

fn answer(replies: &mut Vec<(u8, usize)>, message: u8, place: usize) {
    if !replies.contains(&(message, place)) {
        replies.push((message, place));
        replies.sort_unstable();
    }
}

fn broken(rules: Rules) -> Vec<&'static str> {
    let checker = Journal(rules).checker().threads(2).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    let found = checker.discoveries();
    let mut broken: Vec<_> = found.keys().copied().filter(|name| name.starts_with("a ")).collect();
    broken.sort_unstable();
    broken
}

#[test]
fn every_order_of_steps_keeps_every_promise() {
    let checker = Journal(ALL).checker().threads(2).spawn_bfs().join();
    println!("{} states", checker.unique_state_count());
    checker.assert_properties();
}

#[test]
fn a_store_that_does_not_fence_is_found() {
    assert!(!broken(Rules { fenced: false, ..ALL }).is_empty());
}

#[test]
fn a_reply_before_its_commit_is_found() {
    assert!(broken(Rules { gate: false, ..ALL }).contains(&"a reply is durable"));
}

#[test]
fn a_forgotten_id_is_found() {
    assert!(broken(Rules { dedup: false, ..ALL }).contains(&"a message has its effect once"));
}

#[test]
fn a_checkpoint_that_claims_too_much_is_found() {
    assert!(broken(Rules { covered: false, ..ALL }).contains(&"a reply is durable"));
}

#[test]
fn an_unknown_outcome_taken_for_a_failure_is_found() {
    assert!(!broken(Rules { repeated: false, ..ALL }).is_empty());
}
