//! What handlers send, and their side effects.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

use duroxide::providers::sqlite::SqliteProvider;
use duroxide::runtime::Runtime;
use duroxide::runtime::RuntimeOptions;
use duroxide::runtime::registry::ActivityRegistry;
use duroxide::{OrchestrationContext, OrchestrationRegistry};
use duroxide_tower::journal::cluster::Cluster;
use duroxide_tower::journal::workflow::{WorkflowResult, next_event, start};
use duroxide_tower::journal::{ActorId, Limits, SetTimer, TimerId};
use duroxide_tower::{
    ActorContext, ActorRef, ClusterActors, DurableActor, DurableMessage, DurableState, TowerHost,
    async_trait,
};
use serde::{Deserialize, Serialize};

#[derive(Default, DurableState)]
#[durable(actor_type = "account")]
struct Account {
    balance: i64,
    approved: Option<WorkflowResult>,
    reminder: Option<TimerId>,
}

#[derive(Debug, Clone, Serialize, Deserialize, DurableMessage)]
#[durable(name = "account.command")]
enum Command {
    Deposit(i64),
    /// Tells the other account first, and looks at its own balance then.
    Transfer {
        to: String,
        amount: i64,
        panic: bool,
    },
    /// Two deposits of one; the second may be too much for the outbox.
    TellTwice {
        to: String,
        panic: bool,
    },
    Approve,
    Approved {
        how: WorkflowResult,
    },
    Remind,
    /// After so many milliseconds.
    RemindAfter(u64),
    Forget,
    Charge,
    Show,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Shown {
    balance: i64,
    approved: Option<WorkflowResult>,
}

static CHARGED: AtomicU32 = AtomicU32::new(0);

#[async_trait]
impl DurableActor for Account {
    type Message = Command;
    type Reply = Shown;
    type Error = String;

    async fn handle(&mut self, ctx: &mut ActorContext, command: Command) -> Result<Shown, String> {
        match command {
            Command::Deposit(amount) => self.balance += amount,
            Command::Transfer { to, amount, panic } => {
                let told = ctx.actor::<Self>(to).tell(Command::Deposit(amount));
                told.map_err(|error| error.to_string())?;
                assert!(!panic, "on purpose");
                if self.balance < amount {
                    // A fee: an error keeps what was changed, and what was sent.
                    self.balance -= 1;
                    return Err("too little".into());
                }
                self.balance -= amount;
            }
            Command::TellTwice { to, panic } => {
                for _ in 0..2 {
                    let told = ctx.actor::<Self>(&to).tell(Command::Deposit(1));
                    assert!(told.is_ok() || !panic, "{told:?}");
                    told.map_err(|error| error.to_string())?;
                }
            }
            Command::Approve => {
                let instance = format!("approve/{}", ctx.actor_id().id());
                ctx.ask_workflow("approve", &instance, "", |how| Command::Approved { how })
                    .map_err(|error| error.to_string())?;
                ctx.raise_event(&instance, "votes", "yes").map_err(|error| error.to_string())?;
            }
            Command::Approved { how } => self.approved = Some(how),
            Command::Remind => {
                ctx.schedule(Duration::from_millis(20), Command::Deposit(1000)).unwrap();
                let later = ctx.schedule(Duration::from_secs(86_400), Command::Deposit(1));
                self.reminder = Some(later.unwrap());
            }
            Command::RemindAfter(ms) => {
                let later = ctx.schedule(Duration::from_millis(ms), Command::Deposit(1)).unwrap();
                self.reminder = Some(later);
            }
            Command::Forget => ctx.cancel(&self.reminder.take().unwrap()).unwrap(),
            Command::Charge => {
                let charge = || async { CHARGED.fetch_add(1, Ordering::SeqCst) + 1 };
                let charged = ctx.step("charge", charge).await.unwrap();
                assert!(ctx.attempts() > 0, "on purpose");
                self.balance -= i64::from(charged);
            }
            Command::Show => {}
        }
        Ok(Shown { balance: self.balance, approved: self.approved.clone() })
    }
}

async fn approve(ctx: OrchestrationContext, _: String) -> Result<String, String> {
    Ok(next_event(&ctx, "votes").await)
}

struct World {
    _folder: tempfile::TempDir,
    cluster: Cluster,
    runtime: Arc<Runtime>,
}

impl World {
    async fn begin() -> Self {
        Self::with(Limits::default()).await
    }

    async fn with(limits: Limits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", folder.path().join("app.db").display());
        let provider = Arc::new(SqliteProvider::new(&url, None).await.unwrap());
        let cluster = Cluster::builder("bank", 2)
            .limits(limits)
            .host(TowerHost::new(|_| Account::default()))
            .join(provider.clone())
            .await
            .unwrap();
        let orchestrations = OrchestrationRegistry::builder().register("approve", approve);
        let activities = ActivityRegistry::builder();
        let options = RuntimeOptions::default();
        let runtime = start(provider.clone(), &cluster, activities, orchestrations, options).await;
        Self { _folder: folder, cluster, runtime }
    }

    fn account(&self, id: &str) -> ActorRef<Account> {
        self.cluster.actor(id)
    }

    async fn timers(&self, id: &str) -> Vec<SetTimer> {
        let actor = ActorId::new("account", id);
        let journal = self.cluster.journal(self.cluster.shard_of(&actor)).unwrap();
        journal.timers(&actor).await.unwrap()
    }

    async fn end(self) {
        self.runtime.shutdown(None).await;
        self.cluster.leave().await.unwrap();
    }
}

async fn until(account: &ActorRef<Account>, wanted: impl Fn(&Shown) -> bool) -> Shown {
    loop {
        let shown = account.ask(Command::Show).await.unwrap();
        if wanted(&shown) {
            return shown;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_a_handler_sends_arrives_also_with_an_error_and_not_after_a_panic() {
    let world = World::begin().await;
    let (a, b) = (world.account("a"), world.account("b"));
    let transfer = |amount, panic| Command::Transfer { to: "b".into(), amount, panic };
    a.ask(Command::Deposit(10)).await.unwrap();
    assert!(a.ask(transfer(1, true)).await.is_err());
    assert!(a.ask(transfer(100, false)).await.is_err());
    assert_eq!(a.ask(transfer(7, false)).await.unwrap().balance, 2);
    // The last one, and so all that were sent.
    assert_eq!(until(&b, |shown| shown.balance >= 107).await.balance, 107);
    world.end().await;
}

#[tokio::test]
async fn an_actor_whose_outbox_is_full_cannot_send_until_something_has_arrived() {
    // One message at a time.
    let world = World::with(Limits { outbox_bytes: 1, ..Limits::default() }).await;
    let (a, b) = (world.account("a"), world.account("b"));
    let twice = |panic| Command::TellTwice { to: "b".into(), panic };
    let full = a.ask(twice(false)).await.unwrap_err().to_string();
    assert!(full.contains("account/a has sent") && full.contains("Limits::outbox_bytes"), "{full}");
    assert_eq!(until(&b, |shown| shown.balance >= 1).await.balance, 1, "the first one arrives");
    // A handler that does not take it for an answer fails, and has sent nothing.
    let dead = a.ask(twice(true)).await.unwrap_err();
    assert!(dead.to_string().contains("given up after 3 attempts"), "{dead}");
    let begun = Instant::now();
    for sent in 0..3 {
        let once = Command::Transfer { to: "b".into(), amount: 0, panic: false };
        while let Err(full) = a.ask(once.clone()).await {
            assert!(full.to_string().contains("has sent"), "{full}");
            assert!(begun.elapsed() < Duration::from_secs(20), "full after {sent}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    assert_eq!(until(&b, |shown| shown.balance >= 1).await.balance, 1);
    world.end().await;
}

#[tokio::test]
async fn workflows_events_and_timers() {
    let world = World::begin().await;
    let account = world.account("7");
    account.ask(Command::Approve).await.unwrap();
    let shown = until(&account, |shown| shown.approved.is_some()).await;
    let expected = WorkflowResult { instance: "approve/7".into(), result: Ok("yes".into()) };
    assert_eq!(shown.approved, Some(expected));
    account.ask(Command::Remind).await.unwrap();
    assert_eq!(until(&account, |shown| shown.balance != 0).await.balance, 1000);
    assert_eq!(world.timers("7").await.len(), 1, "the other one");
    account.ask(Command::Forget).await.unwrap();
    assert_eq!(world.timers("7").await, []);
    world.end().await;
}

#[tokio::test]
async fn a_timer_that_is_never_due_waits() {
    let world = World::begin().await;
    let account = world.account("late");
    account.ask(Command::RemindAfter(u64::MAX)).await.unwrap();
    // One that is set after it is due before it.
    account.ask(Command::Remind).await.unwrap();
    assert_eq!(until(&account, |shown| shown.balance >= 1000).await.balance, 1000);
    let timers = world.timers("late").await;
    let end_of_9999 = UNIX_EPOCH + Duration::from_millis(253_402_300_799_999);
    assert_eq!(timers.last().map(|timer| timer.due), Some(end_of_9999), "{timers:?}");
    world.end().await;
}

#[tokio::test]
async fn a_side_effect_is_not_repeated() {
    let world = World::begin().await;
    let account = world.account("charged");
    // It panics after the step, once.
    assert_eq!(account.ask(Command::Charge).await.unwrap().balance, -1);
    assert_eq!(CHARGED.load(Ordering::SeqCst), 1);
    world.end().await;
}
