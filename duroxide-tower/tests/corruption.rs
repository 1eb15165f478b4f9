//! Stored bytes that somebody changed: they never pass as what was written.

#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use std::sync::Arc;

use duroxide_tower::journal::provider::{
    ActorKey, CheckpointPart, RecordFilter, StoredCommit, StoredLetter, StoredRecord, Write,
};
use duroxide_tower::journal::{
    ActorNo, ActorProvider, EventJournal, JournalError, Limits, Position, Sequence, ShardId,
};
use duroxide_tower::test_util::MemoryActorProvider;
use duroxide_tower::{
    ActorContext, DurableActor, DurableActorService, DurableMessage, DurableState, async_trait,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

#[derive(Default, DurableState)]
#[durable(actor_type = "log")]
struct Log {
    text: String,
}

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "log.add")]
struct Add(String);

#[async_trait]
impl DurableActor for Log {
    type Message = Add;
    type Reply = usize;
    type Error = String;

    async fn handle(&mut self, _: &mut ActorContext, Add(text): Add) -> Result<usize, String> {
        assert!(!text.is_empty(), "nothing to add");
        self.text.push_str(&text);
        Ok(self.text.len())
    }
}

const SHARD: ShardId = ShardId(0);

/// Everything that a store has.
#[derive(Clone)]
struct Rows {
    checkpoint: Position,
    commits: Vec<StoredCommit>,
    records: Vec<StoredRecord>,
    letters: Vec<StoredLetter>,
}

impl Rows {
    /// Of three actors with replies, dead letters, ids, a checkpoint and a log behind it.
    async fn recorded() -> Self {
        let store = MemoryActorProvider::new();
        let limits = Limits { history_commits: 3, ..Limits::default() };
        let builder = EventJournal::builder().limits(limits);
        let journal = builder.open_on(store.clone()).await.unwrap();
        for round in 0..2_u128 {
            for name in ["a", "b", "c"] {
                let log = Log::default();
                let (service, log) = DurableActorService::new(&journal, name, log).await.unwrap();
                let running = tokio::spawn(service.run());
                for number in 0..4 {
                    let id = round * 4 + number;
                    log.ask_with_id(id, Add(format!("{id} "))).await.unwrap();
                }
                log.ask(Add(String::new())).await.unwrap_err();
                drop(log);
                running.await.unwrap().unwrap();
            }
            if round == 0 {
                journal.checkpoint().await.unwrap();
            }
        }
        let commits = store.read_commits(SHARD, Position(0), usize::MAX).await.unwrap();
        let listed = store.list_records(SHARD, RecordFilter::All, ActorNo(0), 9).await.unwrap();
        let (mut records, mut letters) = (Vec::new(), Vec::new());
        for actor in listed {
            records.extend(store.load_record(SHARD, ActorKey::No(actor.no)).await.unwrap());
            let of = store.load_letters(SHARD, actor.no, Sequence(0), usize::MAX);
            letters.extend(of.await.unwrap());
        }
        let checkpoint = store.open_shard(SHARD).await.unwrap().checkpoint;
        Self { checkpoint, commits, records, letters }
    }

    /// Puts them into a new store.
    async fn laid(&self) -> Arc<MemoryActorProvider> {
        let store = MemoryActorProvider::new();
        let epoch = store.open_shard(SHARD).await.unwrap().epoch;
        let nothing = Write { shard: SHARD, epoch, append: None, checkpoint: None };
        for commit in &self.commits {
            let append = Some((commit.position, &commit.bytes[..]));
            store.write(&Write { append, ..nothing }).await.unwrap();
        }
        let (records, letters) = (self.records.clone(), self.letters.clone());
        let checkpoint = Some(self.checkpoint);
        let part = CheckpointPart { records, letters, checkpoint, ..CheckpointPart::default() };
        store.write(&Write { checkpoint: Some(&part), ..nothing }).await.unwrap();
        store
    }

    /// All envelopes: commits and records.
    fn envelopes(&mut self) -> Vec<&mut Vec<u8>> {
        let commits = self.commits.iter_mut().map(|commit| &mut commit.bytes);
        commits.chain(self.records.iter_mut().map(|record| &mut record.bytes)).collect()
    }
}

/// How the journal says that something is wrong, if it does.
async fn complaint(rows: &Rows) -> Option<JournalError> {
    let journal = match EventJournal::builder().open_on(rows.laid().await).await {
        Ok(journal) => journal,
        Err(error) => return Some(error),
    };
    journal.verify().await.unwrap().problems.pop()
}

#[tokio::test]
async fn what_was_recorded_is_clean() {
    let rows = Rows::recorded().await;
    assert!(rows.records.len() == 3 && rows.commits.len() > 15, "{}", rows.commits.len());
    assert!(complaint(&rows).await.is_none());
}

#[tokio::test]
async fn changed_bytes_anywhere_are_corruption_that_names_the_place() {
    let whole = Rows::recorded().await;
    let mut random = StdRng::seed_from_u64(1);
    for round in 0..600 {
        let mut rows = whole.clone();
        let mut envelopes = rows.envelopes();
        let (one, other) =
            (random.random_range(0..envelopes.len()), random.random_range(0..envelopes.len()));
        let elsewhere = envelopes[other].clone();
        let envelope = &mut *envelopes[one];
        let before = envelope.clone();
        let at = random.random_range(0..envelope.len());
        match random.random_range(0..6) {
            0 => envelope[at] ^= 1 << random.random_range(0..8),
            1 => envelope.truncate(at),
            2 => envelope.extend_from_slice(&elsewhere[..at.min(elsewhere.len())]),
            3 => envelope[at..].fill(0),
            4 => *envelope = elsewhere,
            _ => random.fill(&mut envelope[at..]),
        }
        if *envelope == before {
            continue;
        }
        let complaint = complaint(&rows).await;
        let Some(JournalError::Corrupt { place, store, .. }) = &complaint else {
            panic!("round {round}, envelope {one}: {complaint:?}");
        };
        assert_eq!((place.shard, store.as_str()), (SHARD, "memory"));
        match one.checked_sub(rows.commits.len()) {
            None => assert_eq!(place.position, Some(rows.commits[one].position), "round {round}"),
            Some(record) => {
                assert_eq!(place.actor.as_ref(), Some(&rows.records[record].actor));
            }
        }
    }
}

#[tokio::test]
async fn a_commit_that_is_gone_is_missed_unless_it_was_the_last() {
    let whole = Rows::recorded().await;
    for gone in 0..whole.commits.len() {
        let mut rows = whole.clone();
        rows.commits.remove(gone);
        let complaint = complaint(&rows).await;
        // From the front, behind the checkpoint, the log is truncated anyway; and nobody can tell that
        // it once was longer.
        let may_be_gone = gone == 0 || gone + 1 == whole.commits.len();
        match complaint {
            None => assert!(may_be_gone, "commit {gone}"),
            Some(JournalError::Corrupt { reason, .. }) => {
                assert!(reason.contains("is missing"), "{reason}");
            }
            Some(other) => panic!("{other}"),
        }
    }
}
