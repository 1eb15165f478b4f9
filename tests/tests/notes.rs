//! What becomes of letters and replies whose notes are late, lost, or cannot be sent. Needs `DATABASE_URL`; without
//! it every test is reported as ignored.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;
use std::time::Duration;

use duroxide::providers::Provider;
use duroxide_pg::PostgresProvider;
use duroxide_tower::{ClusterActors, TowerHost};
use futures::future::try_join_all;
use shared_journal::cluster::{Cluster, ClusterStore, Note, StoredLetter, StoredReply};
use shared_journal::{ActorId, Durability, ShardId, attach};
use sqlx::postgres::PgConnection;
use sqlx::{ConnectOptions, Connection};
use tests::proxy::Proxy;
use tests::setting::{List, Named, Push, Setting, run};

const TESTS: [Named; 4] = [
    ("notes_that_are_due_together_are_sent_once", coalesced),
    ("a_note_is_sent_when_what_it_is_about_can_be_read", readable),
    ("nodes_ask_each_other_though_every_note_is_lost", |it| without_notes(it, LOST)),
    ("nodes_ask_each_other_though_no_note_can_be_sent", |it| without_notes(it, REFUSED)),
];

fn main() {
    run(&TESTS);
}

/// Instead of sending a note.
const LOST: &str = "";
const REFUSED: &str = "RAISE EXCEPTION 'too many notifications in the NOTIFY queue';";
/// Remembers it, what others can read then, and whether it waits for the disk; and waits as long as the test holds
/// the gate.
const KEPT: &str = "
    PERFORM FROM {schema}.gate;
    INSERT INTO {schema}.kept SELECT payload, current_setting('synchronous_commit'),
        (SELECT count(*) FROM {schema}.journal_inbox), (SELECT count(*) FROM {schema}.journal_reply);";

/// A role for which `pg_notify` is a function of the test's.
struct Role {
    name: String,
    proxy: Proxy,
    provider: Arc<PostgresProvider>,
}

impl Role {
    async fn new(setting: &Setting, pg_notify: &str) -> Self {
        let name = format!("notes_{}", setting.schema.name());
        let sql = format!(
            "CREATE TABLE {{schema}}.gate ();
             CREATE TABLE {{schema}}.kept (note TEXT, durability TEXT, letters BIGINT, replies BIGINT);
             CREATE FUNCTION {{schema}}.pg_notify(channel TEXT, payload TEXT) RETURNS void
                 LANGUAGE plpgsql AS $$ BEGIN {pg_notify} END $$;
             CREATE ROLE {name} LOGIN SUPERUSER;
             ALTER ROLE {name} SET search_path = {{schema}}, pg_catalog"
        );
        setting.sql(&sql).await;
        let proxy = setting.proxy().await;
        let provider = setting.through(&proxy, &setting.options.clone().username(&name)).await;
        Self { name, proxy, provider }
    }

    async fn store(&self) -> Arc<dyn ClusterStore> {
        let provider: Arc<dyn Provider> = self.provider.clone();
        let open = move || attach(&provider, Durability::PowerLoss).unwrap().cluster().unwrap();
        tokio::task::spawn_blocking(open).await.unwrap()
    }

    async fn end(self, setting: &Setting) {
        self.proxy.refuse(true);
        self.proxy.cut();
        let Self { name, .. } = self;
        setting.sql(&format!("REASSIGN OWNED BY {name} TO CURRENT_USER; DROP ROLE {name}")).await;
    }
}

type Kept = (String, String, i64, i64);

/// At least so many notes.
async fn kept(setting: &Setting, connection: &mut PgConnection, count: usize) -> Vec<Kept> {
    let kept = format!("SELECT * FROM {}.kept", setting.schema.name());
    loop {
        let kept: Vec<Kept> = sqlx::query_as(&kept).fetch_all(&mut *connection).await.unwrap();
        if kept.len() >= count {
            return kept;
        }
    }
}

fn letter() -> StoredLetter {
    StoredLetter { actor: ActorId::new("list", "1"), bytes: b"a letter".to_vec() }
}

/// Posting does not wait for a note that is on its way, and what is due meanwhile goes together.
fn coalesced(setting: &Setting) {
    setting.runtime.block_on(async {
        let role = Role::new(setting, KEPT).await;
        let store = role.store().await;
        let mut gate = setting.options.connect().await.unwrap();
        let mut connection = setting.options.connect().await.unwrap();
        let mut held = gate.begin().await.unwrap();
        let lock = format!("LOCK TABLE {}.gate", setting.schema.name());
        sqlx::raw_sql(&lock).execute(&mut *held).await.unwrap();
        store.post(ShardId(1), &[letter()], 100).await.unwrap();
        let waits = "SELECT 1 FROM pg_stat_activity WHERE usename = $1 AND wait_event = 'relation'";
        let waits = || sqlx::query(waits).bind(&role.name);
        while waits().fetch_optional(&mut connection).await.unwrap().is_none() {}
        for _ in 0..20 {
            store.post(ShardId(1), &[letter()], 100).await.unwrap();
            store.post(ShardId(2), &[letter()], 100).await.unwrap();
            let reply = StoredReply { client: "me".into(), bytes: b"a reply".to_vec() };
            store.settle(ShardId(1), &[], &[reply]).await.unwrap();
        }
        held.rollback().await.unwrap();
        let mut notes: Vec<_> =
            kept(setting, &mut connection, 4).await.into_iter().map(|it| it.0).collect();
        notes.sort();
        assert_eq!(notes, ["i1", "i1", "i2", "rme"]);
        drop(store);
        role.end(setting).await;
    });
}

/// A node that hears of a note looks at once, and not again for a second.
fn readable(setting: &Setting) {
    setting.runtime.block_on(async {
        let role = Role::new(setting, KEPT).await;
        let store = role.store().await;
        let mut connection = setting.options.connect().await.unwrap();
        store.post(ShardId(1), &[letter()], 100).await.unwrap();
        let posted = kept(setting, &mut connection, 1).await;
        assert_eq!(posted, [("i1".into(), "off".into(), 1, 0)]);
        let reply = StoredReply { client: "me".into(), bytes: b"a reply".to_vec() };
        store.settle(ShardId(1), &[1], &[reply]).await.unwrap();
        let settled = kept(setting, &mut connection, 2).await.pop().unwrap();
        assert_eq!((settled.0.as_str(), settled.3), ("rme", 1));
        // None for what is not there: the inbox is full; nobody waits for a reply.
        assert_eq!(store.post(ShardId(1), &[letter()], 0).await.unwrap(), [None]);
        store.settle(ShardId(1), &[1], &[]).await.unwrap();
        store.post(ShardId(3), &[letter()], 100).await.unwrap();
        let third = kept(setting, &mut connection, 3).await.pop().unwrap();
        assert_eq!(third.0, "i3");
        drop(store);
        role.end(setting).await;
    });
}

const SHARDS: u32 = 8;
const ASKS: u64 = 4;
/// Much longer than a look takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn without_notes(setting: &Setting, pg_notify: &str) {
    setting.runtime.block_on(async {
        let role = Role::new(setting, pg_notify).await;
        let join = |node: &str| {
            let host = TowerHost::new(|_| List::default());
            let node = Cluster::builder("lists", SHARDS).node(node).host(host);
            node.join(role.provider.clone())
        };
        let (one, two) = (join("one").await.unwrap(), join("two").await.unwrap());
        while one.own_shards().len() != two.own_shards().len()
            || one.own_shards().len() + two.own_shards().len() != SHARDS as usize
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let asks = async |number: u64| {
            let asks = (0..16).flat_map(|id: u64| {
                [&one, &two].map(|node| {
                    let list = node.actor::<List>(format!("{}-{id}", node.node()));
                    async move { list.ask(Push(number)).await }
                })
            });
            let answers = tokio::time::timeout(PATIENCE, try_join_all(asks)).await;
            let answers = answers.unwrap_or_else(|_| panic!("ask {number} was never answered"));
            for numbers in answers.unwrap() {
                assert_eq!(numbers, (0..=number).collect::<Vec<_>>(), "none lost, none twice");
            }
        };
        for number in 0..ASKS {
            asks(number).await;
        }
        // A note is heard again as soon as one can be sent.
        let store = role.store().await;
        let mut heard = store.listen("me").await.unwrap().unwrap();
        setting.sql("DROP FUNCTION {schema}.pg_notify").await;
        asks(ASKS).await;
        let reply = StoredReply { client: "me".into(), bytes: b"a reply".to_vec() };
        store.settle(ShardId(0), &[], &[reply]).await.unwrap();
        while heard.recv().await.unwrap() != Note::Replies {}
        one.leave().await.unwrap();
        two.leave().await.unwrap();
        drop((one, two, store, heard));
        role.end(setting).await;
    });
}
