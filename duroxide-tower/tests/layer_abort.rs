//! A request that ends the process it is handled in.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::convert::Infallible;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

use duroxide::providers::sqlite::SqliteProvider;
use duroxide_tower::{CallError, DurableLayer, EventJournal, MessageId};
use support::soon;
use tower::{ServiceExt, service_fn};

/// One life of a service that dies of `bomb`, which is sent in the first life; in each later one a
/// request waits behind it.
async fn live(store: &str, send: bool) {
    let provider = Arc::new(SqliteProvider::new(store, None).await.unwrap());
    let journal = EventJournal::open(provider).await.unwrap();
    let layer =
        DurableLayer::new(&journal, "orders", |order: &String| Some(MessageId::from_key(order)))
            .lanes(1);
    let shop = service_fn(|order: String| async move {
        // Not at once: its receipt is durable.
        if order == "bomb" {
            std::process::abort();
        }
        Ok::<_, Infallible>(order)
    });
    let service = layer.start(shop).await.unwrap();
    let ask = |order: &str| soon("an answer", service.clone().oneshot(order.to_owned()));
    if send {
        ask("bomb").await.unwrap_err();
        unreachable!("the process has died");
    }
    assert_eq!(ask("tea").await.unwrap(), "tea");
    let error = ask("bomb").await.unwrap_err();
    assert!(matches!(error, CallError::DeadLetter { attempts: 3, .. }), "{error:?}");
    let lane = layer.actors().next().unwrap();
    assert_eq!(journal.dead_letters(&lane).await.unwrap().len(), 1);
    journal.close().await.unwrap();
}

/// The process that dies: this program, once more.
#[tokio::test]
#[ignore = "the other test starts it"]
async fn child() {
    live(&std::env::var("STORE").unwrap(), std::env::var_os("SEND").is_some()).await;
}

#[test]
fn a_request_that_aborts_the_process_is_a_dead_letter_after_three_lives() {
    let folder = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}?mode=rwc", folder.path().join("app.db").display());
    let life = |send: bool| -> ExitStatus {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["child", "--exact", "--ignored"]).env("STORE", &store);
        if send {
            child.env("SEND", "1");
        }
        child.output().unwrap().status
    };
    // A test that fails ends with a code; a process that aborts ends without.
    assert_eq!(life(true).code(), None, "life 1");
    for number in 2..=3 {
        assert_eq!(life(false).code(), None, "life {number}");
    }
    for number in 4..=5 {
        assert!(life(false).success(), "life {number}");
    }
}
