//! What this crate bounds beyond the journal's own [`Limits`](shared_journal::Limits).

/// Messages that may wait in the channel of an actor, unless another number is given: 1,024.
///
/// As many may wait behind a handler that is not done yet; their receipts are in the journal.
/// Beyond both, `poll_ready` is pending, `ask` and `tell` wait, and `try_ask` answers
/// [`Refusal::Full`](crate::error::Refusal::Full).
pub const DEFAULT_CAPACITY: usize = 1024;

/// Lanes of a [`DurableLayer`](crate::DurableLayer), unless another number is given: 16 requests
/// are in the inner service at a time.
pub const DEFAULT_LANES: usize = 16;
