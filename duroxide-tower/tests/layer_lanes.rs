//! Lanes that fail, and the others.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use duroxide_tower::error::Refusal;
use duroxide_tower::journal::{ActorEvent, Limits};
use duroxide_tower::{CallError, Durable, DurableLayer, EventJournal, MessageId};
use futures::future::{BoxFuture, join_all};
use futures::{FutureExt, StreamExt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use support::{Store, in_memory, in_memory_with, soon};
use tokio::sync::mpsc;
use tower::{Layer, Service, ServiceExt, service_fn};

fn key(order: &str) -> MessageId {
    MessageId::from_key(order)
}

fn layer(journal: &EventJournal) -> DurableLayer<String> {
    DurableLayer::new(journal, "orders", |order: &String| Some(key(order)))
}

/// Two requests for different ones of two lanes.
fn two_lanes() -> [String; 2] {
    [0, 1].map(|lane| {
        let mut orders = (0..).map(|n: u32| n.to_string());
        orders.find(|order| key(order).as_u128() % 2 == lane).unwrap()
    })
}

fn send<S, Req>(
    service: &Durable<S, Req>,
    request: Req,
) -> BoxFuture<'static, Result<S::Response, CallError<duroxide_tower::error::InnerError>>>
where
    S: Service<Req> + Clone + Send + 'static,
    S::Response: Serialize + DeserializeOwned + Send + 'static,
    S::Error: std::fmt::Display + 'static,
    S::Future: Send,
    Req: Serialize + DeserializeOwned + Send + 'static,
{
    let service = service.clone();
    soon("a response", async move { service.oneshot(request).await }).boxed()
}

/// Panics in the nth of its clones.
struct Fragile {
    clones: Arc<AtomicUsize>,
    breaks: usize,
}

impl Clone for Fragile {
    fn clone(&self) -> Self {
        let clone = self.clones.fetch_add(1, Ordering::SeqCst) + 1;
        assert_ne!(clone, self.breaks, "clone {clone} broke");
        Self { clones: self.clones.clone(), breaks: self.breaks }
    }
}

impl Service<String> for Fragile {
    type Response = String;
    type Error = Infallible;
    type Future = std::future::Ready<Result<String, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, order: String) -> Self::Future {
        std::future::ready(Ok(order))
    }
}

#[tokio::test]
async fn a_lane_that_cannot_start_is_named_and_started_again_and_the_other_works() {
    for breaks in 1..=4 {
        let journal = in_memory().await;
        let service = Fragile { clones: Arc::default(), breaks };
        let clones = service.clones.clone();
        let orders = layer(&journal).lanes(2).layer(service);
        let mut refusals = Vec::new();
        // Those of a lane that fails are told at once, and not for ever.
        for order in two_lanes() {
            soon("the lane", async {
                loop {
                    match send(&orders, order.clone()).await {
                        Ok(answer) => break assert_eq!(answer, order),
                        Err(CallError::NotAccepted { reason }) => refusals.push(reason),
                        Err(error) => panic!("{error:?}"),
                    }
                    tokio::task::yield_now().await;
                }
            })
            .await;
        }
        for refusal in &refusals {
            let Refusal::Panicked { actor, panic } = refusal else { panic!("{refusal:?}") };
            assert!(actor.id().ends_with("-of-2"), "{actor}");
            assert!(panic.contains(&format!("clone {breaks} broke")), "{panic}");
        }
        assert!(!refusals.is_empty(), "clone {breaks}");
        // Two for each life of a lane.
        assert!(clones.load(Ordering::SeqCst) > 4);
    }
}

#[tokio::test]
async fn a_request_that_does_not_decode_any_more_does_not_hold_up_the_other_lane() {
    let store = Store::new();
    let orders = two_lanes();
    {
        let (called, mut calls) = mpsc::unbounded_channel();
        let journal = store.open().await;
        let stuck = service_fn(move |_: String| {
            let _ = called.send(());
            std::future::pending::<Result<String, Infallible>>()
        });
        let service = layer(&journal).lanes(2).start(stuck).await.unwrap();
        tokio::spawn(send(&service, orders[0].clone()));
        soon("the call", calls.recv()).await.unwrap();
    }
    // The next version of the program has changed the type of its requests.
    #[derive(Serialize, Deserialize)]
    struct Order(String, u64);
    let journal = store.open().await;
    let layer = DurableLayer::new(&journal, "orders", |order: &Order| Some(key(&order.0)));
    let service = layer
        .lanes(2)
        .layer(service_fn(|order: Order| async move { Ok::<_, Infallible>(order.1) }));
    assert_eq!(send(&service, Order(orders[1].clone(), 7)).await.unwrap(), 7);
    let error = send(&service, Order(orders[0].clone(), 7)).await.unwrap_err();
    let CallError::NotAccepted { reason } = &error else { panic!("{error:?}") };
    let cause = std::error::Error::source(reason).unwrap().to_string();
    assert!(cause.contains("orders/lane-0-of-2"), "{cause}");
    assert_eq!(send(&service, Order(orders[1].clone(), 7)).await.unwrap(), 7);
}

#[tokio::test]
async fn a_key_that_panics_gives_its_place_back() {
    let journal = in_memory().await;
    let layer = DurableLayer::new(&journal, "orders", |order: &String| {
        assert_ne!(order, "bomb");
        None
    });
    let mut service = layer
        .capacity(1)
        .layer(service_fn(|order: String| async move { Ok::<_, Infallible>(order) }));
    for _ in 0..3 {
        service.ready().await.unwrap();
        let calling = std::panic::AssertUnwindSafe(|| drop(service.call("bomb".to_owned())));
        std::panic::catch_unwind(calling).unwrap_err();
    }
    assert_eq!(send(&service, "tea".to_owned()).await.unwrap(), "tea");
}

#[tokio::test]
async fn a_failed_readiness_is_not_asked_again() {
    /// Ready after it was cloned twice more; a failed one stays failed, as tower allows.
    struct Flaky(Arc<AtomicUsize>, usize);

    impl Clone for Flaky {
        fn clone(&self) -> Self {
            Self(self.0.clone(), self.0.fetch_add(1, Ordering::SeqCst) + 1)
        }
    }

    impl Service<String> for Flaky {
        type Response = usize;
        type Error = &'static str;
        type Future = std::future::Ready<Result<usize, &'static str>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'static str>> {
            Poll::Ready((self.1 > 5).then_some(()).ok_or("closed"))
        }

        fn call(&mut self, _: String) -> Self::Future {
            std::future::ready(Ok(self.1))
        }
    }

    let journal = in_memory_with(Limits { attempts: 10, ..Limits::default() }).await;
    let layer = layer(&journal).lanes(1).backoff(Duration::ZERO, Duration::ZERO);
    let service = layer.layer(Flaky(Arc::default(), 0));
    assert_eq!(send(&service, "tea".to_owned()).await.unwrap(), 6);
}

#[tokio::test]
async fn ten_thousand_requests_at_once_are_done_once_each() {
    let journal = in_memory().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let shop = service_fn(move |order: String| {
        counted.fetch_add(1, Ordering::SeqCst);
        async move { Ok::<_, Infallible>(order) }
    });
    let service = layer(&journal).capacity(64).lanes(4).layer(shop);
    // Each order twice.
    let answers = (0..10_000).map(|n| send(&service, (n / 2).to_string()));
    for (n, answer) in join_all(answers).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap(), (n / 2).to_string());
    }
    assert_eq!(calls.load(Ordering::SeqCst), 5_000);
}

/// The commits with receipts, and those with outcomes, of all lanes.
async fn commits(journal: &EventJournal, layer: &DurableLayer<String>) -> (usize, usize) {
    let (mut receipts, mut outcomes) = (Vec::new(), Vec::new());
    for lane in layer.actors() {
        let mut history = journal.history(&lane);
        while let Some(entry) = history.next().await {
            let entry = entry.unwrap();
            match entry.event {
                ActorEvent::MessageReceived { .. } => receipts.push(entry.position),
                ActorEvent::MessageProcessed { .. } => outcomes.push(entry.position),
                _ => {}
            }
        }
    }
    for positions in [&mut receipts, &mut outcomes] {
        positions.sort_unstable();
        positions.dedup();
    }
    assert!(receipts.iter().all(|position| !outcomes.contains(position)));
    (receipts.len(), outcomes.len())
}

#[tokio::test]
async fn a_lone_request_takes_two_commits_and_requests_that_come_together_share_one() {
    let journal = in_memory().await;
    let layer = layer(&journal).lanes(1);
    let shop = service_fn(|order: String| async move {
        tokio::task::yield_now().await;
        Ok::<_, Infallible>(order)
    });
    let service = layer.start(shop).await.unwrap();
    for n in 1..=3 {
        send(&service, n.to_string()).await.unwrap();
        assert_eq!(commits(&journal, &layer).await, (n, n));
    }
    let answers = (100..200).map(|n| send(&service, n.to_string()));
    assert!(join_all(answers).await.iter().all(Result::is_ok));
    let (receipts, outcomes) = commits(&journal, &layer).await;
    assert_eq!(receipts, 4);
    assert!(outcomes <= 103, "{outcomes}");
}
