//! State, order and replies survive.

mod support;

use duroxide_tower::{CallError, Keyed, MessageId};
use shared_journal::ActorEvent;
use support::{Gate, Op, Refused, Running, Store, in_memory, name, soon};
use tower::ServiceExt;

#[tokio::test]
async fn state_survives_a_restart() {
    let store = Store::new();
    {
        let running = Running::start(&store.open().await, Gate::open()).await;
        assert_eq!(running.ledger.ask(Op::Add(1)).await.unwrap(), [1]);
        assert_eq!(running.ledger.ask(Op::Add(2)).await.unwrap(), [1, 2]);
        running.kill().await;
    }
    let running = Running::start(&store.open().await, Gate::open()).await;
    assert_eq!(running.ledger.ask(Op::Get).await.unwrap(), [1, 2]);
    running.end().await;
}

#[tokio::test]
async fn messages_of_one_sender_keep_their_order() {
    let running = Running::start(&in_memory().await, Gate::open()).await;
    let answers: Vec<_> = (0..50)
        .map(|n| {
            // Fast and slow ones mixed: an own run for the slow must not overtake.
            let op = if n % 7 == 3 { Op::Slow(n) } else { Op::Add(n) };
            running.ledger.try_ask(op).unwrap()
        })
        .collect();
    for (n, answer) in answers.into_iter().enumerate() {
        let entries = soon("a reply", answer).await.unwrap();
        assert_eq!(entries.len(), n + 1);
        assert!(entries.is_sorted());
    }
}

#[tokio::test]
async fn a_repeated_id_gets_the_first_reply_before_and_after_a_restart() {
    let store = Store::new();
    {
        let journal = store.open().await;
        let running = Running::start(&journal, Gate::open()).await;
        let ledger = &running.ledger;
        assert_eq!(ledger.ask_with_id(7, Op::Add(1)).await.unwrap(), [1]);
        ledger.ask(Op::Add(2)).await.unwrap();
        assert_eq!(ledger.ask_with_id(7, Op::Add(1)).await.unwrap(), [1]);
        let error = ledger.ask_with_id(8, Op::Refuse(3)).await.unwrap_err();
        assert!(matches!(error, CallError::Domain(Refused(3))));
        assert_eq!(journal.stats().duplicates, 1);
        running.kill().await;
    }
    let running = Running::start(&store.open().await, Gate::open()).await;
    let ledger = &running.ledger;
    let keyed = Keyed::new(7, Op::Add(1));
    assert_eq!(ledger.clone().oneshot(keyed).await.unwrap(), [1]);
    let error = ledger.ask_with_id(8, Op::Refuse(3)).await.unwrap_err();
    assert!(matches!(error, CallError::Domain(Refused(3))));
    let entries = ledger.ask(Op::Get).await.unwrap();
    assert_eq!(entries, [1, 2, 3], "an error keeps what was changed before");
}

#[tokio::test]
async fn duplicates_in_one_run_and_behind_a_slow_handler_get_the_first_reply() {
    let (gate, mut entered) = Gate::new();
    let running = Running::start(&in_memory().await, gate.clone()).await;
    let ask = |id: u128, op| running.ledger.try_ask(Keyed::new(id, op)).unwrap();
    // No await between: all of them are in the channel before the loop looks.
    let mut answers = vec![ask(1, Op::Add(1)), ask(1, Op::Add(1))];
    answers.extend([ask(2, Op::Slow(2)), ask(2, Op::Slow(2))]);
    soon("the slow handler", entered.recv()).await;
    answers.extend([ask(2, Op::Slow(2)), ask(3, Op::Add(3)), ask(3, Op::Add(3))]);
    // Its receipt waits for the one of the first, not for the outcome.
    let told = running.ledger.tell_with_id(2, Op::Slow(2));
    assert_eq!(soon("a receipt", told).await.unwrap(), MessageId::from(2));
    gate.open.add_permits(1);
    let mut got = Vec::new();
    for answer in answers {
        got.push(soon("a reply", answer).await.unwrap().len());
    }
    assert_eq!(got, [1, 1, 2, 2, 2, 3, 3]);
}

#[tokio::test]
async fn what_was_told_is_handled_after_a_restart_in_its_order() {
    let store = Store::new();
    {
        let (gate, mut entered) = Gate::new();
        let running = Running::start(&store.open().await, gate).await;
        let ledger = running.ledger.clone();
        ledger.tell(Op::Slow(1)).await.unwrap();
        soon("the slow handler", entered.recv()).await;
        for n in 2..5 {
            soon("a receipt", ledger.tell(Op::Add(n))).await.unwrap();
        }
        running.kill().await;
    }
    let journal = store.open().await;
    assert_eq!(journal.pending().await.unwrap(), [name()]);
    let running = Running::start(&journal, Gate::open()).await;
    let entries = soon("a reply", running.ledger.ask(Op::Add(5))).await.unwrap();
    assert_eq!(entries, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn a_dropped_call_is_handled_all_the_same() {
    use tower::Service;
    let running = Running::start(&in_memory().await, Gate::open()).await;
    let mut ledger = running.ledger.clone();
    ServiceExt::<Op>::ready(&mut ledger).await.unwrap();
    drop(ledger.call(Op::Add(1)));
    assert_eq!(running.ledger.ask(Op::Get).await.unwrap(), [1]);
}

#[tokio::test]
async fn a_stop_is_written_and_those_behind_are_told() {
    use futures::StreamExt;
    let journal = in_memory().await;
    let running = Running::start(&journal, Gate::open()).await;
    let stop = running.ledger.try_ask(Op::Stop).unwrap();
    let behind = running.ledger.try_ask(Op::Add(1)).unwrap();
    assert_eq!(soon("a reply", stop).await.unwrap(), [0_i64; 0]);
    let error = soon("an answer", behind).await.unwrap_err();
    assert!(matches!(error, CallError::OutcomeUnknown { .. }), "{error}");
    soon("the end", running.run).await.unwrap().unwrap();
    let error = running.ledger.ask(Op::Get).await.unwrap_err();
    assert!(matches!(error, CallError::NotAccepted { .. }), "{error}");
    let events: Vec<_> = journal.history(&name()).collect().await;
    let last = &events.last().unwrap().as_ref().unwrap().event;
    assert!(matches!(last, ActorEvent::ActorStopped), "{last:?}");

    let running = Running::start(&journal, Gate::open()).await;
    assert_eq!(running.ledger.ask(Op::Add(2)).await.unwrap(), [2]);
}

#[tokio::test]
async fn a_stop_lets_go_of_the_duplicates_of_what_is_not_handled() {
    let (gate, mut entered) = Gate::new();
    let journal = in_memory().await;
    let running = Running::start(&journal, gate.clone()).await;
    let ask = |id: u128, op| running.ledger.try_ask(Keyed::new(id, op)).unwrap();
    let slow = ask(1, Op::Slow(1));
    soon("the slow handler", entered.recv()).await;
    let (again, stop) = (ask(1, Op::Slow(1)), ask(2, Op::Stop));
    let (behind, behind_again) = (ask(3, Op::Add(3)), ask(3, Op::Add(3)));
    // Its receipt says that the others were taken out of the channel.
    soon("a receipt", running.ledger.tell(Op::Add(4))).await.unwrap();
    gate.open.add_permits(1);
    for done in [slow, again, stop] {
        assert_eq!(soon("a reply", done).await.unwrap(), [1]);
    }
    for waiting in [behind, behind_again] {
        let error = soon("an answer", waiting).await.unwrap_err();
        assert_eq!(error.message_id(), Some(3.into()), "{error}");
    }
    soon("the end", running.run).await.unwrap().unwrap();
    let running = Running::start(&journal, Gate::open()).await;
    let first = running.ledger.ask_with_id(3, Op::Add(3)).await.unwrap();
    assert_eq!(first, [1, 3]);
    assert_eq!(running.ledger.ask(Op::Get).await.unwrap(), [1, 3, 4]);
}
