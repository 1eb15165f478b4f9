//! The mailbox is bounded, and `poll_ready` tells the truth about it.

#![expect(clippy::unwrap_used, reason = "what prepares a test may fail it")]

mod support;

use duroxide_tower::error::Refusal;
use duroxide_tower::{CallError, DurableHandle};
use shared_journal::Limits;
use std::task::Poll;
use support::{Gate, Ledger, Op, Running, in_memory, in_memory_with, soon};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Service, ServiceExt};

fn poll(handle: &mut DurableHandle<Ledger>) -> Poll<Result<(), CallError<support::Refused>>> {
    task::spawn(()).enter(|cx, _| Service::<Op>::poll_ready(handle, cx))
}

/// One in the handler, one behind it, the channel empty.
async fn busy() -> (Gate, Running) {
    let (gate, mut entered) = Gate::new();
    let running = Running::with_capacity(&in_memory().await, gate.clone(), 1).await;
    soon("a receipt", running.ledger.tell(Op::Slow(1))).await.unwrap();
    soon("the handler", entered.recv()).await;
    soon("a receipt", running.ledger.tell(Op::Add(2))).await.unwrap();
    (gate, running)
}

#[tokio::test]
async fn a_full_mailbox_is_pending_and_refuses_without_losing_the_message() {
    let (gate, running) = busy().await;
    let waiting = running.ledger.try_ask(Op::Add(3)).unwrap();
    // The loop has its turns, and leaves the message where it is.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    let mut other = running.ledger.clone();
    let mut ready = task::spawn(async { ServiceExt::<Op>::ready(&mut other).await.map(drop) });
    assert_pending!(ready.poll());
    let not_sent = running.ledger.try_ask(Op::Add(4)).unwrap_err();
    assert!(matches!(not_sent.reason, Refusal::Full));
    assert!(matches!(not_sent.message.message, Op::Add(4)));
    let error: CallError<()> = CallError::NotAccepted { reason: not_sent.reason };
    assert!(error.is_retryable());

    gate.open.add_permits(1);
    assert_eq!(soon("a reply", waiting).await.unwrap(), [1, 2, 3]);
    soon("readiness", ready).await.unwrap();
}

#[tokio::test]
async fn a_reserved_place_is_of_one_handle_and_given_back_by_its_drop() {
    let (_gate, running) = busy().await;
    let mut first = running.ledger.clone();
    assert_ready_ok!(poll(&mut first));
    assert_ready_ok!(poll(&mut first));
    let mut clone = first.clone();
    assert_pending!(poll(&mut clone));
    assert!(running.ledger.try_ask(Op::Get).is_err(), "it is reserved");
    drop(first);
    assert_ready_ok!(poll(&mut clone));
    drop(clone.call(Op::Get));
    assert_pending!(poll(&mut clone));
}

#[tokio::test]
async fn too_large_a_message_is_not_accepted() {
    let limits = Limits { message_bytes: 64, ..Limits::default() };
    let running = Running::start(&in_memory_with(limits).await, Gate::open()).await;
    let long = || Op::Long("x".repeat(100));
    let refused = |error: CallError<support::Refused>| {
        assert!(!error.is_retryable());
        matches!(error, CallError::NotAccepted { reason: Refusal::TooLarge { limit: 64, .. } })
    };
    assert!(refused(running.ledger.ask(long()).await.unwrap_err()));
    assert!(refused(running.ledger.tell(long()).await.unwrap_err()));
    assert_eq!(running.ledger.ask(Op::Add(1)).await.unwrap(), [1]);
}

#[tokio::test]
async fn a_dropped_loop_wakes_everybody() {
    let (_gate, running) = busy().await;
    let in_channel = running.ledger.try_ask(Op::Add(3)).unwrap();
    let mut waiting = running.ledger.clone();
    let mut ready = task::spawn(async { ServiceExt::<Op>::ready(&mut waiting).await.map(drop) });
    assert_pending!(ready.poll());
    let ledger = running.ledger.clone();
    running.kill().await;
    let error = soon("an answer", in_channel).await.unwrap_err();
    assert!(matches!(error, CallError::NotAccepted { reason: Refusal::Closed }), "{error:?}");
    assert!(soon("readiness", ready).await.is_err());
    assert!(ledger.is_closed());
}

#[tokio::test]
async fn a_place_reserved_before_the_end_leads_to_an_error_not_to_silence() {
    let running = Running::start(&in_memory().await, Gate::open()).await;
    let mut ledger = running.ledger.clone();
    assert_ready_ok!(poll(&mut ledger));
    running.kill().await;
    let error = soon("an answer", ledger.call(Op::Add(1))).await.unwrap_err();
    assert!(matches!(error, CallError::NotAccepted { .. }), "{error:?}");
}

#[tokio::test]
async fn duplicates_that_wait_for_the_journal_do_not_stop_the_service() {
    let limits = Limits { pending_bytes: 1, ..Limits::default() };
    let running = Running::start(&in_memory_with(limits).await, Gate::open()).await;
    let ledger = &running.ledger;
    assert_eq!(soon("a reply", ledger.ask_with_id(1, Op::Add(1))).await.unwrap(), [1]);
    for _ in 0..3 {
        assert_eq!(soon("the same", ledger.ask_with_id(1, Op::Add(1))).await.unwrap(), [1]);
    }
    assert_eq!(soon("a reply", ledger.ask_with_id(2, Op::Add(2))).await.unwrap(), [1, 2]);
}
