//! What this crate bounds beyond the journal's own [`Limits`](shared_journal::Limits).

use std::time::Duration;

/// Messages that may wait in the channel of an actor, unless another number is given: 1,024.
///
/// As many may wait behind a handler that is not done yet; their receipts are in the journal.
/// Beyond both, `poll_ready` is pending, `ask` and `tell` wait, and `try_ask` answers
/// [`Refusal::Full`](crate::error::Refusal::Full).
pub const DEFAULT_CAPACITY: usize = 1024;

/// Lanes of a [`DurableLayer`](crate::DurableLayer), unless another number is given: 16 requests
/// are in the inner service at a time.
pub const DEFAULT_LANES: usize = 16;

/// Most lanes of a [`DurableLayer`](crate::DurableLayer); a larger number is taken for this one. Each
/// is an actor that is recovered when the layer starts.
pub const MAX_LANES: usize = 1024;

/// The first pause before a [`DurableLayer`](crate::DurableLayer) tries a request again, unless
/// another one is given: 250 ms. A lost connection is back by then; a server that restarts is not,
/// and its requests become dead letters that are tried again under their keys.
pub const DEFAULT_BACKOFF: Duration = Duration::from_millis(250);

/// The longest such pause, unless another one is given: 10 s. The requests behind it in the lane
/// wait as long.
pub const MAX_BACKOFF: Duration = Duration::from_secs(10);
