//! Actors that are orchestrations.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{Runtime, RuntimeOptions};
use duroxide::{Client, OrchestrationRegistry};
use duroxide_tower::journal::cluster::{Cluster, SendError};
use duroxide_tower::journal::workflow::{
    OrchestratedError, WorkflowHost, register, register_orchestrations,
};
use duroxide_tower::{
    ActorContext, DurableActor, DurableMessage, DurableState, Orchestrated, OrchestratedRef,
    async_trait,
};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};

use self::support::store_in;

/// The numbers it got: how many, and their sum.
#[derive(Default, DurableState)]
#[durable(actor_type = "sum/of")]
struct Sum {
    count: u64,
    sum: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, DurableMessage)]
#[durable(name = "sum.command")]
enum Command {
    Add(u64),
    /// Adds here, and there.
    Both(String, u64),
    Later(u64),
    /// Adds at two children, twice.
    Children(u64),
    Refuse,
    Panic,
}

#[async_trait]
impl DurableActor for Sum {
    type Message = Command;
    type Reply = (u64, u64);
    type Error = String;

    async fn handle(
        &mut self,
        ctx: &mut ActorContext,
        command: Command,
    ) -> Result<(u64, u64), String> {
        match command {
            Command::Add(number) => {
                // Waits for something, as a handler may.
                tokio::task::yield_now().await;
                self.count += 1;
                self.sum += number;
            }
            Command::Both(event, number) => {
                self.count += 1;
                self.sum += number;
                ctx.start_workflow("hear", &event, "").unwrap();
                ctx.raise_event(&event, "numbers", &number.to_string()).unwrap();
            }
            Command::Later(number) => {
                self.count += 1;
                ctx.start_workflow("hear", "hear/1", "").unwrap();
                ctx.raise_event("hear/1", "numbers", &number.to_string()).unwrap();
                return Err("not now".into());
            }
            Command::Children(number) => {
                for child in ["a child", "another"] {
                    ctx.orchestrated::<Self>(child).tell(Command::Add(number)).unwrap();
                    ctx.orchestrated::<Self>(child).tell(Command::Add(1)).unwrap();
                }
            }
            Command::Refuse => return Err("no".into()),
            Command::Panic => panic!("on purpose"),
        }
        Ok((self.count, self.sum))
    }
}

async fn hear(ctx: duroxide::OrchestrationContext, _: String) -> Result<String, String> {
    let first = duroxide_tower::journal::workflow::next_event(&ctx, "numbers").await;
    Ok(format!("{first} {}", duroxide_tower::journal::workflow::next_event(&ctx, "numbers").await))
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
            .host(WorkflowHost::new(provider.clone()))
            .join(provider.clone())
            .await
            .unwrap();
        let activities = sums.activity(register(ActivityRegistry::builder(), &cluster)).build();
        let orchestrations = register_orchestrations(OrchestrationRegistry::builder());
        let orchestrations = sums.orchestration(orchestrations).register("hear", hear).build();
        let options = RuntimeOptions {
            dispatcher_min_poll_interval: Duration::from_millis(5),
            worker_lock_timeout: Duration::from_secs(1),
            worker_lock_renewal_buffer: Duration::from_millis(300),
            ..RuntimeOptions::default()
        };
        let runtime =
            Runtime::start_with_options(provider.clone(), activities, orchestrations, options);
        Self { sums, cluster, runtime: runtime.await, client: Client::new(provider) }
    }

    fn sum(&self, id: &str) -> OrchestratedRef<Sum> {
        self.sums.actor(&self.cluster, id)
    }

    async fn end(self) {
        self.runtime.shutdown(None).await;
        self.cluster.leave().await.unwrap();
    }
}

#[tokio::test]
async fn it_answers_remembers_and_goes_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    let sum = world.sum("a");
    assert_eq!(sum.ask(Command::Add(5)).await.unwrap(), Ok((1, 5)));
    for _ in 0..2 {
        assert_eq!(sum.ask_with_id(7, Command::Add(1)).await.unwrap(), Ok((2, 6)));
    }
    assert_eq!(sum.ask(Command::Refuse).await.unwrap(), Err("no".into()));
    let panicked = sum.ask(Command::Panic).await;
    assert!(
        matches!(
            &panicked,
            Err(OrchestratedError::Send(SendError::DeadLetter { attempts: 3, error, .. }))
                if &**error == "on purpose"
        ),
        "{panicked:?}"
    );
    world.end().await;

    let world = World::begin(folder.path()).await;
    let sum = world.sum("a");
    assert_eq!(sum.ask_with_id(7, Command::Add(1)).await.unwrap(), Ok((2, 6)));
    assert_eq!(sum.ask(Command::Add(1)).await.unwrap(), Ok((3, 7)));
    assert_eq!(world.sum("b").ask(Command::Add(1)).await.unwrap(), Ok((1, 1)));
    world.end().await;
}

#[tokio::test]
async fn what_it_sends_arrives_once_also_with_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    let sum = world.sum("a");
    sum.ask(Command::Later(1)).await.unwrap().unwrap_err();
    let (count, _) = sum.ask(Command::Both("hear/1".into(), 2)).await.unwrap().unwrap();
    assert_eq!(count, 2);
    sum.ask(Command::Both("hear/1".into(), 3)).await.unwrap().unwrap();
    let heard = world.client.wait_for_orchestration("hear/1", Duration::from_secs(50)).await;
    let duroxide::OrchestrationStatus::Completed { output, .. } = heard.unwrap() else { panic!() };
    assert_eq!(output, "1 2");
    sum.ask(Command::Children(40)).await.unwrap().unwrap();
    for child in ["a child", "another"] {
        while world.sum(child).ask(Command::Add(0)).await.unwrap().unwrap().1 < 41 {}
    }
    world.end().await;
}

#[tokio::test]
async fn callers_at_once_are_handled_once_each_and_all_get_their_own_reply() {
    const CALLERS: u64 = 300;
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    let sum = world.sum("busy");
    let asks = (0..CALLERS).map(|_| sum.ask(Command::Add(1)));
    let mut counts: Vec<_> =
        try_join_all(asks).await.unwrap().into_iter().map(|it| it.unwrap().0).collect();
    counts.sort_unstable();
    assert!(counts.into_iter().eq(1..=CALLERS));
    assert_eq!(sum.ask(Command::Add(0)).await.unwrap(), Ok((CALLERS + 1, CALLERS)));
    world.end().await;
}

/// With whoever asks it in the meantime.
#[tokio::test]
async fn an_actor_that_is_deleted_begins_again_and_answers_everybody() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    let sum = world.sum("d");
    for _ in 0..3 {
        let asks = try_join_all((0..8).map(|_| sum.ask(Command::Add(1))));
        let deleting = async {
            // duroxide's own statement does not wait for the others.
            while world.client.delete_instance("actor/sum%2Fof/d", true).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let (answers, ()) = futures::future::join(asks, deleting).await;
        assert!(answers.unwrap().iter().all(Result::is_ok));
    }
    world.end().await;
}

#[tokio::test]
async fn an_actor_may_have_any_name() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::begin(folder.path()).await;
    let long = "x".repeat(1024);
    for id in ["a::sub::b", "sub::", " %2F/\u{1F980}\"'", "a\nb", long.as_str()] {
        let sum = world.sum(id);
        assert_eq!(sum.ask(Command::Add(2)).await.unwrap(), Ok((1, 2)), "{id}");
        assert_eq!(sum.ask(Command::Add(2)).await.unwrap(), Ok((2, 4)), "{id}");
        sum.ask(Command::Children(0)).await.unwrap().unwrap();
    }
    world.end().await;
}

/// With `BURST=10000` it goes through a thousand executions.
#[tokio::test]
async fn a_burst_of_messages_is_handled_once_each_though_everything_is_stopped_on_the_way() {
    let burst = std::env::var("BURST").map_or(300, |burst| burst.parse::<u64>().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::begin(folder.path()).await;
    for part in 0..3 {
        let sum = world.sum("busy");
        let tells = (part * burst / 3..(part + 1) * burst / 3).map(|number| {
            let sum = sum.clone();
            async move { sum.tell_with_id(u128::from(number), Command::Add(number)).await }
        });
        try_join_all(tells).await.unwrap();
        // In the middle of its work.
        world.runtime.clone().shutdown(Some(0)).await;
        drop((sum, world));
        world = World::begin(folder.path()).await;
    }
    let (count, sum) = loop {
        let (count, sum) = world.sum("busy").ask(Command::Add(0)).await.unwrap().unwrap();
        if sum >= (0..burst).sum() {
            break (count, sum);
        }
    };
    assert_eq!(sum, (0..burst).sum::<u64>());
    assert!(count > burst);
    let executions = world.client.list_executions("actor/sum%2Fof/busy").await.unwrap();
    assert!(executions.iter().max().unwrap() > &(burst / 10));
    // Sixteen, and the one that runs.
    assert!(executions.len() <= 17, "{executions:?}");
    world.end().await;
}
