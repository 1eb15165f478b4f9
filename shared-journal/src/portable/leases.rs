//! Who has which shard, as a log tells it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::log::State;
use crate::cluster::Lease;
use crate::id::ShardId;

/// One step of the leases' history. Durations are milliseconds, from when the step was read: the
/// clocks of nodes need not agree, and a reader waits rather too long than too short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum LeaseStep {
    /// A node has a shard, or nobody has it any more.
    Leased { shard: ShardId, node: Option<String>, lease_ms: u64 },
    /// A node keeps what it has.
    Renewed { shards: Vec<ShardId>, node: String, lease_ms: u64 },
    /// A node asks for a shard.
    Wanted { shard: ShardId, node: String, wish_ms: u64 },
}

#[derive(Debug, Default)]
pub(super) struct Leases(BTreeMap<ShardId, Held>);

#[derive(Debug)]
struct Held {
    node: Option<String>,
    lease_ms: u64,
    seen: Instant,
    wanted: Option<Wish>,
}

#[derive(Debug)]
struct Wish {
    node: String,
    wish_ms: u64,
    seen: Instant,
}

impl Wish {
    fn stands(&self) -> bool {
        self.seen.elapsed() < Duration::from_millis(self.wish_ms)
    }
}

impl Held {
    fn runs(&self) -> bool {
        self.seen.elapsed() < Duration::from_millis(self.lease_ms)
    }
}

impl Leases {
    /// Whether `node` may take a shard.
    pub(super) fn is_free_for(&self, shard: ShardId, node: &str) -> bool {
        self.0.get(&shard).is_none_or(|held| {
            held.node.as_deref().is_none_or(|holder| holder == node) || !held.runs()
        })
    }

    pub(super) fn is_held_by(&self, shard: ShardId, node: &str) -> bool {
        self.0.get(&shard).is_some_and(|held| held.node.as_deref() == Some(node))
    }

    pub(super) fn list(&self) -> Vec<Lease> {
        let lease = |(shard, held): (&ShardId, &Held)| Lease {
            shard: *shard,
            node: held.node.clone(),
            runs: held.runs(),
            wanted_by: held.wanted.as_ref().filter(|it| it.stands()).map(|it| it.node.clone()),
        };
        self.0.iter().map(lease).collect()
    }
}

impl State for Leases {
    type Entry = LeaseStep;

    fn apply(&mut self, step: LeaseStep) {
        let seen = Instant::now();
        match step {
            LeaseStep::Leased { shard, node, lease_ms } => {
                self.0.insert(shard, Held { node, lease_ms, seen, wanted: None });
            }
            LeaseStep::Renewed { shards, node, lease_ms } => {
                for shard in shards {
                    let held = self.0.get_mut(&shard);
                    if let Some(held) = held.filter(|it| it.node.as_ref() == Some(&node)) {
                        (held.lease_ms, held.seen) = (lease_ms, seen);
                    }
                }
            }
            LeaseStep::Wanted { shard, node, wish_ms } => {
                if let Some(held) = self.0.get_mut(&shard) {
                    held.wanted = Some(Wish { node, wish_ms, seen });
                }
            }
        }
    }

    fn bytes(&self) -> usize {
        self.0.len() * 100
    }

    fn whole(&self) -> Vec<LeaseStep> {
        // Wishes are made again.
        let leased = |(&shard, held): (&ShardId, &Held)| {
            let (node, lease_ms) = (held.node.clone(), held.lease_ms);
            LeaseStep::Leased { shard, node, lease_ms }
        };
        self.0.iter().map(leased).collect()
    }
}
