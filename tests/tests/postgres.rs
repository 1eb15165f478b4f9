//! What can happen to a database far away. Needs `DATABASE_URL`; without it every test is reported
//! as ignored.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;
use std::time::Duration;

use duroxide::providers::Provider;
use duroxide_pg::PostgresProvider;
use duroxide_tower::{CallError, DurableActorService, DurableHandle};
use futures::future::try_join_all;
use rand::Rng;
use shared_journal::cluster::{Cluster, ClusterStore, Note, StoredLetter, StoredReply};
use shared_journal::postgres::PostgresActorProvider;
use shared_journal::provider::ActorProvider;
use shared_journal::{
    ActorId, CopyReport, Durability, EventJournal, EventJournalBuilder, JournalError,
    JournalReader, Limits, ShardId, attach, copy,
};
use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;
use tests::proxy::Proxy;
use tests::setting::{List, Named, Push, Setting, run};

const TESTS: [Named; 14] = [
    ("a_cut_connection_loses_nothing_and_repeats_nothing", cuts),
    ("connections_that_fall_silent_are_replaced", silence),
    ("a_server_that_stays_away_is_an_error_and_nothing_is_lost", outage),
    ("a_journal_opens_again_when_the_server_is_back", reopened),
    ("a_full_disk_stops_the_journal_and_loses_nothing", full_disk),
    ("a_server_that_became_a_standby_is_waited_for", standby),
    ("what_is_acknowledged_is_on_the_disk_whatever_the_role_says", asynchronous_role),
    ("a_listener_that_falls_silent_is_replaced", silent_listener),
    ("an_older_schema_is_migrated", older_schema),
    ("a_newer_schema_is_refused_by_name", newer_schema),
    ("a_role_without_rights_is_told_so", no_rights),
    ("a_reader_makes_nothing_and_fences_nobody", reader),
    ("two_journals_on_one_schema_fence_each_other", two_journals),
    ("a_journal_moves_to_postgresql_and_back", moves),
];

fn main() {
    run(&TESTS);
}

/// The journal, through the proxy.
async fn open_with(
    setting: &Setting,
    proxy: &Proxy,
    limits: Limits,
) -> Result<EventJournal, JournalError> {
    open(setting, proxy, EventJournal::builder().limits(limits).reopen(false)).await
}

async fn open(
    setting: &Setting,
    proxy: &Proxy,
    builder: EventJournalBuilder,
) -> Result<EventJournal, JournalError> {
    builder.open(setting.through(proxy, &setting.options).await).await
}

async fn list(journal: &EventJournal) -> DurableHandle<List> {
    let (service, list) = DurableActorService::new(journal, "1", List::default()).await.unwrap();
    tokio::spawn(service.run());
    list
}

const SENDERS: u64 = 3;
const MESSAGES: u64 = 150;

fn cuts(setting: &Setting) {
    setting.runtime.block_on(async {
        let proxy = setting.proxy().await;
        // Many checkpoints, so that connections are cut in the middle of their parts as well.
        let limits = Limits { checkpoint_bytes: 8 << 10, ..Limits::default() };
        let journal = open_with(setting, &proxy, limits).await.unwrap();
        let list = list(&journal).await;
        let senders = (0..SENDERS).map(|sender| {
            let (list, proxy) = (list.clone(), &proxy);
            async move {
                for number in (0..MESSAGES).map(|n| n * SENDERS + sender) {
                    let moment = cut_now_and_then();
                    let cut = async {
                        if let Some(moment) = moment {
                            tokio::time::sleep(moment).await;
                            proxy.cut();
                        }
                    };
                    // The journal repeats what has to be repeated: no ask fails.
                    let ask = list.ask_with_id(u128::from(number) + 1, Push(number));
                    futures::join!(ask, cut).0?;
                }
                Ok::<_, CallError<String>>(())
            }
        });
        try_join_all(senders).await.unwrap();
        let seen = list.ask(Push(u64::MAX)).await.unwrap();
        assert_eq!(seen.len() as u64, SENDERS * MESSAGES + 1, "none lost, none twice");
        for sender in 0..SENDERS {
            let of_sender = seen.iter().filter(|number| *number % SENDERS == sender);
            let in_order = (0..MESSAGES).map(|n| n * SENDERS + sender);
            assert!(of_sender.copied().filter(|n| *n != u64::MAX).eq(in_order), "order");
        }
        assert!(journal.stopped().is_none());
        // The store has what the memory had.
        let stored = EventJournal::open(setting.schema.provider()).await.unwrap();
        let list = self::list(&stored).await;
        let first_reply = list.ask_with_id(1, Push(0)).await.unwrap();
        assert!(seen.starts_with(&first_reply) && first_reply.contains(&0), "{first_reply:?}");
        let stored_list = list.ask(Push(0)).await.unwrap();
        assert_eq!(stored_list[..seen.len()], seen);
        assert_eq!(stored_list.len(), seen.len() + 1);
        assert!(stored.verify().await.unwrap().is_clean());
    });
}

/// Beside one ask of ten, at a random moment of a commit.
fn cut_now_and_then() -> Option<Duration> {
    let mut random = rand::rng();
    random.random_ratio(1, 10).then(|| Duration::from_micros(random.random_range(0..2000)))
}

/// The patience with a connection is as long as [`Limits::commit_retry`], which is counted from when it is
/// over. Nothing of this is fast: each silence is ten seconds.
fn silence(setting: &Setting) {
    setting.runtime.block_on(async {
        let proxy = setting.proxy().await;
        let journal = open_with(setting, &proxy, Limits::default()).await.unwrap();
        let list = list(&journal).await;
        list.ask_with_id(1, Push(1)).await.unwrap();
        journal.verify().await.unwrap();
        // A commit, a commit whose answer is lost, and reads.
        proxy.swallow();
        assert_eq!(list.ask_with_id(2, Push(2)).await.unwrap(), [1, 2]);
        let mut connection = setting.options.connect().await.unwrap();
        let last = format!("SELECT max(position) FROM {}.journal_log", setting.schema.name());
        let last = || sqlx::query_scalar::<_, i64>(&last);
        let before = last().fetch_one(&mut connection).await.unwrap();
        proxy.mute(true);
        let ask = tokio::spawn({
            let list = list.clone();
            async move { list.ask_with_id(3, Push(3)).await }
        });
        while last().fetch_one(&mut connection).await.unwrap() == before {
            tokio::task::yield_now().await;
        }
        // It is there, and its answer is gone for ever.
        proxy.swallow();
        proxy.mute(false);
        assert_eq!(ask.await.unwrap().unwrap(), [1, 2, 3]);
        proxy.swallow();
        let report = journal.verify().await.unwrap();
        assert!(report.is_clean() && report.commits > 0, "{report:?}");
        assert!(journal.stopped().is_none());
        assert_eq!(list.ask_with_id(2, Push(2)).await.unwrap(), [1, 2], "its first reply");
    });
}

fn outage(setting: &Setting) {
    setting.runtime.block_on(async {
        let proxy = setting.proxy().await;
        let limits = Limits { commit_retry: Duration::from_millis(100), ..Limits::default() };
        let journal = open_with(setting, &proxy, limits.clone()).await.unwrap();
        let before = list(&journal).await;
        before.ask_with_id(1, Push(1)).await.unwrap();
        proxy.refuse(true);
        proxy.cut();
        let error = before.ask_with_id(2, Push(2)).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        let stopped = journal.stopped().unwrap();
        assert!(stopped.to_string().contains(setting.schema.name()), "{stopped}");
        drop((before, journal));
        proxy.refuse(false);
        let journal = open_with(setting, &proxy, limits).await.unwrap();
        let after = list(&journal).await;
        after.ask_with_id(1, Push(1)).await.unwrap();
        let seen = after.ask_with_id(2, Push(2)).await.unwrap();
        assert_eq!(seen, [1, 2], "asked again, handled once");
    });
}

fn reopened(setting: &Setting) {
    setting.runtime.block_on(async {
        let proxy = setting.proxy().await;
        let limits = Limits { commit_retry: Duration::from_millis(100), ..Limits::default() };
        let journal = open(setting, &proxy, EventJournal::builder().limits(limits)).await.unwrap();
        let list = list(&journal).await;
        list.ask_with_id(1, Push(1)).await.unwrap();
        proxy.refuse(true);
        proxy.cut();
        let error = list.ask_with_id(2, Push(2)).await.unwrap_err();
        assert!(error.is_retryable() && journal.stopped().is_none(), "{error:?}");
        proxy.refuse(false);
        // It waits. The server may have got the commit of 2 before the connection was cut.
        let seen = list.ask_with_id(3, Push(3)).await.unwrap();
        let written = seen == [1, 2, 3];
        assert!(written || seen == [1, 3], "{seen:?}");
        let again = list.ask_with_id(2, Push(2)).await.unwrap();
        assert_eq!(again, if written { vec![1, 2] } else { vec![1, 3, 2] }, "handled once");
        assert_eq!(journal.stats().reopenings, 1);
        let newer = EventJournal::open(setting.schema.provider()).await.unwrap();
        list.ask_with_id(4, Push(4)).await.unwrap_err();
        assert!(journal.stopped().unwrap().is_fenced() && newer.stopped().is_none());
    });
}

/// What PostgreSQL says when there is no room, said by a trigger.
fn full_disk(setting: &Setting) {
    setting.runtime.block_on(async {
        let proxy = setting.proxy().await;
        let limits = Limits { commit_retry: Duration::from_millis(200), ..Limits::default() };
        let journal = open_with(setting, &proxy, limits.clone()).await.unwrap();
        let before = list(&journal).await;
        before.ask_with_id(1, Push(1)).await.unwrap();
        setting
            .sql(
                "CREATE FUNCTION {schema}.no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     RAISE EXCEPTION 'no space left on device' USING ERRCODE = '53100';
                 END $$;
                 CREATE TRIGGER no_room BEFORE INSERT ON {schema}.journal_log
                     EXECUTE FUNCTION {schema}.no_room();",
            )
            .await;
        let error = before.ask_with_id(2, Push(2)).await.unwrap_err();
        assert!(error.is_retryable(), "{error:?}");
        let stopped = journal.stopped().unwrap();
        let source = std::error::Error::source(&*stopped).unwrap();
        assert!(stopped.is_retryable() && stopped.to_string().contains(setting.schema.name()));
        let cause = std::error::Error::source(source).map(ToString::to_string);
        assert!(cause.is_some_and(|cause| cause.contains("no space left")), "{source:?}");
        drop((before, journal));
        setting.sql("DROP FUNCTION {schema}.no_room CASCADE").await;
        let journal = open_with(setting, &proxy, limits).await.unwrap();
        let after = list(&journal).await;
        let seen = after.ask_with_id(2, Push(2)).await.unwrap();
        assert_eq!(seen, [1, 2], "asked again, handled once");
    });
}

/// The commits that come while the database does not write wait until it does.
fn standby(setting: &Setting) {
    setting.runtime.block_on(async {
        let proxy = setting.proxy().await;
        // Its own role: what is set for it is nobody else's trouble.
        let role = format!("role_{}", setting.schema.name());
        setting.sql(&format!("CREATE ROLE {role} LOGIN SUPERUSER")).await;
        let options = setting.options.clone().username(&role);
        let journal = EventJournal::open(setting.through(&proxy, &options).await).await.unwrap();
        let list = list(&journal).await;
        list.ask_with_id(1, Push(1)).await.unwrap();
        // New connections find a database that cannot be written.
        setting.sql(&format!("ALTER ROLE {role} SET default_transaction_read_only = on")).await;
        proxy.cut();
        let ask = tokio::spawn(async move { list.ask_with_id(2, Push(2)).await });
        let refused = format!("SELECT 1 FROM pg_stat_activity WHERE usename = '{role}'");
        let mut connection = setting.options.connect().await.unwrap();
        // It has connected again, so it was told.
        while sqlx::query(&refused).fetch_all(&mut connection).await.unwrap().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(!ask.is_finished());
        setting.sql(&format!("ALTER ROLE {role} RESET default_transaction_read_only")).await;
        assert_eq!(ask.await.unwrap().unwrap(), [1, 2]);
        drop(journal);
        proxy.refuse(true);
        proxy.cut();
        setting.sql(&format!("REASSIGN OWNED BY {role} TO CURRENT_USER; DROP ROLE {role}")).await;
    });
}

/// The store, for nodes; through the proxy.
async fn store(
    setting: &Setting,
    proxy: &Proxy,
    options: &PgConnectOptions,
) -> Arc<dyn ClusterStore> {
    let provider = setting.through(proxy, options).await;
    let open = move || PostgresActorProvider::open(&provider, Durability::PowerLoss);
    tokio::task::spawn_blocking(open).await.unwrap().unwrap().cluster().unwrap()
}

fn letter() -> StoredLetter {
    StoredLetter { actor: ActorId::new("list", "1"), bytes: b"a letter".to_vec() }
}

/// A letter is acknowledged when it is posted, so posting waits for the disk as a commit does. Settling does as well,
/// for its actor keeps its id until then. The reply that goes before it is on the disk when that is.
fn asynchronous_role(setting: &Setting) {
    setting.runtime.block_on(async {
        let proxy = setting.proxy().await;
        let role = format!("hasty_{}", setting.schema.name());
        setting
            .sql(&format!(
                "CREATE ROLE {role} LOGIN SUPERUSER;
                 ALTER ROLE {role} SET synchronous_commit = off"
            ))
            .await;
        let store = store(setting, &proxy, &setting.options.clone().username(&role)).await;
        setting
            .sql(
                "CREATE TABLE {schema}.seen (what TEXT, setting TEXT);
                 CREATE FUNCTION {schema}.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                     INSERT INTO {schema}.seen
                     VALUES (TG_OP || ' ' || TG_TABLE_NAME, current_setting('synchronous_commit'));
                     RETURN NULL;
                 END $$;
                 CREATE TRIGGER see AFTER INSERT OR DELETE ON {schema}.journal_inbox
                     EXECUTE FUNCTION {schema}.see();
                 CREATE TRIGGER see AFTER INSERT ON {schema}.journal_reply
                     EXECUTE FUNCTION {schema}.see();
                 CREATE TRIGGER see AFTER INSERT ON {schema}.journal_lease
                     EXECUTE FUNCTION {schema}.see()",
            )
            .await;
        // One after the other, and several at once, each on a connection of its own.
        let (shard, letters) = (ShardId(0), [letter()]);
        try_join_all((0..8).map(|_| store.post(shard, &letters, 100))).await.unwrap();
        let reply = StoredReply { client: "me".into(), bytes: b"a reply".to_vec() };
        store.settle(shard, &[1], &[reply]).await.unwrap();
        assert!(store.claim(shard, "me", Duration::from_secs(5)).await.unwrap());
        let mut connection = setting.options.connect().await.unwrap();
        let seen = format!("SELECT DISTINCT what, setting FROM {}.seen", setting.schema.name());
        let mut seen: Vec<(String, String)> =
            sqlx::query_as(&seen).fetch_all(&mut connection).await.unwrap();
        seen.sort();
        let expected = [
            ("DELETE journal_inbox", "on"),
            ("INSERT journal_inbox", "on"),
            ("INSERT journal_lease", "on"),
            ("INSERT journal_reply", "off"),
        ];
        assert_eq!(seen, expected.map(|(what, it)| (what.to_owned(), it.to_owned())));
        drop(store);
        proxy.refuse(true);
        proxy.cut();
        setting.sql(&format!("REASSIGN OWNED BY {role} TO CURRENT_USER; DROP ROLE {role}")).await;
    });
}

/// What it does not hear would be found by looking, a second late, for ever.
fn silent_listener(setting: &Setting) {
    setting.runtime.block_on(async {
        let proxy = setting.proxy().await;
        let store = store(setting, &proxy, &setting.options).await;
        let mut heard = store.listen("me").await.unwrap().unwrap();
        store.post(ShardId(3), &[letter()], 100).await.unwrap();
        assert_eq!(heard.recv().await, Some(Note::Letters(ShardId(3))));
        proxy.swallow();
        assert_eq!(heard.recv().await, None, "it says that it hears no more");
        let mut heard = store.listen("me").await.unwrap().unwrap();
        store.post(ShardId(4), &[letter()], 100).await.unwrap();
        assert_eq!(heard.recv().await, Some(Note::Letters(ShardId(4))));
    });
}

/// What the first version of the schema had, brought back.
fn older_schema(setting: &Setting) {
    setting.runtime.block_on(async {
        let journal = EventJournal::open(setting.schema.provider()).await.unwrap();
        let before = list(&journal).await;
        before.ask_with_id(1, Push(1)).await.unwrap();
        drop((before, journal));
        setting
            .sql(
                "DROP TABLE {schema}.journal_founding, {schema}.journal_lease,
                     {schema}.journal_inbox, {schema}.journal_inbox_head, {schema}.journal_reply,
                     {schema}.journal_owner, {schema}.journal_dead_letter, {schema}.journal_key;
                 ALTER TABLE {schema}.journal_record DROP COLUMN due;
                 DELETE FROM {schema}.journal_schema WHERE version > 1",
            )
            .await;
        let error = Cluster::builder("late", 4).join(setting.schema.provider()).await.unwrap_err();
        assert!(matches!(error, JournalError::Founding { .. }), "it has one shard: {error:?}");
        let journal = EventJournal::open(setting.schema.provider()).await.unwrap();
        assert_eq!(list(&journal).await.ask_with_id(1, Push(1)).await.unwrap(), [1]);
    });
}

fn newer_schema(setting: &Setting) {
    setting.runtime.block_on(async {
        let journal = EventJournal::open(setting.schema.provider()).await.unwrap();
        journal.close().await.unwrap();
        setting.sql("INSERT INTO {schema}.journal_schema VALUES (99)").await;
        let error = EventJournal::open(setting.schema.provider()).await.unwrap_err();
        let JournalError::SchemaVersion { found, store, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*found, 99);
        assert!(store.contains(setting.schema.name()), "{error}");
    });
}

fn no_rights(setting: &Setting) {
    setting.runtime.block_on(async {
        EventJournal::open(setting.schema.provider()).await.unwrap().close().await.unwrap();
        let role = format!("role_{}", setting.schema.name());
        // Everything that duroxide needs, and nothing of ours.
        setting
            .sql(&format!(
                "CREATE ROLE {role} LOGIN; GRANT ALL ON SCHEMA {{schema}} TO {role};
                 GRANT ALL ON ALL TABLES IN SCHEMA {{schema}} TO {role};
                 REVOKE ALL ON {{schema}}.journal_schema, {{schema}}.journal_shard FROM {role};"
            ))
            .await;
        let url = setting.options.clone().username(&role).to_url_lossy().to_string();
        let provider = PostgresProvider::new_with_schema(&url, Some(setting.schema.name())).await;
        let error = EventJournal::open(Arc::new(provider.unwrap())).await.unwrap_err();
        assert!(!error.is_retryable(), "{error:?}");
        let JournalError::Store { source, .. } = &error else { panic!("{error:?}") };
        assert!(source.to_string().contains("permission denied"), "{source}");
        setting.sql(&format!("DROP OWNED BY {role}; DROP ROLE {role}")).await;
    });
}

fn reader(setting: &Setting) {
    setting.runtime.block_on(async {
        let open = || JournalReader::open(setting.schema.provider());
        let error = open().await.unwrap_err();
        assert!(matches!(error, JournalError::NoJournal { .. }), "{error:?}");
        let mut connection = setting.options.connect().await.unwrap();
        let made =
            format!("SELECT to_regclass('{}.journal_schema') IS NULL", setting.schema.name());
        let nothing: bool = sqlx::query_scalar(&made).fetch_one(&mut connection).await.unwrap();
        assert!(nothing, "looking made tables");
        let journal = EventJournal::open(setting.schema.provider()).await.unwrap();
        let list = list(&journal).await;
        for number in 1..=3 {
            list.ask(Push(number)).await.unwrap();
            let view = open().await.unwrap().view().await.unwrap();
            assert_eq!(view.epoch(), journal.epoch());
            let actors = view.actors().await.unwrap();
            let seen = view.actor(&actors[0]).await.unwrap().unwrap();
            let state: serde_json::Value = seen.state.unwrap().decode().unwrap();
            let numbers: Vec<_> = (1..=number).collect();
            assert_eq!(state, serde_json::json!({ "numbers": numbers }));
        }
        let owner = open().await.unwrap().owner().await.unwrap().unwrap();
        assert_eq!(owner.pid, std::process::id());
        // What version 2 left: it is read, and stays.
        setting
            .sql(
                "DROP TABLE {schema}.journal_owner;
                 DELETE FROM {schema}.journal_schema WHERE version > 2",
            )
            .await;
        let older = open().await.unwrap();
        assert_eq!(older.owner().await.unwrap(), None);
        assert!(older.verify().await.unwrap().is_clean());
        setting.sql("INSERT INTO {schema}.journal_schema VALUES (99)").await;
        let error = open().await.unwrap_err();
        assert!(matches!(error, JournalError::SchemaVersion { found: 99, .. }), "{error:?}");
        list.ask(Push(4)).await.unwrap();
    });
}

fn two_journals(setting: &Setting) {
    setting.runtime.block_on(async {
        let first = EventJournal::open(setting.schema.provider()).await.unwrap();
        let of_first = list(&first).await;
        of_first.ask(Push(1)).await.unwrap();
        let second = EventJournal::open(setting.schema.provider()).await.unwrap();
        let error = of_first.ask(Push(2)).await.unwrap_err();
        assert!(
            error.message_id().is_some(),
            "with another journal it can be asked again: {error:?}"
        );
        let stopped = first.stopped().unwrap();
        assert!(stopped.is_fenced());
        // By whom: this process, this time.
        assert!(stopped.to_string().contains(&format!("process {}", std::process::id())));
        assert_eq!(list(&second).await.ask(Push(3)).await.unwrap(), [1, 3]);
    });
}

fn moves(setting: &Setting) {
    setting.runtime.block_on(async {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        let first = tests::postgres::open(&file("first.db")).await.unwrap();
        // Several epochs, a truncated log, and a tail after the last checkpoint.
        let limits = Limits { history_commits: 3, ..Limits::default() };
        for life in 0..3 {
            let journal = EventJournal::builder().limits(limits.clone()).open(first.clone()).await;
            let journal = journal.unwrap();
            let list = list(&journal).await;
            if life == 2 {
                journal.checkpoint().await.unwrap();
            }
            for number in 0..10 {
                list.ask_with_id(life * 10 + number + 1, Push(number as u64)).await.unwrap();
            }
        }
        let open = EventJournal::open(first.clone()).await.unwrap();
        let far = setting.schema.provider();
        let report = move_journal(&first, &far).await.unwrap();
        assert_eq!(report.records, 1);
        assert!(report.commits > 0, "{report:?}");
        let error = list(&open).await.ask(Push(9)).await.unwrap_err();
        assert!(error.message_id().is_some(), "the old one is fenced: {error:?}");
        let refused = move_journal(&first, &far).await.unwrap_err();
        assert!(matches!(refused, JournalError::NotEmpty { .. }), "{refused:?}");

        let back = tests::postgres::open(&file("back.db")).await.unwrap();
        let journal = EventJournal::open(far.clone()).await.unwrap();
        list(&journal).await.ask_with_id(1000, Push(10)).await.unwrap();
        move_journal(&far, &back).await.unwrap();
        let journal = EventJournal::open(back).await.unwrap();
        let list = list(&journal).await;
        let expected: Vec<u64> = (0..30).map(|n| n % 10).chain([10, 11]).collect();
        assert_eq!(list.ask(Push(11)).await.unwrap(), expected);
        let known = list.ask_with_id(2, Push(1)).await.unwrap();
        assert_eq!(known, [0, 1], "the first reply came along");
        assert!(journal.verify().await.unwrap().is_clean());
    });
}

async fn move_journal(
    from: &Arc<dyn Provider>,
    to: &Arc<dyn Provider>,
) -> Result<CopyReport, JournalError> {
    let open = |provider: &Arc<dyn Provider>| {
        let provider = provider.clone();
        tokio::task::spawn_blocking(move || attach(&provider, Durability::PowerLoss))
    };
    let from = open(from).await.unwrap()?;
    let to = open(to).await.unwrap()?;
    copy(from, to).await
}
