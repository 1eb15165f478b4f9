//! A handler that panics takes nobody with it.

mod support;

use duroxide_tower::{
    ActorContext, CallError, DurableActor, DurableActorService, DurableState, Keyed, async_trait,
};
use serde::Serialize;
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

/// An actor that panics where nobody asked it.
struct Broken;

impl DurableState for Broken {
    const ACTOR_TYPE: &'static str = "broken";
    type State = ();

    fn snapshot(&self) -> impl Serialize {}

    fn restore(&mut self, (): ()) {}
}

/// While it is dropped because of the first panic, too.
impl Drop for Broken {
    fn drop(&mut self) {
        panic!("once more");
    }
}

#[async_trait]
impl DurableActor for Broken {
    type Message = Op;
    type Reply = ();
    type Error = ();

    async fn handle(&mut self, _: &mut ActorContext, _: Op) -> Result<(), ()> {
        Ok(())
    }

    async fn started(&mut self, _: &mut ActorContext) {
        panic!("not today");
    }
}

#[tokio::test]
async fn a_panic_outside_of_a_handler_ends_the_actor_and_its_callers_are_told_of_what() {
    let journal = in_memory().await;
    let (service, broken) = DurableActorService::new(&journal, "1", Broken).await.unwrap();
    let waiting = broken.try_ask(Op::Add(1)).unwrap();
    let panic = tokio::spawn(service.run()).await.unwrap_err().into_panic();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"not today"));
    for error in [soon("an answer", waiting).await, broken.ask(Op::Add(2)).await] {
        let error = error.unwrap_err();
        let CallError::NotAccepted { reason } = &error else { panic!("{error:?}") };
        assert_eq!(reason.to_string(), "broken/1 has ended with a panic: not today");
        assert!(error.is_retryable());
    }
}
