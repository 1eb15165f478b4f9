//! A shop that takes orders over HTTP.
//!
//! ```text
//! cargo run -p examples --bin orders
//! curl -i http://127.0.0.1:8080/orders -H 'Idempotency-Key: 1' \
//!     -H 'Content-Type: application/json' -d '{"item": "tea", "quantity": 2}'
//! curl http://127.0.0.1:8080/orders
//! ```
//!
//! The first request twice is one order, also when the server was killed between the two.

mod http;
mod service;
#[path = "../store_path.rs"]
mod store_path;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide_tower::{DurableActorService, EventJournal};
use tokio::net::TcpListener;

use crate::service::OrderBook;
use crate::store_path::{store_path, store_url};

/// Takes orders over HTTP: POST /orders with an Idempotency-Key, GET /orders.
#[derive(Debug, Parser)]
struct Options {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:8080")]
    addr: SocketAddr,

    /// Where the orders are kept. By default target/orders/orders.db in this workspace.
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::WARN)
        .with_writer(std::io::stderr)
        .init();

    // The address first: a second server on it shall not take the store from the first.
    let listener = TcpListener::bind(options.addr)
        .await
        .with_context(|| format!("cannot listen on {}", options.addr))?;
    let store = store_path(options.store, "orders")?;
    let provider = SqliteProvider::new(&store_url(&store)?, None)
        .await
        .with_context(|| format!("cannot open the store {}", store.display()))?;
    let journal = EventJournal::open(Arc::new(provider))
        .await
        .with_context(|| format!("cannot open the journal of {}", store.display()))?;
    let (book, orders) = DurableActorService::new(&journal, "shop", OrderBook::default())
        .await
        .context("cannot start the order book")?;

    eprintln!("store {}", store.display());
    eprintln!("listening on http://{}", listener.local_addr()?);
    let mut book = tokio::spawn(book.run());
    let server = axum::serve(listener, http::router(orders)).with_graceful_shutdown(interrupted());
    tokio::select! {
        served = server => {
            served.context("the server has stopped")?;
            // With the server the last handle is gone, so the book ends when all is durable.
            book.await?
        }
        // Nobody is there to take orders any more, so the server ends too.
        ended = &mut book => ended?,
    }
    .context("the order book has stopped")?;
    journal.close().await.context("cannot close the journal")
}

/// Returns at Ctrl-C.
async fn interrupted() {
    if tokio::signal::ctrl_c().await.is_err() {
        // It cannot be noticed here, so it ends the process as it does by default.
        std::future::pending::<()>().await;
    }
}
