//! The cluster through its public API, with a host that keeps what it is given.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use shared_journal::cluster::{Cluster, ClusterBuilder, Delivered, Host, Hosted, Parcel};
use shared_journal::provider::ActorProvider;
use shared_journal::sqlite::SqliteActorProvider;
use shared_journal::{
    ActorId, Durability, EventJournal, JournalError, Limits, MessageId, MessageKey, ShardId,
};
use tokio::sync::mpsc;

/// Hands every message to the test, which may answer it or not.
#[derive(Clone)]
struct Keeper(mpsc::UnboundedSender<Parcel>);

#[async_trait]
impl Host for Keeper {
    fn actor_type(&self) -> &'static str {
        "keeper"
    }

    async fn start(
        &self,
        _journal: &EventJournal,
        _id: &str,
    ) -> Result<Box<dyn Hosted>, Arc<JournalError>> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Hosted for Keeper {
    async fn deliver(&mut self, parcel: Parcel) -> Result<(), Parcel> {
        self.0.send(parcel).unwrap();
        Ok(())
    }
}

/// One thread, so that the test says who runs when.
#[tokio::test(flavor = "current_thread")]
async fn a_message_that_was_delivered_is_not_overtaken_when_its_shard_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store =
        SqliteActorProvider::open(dir.path().join("a.db"), Durability::ProcessCrash).unwrap();
    let (keep, mut kept) = mpsc::unbounded_channel();
    let cluster = Cluster::builder("test", 1).host(Keeper(keep)).join_on(store.clone());
    let cluster = cluster.await.unwrap();
    while cluster.own_shards().is_empty() {
        tokio::task::yield_now().await;
    }

    let actor = ActorId::new("keeper", "1");
    let ask = |message: &str| {
        let (cluster, actor) = (cluster.clone(), actor.clone());
        let payload = cluster.encode(&message).unwrap();
        async move { cluster.ask(&actor, MessageId::random().into(), "say", payload).await }
    };
    tokio::spawn(ask("first"));
    let delivered = kept.recv().await.unwrap();
    // The shard goes, and the first message is still with somebody.
    cluster.leave().await.unwrap();
    tokio::spawn(ask("second"));
    // Whoever can go on has gone on: the second message is where nothing goes before it any more.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    drop(delivered);

    let store = store.cluster().unwrap();
    let letters = loop {
        let letters = store.take(ShardId(0), 0, 1 << 20).await.unwrap();
        if letters.len() == 2 {
            break letters;
        }
        tokio::task::yield_now().await;
    };
    let is = |place: usize, message: &str| {
        let (_, letter) = &letters[place];
        letter.bytes.windows(message.len()).any(|it| it == message.as_bytes())
    };
    assert!(is(0, "first") && is(1, "second"), "{letters:?}");
}

/// An id that an adapter made for a sender in this process is forgotten soon after its message is handled. One
/// whose reply comes through the store may be asked for later than that.
#[tokio::test(flavor = "current_thread")]
async fn an_id_that_leaves_its_process_is_kept_for_longer() {
    let dir = tempfile::tempdir().unwrap();
    let store =
        SqliteActorProvider::open(dir.path().join("a.db"), Durability::ProcessCrash).unwrap();
    let (keep, mut kept) = mpsc::unbounded_channel();
    let join = || Cluster::builder("test", 1).host(Keeper(keep.clone())).join_on(store.clone());
    let owner = join().await.unwrap();
    while owner.own_shards().is_empty() {
        tokio::task::yield_now().await;
    }
    let other = join().await.unwrap();
    let id = MessageId::random();
    for (actor, node, key) in
        [("1", &owner, MessageKey::Transient(id)), ("2", &other, MessageKey::Generated(id))]
    {
        let (actor, payload) = (ActorId::new("keeper", actor), node.encode(&1).unwrap());
        let ask = node.ask(&actor, MessageKey::Transient(id), "say", payload.clone());
        let answer = async {
            let parcel: Parcel = kept.recv().await.unwrap();
            assert_eq!(parcel.key, key);
            parcel.answer.answer(Delivered::Processed(parcel.payload));
        };
        let (reply, ()) = tokio::join!(ask, answer);
        assert_eq!(reply.unwrap(), payload);
    }
    assert!(other.own_shards().is_empty());
}

#[tokio::test]
async fn options_with_which_nothing_would_work_are_refused_by_name() {
    type Set = fn(ClusterBuilder) -> ClusterBuilder;
    let refused: [(&str, u32, Set); 9] = [
        ("the number of shards", 0, |it| it),
        ("the number of shards", u32::MAX, |it| it),
        ("ClusterBuilder::lease", 1, |it| it.lease(Duration::ZERO)),
        ("ClusterBuilder::lease", 1, |it| it.lease(Duration::from_nanos(1))),
        ("ClusterBuilder::lease", 1, |it| it.lease(Duration::MAX)),
        ("ClusterBuilder::inbox_letters", 1, |it| it.inbox_letters(0)),
        ("ClusterBuilder::inbox_letters", 1, |it| it.inbox_letters(u64::MAX)),
        ("run_messages", 1, |it| it.limits(Limits { run_messages: 0, ..Limits::default() })),
        ("dedup_count", 1, |it| it.limits(Limits { dedup_count: 0, ..Limits::default() })),
    ];
    for (name, shards, set) in refused {
        let dir = tempfile::tempdir().unwrap();
        let store =
            SqliteActorProvider::open(dir.path().join("a.db"), Durability::ProcessCrash).unwrap();
        let joined = set(Cluster::builder("test", shards)).join_on(store).await;
        let error = joined.unwrap_err();
        let JournalError::InvalidLimits { field, .. } = &error else { panic!("{error:?}") };
        assert_eq!(*field, name);
    }
    // The least and the most of them.
    let allowed: [Set; 3] = [
        |it| it.inbox_letters(1).active_actors(NonZeroUsize::MIN),
        |it| it.inbox_letters(1_000_000_000).active_actors(NonZeroUsize::MAX),
        |it| it.lease(Duration::from_secs(24 * 3600)),
    ];
    for set in allowed {
        let dir = tempfile::tempdir().unwrap();
        let store =
            SqliteActorProvider::open(dir.path().join("a.db"), Durability::ProcessCrash).unwrap();
        let (keep, mut kept) = mpsc::unbounded_channel();
        let cluster = set(Cluster::builder("test", 1).host(Keeper(keep)));
        let cluster = cluster.join_on(store).await.unwrap();
        let payload = cluster.encode(&"hello").unwrap();
        let actor = ActorId::new("keeper", "1");
        let asking = tokio::spawn({
            let cluster = cluster.clone();
            async move { cluster.ask(&actor, MessageId::random().into(), "say", payload).await }
        });
        kept.recv().await.unwrap();
        asking.abort();
        cluster.leave().await.unwrap();
    }
}
