//! An existing service behind the durable layer.

mod support;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use duroxide_tower::error::Refusal;
use duroxide_tower::{CallError, Durable, DurableLayer, EventJournal, JournalError, MessageId};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use support::{Store, in_memory, soon};
use tokio::sync::mpsc;
use tokio_test::{assert_pending, task};
use tower::{Layer, Service, ServiceExt};

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Order {
    key: Option<String>,
    item: String,
}

fn order(key: &str, item: &str) -> Order {
    Order { key: Some(key.to_owned()), item: item.to_owned() }
}

/// A shop that counts what leaves it. `stuck` never leaves, `bad` is an error, `bomb` panics.
#[derive(Clone)]
struct Shop {
    shipped: Arc<AtomicUsize>,
    called: mpsc::UnboundedSender<String>,
    stuck: bool,
    ready: bool,
}

impl Shop {
    fn new() -> (Self, mpsc::UnboundedReceiver<String>) {
        let (called, receiver) = mpsc::unbounded_channel();
        let shop = Self { shipped: Arc::default(), called, stuck: false, ready: true };
        (shop, receiver)
    }

    fn shipped(&self) -> usize {
        self.shipped.load(Ordering::SeqCst)
    }
}

impl Service<Order> for Shop {
    type Response = usize;
    type Error = String;
    type Future = BoxFuture<'static, Result<usize, String>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), String>> {
        Poll::Ready(if self.ready { Ok(()) } else { Err("shut".to_owned()) })
    }

    fn call(&mut self, order: Order) -> Self::Future {
        let shop = self.clone();
        Box::pin(async move {
            let _ = shop.called.send(order.item.clone());
            if shop.stuck {
                pending::<()>().await;
            }
            match order.item.as_str() {
                "bad" => Err("sold out".to_owned()),
                "bomb" => panic!("boom"),
                _ => Ok(shop.shipped.fetch_add(1, Ordering::SeqCst) + 1),
            }
        })
    }
}

fn layer(journal: &EventJournal) -> DurableLayer<Order> {
    DurableLayer::new(journal, "orders", |order: &Order| {
        order.key.as_deref().map(MessageId::from_key)
    })
    .backoff(Duration::ZERO, Duration::ZERO)
}

fn send(
    service: &Durable<Shop, Order>,
    order: Order,
) -> BoxFuture<'static, Result<usize, CallError<duroxide_tower::error::InnerError>>> {
    let service = service.clone();
    Box::pin(async move { soon("a response", service.oneshot(order)).await })
}

#[tokio::test]
async fn a_repeated_key_has_one_effect_and_one_response() {
    let store = Store::new();
    let (shop, _called) = Shop::new();
    for restart in 0..2 {
        let journal = store.open().await;
        let orders = layer(&journal).layer(shop.clone());
        assert_eq!(send(&orders, order("a", "tea")).await.unwrap(), 1);
        assert_eq!(send(&orders, order("a", "tea")).await.unwrap(), 1);
        let (x, y) =
            tokio::join!(send(&orders, order("b", "rum")), send(&orders, order("b", "rum")));
        assert_eq!((x.unwrap(), y.unwrap()), (2, 2));
        assert_eq!(shop.shipped(), 2, "restart {restart}");
    }
}

#[tokio::test]
async fn an_accepted_request_is_completed_after_a_restart() {
    for lanes_after in [16, 3, 40] {
        let store = Store::new();
        let (mut shop, mut called) = Shop::new();
        {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_all()
                .build()
                .unwrap();
            shop.stuck = true;
            let journal = runtime
                .spawn({
                    let (shop, open) = (shop.clone(), store.open().await);
                    async move {
                        let orders = layer(&open).start(shop).await.unwrap();
                        tokio::spawn(send(&orders, order("a", "tea")));
                        open
                    }
                })
                .await
                .unwrap();
            soon("the call", called.recv()).await;
            drop(journal);
            runtime.shutdown_background();
        }
        shop.stuck = false;
        let journal = store.open().await;
        // Nobody asks: it is completed all the same.
        let orders = layer(&journal).lanes(lanes_after).start(shop.clone()).await;
        let item = soon("the call after the restart", called.recv()).await;
        assert_eq!(item.unwrap(), "tea");
        if lanes_after == 16 {
            let again = send(&orders.unwrap(), order("a", "tea")).await;
            assert_eq!(again.unwrap(), 1);
            assert_eq!(shop.shipped(), 1);
        }
    }
}

#[tokio::test]
async fn the_inner_service_is_called_after_the_receipt_is_durable() {
    let store = Store::new();
    let (shop, mut called) = Shop::new();
    let older = store.open().await;
    let orders = layer(&older).start(shop.clone()).await.unwrap();
    let _newer = store.open().await;
    let error = send(&orders, order("a", "tea")).await.unwrap_err();
    assert!(matches!(error, CallError::OutcomeUnknown { .. }), "{error}");
    assert!(called.try_recv().is_err(), "called without a receipt");
    let error = soon("the end of the layer", async {
        loop {
            if let Err(error) = orders.clone().ready_oneshot().await {
                break error;
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(matches!(
        error,
        CallError::NotAccepted { reason: Refusal::Failed(cause) } if cause.is_fenced()
    ));
}

#[tokio::test]
async fn final_errors_are_recorded_and_panics_are_dead_letters() {
    let journal = in_memory().await;
    let (shop, mut called) = Shop::new();
    let all = layer(&journal).final_when(|_: Result<&usize, &String>| true);
    let orders = all.layer(shop.clone());
    for _ in 0..2 {
        let Err(CallError::Domain(error)) = send(&orders, order("a", "bad")).await else {
            panic!("no error of the service");
        };
        assert_eq!(error.message, "sold out");
    }
    assert_eq!(called.recv().await.unwrap(), "bad");
    assert!(called.try_recv().is_err(), "an error that was final was tried again");
    for _ in 0..2 {
        let Err(CallError::DeadLetter { error, .. }) = send(&orders, order("b", "bomb")).await
        else {
            panic!("no dead letter");
        };
        assert_eq!(&*error, "boom");
    }
    let mut letters = 0;
    for lane in layer(&journal).actors() {
        letters += journal.dead_letters(&lane).await.unwrap().len();
    }
    assert_eq!(letters, 1);
}

#[tokio::test]
async fn a_service_that_is_not_ready_answers_nothing() {
    let journal = in_memory().await;
    let (mut shop, mut called) = Shop::new();
    shop.ready = false;
    let orders = layer(&journal).layer(shop);
    let error = send(&orders, order("a", "tea")).await.unwrap_err();
    assert!(matches!(error, CallError::NoFinalOutcome { attempts: 3, .. }), "{error}");
    assert!(error.to_string().contains("not ready: shut"), "{error}");
    assert!(called.try_recv().is_err());
}

#[tokio::test]
async fn a_layer_that_cannot_start_says_why() {
    let journal = in_memory().await;
    let (shop, _called) = Shop::new();
    let first = layer(&journal).start(shop.clone()).await.unwrap();
    let error = layer(&journal).start(shop.clone()).await.unwrap_err();
    let is_active = |refusal: &Refusal| matches!(refusal, Refusal::Failed(cause) if matches!(**cause, JournalError::AlreadyActive { .. }));
    assert!(is_active(&error), "{error:?}");

    let second = layer(&journal).layer(shop.clone());
    let error = send(&second, order("a", "tea")).await.unwrap_err();
    assert!(matches!(&error, CallError::NotAccepted { reason } if is_active(reason)), "{error:?}");
    assert_eq!(send(&first, order("a", "tea")).await.unwrap(), 1);

    let names = ["", "actors:x", "a\0b", &"x".repeat(256)];
    for name in names {
        let layer = DurableLayer::new(&journal, name, |_: &Order| None);
        let error = layer.start(shop.clone()).await.unwrap_err();
        let Refusal::Failed(cause) = &error else { panic!("{error:?}") };
        assert!(matches!(**cause, JournalError::InvalidActorId { .. }), "{cause}");
    }
}

#[tokio::test]
async fn places_are_bounded_and_given_back() {
    let journal = in_memory().await;
    let (mut shop, mut called) = Shop::new();
    shop.stuck = true;
    let orders = layer(&journal).lanes(2).capacity(2).layer(shop);
    let mut first = orders.clone();
    first.ready().await.unwrap();
    let kept = first.call(order("a", "tea"));
    soon("the call", called.recv()).await;
    drop(kept);
    let mut second = orders.clone();
    second.ready().await.unwrap();
    let mut third = second.clone();
    let mut ready = task::spawn(async { third.ready().await.map(drop) });
    assert_pending!(ready.poll());
    drop(second);
    soon("readiness", ready).await.unwrap();
}

#[tokio::test]
async fn numbers_out_of_range_are_taken_for_the_nearest() {
    let journal = in_memory().await;
    let (shop, _called) = Shop::new();
    let most = layer(&journal).lanes(usize::MAX).capacity(usize::MAX);
    assert_eq!(most.actors().count(), duroxide_tower::MAX_LANES);
    let least = layer(&journal).lanes(0).capacity(0);
    assert_eq!(least.actors().count(), 1);
    let orders = [most.for_route("most").layer(shop.clone()), least.layer(shop)];
    for (n, orders) in orders.iter().enumerate() {
        assert_eq!(send(orders, order("a", "tea")).await.unwrap(), n + 1);
    }
}
