//! How many messages each actor has, so that a slow one holds up only its own.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::router::Outgoing;
use crate::id::ActorId;

/// Of one actor on their way at a time. What comes behind them waits.
const IN_FLIGHT: usize = 4096;

/// The actors of a shard that have something on its way from here.
#[derive(Default)]
pub(super) struct Busy(FxHashMap<ActorId, One>);

#[derive(Default)]
struct One {
    in_flight: usize,
    held: VecDeque<Outgoing>,
}

impl Busy {
    /// A message is on its way; or, if its actor has too many, it is held.
    pub(super) fn begin(&mut self, outgoing: Outgoing) -> Option<Outgoing> {
        let one = self.0.entry(outgoing.actor.clone()).or_default();
        if one.in_flight < IN_FLIGHT {
            one.in_flight += 1;
            return Some(outgoing);
        }
        if one.held.len() % IN_FLIGHT == IN_FLIGHT - 1 {
            // There are no more than there are senders who wait.
            one.held.retain(|outgoing| !outgoing.wanted.is_closed());
        }
        one.held.push_back(outgoing);
        None
    }

    /// One is not on its way any more. The next one, if one was held, is.
    pub(super) fn end(&mut self, actor: &ActorId) -> Option<Outgoing> {
        let one = self.0.get_mut(actor)?;
        let next = one.held.pop_front();
        if next.is_none() {
            one.in_flight -= 1;
            if one.in_flight == 0 {
                self.0.remove(actor);
            }
        }
        next
    }

    /// Nothing is on its way any more. What was held, in the order of each actor.
    pub(super) fn clear(&mut self) -> impl Iterator<Item = Outgoing> + use<> {
        std::mem::take(&mut self.0).into_values().flat_map(|one| one.held)
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::super::router::Wanted;
    use super::*;
    use crate::id::MessageId;

    fn outgoing(actor: &str, id: u64) -> (Outgoing, impl Sized + use<>) {
        let (sender, receiver) = oneshot::channel();
        let id = MessageId::from(u128::from(id));
        let actor = ActorId::new("a", actor);
        let (letters, wanted) = (Vec::new(), Wanted::Reply(sender));
        (Outgoing { actor, id, letters, wanted, delivered: false }, receiver)
    }

    #[test]
    fn a_slow_actor_holds_up_its_own_messages_in_their_order() {
        let mut busy = Busy::default();
        let limit = IN_FLIGHT as u64;
        let sent: Vec<_> = (0..limit + 3).map(|id| outgoing("slow", id)).collect();
        let mut waiting = Vec::new();
        let mut begun = 0;
        for (outgoing, receiver) in sent {
            begun += u64::from(busy.begin(outgoing).is_some());
            waiting.push(receiver);
        }
        assert_eq!(begun, limit);
        assert!(busy.begin(outgoing("other", 0).0).is_some());
        let next = busy.end(&ActorId::new("a", "slow")).map(|it| it.id);
        assert_eq!(next, Some(MessageId::from(u128::from(limit))));
        assert!(busy.end(&ActorId::new("a", "other")).is_none());
        let held: Vec<_> = busy.clear().map(|it| it.id).collect();
        assert_eq!(held, [limit + 1, limit + 2].map(|id| MessageId::from(u128::from(id))));
        assert!(busy.0.is_empty());
    }

    #[test]
    fn those_whose_senders_have_gone_are_not_held() {
        let mut busy = Busy::default();
        for id in 0..3 * IN_FLIGHT as u64 {
            let _ = busy.begin(outgoing("slow", id).0);
        }
        assert!(busy.clear().count() < IN_FLIGHT);
    }
}
