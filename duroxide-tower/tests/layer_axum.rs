//! The layer in axum: around a router, on some of its routes, and where it cannot be.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use duroxide_tower::{DurableLayer, EventJournal, MessageId};
use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use support::{Store, soon};
use tokio::sync::{Semaphore, mpsc};
use tower::{Layer, Service, ServiceExt};

const LIMIT: usize = 1 << 20;

/// A request as it is stored.
#[derive(Serialize, Deserialize)]
struct Stored {
    method: String,
    uri: String,
    key: Option<String>,
    body: Vec<u8>,
}

/// A response as it is recorded.
#[derive(Serialize, Deserialize)]
struct Recorded {
    status: u16,
    body: Vec<u8>,
}

/// Makes a layer for stored requests one for HTTP.
#[derive(Clone)]
struct Http(DurableLayer<Stored>);

impl Http {
    fn new(journal: &EventJournal) -> Self {
        Self(DurableLayer::new(journal, "http", |request: &Stored| {
            // Around a whole router the route belongs to the key.
            let key = request.key.as_deref()?;
            Some(MessageId::from_key(&format!("{} {} {key}", request.method, request.uri)))
        }))
    }

    fn for_route(&self, name: &str) -> Self {
        Self(self.0.for_route(name))
    }
}

impl<S> Layer<S> for Http
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Service = Outside<<DurableLayer<Stored> as Layer<Inside<S>>>::Service>;

    fn layer(&self, service: S) -> Self::Service {
        Outside(self.0.layer(Inside(service)))
    }
}

/// Around the layer: from HTTP to what is stored.
#[derive(Clone)]
struct Outside<D>(D);

impl<D> Service<Request> for Outside<D>
where
    D: Service<Stored, Response = Recorded> + Clone + Send + 'static,
    D::Error: std::error::Error,
    D::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let durable = self.0.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let key = parts.headers.get("Idempotency-Key");
            let stored = Stored {
                method: parts.method.to_string(),
                uri: parts.uri.to_string(),
                key: key.map(|key| key.to_str().unwrap().to_owned()),
                body: to_bytes(body, LIMIT).await.unwrap().into(),
            };
            Ok(match durable.oneshot(stored).await {
                Ok(recorded) => {
                    (StatusCode::from_u16(recorded.status).unwrap(), recorded.body).into_response()
                }
                Err(error) => {
                    let cause = std::error::Error::source(&error)
                        .map_or_else(String::new, ToString::to_string);
                    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}: {cause}")).into_response()
                }
            })
        })
    }
}

/// Inside of the layer: back to HTTP.
#[derive(Clone)]
struct Inside<S>(S);

impl<S> Service<Stored> for Inside<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Recorded;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Recorded, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, stored: Stored) -> Self::Future {
        let request = Request::builder().method(&*stored.method).uri(stored.uri);
        let response = self.0.call(request.body(Body::from(stored.body)).unwrap());
        Box::pin(async move {
            let response = response.await?;
            let status = response.status().as_u16();
            let body = to_bytes(response.into_body(), LIMIT).await.unwrap().into();
            Ok(Recorded { status, body })
        })
    }
}

/// What the handlers of a program are given, and when they may answer.
#[derive(Clone)]
struct Desk {
    called: mpsc::UnboundedSender<String>,
    gate: Arc<Semaphore>,
}

impl Desk {
    async fn work(self, handler: &str, body: String) -> String {
        let done = format!("{handler}: {body}");
        let _ = self.called.send(done.clone());
        self.gate.acquire().await.unwrap().forget();
        done
    }
}

/// Two routes, behind one layer each way.
fn around(http: &Http, desk: Desk) -> Router {
    let router = routes(desk, |route, _| route);
    Router::new().fallback_service(http.layer(router))
}

fn on_each(http: &Http, desk: Desk) -> Router {
    routes(desk, |route, name| route.route_layer(http.for_route(name))).with_state(())
}

fn routes(
    desk: Desk,
    layered: impl Fn(axum::routing::MethodRouter, &str) -> axum::routing::MethodRouter,
) -> Router {
    let refunds = desk.clone();
    let orders = post(move |body: String| desk.work("order", body));
    let refunds = post(move |body: String| refunds.work("refund", body));
    Router::new()
        .route("/orders", layered(orders, "orders"))
        .route("/refunds", layered(refunds, "refunds"))
}

async fn ask(app: Router, uri: &str) -> (StatusCode, String) {
    let request = Request::post(uri).header("Idempotency-Key", "1").body(Body::from("tea"));
    let response = soon("a response", app.oneshot(request.unwrap())).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), LIMIT).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

/// Of two routes with a request in each, killed: both are completed by their own handlers.
async fn is_completed(make: fn(&Http, Desk) -> Router) {
    let uris = ["/orders", "/refunds"];
    let store = Store::new();
    let (called, mut calls) = mpsc::unbounded_channel();
    let desk = Desk { called, gate: Arc::new(Semaphore::new(0)) };
    let mut app = Router::new();
    for life in 0..3 {
        // Each fences the one before, which is left as it is.
        let journal = store.open().await;
        app = make(&Http::new(&journal), desk.clone());
        // Asked in the first life only.
        if life == 0 {
            for uri in uris {
                tokio::spawn(ask(app.clone(), uri));
            }
        }
        let mut given = Vec::new();
        for _ in uris {
            given.push(soon("a call", calls.recv()).await.unwrap());
        }
        given.sort();
        assert_eq!(given, ["order: tea", "refund: tea"]);
    }
    desk.gate.add_permits(1000);
    let mut answers = Vec::new();
    for uri in uris {
        answers.push(ask(app.clone(), uri).await);
    }
    answers.sort();
    let ok = |text: &str| (StatusCode::OK, text.to_owned());
    assert_eq!(answers, [ok("order: tea"), ok("refund: tea")]);
    assert!(calls.try_recv().is_err(), "called twice");
}

#[tokio::test]
async fn a_whole_router_finds_the_way_of_what_is_recovered() {
    is_completed(around).await;
}

#[tokio::test]
async fn routes_with_names_get_what_they_accepted() {
    is_completed(on_each).await;
}

#[tokio::test]
async fn a_router_that_applies_a_layer_to_each_route_is_told_what_to_do() {
    let store = Store::new();
    let journal = store.open().await;
    let (called, mut calls) = mpsc::unbounded_channel();
    let desk = Desk { called, gate: Arc::new(Semaphore::new(1)) };
    let http = Http::new(&journal);
    let routes = routes(desk.clone(), |route, _| route);
    for app in [routes.clone().layer(http.clone()), routes.route_layer(http.clone())] {
        let app = app.with_state(());
        for uri in ["/orders", "/refunds"] {
            let (status, body) = ask(app.clone(), uri).await;
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            assert!(body.contains("DurableLayer::for_route"), "{body}");
        }
    }
    assert!(calls.try_recv().is_err());
    let app = around(&http, desk);
    assert_eq!(ask(app.clone(), "/orders").await, (StatusCode::OK, "order: tea".to_owned()));
}
