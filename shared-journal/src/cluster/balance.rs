//! Which shards a node should have: a pure function of who has them.

use std::collections::BTreeMap;

use super::store::Lease;
use crate::id::ShardId;

/// What a node should do now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Shards that nobody has.
    pub(super) claim: Vec<ShardId>,
    /// Shards of others, of which it should have one.
    pub(super) want: Option<ShardId>,
    /// Its own, and who should have them.
    pub(super) hand_over: Vec<(ShardId, String)>,
}

/// `mine` are the shards that `node` runs. A node is known by what it has, so one that has
/// nothing makes itself known by asking for a shard.
pub(super) fn plan(node: &str, shards: u32, leases: &[Lease], mine: &[ShardId]) -> Plan {
    let lease = |shard: ShardId| leases.iter().find(|lease| lease.shard == shard);
    let mut counts = BTreeMap::from([(node, 0_usize)]);
    for lease in leases.iter().filter(|lease| lease.runs) {
        *counts.entry(lease.node.as_deref().unwrap_or_default()).or_default() += 1;
    }
    counts.remove("");
    counts.insert(node, mine.len());
    let (shards_count, nodes) = (shards as usize, counts.len());
    let (least, most) = (shards_count / nodes, shards_count.div_ceil(nodes));

    let mut plan = Plan::default();
    let mut have = mine.len();
    for shard in (0..shards).map(ShardId).filter(|shard| !mine.contains(shard)) {
        let free = lease(shard).is_none_or(|it| !it.runs || it.node.is_none());
        let kept_for_us =
            lease(shard).is_some_and(|it| it.runs && it.node.as_deref() == Some(node));
        if kept_for_us || (free && have < most) {
            plan.claim.push(shard);
            have += 1;
        }
    }
    for &shard in mine {
        let Some(wanted_by) = lease(shard).and_then(|it| it.wanted_by.as_deref()) else { continue };
        let left = mine.len() - plan.hand_over.len();
        let theirs = counts.get(wanted_by).copied().unwrap_or_default() + plan.hand_over.len();
        if wanted_by != node && left > theirs + 1 {
            plan.hand_over.push((shard, wanted_by.to_owned()));
        }
    }
    let asked = leases.iter().any(|lease| lease.runs && lease.wanted_by.as_deref() == Some(node));
    if have < least && !asked {
        let richest = counts.iter().max_by_key(|(_, count)| **count).map(|(node, _)| *node);
        plan.want = leases
            .iter()
            .filter(|it| it.runs && it.node.as_deref() == richest && it.wanted_by.is_none())
            .filter(|it| it.node.as_deref() != Some(node))
            .map(|lease| lease.shard)
            .next_back();
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(shard: u32, node: &str, runs: bool) -> Lease {
        let node = (!node.is_empty()).then(|| node.to_owned());
        Lease { shard: ShardId(shard), node, runs, wanted_by: None }
    }

    /// Runs nodes against a table until nothing changes, and returns how many shards each has.
    fn settle(nodes: &[&str], shards: u32, leases: &mut Vec<Lease>) -> Vec<usize> {
        for _ in 0..200 {
            let before = leases.clone();
            for node in nodes {
                let mine: Vec<_> = leases
                    .iter()
                    .filter(|it| it.runs && it.node.as_deref() == Some(node))
                    .map(|it| it.shard)
                    .collect();
                let plan = plan(node, shards, leases, &mine);
                for shard in plan.claim {
                    leases.retain(|it| it.shard != shard);
                    leases.push(lease(shard.0, node, true));
                    leases.sort_by_key(|it| it.shard);
                }
                for (shard, to) in plan.hand_over {
                    for it in leases.iter_mut().filter(|it| it.shard == shard) {
                        *it = lease(shard.0, &to, true);
                    }
                }
                if let Some(shard) = plan.want {
                    for it in leases.iter_mut().filter(|it| it.shard == shard) {
                        it.wanted_by = Some((*node).to_owned());
                    }
                }
            }
            if *leases == before {
                break;
            }
        }
        let count = |node: &&str| {
            leases.iter().filter(|it| it.runs && it.node.as_deref() == Some(*node)).count()
        };
        nodes.iter().map(count).collect()
    }

    #[test]
    fn one_node_has_everything() {
        assert_eq!(settle(&["a"], 16, &mut Vec::new()), [16]);
    }

    #[test]
    fn a_node_that_joins_gets_its_share() {
        let mut leases = Vec::new();
        settle(&["a"], 16, &mut leases);
        assert_eq!(settle(&["a", "b"], 16, &mut leases), [8, 8]);
        let mut three = settle(&["a", "b", "c"], 16, &mut leases);
        three.sort_unstable();
        assert_eq!(three, [5, 5, 6]);
    }

    #[test]
    fn the_shards_of_a_node_that_died_are_shared() {
        let mut leases = Vec::new();
        settle(&["a"], 9, &mut leases);
        settle(&["a", "b", "c"], 9, &mut leases);
        for it in leases.iter_mut().filter(|it| it.node.as_deref() == Some("c")) {
            it.runs = false;
        }
        let mut two = settle(&["a", "b"], 9, &mut leases);
        two.sort_unstable();
        assert_eq!(two, [4, 5]);
    }

    #[test]
    fn more_nodes_than_shards_is_no_trouble() {
        let mut leases = Vec::new();
        let mut nodes = settle(&["a", "b", "c"], 2, &mut leases);
        nodes.sort_unstable();
        assert_eq!(nodes, [0, 1, 1]);
    }

    #[test]
    fn what_is_kept_for_a_node_is_its_own_to_claim() {
        let leases = [lease(0, "a", true), lease(1, "b", true)];
        assert_eq!(plan("a", 2, &leases, &[]).claim, [ShardId(0)]);
    }
}
