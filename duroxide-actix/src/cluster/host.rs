//! Running actors for a node.

use std::fmt;
use std::sync::Arc;
use std::task::{self, Poll};

use actix::{Actor, Addr, ArbiterHandle, Context};
use async_trait::async_trait;
use futures::future::{LocalBoxFuture, poll_fn};
use shared_journal::cluster::{Host, Hosted, Parcel};
use shared_journal::mailbox::made;
use shared_journal::{ActorId, EventJournal, JournalError, Types};
use tokio::sync::{mpsc, oneshot};

use super::parcel::offer;
use crate::actor::DurableActor;
use crate::context::DurableContext;
use crate::driver::Offer;
use crate::message::Table;
use crate::start::StartDurable;
use crate::types::ActorTypes;
use crate::wrapper::DurableActixActor;

/// Messages that have left their lane and are not in the actor's mailbox.
const PARCELS: usize = 64;

type Create<A> = Arc<dyn Fn(&str) -> A + Send + Sync>;

/// Runs actors with a [`DurableContext`] on a node, on one arbiter.
///
/// For unmodified actors there is [`WrappedHost`].
pub struct ActixHost<A> {
    arbiter: ArbiterHandle,
    create: Create<A>,
}

/// Runs unmodified actors, those with a `Context<Self>`, on a node, on one arbiter. What is said of
/// [`DurableActixActor`] applies.
pub struct WrappedHost<A> {
    arbiter: ArbiterHandle,
    create: Create<A>,
}

macro_rules! constructors {
    ($host:ident) => {
        impl<A: DurableActor> $host<A> {
            /// On the current arbiter. `create` constructs an actor, given its id, before its
            /// state is put into it.
            ///
            /// # Panics
            /// Outside of an actix system.
            pub fn new(create: impl Fn(&str) -> A + Send + Sync + 'static) -> Self {
                Self::on(&actix::Arbiter::current(), create)
            }

            /// On an arbiter of your choice.
            pub fn on(
                arbiter: &ArbiterHandle,
                create: impl Fn(&str) -> A + Send + Sync + 'static,
            ) -> Self {
                Self { arbiter: arbiter.clone(), create: Arc::new(create) }
            }
        }

        impl<A> fmt::Debug for $host<A> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($host))
                    .field("arbiter", &self.arbiter)
                    .finish_non_exhaustive()
            }
        }
    };
}

constructors!(ActixHost);
constructors!(WrappedHost);

#[async_trait]
impl<A: DurableActor + Actor<Context = DurableContext<A>>> Host for ActixHost<A> {
    fn actor_type(&self) -> &'static str {
        A::ACTOR_TYPE
    }

    fn types(&self) -> Types {
        Types::new().actor::<A>()
    }

    async fn start(
        &self,
        journal: &EventJournal,
        id: &str,
    ) -> Result<Box<dyn Hosted>, Arc<JournalError>> {
        start(&self.arbiter, &self.create, journal, id, |create, journal, id, parcels| {
            Box::pin(async move {
                let create = |ctx: &mut DurableContext<A>| {
                    ctx.receive(parcels);
                    create(&id)
                };
                A::create_durable(&journal, &id, create).await.map(Some)
            })
        })
        .await
    }
}

#[async_trait]
impl<A: DurableActor + Actor<Context = Context<A>>> Host for WrappedHost<A> {
    fn actor_type(&self) -> &'static str {
        A::ACTOR_TYPE
    }

    fn types(&self) -> Types {
        Types::new().actor::<A>()
    }

    async fn start(
        &self,
        journal: &EventJournal,
        id: &str,
    ) -> Result<Box<dyn Hosted>, Arc<JournalError>> {
        start(&self.arbiter, &self.create, journal, id, |create, journal, id, mut parcels| {
            Box::pin(async move {
                let name = id.clone();
                let create = move |_: &mut Context<A>| create(&name);
                let queue = DurableActixActor::run(&journal, &id, create, None).await?;
                actix::spawn(async move {
                    // To its end, or that of the actor.
                    let _end = queue.shut_when_dropped();
                    let mut next = |cx: &mut task::Context<'_>| {
                        // So that the lane knows when there is nobody any more.
                        queue.register_shell(cx);
                        if queue.has_ended() { Poll::Ready(None) } else { parcels.poll_recv(cx) }
                    };
                    while let Some(offer) = poll_fn(&mut next).await {
                        poll_fn(|cx| queue.poll_room(cx)).await;
                        queue.push(Box::new(offer));
                    }
                });
                Ok(None)
            })
        })
        .await
    }
}

/// Starts an actor on an arbiter, with a way in for parcels.
async fn start<A: DurableActor>(
    arbiter: &ArbiterHandle,
    create: &Create<A>,
    journal: &EventJournal,
    id: &str,
    run: impl FnOnce(
        Create<A>,
        EventJournal,
        String,
        mpsc::Receiver<Offer<A>>,
    ) -> LocalBoxFuture<'static, Result<Option<Addr<A>>, JournalError>>
    + Send
    + 'static,
) -> Result<Box<dyn Hosted>, Arc<JournalError>>
where
    HostedActor<A>: Hosted,
{
    let (started, outcome) = oneshot::channel();
    let (parcels, receiver) = mpsc::channel(PARCELS);
    let (create, journal, id) = (create.clone(), journal.clone(), id.to_owned());
    let spawned = arbiter.spawn_fn(move || {
        actix::spawn(async move {
            let actor = ActorId::new(A::ACTOR_TYPE, &id);
            let _ = started.send(made(&actor, run(create, journal, id, receiver)).await);
        });
    });
    if !spawned {
        return Err(Arc::new(JournalError::Closed));
    }
    let address = outcome.await.map_err(|_| JournalError::Closed)??;
    Ok(Box::new(HostedActor { _address: address, table: Table::of_type(), parcels }))
}

/// An actor that a node runs.
struct HostedActor<A: Actor> {
    /// Keeps the actor in memory, where that is what does.
    _address: Option<Addr<A>>,
    table: Arc<Table<A>>,
    parcels: mpsc::Sender<Offer<A>>,
}

#[async_trait]
impl<A: DurableActor> Hosted for HostedActor<A>
where
    Addr<A>: Send,
{
    async fn deliver(&mut self, parcel: Parcel) -> Result<(), Parcel> {
        // Before it is taken apart: the actor may have stopped.
        let Ok(place) = self.parcels.reserve().await else { return Err(parcel) };
        if let Some(offer) = offer(&self.table, parcel) {
            place.send(offer);
        }
        Ok(())
    }

    fn has_ended(&self) -> bool {
        self.parcels.is_closed()
    }
}
