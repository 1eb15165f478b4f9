//! Every limit of the journal, in one place: its default, why, and what happens beyond it.

use std::time::Duration;

/// Longest actor type, in bytes. Longer ones are refused with `InvalidActorId`.
pub const MAX_ACTOR_TYPE_BYTES: usize = 255;
/// Longest actor id, in bytes. Longer ones are refused with `InvalidActorId`.
pub const MAX_ACTOR_ID_BYTES: usize = 1024;

/// What bounds a journal. Set through [`EventJournalBuilder::limits`](crate::EventJournalBuilder::limits).
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
    pub message_bytes: usize,
    /// Largest encoded reply, in bytes. Default 16 MiB: replies are kept in the dedup window. A
    /// larger one counts as a panic of its handler.
    pub reply_bytes: usize,
    /// Largest encoded state of one actor, in bytes. Default 64 MiB: SQLite's own limit for a row
    /// is 1 GiB, and a state is written whole each time it changes. Beyond it the run that made
    /// the state fails with `TooLarge`.
    pub state_bytes: usize,
    /// Bytes that may wait for the disk. Default 64 MiB. Beyond it, actors wait before they take
    /// their next message, so their mailboxes fill and callers feel it.
    pub waiting_bytes: usize,
    /// Messages an actor handles before its state is captured. Default 256: the cost of a capture
    /// is shared by so many, and a panic makes at most so many be handled again.
    pub run_messages: usize,
    /// Recorded replies per actor, by count. Default 1,024. The oldest goes first; its id is then
    /// a new message.
    pub dedup_count: usize,
    /// Recorded replies per actor, by age since receipt. Default 24 hours.
    pub dedup_age: Duration,
    /// Recorded replies per actor, by the bytes of the replies. Default 16 MiB. The oldest go
    /// first; the newest always stays.
    pub dedup_bytes: usize,
    /// How often a panicking message is tried before it becomes a dead letter. Default 3. The last
    /// attempt is always made alone, so a message that panics in the middle of a run is tried at
    /// least twice.
    pub attempts: u32,
    /// Bytes of log since the last checkpoint that start the next one. Default 32 MiB: recovery
    /// reads at most about twice as much. With hundreds of thousands of actors that change at
    /// random a checkpoint would write more than that; then it waits for more to come together,
    /// at most for half of [`tail_bytes`](Self::tail_bytes).
    pub checkpoint_bytes: usize,
    /// Bytes of log since the last finished checkpoint beyond which commits wait for the
    /// checkpoint. Default 256 MiB; reached only if the disk cannot keep up.
    pub tail_bytes: usize,
    /// Commits kept behind the checkpoint so that histories can be read. Default 1,000; fewer if
    /// they have more than [`history_bytes`](Self::history_bytes).
    pub history_commits: u64,
    /// Bytes of commits kept behind the checkpoint. Default 256 MiB. Beyond it the oldest go, as
    /// with [`history_commits`](Self::history_commits); the last commit always stays.
    pub history_bytes: usize,
    /// Dead letters per actor, by count. Default 100,000. At so many the actor takes no new message:
    /// it is refused with `DeadLettersFull` until letters are sent again or discarded. What was
    /// received before is still handled and may become a dead letter, so there can be a few more.
    /// Each takes about 12 bytes of the actor's record, which is written whole.
    pub dead_letters: usize,
    /// Dead letters per actor, by their bytes. Default 1 GiB. Beyond it the same happens.
    pub dead_letter_bytes: u64,
    /// Bytes of messages that wait in the mailbox of one actor. Default 64 MiB. At so many the
    /// mailbox is full, as it is by its capacity.
    pub pending_bytes: usize,
    /// How long a commit is tried again while the store is busy or full. Default 10 s. After
    /// that the journal stops with the store's error.
    pub commit_retry: Duration,
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
            commit_retry: Duration::from_secs(10),
        }
    }
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
