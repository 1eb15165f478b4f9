//! Messages that are given up by hand while their actor runs. Both kinds of actors.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::sync::Arc;

use actix::prelude::*;
use duroxide_actix::journal::{
    ActorId, DurableMessage, DurableState, JournalError, MessageId, Sequence,
};
use duroxide_actix::{
    AskError, DurableActixActor, DurableActor, DurableContext, DurableSend, StartDurable,
};
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use crate::support::{Store, run};

/// The answer is what was filed so far.
#[derive(Message, Serialize, Deserialize, DurableMessage, Clone, Copy)]
#[rtype(result = "Vec<u64>")]
#[durable(name = "clerk.file")]
struct File(u64);

/// The same, when it is let through.
#[derive(Message, Serialize, Deserialize, DurableMessage, Clone, Copy)]
#[rtype(result = "Vec<u64>")]
#[durable(name = "clerk.hold")]
struct Hold(u64);

fn name() -> ActorId {
    ActorId::new("clerk", "1")
}

macro_rules! suite {
    ($name:ident, $context:ident, $start:expr) => {
        mod $name {
            use super::*;

            struct Clerk {
                filed: Vec<u64>,
                gate: Arc<Semaphore>,
            }

            impl Actor for Clerk {
                type Context = $context<Self>;

                fn started(&mut self, ctx: &mut Self::Context) {
                    ctx.set_mailbox_capacity(2);
                }
            }

            impl DurableState for Clerk {
                const ACTOR_TYPE: &'static str = "clerk";
                type State = Vec<u64>;
                fn snapshot(&self) -> impl Serialize {
                    &self.filed
                }
                fn restore(&mut self, filed: Vec<u64>) {
                    self.filed = filed;
                }
            }

            impl DurableActor for Clerk {
                type Messages = (File, Hold);
            }

            impl Handler<File> for Clerk {
                type Result = Vec<u64>;
                fn handle(&mut self, File(number): File, _: &mut Self::Context) -> Vec<u64> {
                    self.filed.push(number);
                    self.filed.clone()
                }
            }

            impl Handler<Hold> for Clerk {
                type Result = ResponseActFuture<Self, Vec<u64>>;
                fn handle(&mut self, Hold(number): Hold, _: &mut Self::Context) -> Self::Result {
                    let gate = self.gate.clone();
                    let passed = async move { gate.acquire().await.unwrap().forget() };
                    Box::pin(passed.into_actor(self).map(move |(), it, _| {
                        it.filed.push(number);
                        it.filed.clone()
                    }))
                }
            }

            #[test]
            fn one_that_waits_is_given_up_and_makes_room_while_another_is_handled() {
                run(async {
                    let store = Store::new();
                    let journal = store.open().await;
                    let (start, gate) = ($start, Arc::new(Semaphore::new(0)));
                    let clerk = start(&journal, &gate).await.unwrap();
                    clerk.tell(Hold(1)).await.unwrap();
                    let id = MessageId::from(2);
                    let mut asked = clerk.send_with_id(id, File(2)).boxed_local();
                    assert!(futures::poll!(&mut asked).is_pending());
                    // It is received behind the one before; then the mailbox is full.
                    clerk.tell(File(3)).await.unwrap();
                    let mut waits = clerk.tell(File(4)).boxed_local();
                    assert!(futures::poll!(&mut waits).is_pending());
                    let repair = journal.repair("ada", "a test").unwrap();
                    repair.give_up(&name(), Sequence(2)).await.unwrap();
                    waits.await.unwrap();
                    let outcome = asked.await;
                    let begun = repair.give_up(&name(), Sequence(1)).await.unwrap_err();
                    assert!(matches!(begun, JournalError::BeingHandled { .. }), "{begun}");
                    gate.add_permits(1);
                    assert_eq!(clerk.send(File(5)).await.unwrap(), [1, 3, 4, 5]);
                    for outcome in [outcome, clerk.send_with_id(id, File(2)).await] {
                        let error = outcome.unwrap_err();
                        let AskError::DeadLetter { attempts: 0, error, .. } = error else {
                            panic!("{error}")
                        };
                        assert_eq!(&*error, "given up by ada: a test");
                    }
                    // At rest, too.
                    let missing = repair.give_up(&name(), Sequence(9)).await.unwrap_err();
                    assert!(matches!(missing, JournalError::NoSuchMessage { .. }), "{missing}");
                    // As after a crash.
                    let journal = store.open().await;
                    let letters = journal.dead_letters(&name()).await.unwrap();
                    assert_eq!(letters.iter().map(|it| it.sequence.0).collect::<Vec<_>>(), [2]);
                    assert_eq!(journal.pending().await.unwrap(), []);
                });
            }
        }
    };
}

suite!(context, DurableContext, |journal, gate: &Arc<Semaphore>| {
    Clerk { filed: Vec::new(), gate: gate.clone() }.start_durable(journal, "1")
});

suite!(wrapper, Context, |journal, gate: &Arc<Semaphore>| {
    let gate = gate.clone();
    async move {
        let clerk = move |_: &mut Context<Clerk>| Clerk { filed: Vec::new(), gate: gate.clone() };
        DurableActixActor::start(journal, "1", clerk).await
    }
});
