//! A recorded journal, played through another version of the program.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use duroxide::providers::Provider;
use duroxide::providers::sqlite::SqliteProvider;
use duroxide_tower::journal::cluster::Cluster;
use duroxide_tower::journal::{ActorProvider, Durability, EventJournal, Limits, TimerId, attach};
use duroxide_tower::test_util::{Aspect, Rehearsal, rehearse};
use duroxide_tower::{
    ActorContext, ClusterActors, DurableActor, DurableActorService, DurableMessage, DurableState,
    TowerHost, async_trait,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// What differs between the versions of the actor.
#[derive(Debug, Clone, Default)]
struct Version {
    /// Taken from each deposit.
    fee: i64,
    /// The state has one field more.
    counts: bool,
    /// Whoever comes to the step waits there for ever.
    stuck: bool,
    /// The step has this name.
    step: Option<&'static str>,
    /// Transfers go to this account.
    to: Option<&'static str>,
    /// Charges that were made at the outside world.
    charged: Arc<AtomicU32>,
}

struct Account {
    version: Version,
    state: State,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct State {
    balance: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deposits: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    later: Option<TimerId>,
}

#[derive(Clone, Serialize, Deserialize, DurableMessage)]
#[durable(name = "account.command")]
enum Command {
    Deposit(i64),
    Transfer(i64),
    Charge,
    Burn,
    /// A deposit now, and one in an hour.
    Later,
    Never,
}

impl DurableState for Account {
    const ACTOR_TYPE: &'static str = "account";
    type State = State;
    fn snapshot(&self) -> impl Serialize {
        &self.state
    }
    fn restore(&mut self, state: State) {
        self.state = state;
    }
}

#[async_trait]
impl DurableActor for Account {
    type Message = Command;
    type Reply = i64;
    type Error = String;

    async fn handle(&mut self, ctx: &mut ActorContext, command: Command) -> Result<i64, String> {
        let Self { version, state } = self;
        match command {
            Command::Deposit(cents) => {
                state.balance += cents - version.fee;
                if version.counts {
                    *state.deposits.get_or_insert_default() += 1;
                }
            }
            Command::Transfer(cents) => {
                state.balance -= cents;
                let to = ctx.actor::<Self>(version.to.unwrap_or("savings"));
                to.tell(Command::Deposit(cents)).map_err(|error| error.to_string())?;
            }
            Command::Charge => {
                let charged = version.charged.clone();
                let stuck = version.stuck;
                let charge = || async move {
                    if stuck {
                        std::future::pending::<()>().await;
                    }
                    charged.fetch_add(1, Ordering::SeqCst)
                };
                let step = version.step.unwrap_or("charge");
                ctx.step(step, charge).await.map_err(|error| error.to_string())?;
                state.balance -= 1;
            }
            Command::Burn => panic!("ashes"),
            Command::Later => {
                let later =
                    |seconds| ctx.schedule(Duration::from_secs(seconds), Command::Deposit(5));
                later(0).map_err(|error| error.to_string())?;
                state.later = Some(later(3600).map_err(|error| error.to_string())?);
            }
            Command::Never => {
                let timer = state.later.take().ok_or("there is none")?;
                ctx.cancel(&timer).map_err(|error| error.to_string())?;
            }
        }
        Ok(state.balance)
    }
}

fn host(version: Version) -> TowerHost<Account> {
    TowerHost::new(move |_| Account { version: version.clone(), state: State::default() })
}

async fn provider(folder: &Path) -> Arc<dyn Provider> {
    let url = format!("sqlite:{}?mode=rwc", folder.join("app.db").display());
    Arc::new(SqliteProvider::new(&url, None).await.unwrap())
}

async fn store(folder: &Path) -> Arc<dyn ActorProvider> {
    let provider = provider(folder).await;
    let attached = tokio::task::spawn_blocking(move || attach(&provider, Durability::PowerLoss));
    attached.await.unwrap().unwrap()
}

/// A cluster of one node with two accounts that did everything, and that still runs.
async fn recorded(folder: &Path) -> Cluster {
    let builder = Cluster::builder("bank", 3).host(host(Version::default()));
    let cluster = builder.join(provider(folder).await).await.unwrap();
    for account in ["current", "other"] {
        let account = cluster.actor::<Account>(account);
        for _ in 0..5 {
            account.ask(Command::Deposit(10)).await.unwrap();
        }
        account.ask(Command::Transfer(7)).await.unwrap();
        account.ask(Command::Charge).await.unwrap();
        account.ask(Command::Burn).await.unwrap_err();
        assert_eq!(account.ask(Command::Deposit(1)).await.unwrap(), 43);
    }
    // Behind what was sent to it.
    let savings = cluster.actor::<Account>("savings");
    while savings.ask(Command::Deposit(0)).await.unwrap() < 14 {
        tokio::task::yield_now().await;
    }
    cluster
}

async fn rehearsed(folder: &Path, version: Version) -> Rehearsal {
    rehearse(store(folder).await, host(version)).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_program_deviates_nowhere_and_its_steps_are_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = recorded(folder.path()).await;
    let version = Version::default();
    let rehearsal = rehearsed(folder.path(), version.clone()).await;
    assert!(rehearsal.is_clean(), "{rehearsal}");
    assert_eq!((rehearsal.actors, rehearsal.unknown), (3, 0));
    assert!(rehearsal.messages >= 2 * 9 + 2, "{rehearsal}");
    assert_eq!(version.charged.load(Ordering::SeqCst), 0, "a step was run");
    // It was only read: its owner goes on.
    let current = cluster.actor::<Account>("current");
    assert_eq!(current.ask(Command::Deposit(1)).await.unwrap(), 44);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_computes_otherwise_is_told_with_commit_and_message() {
    let folder = tempfile::tempdir().unwrap();
    let _cluster = recorded(folder.path()).await;
    let rehearsal = rehearsed(folder.path(), Version { fee: 1, ..Version::default() }).await;
    let of_current: Vec<_> =
        rehearsal.deviations.iter().filter(|it| it.actor.id() == "current").collect();
    let first = of_current[0];
    assert_eq!(first.aspect, Aspect::Reply(1, "account.command".into()));
    assert_eq!((&first.expected, &first.found), (&json!({"Ok": 10}), &json!({"Ok": 9})));
    // Every piece begins with what was recorded, so that one deviation does not make others.
    let states = of_current.iter().filter(|it| it.aspect == Aspect::State);
    assert!(states.clone().count() >= 2, "{rehearsal}");
    for state in states {
        let (was, is) = (state.expected["balance"].as_i64(), state.found["balance"].as_i64());
        assert!(was.unwrap() > is.unwrap(), "{state}");
    }
    assert!(of_current.iter().all(|it| it.aspect != Aspect::Sent), "{rehearsal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_field_that_is_new_is_none_and_what_is_sent_elsewhere_is_a_deviation() {
    let folder = tempfile::tempdir().unwrap();
    let _cluster = recorded(folder.path()).await;
    let rehearsal = rehearsed(folder.path(), Version { counts: true, ..Version::default() }).await;
    assert!(rehearsal.is_clean(), "{rehearsal}");
    let elsewhere = Version { to: Some("gold"), ..Version::default() };
    let rehearsal = rehearsed(folder.path(), elsewhere).await;
    assert_eq!(rehearsal.deviations.len(), 2, "{rehearsal}");
    assert!(rehearsal.deviations.iter().all(|it| it.aspect == Aspect::Sent), "{rehearsal}");
    assert!(rehearsal.to_string().contains("account/gold"), "{rehearsal}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_is_new_is_not_run_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let _cluster = recorded(folder.path()).await;
    let version = Version { step: Some("pay"), ..Version::default() };
    let rehearsal = rehearsed(folder.path(), version.clone()).await;
    assert_eq!(version.charged.load(Ordering::SeqCst), 0, "a step was run");
    let told = "given up: a rehearsal has no result for the step \\\"pay\\\"";
    assert!(rehearsal.to_string().contains(told), "{rehearsal}");
}

/// Production is at its side effect: the rehearsal must not have it as well.
#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_handled_as_far_as_a_step() {
    let folder = tempfile::tempdir().unwrap();
    let journal = EventJournal::open(provider(folder.path()).await).await.unwrap();
    let stuck = Version { stuck: true, ..Version::default() };
    let account = Account { version: stuck, state: State::default() };
    let (service, account) = DurableActorService::new(&journal, "1", account).await.unwrap();
    let running = tokio::spawn(service.run());
    account.tell(Command::Charge).await.unwrap();
    account.tell(Command::Deposit(1)).await.unwrap();
    let version = Version::default();
    let rehearsal = rehearsed(folder.path(), version.clone()).await;
    assert!(rehearsal.is_clean(), "{rehearsal}");
    assert_eq!(version.charged.load(Ordering::SeqCst), 0, "a step was run");
    // What would be given up in any case is told.
    let ashes = TowerHost::new(|_| Ashes(State::default()));
    let rehearsal = rehearse(store(folder.path()).await, ashes).await.unwrap();
    assert_eq!(rehearsal.deviations.len(), 2, "{rehearsal}");
    assert!(rehearsal.to_string().contains("was \"waiting\" and is \"given up: ashes"));
    running.abort();
}

/// An account that always panics.
struct Ashes(State);

impl DurableState for Ashes {
    const ACTOR_TYPE: &'static str = "account";
    type State = State;
    fn snapshot(&self) -> impl Serialize {
        &self.0
    }
    fn restore(&mut self, state: State) {
        self.0 = state;
    }
}

#[async_trait]
impl DurableActor for Ashes {
    type Message = Command;
    type Reply = i64;
    type Error = String;
    async fn handle(&mut self, _: &mut ActorContext, _: Command) -> Result<i64, String> {
        panic!("ashes")
    }
}

/// An account that no longer knows its messages, and whose state became something else.
struct Renamed<S>(S);

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "account.other")]
struct Other;

impl<S: Serialize + DeserializeOwned> DurableState for Renamed<S> {
    const ACTOR_TYPE: &'static str = "account";
    type State = S;
    fn snapshot(&self) -> impl Serialize {
        &self.0
    }
    fn restore(&mut self, state: S) {
        self.0 = state;
    }
}

#[async_trait]
impl<S: Serialize + DeserializeOwned + Send + Sync + 'static> DurableActor for Renamed<S> {
    type Message = Other;
    type Reply = ();
    type Error = String;
    async fn handle(&mut self, _: &mut ActorContext, Other: Other) -> Result<(), String> {
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_that_does_not_decode_is_told_for_every_actor() {
    let folder = tempfile::tempdir().unwrap();
    let _cluster = recorded(folder.path()).await;
    let renamed = TowerHost::new(|_| Renamed(String::new()));
    let rehearsal = rehearse(store(folder.path()).await, renamed).await.unwrap();
    // From its first state on, and as it is now; before that it does not know its message.
    let starts = rehearsal.deviations.iter().filter(|it| it.aspect == Aspect::Start);
    assert_eq!((rehearsal.actors, starts.count()), (0, 6), "{rehearsal}");
    let text = rehearsal.to_string();
    assert!(text.contains("account/savings, now: it does not start: shard 0"), "{text}");
    assert!(text.contains("does not decode") && text.contains("invalid type: map"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_no_longer_known_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let _cluster = recorded(folder.path()).await;
    let renamed = TowerHost::new(|_| Renamed(json!(null)));
    let rehearsal = rehearse(store(folder.path()).await, renamed).await.unwrap();
    assert_eq!(rehearsal.actors, 3);
    let text = rehearsal.to_string();
    let refused =
        "is \"refused: the actor does not know messages of type \\\"account.command\\\"\"";
    assert!(text.contains(refused), "{text}");
}

#[tokio::test]
async fn what_other_actors_and_timers_send_is_played_as_well() {
    let folder = tempfile::tempdir().unwrap();
    let builder = Cluster::builder("bank", 3).host(host(Version::default()));
    let cluster = builder.join(provider(folder.path()).await).await.unwrap();
    let (current, savings) =
        (cluster.actor::<Account>("current"), cluster.actor::<Account>("savings"));
    for _ in 0..3 {
        current.ask(Command::Transfer(1)).await.unwrap();
    }
    current.ask(Command::Later).await.unwrap();
    current.ask(Command::Never).await.unwrap();
    while savings.ask(Command::Deposit(0)).await.unwrap() < 3
        || current.ask(Command::Deposit(0)).await.unwrap() < 2
    {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let found = rehearse(store(folder.path()).await, host(Version::default())).await.unwrap();
    assert!(found.deviations.is_empty() && found.messages > 8, "{found}");
    cluster.leave().await.unwrap();
}

#[tokio::test]
async fn messages_whose_state_the_log_does_not_tell_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let limits = Limits { history_commits: 3, ..Limits::default() };
    let builder = EventJournal::builder().limits(limits);
    let journal = builder.open(provider(folder.path()).await).await.unwrap();
    let account = Account { version: Version::default(), state: State::default() };
    let (service, account) = DurableActorService::new(&journal, "1", account).await.unwrap();
    let running = tokio::spawn(service.run());
    for _ in 0..20 {
        account.ask(Command::Deposit(1)).await.unwrap();
    }
    // A commit that changes nothing has the state before it, and that is not in the log.
    journal.checkpoint().await.unwrap();
    for _ in 0..3 {
        account.ask(Command::Deposit(0)).await.unwrap();
        journal.checkpoint().await.unwrap();
    }
    drop(account);
    running.await.unwrap().unwrap();
    journal.close().await.unwrap();
    let rehearsal = rehearsed(folder.path(), Version::default()).await;
    assert!(rehearsal.is_clean() && rehearsal.unknown > 0, "{rehearsal}");
    assert_eq!(rehearsal.actors, 1);
}
