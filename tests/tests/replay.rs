//! Orchestrations that an earlier version began go on: their histories are in `fixtures/`, one file a
//! version. With `RECORD=file` this records what today's version writes; a new version adds a file, it
//! changes none.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use actix::prelude::*;
use duroxide::providers::Provider;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{Runtime, RuntimeOptions};
use duroxide::{Client, OrchestrationContext, OrchestrationRegistry, OrchestrationStatus};
use duroxide_actix::journal::cluster::Cluster;
use duroxide_actix::journal::workflow::{
    WorkflowResult, for_runtime, next_event, register, register_orchestrations,
};
use duroxide_actix::journal::{DurableMessage, DurableState, Missed};
use duroxide_actix::{
    ActorRef, ClusterActors, DurableActor, DurableEffects, WorkflowActors, WrappedHost,
};
use serde::{Deserialize, Serialize};

/// An actor that has a timer and a workflow.
#[derive(Default, Clone, DurableState, Serialize, Deserialize)]
#[durable(actor_type = "witness")]
struct Witness {
    asked: u32,
    told: u32,
    ticks: u32,
    once: u32,
    result: Option<String>,
}

impl Actor for Witness {
    type Context = Context<Self>;
}

impl DurableActor for Witness {
    type Messages = (Begin, Question, Tick, Once, Ended, Show);
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "witness.begin")]
struct Begin;

impl Handler<Begin> for Witness {
    type Result = ();
    fn handle(&mut self, _: Begin, ctx: &mut Self::Context) {
        ctx.schedule_every(Duration::from_secs(1), Missed::Once, Tick).unwrap();
        ctx.schedule(Duration::from_secs(3), Once).unwrap();
        ctx.ask_workflow("talk", "talk/1", "", Ended).unwrap();
        ctx.raise_event("talk/1", "words", "first").unwrap();
    }
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "u32")]
#[durable(name = "witness.question")]
struct Question(String);

impl Handler<Question> for Witness {
    type Result = u32;
    fn handle(&mut self, question: Question, _: &mut Self::Context) -> u32 {
        self.told += u32::from(question.0 == "told");
        self.asked += 1;
        self.asked
    }
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "witness.tick")]
struct Tick;

impl Handler<Tick> for Witness {
    type Result = ();
    fn handle(&mut self, _: Tick, _: &mut Self::Context) {
        self.ticks += 1;
    }
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "witness.once")]
struct Once;

impl Handler<Once> for Witness {
    type Result = ();
    fn handle(&mut self, _: Once, _: &mut Self::Context) {
        self.once += 1;
    }
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "witness.ended")]
struct Ended(WorkflowResult);

impl Handler<Ended> for Witness {
    type Result = ();
    fn handle(&mut self, ended: Ended, _: &mut Self::Context) {
        self.result = ended.0.result.ok();
    }
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "Witness")]
#[durable(name = "witness.show")]
struct Show;

impl Handler<Show> for Witness {
    type Result = MessageResult<Show>;
    fn handle(&mut self, _: Show, _: &mut Self::Context) -> Self::Result {
        MessageResult(self.clone())
    }
}

/// Asks and tells, hears a word, does it again, and hears another one.
async fn talk(ctx: OrchestrationContext, _: String) -> Result<String, String> {
    let witness = ctx.actor::<Witness>("1");
    let mut heard = Vec::new();
    for _ in 0..2 {
        let question = Question("asked".into());
        let within = Duration::from_secs(60);
        witness.ask_within(within, question).await.map_err(|error| error.to_string())?;
        witness.tell(Question("told".into())).await.map_err(|error| error.to_string())?;
        heard.push(next_event(&ctx, "words").await);
    }
    Ok(heard.join(" "))
}

async fn begin(store: &Path) -> (Cluster, Arc<Runtime>, Client) {
    let url = format!("sqlite:{}?mode=rwc", store.display());
    let provider = Arc::new(SqliteProvider::new(&url, None).await.unwrap()) as Arc<dyn Provider>;
    let cluster = Cluster::builder("replay", 2)
        .host(WrappedHost::new(|_| Witness::default()))
        .join(provider.clone())
        .await
        .unwrap();
    let activities = register(ActivityRegistry::builder(), &cluster).build();
    let orchestrations =
        register_orchestrations(OrchestrationRegistry::builder()).register("talk", talk).build();
    let options = RuntimeOptions::default();
    let runtime = Runtime::start_with_options(
        for_runtime(provider.clone()),
        activities,
        orchestrations,
        options,
    );
    let runtime = runtime.await;
    (cluster, runtime, Client::new(provider))
}

async fn until(witness: &ActorRef<Witness>, wanted: impl Fn(&Witness) -> bool) -> Witness {
    loop {
        let shown = witness.ask(Show).await.unwrap();
        if wanted(&shown) {
            return shown;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The store of duroxide as statements of SQL, without what is only of its own making.
fn dump(store: &Path) -> String {
    let output = std::process::Command::new("sqlite3").arg(store).arg(".dump").output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn what_earlier_versions_began_goes_on() {
    actix::System::new().block_on(async {
        // A replay that goes wrong ends nothing.
        let test = tokio::time::timeout(Duration::from_secs(60), run());
        test.await.expect("an orchestration does not go on");
    });
}

async fn run() {
    if let Ok(file) = std::env::var("RECORD") {
        return record(Path::new(&file)).await;
    }
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    let mut replayed = 0;
    for file in std::fs::read_dir(fixtures).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|it| it == "sql") {
            println!("{}", path.display());
            replay(&std::fs::read_to_string(path).unwrap()).await;
            replayed += 1;
        }
    }
    assert!(replayed > 0);
}

/// Stops where the workflow has asked once and waits for its second word, the periodic timer has
/// ticked, and the other one waits.
async fn record(file: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("app.db");
    let (cluster, runtime, _) = begin(&store).await;
    let witness = cluster.actor::<Witness>("1");
    witness.ask(Begin).await.unwrap();
    until(&witness, |it| it.told == 2 && it.ticks > 0).await;
    runtime.shutdown(None).await;
    assert_eq!(witness.ask(Show).await.unwrap().once, 0, "too late");
    cluster.leave().await.unwrap();
    std::fs::write(file, dump(&store)).unwrap();
}

async fn replay(recorded: &str) {
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("app.db");
    rusqlite::Connection::open(&store).unwrap().execute_batch(recorded).unwrap();
    // The actors begin anew; what they hear is what the orchestrations have not told yet.
    let (cluster, runtime, client) = begin(&store).await;
    let witness = cluster.actor::<Witness>("1");
    client.enqueue_event("talk/1", "words", "second").await.unwrap();
    let shown = until(&witness, |it| it.result.is_some() && it.once > 0 && it.ticks > 1).await;
    assert_eq!(shown.result.as_deref(), Some("first second"));
    assert_eq!(
        (shown.asked, shown.told, shown.once),
        (0, 0, 1),
        "the recorded part is not repeated"
    );
    for instance in ["talk/1", "timer/witness/1/2"] {
        let status =
            client.wait_for_orchestration(instance, Duration::from_secs(30)).await.unwrap();
        assert!(matches!(status, OrchestrationStatus::Completed { .. }), "{instance}: {status:?}");
    }
    runtime.shutdown(None).await;
    cluster.leave().await.unwrap();
}
