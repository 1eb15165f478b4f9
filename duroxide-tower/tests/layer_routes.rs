//! One layer around several services, and who gets what was accepted before a restart.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::convert::Infallible;
use std::sync::Arc;

use duroxide_tower::error::{Refusal, Route};
use duroxide_tower::{CallError, Durable, DurableLayer, EventJournal, MessageId};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use support::{Store, in_memory, soon};
use tokio::sync::{Semaphore, mpsc};
use tower::util::BoxCloneSyncService;
use tower::{Layer, ServiceExt, service_fn};

type Shop = BoxCloneSyncService<String, String, Infallible>;

/// A request is its own key.
fn layer(journal: &EventJournal) -> DurableLayer<String> {
    DurableLayer::new(journal, "orders", |key: &String| Some(MessageId::from_key(key)))
}

/// Says its own name with the request, once it is let through.
fn shop(name: &'static str, called: &mpsc::UnboundedSender<String>, gate: &Arc<Semaphore>) -> Shop {
    let (called, gate) = (called.clone(), gate.clone());
    BoxCloneSyncService::new(service_fn(move |key: String| {
        let (called, gate) = (called.clone(), gate.clone());
        async move {
            let done = format!("{name}: {key}");
            let _ = called.send(done.clone());
            gate.acquire().await.unwrap().forget();
            Ok(done)
        }
    }))
}

/// One that answers at once.
fn quick(name: &'static str) -> Shop {
    shop(name, &mpsc::unbounded_channel().0, &Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)))
}

fn send(
    service: &Durable<Shop, String>,
    key: &str,
) -> BoxFuture<'static, Result<String, CallError<duroxide_tower::error::InnerError>>> {
    let (service, key) = (service.clone(), key.to_owned());
    soon("a response", async move { service.oneshot(key).await }).boxed()
}

fn is_taken<T: std::fmt::Debug>(answer: &Result<T, CallError<duroxide_tower::error::InnerError>>) {
    let Err(CallError::NotAccepted { reason }) = answer else { panic!("{answer:?}") };
    let Refusal::RouteTaken { layer, route: Route::Unnamed } = reason else { panic!("{reason:?}") };
    assert_eq!(&**layer, "orders");
    assert!(reason.to_string().contains("DurableLayer::for_route"), "{reason}");
}

#[tokio::test]
async fn what_was_accepted_goes_to_its_own_service_in_whatever_order_they_are_made() {
    let store = Store::new();
    let (called, mut calls) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let names = ["place", "cancel", "", "a/lane-0-of-16", "place/lane-0-of-16"];
    {
        let journal = store.open().await;
        let durable = layer(&journal);
        for name in names {
            let service = durable.for_route(name).layer(shop(name, &called, &gate));
            // One key on all of them: each has its own.
            tokio::spawn(send(&service, "tea"));
        }
        let service = durable.layer(shop("unnamed", &called, &gate));
        tokio::spawn(send(&service, "tea"));
        for _ in 0..=names.len() {
            soon("a call", calls.recv()).await.unwrap();
        }
        // It is left as it is, and its successor fences it.
    }
    let journal = store.open().await;
    let durable = layer(&journal);
    let unnamed = durable.layer(shop("unnamed", &called, &gate));
    let services: Vec<_> = names
        .iter()
        .rev()
        .map(|name| (name, durable.for_route(name).layer(shop(name, &called, &gate))))
        .collect();
    // Nobody asks.
    let mut again = Vec::new();
    for _ in 0..=names.len() {
        again.push(soon("a call after the restart", calls.recv()).await.unwrap());
    }
    again.sort();
    let mut expected: Vec<_> = names.iter().map(|name| format!("{name}: tea")).collect();
    expected.push("unnamed: tea".to_owned());
    expected.sort();
    assert_eq!(again, expected);
    gate.add_permits(1000);
    for (name, service) in &services {
        assert_eq!(send(service, "tea").await.unwrap(), format!("{name}: tea"));
    }
    assert_eq!(send(&unnamed, "tea").await.unwrap(), "unnamed: tea");
    assert!(calls.try_recv().is_err(), "called twice");
}

#[tokio::test]
async fn two_services_without_names_are_refused_before_anything_is_given_to_one() {
    let store = Store::new();
    let (called, mut calls) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    {
        let journal = store.open().await;
        let service = layer(&journal).layer(shop("place", &called, &gate));
        tokio::spawn(send(&service, "tea"));
        soon("the call", calls.recv()).await.unwrap();
    }
    let journal = store.open().await;
    let durable = layer(&journal);
    let cancel = durable.layer(shop("cancel", &called, &gate));
    let place = durable.clone().layer(shop("place", &called, &gate));
    is_taken(&send(&place, "rum").await);
    is_taken(&send(&cancel, "rum").await);
    assert!(calls.try_recv().is_err(), "a request was given to a service by chance");
    // What was accepted waits for a program that says which service it is for.
    drop((place, cancel));
    let _place = durable.layer(shop("place", &called, &gate));
    assert_eq!(soon("the call", calls.recv()).await.unwrap(), "place: tea");
}

#[tokio::test]
async fn a_service_that_runs_is_not_disturbed_by_another() {
    let journal = in_memory().await;
    let durable = layer(&journal);
    let first = durable.start(quick("first")).await.unwrap();
    let error = durable.start(quick("second")).await.unwrap_err();
    assert!(matches!(error, Refusal::RouteTaken { .. }), "{error:?}");
    is_taken(&send(&durable.layer(quick("second")), "tea").await);
    assert_eq!(send(&first, "tea").await.unwrap(), "first: tea");
}

#[tokio::test]
async fn a_route_can_be_made_again_when_its_service_is_gone() {
    let journal = in_memory().await;
    let durable = layer(&journal);
    for n in 0..20 {
        // As a router without a state does: its layers are applied for each request.
        let service = durable.layer(quick("shop"));
        let answers = join_all((0..5).map(|key| send(&service, &format!("{n} {key}")))).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    }
}

#[tokio::test]
async fn a_layer_has_ended_when_everything_is_completed_though_nobody_waits() {
    let store = Store::new();
    let (called, mut calls) = mpsc::unbounded_channel();
    let gate = Arc::new(Semaphore::new(0));
    let journal = store.open().await;
    let durable = layer(&journal).lanes(3);
    let service = durable.layer(shop("shop", &called, &gate));
    let other = durable.for_route("other").layer(shop("other", &called, &gate));
    for n in 0..50 {
        let mut service = if n % 2 == 0 { service.clone() } else { other.clone() };
        service.ready().await.unwrap();
        drop(tower::Service::call(&mut service, n.to_string()));
    }
    drop((service, other));
    let mut ended = tokio_test::task::spawn(durable.ended());
    tokio_test::assert_pending!(ended.poll());
    soon("a call", calls.recv()).await.unwrap();
    tokio_test::assert_pending!(ended.poll());
    gate.add_permits(50);
    soon("the end", ended).await;
    journal.close().await.unwrap();
    for _ in 1..50 {
        calls.try_recv().unwrap();
    }
    assert!(calls.try_recv().is_err());
    assert!(store.open().await.pending().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_are_made_and_dropped_from_many_threads() {
    let journal = in_memory().await;
    let durable = layer(&journal).lanes(2);
    let tasks = (0..8).map(|thread| {
        let durable = durable.clone();
        tokio::spawn(async move {
            for n in 0..20 {
                let service = durable.layer(quick("shop"));
                let answer = send(&service, &format!("{thread} {n}")).await;
                if answer.is_err() {
                    is_taken(&answer);
                }
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    let service = durable.layer(quick("shop"));
    assert!(send(&service, "last").await.is_ok());
}
