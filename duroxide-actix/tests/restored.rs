//! Fields that are not stored are made anew whenever the state was put into the actor.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::collections::BTreeMap;

use actix::prelude::*;
use duroxide_actix::journal::{DurableMessage, DurableState};
use duroxide_actix::{DurableActixActor, DurableActor, DurableContext, StartDurable};
use serde::{Deserialize, Serialize};

use crate::support::{Store, run};

/// Adds a word; panics after it has added it, if it is told to.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "restored.add")]
struct Add(String, Then);

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Then {
    Return,
    Panic,
    PanicLater,
}

/// The words by the index, and how many there are.
#[derive(Message)]
#[rtype(result = "(Vec<String>, usize)")]
struct Show;

macro_rules! words {
    ($words:ident, $context:ident) => {
        #[derive(Default)]
        struct $words {
            words: Vec<String>,
            /// Not stored: where each word is.
            index: BTreeMap<String, usize>,
        }

        impl $words {
            fn add(&mut self, word: String) {
                self.index.insert(word.clone(), self.words.len());
                self.words.push(word);
            }
        }

        impl DurableState for $words {
            const ACTOR_TYPE: &'static str = "words";
            type State = Vec<String>;
            fn snapshot(&self) -> impl Serialize {
                &self.words
            }
            fn restore(&mut self, words: Vec<String>) {
                self.words = words;
            }
            fn restored(&mut self) {
                let words = self.words.iter().cloned().enumerate();
                self.index = words.map(|(at, word)| (word, at)).collect();
            }
        }

        impl DurableActor for $words {
            type Messages = (Add,);
        }

        impl Actor for $words {
            type Context = $context<Self>;
        }

        impl Handler<Add> for $words {
            type Result = ResponseActFuture<Self, ()>;
            fn handle(&mut self, Add(word, then): Add, _: &mut Self::Context) -> Self::Result {
                self.add(word);
                assert!(then != Then::Panic, "on purpose");
                Box::pin(tokio::task::yield_now().into_actor(self).map(move |(), _, _| {
                    assert!(then != Then::PanicLater, "later, on purpose");
                }))
            }
        }

        impl Handler<Show> for $words {
            type Result = MessageResult<Show>;
            fn handle(&mut self, _: Show, _: &mut Self::Context) -> Self::Result {
                MessageResult((self.index.keys().cloned().collect(), self.words.len()))
            }
        }
    };
}

words!(Own, DurableContext);
words!(Wrapped, Context);

macro_rules! test {
    ($name:ident, $start:expr) => {
        #[test]
        fn $name() {
            run(async {
                let store = Store::new();
                let journal = store.open().await;
                let start = $start;
                let words = start(journal).await;
                words.send(Add("a".into(), Then::Return)).await.unwrap();
                for then in [Then::Panic, Then::PanicLater] {
                    words.send(Add("b".into(), then)).await.unwrap_err();
                    assert_eq!(words.send(Show).await.unwrap(), (vec!["a".into()], 1));
                }
                words.send(Add("c".into(), Then::Return)).await.unwrap();
                let journal = store.open().await;
                let words = start(journal).await;
                let both = vec!["a".to_owned(), "c".to_owned()];
                assert_eq!(words.send(Show).await.unwrap(), (both, 2));
            });
        }
    };
}

test!(an_index_with_a_durable_context, |journal| async move {
    Own::default().start_durable(&journal, "1").await.unwrap()
});

test!(an_index_of_a_wrapped_actor, |journal| async move {
    DurableActixActor::start(&journal, "1", |_| Wrapped::default()).await.unwrap()
});
