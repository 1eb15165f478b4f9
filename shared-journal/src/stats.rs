//! What a journal counts.

/// Counts since a journal was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct JournalStats {
    /// Actors that were in the store when it was opened.
    pub recovered_actors: u64,
    /// Messages in the log's tail that were received and not processed when it was opened.
    pub recovered_pending: u64,
    /// Messages that were not handled because their id had been received before.
    pub duplicates: u64,
    /// Messages that became dead letters.
    pub dead_letters: u64,
    /// Checkpoints that were finished.
    pub checkpoints: u64,
    /// How often the journal stopped and was opened again by itself. What was recovered is of the last
    /// time.
    pub reopenings: u64,
}
