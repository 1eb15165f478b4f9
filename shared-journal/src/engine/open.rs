//! How a shard is opened, and its threads begin.

use std::sync::{Arc, OnceLock};

use super::at_work::AtWork;
use super::closing::Closing;
use super::directory::Directory;
use super::gate::Gates;
use super::gauges::{self, Gauges};
use super::inbox::Inbox;
use super::letters::Changes;
use super::patient::Patient;
use super::queue::{Queue, batch_bytes};
use super::recover::recover;
use super::watch::Watch;
use super::writer::Writer;
use super::{Counters, Shared};
use crate::codec::Codec;
use crate::error::JournalError;
use crate::id::{Epoch, MessageId, ShardId};
use crate::limits::Limits;
use crate::owner::Owner;
use crate::provider::ActorProvider;
use crate::undelivered::AllUndelivered;

/// How a shard is opened.
#[derive(Default)]
pub(crate) struct Opening {
    pub(crate) counters: Arc<Counters>,
    pub(crate) checks_values: bool,
    /// Only if nobody has opened it since this epoch; and whether it was tried before, so that the
    /// newer owner may be this one.
    pub(crate) after: Option<(Epoch, bool)>,
}

pub(super) fn start(
    provider: Arc<dyn ActorProvider>,
    shard: ShardId,
    limits: Limits,
    codec: Codec,
    opening: Opening,
) -> Result<(Arc<Shared>, Directory), JournalError> {
    let provider: Arc<dyn ActorProvider> = Patient::new(provider, limits.commit_retry);
    if let Some((epoch, again)) = opening.after {
        pollster::block_on(check_owner(&*provider, shard, epoch, again))?;
    }
    let head = pollster::block_on(provider.open_shard(shard))?;
    let shared = self::shared(provider, shard, head.epoch, limits, codec, &opening);
    let mut directory = recover(&shared, head).map_err(|error| shared.fenced_or(error))?;
    directory.learn_timers()?;
    gauges::watch(&shared);
    let writer = Writer::new(shared.clone(), directory.position());
    let runtime = tokio::runtime::Handle::try_current().ok();
    let spawned = spawn("journal-writer", move || {
        let _runtime = runtime.as_ref().map(tokio::runtime::Handle::enter);
        writer.run();
    });
    spawned.map_err(|error| no_thread(&*shared.provider, error))?;
    Ok((shared, directory))
}

/// Whether nobody has opened a shard since `epoch`. An opening that was tried before may have succeeded
/// without this process having learned so.
async fn check_owner(
    provider: &dyn ActorProvider,
    shard: ShardId,
    epoch: Epoch,
    again: bool,
) -> Result<(), JournalError> {
    if provider.read_head(shard).await?.is_some_and(|head| head.epoch == epoch) {
        return Ok(());
    }
    let by = provider.owner(shard).await?;
    if again && by.as_ref().is_some_and(Owner::is_this_process) {
        return Ok(());
    }
    Err(JournalError::Fenced { shard, epoch, by: by.map(Box::new) })
}

/// What the threads of a shard will share.
pub(super) fn shared(
    provider: Arc<dyn ActorProvider>,
    shard: ShardId,
    epoch: Epoch,
    limits: Limits,
    codec: Codec,
    opening: &Opening,
) -> Arc<Shared> {
    Arc::new(Shared {
        // Never so short that it is reached before a checkpoint begins.
        queue: Queue::new(
            limits.waiting_bytes,
            limits.tail_bytes.max(limits.checkpoint_bytes.saturating_mul(2)),
            batch_bytes(provider.row_bytes()),
        ),
        gates: Gates::default(),
        closing: Closing::default(),
        directory: Inbox::new(limits.checkpoint_bytes),
        relay: OnceLock::new(),
        incarnation: MessageId::random(),
        checks_values: opening.checks_values,
        #[cfg(feature = "test-util")]
        rehearsal: OnceLock::new(),
        #[cfg(feature = "test-util")]
        rests: OnceLock::new(),
        clock: OnceLock::new(),
        at_work: AtWork::default(),
        watch: Watch::default(),
        counters: opening.counters.clone(),
        gauges: Gauges::default(),
        letter_changes: Changes::default(),
        undelivered: AllUndelivered::default(),
        door: OnceLock::new(),
        provider,
        shard,
        epoch,
        limits,
        codec,
    })
}

pub(super) fn spawn(name: &str, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
    std::thread::Builder::new().name(name.to_owned()).spawn(body).map(drop)
}

/// The error for a thread that the system did not give us.
pub(super) fn no_thread(provider: &dyn ActorProvider, error: std::io::Error) -> JournalError {
    JournalError::Store {
        store: provider.location(),
        operation: "start a thread",
        retryable: true,
        source: error.into(),
    }
}
