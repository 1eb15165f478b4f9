//! A handler that panics takes nobody with it.

mod support;

use duroxide_tower::{CallError, Keyed};
use support::{Gate, Op, Running, in_memory, name, soon};

#[tokio::test]
async fn a_poison_message_is_rolled_back_and_kept_and_the_others_are_unharmed() {
    let journal = in_memory().await;
    let running = Running::start(&journal, Gate::open()).await;
    let before = running.ledger.try_ask(Op::Add(1)).unwrap();
    let poison = running.ledger.try_ask(Keyed::new(9, Op::Panic(2))).unwrap();
    let after = running.ledger.try_ask(Op::Add(3)).unwrap();

    assert_eq!(soon("a reply", before).await.unwrap(), [1]);
    let error = soon("an answer", poison).await.unwrap_err();
    assert!(!error.is_retryable());
    let CallError::DeadLetter { id, attempts, error } = error else {
        panic!("{error:?}");
    };
    assert_eq!((id, attempts, &*error), (9.into(), 3, "attempt 2"));
    assert_eq!(soon("a reply", after).await.unwrap(), [1, 3]);
    assert_eq!(journal.dead_letters(&name()).await.unwrap().len(), 1);

    let again = running.ledger.ask_with_id(9, Op::Panic(2)).await;
    assert!(matches!(again, Err(CallError::DeadLetter { attempts: 3, .. })));
}

#[tokio::test]
async fn a_panic_after_an_await_is_a_panic_too() {
    let (gate, mut entered) = Gate::new();
    let running = Running::start(&in_memory().await, gate.clone()).await;
    let poison = running.ledger.try_ask(Op::SlowPanic).unwrap();
    soon("the handler", entered.recv()).await;
    let behind = running.ledger.try_ask(Op::Add(1)).unwrap();
    gate.open.add_permits(3);
    let error = soon("an answer", poison).await.unwrap_err();
    assert!(matches!(error, CallError::DeadLetter { .. }), "{error}");
    assert_eq!(soon("a reply", behind).await.unwrap(), [1]);
}
