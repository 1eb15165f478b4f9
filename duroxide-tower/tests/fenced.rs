//! A newer owner of the journal: what the older one did not commit is unknown, and can be asked.

mod support;

use duroxide_tower::error::Interruption;
use duroxide_tower::{CallError, Keyed};
use support::{Gate, Op, Running, Store, soon};
use tower::{Service, ServiceExt};

#[tokio::test]
async fn an_unknown_outcome_is_asked_for_again_with_its_id() {
    let store = Store::new();
    let older = Running::start(&store.open().await, Gate::open()).await;
    let first = older.ledger.ask_with_id(1, Op::Add(1)).await.unwrap();

    let newer = store.open().await;
    let error = soon("an answer", older.ledger.ask(Op::Add(2))).await.unwrap_err();
    assert!(error.is_retryable());
    let id = error.message_id().unwrap();
    let CallError::OutcomeUnknown { source: Interruption::Journal(source), .. } = &error else {
        panic!("{error:?}");
    };
    assert!(source.is_fenced(), "{source}");

    // The loop learns of it without another message, and so does whoever sends one.
    let ended = soon("the end", older.run).await.unwrap().unwrap_err();
    assert!(ended.is_fenced(), "{ended}");
    let refused = older.ledger.ask(Op::Add(3)).await.unwrap_err();
    assert!(matches!(refused, CallError::NotAccepted { .. }), "{refused:?}");
    let mut handle = older.ledger.clone();
    assert!(ServiceExt::<Op>::ready(&mut handle).await.is_err());

    let running = Running::start(&newer, Gate::open()).await;
    let ledger = &running.ledger;
    assert_eq!(ledger.ask_with_id(1, Op::Add(1)).await.unwrap(), first);
    assert_eq!(ledger.ask_with_id(id, Op::Add(2)).await.unwrap(), [1, 2]);
    assert_eq!(ledger.ask_with_id(id, Op::Add(2)).await.unwrap(), [1, 2]);
    assert_eq!(ledger.ask(Op::Get).await.unwrap(), [1, 2]);
}

#[tokio::test]
async fn the_receipts_behind_a_slow_handler_are_unknown_too() {
    let store = Store::new();
    let (gate, mut entered) = Gate::new();
    let older = Running::start(&store.open().await, gate.clone()).await;
    let mut ledger = older.ledger.clone();
    ServiceExt::<Op>::ready(&mut ledger).await.unwrap();
    let slow = ledger.call(Keyed::new(1, Op::Slow(1)));
    soon("the handler", entered.recv()).await;
    soon("a receipt", ledger.tell(Op::Add(2))).await.unwrap();

    let newer = store.open().await;
    let told = soon("an answer", ledger.tell(Op::Add(3))).await;
    assert!(matches!(told, Err(CallError::OutcomeUnknown { .. })));
    gate.open.add_permits(1);
    let error = soon("an answer", slow).await.unwrap_err();
    assert!(matches!(error, CallError::OutcomeUnknown { .. }), "{error}");

    let running = Running::start(&newer, Gate::open()).await;
    assert_eq!(running.ledger.ask(Op::Get).await.unwrap(), [1, 2]);
    let first = running.ledger.ask_with_id(1, Op::Slow(1)).await.unwrap();
    assert_eq!(first, [1]);
}
