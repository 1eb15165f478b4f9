//! An actor that is stopped by hand, and one that gives up a message while it runs.

mod support;

use duroxide_tower::{CallError, JournalError, Keyed};
use shared_journal::Sequence;
use support::{Gate, Op, Running, Store, name, soon};

#[tokio::test]
async fn it_is_stopped_at_rest_and_in_the_middle_of_a_handler_and_goes_on_when_it_is_released() {
    for busy in [false, true] {
        let store = Store::new();
        let journal = store.open().await;
        let (gate, mut entered) = Gate::new();
        let Running { ledger, run } = Running::start(&journal, gate).await;
        assert_eq!(ledger.ask(Op::Add(1)).await.unwrap(), [1]);
        if busy {
            ledger.tell(Op::Slow(2)).await.unwrap();
            soon("the handler", entered.recv()).await;
            ledger.tell(Op::Add(3)).await.unwrap();
        }
        let repair = journal.repair("ada", "a test").unwrap();
        soon("the end of the actor", repair.stop(&name())).await.unwrap();
        let ended = soon("the end of the loop", run).await.unwrap().unwrap_err();
        assert!(matches!(&*ended, JournalError::Held { by, .. } if by == "ada"), "{ended}");
        ledger.ask(Op::Get).await.unwrap_err();
        if busy {
            // The one whose handler was cut off, and nothing was charged to it.
            let waiting = repair.pending(&name(), Sequence(0), 9).await.unwrap();
            let waiting: Vec<_> = waiting.iter().map(|it| (it.sequence.0, it.attempts)).collect();
            assert_eq!(waiting, [(2, 0), (3, 0)]);
            repair.give_up(&name(), Sequence(2)).await.unwrap();
        }
        // As after a crash.
        let journal = store.open().await;
        let repair = journal.repair("ada", "another").unwrap();
        let refused = journal.activate::<Nobody>(&name()).await.unwrap_err();
        assert!(matches!(refused, JournalError::Held { .. }), "{refused}");
        repair.release(&name()).await.unwrap();
        let running = Running::start(&journal, Gate::open()).await;
        let expected: &[i64] = if busy { &[1, 3] } else { &[1] };
        assert_eq!(running.ledger.ask(Op::Get).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_message_that_waits_is_given_up_while_another_is_handled() {
    let store = Store::new();
    let journal = store.open().await;
    let (gate, mut entered) = Gate::new();
    let Running { ledger, run } = Running::start(&journal, gate.clone()).await;
    ledger.tell(Op::Slow(1)).await.unwrap();
    soon("the handler", entered.recv()).await;
    let asked = ledger.try_ask(Keyed::new(2, Op::Add(2))).unwrap();
    // It is received behind the one before.
    ledger.tell(Op::Add(3)).await.unwrap();
    let repair = journal.repair("ada", "a test").unwrap();
    soon("the end of the message", repair.give_up(&name(), Sequence(2))).await.unwrap();
    let again = ledger.ask_with_id(2, Op::Add(2));
    for outcome in [soon("its outcome", asked).await, soon("its outcome", again).await] {
        let error = outcome.unwrap_err();
        let CallError::DeadLetter { attempts: 0, error, .. } = error else { panic!("{error}") };
        assert_eq!(&*error, "given up by ada: a test");
    }
    let begun = soon("a refusal", repair.give_up(&name(), Sequence(1))).await.unwrap_err();
    assert!(matches!(begun, JournalError::BeingHandled { .. }), "{begun}");
    gate.open.add_permits(1);
    assert_eq!(soon("the others", ledger.ask(Op::Get)).await.unwrap(), [1, 3]);
    // At rest, too.
    let missing = soon("a refusal", repair.give_up(&name(), Sequence(9))).await.unwrap_err();
    assert!(matches!(missing, JournalError::NoSuchMessage { .. }), "{missing}");
    run.abort();
    let journal = store.open().await;
    let letters = journal.dead_letters(&name()).await.unwrap();
    assert_eq!(letters.iter().map(|it| it.sequence.0).collect::<Vec<_>>(), [2]);
    assert_eq!(journal.pending().await.unwrap(), []);
}

#[tokio::test]
async fn one_that_is_given_up_makes_room_for_another() {
    let store = Store::new();
    let journal = store.open().await;
    let (gate, mut entered) = Gate::new();
    let Running { ledger, .. } = Running::with_capacity(&journal, gate.clone(), 1).await;
    ledger.tell(Op::Slow(1)).await.unwrap();
    soon("the handler", entered.recv()).await;
    ledger.tell(Op::Add(2)).await.unwrap();
    let mut waits = Box::pin(ledger.tell(Op::Add(3)));
    assert!(futures::poll!(&mut waits).is_pending());
    let repair = journal.repair("ada", "a test").unwrap();
    soon("the end of the message", repair.give_up(&name(), Sequence(2))).await.unwrap();
    soon("its receipt, while the handler is not done", waits).await.unwrap();
    gate.open.add_permits(1);
    assert_eq!(soon("the others", ledger.ask(Op::Get)).await.unwrap(), [1, 3]);
}

struct Nobody;

impl shared_journal::mailbox::Work for Nobody {
    fn resolve(self, _: shared_journal::mailbox::Resolution) {}
}
