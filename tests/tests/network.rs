//! What a network can do to nodes beside cutting their connections. Needs `DATABASE_URL`; without it every
//! test is reported as ignored.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use duroxide::providers::Provider;
use duroxide_pg::PostgresProvider;
use duroxide_tower::cluster::AskError;
use duroxide_tower::{
    ActorContext, ClusterActors, DurableActor, DurableMessage, DurableState, TowerHost, async_trait,
};
use futures::future::try_join_all;
use libtest_mimic::{Arguments, Trial};
use serde::{Deserialize, Serialize};
use shared_journal::cluster::Cluster;
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tests::postgres::{Schema, database_url};
use tests::proxy::Proxy;

type Test = fn(&Setting);

const TESTS: [(&str, Test); 3] = [
    ("a_black_hole_around_who_asks_is_survived", |it| black_hole(it, true, false)),
    ("a_black_hole_around_who_has_the_actors_is_survived", |it| black_hole(it, false, true)),
    ("a_black_hole_around_both_is_survived", |it| black_hole(it, true, true)),
];

fn main() {
    let trials = TESTS.map(|(name, test)| {
        let url = database_url();
        let skip = url.is_none();
        Trial::test(name, move || {
            let setting = Setting::new(url.unwrap());
            test(&setting);
            setting.runtime.block_on(setting.schema.drop()).unwrap();
            Ok(())
        })
        .with_ignored_flag(skip)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit();
}

struct Setting {
    runtime: tokio::runtime::Runtime,
    schema: Schema,
    options: PgConnectOptions,
}

impl Setting {
    fn new(url: String) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let schema = runtime.block_on(Schema::create(&url)).unwrap();
        Self { runtime, schema, options: url.parse().unwrap() }
    }

    async fn proxy(&self) -> Proxy {
        Proxy::start(self.schema.server()).await.unwrap()
    }

    /// The store, as it is seen through the proxy.
    async fn through(&self, proxy: &Proxy) -> Arc<dyn Provider> {
        let options = self.options.clone().host("127.0.0.1").port(proxy.address().port());
        let url = options.to_url_lossy().to_string();
        let provider = PostgresProvider::new_with_schema(&url, Some(self.schema.name()));
        Arc::new(provider.await.unwrap())
    }
}

const SHARDS: u32 = 8;

/// Remembers every number in the order in which it came.
#[derive(Default, DurableState)]
#[durable(actor_type = "list")]
struct List {
    numbers: Vec<u64>,
}

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "list.push")]
struct Push(u64);

#[async_trait]
impl DurableActor for List {
    type Message = Push;
    type Reply = Vec<u64>;
    type Error = String;

    async fn handle(&mut self, _: &mut ActorContext, push: Push) -> Result<Vec<u64>, String> {
        self.numbers.push(push.0);
        Ok(self.numbers.clone())
    }
}

/// A node that has all the shards.
async fn owner(provider: Arc<dyn Provider>) -> Cluster {
    let host = TowerHost::new(|_| List::default());
    let node = Cluster::builder("lists", SHARDS).node("owner").host(host).join(provider).await;
    let node = node.unwrap();
    while node.own_shards().len() < SHARDS as usize {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    node
}

const ASKERS: u64 = 8;
const HOLE: Duration = Duration::from_secs(5);
/// Within so long everything is as it was.
const WITHIN: Duration = Duration::from_secs(15);
/// An ask that is found by looking takes a second, one that is told of some milliseconds.
const QUICK: Duration = Duration::from_millis(500);

/// The network swallows everything for a while, around the node that asks, or the one that has the actors, or
/// both. After it asks are as before; none has no answer, and none is handled twice.
fn black_hole(setting: &Setting, asks: bool, has: bool) {
    setting.runtime.block_on(async {
        let (near, far) = (setting.proxy().await, setting.proxy().await);
        let owner = owner(setting.through(&far).await).await;
        let client = Cluster::builder("lists", SHARDS).node("client");
        let client = client.join(setting.through(&near).await).await.unwrap();
        let begin = Instant::now();
        let askers = (0..ASKERS).map(|asker| {
            let list = client.actor::<List>(asker.to_string());
            async move {
                let (mut numbers, mut longest) = (Vec::new(), Duration::ZERO);
                // Until one was asked after all is to be well again.
                loop {
                    let asked = begin.elapsed();
                    let number = numbers.len() as u64;
                    numbers.push(number);
                    let seen = list.ask(Push(number)).await?;
                    assert_eq!(seen, numbers, "none lost, none twice");
                    let took = begin.elapsed() - asked;
                    longest = longest.max(took);
                    if asked > HOLE + WITHIN {
                        return Ok::<_, AskError<String>>((longest, took));
                    }
                    // What is checked must not be too much.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
        let hole = async {
            let set = |hole| {
                near.black_hole(hole && asks);
                far.black_hole(hole && has);
            };
            set(true);
            tokio::time::sleep(HOLE).await;
            set(false);
        };
        let (answers, ()) = futures::join!(try_join_all(askers), hole);
        let answers = answers.unwrap();
        println!("longest and last: {answers:?}");
        assert!(answers.iter().all(|(_, last)| *last < QUICK), "{answers:?}");
        client.leave().await.unwrap();
        owner.leave().await.unwrap();
    });
}
