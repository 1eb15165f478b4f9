//! What another actor sent and its receiver's program does not know: it is seen, and can be discarded.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use duroxide::providers::sqlite::SqliteProvider;
use duroxide_tower::journal::ActorId;
use duroxide_tower::journal::cluster::{Cluster, WaitingLetter};
use duroxide_tower::{
    ActorContext, ClusterActors, DurableActor, DurableMessage, DurableState, TowerHost, async_trait,
};
use serde::{Deserialize, Serialize};

use self::support::soon;

const SHARDS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(10);

/// As an older program knows it.
#[derive(Default, DurableState)]
#[durable(actor_type = "account")]
struct Account {
    deposits: Vec<u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize, DurableMessage)]
#[durable(name = "account.deposit")]
struct Deposit(u64);

#[async_trait]
impl DurableActor for Account {
    type Message = Deposit;
    type Reply = Vec<u64>;
    type Error = String;

    async fn handle(&mut self, _: &mut ActorContext, deposit: Deposit) -> Result<Vec<u64>, String> {
        self.deposits.push(deposit.0);
        Ok(self.deposits.clone())
    }
}

/// As its senders know it.
#[derive(Default, DurableState)]
#[durable(actor_type = "account")]
struct LaterAccount {}

#[derive(Debug, Clone, Serialize, Deserialize, DurableMessage)]
#[durable(name = "account.close")]
struct Close(String);

#[async_trait]
impl DurableActor for LaterAccount {
    type Message = Close;
    type Reply = ();
    type Error = String;

    async fn handle(&mut self, _: &mut ActorContext, _: Close) -> Result<(), String> {
        Ok(())
    }
}

#[derive(Default, DurableState)]
#[durable(actor_type = "clerk")]
struct Clerk {}

/// To this account: deposits, and for each `None` a message that it does not know.
#[derive(Debug, Clone, Serialize, Deserialize, DurableMessage)]
#[durable(name = "clerk.send")]
struct Send(String, Vec<Option<u64>>);

const SENT: [Option<u64>; 4] = [None, Some(2), Some(3), Some(4)];

#[async_trait]
impl DurableActor for Clerk {
    type Message = Send;
    type Reply = ();
    type Error = String;

    async fn handle(&mut self, context: &mut ActorContext, to: Send) -> Result<(), String> {
        let Send(to, sent) = to;
        for deposit in sent {
            match deposit {
                Some(deposit) => context.actor::<Account>(&*to).tell(Deposit(deposit)).unwrap(),
                None => {
                    context.actor::<LaterAccount>(&*to).tell(Close("at once".into())).unwrap();
                }
            }
        }
        Ok(())
    }
}

async fn join(folder: &Path) -> Cluster {
    let url = format!("sqlite:{}?mode=rwc", folder.join("app.db").display());
    Cluster::builder("bank", SHARDS)
        .host(TowerHost::new(|_| Account::default()))
        .host(TowerHost::new(|_| Clerk::default()))
        .join(Arc::new(SqliteProvider::new(&url, None).await.unwrap()))
        .await
        .unwrap()
}

/// Two nodes with as many shards each.
async fn two(folder: &Path) -> (Cluster, Cluster) {
    let (a, b) = (join(folder).await, join(folder).await);
    while [&a, &b].iter().any(|node| node.own_shards().len() != SHARDS as usize / 2) {
        tokio::time::sleep(PAUSE).await;
    }
    (a, b)
}

/// An actor that is on this node.
fn on(node: &Cluster, actor_type: &'static str) -> ActorId {
    let ids = (0..).map(|id: u32| ActorId::new(actor_type, id.to_string()));
    let own = node.own_shards();
    ids.into_iter().find(|id| own.contains(&node.shard_of(id))).unwrap()
}

/// Until so many wait.
async fn waiting(node: &Cluster, actor: &ActorId, count: usize) -> Vec<WaitingLetter> {
    let waiting = async {
        loop {
            let letters = node.letters(actor, 0).await.unwrap();
            if letters.len() == count {
                break letters;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    soon("so many letters", waiting).await
}

async fn is_discarded(sender: &Cluster, receiver: &Cluster, half_done: bool) {
    let (clerk, account) = (on(sender, "clerk"), on(receiver, "account"));
    sender
        .actor::<Clerk>(clerk.id())
        .ask(Send(account.id().to_owned(), SENT.to_vec()))
        .await
        .unwrap();
    let letters = waiting(sender, &account, SENT.len()).await;
    let kinds: Vec<_> = letters.iter().map(|letter| letter.kind.as_str()).collect();
    assert_eq!(kinds, ["account.close", "account.deposit", "account.deposit", "account.deposit"]);
    // The actor runs, and others are not held up.
    let balance = receiver.actor::<Account>(account.id());
    assert_eq!(balance.ask(Deposit(1)).await.unwrap(), [1]);
    let WaitingLetter { number, key, payload, .. } = letters.into_iter().next().unwrap();
    if half_done {
        // As it is if whoever discards it dies in between.
        let kind = "actors:discarded:account.close";
        receiver.tell(&account, key, kind, payload.clone()).await.unwrap();
        assert_eq!(waiting(receiver, &account, 1).await[0].number, number);
    }
    assert!(sender.discard_letter(&account, number).await.unwrap());
    assert!(!sender.discard_letter(&account, number).await.unwrap());
    waiting(receiver, &account, 0).await;
    assert_eq!(balance.ask(Deposit(5)).await.unwrap(), [1, 2, 3, 4, 5], "in order, each once");
    let journal = receiver.journal(receiver.shard_of(&account)).unwrap();
    let dead = journal.dead_letters(&account).await.unwrap();
    let [dead] = &dead[..] else { panic!("{dead:?}") };
    assert_eq!((dead.kind.as_str(), &dead.payload), ("account.close", &payload));
    assert!(dead.error.contains("discarded"), "{dead:?}");
    journal.discard_dead_letter(&account, dead.sequence).await.unwrap();
    assert!(journal.verify().await.unwrap().is_clean());
}

#[tokio::test]
async fn one_that_came_from_another_node() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = two(folder.path()).await;
    is_discarded(&a, &b, false).await;
}

#[tokio::test]
async fn one_that_came_from_the_same_node() {
    let folder = tempfile::tempdir().unwrap();
    let (a, _b) = two(folder.path()).await;
    is_discarded(&a, &a, false).await;
}

#[tokio::test]
async fn one_that_was_half_discarded() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = two(folder.path()).await;
    is_discarded(&a, &b, true).await;
    is_discarded(&b, &a, true).await;
}

/// An actor that never ran is received for, too.
#[tokio::test]
async fn the_first_message_of_an_actor() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = two(folder.path()).await;
    let (clerk, account) = (on(&a, "clerk"), on(&b, "account"));
    a.actor::<Clerk>(clerk.id()).ask(Send(account.id().to_owned(), SENT.to_vec())).await.unwrap();
    let letters = waiting(&a, &account, SENT.len()).await;
    assert!(a.discard_letter(&account, letters[0].number).await.unwrap());
    waiting(&a, &account, 0).await;
    assert_eq!(b.actor::<Account>(account.id()).ask(Deposit(5)).await.unwrap(), [2, 3, 4, 5]);
}

/// Every other one is not known, and the newest is discarded first: posted again they wait in another order.
#[tokio::test]
async fn those_of_a_line_that_are_discarded_in_any_order() {
    const PAIRS: u64 = 12;
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = two(folder.path()).await;
    let (clerk, account) = (on(&a, "clerk"), on(&b, "account"));
    let sent: Vec<_> = (0..PAIRS).flat_map(|number| [None, Some(number)]).collect();
    a.actor::<Clerk>(clerk.id()).ask(Send(account.id().to_owned(), sent)).await.unwrap();
    let letters = waiting(&a, &account, 2 * PAIRS as usize).await;
    let unknown = letters.iter().filter(|letter| letter.kind == "account.close");
    for letter in unknown.rev() {
        assert!(a.discard_letter(&account, letter.number).await.unwrap());
    }
    waiting(&b, &account, 0).await;
    let deposits = b.actor::<Account>(account.id()).ask(Deposit(PAIRS)).await.unwrap();
    assert!(deposits.into_iter().eq(0..=PAIRS));
    let journal = b.journal(b.shard_of(&account)).unwrap();
    assert_eq!(journal.dead_letters(&account).await.unwrap().len(), PAIRS as usize);
}

/// The program that has the shard knows neither the message nor its actor.
#[tokio::test]
async fn one_to_an_actor_that_nobody_hosts() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}?mode=rwc", folder.path().join("app.db").display());
    let node = Cluster::builder("bank", SHARDS)
        .host(TowerHost::new(|_| Clerk::default()))
        .join(Arc::new(SqliteProvider::new(&url, None).await.unwrap()))
        .await
        .unwrap();
    while node.own_shards().len() != SHARDS as usize {
        tokio::time::sleep(PAUSE).await;
    }
    let account = ActorId::new("account", "1");
    node.actor::<Clerk>("1").ask(Send("1".into(), vec![None, None])).await.unwrap();
    for letter in waiting(&node, &account, 2).await {
        assert!(node.discard_letter(&account, letter.number).await.unwrap());
    }
    waiting(&node, &account, 0).await;
    let journal = node.journal(node.shard_of(&account)).unwrap();
    assert_eq!(journal.dead_letters(&account).await.unwrap().len(), 2);
}
