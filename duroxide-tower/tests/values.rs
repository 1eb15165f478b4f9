//! Values that do not come back as they were are found with their first message, and a set is a set.

mod support;

use std::collections::{HashMap, HashSet};

use async_trait::async_trait;
use duroxide_tower::error::Refusal;
use duroxide_tower::journal::test_util::{MemoryActorProvider, rehearse};
use duroxide_tower::journal::{CodecError, EventJournal, JournalError};
use duroxide_tower::test_util::Scenario;
use duroxide_tower::{
    ActorContext, CallError, DurableActor, DurableActorService, DurableMessage, DurableState,
    TowerHost,
};
use serde::{Deserialize, Serialize};

/// A field that is not written when it is empty, and has to be there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Sparse {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<u8>,
}

#[derive(Debug, Default, DurableState)]
#[durable(actor_type = "guests")]
struct Guests {
    names: HashSet<String>,
    by_table: HashMap<u32, Vec<HashSet<u8>>>,
    sparse: Option<Sparse>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Draft {
    #[serde(skip)]
    unsaved: u8,
    saved: u8,
}

#[derive(Debug, Serialize, Deserialize, DurableMessage)]
#[durable(name = "guests.op")]
enum Op {
    Add(HashSet<String>),
    Seat(u32, HashSet<u8>),
    /// Answers with what it got.
    Draft(Draft),
    Sparse(Sparse),
    Keep(Sparse),
    Return(Vec<u8>),
    Step(Sparse),
    Forward(HashSet<String>),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Answer {
    Names(HashSet<String>),
    Draft(Draft),
    Sparse(Sparse),
}

#[async_trait]
impl DurableActor for Guests {
    type Message = Op;
    type Reply = Answer;
    type Error = String;

    async fn handle(&mut self, ctx: &mut ActorContext, op: Op) -> Result<Answer, String> {
        match op {
            Op::Add(names) => self.names.extend(names),
            Op::Seat(table, seats) => self.by_table.entry(table).or_default().push(seats),
            Op::Draft(draft) => {
                return Ok(Answer::Draft(Draft { unsaved: 3, saved: draft.unsaved }));
            }
            Op::Sparse(_) => {}
            Op::Keep(sparse) => self.sparse = Some(Sparse { lines: sparse.lines[1..].to_vec() }),
            Op::Return(lines) => return Ok(Answer::Sparse(Sparse { lines })),
            Op::Step(sparse) => {
                let step =
                    ctx.step("pour", || async { Sparse { lines: sparse.lines[1..].to_vec() } });
                step.await.map_err(|error| duroxide_tower::journal::mailbox::error_text(&error))?;
            }
            Op::Forward(names) => {
                let told = ctx.actor::<Self>("other").tell(Op::Add(names));
                told.map_err(|error| error.to_string())?;
            }
        }
        Ok(Answer::Names(self.names.clone()))
    }
}

fn names(from: u32) -> HashSet<String> {
    (from..from + 20).map(|n| format!("guest {n}")).collect()
}

fn sparse(lines: &[u8]) -> Sparse {
    Sparse { lines: lines.to_vec() }
}

#[tokio::test]
async fn a_message_that_would_not_decode_is_refused() {
    let journal = support::in_memory().await;
    let (service, guests) =
        DurableActorService::new(&journal, "1", Guests::default()).await.unwrap();
    tokio::spawn(service.run());
    guests.ask(Op::Sparse(sparse(&[1]))).await.unwrap();
    let refused = guests.ask(Op::Sparse(sparse(&[]))).await.unwrap_err();
    let CallError::NotAccepted { reason: Refusal::Encode(error) } = &refused else {
        panic!("{refused:?}")
    };
    let JournalError::Encode { what: "the message", source, .. } = &**error else {
        panic!("{error:?}")
    };
    let CodecError::Refused { type_name, path, reason } = source else { panic!("{source:?}") };
    assert!(type_name.ends_with("Op") && path.starts_with("Sparse"), "{source}");
    assert!(reason.contains("does not decode") && reason.contains("lines"), "{source}");
}

#[tokio::test]
async fn a_state_a_reply_and_a_step_that_would_not_decode_are_failures_of_their_message() {
    let journal = support::in_memory().await;
    let (service, guests) =
        DurableActorService::new(&journal, "1", Guests::default()).await.unwrap();
    tokio::spawn(service.run());
    guests.ask(Op::Keep(sparse(&[1, 2]))).await.unwrap();
    for (op, path) in [(Op::Keep(sparse(&[1])), "sparse"), (Op::Return(vec![]), "Ok.Sparse")] {
        let failed = guests.ask(op).await.unwrap_err();
        let CallError::DeadLetter { error, .. } = &failed else { panic!("{failed:?}") };
        assert!(error.contains(&format!("{path} in ")) && error.contains("lines"), "{error}");
    }
    let failed = guests.ask(Op::Step(sparse(&[1]))).await.unwrap_err();
    let CallError::Domain(error) = &failed else { panic!("{failed:?}") };
    assert!(error.contains("pour") && error.contains("Sparse: it does not decode"), "{error}");
    // The actor has the state before them.
    let all = guests.ask(Op::Add(names(0))).await.unwrap();
    assert_eq!(all, Answer::Names(names(0)));
}

#[tokio::test]
async fn a_field_that_is_not_stored_is_missing_at_once() {
    let journal = support::in_memory().await;
    let (service, guests) =
        DurableActorService::new(&journal, "1", Guests::default()).await.unwrap();
    tokio::spawn(service.run());
    let answer = guests.ask(Op::Draft(Draft { unsaved: 7, saved: 0 })).await.unwrap();
    assert_eq!(answer, Answer::Draft(Draft { unsaved: 0, saved: 0 }));
}

#[tokio::test]
async fn a_set_survives_crashes_and_a_rehearsal() {
    let host = || TowerHost::new(|_| Guests::default());
    let mut guests = Scenario::new(host(), "1").await.unwrap();
    for table in 0..3 {
        guests.when(Op::Add(names(table * 10))).await.unwrap().unwrap();
        guests.when(Op::Seat(table / 2, (0..20).collect())).await.unwrap().unwrap();
        guests.when(Op::Seat(table + 100, (0..20).collect())).await.unwrap().unwrap();
        guests.when(Op::Forward(names(table))).await.unwrap().unwrap();
    }
    assert!(guests.survive_crashes().await.unwrap() > 8);

    let store = MemoryActorProvider::new();
    let journal = EventJournal::builder().open_on(store.clone()).await.unwrap();
    let (service, guests) =
        DurableActorService::new(&journal, "1", Guests::default()).await.unwrap();
    let running = tokio::spawn(service.run());
    for table in 0..3 {
        guests.ask(Op::Add(names(table * 10))).await.unwrap();
        guests.ask(Op::Seat(table, (0..20).collect())).await.unwrap();
    }
    drop(guests);
    running.await.unwrap().unwrap();
    journal.close().await.unwrap();
    let found = rehearse(store, host()).await.unwrap();
    assert!(found.is_clean() && found.messages == 6, "{found}");
}
