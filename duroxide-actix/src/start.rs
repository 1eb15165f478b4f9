//! Starting a durable actor: its state first, then `started`, then its messages.

use std::sync::Arc;

use actix::{Actor, Addr};
use shared_journal::{ActorId, EventJournal, JournalError, Mailbox};

use crate::actor::DurableActor;
use crate::context::DurableContext;
use crate::driver::Driver;
use crate::job::BoxJob;
use crate::message::Table;

/// Starting an actor whose context is a [`DurableContext`].
pub trait StartDurable: DurableActor + Actor<Context = DurableContext<Self>> {
    /// Starts the actor on the current arbiter, under the name
    /// [`ACTOR_TYPE`](shared_journal::DurableState::ACTOR_TYPE)`/id`.
    ///
    /// When this returns, the stored state is in the actor and `Actor::started` has run. What an
    /// earlier process received and did not process comes next, then new messages.
    ///
    /// # Errors
    /// The actor runs already in this process, its stored state or a received message does not
    /// decode or has a type that is not listed, or the journal has stopped. Nothing is lost: the
    /// actor can be started again when the cause is mended.
    ///
    /// # Panics
    /// Outside of an actix system, as `Actor::start` does.
    fn start_durable(
        self,
        journal: &EventJournal,
        id: impl AsRef<str>,
    ) -> impl Future<Output = Result<Addr<Self>, JournalError>> {
        Self::create_durable(journal, id, |_| self)
    }

    /// As [`start_durable`](Self::start_durable), for an actor that needs its context to be
    /// constructed.
    ///
    /// # Errors
    /// As [`start_durable`](Self::start_durable).
    fn create_durable(
        journal: &EventJournal,
        id: impl AsRef<str>,
        create: impl FnOnce(&mut DurableContext<Self>) -> Self,
    ) -> impl Future<Output = Result<Addr<Self>, JournalError>> {
        let actor = ActorId::new(Self::ACTOR_TYPE, id);
        async move {
            let (mailbox, table) = load::<Self>(journal, &actor).await?;
            let mut ctx = DurableContext::plain();
            let mut act = create(&mut ctx);
            let driver = synced(mailbox, table, &mut act)?;
            ctx.drive(driver);
            let started = ctx.when_started();
            let address = ctx.run(act);
            // So that its mailbox has the capacity that `started` asks for before anybody sends.
            started.await;
            Ok(address)
        }
    }
}

impl<A> StartDurable for A where A: DurableActor + Actor<Context = DurableContext<A>> {}

/// Activates an actor and checks that everything that waits in its mailbox can be handled.
pub(crate) async fn load<A: DurableActor>(
    journal: &EventJournal,
    actor: &ActorId,
) -> Result<(Mailbox<BoxJob<A>>, Arc<Table<A>>), JournalError> {
    let table = Table::<A>::of_type();
    let mailbox: Mailbox<BoxJob<A>> = journal.activate(actor).await?;
    for delivery in mailbox.queued() {
        let mut job = table.job(delivery.kind()).ok_or_else(|| mailbox.unknown(delivery))?;
        job.decode(delivery.payload()).map_err(|error| mailbox.undecodable(delivery, error))?;
    }
    Ok((mailbox, table))
}

/// Puts the stored state into a new actor.
pub(crate) fn synced<A: DurableActor>(
    mut mailbox: Mailbox<BoxJob<A>>,
    table: Arc<Table<A>>,
    act: &mut A,
) -> Result<Driver<A>, JournalError>
where
    A::Context: crate::host::Host<A>,
{
    mailbox.restore(act)?;
    mailbox.baseline(act)?;
    Ok(Driver::new(mailbox, table))
}
