//! A state that cannot be stored is the failure of the message that made it, and the actor goes on. Both
//! kinds of actors; nothing but messages wakes them.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::time::Duration;

use actix::prelude::*;
use duroxide_actix::journal::{ActorId, DurableMessage, DurableState, Limits, MessageId};
use duroxide_actix::{
    AskError, DurableActixActor, DurableActor, DurableContext, DurableSend, StartDurable,
};
use futures::FutureExt;
use serde::{Deserialize, Serialize};

use crate::support::{Store, gone, run};

/// Bytes for the state. The answer is how many it has.
#[derive(Message, Serialize, Deserialize, DurableMessage, Clone)]
#[rtype(result = "usize")]
#[durable(name = "poison.add")]
struct Add(usize);

/// The same, by a handler that is not done at once.
#[derive(Message, Serialize, Deserialize, DurableMessage, Clone)]
#[rtype(result = "usize")]
#[durable(name = "poison.add_later")]
struct AddLater(usize);

const LIMIT: usize = 100;

macro_rules! suite {
    ($name:ident, $context:ident, $start:expr) => {
        mod $name {
            use super::*;

            #[derive(Default)]
            struct Sack(String);

            impl Actor for Sack {
                type Context = $context<Self>;
            }

            impl DurableState for Sack {
                const ACTOR_TYPE: &'static str = "sack";
                type State = String;
                fn snapshot(&self) -> impl Serialize {
                    &self.0
                }
                fn restore(&mut self, content: String) {
                    self.0 = content;
                }
            }

            impl DurableActor for Sack {
                type Messages = (Add, AddLater);
            }

            impl Handler<Add> for Sack {
                type Result = usize;
                fn handle(&mut self, Add(bytes): Add, _: &mut Self::Context) -> usize {
                    self.0.push_str(&"x".repeat(bytes));
                    self.0.len()
                }
            }

            impl Handler<AddLater> for Sack {
                type Result = ResponseActFuture<Self, usize>;
                fn handle(
                    &mut self,
                    AddLater(bytes): AddLater,
                    _: &mut Self::Context,
                ) -> Self::Result {
                    let later = tokio::task::yield_now().into_actor(self);
                    Box::pin(later.map(move |(), it, _| {
                        it.0.push_str(&"x".repeat(bytes));
                        it.0.len()
                    }))
                }
            }

            #[test]
            fn a_state_that_is_too_large_is_the_failure_of_its_message() {
                run(async {
                    let store = Store::new();
                    let limits = Limits { state_bytes: LIMIT, ..Limits::default() };
                    let journal = store.open_with(limits).await.unwrap();
                    let start = $start;
                    let sack = start(&journal).await.unwrap();
                    let id = MessageId::from;
                    let within = |sent| tokio::time::timeout(Duration::from_secs(20), sent);
                    // Alone; then in one run with an innocent, and with itself again.
                    let alone = within(sack.send_with_id(id(1), Add(LIMIT + 1)).boxed_local());
                    let later = within(sack.send_with_id(id(2), AddLater(LIMIT + 1)).boxed_local());
                    let mut failed = vec![alone.await.unwrap(), later.await.unwrap()];
                    let small = sack.send_with_id(id(3), Add(1));
                    let large = sack.send_with_id(id(4), Add(LIMIT)).boxed_local();
                    let again = sack.send_with_id(id(4), Add(LIMIT)).boxed_local();
                    let (small, large, again) =
                        futures::future::join3(small, within(large), within(again)).await;
                    assert_eq!(small.unwrap(), 1);
                    failed.extend([large.unwrap(), again.unwrap()]);
                    for outcome in failed {
                        let error = outcome.unwrap_err();
                        let AskError::DeadLetter { attempts: 3, error, .. } = &error else {
                            panic!("{error}")
                        };
                        assert!(error.contains("the limit of 100"), "{error}");
                    }
                    assert_eq!(sack.send(Add(2)).await.unwrap(), 3);
                });
            }

            #[test]
            fn it_is_so_when_the_actor_is_let_go_at_once() {
                run(async {
                    let store = Store::new();
                    let limits = Limits { state_bytes: LIMIT, ..Limits::default() };
                    let journal = store.open_with(limits).await.unwrap();
                    let start = $start;
                    let sack = start(&journal).await.unwrap();
                    sack.do_send(Add(LIMIT + 1));
                    drop(sack);
                    let name = ActorId::new("sack", "1");
                    gone(&journal, &name).await;
                    assert_eq!(journal.pending().await.unwrap(), []);
                    let letters = journal.dead_letters(&name).await.unwrap();
                    assert_eq!((letters.len(), letters[0].attempts), (1, 3));
                });
            }
        }
    };
}

suite!(context, DurableContext, |journal| Sack::default().start_durable(journal, "1"));

suite!(wrapper, Context, |journal| async move {
    DurableActixActor::start(journal, "1", |_| Sack::default()).await
});
