//! Every limit of the journal, in one place: its default, why, and what happens beyond it.

use std::time::Duration;

use crate::error::JournalError;

/// Longest actor type, in bytes. Longer ones are refused with `InvalidActorId`.
pub const MAX_ACTOR_TYPE_BYTES: usize = 255;
/// Longest actor id, in bytes. Longer ones are refused with `InvalidActorId`.
pub const MAX_ACTOR_ID_BYTES: usize = 1024;

/// Half of what a row of SQLite holds: what is stored with a value needs room as well.
pub(crate) const MAX_VALUE_BYTES: u64 = 512 << 20;
/// The dedup windows of an actor, and the index of its dead letters, take half of a row at most.
const MAX_OUTCOMES: u64 = 1 << 20;
pub(crate) const MAX_OUTCOME_BYTES: u64 = 128 << 20;
const MAX_LETTERS: u64 = 1 << 22;
/// What a record has of an outcome without its reply, and of a dead letter, at most.
const OUTCOME_BYTES: usize = 64;
const LETTER_BYTES: usize = 32;
const MAX_LOG_BYTES: u64 = 1 << 40;
const MAX_COMMIT_RETRY: Duration = Duration::from_secs(7 * 24 * 3600);

/// The results of steps that are kept for the messages of one actor have so many bytes at most.
pub(crate) fn steps_room(row_bytes: usize) -> usize {
    row_bytes / 16
}

/// What bounds a journal. Set through [`EventJournalBuilder::limits`](crate::EventJournalBuilder::limits).
/// A value that is not allowed is [`JournalError::InvalidLimits`] when the journal is opened.
///
/// Each bounds one thing. All that an actor has at once is one row of the store too: its state, what waits for it,
/// what it has sent and what is kept of what is done, about 800 MB together with the defaults. What would be more
/// is refused with [`TooLarge`](JournalError::TooLarge), to that actor only: a new message is not accepted,
/// and a message whose handling makes the state, the replies or the outbox so large has failed. An actor that
/// sends so much to itself has to stop, as it was before. With the defaults nothing else comes to that.
///
/// ```
/// use shared_journal::Limits;
/// use std::time::Duration;
///
/// let limits = Limits { dedup_age: Duration::from_secs(3600), ..Limits::default() };
/// assert_eq!(limits.dedup_count, 1024);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest encoded message, in bytes. Default 1 MiB. A larger one is refused with `TooLarge`
    /// before anything is written.
    ///
    /// Allowed: 1 byte to 512 MiB.
    pub message_bytes: usize,
    /// Largest encoded reply, in bytes. Default 16 MiB: replies are kept in the dedup window. A
    /// larger one counts as a panic of its handler.
    ///
    /// Allowed: 1 byte to 512 MiB.
    pub reply_bytes: usize,
    /// Largest encoded state of one actor, in bytes. Default 64 MiB: SQLite's own limit for a row
    /// is 1 GiB, and a state is written whole each time it changes. Beyond it the message that
    /// made the state has failed with `TooLarge`; of a run of several, each is handled again alone.
    ///
    /// Allowed: 1 byte to 512 MiB.
    pub state_bytes: usize,
    /// Bytes that may wait for the disk. Default 64 MiB. Beyond it, actors wait before they take
    /// their next message, so their mailboxes fill and callers feel it.
    ///
    /// Allowed: 1 byte to 1 TiB. With 1 each commit has one submission.
    pub waiting_bytes: usize,
    /// Messages an actor handles before its state is captured. Default 256: the cost of a capture
    /// is shared by so many, and a panic makes at most so many be handled again.
    ///
    /// Allowed: 1 to 65,536: replies wait for the end of their run.
    pub run_messages: usize,
    /// Recorded outcomes per actor in memory and in its record, by count. Default 1,024. A bound of memory,
    /// not of the promise: a caller's id that is older is a row in the store, with its reply if that has at
    /// most 256 bytes, and each message with an id that is not in memory is looked up there before it is
    /// received. Of ids that an adapter made the last so many, and at least the last 1,024, are known,
    /// and older ones forgotten.
    ///
    /// Allowed: 1 to 1,048,576.
    pub dedup_count: usize,
    /// Recorded outcomes per actor, by age, by the journal's own clock. Default 24 hours. At 1,000 callers'
    /// ids a second that is 86 million rows: docs/performance.md has what one takes.
    ///
    /// Allowed: any. With 0 an id is forgotten when its message is processed.
    pub dedup_age: Duration,
    /// Recorded outcomes per actor, by the bytes of the replies. Default 16 MiB. Beyond it the
    /// replies go, the oldest first; their ids stay, and asking again is answered with
    /// `AlreadyProcessed`. The newest reply always stays.
    ///
    /// Allowed: up to 128 MiB.
    pub dedup_bytes: usize,
    /// How often a message is tried before it becomes a dead letter. Default 3. An attempt fails
    /// with a panic, with a state or reply that cannot be stored, at the handler's time limit
    /// (`DurableActor::TIME_LIMIT` of the adapters), and with the death of the process
    /// while the message was handled, if its receipt was durable; so set it higher if processes are
    /// killed often. The last attempt is always made alone, so a message that panics in the middle
    /// of a run is tried at least twice, also with 1.
    ///
    /// Allowed: 1 to 1,000: a poison message must end.
    pub attempts: u32,
    /// Bytes of log since the last checkpoint that start the next one. Default 32 MiB: recovery
    /// reads at most about twice as much. With hundreds of thousands of actors that change at
    /// random a checkpoint would write more than that; then it waits for more to come together,
    /// at most for half of [`tail_bytes`](Self::tail_bytes).
    ///
    /// Allowed: 4 KiB to 1 TiB.
    pub checkpoint_bytes: usize,
    /// Bytes of log since the last finished checkpoint beyond which commits wait for the
    /// checkpoint. Default 256 MiB; reached only if the disk cannot keep up.
    ///
    /// Allowed: 4 KiB to 1 TiB.
    pub tail_bytes: usize,
    /// Commits kept behind the checkpoint so that histories can be read. Default 1,000; fewer if
    /// they have more than [`history_bytes`](Self::history_bytes).
    ///
    /// Allowed: any.
    pub history_commits: u64,
    /// Bytes of commits kept behind the checkpoint. Default 256 MiB. Beyond it the oldest go, as
    /// with [`history_commits`](Self::history_commits); the last commit always stays.
    pub history_bytes: usize,
    /// Dead letters per actor, by count. Default 100,000. At so many the actor takes no new message:
    /// it is refused with `DeadLettersFull` until letters are sent again or discarded. What was
    /// received before is still handled and may become a dead letter, so there can be a few more.
    /// Each takes about 12 bytes of the actor's record, which is written whole.
    ///
    /// Allowed: 1 to 4,194,304.
    pub dead_letters: usize,
    /// Dead letters per actor, by their bytes. Default 1 GiB. Beyond it the same happens.
    ///
    /// Allowed: 1 or more.
    pub dead_letter_bytes: u64,
    /// Bytes of messages that wait in the mailbox of one actor. Default 64 MiB. At so many the
    /// mailbox is full, as it is by its capacity.
    ///
    /// Allowed: 1 byte to 512 MiB.
    pub pending_bytes: usize,
    /// Bytes of messages that one actor has sent and that have not arrived. Default 64 MiB. At so many it
    /// cannot send: its handler gets [`OutboxError::Full`](crate::OutboxError::Full), and if it panics
    /// because of that, the attempt fails as any other. They are a part of the actor's record, which is
    /// written whole.
    ///
    /// Allowed: 1 byte to 512 MiB.
    pub outbox_bytes: usize,
    /// How long a commit or a read is tried again after its first failure, while the store is busy,
    /// full or away. Default 10 s. After that the journal stops with the store's error.
    ///
    /// Allowed: up to 7 days. There is one retry at least, also with 0.
    pub commit_retry: Duration,
    /// How long a handler is at work before a line in the log names its actor and message, and the gauge
    /// `journal_slow_handlers` counts it. Default 30 s. It is told again when it has been at work for
    /// twice as long. A thread looks four times in that time, every 5 s at most and every 10 ms at least,
    /// so it is told up to one look late. Nothing is done to the handler: the time limit for that is
    /// `DurableActor::TIME_LIMIT` of the adapters.
    ///
    /// Allowed: any. With [`Duration::MAX`] nobody looks.
    pub slow_handler: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 1 << 20,
            reply_bytes: 16 << 20,
            state_bytes: 64 << 20,
            waiting_bytes: 64 << 20,
            run_messages: 256,
            dedup_count: 1024,
            dedup_age: Duration::from_secs(24 * 3600),
            dedup_bytes: 16 << 20,
            attempts: 3,
            checkpoint_bytes: 32 << 20,
            tail_bytes: 256 << 20,
            history_commits: 1000,
            history_bytes: 256 << 20,
            dead_letters: 100_000,
            dead_letter_bytes: 1 << 30,
            pending_bytes: 64 << 20,
            outbox_bytes: 64 << 20,
            commit_retry: Duration::from_secs(10),
            slow_handler: Duration::from_secs(30),
        }
    }
}

impl Limits {
    /// What fits into an actor's record beside what is kept of messages that are done and of steps, in bytes,
    /// if a row has so many.
    pub(crate) fn record_room(&self, row_bytes: usize) -> usize {
        let outcomes = self.dedup_count.saturating_add(self.generated_ids());
        let outcomes = outcomes.saturating_mul(OUTCOME_BYTES);
        let replies = self.dedup_bytes.saturating_mul(2);
        let letters = self.dead_letters.saturating_mul(LETTER_BYTES);
        let kept = outcomes.saturating_add(replies).saturating_add(letters);
        row_bytes.saturating_sub(kept).saturating_sub(steps_room(row_bytes))
    }

    /// So many ids of an actor are known that an adapter made: they are to be remembered for as long as a
    /// message may be on its way, which has nothing to do with how much memory callers' ids may take.
    pub(crate) fn generated_ids(&self) -> usize {
        self.dedup_count.max(1024)
    }

    /// Whether a journal can work with these.
    ///
    /// # Errors
    /// [`JournalError::InvalidLimits`] for the first that it cannot.
    pub(crate) fn check(&self) -> Result<(), JournalError> {
        let value = 1..=MAX_VALUE_BYTES;
        let log = 4 << 10..=MAX_LOG_BYTES;
        within("message_bytes", self.message_bytes as u64, value.clone(), "1 byte to 512 MiB")?;
        within("reply_bytes", self.reply_bytes as u64, value.clone(), "1 byte to 512 MiB")?;
        within("state_bytes", self.state_bytes as u64, value, "1 byte to 512 MiB")?;
        within("waiting_bytes", self.waiting_bytes as u64, 1..=MAX_LOG_BYTES, "1 byte to 1 TiB")?;
        within("run_messages", self.run_messages as u64, 1..=65_536, "1 to 65,536")?;
        within("dedup_count", self.dedup_count as u64, 1..=MAX_OUTCOMES, "1 to 1,048,576")?;
        let bytes = ..=MAX_OUTCOME_BYTES;
        within("dedup_bytes", self.dedup_bytes as u64, bytes, "up to 128 MiB")?;
        within("attempts", self.attempts, 1..=1000, "1 to 1,000")?;
        within("checkpoint_bytes", self.checkpoint_bytes as u64, log.clone(), "4 KiB to 1 TiB")?;
        within("tail_bytes", self.tail_bytes as u64, log, "4 KiB to 1 TiB")?;
        within("dead_letters", self.dead_letters as u64, 1..=MAX_LETTERS, "1 to 4,194,304")?;
        within("dead_letter_bytes", self.dead_letter_bytes, 1..=u64::MAX, "1 or more")?;
        let pending = 1..=MAX_VALUE_BYTES;
        within("pending_bytes", self.pending_bytes as u64, pending.clone(), "1 byte to 512 MiB")?;
        within("outbox_bytes", self.outbox_bytes as u64, pending, "1 byte to 512 MiB")?;
        within("commit_retry", self.commit_retry, ..=MAX_COMMIT_RETRY, "up to 7 days")
    }
}

/// Whether an option's value is one that is allowed.
pub(crate) fn within<T: PartialOrd + std::fmt::Debug>(
    field: &'static str,
    value: T,
    range: impl std::ops::RangeBounds<T>,
    allowed: &'static str,
) -> Result<(), JournalError> {
    if range.contains(&value) {
        return Ok(());
    }
    Err(JournalError::InvalidLimits { field, value: format!("{value:?}"), allowed })
}

/// What a commit survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// A power cut: every commit is flushed to the disk before anything of it is released.
    #[default]
    PowerLoss,
    /// A killed process, but not a power cut or a crash of the operating system: a commit is in
    /// the system's hands, not yet on the disk. About ten times faster for a single message.
    ProcessCrash,
}

#[cfg(test)]
mod tests {
    use super::*;

    type Set = fn(&mut Limits, u64);

    /// Every field, and which of 0, 1 and its maximum are allowed.
    const FIELDS: &[(&str, Set, [bool; 3])] = &[
        ("message_bytes", |it, n| it.message_bytes = n as usize, [false, true, false]),
        ("reply_bytes", |it, n| it.reply_bytes = n as usize, [false, true, false]),
        ("state_bytes", |it, n| it.state_bytes = n as usize, [false, true, false]),
        ("waiting_bytes", |it, n| it.waiting_bytes = n as usize, [false, true, false]),
        ("run_messages", |it, n| it.run_messages = n as usize, [false, true, false]),
        ("dedup_count", |it, n| it.dedup_count = n as usize, [false, true, false]),
        ("dedup_age", |it, n| it.dedup_age = time(n), [true, true, true]),
        ("dedup_bytes", |it, n| it.dedup_bytes = n as usize, [true, true, false]),
        ("attempts", |it, n| it.attempts = n as u32, [false, true, false]),
        ("checkpoint_bytes", |it, n| it.checkpoint_bytes = n as usize, [false, false, false]),
        ("tail_bytes", |it, n| it.tail_bytes = n as usize, [false, false, false]),
        ("history_commits", |it, n| it.history_commits = n, [true, true, true]),
        ("history_bytes", |it, n| it.history_bytes = n as usize, [true, true, true]),
        ("dead_letters", |it, n| it.dead_letters = n as usize, [false, true, false]),
        ("dead_letter_bytes", |it, n| it.dead_letter_bytes = n, [false, true, true]),
        ("pending_bytes", |it, n| it.pending_bytes = n as usize, [false, true, false]),
        ("outbox_bytes", |it, n| it.outbox_bytes = n as usize, [false, true, false]),
        ("commit_retry", |it, n| it.commit_retry = time(n), [true, true, false]),
        ("slow_handler", |it, n| it.slow_handler = time(n), [true, true, true]),
    ];

    fn time(n: u64) -> Duration {
        if n == u64::MAX { Duration::MAX } else { Duration::from_nanos(n) }
    }

    #[test]
    fn every_field_is_allowed_or_named() {
        Limits::default().check().unwrap();
        let fields = format!("{:?}", Limits::default()).matches(": ").count();
        assert_eq!(fields, FIELDS.len(), "each field has a line");
        for (field, set, expected) in FIELDS {
            for (value, expected) in [0, 1, u64::MAX].into_iter().zip(expected) {
                let mut limits = Limits::default();
                set(&mut limits, value);
                match limits.check() {
                    Ok(()) => assert!(expected, "{limits:?}"),
                    Err(error @ JournalError::InvalidLimits { field: named, .. }) => {
                        assert!(!expected && named == *field, "{error}");
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
        }
    }

    /// What is allowed works: with it a message is handled, acknowledged, and found again.
    #[cfg(feature = "test-util")]
    #[tokio::test]
    async fn every_value_that_is_allowed_works() {
        use crate::mailbox::{Mailbox, Resolution, Work};
        use crate::sum::Sum;
        use crate::{ActorId, EventJournal, test_util::MemoryActorProvider};

        struct Told(tokio::sync::oneshot::Sender<Resolution>);
        impl Work for Told {
            fn resolve(self, resolution: Resolution) {
                drop(self.0.send(resolution));
            }
        }
        async fn tell(mailbox: &mut Mailbox<Told>) {
            let payload = mailbox.encode("the message", &1).unwrap();
            let (told, resolved) = tokio::sync::oneshot::channel();
            mailbox.accept(None, "add", payload, None, Told(told), None).unwrap();
            let delivery = mailbox.next().unwrap().unwrap();
            let reply = mailbox.encode("the reply", &1).unwrap();
            mailbox.processed(delivery, reply);
            let _ = mailbox.end_run(&mut Sum(1)).unwrap();
            let resolved = tokio::time::timeout(Duration::from_secs(20), resolved).await;
            assert!(matches!(resolved, Ok(Ok(Resolution::Processed))), "{resolved:?}");
        }
        for (field, set, _) in FIELDS {
            for value in [0, 1, u64::MAX] {
                let mut limits = Limits::default();
                set(&mut limits, value);
                let open = EventJournal::builder().limits(limits.clone());
                let Ok(journal) = open.open_on(MemoryActorProvider::new()).await else {
                    assert!(limits.check().is_err());
                    continue;
                };
                let mut mailbox = journal.activate(&ActorId::new("one", "1")).await.unwrap();
                mailbox.baseline(&Sum(0)).unwrap();
                for _ in 0..3 {
                    tell(&mut mailbox).await;
                }
                drop(mailbox);
                journal.checkpoint().await.unwrap();
                println!("{field} {value}");
                journal.close().await.unwrap();
            }
        }
    }
}
