//! The types of actors, for reading a journal without starting them.

use shared_journal::Types;

use crate::actor::DurableActor;
use crate::message::Table;

/// Adds actors to [`Types`].
///
/// ```
/// # use actix::prelude::*;
/// # use duroxide_actix::journal::{DurableMessage, DurableState};
/// # use duroxide_actix::{DurableActor, DurableContext};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default, DurableState)]
/// # #[durable(actor_type = "account")]
/// # struct Account { cents: i64 }
/// # impl Actor for Account { type Context = DurableContext<Self>; }
/// # impl DurableActor for Account { type Messages = (Deposit,); }
/// # #[derive(Message, Serialize, Deserialize, DurableMessage)]
/// # #[rtype(result = "i64")]
/// # #[durable(name = "account.deposit")]
/// # struct Deposit { cents: i64 }
/// # impl Handler<Deposit> for Account {
/// #     type Result = i64;
/// #     fn handle(&mut self, m: Deposit, _: &mut Self::Context) -> i64 {
/// #         self.cents += m.cents;
/// #         self.cents
/// #     }
/// # }
/// use duroxide_actix::ActorTypes;
/// use duroxide_actix::journal::{EventJournal, Types};
///
/// # async fn example(journal: EventJournal) -> Result<(), Box<dyn std::error::Error>> {
/// let report = journal.verify_with(&Types::new().actor::<Account>()).await?;
/// assert!(report.is_clean(), "{:?}", report.problems);
/// # Ok(())
/// # }
/// ```
pub trait ActorTypes {
    /// The state of an actor, and every message of its list.
    #[must_use]
    fn actor<A: DurableActor>(self) -> Self;
}

impl ActorTypes for Types {
    fn actor<A: DurableActor>(self) -> Self {
        let table = Table::<A>::of_type();
        table.stored().fold(self.state::<A>(), |types, (name, [message, result])| {
            types.stored_message::<A>(name, message).stored_reply::<A>(name, result)
        })
    }
}
