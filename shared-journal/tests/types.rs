//! `verify` with the application's types, and without them.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use serde::{Deserialize, Serialize};
use shared_journal::mailbox::{MESSAGE, Resolution, Work};
use shared_journal::sqlite::SqliteActorProvider;
use shared_journal::{
    ActorId, Codec, Durability, DurableMessage, DurableState, EventJournal, JournalError,
    JournalReader, Limits, Payload, Types,
};

struct Nobody;

impl Work for Nobody {
    fn resolve(self, _: Resolution) {}
}

/// Yesterday's program.
#[derive(Default, DurableState)]
#[durable(actor_type = "account")]
struct Account {
    cents: i64,
}

/// Today's.
#[derive(Default, DurableState)]
#[durable(actor_type = "account")]
struct Renamed {
    euros: i64,
}

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "deposit")]
struct Deposit {
    cents: i64,
}

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "deposit")]
struct DepositInEuros {
    euros: i64,
}

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "refund")]
struct Refund;

fn actor() -> ActorId {
    ActorId::new("account", "1")
}

/// An account with a state, a dead letter (message 2), and a message that is being handled (3).
async fn journal(dir: &std::path::Path, waiting: Payload<'static>) -> EventJournal {
    let store = SqliteActorProvider::open(dir.join("j.db"), Durability::ProcessCrash).unwrap();
    let limits = Limits { attempts: 1, ..Limits::default() };
    let journal = EventJournal::builder().limits(limits).open_on(store).await.unwrap();
    let mut account = Account::default();
    let mut mailbox = journal.activate::<Nobody>(&actor()).await.unwrap();
    mailbox.baseline(&account).unwrap();
    for _ in 0..2 {
        let payload = mailbox.encode(MESSAGE, &Deposit { cents: 5 }).unwrap();
        mailbox.accept(None, "deposit", payload, None, Nobody, None).unwrap();
    }
    let delivery = mailbox.next().unwrap().unwrap();
    account.cents = 5;
    let reply = mailbox.encode("the reply", &5).unwrap();
    mailbox.processed(delivery, reply);
    let _ = mailbox.end_run(&mut account).unwrap();
    let delivery = mailbox.next().unwrap().unwrap();
    mailbox.failed(delivery, "boom", &mut account).unwrap();
    let _ = mailbox.end_run(&mut account).unwrap();
    mailbox.accept(None, "deposit", waiting, None, Nobody, None).unwrap();
    let delivery = mailbox.next().unwrap().unwrap();
    mailbox.in_progress(delivery).unwrap();
    // Everything that was submitted is durable.
    journal.actors().await.unwrap();
    drop(mailbox);
    journal
}

async fn problems(journal: &EventJournal, types: &Types) -> Vec<String> {
    let report = journal.verify_with(types).await.unwrap();
    report.problems.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn what_does_not_decode_into_todays_types_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Payload::encode(Codec::MessagePack, &Deposit { cents: 5 }).unwrap();
    let journal = journal(dir.path(), waiting).await;
    for checkpointed in [false, true] {
        assert!(journal.verify().await.unwrap().is_clean());
        let yesterday = Types::new().state::<Account>().message::<Account, Deposit>();
        assert_eq!(problems(&journal, &yesterday).await, Vec::<String>::new());
        // Of an actor type that is not in the journal.
        assert!(problems(&journal, &Types::new()).await.is_empty());

        let today = Types::new().state::<Renamed>().message::<Renamed, DepositInEuros>();
        let found = problems(&journal, &today).await;
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].contains("account/1: the stored state does not decode"), "{}", found[0]);
        for (problem, message) in found[1..].iter().zip([3, 2]) {
            let named = format!("account/1, message {message}: the stored message of type deposit");
            assert!(problem.contains(&named), "{problem}");
        }

        let other = Types::new().message::<Account, Refund>();
        let unknown = journal.verify_with(&other).await.unwrap().problems;
        assert_eq!(unknown.len(), 2);
        assert!(unknown.iter().all(|it| matches!(it, JournalError::UnknownMessage { .. })));
        if !checkpointed {
            journal.checkpoint().await.unwrap();
        }
    }
    let store = SqliteActorProvider::open(dir.path().join("j.db"), Durability::ProcessCrash);
    let reader = JournalReader::open_on(store.unwrap());
    let today = Types::new().state::<Renamed>();
    assert_eq!(reader.verify_with(&today).await.unwrap().problems.len(), 1);
}

#[tokio::test]
async fn what_no_type_can_be_read_from_is_found_without_types() {
    for waiting in [
        Payload::new(Codec::Json, ("[".repeat(128) + &"]".repeat(128)).into_bytes()),
        Payload::new(Codec::Json, &b"{"[..]),
        Payload::new(Codec::MessagePack, &b"\x92\x01"[..]),
        Payload::new(Codec::CompactMessagePack, b"\x91".repeat(2000)),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let journal = journal(dir.path(), waiting).await;
        let report = journal.verify().await.unwrap();
        let [JournalError::Decode { place, .. }] = &report.problems[..] else {
            panic!("{:?}", report.problems)
        };
        assert_eq!(place.sequence.unwrap().0, 3);
        assert_eq!(place.actor, Some(actor()));
    }
}
