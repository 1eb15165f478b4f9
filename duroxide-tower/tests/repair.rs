//! An actor that is stopped by hand.

mod support;

use duroxide_tower::JournalError;
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

struct Nobody;

impl shared_journal::mailbox::Work for Nobody {
    fn resolve(self, _: shared_journal::mailbox::Resolution) {}
}
