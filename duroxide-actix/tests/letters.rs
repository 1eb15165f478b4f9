//! Dead letters that are sent again while their actor runs. Both kinds of actors.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::time::{Duration, Instant};

use actix::prelude::*;
use duroxide_actix::journal::mailbox::{MESSAGE, Resolution, Work};
use duroxide_actix::journal::{
    ActorId, DurableMessage, DurableState, EventJournal, Limits, Mailbox, Sequence,
};
use duroxide_actix::{DurableActixActor, DurableActor, DurableContext, StartDurable};
use serde::{Deserialize, Serialize};

use crate::support::{Store, run};

#[derive(Message, Serialize, Deserialize, DurableMessage, Clone, Copy)]
#[rtype(result = "u64")]
#[durable(name = "clerk.file")]
struct File(u64);

/// The same, by a handler that is not done at once.
#[derive(Message, Serialize, Deserialize, DurableMessage, Clone, Copy)]
#[rtype(result = "u64")]
#[durable(name = "clerk.file_later")]
struct FileLater(u64);

/// Not durable: a question.
#[derive(Message)]
#[rtype(result = "Files")]
struct Read;

/// How many were handled, and the last ones of them.
#[derive(Clone, Default, Serialize, Deserialize, MessageResponse)]
struct Files {
    count: u64,
    last: Vec<u64>,
}

/// So many of the last ones are kept.
const KEPT: usize = 50;

impl Files {
    fn add(&mut self, number: u64) -> u64 {
        self.count += 1;
        self.last.push(number);
        if self.last.len() > KEPT {
            self.last.remove(0);
        }
        self.count
    }
}

struct Nobody;

impl Work for Nobody {
    fn resolve(self, _: Resolution) {}
}

impl DurableState for Files {
    const ACTOR_TYPE: &'static str = "clerk";
    type State = Files;
    fn snapshot(&self) -> impl Serialize {
        self
    }
    fn restore(&mut self, files: Files) {
        *self = files;
    }
}

fn name() -> ActorId {
    ActorId::new("clerk", "1")
}

fn all() -> std::ops::RangeInclusive<Sequence> {
    Sequence(0)..=Sequence(u64::MAX)
}

/// A journal whose clerk has given up the numbers from 1 to `count`; their letters are in rows.
async fn given_up<M: DurableMessage>(
    store: &Store,
    count: u64,
    message: impl Fn(u64) -> M,
) -> EventJournal {
    let limits = Limits { attempts: 1, ..Limits::default() };
    let journal = store.open_with(limits).await.unwrap();
    let mut mailbox: Mailbox<Nobody> = journal.activate(&name()).await.unwrap();
    for number in 1..=count {
        let payload = mailbox.encode(MESSAGE, &message(number)).unwrap();
        mailbox.accept(None, M::NAME, payload, None, Nobody, None).unwrap();
    }
    while !mailbox.is_empty() {
        while let Some(delivery) = mailbox.next().unwrap() {
            mailbox.failed(delivery, "boom", &mut Files::default()).unwrap();
        }
        let _ = mailbox.end_run(&mut Files::default()).unwrap();
        mailbox.ready().await;
    }
    drop(mailbox);
    journal.checkpoint().await.unwrap();
    journal
}

macro_rules! suite {
    ($name:ident, $context:ident, $start:expr) => {
        mod $name {
            use super::*;

            #[derive(Default)]
            struct Clerk(Files);

            impl Actor for Clerk {
                type Context = $context<Self>;
            }

            impl DurableState for Clerk {
                const ACTOR_TYPE: &'static str = "clerk";
                type State = Files;
                fn snapshot(&self) -> impl Serialize {
                    &self.0
                }
                fn restore(&mut self, files: Files) {
                    self.0 = files;
                }
            }

            impl DurableActor for Clerk {
                type Messages = (File, FileLater);
            }

            impl Handler<File> for Clerk {
                type Result = u64;
                fn handle(&mut self, File(number): File, _: &mut Self::Context) -> u64 {
                    self.0.add(number)
                }
            }

            impl Handler<FileLater> for Clerk {
                type Result = ResponseActFuture<Self, u64>;
                fn handle(
                    &mut self,
                    FileLater(number): FileLater,
                    _: &mut Self::Context,
                ) -> Self::Result {
                    let later = actix::clock::sleep(Duration::from_millis(1)).into_actor(self);
                    Box::pin(later.map(move |(), it, _| it.0.add(number)))
                }
            }

            impl Handler<Read> for Clerk {
                type Result = Files;
                fn handle(&mut self, _: Read, _: &mut Self::Context) -> Files {
                    self.0.clone()
                }
            }

            async fn they_are_handled<M: DurableMessage>(message: impl Fn(u64) -> M) {
                let store = Store::new();
                let journal = given_up(&store, 200, message).await;
                let start = $start;
                let clerk = start(&journal).await.unwrap();
                let name = name();
                let asking = async {
                    let mut asked = 0;
                    let left = || journal.dead_letters_page(&name, Sequence(0), 1);
                    while !left().await.unwrap().is_empty() {
                        clerk.send(File(1000)).await.unwrap();
                        asked += 1;
                    }
                    asked
                };
                let sending = journal.resend_dead_letters(&name, all());
                let (sent, asked) = futures::future::join(sending, asking).await;
                assert_eq!(sent.unwrap(), 200);
                let count = clerk.send(File(1000)).await.unwrap();
                assert_eq!(count, 201 + asked);
                let files = clerk.send(Read).await.unwrap();
                let last: Vec<_> = files.last.into_iter().filter(|it| *it < 1000).collect();
                assert!(last.windows(2).all(|two| two[0] + 1 == two[1]), "{last:?}");
                // As after a crash.
                let journal = store.open().await;
                assert!(journal.dead_letters(&name).await.unwrap().is_empty());
                assert_eq!(journal.pending().await.unwrap(), []);
            }

            #[test]
            fn a_running_actor_handles_them_between_what_others_send() {
                run(they_are_handled(File));
                run(they_are_handled(FileLater));
            }

            #[test]
            fn an_actor_that_ends_leaves_the_others_to_its_next_start() {
                run(async {
                    let store = Store::new();
                    let journal = given_up(&store, 100, FileLater).await;
                    let start = $start;
                    let clerk = start(&journal).await.unwrap();
                    let name = name();
                    let stopping = async {
                        while clerk.send(Read).await.unwrap().count < 5 {
                            actix::clock::sleep(Duration::from_millis(1)).await;
                        }
                        let repair = journal.repair("ada", "a test").unwrap();
                        repair.stop(&name).await.unwrap();
                        repair
                    };
                    let sending = journal.resend_dead_letters(&name, all());
                    let (sent, repair) = futures::future::join(sending, stopping).await;
                    assert_eq!(sent.unwrap(), 100);
                    repair.release(&name).await.unwrap();
                    let clerk = start(&journal).await.unwrap();
                    assert_eq!(clerk.send(File(101)).await.unwrap(), 101);
                    assert!(clerk.send(Read).await.unwrap().last.into_iter().eq(52..=101));
                });
            }

            /// Says how long it takes.
            async fn many(count: u64) {
                let store = Store::new();
                let journal = given_up(&store, count, File).await;
                let start = $start;
                let clerk = start(&journal).await.unwrap();
                let begun = Instant::now();
                let sent = journal.resend_dead_letters(&name(), all()).await.unwrap();
                let received = begun.elapsed();
                let handled = clerk.send(File(0)).await.unwrap();
                let all = begun.elapsed();
                assert_eq!((sent as u64, handled), (count, count + 1));
                println!("{count} letters: received after {received:?}, handled after {all:?}");
            }

            #[test]
            fn many_are_sent_again() {
                run(many(5_000));
            }

            #[test]
            #[ignore = "a measurement"]
            fn a_hundred_thousand_are_sent_again_in_seconds() {
                actix::System::new().block_on(many(100_000));
            }
        }
    };
}

suite!(context, DurableContext, |journal| Clerk::default().start_durable(journal, "1"));

suite!(wrapper, Context, |journal| async move {
    DurableActixActor::start(journal, "1", |_| Clerk::default()).await
});
