//! What a network can do to nodes beside cutting their connections. Needs `DATABASE_URL`; without it every
//! test is reported as ignored.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use duroxide::providers::Provider;
use duroxide_tower::cluster::AskError;
use duroxide_tower::{ClusterActors, DurableActorService, TowerHost};
use futures::future::try_join_all;
use shared_journal::cluster::{Cluster, Note, SendError, StoredLetter};
use shared_journal::{ActorId, Durability, EventJournal, Limits, ShardId, attach};
use sqlx::{ConnectOptions, Connection};
use tests::setting::{List, Named, Push, Setting, run};

const TESTS: [Named; 7] = [
    ("what_was_never_sent_has_no_unknown_outcome", never_sent),
    ("a_node_has_no_more_connections_than_are_written_down", few_connections),
    ("a_listener_that_is_stopped_does_not_hold_back_vacuum_for_ever", stopped_listener),
    ("who_holds_back_vacuum_is_named_once", forgotten_transaction),
    ("a_black_hole_around_who_asks_is_survived", |it| black_hole(it, true, false)),
    ("a_black_hole_around_who_has_the_actors_is_survived", |it| black_hole(it, false, true)),
    ("a_black_hole_around_both_is_survived", |it| black_hole(it, true, true)),
];

fn main() {
    run(&TESTS);
}

const SHARDS: u32 = 8;

/// A node that has all the shards.
async fn owner(provider: Arc<dyn Provider>) -> Cluster {
    let host = TowerHost::new(|_| List::default());
    let node = Cluster::builder("lists", SHARDS).node("owner").host(host).join(provider).await;
    let node = node.unwrap();
    while node.own_shards().len() < SHARDS as usize {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    node
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A session of somebody else that has begun a transaction and does not end it.
fn forgotten_transaction(setting: &Setting) {
    let (log, name) = (Log::default(), format!("console of {}", setting.schema.name()));
    let writer = log.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();
    fail::cfg("horizon-is-near", "return").unwrap();
    setting.runtime.block_on(async {
        let console = setting.options.clone().application_name(&name);
        let mut console = console.connect().await.unwrap();
        let mut forgotten = console.begin().await.unwrap();
        sqlx::raw_sql("SELECT txid_current()").execute(&mut *forgotten).await.unwrap();
        let limits = Limits { checkpoint_bytes: 4096, ..Limits::default() };
        let journal = EventJournal::builder().limits(limits);
        let journal = journal.open(setting.schema.provider()).await.unwrap();
        let (service, list) =
            DurableActorService::new(&journal, "1", List::default()).await.unwrap();
        tokio::spawn(service.run());
        let named = || {
            let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
            log.lines().filter(|line| line.contains(&name)).map(str::to_owned).collect::<Vec<_>>()
        };
        let mut last = 0;
        while named().is_empty() {
            last += 1;
            list.ask(Push(last)).await.unwrap();
        }
        let other = setting.options.clone().application_name(&format!("younger {name}"));
        let mut other = other.connect().await.unwrap();
        let mut younger = other.begin().await.unwrap();
        sqlx::raw_sql("SELECT txid_current()").execute(&mut *younger).await.unwrap();
        while named().len() < 2 {
            last += 1;
            list.ask(Push(last)).await.unwrap();
        }
        // Each only once.
        for number in 0..100 {
            list.ask(Push(last + number)).await.unwrap();
        }
        assert_eq!(named().len(), 2);
        younger.rollback().await.unwrap();
        forgotten.rollback().await.unwrap();
        journal.close().await.unwrap();
    });
    fail::remove("horizon-is-near");
}

const ASKERS: u64 = 8;
const HOLE: Duration = Duration::from_secs(5);
/// Within so long everything is as it was.
const WITHIN: Duration = Duration::from_secs(15);
/// An ask that is found by looking takes a second, one that is told of some milliseconds.
const QUICK: Duration = Duration::from_millis(500);

/// What senders are told while the store cannot be reached.
fn never_sent(setting: &Setting) {
    setting.runtime.block_on(async {
        let proxy = setting.proxy().await;
        let owner = owner(setting.schema.provider()).await;
        let limits = Limits { commit_retry: Duration::from_millis(100), ..Limits::default() };
        let client = Cluster::builder("lists", SHARDS).node("client").limits(limits);
        let client = client.join(setting.through(&proxy, &setting.options).await).await.unwrap();
        let list = client.actor::<List>("1");
        assert_eq!(list.ask_with_id(1, Push(1)).await.unwrap(), [1]);
        proxy.refuse(true);
        proxy.cut();
        // It may have gone out on a connection that was in use a moment ago.
        list.ask_with_id(2, Push(2)).await.unwrap_err();
        for _ in 0..2 {
            let error = list.ask_with_id(3, Push(3)).await.unwrap_err();
            let AskError::Send(SendError::Unreachable { source, .. }) = &error else {
                panic!("{error:?}");
            };
            assert!(error.is_retryable() && source.is_unsent(), "{source:?}");
            assert!(source.to_string().contains(setting.schema.name()), "{source}");
            let told = list.tell_with_id(4, Push(4)).await.unwrap_err();
            assert!(matches!(told, SendError::Unreachable { .. }), "{told:?}");
        }
        proxy.refuse(false);
        assert_eq!(list.ask_with_id(3, Push(3)).await.unwrap(), [1, 3]);
        assert_eq!(list.ask_with_id(1, Push(1)).await.unwrap(), [1]);
        client.leave().await.unwrap();
        owner.leave().await.unwrap();
    });
}

/// By their names; docs/operations.md has them.
const CONNECTIONS: [(&str, i64); 6] = [
    ("journal writer", 1),
    ("journal reader", 2),
    ("journal letters", 3),
    ("journal leases", 1),
    ("journal listener", 1),
    ("journal notifier", 1),
];

/// How many there are, by their names, of a role that nobody else has.
async fn connections(setting: &Setting, role: &str) -> BTreeMap<String, i64> {
    let mut connection = setting.options.connect().await.unwrap();
    let names = "SELECT application_name, count(*) FROM pg_stat_activity
                 WHERE usename = $1 AND application_name <> '' GROUP BY 1";
    let names = sqlx::query_as(names).bind(role).fetch_all(&mut connection).await.unwrap();
    names.into_iter().collect()
}

fn few_connections(setting: &Setting) {
    setting.runtime.block_on(async {
        let proxy = setting.proxy().await;
        let role = format!("few_{}", setting.schema.name());
        setting.sql(&format!("CREATE ROLE {role} LOGIN SUPERUSER")).await;
        let options = setting.options.clone().username(&role);
        let owner = owner(setting.through(&proxy, &options).await).await;
        let client = Cluster::builder("lists", SHARDS).node("client");
        let client = client.join(setting.schema.provider()).await.unwrap();
        let lists: Vec<_> = (0..64).map(|id| client.actor::<List>(id.to_string())).collect();
        let own: Vec<_> = (0..64).map(|id| owner.actor::<List>(id.to_string())).collect();
        let limits = BTreeMap::from(CONNECTIONS);
        let within = |seen: &BTreeMap<String, i64>| {
            seen.iter().all(|(name, count)| limits.get(name.as_str()) >= Some(count))
        };
        for round in 0..3 {
            let asks = async {
                for number in 0..20 {
                    try_join_all(lists.iter().map(|list| list.ask(Push(number)))).await.unwrap();
                    try_join_all(own.iter().map(|list| list.ask(Push(number)))).await.unwrap();
                }
            };
            let look = async {
                loop {
                    let seen = connections(setting, &role).await;
                    assert!(within(&seen), "{seen:?}");
                }
            };
            let read = async {
                for shard in owner.own_shards() {
                    owner.journal(shard).unwrap().verify().await.unwrap();
                }
            };
            tokio::select! {
                _ = async { futures::join!(asks, read) } => {}
                () = look => {}
            }
            println!("round {round}: {:?}", connections(setting, &role).await);
            // All are gone, and come back.
            proxy.cut();
            while !connections(setting, &role).await.contains_key("journal listener") {
                tokio::task::yield_now().await;
            }
        }
        owner.leave().await.unwrap();
        client.leave().await.unwrap();
        drop(owner);
        proxy.refuse(true);
        proxy.cut();
        setting.sql(&format!("REASSIGN OWNED BY {role} TO CURRENT_USER; DROP ROLE {role}")).await;
    });
}

/// A server that waits for this much longer waits for ever.
const PATIENCE: Duration = Duration::from_secs(90);

/// A listener that does not read what it is told, as that of a process that was stopped.
fn stopped_listener(setting: &Setting) {
    setting.runtime.block_on(async {
        let proxy = setting.proxy().await;
        let role = format!("stopped_{}", setting.schema.name());
        setting.sql(&format!("CREATE ROLE {role} LOGIN SUPERUSER")).await;
        let provider: Arc<dyn Provider> =
            setting.through(&proxy, &setting.options.clone().username(&role)).await;
        let open = move || attach(&provider, Durability::PowerLoss).unwrap().cluster().unwrap();
        let store = tokio::task::spawn_blocking(open).await.unwrap();
        let mut heard = store.listen("me").await.unwrap().unwrap();
        let mut connection = setting.options.connect().await.unwrap();
        let channel = "SELECT substring(query from '\"(.*)\"') FROM pg_stat_activity
                       WHERE usename = $1 AND query LIKE 'LISTEN%'";
        let channel = sqlx::query_scalar::<_, String>(channel).bind(&role);
        let channel = channel.fetch_one(&mut connection).await.unwrap();
        proxy.clog(true);
        let holds = "SELECT backend_xmin IS NOT NULL FROM pg_stat_activity
                     WHERE usename = $1 AND query LIKE 'LISTEN%'";
        let begin = Instant::now();
        let mut held = false;
        loop {
            let holds = sqlx::query_scalar::<_, bool>(holds).bind(&role);
            match holds.fetch_optional(&mut connection).await.unwrap() {
                None => break,
                Some(true) => held = true,
                // More than all buffers on the way take.
                Some(false) => {
                    let flood = "SELECT pg_notify($1, repeat('x', 7900) || n)
                                 FROM generate_series(1, 1000) AS n";
                    let flood = sqlx::query(flood).bind(&channel);
                    flood.execute(&mut connection).await.unwrap();
                }
            }
            assert!(begin.elapsed() < PATIENCE, "it is still there, and held: {held}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(held, "it was never in the way");
        proxy.clog(false);
        while heard.recv().await.is_some() {}
        let mut heard = store.listen("me").await.unwrap().unwrap();
        let letter = StoredLetter { actor: ActorId::new("list", "1"), bytes: b"a letter".to_vec() };
        store.post(ShardId(4), &[letter], 100).await.unwrap();
        assert_eq!(heard.recv().await, Some(Note::Letters(ShardId(4))));
        drop((heard, store));
        proxy.refuse(true);
        proxy.cut();
        setting.sql(&format!("REASSIGN OWNED BY {role} TO CURRENT_USER; DROP ROLE {role}")).await;
    });
}

/// The network swallows everything for a while, around the node that asks, or the one that has the actors, or
/// both. After it asks are as before; none has no answer, and none is handled twice.
fn black_hole(setting: &Setting, asks: bool, has: bool) {
    setting.runtime.block_on(async {
        let (near, far) = (setting.proxy().await, setting.proxy().await);
        let owner = owner(setting.through(&far, &setting.options).await).await;
        let client = Cluster::builder("lists", SHARDS).node("client");
        let client = client.join(setting.through(&near, &setting.options).await).await.unwrap();
        let begin = Instant::now();
        let askers = (0..ASKERS).map(|asker| {
            let list = client.actor::<List>(asker.to_string());
            async move {
                let (mut numbers, mut longest) = (Vec::new(), Duration::ZERO);
                // Until one was asked after all is to be well again.
                loop {
                    let asked = begin.elapsed();
                    let number = numbers.len() as u64;
                    numbers.push(number);
                    let seen = list.ask(Push(number)).await?;
                    assert_eq!(seen, numbers, "none lost, none twice");
                    let took = begin.elapsed() - asked;
                    longest = longest.max(took);
                    if asked > HOLE + WITHIN {
                        return Ok::<_, AskError<String>>((longest, took));
                    }
                    // What is checked must not be too much.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
        });
        let hole = async {
            let set = |hole| {
                near.black_hole(hole && asks);
                far.black_hole(hole && has);
            };
            set(true);
            tokio::time::sleep(HOLE).await;
            set(false);
        };
        let (answers, ()) = futures::join!(try_join_all(askers), hole);
        let answers = answers.unwrap();
        println!("longest and last: {answers:?}");
        assert!(answers.iter().all(|(_, last)| *last < QUICK), "{answers:?}");
        client.leave().await.unwrap();
        owner.leave().await.unwrap();
    });
}
