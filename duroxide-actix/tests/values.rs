//! Values that do not come back as they were are found with their first message, and a set is a set.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::collections::{HashMap, HashSet};

use actix::prelude::*;
use duroxide_actix::journal::mailbox::error_text;
use duroxide_actix::journal::test_util::{MemoryActorProvider, rehearse};
use duroxide_actix::journal::{
    CodecError, DurableMessage, DurableState, EventJournal, JournalError, MessageId,
};
use duroxide_actix::test_util::Scenario;
use duroxide_actix::{
    ActixHost, AskError, DurableActixActor, DurableActor, DurableContext, DurableEffects,
    DurableSend, StartDurable, WrappedHost,
};
use serde::{Deserialize, Serialize};

use support::{Store, run};

/// A field that is not written when it is empty, and has to be there.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Sparse {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    lines: Vec<u8>,
}

fn sparse(lines: &[u8]) -> Sparse {
    Sparse { lines: lines.to_vec() }
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize, MessageResponse)]
struct Draft {
    #[serde(skip)]
    unsaved: u8,
    saved: u8,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize, MessageResponse)]
struct Names(HashSet<String>);

macro_rules! message {
    ($message:ident($of:ty) -> $result:literal, $name:literal) => {
        #[derive(Debug, Serialize, Deserialize, Message, DurableMessage)]
        #[rtype(result = $result)]
        #[durable(name = $name)]
        struct $message($of);
    };
}

message!(Add(HashSet<String>) -> "Names", "guests.add");
message!(Seat((u32, HashSet<u8>)) -> "()", "guests.seat");
message!(Forward(HashSet<String>) -> "Result<(), String>", "guests.forward");
message!(Edit(Draft) -> "Draft", "guests.edit");
message!(Look(Sparse) -> "usize", "guests.look");
message!(Keep(Vec<u8>) -> "()", "guests.keep");
message!(Return(Vec<u8>) -> "Option<Sparse>", "guests.return");
message!(Pour(Vec<u8>) -> "Result<(), String>", "guests.pour");

macro_rules! suite {
    ($suite:ident, $context:ident, $address:ty, $start:expr, $host:ident) => {
        mod $suite {
            use super::*;

            #[derive(Default, DurableState)]
            #[durable(actor_type = "guests")]
            struct Guests {
                names: HashSet<String>,
                by_table: HashMap<u32, Vec<HashSet<u8>>>,
                sparse: Option<Sparse>,
            }

            impl Actor for Guests {
                type Context = $context<Self>;
            }

            impl DurableActor for Guests {
                type Messages = (Add, Seat, Forward, Edit, Look, Keep, Return, Pour);
            }

            impl Handler<Add> for Guests {
                type Result = Names;
                fn handle(&mut self, Add(names): Add, _: &mut Self::Context) -> Names {
                    self.names.extend(names);
                    Names(self.names.clone())
                }
            }

            impl Handler<Seat> for Guests {
                type Result = ();
                fn handle(&mut self, Seat((table, seats)): Seat, _: &mut Self::Context) {
                    self.by_table.entry(table).or_default().push(seats);
                }
            }

            impl Handler<Forward> for Guests {
                type Result = Result<(), String>;
                fn handle(&mut self, it: Forward, ctx: &mut Self::Context) -> Self::Result {
                    ctx.actor::<Self>("other").tell(Add(it.0)).map_err(|error| error.to_string())
                }
            }

            impl Handler<Edit> for Guests {
                type Result = Draft;
                fn handle(&mut self, Edit(draft): Edit, _: &mut Self::Context) -> Draft {
                    Draft { unsaved: 3, saved: draft.unsaved }
                }
            }

            impl Handler<Look> for Guests {
                type Result = usize;
                fn handle(&mut self, Look(sparse): Look, _: &mut Self::Context) -> usize {
                    sparse.lines.len()
                }
            }

            impl Handler<Keep> for Guests {
                type Result = ();
                fn handle(&mut self, Keep(lines): Keep, _: &mut Self::Context) {
                    self.sparse = Some(Sparse { lines });
                }
            }

            impl Handler<Return> for Guests {
                type Result = Option<Sparse>;
                fn handle(&mut self, Return(lines): Return, _: &mut Self::Context) -> Self::Result {
                    Some(Sparse { lines })
                }
            }

            impl Handler<Pour> for Guests {
                type Result = ResponseFuture<Result<(), String>>;
                fn handle(&mut self, Pour(lines): Pour, ctx: &mut Self::Context) -> Self::Result {
                    let poured = ctx.step("pour", || async { Sparse { lines } });
                    Box::pin(async { poured.await.map(drop).map_err(|error| error_text(&error)) })
                }
            }

            async fn start(journal: &EventJournal) -> $address {
                let start = $start;
                start(journal).await.unwrap()
            }

            #[test]
            fn a_message_that_would_not_decode_is_refused() {
                run(async {
                    let store = Store::new();
                    let guests = start(&store.open().await).await;
                    assert_eq!(
                        guests.send_with_id(MessageId::random(), Look(sparse(&[1]))).await.unwrap(),
                        1
                    );
                    let refused = guests
                        .send_with_id(MessageId::random(), Look(sparse(&[])))
                        .await
                        .unwrap_err();
                    let AskError::NotAccepted { source: Some(source), .. } = &refused else {
                        panic!("{refused:?}")
                    };
                    let JournalError::Encode { what: "the message", source, .. } = &**source else {
                        panic!("{source:?}")
                    };
                    let CodecError::Refused { type_name, reason, .. } = source else {
                        panic!("{source:?}")
                    };
                    assert!(type_name.ends_with("Look"), "{source}");
                    assert!(reason.contains("does not decode: "), "{source}");
                    assert!(reason.contains("lines"), "{source}");
                });
            }

            #[test]
            fn what_would_not_decode_is_a_failure_of_its_message() {
                run(async {
                    let store = Store::new();
                    let guests = start(&store.open().await).await;
                    guests.send_with_id(MessageId::random(), Keep(vec![1])).await.unwrap();
                    let dead = |failed: AskError| match failed {
                        AskError::DeadLetter { error, .. } => error.to_string(),
                        other => panic!("{other:?}"),
                    };
                    let error = dead(
                        guests.send_with_id(MessageId::random(), Keep(vec![])).await.unwrap_err(),
                    );
                    assert!(error.contains("sparse in ") && error.contains("lines"), "{error}");
                    let error = dead(
                        guests.send_with_id(MessageId::random(), Return(vec![])).await.unwrap_err(),
                    );
                    assert!(error.contains("Sparse>") && error.contains("lines"), "{error}");
                    let error = guests
                        .send_with_id(MessageId::random(), Pour(vec![]))
                        .await
                        .unwrap()
                        .unwrap_err();
                    assert!(error.contains("pour") && error.contains("lines"), "{error}");
                    // The actor has the state before them.
                    let names = HashSet::from(["a".to_owned()]);
                    assert_eq!(
                        guests.send_with_id(MessageId::random(), Add(names.clone())).await.unwrap(),
                        Names(names)
                    );
                });
            }

            #[test]
            fn a_field_that_is_not_stored_is_missing_at_once() {
                run(async {
                    let store = Store::new();
                    let guests = start(&store.open().await).await;
                    let draft = guests
                        .send_with_id(MessageId::random(), Edit(Draft { unsaved: 7, saved: 0 }))
                        .await
                        .unwrap();
                    assert_eq!(draft, Draft { unsaved: 0, saved: 0 });
                });
            }

            #[test]
            fn a_set_survives_crashes_and_a_rehearsal() {
                run(async {
                    let names =
                        |from| Add((from..from + 20).map(|n| format!("guest {n}")).collect());
                    let host = || $host::new(|_| Guests::default());
                    let mut guests = Scenario::new(host(), "1").await.unwrap();
                    for table in 0..3 {
                        guests.when(names(table * 10)).await.unwrap();
                        guests.when(Seat((table / 2, (0..20).collect()))).await.unwrap();
                        guests.when(Seat((table + 100, (0..20).collect()))).await.unwrap();
                        guests.when(Forward(names(table).0)).await.unwrap().unwrap();
                    }
                    assert!(guests.survive_crashes().await.unwrap() > 8);

                    let store = MemoryActorProvider::new();
                    let journal = EventJournal::builder().open_on(store.clone()).await.unwrap();
                    let guests = start(&journal).await;
                    for table in 0..3 {
                        guests.send_with_id(MessageId::random(), names(table * 10)).await.unwrap();
                        guests
                            .send_with_id(MessageId::random(), Seat((table, (0..20).collect())))
                            .await
                            .unwrap();
                    }
                    journal.close().await.unwrap();
                    let found = rehearse(store, host()).await.unwrap();
                    assert!(found.is_clean() && found.messages == 6, "{found}");
                });
            }
        }
    };
}

suite!(
    context,
    DurableContext,
    Addr<Guests>,
    |journal| async move { Guests::default().start_durable(journal, "1").await },
    ActixHost
);

suite!(
    wrapper,
    Context,
    Addr<DurableActixActor<Guests>>,
    |journal| async move { DurableActixActor::start(journal, "1", |_| Guests::default()).await },
    WrappedHost
);
