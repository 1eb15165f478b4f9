//! tower's own middleware around a handle.

mod support;

use std::future::{Ready, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use duroxide_tower::error::InnerError;
use duroxide_tower::{CallError, DurableLayer, Keyed, MessageId};
use support::{Gate, Op, Refused, Running, in_memory, soon};
use tower::retry::Policy;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn};

/// Tries again what may be tried again; the id in the request makes that safe.
#[derive(Clone)]
struct Again(usize);

impl Policy<Keyed<Op>, Vec<i64>, BoxError> for Again {
    type Future = Ready<()>;

    fn retry(
        &mut self,
        _: &mut Keyed<Op>,
        result: &mut Result<Vec<i64>, BoxError>,
    ) -> Option<Ready<()>> {
        let error = result.as_ref().err()?;
        let retryable = match error.downcast_ref::<CallError<Refused>>() {
            Some(error) => error.is_retryable(),
            None => error.is::<tower::timeout::error::Elapsed>(),
        };
        self.0 = self.0.checked_sub(1)?;
        retryable.then(|| ready(()))
    }

    fn clone_request(&mut self, request: &Keyed<Op>) -> Option<Keyed<Op>> {
        Some(request.clone())
    }
}

#[tokio::test]
async fn a_stack_of_towers_middleware_works() {
    let running = Running::start(&in_memory().await, Gate::open()).await;
    let stack = ServiceBuilder::new()
        .load_shed()
        .concurrency_limit(8)
        .buffer::<Keyed<Op>>(8)
        .retry(Again(2))
        .timeout(Duration::from_secs(20))
        .service(running.ledger.clone());
    let entries = stack.clone().oneshot(Keyed::new(1, Op::Add(1))).await;
    assert_eq!(entries.unwrap(), [1]);
    let entries = stack.clone().oneshot(Keyed::new(1, Op::Add(1))).await;
    assert_eq!(entries.unwrap(), [1]);
    let error = stack.oneshot(Op::Refuse(2).into()).await.unwrap_err();
    // `Buffer` gives the error of a response as it is.
    let error = error.downcast_ref::<CallError<Refused>>().unwrap();
    assert!(matches!(error, CallError::Domain(Refused(2))));
    assert_eq!(error.to_string(), "2 is refused");
}

#[tokio::test]
async fn a_retry_after_a_timeout_gets_the_outcome_of_the_first_attempt() {
    let (gate, mut entered) = Gate::new();
    let running = Running::start(&in_memory().await, gate.clone()).await;
    let stack = ServiceBuilder::new()
        .retry(Again(100))
        .timeout(Duration::from_secs(1))
        .service(running.ledger.clone());
    tokio::time::pause();
    let asking = tokio::spawn(stack.oneshot(Keyed::new(1, Op::Slow(1))));
    entered.recv().await.unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    tokio::time::resume();
    gate.open.add_permits(1);
    assert_eq!(asking.await.unwrap().unwrap(), [1]);
    assert_eq!(running.ledger.ask(Op::Get).await.unwrap(), [1]);
}

#[tokio::test]
async fn handles_and_futures_go_where_they_are_needed() {
    fn anywhere<T: Send + Sync + 'static>(_: &T) {}
    let running = Running::start(&in_memory().await, Gate::open()).await;
    anywhere(&running.ledger);
    let answer = running.ledger.try_ask(Op::Add(1)).unwrap();
    anywhere(&answer);
    assert_eq!(soon("a reply", answer).await.unwrap(), [1]);
}

/// Asks again with the same request, which has its key in it.
#[derive(Clone)]
struct WithItsKey;

type Answered = Result<usize, CallError<InnerError>>;

impl Policy<String, usize, CallError<InnerError>> for WithItsKey {
    type Future = Ready<()>;

    fn retry(&mut self, _: &mut String, result: &mut Answered) -> Option<Ready<()>> {
        result.as_ref().is_err_and(CallError::is_retryable).then(|| ready(()))
    }

    fn clone_request(&mut self, request: &String) -> Option<String> {
        Some(request.clone())
    }
}

#[tokio::test]
async fn a_retry_around_the_layer_goes_on_where_its_attempts_ended() {
    let journal = in_memory().await;
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let stack = ServiceBuilder::new()
        .retry(WithItsKey)
        .layer(
            DurableLayer::new(&journal, "orders", |key: &String| Some(MessageId::from_key(key)))
                .backoff(Duration::ZERO, Duration::ZERO),
        )
        .concurrency_limit(2)
        .service(service_fn(move |_: String| {
            let call = counted.fetch_add(1, Ordering::SeqCst) + 1;
            ready((call >= 8).then_some(call).ok_or("connection refused"))
        }));
    // Three attempts for each of the first two requests, and two for the third.
    assert_eq!(soon("a reply", stack.oneshot("tea".to_owned())).await.unwrap(), 8);
    assert_eq!(calls.load(Ordering::SeqCst), 8);
    for lane in DurableLayer::new(&journal, "orders", |_: &String| None).actors() {
        assert!(journal.dead_letters(&lane).await.unwrap().is_empty());
    }
}
