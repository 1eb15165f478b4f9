//! Orchestrations beside actors that are slow, away, or restored, and instances that are made anew.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use duroxide::providers::Provider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{OrchestrationStatus, Runtime, RuntimeOptions};
use duroxide::{ActivityContext, Client, Either2, OrchestrationContext, OrchestrationRegistry};
use duroxide_tower::journal::cluster::Cluster;
use duroxide_tower::journal::workflow::{WorkflowError, WorkflowHost, next_event, start};
use duroxide_tower::{
    ActorContext, ActorRef, ClusterActors, DurableActor, DurableMessage, DurableState, TowerHost,
    WorkflowActors, async_trait,
};
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use self::support::{result, store_in};

/// Slow handlers wait here.
static GATE: Semaphore = Semaphore::const_new(0);

#[derive(Default, DurableState)]
#[durable(actor_type = "account")]
struct Account {
    balance: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, DurableMessage)]
#[durable(name = "account.command")]
enum Command {
    Deposit(i64),
    /// When the gate lets it through.
    Slow,
    /// Raises events with the numbers of a range.
    Raise(String, u64, u64),
}

#[async_trait]
impl DurableActor for Account {
    type Message = Command;
    type Reply = i64;
    type Error = String;

    async fn handle(&mut self, ctx: &mut ActorContext, command: Command) -> Result<i64, String> {
        match command {
            Command::Deposit(amount) => self.balance += amount,
            Command::Slow => GATE.acquire().await.unwrap().forget(),
            Command::Raise(instance, from, to) => {
                for number in from..to {
                    ctx.raise_event(&instance, "numbers", &number.to_string()).unwrap();
                }
            }
        }
        Ok(self.balance)
    }
}

/// Deposits its input, and returns the balance.
async fn pay(ctx: OrchestrationContext, amount: String) -> Result<String, String> {
    let amount = amount.parse().unwrap();
    let balance = ctx.actor::<Account>("a").ask(Command::Deposit(amount)).await;
    balance.map_err(|error| error.to_string())?.map(|balance| balance.to_string())
}

async fn ask_slow(ctx: OrchestrationContext, account: String) -> Result<String, String> {
    let done = ctx.actor::<Account>(account).ask(Command::Slow).await;
    done.map_err(|error| error.to_string())?.map(|_| "done".to_owned())
}

/// Deposits one at each of so many accounts, at once, with a combinator that is not duroxide's, and with one of
/// its own if the first one does not work.
async fn spread(ctx: OrchestrationContext, accounts: String) -> Result<String, String> {
    let accounts: u64 = accounts.parse().unwrap();
    let asks = || {
        (0..accounts)
            .map(|account| ctx.actor::<Account>(account.to_string()).ask(Command::Deposit(1)))
    };
    let joined = join_all(asks()).await;
    if joined.iter().all(|it| *it == Err(WorkflowError::Combinator)) {
        let sum: i64 =
            ctx.join(asks().collect()).await.into_iter().map(|it| it.unwrap().unwrap()).sum();
        return Ok(format!("{sum} at second"));
    }
    let sum: i64 = joined.into_iter().map(|it| it.unwrap().unwrap()).sum();
    Ok(sum.to_string())
}

async fn work(ctx: OrchestrationContext, _: String) -> Result<String, String> {
    ctx.schedule_activity("work", "").await
}

/// Sleeps until it is woken, reads so many numbers, in executions of ten, and returns the first that is not the
/// next.
async fn read(ctx: OrchestrationContext, range: String) -> Result<String, String> {
    let (from, to): (u64, u64) = serde_json::from_str(&range).unwrap();
    if from == 0 {
        ctx.schedule_wait("awake").await;
    }
    for number in from..to.min(from + 10) {
        let event = next_event(&ctx, "numbers").await;
        if event != number.to_string() {
            return Ok(format!("{event} instead of {number}"));
        }
    }
    if from + 10 < to {
        return ctx.continue_as_new(serde_json::to_string(&(from + 10, to)).unwrap()).await;
    }
    Ok("in order".into())
}

/// Returns so many events, one after the other.
async fn hear(ctx: OrchestrationContext, count: String) -> Result<String, String> {
    let mut heard = Vec::new();
    for _ in 0..count.parse().unwrap() {
        heard.push(next_event(&ctx, "numbers").await);
        ctx.set_custom_status(heard.join(" "));
    }
    Ok(heard.join(" "))
}

async fn join(folder: &Path) -> (Cluster, Arc<dyn Provider>) {
    let provider = store_in(folder).await;
    let cluster = Cluster::builder("bank", 2)
        .lease(Duration::from_secs(1))
        .host(TowerHost::new(|_| Account::default()))
        .join(provider.clone())
        .await
        .unwrap();
    (cluster, provider)
}

struct World {
    cluster: Cluster,
    runtime: Arc<Runtime>,
    client: Client,
}

impl World {
    async fn begin(folder: &Path) -> Self {
        let (cluster, provider) = join(folder).await;
        let work = async |_: ActivityContext, _: String| Ok("worked".to_owned());
        let activities = ActivityRegistry::builder().register("work", work);
        let orchestrations = OrchestrationRegistry::builder()
            .register("pay", pay)
            .register("ask-slow", ask_slow)
            .register("spread", spread)
            .register("work", self::work)
            .register("read", read)
            .register("hear", hear);
        let options = RuntimeOptions {
            dispatcher_min_poll_interval: Duration::from_millis(5),
            worker_concurrency: 2,
            ..RuntimeOptions::default()
        };
        let client = Client::new(provider.clone());
        let runtime = start(provider, &cluster, activities, orchestrations, options).await;
        Self { cluster, runtime, client }
    }

    fn account(&self, id: &str) -> ActorRef<Account> {
        self.cluster.actor(id)
    }

    async fn start(&self, instance: &str, orchestration: &str, input: &str) {
        self.client.start_orchestration(instance, orchestration, input).await.unwrap();
    }

    async fn result(&self, instance: &str) -> String {
        result(&self.client, instance, Duration::from_secs(300)).await
    }

    async fn end(self) {
        self.runtime.shutdown(None).await;
        self.cluster.leave().await.unwrap();
    }
}

#[tokio::test]
async fn an_instance_that_is_deleted_and_started_again_sends_messages_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    for (amount, balance) in [("5", "5"), ("7", "12")] {
        world.start("pay/1", "pay", amount).await;
        assert_eq!(world.result("pay/1").await, balance);
        world.client.delete_instance("pay/1", false).await.unwrap();
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asks_of_slow_actors_occupy_no_worker() {
    const ASKS: usize = 50;
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    for n in 0..ASKS {
        world.start(&format!("slow/{n}"), "ask-slow", &(n % 10).to_string()).await;
    }
    // Nobody opens the gate before it is done.
    world.start("work/1", "work", "").await;
    assert_eq!(world.result("work/1").await, "worked");
    GATE.add_permits(ASKS);
    for n in 0..ASKS {
        assert_eq!(world.result(&format!("slow/{n}")).await, "done");
    }
    world.end().await;
}

#[tokio::test]
async fn a_combinator_that_polls_what_was_woken_gets_an_error_instead_of_waiting_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    // `join_all` of so few polls all of them.
    world.start("spread/1", "spread", "30").await;
    assert_eq!(world.result("spread/1").await, "30");
    world.start("spread/2", "spread", "100").await;
    assert!(world.result("spread/2").await.ends_with("at second"));
    world.end().await;
}

/// With `EVENTS=10000` for as many.
#[tokio::test]
async fn events_to_an_instance_that_sleeps_are_read_once_and_in_order_whatever_the_number_of_owners()
 {
    const OWNERS: u64 = 20;
    let events = std::env::var("EVENTS").map_or(400, |it| it.parse::<u64>().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    world.start("read/1", "read", &format!("[0, {events}]")).await;
    while world.client.read_execution_history("read/1", 1).await.unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.end().await;
    for owner in 0..OWNERS {
        let (cluster, _) = join(folder.path()).await;
        let (from, to) = (events * owner / OWNERS, events * (owner + 1) / OWNERS);
        let raise = Command::Raise("read/1".into(), from, to);
        cluster.actor::<Account>("a").ask(raise).await.unwrap();
        // Not gracefully: what it was to send on the next one finds in the record.
        drop(cluster);
    }
    let world = World::begin(folder.path()).await;
    world.client.raise_event("read/1", "awake", "").await.unwrap();
    assert_eq!(world.result("read/1").await, "in order");
    world.end().await;
}

/// The journal is a copy from before, and duroxide's store is not.
#[tokio::test]
async fn a_restored_journal_does_not_meet_its_old_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    std::fs::create_dir(&copy).unwrap();
    let journal = || {
        let files = std::fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap());
        files.filter(|it| it.file_name().to_string_lossy().starts_with("app.actors.db"))
    };
    let world = World::begin(folder.path()).await;
    world.start("hear/1", "hear", "4").await;
    let raise = |from, to| Command::Raise("hear/1".into(), from, to);
    let heard = async |world: &World, what: &str| {
        while !matches!(
            world.client.get_orchestration_status("hear/1").await.unwrap(),
            OrchestrationStatus::Running { custom_status: Some(heard), .. } if heard == what
        ) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    world.account("a").ask(raise(1, 2)).await.unwrap();
    heard(&world, "1").await;
    world.end().await;
    for file in journal() {
        std::fs::copy(file.path(), copy.join(file.file_name())).unwrap();
    }
    let world = World::begin(folder.path()).await;
    world.account("a").ask(raise(2, 4)).await.unwrap();
    heard(&world, "1 2 3").await;
    world.end().await;

    journal().for_each(|file| std::fs::remove_file(file.path()).unwrap());
    for file in std::fs::read_dir(&copy).unwrap().map(|it| it.unwrap()) {
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    let world = World::begin(folder.path()).await;
    world.account("a").ask(raise(4, 5)).await.unwrap();
    assert_eq!(world.result("hear/1").await, "1 2 3 4");
    world.end().await;
}

/// An earlier version's activity returned the reply, and its lane put events into duroxide's queue.
#[tokio::test]
async fn an_instance_that_was_begun_by_an_earlier_version_goes_on() {
    async fn both(ctx: OrchestrationContext, _: String) -> Result<String, String> {
        let account = ctx.actor::<Account>("a");
        let first = account.ask(Command::Deposit(1)).await.unwrap().unwrap();
        let heard = next_event(&ctx, "numbers").await;
        let again = next_event(&ctx, "numbers").await;
        let second = account.ask(Command::Deposit(1)).await.unwrap().unwrap();
        Ok(format!("{first} {heard} {again} {second}"))
    }
    let folder = tempfile::tempdir().unwrap();
    let provider = store_in(folder.path()).await;
    let orchestrations = || OrchestrationRegistry::builder().register("both", both);
    let old = async |_: ActivityContext, _: String| Ok(r#"{"reply":{"Ok":41}}"#.to_owned());
    let activities = ActivityRegistry::builder().register("actors:ask", old).build();
    let runtime =
        Runtime::start_with_store(provider.clone(), activities, orchestrations().build()).await;
    let client = Client::new(provider.clone());
    client.start_orchestration("both/1", "both", "").await.unwrap();
    let event =
        |number, data| format!(r#"{{"from":"account/a","number":{number},"data":"{data}"}}"#);
    for (number, data) in [(1, "one"), (1, "one")] {
        client.enqueue_event("both/1", "numbers", event(number, data)).await.unwrap();
    }
    while client.get_kv_all_values("both/1").await.unwrap().len() < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    runtime.shutdown(None).await;

    let host = WorkflowHost::new(provider.clone());
    let cluster = Cluster::builder("bank", 2)
        .host(host)
        .host(TowerHost::new(|_| Account::default()))
        .join(provider.clone())
        .await
        .unwrap();
    let activities = ActivityRegistry::builder();
    let options = RuntimeOptions::default();
    let runtime = start(provider, &cluster, activities, orchestrations(), options).await;
    let raise = Command::Raise("both/1".into(), 2, 3);
    cluster.actor::<Account>("a").ask(raise).await.unwrap();
    let output = result(&client, "both/1", Duration::from_secs(60)).await;
    assert_eq!(output, "41 one 2 1");
    runtime.shutdown(None).await;
}

/// It has read an event, whose letter is still there when it is deleted.
#[tokio::test]
async fn an_instance_that_is_deleted_and_started_again_gets_its_own_events() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    for number in 1..=4 {
        world.start("hear/1", "hear", "1").await;
        let raise = Command::Raise("hear/1".into(), number, number + 1);
        world.account("a").ask(raise).await.unwrap();
        assert_eq!(world.result("hear/1").await, number.to_string());
        world.client.delete_instance("hear/1", false).await.unwrap();
    }
    world.end().await;
}

/// duroxide carries a hundred messages of a queue to the next execution, and ours was behind them.
#[tokio::test]
async fn mail_that_duroxide_has_dropped_comes_again() {
    async fn carry(ctx: OrchestrationContext, again: String) -> Result<String, String> {
        ctx.schedule_wait("go").await;
        if again.is_empty() {
            return ctx.continue_as_new("again").await;
        }
        Ok(next_event(&ctx, "numbers").await)
    }
    let folder = tempfile::tempdir().unwrap();
    let (cluster, provider) = join(folder.path()).await;
    let client = Client::new(provider.clone());
    let registry = OrchestrationRegistry::builder().register("carry", carry);
    let options = RuntimeOptions::default();
    let activities = ActivityRegistry::builder();
    let runtime = start(provider.clone(), &cluster, activities, registry, options).await;
    client.start_orchestration("carry/1", "carry", "").await.unwrap();
    let has = async |events: usize| {
        while provider.read("carry/1").await.unwrap().len() < events {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    has(2).await;
    for _ in 0..120 {
        client.enqueue_event("carry/1", "own", "x").await.unwrap();
    }
    has(122).await;
    let raise = Command::Raise("carry/1".into(), 7, 8);
    cluster.actor::<Account>("a").ask(raise).await.unwrap();
    has(123).await;
    client.raise_event("carry/1", "go", "").await.unwrap();
    while client.list_executions("carry/1").await.unwrap().len() < 2
        || provider.read("carry/1").await.unwrap().len() < 2
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.raise_event("carry/1", "go", "").await.unwrap();
    let output = result(&client, "carry/1", Duration::from_secs(60)).await;
    assert_eq!(output, "7");
    runtime.shutdown(None).await;
}

/// However short the time.
#[tokio::test]
async fn an_instance_that_looks_for_an_event_for_a_moment_gets_it_in_the_end() {
    async fn look(ctx: OrchestrationContext, heard: String) -> Result<String, String> {
        let mut heard: u64 = heard.parse().unwrap();
        for _ in 0..20 {
            let moment = ctx.schedule_timer(Duration::ZERO);
            if let Either2::First(event) = ctx.select2(next_event(&ctx, "numbers"), moment).await {
                assert_eq!(event, heard.to_string());
                heard += 1;
            }
            if heard == 40 {
                return Ok("all".to_owned());
            }
        }
        ctx.continue_as_new(heard.to_string()).await
    }
    let folder = tempfile::tempdir().unwrap();
    let (cluster, provider) = join(folder.path()).await;
    let client = Client::new(provider.clone());
    let registry = OrchestrationRegistry::builder().register("look", look);
    let options = RuntimeOptions {
        dispatcher_min_poll_interval: Duration::from_millis(5),
        ..RuntimeOptions::default()
    };
    let activities = ActivityRegistry::builder();
    let runtime = start(provider, &cluster, activities, registry, options).await;
    let raise = Command::Raise("look/1".into(), 0, 40);
    cluster.actor::<Account>("a").ask(raise).await.unwrap();
    client.start_orchestration("look/1", "look", "0").await.unwrap();
    let output = result(&client, "look/1", Duration::from_secs(100)).await;
    assert_eq!(output, "all");
    runtime.shutdown(None).await;
}

#[tokio::test]
async fn an_instance_that_reads_a_queue_in_two_places_at_once_fails_and_says_why() {
    async fn both(ctx: OrchestrationContext, queue: String) -> Result<String, String> {
        let first = next_event(&ctx, "numbers");
        let (first, second) = futures::future::join(first, next_event(&ctx, &queue)).await;
        Ok(format!("{first} {second}"))
    }
    let folder = tempfile::tempdir().unwrap();
    let (cluster, provider) = join(folder.path()).await;
    let orchestrations = OrchestrationRegistry::builder().register("both", both);
    let activities = ActivityRegistry::builder();
    let client = Client::new(provider.clone());
    let runtime =
        start(provider, &cluster, activities, orchestrations, RuntimeOptions::default()).await;
    client.start_orchestration("both/1", "both", "numbers").await.unwrap();
    client.start_orchestration("both/2", "both", "others").await.unwrap();
    let patience = Duration::from_secs(60);
    let status = client.wait_for_orchestration("both/1", patience).await.unwrap();
    let OrchestrationStatus::Failed { details, .. } = status else { panic!("{status:?}") };
    let reason = details.display_message();
    assert!(reason.contains("read it in one place"), "{reason}");
    // Two queues are not one, and the one instance is not the other.
    let sum = cluster.actor::<Account>("a");
    sum.ask(Command::Raise("both/2".into(), 1, 2)).await.unwrap();
    client.enqueue_event("both/2", "others", "other").await.unwrap();
    let output = result(&client, "both/2", patience).await;
    assert_eq!(output, "1 other");
    runtime.shutdown(None).await;
    cluster.leave().await.unwrap();
}
