//! Tokio actors on two nodes of a cluster.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use duroxide::providers::sqlite::SqliteProvider;
use duroxide_tower::cluster::AskError;
use duroxide_tower::journal::cluster::{Cluster, SendError};
use duroxide_tower::journal::provider::{ActorKey, ActorProvider};
use duroxide_tower::journal::sqlite::SqliteActorProvider;
use duroxide_tower::journal::{ActorId, Durability, Limits, MessageId, MessageKey, ShardId};
use duroxide_tower::{
    ActorContext, ClusterActors, DurableActor, DurableMessage, DurableState, TowerHost, async_trait,
};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

const SHARDS: u32 = 4;

#[derive(Default, DurableState)]
#[durable(actor_type = "account")]
struct Account {
    balance: i64,
}

#[derive(Debug, Clone, Serialize, Deserialize, DurableMessage)]
#[durable(name = "account.command")]
enum Command {
    Deposit(i64),
    Withdraw(i64),
    Panic,
}

#[async_trait]
impl DurableActor for Account {
    type Message = Command;
    type Reply = i64;
    type Error = String;

    async fn handle(&mut self, _: &mut ActorContext, command: Command) -> Result<i64, String> {
        match command {
            Command::Deposit(amount) => self.balance += amount,
            Command::Withdraw(amount) if amount > self.balance => {
                return Err(format!("{} is missing", amount - self.balance));
            }
            Command::Withdraw(amount) => self.balance -= amount,
            Command::Panic => panic!("on purpose"),
        }
        Ok(self.balance)
    }
}

async fn join(folder: &Path) -> Cluster {
    let url = format!("sqlite:{}?mode=rwc", folder.join("app.db").display());
    Cluster::builder("bank", SHARDS)
        .lease(Duration::from_secs(1))
        .host(TowerHost::new(|_| Account::default()))
        .join(Arc::new(SqliteProvider::new(&url, None).await.unwrap()))
        .await
        .unwrap()
}

async fn have(nodes: &[&Cluster], shards: usize) {
    while nodes.iter().any(|node| node.own_shards().len() != shards) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn accounts_are_where_they_are_and_everybody_reaches_them() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (join(folder.path()).await, join(folder.path()).await);
    have(&[&a, &b], 2).await;
    for id in 0..8 {
        let (near, far) = (a.actor::<Account>(id.to_string()), b.actor::<Account>(id.to_string()));
        assert_eq!(near.ask(Command::Deposit(10)).await.unwrap(), 10);
        for account in [&near, &far, &far, &near] {
            assert_eq!(account.ask_with_id(7, Command::Withdraw(4)).await.unwrap(), 6);
        }
        far.tell_with_id(8, Command::Deposit(1)).await.unwrap();
        far.tell_with_id(8, Command::Deposit(1)).await.unwrap();
        // After what it told: the order is that of each sender.
        assert_eq!(far.ask(Command::Deposit(1)).await.unwrap(), 8);
        let error = far.ask(Command::Withdraw(100)).await.unwrap_err();
        assert!(matches!(&error, AskError::Domain(text) if text == "92 is missing"), "{error}");
        for account in [near, far] {
            let error = account.ask(Command::Panic).await.unwrap_err();
            let dead = |error: &SendError| matches!(error, SendError::DeadLetter { .. });
            assert!(matches!(&error, AskError::Send(error) if dead(error)), "{error}");
        }
    }
    drop(a);
    have(&[&b], 4).await;
    for id in 0..8 {
        let account = b.actor::<Account>(id.to_string());
        assert_eq!(account.ask_with_id(7, Command::Withdraw(4)).await.unwrap(), 6, "as before");
        assert_eq!(account.ask(Command::Deposit(0)).await.unwrap(), 8);
    }
}

/// What is asked on the actor's own node leaves nothing in its record: nobody asks for it again.
#[tokio::test]
async fn an_actor_that_was_asked_often_is_as_small_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let store =
        SqliteActorProvider::open(dir.path().join("a.db"), Durability::ProcessCrash).unwrap();
    let host = TowerHost::new(|_| Account::default());
    let cluster = Cluster::builder("bank", 1).host(host).join_on(store.clone()).await.unwrap();
    have(&[&cluster], 1).await;
    let account = cluster.actor::<Account>("1");
    let size = async || {
        cluster.journal(ShardId(0)).unwrap().checkpoint().await.unwrap();
        let name = ActorId::new("account", "1");
        let record = store.load_record(ShardId(0), ActorKey::Name(&name)).await.unwrap();
        record.unwrap().bytes.len()
    };
    account.ask(Command::Deposit(1)).await.unwrap();
    let before = size().await;
    for _ in 0..2_000 {
        account.ask(Command::Deposit(1)).await.unwrap();
        account.tell(Command::Deposit(1)).await.unwrap();
    }
    assert_eq!(account.ask(Command::Deposit(1)).await.unwrap(), 4_002);
    let after = size().await;
    assert!(after < before + 100, "{before} bytes, then {after}");
}

#[derive(Default, DurableState)]
#[durable(actor_type = "hoard")]
struct Hoard {
    kept: String,
}

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "hoard.keep")]
struct Keep(usize);

#[async_trait]
impl DurableActor for Hoard {
    type Message = Keep;
    type Reply = usize;
    type Error = String;

    async fn handle(&mut self, _: &mut ActorContext, keep: Keep) -> Result<usize, String> {
        self.kept.extend(std::iter::repeat_n('x', keep.0));
        Ok(self.kept.len())
    }
}

/// What makes a state too large is given up, and its sender is told; nobody else notices.
#[tokio::test]
async fn a_state_over_its_limit_costs_its_message_only() {
    let dir = tempfile::tempdir().unwrap();
    let store =
        SqliteActorProvider::open(dir.path().join("a.db"), Durability::ProcessCrash).unwrap();
    let limits = Limits { state_bytes: 1_000, ..Limits::default() };
    let builder = Cluster::builder("bank", 1).limits(limits).lease(Duration::from_secs(1));
    let node = builder.clone().host(TowerHost::new(|_| Hoard::default()));
    let (here, there) = (node.join_on(store.clone()).await.unwrap(), builder.join_on(store).await);
    let there = there.unwrap();
    have(&[&here], 1).await;
    for (n, cluster) in [&here, &there].into_iter().enumerate() {
        let hoard = cluster.actor::<Hoard>(n.to_string());
        let (before, too_much, after) =
            tokio::join!(hoard.ask(Keep(5)), hoard.ask(Keep(2_000)), hoard.ask(Keep(5)));
        assert_eq!((before.unwrap(), after.unwrap()), (5, 10));
        let error = too_much.unwrap_err().to_string();
        assert!(error.contains("given up") && error.contains("limit of 1000"), "{error}");
    }
}

/// Handlers that began, that are at work, and that ever were at the same time.
#[derive(Default)]
struct Counts {
    begun: AtomicUsize,
    now: AtomicUsize,
    most: AtomicUsize,
    threads_ended: AtomicUsize,
}

struct AtWork(Arc<Counts>);

impl AtWork {
    fn begin(counts: &Arc<Counts>) -> Self {
        counts.begun.fetch_add(1, Ordering::SeqCst);
        let now = counts.now.fetch_add(1, Ordering::SeqCst) + 1;
        counts.most.fetch_max(now, Ordering::SeqCst);
        Self(counts.clone())
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
    }
}

#[derive(Default, DurableState)]
#[durable(actor_type = "worker")]
struct Worker {
    #[durable(skip)]
    counts: Arc<Counts>,
}

/// The first attempt never ends by itself.
#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "worker.work")]
struct Work;

#[async_trait]
impl DurableActor for Worker {
    type Message = Work;
    type Reply = u64;
    type Error = String;

    async fn handle(&mut self, ctx: &mut ActorContext, _: Work) -> Result<u64, String> {
        let _at_work = AtWork::begin(&self.counts);
        if self.counts.begun.load(Ordering::SeqCst) > 1 {
            return Ok(7);
        }
        // The future is cut off; the thread looks.
        let (steps, counts) = (ctx.steps().unwrap().of_this_attempt(), self.counts.clone());
        std::thread::spawn(move || {
            while steps.is_owner() {
                std::thread::sleep(Duration::from_millis(1));
            }
            counts.threads_ended.fetch_add(1, Ordering::SeqCst);
        });
        std::future::pending().await
    }
}

#[tokio::test]
async fn a_handler_that_is_at_work_is_cut_off_before_another_node_runs_it() {
    let (dir, counts) = (tempfile::tempdir().unwrap(), Arc::<Counts>::default());
    let store =
        SqliteActorProvider::open(dir.path().join("a.db"), Durability::ProcessCrash).unwrap();
    let host = {
        let counts = counts.clone();
        TowerHost::new(move |_| Worker { counts: counts.clone() })
    };
    let node = Cluster::builder("work", 1).lease(Duration::from_secs(2)).host(host);
    let here = node.clone().join_on(store.clone()).await.unwrap();
    have(&[&here], 1).await;
    let worker = node.join_on(store).await.unwrap().actor::<Worker>("1");
    let asking = tokio::spawn(async move { worker.ask(Work).await });
    while counts.begun.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(counts.threads_ended.load(Ordering::SeqCst), 0);
    here.leave().await.unwrap();
    while counts.threads_ended.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(asking.await.unwrap().unwrap(), 7);
    assert_eq!(counts.begun.load(Ordering::SeqCst), 2);
    assert_eq!(counts.most.load(Ordering::SeqCst), 1, "at the same time");
}

/// Asks the next one of a list, and that the rest of it.
#[derive(Default, DurableState)]
#[durable(actor_type = "link")]
struct Link {
    #[durable(skip)]
    cluster: Arc<OnceLock<Cluster>>,
}

#[derive(Debug, Serialize, Deserialize, DurableMessage)]
#[durable(name = "link.ask")]
struct AskOn(Vec<String>);

#[async_trait]
impl DurableActor for Link {
    type Message = AskOn;
    type Reply = String;
    type Error = String;

    async fn handle(
        &mut self,
        _: &mut ActorContext,
        AskOn(mut rest): AskOn,
    ) -> Result<String, String> {
        if rest.is_empty() {
            return Ok("asked all".to_owned());
        }
        let next = rest.remove(0);
        let next = self.cluster.get().unwrap().actor::<Self>(next).ask(AskOn(rest)).await;
        match next {
            Err(AskError::Send(SendError::Deadlock { way, .. })) => Ok(format!("{way:?}")),
            next => next.map_err(|error| error.to_string()),
        }
    }
}

#[tokio::test]
async fn actors_that_would_wait_for_each_other_are_told() {
    let (dir, node) = (tempfile::tempdir().unwrap(), Arc::new(OnceLock::new()));
    let store =
        SqliteActorProvider::open(dir.path().join("a.db"), Durability::ProcessCrash).unwrap();
    let cluster = node.clone();
    let host = TowerHost::new(move |_| Link { cluster: cluster.clone() });
    let cluster = Cluster::builder("links", 2).host(host).join_on(store).await.unwrap();
    node.set(cluster.clone()).unwrap();
    let ask = async |first: &str, rest: &[&str]| {
        let rest = AskOn(rest.iter().map(ToString::to_string).collect());
        cluster.actor::<Link>(first).ask(rest).await.unwrap()
    };
    assert_eq!(ask("a", &["b", "c"]).await, "asked all");
    assert_eq!(ask("a", &["a"]).await, "[ActorId(link/a)]");
    assert_eq!(ask("a", &["b", "a"]).await, "[ActorId(link/a), ActorId(link/b)]");
    assert_eq!(ask("a", &["b"]).await, "asked all", "nobody waits any more");
    cluster.leave().await.unwrap();
}

#[tokio::test]
async fn what_a_node_sends_does_not_overtake_what_was_acknowledged_before_it_came() {
    const ACCOUNTS: u64 = 8;
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}?mode=rwc", folder.path().join("app.db").display());
    let node = async || {
        let provider = Arc::new(SqliteProvider::new(&url, None).await.unwrap());
        (Cluster::builder("one", 1), provider)
    };
    let account = |node: &Cluster, id: u64| node.actor::<Account>(id.to_string());
    let (builder, provider) = node().await;
    let before = builder.join(provider).await.unwrap();
    for id in 0..ACCOUNTS {
        account(&before, id).tell(Command::Deposit(1)).await.unwrap();
    }
    before.leave().await.unwrap();
    let (builder, provider) = node().await;
    let host = TowerHost::new(|_| Account::default());
    let after = builder.host(host).join(provider).await.unwrap();
    while after.own_shards().is_empty() {
        tokio::task::yield_now().await;
    }
    for id in 0..ACCOUNTS {
        assert_eq!(account(&after, id).ask(Command::Withdraw(1)).await.unwrap(), 0);
    }
    after.leave().await.unwrap();
}

#[tokio::test]
async fn a_refused_letter_is_listed_and_can_be_discarded() {
    let folder = tempfile::tempdir().unwrap();
    let a = join(folder.path()).await;
    have(&[&a], SHARDS as usize).await;
    let url = format!("sqlite:{}?mode=rwc", folder.path().join("app.db").display());
    let provider = Arc::new(SqliteProvider::new(&url, None).await.unwrap());
    // Without a host: all that it sends goes through inboxes.
    let b = Cluster::builder("bank", SHARDS).join(provider).await.unwrap();
    let to = ActorId::new("account", "1");
    let key = MessageKey::Caller(MessageId::from(7));
    let payload = b.encode(&"what nobody knows").unwrap();
    b.tell(&to, key, "account.later", payload.clone()).await.unwrap();
    let letters = b.letters(&to, 0).await.unwrap();
    let letter = &letters[0];
    assert_eq!((letters.len(), letter.key, letter.kind.as_str()), (1, key, "account.later"));
    assert_eq!((&letter.payload, letter.is_asked), (&payload, false));
    assert_eq!(b.letters(&to, letter.number).await.unwrap(), []);
    // It holds up nobody.
    assert_eq!(b.actor::<Account>("1").ask(Command::Deposit(1)).await.unwrap(), 1);
    let number = letter.number;
    assert!(!b.discard_letter(&to, number + 1).await.unwrap());
    assert!(b.discard_letter(&to, number).await.unwrap());
    assert!(!b.discard_letter(&to, number).await.unwrap());
    assert_eq!(a.letters(&to, 0).await.unwrap(), []);
    a.leave().await.unwrap();
}

#[derive(Default, DurableState)]
#[durable(actor_type = "patient")]
struct Patient {
    #[durable(skip)]
    counts: Arc<Counts>,
    #[durable(skip)]
    gate: Arc<Notify>,
}

#[async_trait]
impl DurableActor for Patient {
    type Message = Work;
    type Reply = u64;
    type Error = String;

    async fn handle(&mut self, _: &mut ActorContext, _: Work) -> Result<u64, String> {
        let _at_work = AtWork::begin(&self.counts);
        self.gate.notified().await;
        Ok(7)
    }
}

/// For longer than a lease.
#[tokio::test]
async fn a_node_that_leaves_waits_for_its_handlers_as_long_as_it_was_told() {
    const LEASE: Duration = Duration::from_millis(400);
    let (dir, counts, gate) =
        (tempfile::tempdir().unwrap(), Arc::<Counts>::default(), Arc::new(Notify::new()));
    let store =
        SqliteActorProvider::open(dir.path().join("a.db"), Durability::ProcessCrash).unwrap();
    let host = {
        let (counts, gate) = (counts.clone(), gate.clone());
        TowerHost::new(move |_| Patient { counts: counts.clone(), gate: gate.clone() })
    };
    let node =
        Cluster::builder("work", 1).lease(LEASE).patience(Duration::from_secs(600)).host(host);
    let here = node.clone().join_on(store.clone()).await.unwrap();
    have(&[&here], 1).await;
    let there = node.join_on(store).await.unwrap();
    let patient = there.actor::<Patient>("1");
    let asking = tokio::spawn(async move { patient.ask(Work).await });
    while counts.begun.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut leaving = pin!(here.leave());
    // It does not end, and nobody else takes the shard.
    assert!(tokio::time::timeout(LEASE * 4, leaving.as_mut()).await.is_err());
    assert_eq!(there.own_shards(), []);
    gate.notify_one();
    leaving.await.unwrap();
    assert_eq!(asking.await.unwrap().unwrap(), 7);
    assert_eq!(counts.begun.load(Ordering::SeqCst), 1, "it was not cut off");
}

#[tokio::test]
async fn one_key_for_two_messages_gives_each_its_own_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (join(folder.path()).await, join(folder.path()).await);
    have(&[&a, &b], 2).await;
    for id in 0..8 {
        // On two actors it is two keys, whichever node they are on.
        let accounts = ["x", "y", "z"].map(|name| b.actor::<Account>(format!("{name}{id}")));
        let sent = (1..).zip(&accounts).map(|(amount, account)| async move {
            assert_eq!(account.ask_with_id(9, Command::Deposit(amount)).await.unwrap(), amount);
        });
        futures::future::join_all(sent).await;
        // On one of them the other message has no outcome.
        let same = accounts[0].ask_with_id(9, Command::Deposit(1));
        let other = accounts[0].ask_with_id(9, Command::Deposit(2));
        let (same, other) = futures::future::join(same, other).await;
        assert_eq!(same.unwrap(), 1);
        let error = other.unwrap_err();
        let reused = |error: &SendError| matches!(error, SendError::IdReused { .. });
        assert!(matches!(&error, AskError::Send(error) if reused(error)), "{error}");
    }
}

/// An actor that cannot be made once is asked for again, and the next message makes it.
#[tokio::test]
async fn an_actor_that_panics_as_it_is_made_refuses_that_message_and_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}?mode=rwc", folder.path().join("app.db").display());
    let made = AtomicUsize::new(0);
    let host = TowerHost::new(move |_| {
        assert!(made.fetch_add(1, Ordering::SeqCst) > 0, "on purpose");
        Account::default()
    });
    let cluster = Cluster::builder("bank", SHARDS).host(host);
    let provider = SqliteProvider::new(&url, None).await.unwrap();
    let cluster = cluster.join(Arc::new(provider)).await.unwrap();
    let account = cluster.actor::<Account>("1");
    let refused = account.ask(Command::Deposit(1)).await.unwrap_err().to_string();
    assert!(refused.contains("account/1 panicked as it was started: on purpose"), "{refused}");
    assert_eq!(account.ask(Command::Deposit(2)).await.unwrap(), 2);
    cluster.leave().await.unwrap();
}
