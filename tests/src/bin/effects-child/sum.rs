//! An actor that is an orchestration.

use duroxide_tower::{ActorContext, DurableActor, DurableMessage, DurableState, async_trait};
use serde::{Deserialize, Serialize};

/// How many numbers it got, and their sum.
#[derive(Default, DurableState)]
#[durable(actor_type = "sum")]
pub(crate) struct Sum {
    count: u64,
    sum: u64,
}

#[derive(Serialize, Deserialize, DurableMessage)]
#[durable(name = "sum.plus")]
pub(crate) struct Plus(pub(crate) u64);

#[async_trait]
impl DurableActor for Sum {
    type Message = Plus;
    type Reply = (u64, u64);
    type Error = String;

    async fn handle(&mut self, _: &mut ActorContext, plus: Plus) -> Result<(u64, u64), String> {
        self.count += 1;
        self.sum += plus.0;
        Ok((self.count, self.sum))
    }
}
