//! What cannot be understood stops the actor before it begins, or is set aside, with a place, and loses
//! nothing.

#![expect(clippy::unwrap_used, reason = "what prepares a test may fail it")]

mod support;

use duroxide_tower::{
    ActorContext, DurableActor, DurableActorService, DurableMessage, DurableState, EventJournal,
    JournalError, async_trait,
};
use serde::{Deserialize, Serialize};
use support::{Gate, Op, Running, Store, name, soon};

/// The ledger as a later version of the program has it, with other types.
struct Later;

#[derive(Serialize, Deserialize)]
struct Renamed;

impl DurableMessage for Renamed {
    const NAME: &'static str = "ledger.renamed";
}

#[derive(Debug, Serialize, Deserialize)]
struct Changed {
    amount: u8,
}

impl DurableMessage for Changed {
    const NAME: &'static str = "ledger.op";
}

struct LaterState;

macro_rules! actor {
    ($actor:ty, $state:ty, $snapshot:expr, $message:ty) => {
        impl DurableState for $actor {
            const ACTOR_TYPE: &'static str = "ledger";
            type State = $state;
            fn snapshot(&self) -> impl Serialize {
                $snapshot
            }
            fn restore(&mut self, _: $state) {}
        }

        #[async_trait]
        impl DurableActor for $actor {
            type Message = $message;
            type Reply = ();
            type Error = ();
            async fn handle(&mut self, _: &mut ActorContext, _: $message) -> Result<(), ()> {
                Ok(())
            }
        }
    };
}

struct Mixed;
actor!(Later, Vec<i64>, [0_i64; 0], Renamed);
actor!(Mixed, Vec<i64>, [0_i64; 0], Changed);
actor!(LaterState, String, "", Op);

async fn with_pending(store: &Store) -> EventJournal {
    let (gate, mut entered) = Gate::new();
    let running = Running::start(&store.open().await, gate).await;
    running.ledger.ask(Op::Add(1)).await.unwrap();
    running.ledger.tell(Op::Slow(2)).await.unwrap();
    soon("the handler", entered.recv()).await;
    running.kill().await;
    store.open().await
}

async fn start<A: DurableActor>(journal: &EventJournal, actor: A) -> JournalError {
    match DurableActorService::new(journal, "1", actor).await {
        Ok(_) => panic!("it started"),
        Err(error) => error,
    }
}

#[tokio::test]
async fn nothing_of_another_type_is_guessed_and_nothing_is_lost() {
    let store = Store::new();
    let journal = with_pending(&store).await;

    let error = start(&journal, Later).await;
    assert!(matches!(error, JournalError::UnknownMessage { .. }));
    let text = error.to_string();
    assert!(text.contains("ledger/1") && text.contains("message 2"), "{text}");
    assert!(text.contains("ledger.op"), "{text}");

    let error = start(&journal, LaterState).await;
    assert!(matches!(error, JournalError::Decode { .. }));
    let text = error.to_string();
    assert!(text.contains("ledger/1") && text.contains("state"), "{text}");

    let running = Running::start(&journal, Gate::open()).await;
    assert_eq!(running.ledger.ask(Op::Get).await.unwrap(), [1, 2]);
}

#[tokio::test]
async fn a_message_of_a_changed_type_is_set_aside_until_it_is_understood_again() {
    let store = Store::new();
    let journal = with_pending(&store).await;
    let (service, handle) = DurableActorService::new(&journal, "1", Mixed).await.unwrap();
    drop(handle);
    service.run().await.unwrap();
    let letters = journal.dead_letters(&name()).await.unwrap();
    let text = &letters[0].error;
    assert!(text.contains("ledger/1") && text.contains("message 2"), "{text}");
    assert!(text.contains("ledger.op"), "{text}");

    // With the program of before.
    journal.resend_dead_letter(&name(), letters[0].sequence).await.unwrap();
    let running = Running::start(&journal, Gate::open()).await;
    assert_eq!(running.ledger.ask(Op::Get).await.unwrap(), [2]);
}

#[tokio::test]
async fn an_actor_runs_once() {
    let store = Store::new();
    let journal = store.open().await;
    let _running = Running::start(&journal, Gate::open()).await;
    let error = start(&journal, LaterState).await;
    assert!(matches!(error, JournalError::AlreadyActive { .. }), "{error}");
}
