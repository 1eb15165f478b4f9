//! Orchestrations that ask actors.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{OrchestrationStatus, Runtime, RuntimeOptions};
use duroxide::{Client, OrchestrationContext, OrchestrationRegistry};
use duroxide_actix::journal::cluster::Cluster;
use duroxide_actix::journal::workflow::{WorkflowError, for_runtime, register};
use duroxide_actix::journal::{DurableMessage, DurableState};
use duroxide_actix::{ActorRef, ClusterActors, DurableActor, WorkflowActors, WrappedHost};
use serde::{Deserialize, Serialize};
use support::{Store, run};

#[derive(Default, DurableState)]
#[durable(actor_type = "account")]
struct Account {
    balance: i64,
    deposits: u64,
}

impl Actor for Account {
    type Context = Context<Self>;
}

impl DurableActor for Account {
    type Messages = (Deposit, Slow, Panic);
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "Result<i64, String>")]
#[durable(name = "account.deposit")]
struct Deposit(i64);

impl Handler<Deposit> for Account {
    type Result = Result<i64, String>;
    fn handle(&mut self, deposit: Deposit, _: &mut Self::Context) -> Self::Result {
        if self.balance + deposit.0 < 0 {
            return Err("overdrawn".into());
        }
        self.deposits += 1;
        self.balance += deposit.0;
        Ok(self.balance)
    }
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "account.slow")]
struct Slow;

impl Handler<Slow> for Account {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, _: Slow, _: &mut Self::Context) -> Self::Result {
        Box::pin(std::future::pending())
    }
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "account.panic")]
struct Panic;

impl Handler<Panic> for Account {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("on purpose");
    }
}

/// Ten deposits, of which nothing is left but the balance.
async fn save(ctx: OrchestrationContext, account: String) -> Result<String, String> {
    let account = ctx.actor::<Account>(account);
    let mut balance = 0;
    for _ in 0..10 {
        let deposited = account.ask(Deposit(1)).await.map_err(|error| error.to_string())?;
        balance = deposited?;
    }
    account.tell(Deposit(1)).await.map_err(|error| error.to_string())?;
    Ok(balance.to_string())
}

/// What can go wrong, as values.
async fn fail(ctx: OrchestrationContext, _: String) -> Result<String, String> {
    let account = ctx.actor::<Account>("poor");
    assert_eq!(account.ask(Deposit(-1)).await, Ok(Err("overdrawn".into())));
    let dead = account.ask(Panic).await;
    assert!(matches!(dead, Err(WorkflowError::DeadLetter { attempts: 3, .. })), "{dead:?}");
    let time = Duration::from_millis(200);
    let late = ctx.actor::<Account>("slow").ask_within(time, Slow).await;
    assert_eq!(late, Err(WorkflowError::TimedOut(time)));
    Ok("as it should".into())
}

async fn start(store: &Store, cluster: &Cluster) -> (Arc<Runtime>, Client) {
    let provider = for_runtime(store.provider().await);
    let activities = register(ActivityRegistry::builder(), cluster).build();
    let orchestrations =
        OrchestrationRegistry::builder().register("save", save).register("fail", fail).build();
    // What a runtime that was stopped had under way is soon another's.
    let options = RuntimeOptions {
        worker_lock_timeout: Duration::from_secs(1),
        worker_lock_renewal_buffer: Duration::from_millis(300),
        ..RuntimeOptions::default()
    };
    let runtime =
        Runtime::start_with_options(provider.clone(), activities, orchestrations, options);
    let runtime = runtime.await;
    (runtime, Client::new(provider))
}

async fn join(store: &Store) -> Cluster {
    Cluster::builder("bank", 2)
        .lease(Duration::from_secs(1))
        .host(WrappedHost::new(|_| Account::default()))
        .join(store.provider().await)
        .await
        .unwrap()
}

async fn result(client: &Client, instance: &str) -> String {
    let status = client.wait_for_orchestration(instance, Duration::from_secs(50)).await.unwrap();
    let OrchestrationStatus::Completed { output, .. } = status else { panic!("{status:?}") };
    output
}

#[test]
fn what_an_orchestration_asks_is_done_once_though_everything_is_stopped_on_the_way() {
    run(async {
        let store = Store::new();
        let (mut cluster, mut runtime, mut client);
        cluster = join(&store).await;
        (runtime, client) = start(&store, &cluster).await;
        for n in 0..6 {
            let account = (n % 3).to_string();
            client.start_orchestration(format!("save-{n}"), "save", account).await.unwrap();
        }
        for balance in [4, 8, 12, 16] {
            let account: ActorRef<Account> = cluster.actor("0");
            while account.ask(Deposit(0)).await.unwrap().unwrap() < balance {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // In the middle: activities that ran are run again, by another runtime and node.
            runtime.shutdown(Some(0)).await;
            drop((cluster, account, client));
            cluster = join(&store).await;
            (runtime, client) = start(&store, &cluster).await;
        }
        for n in 0..6 {
            result(&client, &format!("save-{n}")).await;
        }
        for n in 0..3 {
            let account: ActorRef<Account> = cluster.actor(n.to_string());
            assert_eq!(account.ask(Deposit(0)).await.unwrap(), Ok(22), "twice eleven");
        }
        runtime.shutdown(None).await;
    });
}

#[test]
fn errors_are_values() {
    run(async {
        let store = Store::new();
        let cluster = join(&store).await;
        let (runtime, client) = start(&store, &cluster).await;
        client.start_orchestration("fail-1", "fail", "").await.unwrap();
        assert_eq!(result(&client, "fail-1").await, "as it should");
        runtime.shutdown(None).await;
    });
}
