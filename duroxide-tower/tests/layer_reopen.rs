//! The lanes of a layer start again when their journal was opened again.

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use duroxide_tower::journal::Limits;
use duroxide_tower::test_util::{FaultyActorProvider, MemoryActorProvider};
use duroxide_tower::{DurableLayer, EventJournal, MessageId};
use support::soon;
use tower::{ServiceExt, service_fn};

#[tokio::test]
async fn requests_go_on_through_the_same_service_and_happen_once() {
    let store = FaultyActorProvider::new(MemoryActorProvider::new());
    let limits = Limits { commit_retry: Duration::ZERO, ..Limits::default() };
    let journal = EventJournal::builder().limits(limits).open_on(store.clone()).await.unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let shop = service_fn({
        let calls = calls.clone();
        move |_: String| {
            let call = calls.fetch_add(1, Ordering::SeqCst) + 1;
            async move { Ok::<_, Infallible>(call) }
        }
    });
    let layer =
        DurableLayer::new(&journal, "orders", |key: &String| Some(MessageId::from_key(key)));
    let orders = layer.start(shop).await.unwrap();
    let send = |key: &str| soon("a response", orders.clone().oneshot(key.to_owned()));
    assert_eq!(send("tea").await.unwrap(), 1);
    store.cut_off();
    let error = send("milk").await.unwrap_err();
    assert!(error.is_retryable(), "{error:?}");
    store.heal();
    // Each lane comes back by itself, and refuses until then.
    let again = async |key: &str| {
        loop {
            match send(key).await {
                Ok(call) => break call,
                Err(error) => assert!(error.is_retryable(), "{error:?}"),
            }
            tokio::task::yield_now().await;
        }
    };
    let milk = soon("an answer", again("milk")).await;
    assert_eq!(milk, 2, "its receipt was not durable before");
    assert_eq!(soon("an answer", again("tea")).await, 1);
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert_eq!(journal.stats().reopenings, 1);
}
