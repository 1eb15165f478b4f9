//! Instances of ours that duroxide gives up, because its store refuses what it writes, go on.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{Runtime, RuntimeOptions};
use duroxide::{Client, OrchestrationContext, OrchestrationRegistry, OrchestrationStatus};
use duroxide_tower::journal::cluster::Cluster;
use duroxide_tower::journal::workflow::{WorkflowResult, start};
use duroxide_tower::{
    ActorContext, ClusterActors, DurableActor, DurableMessage, DurableState, Orchestrated,
    OrchestratedRef, TowerHost, async_trait,
};
use serde::{Deserialize, Serialize};

use self::support::store_in;

/// The numbers it got: how many, and their sum. And how the workflows ended that it asked.
#[derive(Default, DurableState)]
#[durable(actor_type = "sum")]
struct Sum {
    count: u64,
    sum: u64,
    ended: Vec<String>,
}

#[derive(Debug, Clone, Serialize, Deserialize, DurableMessage)]
#[durable(name = "sum.command")]
enum Command {
    Add(u64),
    /// Adds at two children, twice.
    Children(u64),
    Ask(String),
    Ended(WorkflowResult),
    /// Its state.
    Grow(usize),
}

#[async_trait]
impl DurableActor for Sum {
    type Message = Command;
    type Reply = (u64, u64, Vec<String>);
    type Error = String;

    async fn handle(
        &mut self,
        ctx: &mut ActorContext,
        command: Command,
    ) -> Result<Self::Reply, String> {
        match command {
            Command::Add(number) => {
                self.count += 1;
                self.sum += number;
            }
            Command::Children(number) => {
                for child in ["a child", "another"] {
                    ctx.orchestrated::<Self>(child).tell(Command::Add(number)).unwrap();
                    ctx.orchestrated::<Self>(child).tell(Command::Add(1)).unwrap();
                }
            }
            Command::Ask(instance) => {
                let workflow = instance.split_once('/').unwrap().0;
                ctx.ask_workflow(workflow, &instance, "", Command::Ended).unwrap();
            }
            Command::Grow(bytes) => self.ended.push("x".repeat(bytes)),
            Command::Ended(how) => {
                self.ended.push(format!("{} {:?}", how.instance, how.result));
            }
        }
        let ended = self.ended.iter().filter(|it| it.len() < 1000).cloned().collect();
        Ok((self.count, self.sum, ended))
    }
}

async fn wait(ctx: OrchestrationContext, _: String) -> Result<String, String> {
    Ok(ctx.schedule_wait("go").await)
}

/// More than a message may have.
async fn large(_: OrchestrationContext, _: String) -> Result<String, String> {
    Ok("x".repeat(2 << 20))
}

struct World {
    sums: Orchestrated<Sum>,
    cluster: Cluster,
    runtime: Arc<Runtime>,
    client: Client,
}

impl World {
    async fn begin(folder: &Path) -> Self {
        let provider = store_in(folder).await;
        let sums = Orchestrated::new(|_| Sum::default());
        let cluster = Cluster::builder("sums", 2)
            .lease(Duration::from_secs(1))
            .host(TowerHost::new(|_| Sum::default()))
            .join(provider.clone())
            .await
            .unwrap();
        let activities = sums.activity(ActivityRegistry::builder());
        let orchestrations =
            OrchestrationRegistry::builder().register("wait", wait).register("large", large);
        let orchestrations = sums.orchestration(orchestrations);
        let options = RuntimeOptions {
            dispatcher_min_poll_interval: Duration::from_millis(5),
            ..RuntimeOptions::default()
        };
        let client = Client::new(provider.clone());
        let runtime = start(provider, &cluster, activities, orchestrations, options).await;
        Self { sums, cluster, runtime, client }
    }

    fn sum(&self, id: &str) -> OrchestratedRef<Sum> {
        self.sums.actor(&self.cluster, id)
    }

    /// Waits until an instance has this status.
    async fn is(&self, instance: &str, wanted: fn(&OrchestrationStatus) -> bool) {
        while !wanted(&self.client.get_orchestration_status(instance).await.unwrap()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Lets a workflow end, as soon as it waits.
    async fn let_go(&self, instance: &str) {
        while !is_completed(&self.client.get_orchestration_status(instance).await.unwrap()) {
            // Others write.
            let _ = self.client.raise_event(instance, "go", "gone").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// How the workflows ended that the actor asked, as soon as it knows of so many.
    async fn ended(&self, count: usize) -> Vec<String> {
        loop {
            let actor = self.cluster.actor::<Sum>("asks");
            let (_, _, ended) = actor.ask(Command::Add(0)).await.unwrap();
            if ended.len() >= count {
                break ended;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn end(self) {
        self.runtime.shutdown(None).await;
        self.cluster.leave().await.unwrap();
    }
}

fn is_given_up(status: &OrchestrationStatus) -> bool {
    matches!(status, OrchestrationStatus::Failed { .. })
}

fn is_running(status: &OrchestrationStatus) -> bool {
    matches!(status, OrchestrationStatus::Running { .. })
}

fn is_completed(status: &OrchestrationStatus) -> bool {
    matches!(status, OrchestrationStatus::Completed { .. })
}

/// Has duroxide's store execute a statement. Who waits for a lock here holds up who has it.
async fn execute(folder: &Path, sql: &str) {
    let database = rusqlite::Connection::open(folder.join("app.db")).unwrap();
    database.busy_timeout(Duration::ZERO).unwrap();
    while let Err(error) = database.execute_batch(sql) {
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DatabaseBusy), "{error}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// The store refuses what duroxide writes into the history of instances with such a name: events of this type,
/// with such data.
async fn refuse(folder: &Path, like: &str, (event, data): (&str, &str)) {
    let trigger = format!(
        "CREATE TRIGGER refuse BEFORE INSERT ON history
         WHEN NEW.event_type = '{event}' AND NEW.instance_id LIKE '{like}'
             AND NEW.event_data LIKE '{data}'
         BEGIN SELECT RAISE(ABORT, 'refused by the test'); END"
    );
    execute(folder, &trigger).await;
}

/// The instance of an actor that is at work. Between two of its executions there is none.
async fn running(client: &Client, id: &str) -> String {
    loop {
        let running = client.list_instances_by_status("Running").await.unwrap();
        let mut of_it = running.iter().filter(|it| it.ends_with(&format!("actor/sum/{id}")));
        if let Some(instance) = of_it.next() {
            assert_eq!(of_it.next(), None, "{running:?}");
            return instance.clone();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Adds a number: how many there were, and their sum.
async fn answer(sum: &OrchestratedRef<Sum>, number: u64) -> (u64, u64) {
    let (count, sum, _) = sum.ask(Command::Add(number)).await.unwrap().unwrap();
    (count, sum)
}

/// Its store refuses to record the one and the other.
#[tokio::test]
async fn an_actor_that_duroxide_gave_up_goes_on_with_all_it_had_and_was_sent() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    let sum = world.sum("g");
    // Its very first turn.
    refuse(folder.path(), "%/g", ("OrchestrationStarted", "%")).await;
    sum.tell(Command::Add(7)).await.unwrap();
    let mut first = "actor/sum/g".to_owned();
    world.is(&first, is_given_up).await;
    execute(folder.path(), "DROP TRIGGER refuse").await;
    assert_eq!(answer(&sum, 0).await, (2, 7));
    let (mut count, mut total) = (2, 7);
    first = running(&world.client, "g").await;
    for event in [
        ("ActivityCompleted", "%"),
        // One of what the handler sent is posted, and the others are not.
        ("ActivityCompleted", "%reply%:null}%"),
        ("ActivityScheduled", "%"),
        ("ExternalSubscribedPersistent", "%"),
        ("OrchestrationStarted", "%"),
    ] {
        assert_eq!(answer(&sum, 7).await, (count + 1, total + 7), "{event:?}");
        refuse(folder.path(), "%/g", event).await;
        for number in 0..24 {
            let command = if number % 2 == 0 { Command::Children(1) } else { Command::Add(1) };
            sum.tell(command).await.unwrap();
        }
        (count, total) = (count + 1 + 12, total + 7 + 12);
        world.is(&first, is_given_up).await;
        execute(folder.path(), "DROP TRIGGER refuse").await;
        assert_eq!(answer(&sum, 0).await, (count + 1, total), "{event:?}");
        count += 1;
        first = running(&world.client, "g").await;
    }
    for child in ["a child", "another"] {
        let child = world.sum(child);
        while answer(&child, 0).await.1 < 5 * 12 * 2 {}
        assert_eq!(answer(&child, 0).await.1, 5 * 12 * 2);
    }
    world.end().await;
}

/// Before the workflow, while it waits, when it ends, and when the actor was told.
#[tokio::test]
async fn an_actor_hears_once_of_the_workflow_it_asked_though_what_waited_for_it_was_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let mut heard = 0;
    for event in ["OrchestrationCompleted", "ExternalEventPersistent", "SubOrchestrationCompleted"]
    {
        let world = World::begin(folder.path()).await;
        let instance = format!("wait/{event}");
        let actor = world.cluster.actor::<Sum>("asks");
        actor.ask(Command::Ask(instance.clone())).await.unwrap();
        world.is(&instance, is_running).await;
        refuse(folder.path(), "ask/%", (event, "%")).await;
        let running = world.client.list_instances_by_status("Running").await.unwrap();
        let waits = running.iter().find(|it| it.starts_with("ask/")).unwrap();
        if event == "ExternalEventPersistent" {
            while world.client.enqueue_event(waits, "any", "").await.is_err() {}
        } else {
            world.let_go(&instance).await;
        }
        // This one says nothing of where it was. The other goes on, whichever of them is looked at first.
        let broken = format!("ask/broken {event}");
        while world.client.start_orchestration(&broken, "actors:run", "").await.is_err() {}
        world.is(&broken, is_given_up).await;
        world.is(waits, is_given_up).await;
        execute(folder.path(), "DROP TRIGGER refuse").await;
        world.end().await;

        // The next node looks for such instances as it joins.
        let world = World::begin(folder.path()).await;
        world.let_go(&instance).await;
        heard += 1;
        let ended = world.ended(heard).await;
        assert_eq!(ended.last().unwrap(), &format!("{instance} Ok(\"gone\")"));
        assert_eq!(ended.len(), heard, "{ended:?}");
        // What told the actor has ended.
        while !world.client.list_instances_by_status("Running").await.unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        world.end().await;
    }
}

/// Then nothing but the letter has what it begins with.
#[tokio::test]
async fn what_waits_for_a_workflow_begins_though_its_first_turn_was_refused() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    refuse(folder.path(), "ask/%", ("OrchestrationStarted", "%")).await;
    world.cluster.actor::<Sum>("asks").ask(Command::Ask("wait/first".into())).await.unwrap();
    world.is("wait/first", is_running).await;
    world.let_go("wait/first").await;
    assert_eq!(world.ended(1).await, ["wait/first Ok(\"gone\")"]);
    world.end().await;
}

/// What goes on for what waits for a workflow is in no list while it has not begun.
#[tokio::test]
async fn an_actor_hears_of_its_workflow_though_the_first_turns_of_what_goes_on_are_refused_too() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    let actor = world.cluster.actor::<Sum>("asks");
    actor.ask(Command::Ask("wait/again".into())).await.unwrap();
    world.is("wait/again", is_running).await;
    refuse(folder.path(), "ask/%", ("SubOrchestrationCompleted", "%")).await;
    world.let_go("wait/again").await;
    while !world
        .client
        .list_instances_by_status("Failed")
        .await
        .unwrap()
        .iter()
        .any(|it| it.starts_with("ask/"))
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.end().await;
    execute(folder.path(), "DROP TRIGGER refuse").await;
    refuse(folder.path(), "actors:successor/%", ("OrchestrationStarted", "%")).await;
    let world = World::begin(folder.path()).await;
    let given_up = || {
        let database = rusqlite::Connection::open(folder.path().join("app.db")).unwrap();
        let sql = "SELECT count(DISTINCT instance_id) FROM history
                   WHERE instance_id LIKE 'actors:successor/%' AND event_type = 'OrchestrationFailed'";
        database.query_row(sql, [], |row| row.get::<_, u64>(0)).unwrap_or(0)
    };
    while given_up() < 2 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    execute(folder.path(), "DROP TRIGGER refuse").await;
    assert_eq!(world.ended(1).await, ["wait/again Ok(\"gone\")"]);
    world.end().await;
}

/// duroxide does not tell its parent.
#[tokio::test]
async fn an_actor_hears_of_a_workflow_that_was_given_up_itself() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    let actor = world.cluster.actor::<Sum>("asks");
    refuse(folder.path(), "wait/%", ("ExternalEvent", "%")).await;
    actor.ask(Command::Ask("wait/refused".into())).await.unwrap();
    world.is("wait/refused", is_running).await;
    while !is_given_up(&world.client.get_orchestration_status("wait/refused").await.unwrap()) {
        // Others write.
        let _ = world.client.raise_event("wait/refused", "go", "gone").await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let ended = world.ended(1).await;
    assert!(ended[0].starts_with("wait/refused Err("), "{ended:?}");
    world.end().await;
}

#[tokio::test]
async fn a_result_that_is_too_large_is_a_failure() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    world.cluster.actor::<Sum>("asks").ask(Command::Ask("large/1".into())).await.unwrap();
    let ended = world.ended(1).await;
    assert!(ended[0].starts_with("large/1 Err(\"the result does not reach"), "{ended:?}");
    world.end().await;
}

#[tokio::test]
async fn an_actor_that_is_an_orchestration_hears_of_the_workflow_it_asked() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    let sum = world.sum("asks too");
    sum.tell(Command::Ask("wait/other".into())).await.unwrap();
    world.is("wait/other", is_running).await;
    world.let_go("wait/other").await;
    let ended = loop {
        let (_, _, ended) = sum.ask(Command::Add(0)).await.unwrap().unwrap();
        if !ended.is_empty() {
            break ended;
        }
    };
    assert_eq!(ended, ["wait/other Ok(\"gone\")"]);
    world.end().await;
}

#[tokio::test]
async fn a_state_that_is_too_large_fails_its_handler() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    let sum = world.sum("large");
    assert_eq!(answer(&sum, 7).await, (1, 7));
    let failed = sum.ask(Command::Grow(9 << 20)).await.unwrap_err().to_string();
    assert!(failed.contains("the limit is 8388608"), "{failed}");
    assert_eq!(answer(&sum, 1).await, (2, 8));
    world.end().await;
}

/// Also while a node has what it went on with in memory.
#[tokio::test]
async fn an_actor_whose_instances_are_deleted_begins_anew_and_keeps_what_it_is_told_then() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    assert_eq!(answer(&world.sum("d"), 7).await, (1, 7));
    refuse(folder.path(), "%/d", ("ActivityCompleted", "%")).await;
    world.sum("d").tell(Command::Add(1)).await.unwrap();
    world.is("actor/sum/d", is_given_up).await;
    execute(folder.path(), "DROP TRIGGER refuse").await;
    assert_eq!(answer(&world.sum("d"), 0).await, (3, 8));
    let successor = running(&world.client, "d").await;
    for instance in ["actor/sum/d", &successor] {
        while world.client.delete_instance(instance, true).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(answer(&world.sum("d"), 5).await, (1, 5));
    world.end().await;
    let world = World::begin(folder.path()).await;
    assert_eq!(answer(&world.sum("d"), 1).await, (2, 6));
    world.end().await;
}
