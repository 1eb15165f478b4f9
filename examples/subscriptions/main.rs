//! Subscriptions to a magazine: an actor a customer, timers, and workflows that charge cards.
//!
//! ```text
//! cargo run --release -p examples --bin subscriptions
//! ```
//!
//! Kill it whenever you like (`--crash-after 20` does it for you) and run it again: months are paid
//! once, and timers that were due meanwhile fire. A day takes 20 ms.

mod calendar;
mod customer;
mod durable;
mod renewal;
#[path = "../store_path.rs"]
mod store_path;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use duroxide::OrchestrationRegistry;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide::runtime::RuntimeOptions;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide_actix::journal::MessageId;
use duroxide_actix::journal::cluster::Cluster;
use duroxide_actix::journal::workflow;
use duroxide_actix::{ClusterActors, WrappedHost};
use futures::future::try_join_all;

use crate::customer::{Customer, Show, Status, Subscribe};

const CUSTOMERS: u32 = 20;

/// Sells a magazine for three months, and prints who paid.
#[derive(Debug, Parser)]
struct Options {
    /// Where the customers are kept. By default target/subscriptions/subscriptions.db in this
    /// workspace.
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
    /// Kill this process when so many months are paid. Then run it again without.
    #[arg(long, value_name = "N")]
    crash_after: Option<u32>,
    /// Print one line of JSON instead of the table.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::ERROR)
        .with_writer(std::io::stderr)
        .init();
    actix::System::new().block_on(run(options))
}

async fn run(options: Options) -> anyhow::Result<()> {
    let store = store_path::store_path(options.store, "subscriptions")?;
    let provider = Arc::new(SqliteProvider::new(&store_path::store_url(&store)?, None).await?);
    // A cluster of one node; others may join.
    let cluster = Cluster::builder("magazine", 4)
        .lease(Duration::from_secs(1))
        .host(WrappedHost::new(|_| Customer::default()))
        .join(provider.clone())
        .await?;
    let activities = ActivityRegistry::builder().register("charge", renewal::charge);
    let orchestrations = OrchestrationRegistry::builder().register("renew", renewal::renew);
    let defaults = RuntimeOptions::default();
    let runtime = workflow::start(provider, &cluster, activities, orchestrations, defaults).await;

    for number in 0..CUSTOMERS {
        let customer = cluster.actor::<Customer>(number.to_string());
        // Every fifth card is never good. Whoever is subscribed already is not again.
        let refusals = if number % 5 == 4 { 100 } else { number % 4 };
        let id = MessageId::from_key("subscribe");
        customer.ask_with_id(id, Subscribe { refusals }).await?.map_err(anyhow::Error::msg)?;
    }
    let customers = loop {
        let shown = (0..CUSTOMERS).map(|number| {
            let customer = cluster.actor::<Customer>(number.to_string());
            async move { customer.ask(Show).await }
        });
        let customers = try_join_all(shown).await?;
        let paid: u32 = customers.iter().map(|it| it.months_paid).sum();
        if options.crash_after.is_some_and(|after| paid >= after) {
            eprintln!("killed after {paid} months, as asked");
            std::process::abort();
        }
        if customers.iter().all(|it| matches!(it.status, Status::Done | Status::Suspended)) {
            break customers;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    print(&customers, options.json);
    runtime.shutdown(None).await;
    cluster.leave().await?;
    Ok(())
}

fn print(customers: &[Customer], json: bool) {
    let count = |status| customers.iter().filter(|it| it.status == status).count();
    let sum = |of: fn(&Customer) -> u32| customers.iter().map(of).sum::<u32>();
    let (months, attempts) = (sum(|it| it.months_paid), sum(|it| it.attempts));
    if json {
        let line = serde_json::json!({
            "customers": customers.len(),
            "done": count(Status::Done),
            "suspended": count(Status::Suspended),
            "months_paid": months,
            "attempts": attempts,
        });
        println!("{line}");
        return;
    }
    let mut table = comfy_table::Table::new();
    table.set_header(["customer", "status", "months paid", "attempts", "reminded"]);
    for (number, it) in customers.iter().enumerate() {
        table.add_row([
            number.to_string(),
            format!("{:?}", it.status),
            it.months_paid.to_string(),
            it.attempts.to_string(),
            it.reminded.to_string(),
        ]);
    }
    println!("{table}");
    println!("{months} months paid with {attempts} charges");
}
