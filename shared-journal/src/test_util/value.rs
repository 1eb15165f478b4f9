//! What two runs of an actor are compared by.

use serde_json::Value;

use super::deviation;
use super::sent::Sent;
use crate::cluster::Delivered;
use crate::codec::{Comparison, Payload};
use crate::id::ActorId;
use crate::types::Types;

/// What the types of an actor's host say of what is compared.
#[derive(Clone, Copy)]
pub(super) struct Typed<'a> {
    pub(super) types: &'a Types,
    pub(super) actor: &'a ActorId,
}

impl<'a> Typed<'a> {
    pub(super) fn state(self, state: Option<&'a Payload<'static>>) -> Comparison<'a> {
        let again = self.types.state_again(self.actor.actor_type());
        state.map_or_else(|| Comparison::plain(Value::Null), |state| Comparison::of(state, again))
    }

    pub(super) fn reply(self, kind: &str, delivered: &'a Delivered) -> Comparison<'a> {
        match delivered {
            Delivered::Processed(reply) => self.payload_of_reply(kind, reply),
            other => Comparison::plain(deviation::reply(other)),
        }
    }

    pub(super) fn payload_of_reply(
        self,
        kind: &str,
        reply: &'a Payload<'static>,
    ) -> Comparison<'a> {
        Comparison::of(reply, self.types.reply_again(self.actor.actor_type(), kind))
    }

    /// Whether the same was sent, in the same order.
    pub(super) fn same_sent(self, expected: &[Sent], found: &[Sent], covers: bool) -> bool {
        expected.len() == found.len()
            && expected.iter().zip(found).all(|(one, other)| self.same_message(one, other, covers))
    }

    fn same_message(self, one: &Sent, other: &Sent, covers: bool) -> bool {
        let covering = |it: Comparison<'_>, other: &Value| {
            let it = if covers { it.covering() } else { it };
            it.difference(other).is_none()
        };
        match (one.to_actor(), other.to_actor()) {
            (Some(payload), Some(other_payload))
                if (&one.to, &one.kind) == (&other.to, &other.kind) =>
            {
                let again = self.types.message_again(one.to.actor_type(), &one.kind);
                covering(Comparison::of(payload, again), &crate::codec::json(other_payload))
            }
            _ => covering(Comparison::plain(one.comparable()), &other.comparable()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::codec::Comparison;

    fn covers(recorded: &serde_json::Value, found: &serde_json::Value) -> bool {
        Comparison::plain(recorded.clone()).covering().difference(found).is_none()
    }

    #[test]
    fn what_is_new_is_not_compared_and_what_is_missing_is() {
        let recorded = json!({"cents": 5, "owner": {"name": "a"}, "log": [1, {"n": 2}]});
        let newer = json!({
            "cents": 5, "owner": {"name": "a", "born": null}, "log": [1, {"n": 2, "m": 3}], "x": 1
        });
        assert!(covers(&recorded, &newer));
        assert!(!covers(&newer, &recorded));
        for other in [
            json!({"cents": 6, "owner": {"name": "a"}, "log": [1, {"n": 2}]}),
            json!({"cents": 5, "owner": {}, "log": [1, {"n": 2}]}),
            json!({"cents": 5, "owner": {"name": "a"}, "log": [1]}),
            json!(null),
        ] {
            assert!(!covers(&recorded, &other), "{other}");
        }
    }
}
