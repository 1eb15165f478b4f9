//! The types of actors, for reading a journal without starting them.

use shared_journal::{DurableMessage, StoredType, Types};

use crate::actor::DurableActor;

/// Adds actors to [`Types`].
///
/// ```
/// # use duroxide_tower::{ActorContext, DurableActor, DurableMessage, DurableState, async_trait};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default, DurableState)]
/// # #[durable(actor_type = "stock")]
/// # struct Stock { pieces: u64 }
/// # #[derive(Serialize, Deserialize, DurableMessage)]
/// # #[durable(name = "stock.order")]
/// # struct Add(u64);
/// # #[async_trait]
/// # impl DurableActor for Stock {
/// #     type Message = Add;
/// #     type Reply = u64;
/// #     type Error = String;
/// #     async fn handle(&mut self, _: &mut ActorContext, Add(n): Add) -> Result<u64, String> {
/// #         self.pieces += n;
/// #         Ok(self.pieces)
/// #     }
/// # }
/// use duroxide_tower::journal::{EventJournal, Types};
/// use duroxide_tower::ActorTypes;
///
/// # async fn example(journal: EventJournal) -> Result<(), Box<dyn std::error::Error>> {
/// let report = journal.verify_with(&Types::new().actor::<Stock>()).await?;
/// assert!(report.is_clean(), "{:?}", report.problems);
/// # Ok(())
/// # }
/// ```
pub trait ActorTypes {
    /// The state of an actor and its message.
    #[must_use]
    fn actor<A: DurableActor>(self) -> Self;
}

impl ActorTypes for Types {
    fn actor<A: DurableActor>(self) -> Self {
        let reply = StoredType::of::<Result<A::Reply, A::Error>>();
        self.state::<A>().message::<A, A::Message>().stored_reply::<A>(A::Message::NAME, reply)
    }
}
