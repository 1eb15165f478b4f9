//! Which outcomes of a service are answers, and what becomes of a request without one.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use duroxide_tower::test_util::{Fault, FaultyActorProvider, MemoryActorProvider};
use duroxide_tower::{CallError, DurableLayer, EventJournal, MessageId};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use support::{Store, in_memory, soon};
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt, service_fn};

/// A request is its own key.
fn layer(journal: &EventJournal) -> DurableLayer<String> {
    DurableLayer::new(journal, "orders", |key: &String| Some(MessageId::from_key(key)))
        .backoff(Duration::ZERO, Duration::ZERO)
}

/// A remote service: refuses connections while `down`, and counts them.
#[derive(Clone, Default)]
struct Remote {
    down: Arc<AtomicUsize>,
    calls: Arc<AtomicUsize>,
}

type Shop<E> = BoxCloneSyncService<String, usize, E>;

impl Remote {
    fn down(calls: usize) -> Self {
        let remote = Self::default();
        remote.down.store(calls, Ordering::SeqCst);
        remote
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    /// Answers with the number of the call, or says that the connection was refused.
    fn shop(&self) -> Shop<std::io::Error> {
        let remote = self.clone();
        BoxCloneSyncService::new(service_fn(move |_: String| {
            let call = remote.calls.fetch_add(1, Ordering::SeqCst) + 1;
            let up = remote.down.load(Ordering::SeqCst) < call;
            async move {
                // Not at once, as nothing is over a network.
                tokio::task::yield_now().await;
                up.then_some(call).ok_or_else(|| std::io::ErrorKind::ConnectionRefused.into())
            }
        }))
    }
}

fn send<T>(service: &T, key: &str) -> BoxFuture<'static, Result<T::Response, T::Error>>
where
    T: Service<String, Future: Send> + Clone + Send + 'static,
    T::Response: Send,
    T::Error: Send,
{
    let (service, key) = (service.clone(), key.to_owned());
    soon("a response", async move { service.oneshot(key).await }).boxed()
}

async fn letters(journal: &EventJournal) -> usize {
    let mut letters = 0;
    for lane in layer(journal).actors() {
        letters += journal.dead_letters(&lane).await.unwrap().len();
    }
    letters
}

#[tokio::test]
async fn a_refused_connection_is_no_answer_and_its_key_tries_again_later() {
    let store = Store::new();
    let remote = Remote::down(6);
    for round in 1..=2 {
        // In a process of its own: what is recorded is enough.
        let journal = store.open().await;
        let orders = layer(&journal).start(remote.shop()).await.unwrap();
        let error = send(&orders, "tea").await.unwrap_err();
        assert!(error.is_retryable());
        assert_eq!(error.message_id(), Some(MessageId::from_key("tea")));
        let CallError::NoFinalOutcome { attempts: 3, error, .. } = error else {
            panic!("{error:?}")
        };
        assert_eq!(&*error, "connection refused");
        assert_eq!(remote.calls(), 3 * round);
        assert_eq!(letters(&journal).await, 1, "round {round}");
    }
    for _ in 0..2 {
        let journal = store.open().await;
        let orders = layer(&journal).start(remote.shop()).await.unwrap();
        assert_eq!(send(&orders, "tea").await.unwrap(), 7);
        assert_eq!(send(&orders, "tea").await.unwrap(), 7);
        assert_eq!(letters(&journal).await, 0);
    }
    assert_eq!(remote.calls(), 7);
}

#[tokio::test]
async fn a_dead_letter_is_tried_again_once_whenever_the_journal_stops() {
    let mut stopped = 0;
    for writes in 0..5 {
        let store = FaultyActorProvider::new(MemoryActorProvider::new());
        let remote = Remote::down(3);
        let journal = EventJournal::builder().open_on(store.clone()).await.unwrap();
        let orders = layer(&journal).start(remote.shop()).await.unwrap();
        send(&orders, "tea").await.unwrap_err();
        // So many writes are well: the receipt, the end of the letter, the answer.
        store.inject(vec![Fault::Delayed(Duration::ZERO); writes]);
        store.inject([Fault::Failed]);
        let answer = send(&orders, "tea").await;
        stopped += usize::from(answer.is_err());

        let journal = EventJournal::builder().open_on(store.clone()).await.unwrap();
        let orders = layer(&journal).start(remote.shop()).await.unwrap();
        let again = send(&orders, "tea").await.unwrap();
        assert_eq!(answer.unwrap_or(again), again, "after {writes} writes");
        assert_eq!(again, remote.calls(), "after {writes} writes");
        assert!(again <= 5, "tried more than once in a life");
        assert_eq!(letters(&journal).await, 0, "after {writes} writes");
    }
    assert!(stopped >= 3);
}

#[tokio::test]
async fn requests_with_one_key_at_once_are_one_try() {
    let journal = in_memory().await;
    let remote = Remote::down(usize::MAX);
    let orders = layer(&journal).start(remote.shop()).await.unwrap();
    for round in 1..=3 {
        let answers = join_all((0..50).map(|_| send(&orders, "tea"))).await;
        for answer in answers {
            assert!(matches!(answer, Err(CallError::NoFinalOutcome { .. })), "{answer:?}");
        }
        assert_eq!(remote.calls(), 3 * round);
        assert_eq!(letters(&journal).await, 1);
    }
    remote.down.store(0, Ordering::SeqCst);
    let answers = join_all((0..50).map(|_| send(&orders, "tea"))).await;
    // Those that came before the one that tries again knew of the dead letter only.
    let done: HashSet<_> = answers.iter().flatten().collect();
    assert_eq!(done, HashSet::from([&10]));
    assert_eq!(send(&orders, "tea").await.unwrap(), 10);
    assert_eq!(remote.calls(), 10);
}

#[tokio::test]
async fn a_dead_letter_that_somebody_took_is_not_tried_again() {
    let store = Store::new();
    for resend in [false, true] {
        let key = format!("tea {resend}");
        let remote = Remote::down(3);
        let journal = store.open().await;
        let durable = layer(&journal);
        let orders = durable.start(remote.shop()).await.unwrap();
        send(&orders, &key).await.unwrap_err();
        drop(orders);
        soon("the end of the lanes", durable.ended()).await;
        for lane in durable.actors() {
            for letter in journal.dead_letters(&lane).await.unwrap() {
                match resend {
                    true => journal.resend_dead_letter(&lane, letter.sequence).await.unwrap(),
                    false => journal.discard_dead_letter(&lane, letter.sequence).await.unwrap(),
                }
            }
        }
        let orders = durable.start(remote.shop()).await.unwrap();
        for _ in 0..2 {
            let error = send(&orders, &key).await.unwrap_err();
            let CallError::DeadLetter { id, error, .. } = error else { panic!("{error:?}") };
            assert_eq!((id, &*error), (MessageId::from_key(&key), "connection refused"));
        }
        drop(orders);
        soon("the end of the lanes", durable.ended()).await;
        assert_eq!(remote.calls(), 3 + usize::from(resend), "resend: {resend}");
    }
}

#[tokio::test]
async fn a_response_can_be_declared_not_to_be_an_answer() {
    let journal = in_memory().await;
    let statuses = Arc::new(std::sync::Mutex::new(vec![200_u16, 503, 503]));
    let shop = service_fn(move |_: String| {
        let status = statuses.lock().unwrap().pop();
        async move { Ok::<_, Infallible>(status.unwrap()) }
    });
    let orders = layer(&journal)
        .final_when(|outcome: Result<&u16, &Infallible>| outcome.is_ok_and(|status| *status < 500))
        .start(shop)
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(send(&orders, "tea").await.unwrap(), 200);
    }
}

#[tokio::test]
async fn a_predicate_that_panics_is_a_panic_of_the_service() {
    let journal = in_memory().await;
    let remote = Remote::default();
    let orders = layer(&journal)
        .final_when(|_: Result<&usize, &std::io::Error>| panic!("undecided"))
        .start(remote.shop())
        .await
        .unwrap();
    for _ in 0..2 {
        let error = send(&orders, "tea").await.unwrap_err();
        assert!(
            matches!(&error, CallError::DeadLetter { error, .. } if &**error == "undecided"),
            "{error:?}"
        );
    }
    // A panic may have ended processes, so only an operator has it tried again.
    assert_eq!(remote.calls(), 3);
}

#[tokio::test]
async fn a_pause_holds_up_its_own_lane_only_and_loses_nothing() {
    let store = Store::new();
    let remote = Remote::down(1);
    let journal = store.open().await;
    // A pause that never ends.
    let orders = layer(&journal).backoff(Duration::MAX, Duration::MAX);
    let orders = orders.lanes(2).start(remote.shop()).await.unwrap();
    let lane = |key: &str| MessageId::from_key(key).as_u128() % 2;
    let keys: Vec<_> = (0..20).map(|n| format!("key {n}")).collect();
    let (same, other): (Vec<_>, Vec<_>) = keys.iter().partition(|key| lane(key) == lane("tea"));
    let first = tokio::spawn(send(&orders, "tea"));
    soon("the first call", async {
        while remote.calls() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let behind: Vec<_> = same.iter().map(|key| tokio::spawn(send(&orders, key))).collect();
    for key in &other {
        send(&orders, key).await.unwrap();
    }
    assert_eq!(remote.calls(), 1 + other.len());
    assert!(!first.is_finished() && behind.iter().all(|task| !task.is_finished()));

    // What waits in the lane was received. It is completed in the next life, without the pause.
    let journal = store.open().await;
    let orders = layer(&journal).lanes(2).start(remote.shop()).await.unwrap();
    for key in same.iter().map(|key| key.as_str()).chain(["tea"]) {
        send(&orders, key).await.unwrap();
    }
    assert_eq!(remote.calls(), 1 + keys.len() + 1);
}
