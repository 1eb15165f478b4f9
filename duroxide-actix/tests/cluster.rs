//! Several nodes on one store, in one process.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

mod support;

use std::num::NonZeroUsize;
use std::time::Duration;

use actix::prelude::*;
use duroxide_actix::journal::cluster::{Cluster, ClusterBuilder, Founding, SendError};
use duroxide_actix::journal::portable::PortableActorProvider;
use duroxide_actix::journal::sqlite::SqliteActorProvider;
use duroxide_actix::journal::{
    ActorProvider, Durability, DurableMessage, DurableState, EventJournal, JournalError, MessageId,
    ShardId, copy, reshard,
};
use duroxide_actix::{
    ActixHost, ActorRef, ClusterActors, DurableActor, DurableContext, DurableSend, StartDurable,
    WrappedHost,
};
use futures::FutureExt;
use futures::future::{join_all, try_join_all};
use futures::stream::{FuturesUnordered, StreamExt};
use serde::{Deserialize, Serialize};
use support::{Store, run};

const SHARDS: u32 = 6;

#[derive(Default)]
struct Diary {
    lines: Vec<u64>,
}

impl Actor for Diary {
    type Context = DurableContext<Self>;
}

/// Writes a line; the answer is how many there are.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "usize")]
struct Write(u64);

impl DurableMessage for Write {
    const NAME: &'static str = "diary.write";
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Vec<u64>")]
struct Read;

impl DurableMessage for Read {
    const NAME: &'static str = "diary.read";
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Panic;

impl DurableMessage for Panic {
    const NAME: &'static str = "diary.panic";
}

/// Takes as long as the test wants.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Wait;

impl DurableMessage for Wait {
    const NAME: &'static str = "diary.wait";
}

static GO: tokio::sync::Notify = tokio::sync::Notify::const_new();

impl Handler<Wait> for Diary {
    type Result = ResponseFuture<()>;
    fn handle(&mut self, _: Wait, _: &mut Self::Context) -> Self::Result {
        Box::pin(GO.notified())
    }
}

impl DurableState for Diary {
    const ACTOR_TYPE: &'static str = "diary";
    type State = Vec<u64>;
    fn snapshot(&self) -> impl Serialize {
        &self.lines
    }
    fn restore(&mut self, lines: Vec<u64>) {
        self.lines = lines;
    }
}

impl DurableActor for Diary {
    type Messages = (Write, Read, Panic, Wait);
}

impl Handler<Write> for Diary {
    type Result = usize;
    fn handle(&mut self, write: Write, _: &mut Self::Context) -> usize {
        self.lines.push(write.0);
        self.lines.len()
    }
}

impl Handler<Read> for Diary {
    type Result = Vec<u64>;
    fn handle(&mut self, _: Read, _: &mut Self::Context) -> Vec<u64> {
        self.lines.clone()
    }
}

impl Handler<Panic> for Diary {
    type Result = ();
    fn handle(&mut self, _: Panic, _: &mut Self::Context) {
        panic!("on purpose");
    }
}

fn node() -> ClusterBuilder {
    Cluster::builder("diaries", SHARDS)
        .lease(Duration::from_secs(2))
        .host(ActixHost::new(|_| Diary::default()))
}

async fn join(store: &Store) -> Cluster {
    node().join(store.provider().await).await.unwrap()
}

/// Waits until the shards are divided so; the numbers are of the nodes in this order.
async fn divided(nodes: &[&Cluster], expected: &[usize]) {
    loop {
        let mut counts: Vec<_> = nodes.iter().map(|node| node.own_shards().len()).collect();
        counts.sort_unstable();
        if counts == expected {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn diaries(cluster: &Cluster) -> Vec<ActorRef<Diary>> {
    (0..20).map(|id| cluster.actor(id.to_string())).collect()
}

#[test]
fn every_node_reaches_every_actor() {
    run(async {
        let store = Store::new();
        let (a, b) = (join(&store).await, join(&store).await);
        divided(&[&a, &b], &[3, 3]).await;
        for (turn, cluster) in [&a, &b, &a, &b].into_iter().enumerate() {
            let lengths = diaries(cluster);
            let lengths = lengths.iter().map(|diary| diary.ask(Write(turn as u64)));
            assert_eq!(try_join_all(lengths).await.unwrap(), [turn + 1; 20]);
        }
        for cluster in [&a, &b] {
            let status = cluster.shards().await.unwrap();
            assert_eq!(
                status.iter().filter(|it| it.node.as_deref() == Some(cluster.node())).count(),
                3
            );
        }
    });
}

#[test]
fn one_id_has_one_effect_whichever_way_it_takes() {
    run(async {
        let store = Store::new();
        let (a, b) = (join(&store).await, join(&store).await);
        divided(&[&a, &b], &[3, 3]).await;
        let asked = join_all((0..20).flat_map(|n| {
            let id = MessageId::from_key(&n.to_string());
            [&a, &b, &b, &a].map(|cluster| {
                let diary = cluster.actor::<Diary>(n.to_string());
                async move { diary.ask_with_id(id, Write(7)).await.unwrap() }
            })
        }));
        assert_eq!(asked.await, [1; 80]);
        for diary in diaries(&b) {
            assert_eq!(diary.ask(Read).await.unwrap(), [7]);
        }
    });
}

#[test]
fn shards_that_move_lose_nothing_and_keep_the_order() {
    run(async {
        let store = Store::new();
        let a = join(&store).await;
        divided(&[&a], &[6]).await;
        let sent = |cluster: Cluster, from: u64| async move {
            // Not one after the other: many are on their way at a time.
            join_all(diaries(&cluster).into_iter().map(|diary| async move {
                let asked = (from..from + 100).map(|n| diary.ask(Write(n)));
                try_join_all(asked).await.unwrap();
            }))
            .await;
        };
        let traffic = actix::spawn(sent(a.clone(), 0));
        let b = join(&store).await;
        divided(&[&a, &b], &[3, 3]).await;
        let more = actix::spawn(sent(b.clone(), 1000));
        let c = join(&store).await;
        divided(&[&a, &b, &c], &[2, 2, 2]).await;
        a.leave().await.unwrap();
        divided(&[&b, &c], &[3, 3]).await;
        traffic.await.unwrap();
        more.await.unwrap();
        for diary in diaries(&a) {
            let lines = diary.ask(Read).await.unwrap();
            let (of_a, of_b): (Vec<u64>, Vec<u64>) = lines.into_iter().partition(|n| *n < 1000);
            assert_eq!(of_a, (0..100).collect::<Vec<_>>());
            assert_eq!(of_b, (1000..1100).collect::<Vec<_>>());
        }
    });
}

/// Letters wait in the inbox when their sender's own node gets the shard: what it sends then must
/// not overtake them.
#[test]
fn the_short_way_is_taken_when_the_inbox_is_empty() {
    run(async {
        let store = Store::new();
        let shared = SqliteActorProvider::open(store.path(), Durability::ProcessCrash).unwrap();
        let shared = shared.cluster().unwrap();
        for shard in 0..SHARDS {
            let claimed = shared.claim(ShardId(shard), "somebody", Duration::from_secs(1)).await;
            assert!(claimed.unwrap());
        }
        let builder = node().inbox_letters(1 << 20).active_actors(NonZeroUsize::MIN);
        let cluster = builder.join(store.provider().await).await.unwrap();
        let diary = cluster.actor::<Diary>("1");
        let (mut asked, mut sent) = (FuturesUnordered::new(), 0);
        // A while longer than until the shard is here.
        let mut ahead = 2000;
        while ahead > 0 {
            let diary = diary.clone();
            let mut ask = Box::pin(async move { diary.ask(Write(sent)).await });
            assert!(ask.as_mut().now_or_never().is_none(), "it is on its way");
            asked.push(ask);
            sent += 1;
            ahead -= u64::from(!cluster.own_shards().is_empty());
            while let Some(Some(answer)) = asked.next().now_or_never() {
                answer.unwrap();
            }
            tokio::task::yield_now().await;
        }
        while let Some(answer) = asked.next().await {
            answer.unwrap();
        }
        assert_eq!(diary.ask(Read).await.unwrap(), (0..sent).collect::<Vec<_>>());
    });
}

#[test]
fn a_node_that_is_dropped_is_replaced_when_its_leases_end() {
    run(async {
        let store = Store::new();
        let (a, b) = (join(&store).await, join(&store).await);
        divided(&[&a, &b], &[3, 3]).await;
        for diary in diaries(&a) {
            diary.tell(Write(1)).await.unwrap();
        }
        drop(a);
        divided(&[&b], &[6]).await;
        for diary in diaries(&b) {
            assert_eq!(diary.ask(Read).await.unwrap(), [1]);
        }
    });
}

/// Plain, with a `Context`.
#[derive(Default)]
struct Counter {
    count: u64,
}

impl Actor for Counter {
    type Context = Context<Self>;
}

#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "Result<u64, String>")]
struct Count(u64);

impl DurableMessage for Count {
    const NAME: &'static str = "counter.count";
}

/// Not in the list.
#[derive(Message, Serialize, Deserialize)]
#[rtype(result = "()")]
struct Forgotten;

impl DurableMessage for Forgotten {
    const NAME: &'static str = "counter.forgotten";
}

impl DurableState for Counter {
    const ACTOR_TYPE: &'static str = "counter";
    type State = u64;
    fn snapshot(&self) -> impl Serialize {
        self.count
    }
    fn restore(&mut self, count: u64) {
        self.count = count;
    }
}

impl DurableActor for Counter {
    type Messages = (Count,);
}

impl Handler<Count> for Counter {
    type Result = ResponseActFuture<Self, Result<u64, String>>;
    fn handle(&mut self, count: Count, _: &mut Self::Context) -> Self::Result {
        // One that takes its time.
        let waited = actix::fut::wrap_future::<_, Self>(tokio::task::yield_now());
        Box::pin(waited.map(move |(), act, _| {
            act.count += count.0;
            if act.count > 100 { Err("too many".into()) } else { Ok(act.count) }
        }))
    }
}

impl Handler<Forgotten> for Counter {
    type Result = ();
    fn handle(&mut self, _: Forgotten, _: &mut Self::Context) {}
}

#[test]
fn unmodified_actors_run_on_nodes_as_well() {
    run(async {
        let store = Store::new();
        let join = async || {
            let node = node().host(WrappedHost::new(|_| Counter::default()));
            // One in memory: the others are passivated.
            let node = node.active_actors(NonZeroUsize::MIN);
            node.join(store.provider().await).await.unwrap()
        };
        let (a, b) = (join().await, join().await);
        divided(&[&a, &b], &[3, 3]).await;
        for turn in 1..=3 {
            for id in 0..12 {
                let counter = [&a, &b][id % 2].actor::<Counter>(id.to_string());
                assert_eq!(counter.ask(Count(1)).await.unwrap(), Ok(turn));
            }
        }
        for cluster in [&a, &b] {
            let counter = cluster.actor::<Counter>("0");
            let refused = counter.ask(Forgotten).await.unwrap_err();
            let known = refused.to_string().contains("does not know messages of type");
            assert!(matches!(&refused, SendError::NotAccepted { .. }) && known, "{refused}");
            assert_eq!(counter.ask(Count(98)).await.unwrap(), Err("too many".into()));
            let counter = cluster.actor::<Counter>("a".repeat(2000));
            let refused = counter.tell(Count(1)).await.unwrap_err();
            assert!(refused.to_string().contains("cannot name an actor"), "{refused}");
        }
    });
}

/// Leases, inboxes and all in the history of duroxide's provider.
#[test]
fn any_duroxide_provider_will_do() {
    run(async {
        let store = Store::new();
        let join = async || {
            let provider = PortableActorProvider::new(store.provider().await);
            node().join_on(provider).await.unwrap()
        };
        let (a, b) = (join().await, join().await);
        divided(&[&a, &b], &[3, 3]).await;
        for (turn, cluster) in [&a, &b].into_iter().enumerate() {
            let lengths = diaries(cluster);
            let lengths = lengths.iter().map(|diary| diary.ask(Write(turn as u64)));
            assert_eq!(try_join_all(lengths).await.unwrap(), [turn + 1; 20]);
        }
        drop(a);
        divided(&[&b], &[6]).await;
        for diary in diaries(&b) {
            assert_eq!(diary.ask(Read).await.unwrap(), [0, 1]);
        }
    });
}

/// More letters wait for one that takes its time than may be with it, in a shard with others.
#[test]
fn a_slow_actor_does_not_keep_others_back() {
    run(async {
        let store = Store::new();
        let (a, b) = (join(&store).await, join(&store).await);
        divided(&[&a, &b], &[3, 3]).await;
        let mut shards = b.own_shards();
        let shard = shards.pop().unwrap();
        let here: Vec<_> = (0..100)
            .map(|id| a.actor::<Diary>(id.to_string()))
            .filter(|diary| a.shard_of(diary.actor_id()) == shard)
            .collect();
        let [slow, other, ..] = &here[..] else { panic!("two diaries in a shard") };
        let asker = slow.clone();
        let mut waiting = Box::pin(async move { asker.ask(Wait).await });
        assert!(waiting.as_mut().now_or_never().is_none(), "it is the first on its way");
        let waiting = actix::spawn(waiting);
        try_join_all((0..900).map(|n| slow.tell(Write(n)))).await.unwrap();
        assert_eq!(other.ask(Write(1)).await.unwrap(), 1);
        assert!(!waiting.is_finished());
        while !waiting.is_finished() {
            GO.notify_waiters();
            tokio::task::yield_now().await;
        }
        assert_eq!(slow.ask(Read).await.unwrap(), (0..900).collect::<Vec<_>>());
    });
}

#[test]
fn a_shard_that_does_not_open_leaves_the_others_alone() {
    run(async {
        let store = Store::new();
        drop(SqliteActorProvider::open(store.path(), Durability::ProcessCrash).unwrap());
        store.sql().execute("INSERT INTO journal_log (key, batch) VALUES (1, x'00')", []).unwrap();
        let (a, b) = (join(&store).await, join(&store).await);
        while a.own_shards().len() + b.own_shards().len() < 5 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let broken = |diary: &ActorRef<Diary>| a.shard_of(diary.actor_id()) == ShardId(0);
        let (broken, whole): (Vec<_>, Vec<_>) = diaries(&a).into_iter().partition(broken);
        for diary in &whole {
            assert_eq!(diary.ask(Write(1)).await.unwrap(), 1);
        }
        let waiting = broken[0].clone();
        let waiting = actix::spawn(async move { waiting.ask(Write(1)).await });
        assert_eq!(whole[0].ask(Write(1)).await.unwrap(), 2);
        assert!(!waiting.is_finished(), "it waits for an owner");
        store.sql().execute("DELETE FROM journal_log WHERE key = 1", []).unwrap();
        assert_eq!(waiting.await.unwrap().unwrap(), 1, "the cause was mended");
    });
}

#[test]
fn a_poisonous_message_is_a_dead_letter_from_afar() {
    run(async {
        let store = Store::new();
        let (a, b) = (join(&store).await, join(&store).await);
        divided(&[&a, &b], &[3, 3]).await;
        for cluster in [&a, &b] {
            for diary in &diaries(cluster)[..6] {
                let error = diary.ask(Panic).await.unwrap_err();
                assert!(matches!(error, SendError::DeadLetter { attempts: 3, .. }), "{error:?}");
            }
        }
    });
}

#[test]
fn an_inbox_that_is_full_refuses() {
    run(async {
        let store = Store::new();
        // A node without shards: nobody reads the inboxes.
        let nobody = node().inbox_letters(3).join(store.provider().await).await.unwrap();
        nobody.leave().await.unwrap();
        let diary = nobody.actor::<Diary>("1");
        for n in 0..3 {
            diary.tell(Write(n)).await.unwrap();
        }
        let error = diary.tell(Write(3)).await.unwrap_err();
        assert!(matches!(error, SendError::InboxFull { limit: 3, .. }), "{error:?}");
        assert!(error.is_retryable());
        let waiting = actix::spawn({
            let other = nobody.actor::<Diary>("2");
            async move { other.ask(Read).await.unwrap() }
        });
        let owner = join(&store).await;
        divided(&[&owner], &[6]).await;
        let diary = owner.actor::<Diary>("1");
        while diary.ask(Read).await.unwrap() != [0, 1, 2] {}
        assert!(waiting.await.unwrap().is_empty());
    });
}

/// From one process to a cluster, to a larger one, and to a copy of that.
#[test]
fn a_journal_moves_to_as_many_shards_as_are_wanted() {
    run(async {
        let stores = [Store::new(), Store::new(), Store::new(), Store::new()];
        let open = |store: &Store| SqliteActorProvider::open(store.path(), Durability::PowerLoss);
        let id = MessageId::from_key("once");
        {
            let journal = stores[0].open().await;
            for n in 0..20 {
                let diary = Diary::default().start_durable(&journal, n.to_string()).await.unwrap();
                assert_eq!(diary.send_with_id(id, Write(n)).await.unwrap(), 1);
            }
        }
        let founding = |shards| Founding { cluster: "diaries".into(), shards };
        for (turn, shards) in [(1, SHARDS), (2, 9)] {
            let (from, to) = (open(&stores[turn - 1]).unwrap(), open(&stores[turn]).unwrap());
            let report = reshard(from, to, &founding(shards)).await.unwrap();
            assert_eq!(report.records, 20);
            let builder = Cluster::builder("diaries", shards).lease(Duration::from_secs(2));
            let cluster = builder.host(ActixHost::new(|_| Diary::default()));
            let cluster = cluster.join(stores[turn].provider().await).await.unwrap();
            for (n, diary) in (0..).zip(diaries(&cluster)) {
                assert_eq!(diary.ask_with_id(id, Write(n)).await.unwrap(), 1, "as before");
                diary.ask(Write(200)).await.unwrap();
            }
            cluster.leave().await.unwrap();
            // It waits in the inbox.
            cluster.actor::<Diary>("3").tell(Write(300)).await.unwrap();
        }
        let report = copy(open(&stores[2]).unwrap(), open(&stores[3]).unwrap()).await.unwrap();
        assert_eq!(report.records, 20);
        let nine = Cluster::builder("diaries", 9).host(ActixHost::new(|_| Diary::default()));
        let cluster = nine.join(stores[3].provider().await).await.unwrap();
        for (n, diary) in (0..).zip(diaries(&cluster)) {
            let lines = diary.ask(Read).await.unwrap();
            let more: &[u64] = if n == 3 { &[200, 300, 200, 300] } else { &[200, 200] };
            assert_eq!(lines, [&[n], more].concat());
        }
    });
}

#[test]
fn a_store_is_one_clusters() {
    run(async {
        let store = Store::new();
        let _ours = join(&store).await;
        let provider = store.provider().await;
        for other in [Cluster::builder("others", SHARDS), Cluster::builder("diaries", 7)] {
            let error = other.join(provider.clone()).await.unwrap_err();
            assert!(matches!(error, JournalError::Founding { .. }), "{error:?}");
            assert!(error.to_string().contains("cluster \"diaries\" of 6 shards"), "{error}");
        }
        let error = EventJournal::open(provider).await.unwrap_err();
        assert!(matches!(error, JournalError::Founding { .. }), "{error:?}");
    });
}
