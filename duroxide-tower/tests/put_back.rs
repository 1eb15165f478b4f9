//! One of a store's two files is put back to where it was before: what actors and orchestrations wait for.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use duroxide::providers::Provider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{Runtime, RuntimeOptions};
use duroxide::{Client, Event, EventKind, OrchestrationContext, OrchestrationRegistry};
use duroxide_tower::journal::ActorId;
use duroxide_tower::journal::cluster::Cluster;
use duroxide_tower::journal::workflow::{WorkflowResult, start};
use duroxide_tower::{
    ActorContext, ActorRef, ClusterActors, DurableActor, DurableMessage, DurableState, TowerHost,
    WorkflowActors, async_trait,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

use self::support::{result, store_in};

const PAUSE: Duration = Duration::from_millis(10);
const JOURNAL: &str = "app.actors.db";
const DUROXIDE: &str = "app.db";

/// Handlers that take their time wait here: one for each test that has some.
static HELD: [Semaphore; 3] = [const { Semaphore::const_new(0) }; 3];

#[derive(Default, DurableState)]
#[durable(actor_type = "account")]
struct Account {
    handled: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, DurableMessage)]
#[durable(name = "account.command")]
enum Command {
    Look,
    /// Goes on when this gate lets it through.
    Held(usize),
    /// Asks a workflow.
    Work,
    Worked(WorkflowResult),
}

#[async_trait]
impl DurableActor for Account {
    type Message = Command;
    type Reply = Vec<String>;
    type Error = String;

    async fn handle(
        &mut self,
        ctx: &mut ActorContext,
        command: Command,
    ) -> Result<Vec<String>, String> {
        match command {
            Command::Look => {}
            Command::Held(gate) => {
                HELD[gate].acquire().await.unwrap().forget();
                self.handled.push("held".into());
            }
            Command::Work => ctx.ask_workflow("work", "work/1", "", Command::Worked).unwrap(),
            Command::Worked(how) => self.handled.push(how.result.unwrap()),
        }
        Ok(self.handled.clone())
    }
}

async fn ask_held(ctx: OrchestrationContext, gate: String) -> Result<String, String> {
    let gate = gate.parse().unwrap();
    let handled = ctx.actor::<Account>("a").ask(Command::Held(gate)).await;
    Ok(handled.map_err(|error| error.to_string())??.join(" "))
}

async fn work(_: OrchestrationContext, _: String) -> Result<String, String> {
    Ok("worked".into())
}

async fn join(folder: &Path, inbox_letters: u64) -> (Cluster, Arc<dyn Provider>) {
    let provider = store_in(folder).await;
    let host = TowerHost::new(|_| Account::default());
    let builder = Cluster::builder("bank", 2).inbox_letters(inbox_letters).host(host);
    (builder.join(provider.clone()).await.unwrap(), provider)
}

struct World {
    cluster: Cluster,
    runtime: Arc<Runtime>,
    client: Client,
}

impl World {
    async fn begin(folder: &Path) -> Self {
        Self::begin_with(folder, 1000).await
    }

    async fn begin_with(folder: &Path, inbox_letters: u64) -> Self {
        let (cluster, provider) = join(folder, inbox_letters).await;
        let orchestrations =
            OrchestrationRegistry::builder().register("ask-held", ask_held).register("work", work);
        let client = Client::new(provider.clone());
        let activities = ActivityRegistry::builder();
        let options = RuntimeOptions::default();
        let runtime = start(provider, &cluster, activities, orchestrations, options).await;
        Self { cluster, runtime, client }
    }

    async fn result(&self, instance: &str) -> String {
        result(&self.client, instance, Duration::from_secs(60)).await
    }

    async fn end(self) {
        self.runtime.shutdown(None).await;
        self.cluster.leave().await.unwrap();
    }
}

fn account(cluster: &Cluster) -> ActorRef<Account> {
    cluster.actor("a")
}

/// One of the files of a store that is closed, beside its WAL, in another folder.
fn copy(of: &str, from: &Path, to: &Path) {
    for end in ["", "-wal", "-shm"] {
        let name = format!("{of}{end}");
        let _ = std::fs::remove_file(to.join(&name));
        if from.join(&name).exists() {
            std::fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    }
}

/// Begins so many asks whose handler does not come to its end, and stops while they wait.
async fn ask_and_stop(folder: &Path, gate: usize, asks: u64) {
    let world = World::begin(folder).await;
    let instances: Vec<_> = (1..=asks).map(|ask| format!("held/{ask}")).collect();
    for instance in &instances {
        world.client.start_orchestration(instance, "ask-held", gate.to_string()).await.unwrap();
    }
    let waits = |event: &Event| matches!(event.kind, EventKind::ExternalSubscribed { .. });
    for instance in instances {
        let history = || world.client.read_execution_history(&instance, 1);
        while !history().await.is_ok_and(|history| history.iter().any(waits)) {
            tokio::time::sleep(PAUSE).await;
        }
    }
    world.end().await;
}

/// The reply came after the copy was made, so its letter is gone; its handler is not called again.
#[tokio::test]
async fn an_ask_is_answered_when_duroxides_store_is_put_back() {
    let (folder, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    ask_and_stop(folder.path(), 0, 1).await;
    copy(DUROXIDE, folder.path(), kept.path());
    let world = World::begin(folder.path()).await;
    HELD[0].add_permits(1);
    assert_eq!(world.result("held/1").await, "held");
    world.end().await;
    copy(DUROXIDE, kept.path(), folder.path());
    let world = World::begin(folder.path()).await;
    assert_eq!(world.result("held/1").await, "held");
    world.end().await;
}

/// The letter was posted after the copy was made.
#[tokio::test]
async fn an_ask_is_answered_when_the_journal_is_put_back() {
    let (folder, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World::begin(folder.path()).await;
    assert_eq!(account(&world.cluster).ask(Command::Look).await.unwrap(), [""; 0]);
    world.end().await;
    copy(JOURNAL, folder.path(), kept.path());
    ask_and_stop(folder.path(), 1, 1).await;
    copy(JOURNAL, kept.path(), folder.path());
    let world = World::begin(folder.path()).await;
    HELD[1].add_permits(1);
    assert_eq!(world.result("held/1").await, "held");
    world.end().await;
}

/// Not all of them can be posted again at once.
#[tokio::test]
async fn asks_are_answered_when_there_is_room_for_them() {
    let (folder, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World::begin(folder.path()).await;
    account(&world.cluster).ask(Command::Look).await.unwrap();
    world.end().await;
    copy(JOURNAL, folder.path(), kept.path());
    ask_and_stop(folder.path(), 2, 3).await;
    copy(JOURNAL, kept.path(), folder.path());
    let world = World::begin_with(folder.path(), 2).await;
    while world.cluster.letters(&ActorId::new("account", "a"), 0).await.unwrap().len() < 2 {
        tokio::time::sleep(PAUSE).await;
    }
    HELD[2].add_permits(3);
    let mut results = Vec::new();
    for instance in ["held/1", "held/2", "held/3"] {
        results.push(world.result(instance).await);
    }
    results.sort();
    assert_eq!(results, ["held", "held held", "held held held"], "each was handled once");
    world.end().await;
}

/// Instances that wait for workflows which actors asked, and that nothing has begun with.
fn queued(folder: &Path) -> u64 {
    let database = rusqlite::Connection::open(folder.join(DUROXIDE)).unwrap();
    let query = "SELECT count(*) FROM orchestrator_queue WHERE instance_id LIKE 'ask/%'";
    database.query_row(query, [], |row| row.get(0)).unwrap()
}

/// duroxide had the workflow in its queue when the copy was made, and nothing else of it.
#[tokio::test]
async fn an_actor_is_told_once_how_its_workflow_ended_though_that_begins_again() {
    let (folder, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (cluster, provider) = join(folder.path(), 1000).await;
    account(&cluster).ask(Command::Work).await.unwrap();
    while queued(folder.path()) == 0 {
        tokio::time::sleep(PAUSE).await;
    }
    cluster.leave().await.unwrap();
    drop(provider);
    copy(DUROXIDE, folder.path(), kept.path());
    for _ in 0..2 {
        let world = World::begin(folder.path()).await;
        let waiting = loop {
            let all = world.client.list_all_instances().await.unwrap();
            match all.into_iter().find(|instance| instance.starts_with("ask/")) {
                Some(waiting) => break waiting,
                None => tokio::time::sleep(PAUSE).await,
            }
        };
        assert_eq!(world.result(&waiting).await, "told");
        let actor = ActorId::new("account", "a");
        while !world.cluster.letters(&actor, 0).await.unwrap().is_empty() {
            tokio::time::sleep(PAUSE).await;
        }
        assert_eq!(account(&world.cluster).ask(Command::Look).await.unwrap(), ["worked"]);
        world.end().await;
        copy(DUROXIDE, kept.path(), folder.path());
    }
}
