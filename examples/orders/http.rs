//! Orders over HTTP.

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use duroxide_tower::{CallError, Keyed, MessageId};
use serde::{Deserialize, Serialize};
use tower::{Service, ServiceExt};

use crate::service::{Order, Orders, Refusal, Request};

const KEY: &str = "Idempotency-Key";
const MAX_KEY_BYTES: usize = 255;

/// `POST /orders` and `GET /orders`, both answered by the service.
///
/// It can be the handle of an order book, or any stack of layers around it.
pub(crate) fn router<S>(service: S) -> Router
where
    S: Service<Keyed<Request>, Response = Orders, Error = CallError<Refusal>>,
    S: Clone + Send + Sync + 'static,
    S::Future: Send,
{
    Router::new().route("/orders", get(list::<S>).post(place::<S>)).with_state(service)
}

#[derive(Deserialize)]
struct NewOrder {
    item: String,
    quantity: u32,
}

async fn place<S>(
    State(service): State<S>,
    headers: HeaderMap,
    body: Result<Json<NewOrder>, JsonRejection>,
) -> Result<(StatusCode, Json<Order>), Failure>
where
    S: Service<Keyed<Request>, Response = Orders, Error = CallError<Refusal>>,
{
    let id = MessageId::from_key(idempotency_key(&headers)?);
    let Json(NewOrder { item, quantity }) = body.map_err(|rejection| Failure {
        status: rejection.status(),
        error: rejection.body_text(),
        what_to_do: "Send JSON like {\"item\": \"tea\", \"quantity\": 2}, \
                     with Content-Type: application/json.",
    })?;
    let request = Request::Place { item: item.clone(), quantity };
    let placed = service.oneshot(Keyed::new(id, request)).await?;
    match placed.into_iter().next() {
        // A key that was used before has the first answer.
        Some(order) if order.item == item && order.quantity == quantity => {
            Ok((StatusCode::CREATED, Json(order)))
        }
        _ => Err(Failure {
            status: StatusCode::UNPROCESSABLE_ENTITY,
            error: "this Idempotency-Key was used for another order".to_owned(),
            what_to_do: "Send a new Idempotency-Key for a new order.",
        }),
    }
}

async fn list<S>(State(service): State<S>) -> Result<Json<Orders>, Failure>
where
    S: Service<Keyed<Request>, Response = Orders, Error = CallError<Refusal>>,
{
    Ok(Json(service.oneshot(Request::List.into()).await?))
}

fn idempotency_key(headers: &HeaderMap) -> Result<&str, Failure> {
    let bad = |error: &str| Failure {
        status: StatusCode::BAD_REQUEST,
        error: error.to_owned(),
        what_to_do: "Send a header Idempotency-Key with 1 to 255 ASCII characters, for example a \
                     UUID: a new one for a new order, the same one when you repeat a request.",
    };
    let key = headers.get(KEY).ok_or_else(|| bad("the header Idempotency-Key is missing"))?;
    match key.to_str() {
        Ok(key) if (1..=MAX_KEY_BYTES).contains(&key.len()) => Ok(key),
        _ => Err(bad("the header Idempotency-Key is empty, too long or not ASCII")),
    }
}

/// What went wrong, and what the caller can do about it. The body is JSON.
#[derive(Debug, Serialize)]
struct Failure {
    #[serde(skip)]
    status: StatusCode,
    error: String,
    what_to_do: &'static str,
}

impl From<CallError<Refusal>> for Failure {
    fn from(error: CallError<Refusal>) -> Self {
        let (status, what_to_do) = match &error {
            CallError::Domain(refusal) => {
                return Self {
                    status: StatusCode::BAD_REQUEST,
                    error: refusal.to_string(),
                    what_to_do: "Send an item that is not empty and a quantity of at least 1, \
                                 with a new Idempotency-Key.",
                };
            }
            CallError::IdReused { .. } => {
                (StatusCode::UNPROCESSABLE_ENTITY, "Send a new Idempotency-Key for a new order.")
            }
            // Whether it was not accepted or the outcome is unknown: the key makes it safe.
            error if error.is_retryable() => (
                StatusCode::SERVICE_UNAVAILABLE,
                "Send the same request with the same Idempotency-Key again.",
            ),
            _ => (StatusCode::INTERNAL_SERVER_ERROR, "Tell the shop; repeating it does not help."),
        };
        // Everything that it says, from the outside to the cause.
        Self { status, error: format!("{:#}", anyhow::Error::new(error)), what_to_do }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.status, Json(self)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use duroxide::providers::sqlite::SqliteProvider;
    use duroxide_tower::{DurableActorService, EventJournal};
    use serde_json::{Value, json};

    use super::*;
    use crate::service::OrderBook;

    async fn app() -> anyhow::Result<Router> {
        let provider = SqliteProvider::new_in_memory().await?;
        let journal = EventJournal::open(Arc::new(provider)).await?;
        let (book, orders) =
            DurableActorService::new(&journal, "shop", OrderBook::default()).await?;
        tokio::spawn(book.run());
        Ok(router(orders))
    }

    async fn answer(app: &Router, request: Request<Body>) -> anyhow::Result<(StatusCode, Value)> {
        let response = app.clone().oneshot(request).await?;
        let status = response.status();
        let body = to_bytes(response.into_body(), 64 * 1024).await?;
        Ok((status, serde_json::from_slice(&body)?))
    }

    fn post(key: Option<&str>, body: &'static str) -> anyhow::Result<Request<Body>> {
        let mut request = Request::post("/orders").header("Content-Type", "application/json");
        if let Some(key) = key {
            request = request.header(KEY, key);
        }
        Ok(request.body(Body::from(body))?)
    }

    const TEA: &str = r#"{"item": "tea", "quantity": 2}"#;

    #[tokio::test]
    async fn the_same_key_is_the_same_order() -> anyhow::Result<()> {
        let app = app().await?;
        let tea = json!({"order_id": 1, "item": "tea", "quantity": 2});
        for _ in 0..2 {
            let placed = answer(&app, post(Some("a"), TEA)?).await?;
            assert_eq!(placed, (StatusCode::CREATED, tea.clone()));
        }
        let all = Request::get("/orders").body(Body::empty())?;
        assert_eq!(answer(&app, all).await?, (StatusCode::OK, json!([tea])));
        Ok(())
    }

    #[tokio::test]
    async fn a_request_that_cannot_be_taken_is_told_why() -> anyhow::Result<()> {
        let app = app().await?;
        answer(&app, post(Some("used"), TEA)?).await?;
        let cases = [
            (None, TEA, 400),
            (Some(""), TEA, 400),
            (Some("a"), r#"{"item": "tea", "quantity": 0}"#, 400),
            (Some("used"), r#"{"item": "tea", "quantity": 3}"#, 422),
            (Some("b"), r#"{"item": "tea"}"#, 422),
            (Some("b"), "tea", 400),
        ];
        for (key, body, expected) in cases {
            let (status, failure) = answer(&app, post(key, body)?).await?;
            assert_eq!(status, expected, "{key:?} {body}");
            assert!(failure["error"].is_string() && failure["what_to_do"].is_string());
        }
        Ok(())
    }
}
