//! Several nodes on one store: an actor runs on one of them, and everybody reaches it.
//!
//! A process joins with [`Cluster::builder`] and one [`Host`] for each type of actor, which
//! duroxide-actix and duroxide-tower have. The actors are divided into shards by their names, for ever,
//! and each shard is leased to a node. Messages go to an actor on the same node directly, and to
//! others through an inbox in the store, whose owner leaves the replies there.
//!
//! - A node that dies is replaced when its leases have run out; one that leaves hands its shards over.
//! - A message is handled once, whichever way it takes and however often it is sent on the way, within
//!   the age of keys ([`Limits::dedup_age`](crate::Limits::dedup_age)).
//! - Messages of one sender to one actor keep their order, also when the actor moves.
//! - Leases decide who tries and epochs decide who may: of two nodes that both believe to have a shard,
//!   one cannot commit, and so releases no reply.
//!
//! The idea of leased shards of actors is that of [Akka Cluster Sharding] and of [Orleans].
//!
//! [Akka Cluster Sharding]: https://doc.akka.io/libraries/akka-core/current/typed/cluster-sharding.html
//! [Orleans]: https://www.microsoft.com/en-us/research/publication/orleans-distributed-virtual-actors-for-programmability-and-scalability/

mod balance;
mod builder;
mod busy;
mod discarded;
mod error;
mod host;
mod lanes;
mod letter;
mod mail;
mod manager;
mod news;
mod node;
mod relay;
mod replies;
mod router;
mod store;
mod tenure;
mod waits;

pub use builder::ClusterBuilder;
pub use error::SendError;
pub use host::{Answering, Delivered, Host, Hosted, Parcel};
#[cfg(feature = "test-util")]
pub(crate) use lanes::start_hosted;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use letter::encoded_again;
pub use mail::WaitingLetter;
pub(crate) use mail::{Mail, Settled};
pub(crate) use node::WeakCluster;
pub(crate) use node::shard_of;
pub use node::{Cluster, ShardStatus};
pub use store::{ClusterStore, Founding, LETTERS_AT_ONCE, Lease, Note, StoredLetter, StoredReply};
pub use waits::handling;

use crate::error::JournalError;
use crate::limits::within;

/// Shards are parts of the keys of rows, and each has two threads.
const MAX_SHARDS: u32 = 65_536;

/// Whether a store can have so many shards.
pub(crate) fn check_shards(shards: u32) -> Result<(), JournalError> {
    within("the number of shards", shards, 1..=MAX_SHARDS, "1 to 65,536")
}

/// Founds a new store, or checks that it was founded so.
pub(crate) async fn found(store: &dyn ClusterStore, wanted: &Founding) -> Result<(), JournalError> {
    let found = store.found(wanted).await?;
    if found == *wanted {
        return Ok(());
    }
    Err(JournalError::Founding { store: store.location(), found, wanted: wanted.clone() })
}
