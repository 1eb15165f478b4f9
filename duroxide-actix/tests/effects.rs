//! What handlers send: to actors, to orchestrations, and to themselves.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::prelude::*;
use duroxide::providers::Provider;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::runtime::{OrchestrationStatus, Runtime, RuntimeOptions};
use duroxide::{Client, OrchestrationContext, OrchestrationRegistry};
use duroxide_actix::journal::cluster::Cluster;
use duroxide_actix::journal::workflow::{
    TIMER, WorkflowResult, for_runtime, next_event, register, register_orchestrations,
};
use duroxide_actix::journal::{
    ActorEvent, ActorId, DurableMessage, DurableState, EventJournal, HistoryEntry, MessageId,
    MessageKey, Missed, OutboxError, TimerId,
};
use duroxide_actix::{
    ActixHost, ActorRef, ClusterActors, DurableActixActor, DurableActor, DurableContext,
    DurableEffects, DurableSend, StartDurable, WrappedHost,
};
use futures::future::join_all;
use futures::{StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};
use support::{Store, run};

/// What was heard, and where it is sent on to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Heard {
    notes: Vec<u64>,
    results: Vec<WorkflowResult>,
    timer: Option<TimerId>,
}

/// Sends so many notes to another actor, from `first` on.
#[derive(Message, Clone, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "test.spread")]
struct Spread {
    to: String,
    first: u64,
    count: u64,
    then: Then,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Then {
    Return,
    Panic,
    /// Sends from a future of the handler.
    Later,
    /// Sends from a future that the handler does not wait for.
    Aside,
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "test.note")]
struct Note(u64);

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "test.ask")]
struct Ask {
    orchestration: String,
    instance: String,
    input: String,
}

/// A result, and what was known when it was asked for.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "test.ended")]
struct Ended {
    asked_for: u64,
    result: WorkflowResult,
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "test.raise")]
struct Raise {
    orchestration: String,
    instance: String,
    first: u64,
    count: u64,
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "()")]
#[durable(name = "test.time")]
enum Time {
    After(u64),
    Every(u64),
    Cancel,
    Forget(TimerId),
}

/// Has two side effects of one name, and a third; then it ends as told, the first time.
#[derive(Message, Clone, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "Vec<u32>")]
#[durable(name = "test.steps")]
struct Steps {
    test: String,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Serialize, Deserialize)]
enum End {
    Return,
    Panic,
    Never,
}

/// How often a side effect happened, by test and step.
static EFFECTS: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());

async fn effect(test: String, step: u32) -> u32 {
    if step == 2 {
        tokio::task::yield_now().await;
    }
    *EFFECTS.lock().unwrap().entry(format!("{test} {step}")).or_default() += 1;
    step
}

/// How often the effects of a test happened.
fn effects(test: &str) -> Vec<u32> {
    let effects = EFFECTS.lock().unwrap();
    effects.iter().filter(|(name, _)| name.starts_with(test)).map(|(_, count)| *count).collect()
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "Heard")]
#[durable(name = "test.show")]
struct Show;

/// Tells another actor, notes it, and answers with an error.
#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "Result<(), String>")]
#[durable(name = "test.decline")]
struct Decline {
    to: String,
    note: u64,
}

#[derive(Message, Serialize, Deserialize, DurableMessage)]
#[rtype(result = "String")]
#[durable(name = "test.refused")]
struct Refused;

fn notes<A, B>(ctx: &mut impl DurableEffects<A>, spread: &Spread)
where
    A: DurableActor,
    B: DurableActor + Handler<Note>,
{
    for n in 0..spread.count {
        ctx.actor::<B>(&spread.to).tell(Note(spread.first + n)).unwrap();
    }
}

macro_rules! actor {
    ($actor:ident, $context:ident, $name:literal) => {
        #[derive(Default)]
        struct $actor(Heard);

        impl DurableState for $actor {
            const ACTOR_TYPE: &'static str = $name;
            type State = Heard;
            fn snapshot(&self) -> impl Serialize {
                &self.0
            }
            fn restore(&mut self, heard: Heard) {
                self.0 = heard;
            }
        }

        impl Actor for $actor {
            type Context = $context<Self>;
        }

        impl DurableActor for $actor {
            type Messages = (Spread, Note, Ask, Ended, Raise, Time, Show, Refused, Steps, Decline);
        }

        impl Handler<Spread> for $actor {
            type Result = ResponseActFuture<Self, ()>;
            fn handle(&mut self, spread: Spread, ctx: &mut Self::Context) -> Self::Result {
                let later = |spread: Spread| {
                    tokio::time::sleep(Duration::from_millis(1)).into_actor(self).map(
                        move |(), _, ctx: &mut Self::Context| {
                            notes::<Self, Self>(ctx, &spread);
                        },
                    )
                };
                match spread.then {
                    Then::Return => notes::<Self, Self>(ctx, &spread),
                    Then::Panic => {
                        notes::<Self, Self>(ctx, &spread);
                        panic!("on purpose");
                    }
                    Then::Later => return Box::pin(later(spread)),
                    Then::Aside => {
                        let later = later(spread);
                        ctx.spawn(later);
                    }
                }
                Box::pin(actix::fut::ready(()))
            }
        }

        impl Handler<Note> for $actor {
            type Result = ();
            fn handle(&mut self, note: Note, _: &mut Self::Context) {
                self.0.notes.push(note.0);
            }
        }

        impl Handler<Decline> for $actor {
            type Result = Result<(), String>;
            fn handle(&mut self, decline: Decline, ctx: &mut Self::Context) -> Self::Result {
                ctx.actor::<Self>(&decline.to).tell(Note(decline.note)).unwrap();
                self.0.notes.push(decline.note);
                Err("no".into())
            }
        }

        impl Handler<Ask> for $actor {
            type Result = ();
            fn handle(&mut self, ask: Ask, ctx: &mut Self::Context) {
                let Ask { orchestration, instance, input } = ask;
                let asked = ctx.ask_workflow(&orchestration, &instance, &input, |result| Ended {
                    asked_for: 7,
                    result,
                });
                asked.unwrap();
            }
        }

        impl Handler<Ended> for $actor {
            type Result = ();
            fn handle(&mut self, Ended { asked_for, result }: Ended, _: &mut Self::Context) {
                assert_eq!(asked_for, 7);
                self.0.results.push(result);
            }
        }

        impl Handler<Raise> for $actor {
            type Result = ();
            fn handle(&mut self, raise: Raise, ctx: &mut Self::Context) {
                let Raise { orchestration, instance, first, count } = raise;
                // Only the first of many is not ignored.
                ctx.start_workflow(&orchestration, &instance, "0").unwrap();
                for n in first..first + count {
                    ctx.raise_event(&instance, "numbers", &n.to_string()).unwrap();
                }
            }
        }

        impl Handler<Time> for $actor {
            type Result = ();
            fn handle(&mut self, time: Time, ctx: &mut Self::Context) {
                match time {
                    Time::After(ms) => {
                        let due = Duration::from_millis(ms);
                        self.0.timer = Some(ctx.schedule(due, Note(ms)).unwrap());
                    }
                    Time::Every(ms) => {
                        let period = Duration::from_millis(ms);
                        let timer = ctx.schedule_every(period, Missed::Once, Note(ms)).unwrap();
                        self.0.timer = Some(timer);
                    }
                    Time::Cancel => ctx.cancel(&self.0.timer.take().unwrap()).unwrap(),
                    Time::Forget(timer) => ctx.cancel(&timer).unwrap(),
                }
            }
        }

        impl Handler<Steps> for $actor {
            type Result = ResponseFuture<Vec<u32>>;
            fn handle(
                &mut self,
                Steps { test, end }: Steps,
                ctx: &mut Self::Context,
            ) -> Self::Result {
                let again = !effects(&test).is_empty();
                let (one, two) = (test.clone(), test.clone());
                let first = ctx.step("effect", || effect(one, 1));
                let steps = ctx.steps().unwrap();
                Box::pin(async move {
                    let first = first.await.unwrap();
                    let second = steps.step("effect", || effect(two, 2)).await.unwrap();
                    match end {
                        End::Panic if !again => panic!("on purpose"),
                        End::Never if !again => std::future::pending().await,
                        _ => {}
                    }
                    let third = steps.step("other", || effect(test, 3)).await.unwrap();
                    vec![first, second, third]
                })
            }
        }

        impl Handler<Show> for $actor {
            type Result = MessageResult<Show>;
            fn handle(&mut self, _: Show, _: &mut Self::Context) -> Self::Result {
                MessageResult(self.0.clone())
            }
        }

        impl Handler<Refused> for $actor {
            type Result = String;
            fn handle(&mut self, _: Refused, ctx: &mut Self::Context) -> String {
                ctx.actor::<Self>("nobody").tell(Note(1)).unwrap_err().to_string()
            }
        }
    };
}

actor!(Own, DurableContext, "own");
actor!(Wrapped, Context, "wrapped");

/// Adds numbers until there are so many; begins anew every twenty.
async fn add(ctx: OrchestrationContext, sum: String) -> Result<String, String> {
    let (mut sum, mut count) = match sum.split_once(' ') {
        Some((sum, count)) => (sum.parse::<u64>().unwrap(), count.parse::<u64>().unwrap()),
        None => (0, 0),
    };
    let wanted: u64 = ctx.instance_id().rsplit('/').next().unwrap().parse().unwrap();
    for _ in 0..20 {
        if count == wanted {
            return Ok(sum.to_string());
        }
        sum += next_event(&ctx, "numbers").await.parse::<u64>().unwrap();
        count += 1;
    }
    ctx.continue_as_new(format!("{sum} {count}")).await
}

async fn answer(_: OrchestrationContext, input: String) -> Result<String, String> {
    if input == "fail" { Err("as asked".into()) } else { Ok(format!("{input}!")) }
}

struct World {
    cluster: Cluster,
    runtime: Arc<Runtime>,
    client: Client,
}

impl World {
    async fn begin(store: &Store) -> Self {
        Self::begin_with(store, 1000).await
    }

    async fn begin_with(store: &Store, inbox_letters: u64) -> Self {
        let provider = store.provider().await;
        let cluster = Cluster::builder("post", 3)
            .lease(Duration::from_secs(1))
            .inbox_letters(inbox_letters)
            .host(ActixHost::new(|_| Own::default()))
            .host(WrappedHost::new(|_| Wrapped::default()))
            .join(provider.clone())
            .await
            .unwrap();
        let runtime = runtime(provider.clone(), &cluster).await;
        Self { cluster, runtime, client: Client::new(provider) }
    }

    fn actor<A: DurableActor>(&self, id: &str) -> ActorRef<A> {
        self.cluster.actor(id)
    }

    async fn output(&self, instance: &str) -> String {
        let time = Duration::from_secs(60);
        match self.client.wait_for_orchestration(instance, time).await.unwrap() {
            OrchestrationStatus::Completed { output, .. } => output,
            status => panic!("{instance}: {status:?}"),
        }
    }

    async fn end(self) {
        self.runtime.shutdown(None).await;
        self.cluster.leave().await.unwrap();
    }
}

async fn runtime(provider: Arc<dyn Provider>, cluster: &Cluster) -> Arc<Runtime> {
    let activities = register(ActivityRegistry::builder(), cluster).build();
    let orchestrations = register_orchestrations(OrchestrationRegistry::builder())
        .register("add", add)
        .register("answer", answer)
        .build();
    let options = RuntimeOptions {
        dispatcher_min_poll_interval: Duration::from_millis(10),
        worker_lock_timeout: Duration::from_secs(1),
        worker_lock_renewal_buffer: Duration::from_millis(300),
        ..RuntimeOptions::default()
    };
    let provider = for_runtime(provider);
    Runtime::start_with_options(provider, activities, orchestrations, options).await
}

/// Asks until what it shows is as wanted.
async fn until<A>(actor: &ActorRef<A>, wanted: impl Fn(&Heard) -> bool) -> Heard
where
    A: DurableActor + Handler<Show>,
{
    loop {
        let heard = actor.ask(Show).await.unwrap();
        if wanted(&heard) {
            return heard;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn spread(to: &str, first: u64, count: u64, then: Then) -> Spread {
    Spread { to: to.to_owned(), first, count, then }
}

async fn notes_arrive<A>(world: &World)
where
    A: DurableActor + Handler<Spread> + Handler<Show> + Handler<Note>,
{
    let (sender, receiver) = (world.actor::<A>("sender"), world.actor::<A>("receiver"));
    let ways = [Then::Return, Then::Later, Then::Return, Then::Aside];
    for (n, then) in (0..).zip(ways) {
        sender.ask(spread("receiver", n * 100, 100, then)).await.unwrap();
        until(&receiver, |heard| heard.notes.len() as u64 >= (n + 1) * 100).await;
    }
    // Two actors send to each other, and to themselves.
    sender.ask(spread("sender", 1000, 10, Then::Return)).await.unwrap();
    receiver.ask(spread("sender", 2000, 10, Then::Return)).await.unwrap();
    let heard = until(&sender, |heard| heard.notes.len() >= 20).await;
    let of = |first: u64| heard.notes.iter().copied().filter(move |it| *it / 1000 == first / 1000);
    assert!(of(1000).eq(1000..1010) && of(2000).eq(2000..2010), "{:?}", heard.notes);
    assert_eq!(receiver.ask(Show).await.unwrap().notes, (0..400).collect::<Vec<_>>());
}

#[test]
fn what_a_handler_sends_arrives_once_and_in_order() {
    run(async {
        let store = Store::new();
        let world = World::begin(&store).await;
        notes_arrive::<Own>(&world).await;
        notes_arrive::<Wrapped>(&world).await;
        world.end().await;
    });
}

async fn a_panic_sends_nothing<A>(world: &World)
where
    A: DurableActor + Handler<Spread> + Handler<Show> + Handler<Note>,
{
    let (sender, receiver) = (world.actor::<A>("sender"), world.actor::<A>("receiver"));
    let sent = [
        spread("receiver", 0, 3, Then::Return),
        spread("receiver", 100, 3, Then::Panic),
        spread("receiver", 200, 3, Then::Return),
    ];
    let sent = join_all(sent.map(|it| sender.ask(it))).await;
    assert!(sent[1].is_err() && sent[0].is_ok() && sent[2].is_ok(), "{sent:?}");
    let heard = until(&receiver, |heard| heard.notes.last() == Some(&202)).await;
    assert_eq!(heard.notes, [0, 1, 2, 200, 201, 202]);
}

#[test]
fn a_handler_that_panics_has_sent_nothing() {
    run(async {
        let store = Store::new();
        let world = World::begin(&store).await;
        a_panic_sends_nothing::<Own>(&world).await;
        a_panic_sends_nothing::<Wrapped>(&world).await;
        world.end().await;
    });
}

async fn an_error_keeps_everything<A>(world: &World)
where
    A: DurableActor + Handler<Decline> + Handler<Show> + Handler<Note>,
{
    let (sender, receiver) = (world.actor::<A>("sender"), world.actor::<A>("receiver"));
    for note in 1..=2 {
        let answer = sender.ask(Decline { to: "receiver".to_owned(), note }).await.unwrap();
        assert_eq!(answer, Err("no".to_owned()));
    }
    assert_eq!(sender.ask(Show).await.unwrap().notes, [1, 2]);
    let heard = until(&receiver, |heard| heard.notes.last() == Some(&2)).await;
    assert_eq!(heard.notes, [1, 2]);
}

#[test]
fn an_error_keeps_what_its_handler_changed_and_sent() {
    run(async {
        let store = Store::new();
        let world = World::begin(&store).await;
        an_error_keeps_everything::<Own>(&world).await;
        an_error_keeps_everything::<Wrapped>(&world).await;
        world.end().await;
    });
}

async fn results_come<A>(world: &World, name: &str)
where
    A: DurableActor + Handler<Ask> + Handler<Show>,
{
    let actor = world.actor::<A>("asker");
    let [good, bad] = ["good", "bad"].map(|how| format!("{name}/{how}"));
    for (instance, input) in [(&good, "yes"), (&bad, "fail")] {
        let (instance, input) = (instance.clone(), input.to_owned());
        let orchestration = "answer".to_owned();
        actor.ask(Ask { orchestration, instance, input }).await.unwrap();
    }
    let mut heard = until(&actor, |heard| heard.results.len() == 2).await;
    heard.results.sort_by(|a, b| b.instance.cmp(&a.instance));
    let result = |instance: &str, result| WorkflowResult { instance: instance.to_owned(), result };
    assert_eq!(
        heard.results,
        [result(&good, Ok("yes!".to_owned())), result(&bad, Err("as asked".to_owned()))]
    );
}

#[test]
fn the_result_of_a_workflow_comes_as_a_message() {
    run(async {
        let store = Store::new();
        let world = World::begin(&store).await;
        results_come::<Own>(&world, "own").await;
        results_come::<Wrapped>(&world, "wrapped").await;
        world.end().await;
    });
}

/// How many events; 10,000 takes a minute or two.
fn burst() -> u64 {
    std::env::var("BURST").map_or(1000, |count| count.parse().unwrap())
}

#[test]
fn a_burst_of_events_to_one_orchestration_is_read_once_each() {
    run(async {
        let store = Store::new();
        let world = World::begin(&store).await;
        let each = burst() / 2;
        let instance = format!("add/{}", 2 * each);
        for (n, actor) in (0..).zip(["one", "two"]) {
            let (orchestration, instance) = ("add".to_owned(), instance.clone());
            let raise = Raise { orchestration, instance, first: n * each, count: each };
            world.actor::<Own>(actor).ask(raise).await.unwrap();
        }
        let sum: u64 = (0..2 * each).sum();
        assert_eq!(world.output(&instance).await, sum.to_string());
        world.end().await;
    });
}

/// An event that overtakes another one takes it away: the last number that was read is greater.
#[test]
fn no_event_overtakes_another_when_the_inbox_is_full() {
    run(async {
        let store = Store::new();
        let world = World::begin_with(&store, 3).await;
        for (n, actor) in (0..).zip(["one", "two", "three"]) {
            let (orchestration, instance) = ("add".to_owned(), "add/300".to_owned());
            let raise = Raise { orchestration, instance, first: n * 100, count: 100 };
            world.actor::<Own>(actor).ask(raise).await.unwrap();
        }
        assert_eq!(world.output("add/300").await, (0..300).sum::<u64>().to_string());
        world.end().await;
    });
}

#[test]
fn a_burst_of_messages_of_one_actor_to_another_arrives() {
    run(async {
        let store = Store::new();
        let world = World::begin(&store).await;
        world
            .actor::<Own>("sender")
            .ask(spread("receiver", 0, 10_000, Then::Return))
            .await
            .unwrap();
        let heard =
            until(&world.actor::<Own>("receiver"), |heard| heard.notes.len() >= 10_000).await;
        assert_eq!(heard.notes, (0..10_000).collect::<Vec<_>>());
        world.end().await;
    });
}

/// The timers of an actor of this node.
async fn timers<A: DurableActor>(world: &World, id: &str) -> Vec<TimerId> {
    let actor = ActorId::new(A::ACTOR_TYPE, id);
    let journal = world.cluster.journal(world.cluster.shard_of(&actor)).unwrap();
    journal.timers(&actor).await.unwrap().into_iter().map(|timer| timer.id).collect()
}

async fn timers_fire<A>(world: &World)
where
    A: DurableActor + Handler<Time> + Handler<Show>,
{
    let actor = world.actor::<A>("waiting");
    actor.ask(Time::After(50)).await.unwrap();
    until(&actor, |heard| !heard.notes.is_empty()).await;
    assert_eq!(timers::<A>(world, "waiting").await, []);
    // A cancelled one does not.
    actor.ask(Time::After(86_400_000)).await.unwrap();
    let set = actor.ask(Show).await.unwrap().timer.unwrap();
    assert_eq!(timers::<A>(world, "waiting").await, [set]);
    actor.ask(Time::Cancel).await.unwrap();
    assert_eq!(timers::<A>(world, "waiting").await, []);
    // One that is set and cancelled again and again.
    actor.ask(Time::Every(20)).await.unwrap();
    until(&actor, |heard| heard.notes.len() >= 4).await;
    actor.ask(Time::Cancel).await.unwrap();
    assert_eq!(timers::<A>(world, "waiting").await, []);
    let heard = actor.ask(Show).await.unwrap();
    assert_eq!(heard.notes[0], 50);
    assert!(heard.notes[1..].iter().all(|note| *note == 20), "{heard:?}");
}

#[test]
fn timers_fire_and_can_be_cancelled() {
    run(async {
        let store = Store::new();
        let world = World::begin(&store).await;
        timers_fire::<Own>(&world).await;
        timers_fire::<Wrapped>(&world).await;
        world.end().await;
    });
}

#[test]
fn a_timer_whose_actor_nobody_knows_for_a_while_fires_later() {
    run(async {
        let store = Store::new();
        let world = World::begin(&store).await;
        let actor = world.actor::<Own>("waiting");
        actor.ask(Time::After(200)).await.unwrap();
        world.end().await;
        // As in the middle of a deployment.
        let provider = store.provider().await;
        let cluster = Cluster::builder("post", 3)
            .host(WrappedHost::new(|_| Wrapped::default()))
            .join(provider.clone())
            .await
            .unwrap();
        let actor = ActorId::new("own", "waiting");
        let shard = cluster.shard_of(&actor);
        let journal = loop {
            match cluster.journal(shard) {
                Some(journal) => break journal,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        };
        // It is asked for, and nobody can start it.
        assert_eq!(journal.awaited().recv().await, Some(actor.clone()));
        assert_eq!(journal.timers(&actor).await.unwrap().len(), 1);
        cluster.leave().await.unwrap();

        let world = World::begin(&store).await;
        let heard = until(&world.actor::<Own>("waiting"), |heard| !heard.notes.is_empty()).await;
        assert_eq!(heard.notes, [200]);
        world.end().await;
    });
}

#[test]
fn what_is_due_while_everything_is_down_fires_once() {
    run(async {
        let store = Store::new();
        let world = World::begin(&store).await;
        let actor = world.actor::<Own>("waiting");
        actor.ask(Time::Every(100)).await.unwrap();
        let before = until(&actor, |heard| !heard.notes.is_empty()).await.notes.len();
        world.end().await;
        // Ten periods pass: that is what this is about.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let world = World::begin(&store).await;
        let actor = world.actor::<Own>("waiting");
        until(&actor, |heard| heard.notes.len() > before + 1).await;
        actor.ask(Time::Cancel).await.unwrap();
        let notes = actor.ask(Show).await.unwrap().notes.len();
        let name = ActorId::new("own", "waiting");
        let journal = world.cluster.journal(world.cluster.shard_of(&name)).unwrap();
        let fired: Vec<_> = journal.history(&name).try_collect::<Vec<_>>().await.unwrap();
        let fired = fired.iter().filter_map(|entry| match entry.event {
            ActorEvent::MessageReceived {
                key: MessageKey::Timer { due_ms, next_ms, .. }, ..
            } => Some((due_ms, next_ms.unwrap())),
            _ => None,
        });
        let fired: Vec<_> = fired.collect();
        assert_eq!(fired.len(), notes);
        assert!(fired.windows(2).all(|two| two[0].1 == two[1].0), "{fired:?}");
        let missed = fired.iter().filter(|(due, next)| next - due >= 1000).count();
        assert_eq!(missed, 1, "{fired:?}");
        world.end().await;
    });
}

/// Versions before 6 of the stored format kept timers as instances of duroxide.
#[test]
fn timers_of_an_earlier_version_fire_and_can_be_cancelled() {
    run(async {
        let store = Store::new();
        let world = World::begin(&store).await;
        let actor = world.actor::<Own>("waiting");
        let set = async |number: u64, due_ms: u64| {
            let instance = format!("timer/own/waiting/{number}");
            let input = serde_json::json!({
                "actor_type": "own", "actor_id": "waiting", "kind": Note::NAME,
                "message": number, "due_ms": due_ms,
            });
            let input = input.to_string();
            world.client.start_orchestration(&instance, TIMER, input).await.unwrap();
            instance
        };
        let fires = set(7, 0).await;
        assert_eq!(world.output(&fires).await, "fired");
        assert_eq!(actor.ask(Show).await.unwrap().notes, [7]);
        let waits = set(8, 253_402_300_799_999).await;
        let timer = serde_json::from_value(serde_json::Value::from(waits.as_str())).unwrap();
        actor.ask(Time::Forget(timer)).await.unwrap();
        let status = world.client.wait_for_orchestration(&waits, Duration::from_secs(60)).await;
        let status = status.unwrap();
        assert!(matches!(status, OrchestrationStatus::Failed { .. }), "{status:?}");
        world.end().await;
    });
}

#[test]
fn a_side_effect_is_not_repeated_when_its_message_is_handled_again() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let steps = |test: &str, end| Steps { test: test.to_owned(), end };
        let own = Own::default().start_durable(&journal, "1").await.unwrap();
        let wrapped =
            DurableActixActor::start(&journal, "1", |_| Wrapped::default()).await.unwrap();
        assert_eq!(own.send(steps("own", End::Return)).await.unwrap(), [1, 2, 3]);
        assert_eq!(own.send(steps("own panics", End::Panic)).await.unwrap(), [1, 2, 3]);
        assert_eq!(effects("own panics"), [1, 1, 1]);
        // Of another message.
        assert_eq!(own.send(steps("own again", End::Return)).await.unwrap(), [1, 2, 3]);
        assert_eq!(effects("own again"), [1, 1, 1]);
        let panics = wrapped.send(steps("wrapped panics", End::Panic)).await;
        assert_eq!(panics.unwrap(), [1, 2, 3]);
        assert_eq!(effects("wrapped panics"), [1, 1, 1]);

        own.do_send(steps("own dies", End::Never));
        wrapped.do_send(steps("wrapped dies", End::Never));
        let history = |id: &str, name| {
            let history = journal.history(&ActorId::new(name, id));
            let is_step = |entry: &Result<HistoryEntry, _>| {
                let recorded =
                    matches!(entry.as_ref().unwrap().event, ActorEvent::StepRecorded { .. });
                std::future::ready(recorded)
            };
            history.filter(is_step).count()
        };
        while history("1", "own").await < 11 || history("1", "wrapped").await < 5 {
            tokio::task::yield_now().await;
        }
        // As after a crash: what was open is fenced.
        let journal = store.open().await;
        let id = MessageId::from_key("again");
        let own = Own::default().start_durable(&journal, "1").await.unwrap();
        let wrapped =
            DurableActixActor::start(&journal, "1", |_| Wrapped::default()).await.unwrap();
        own.send_with_id(id, Show).await.unwrap();
        wrapped.send_with_id(id, Show).await.unwrap();
        assert_eq!(effects("own dies"), [1, 1, 1]);
        assert_eq!(effects("wrapped dies"), [1, 1, 1]);
    });
}

/// Found when a step's handler that began after another one had ended was never heard of again.
#[test]
fn handlers_that_wait_for_the_disk_one_after_the_other_are_all_answered() {
    run(async {
        let store = Store::new();
        let journal = store.open().await;
        let own = Own::default().start_durable(&journal, "1").await.unwrap();
        let wrapped =
            DurableActixActor::start(&journal, "1", |_| Wrapped::default()).await.unwrap();
        let steps = |n: &str| Steps { test: format!("queue {n}"), end: End::Return };
        let sent = ["a", "b", "c"].map(|n| own.send(steps(n)));
        assert!(join_all(sent).await.iter().all(Result::is_ok));
        let sent = ["d", "e", "f"].map(|n| wrapped.send(steps(n)));
        assert!(join_all(sent).await.iter().all(Result::is_ok));
    });
}

#[test]
fn an_actor_of_a_journal_of_one_process_is_told_that_it_cannot_send() {
    run(async {
        let store = Store::new();
        let journal = EventJournal::open(store.provider().await).await.unwrap();
        let actor = Own::default().start_durable(&journal, "alone").await.unwrap();
        let refused = actor.send(Refused).await.unwrap();
        let actor = ActorId::new("own", "alone");
        assert_eq!(refused, OutboxError::NoRelay { actor }.to_string());
    });
}
