//! Virtual actors: they exist by name, start with the first message, and leave memory when others
//! are needed more.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::num::NonZeroUsize;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Addr, Arbiter, System, WeakAddr};
use futures::future::{LocalBoxFuture, Shared, ready};
use futures::{FutureExt, Stream, StreamExt};
use lru::LruCache;
use rustc_hash::FxHashMap;
use shared_journal::mailbox::{error_text, made};
use shared_journal::{ActorId, EventJournal, JournalError};
use tokio::sync::oneshot;

use crate::actor::DurableActor;
use crate::context::DurableContext;
use crate::start::StartDurable;

/// The actors of one type, by id: any number of them exist, the `capacity` used last are in memory.
///
/// [`get`](Self::get) starts an actor that is not in memory, with the state it had. When there are
/// more than `capacity`, the one that was not asked for the longest is *passivated*: its address is
/// let go, it handles what is in its mailbox, and leaves memory; its state is in the journal. An
/// actor whose address somebody keeps stays as long as that. The idea of actors that need not be
/// created or destroyed is that of [Orleans].
///
/// What earlier processes acknowledged and did not process is *resumed*: the actors of this type that
/// [`pending`](EventJournal::pending) lists start by themselves, [`RESUMED_AT_ONCE`] at a time, handle
/// it, and leave memory again. They come on top of `capacity` and push nobody out. It begins in
/// [`new`](Self::new), or outside of an actix system with the first `get`; the log says how many
/// there are, and which of them cannot start.
///
/// Lives on one arbiter, and so do its actors; clones share them. With several arbiters, give each
/// its own and divide the ids among them: an actor runs in one place only
/// ([`JournalError::AlreadyActive`]).
///
/// What an actor has besides its durable state (intervals, connections, counters of no importance)
/// is gone with each passivation, as with a restart.
///
/// ```no_run
/// # use std::sync::Arc;
/// # use actix::prelude::*;
/// # use duroxide_actix::journal::{DurableMessage, DurableState, EventJournal};
/// # use duroxide_actix::{DurableActor, DurableContext, VirtualActors};
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default)] struct Account { cents: i64 }
/// # impl Actor for Account { type Context = DurableContext<Self>; }
/// # #[derive(Message, Serialize, Deserialize)] #[rtype(result = "i64")] struct Deposit(i64);
/// # impl DurableMessage for Deposit { const NAME: &'static str = "deposit"; }
/// # impl DurableState for Account {
/// #     const ACTOR_TYPE: &'static str = "account"; type State = i64;
/// #     fn snapshot(&self) -> impl Serialize { self.cents }
/// #     fn restore(&mut self, cents: i64) { self.cents = cents }
/// # }
/// # impl DurableActor for Account { type Messages = (Deposit,); }
/// # impl Handler<Deposit> for Account {
/// #     type Result = i64;
/// #     fn handle(&mut self, _: Deposit, _: &mut Self::Context) -> i64 { self.cents }
/// # }
/// # async fn example(journal: EventJournal) -> Result<(), Box<dyn std::error::Error>> {
/// let accounts = VirtualActors::new(&journal, 10_000, |_id| Account::default());
/// let balance = accounts.get("42").await?.send(Deposit(5)).await?;
/// # Ok(())
/// # }
/// ```
///
/// [Orleans]: https://www.microsoft.com/en-us/research/publication/orleans-distributed-virtual-actors-for-programmability-and-scalability/
pub struct VirtualActors<A: Actor> {
    inner: Rc<Inner<A>>,
}

type Started<A> = Result<Addr<A>, Arc<JournalError>>;

struct Inner<A: Actor> {
    journal: EventJournal,
    create: Box<dyn Fn(&str) -> A>,
    actors: RefCell<Actors<A>>,
    /// Resuming has begun.
    resumed: Cell<bool>,
}

struct Actors<A: Actor> {
    active: LruCache<Rc<str>, Addr<A>>,
    /// On their way into memory: who asks meanwhile waits for the same start.
    starting: FxHashMap<Rc<str>, Shared<LocalBoxFuture<'static, Started<A>>>>,
    /// Passivated, and perhaps still there: somebody has the address, or there is mail left.
    leaving: FxHashMap<Rc<str>, WeakAddr<A>>,
    /// When so many are leaving, those that have left are forgotten.
    forget_at: usize,
}

/// How many actors are resumed at once.
pub const RESUMED_AT_ONCE: usize = 16;

/// One that takes longer goes on beside the next: it must not hold the others up.
const RESUMING: Duration = Duration::from_secs(5);

/// Between two looks whether a journal is open again.
const REOPENING: Duration = Duration::from_millis(100);

/// The least [`Actors::forget_at`].
const FORGET_AT: usize = 64;

impl<A: DurableActor + Actor<Context = DurableContext<A>>> VirtualActors<A> {
    /// The actors of this type in `journal`; `create` constructs one, given its id, before its
    /// state is put into it. A capacity of 0 counts as 1.
    pub fn new(
        journal: &EventJournal,
        capacity: usize,
        create: impl Fn(&str) -> A + 'static,
    ) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        let actors = Actors {
            // Not `LruCache::new`, which makes room for all of them at once.
            active: LruCache::unbounded(),
            starting: FxHashMap::default(),
            leaving: FxHashMap::default(),
            forget_at: FORGET_AT,
        };
        let inner = Inner {
            journal: journal.clone(),
            create: Box::new(create),
            actors: RefCell::new(actors),
            resumed: Cell::new(false),
        };
        inner.actors.borrow_mut().active.resize(capacity);
        let this = Self { inner: Rc::new(inner) };
        if System::try_current().is_some() && Arbiter::try_current().is_some() {
            this.inner.resume_once();
        }
        this
    }

    /// The address of an actor, which is started if it is not in memory.
    ///
    /// Send to it at once and ask again for the next message: an address that is kept keeps the
    /// actor in memory. Cancel-safe: a start that nobody waits for any more is taken up by the
    /// next `get`.
    ///
    /// # Errors
    /// As [`StartDurable::start_durable`]; shared, because all who wait for a start get its error.
    /// The next `get` tries again.
    pub async fn get(&self, id: impl AsRef<str>) -> Result<Addr<A>, Arc<JournalError>> {
        let id = id.as_ref();
        self.inner.resume_once();
        let start = {
            let mut actors = self.inner.actors.borrow_mut();
            if let Some(address) = actors.present(id) {
                return Ok(address);
            }
            actors.starting.get(id).cloned().unwrap_or_else(|| {
                let id = Rc::<str>::from(id);
                let inner = Rc::downgrade(&self.inner);
                let start = Inner::start(inner, id.clone()).boxed_local().shared();
                actors.starting.insert(id, start.clone());
                start
            })
        };
        let address = start.await?;
        // One that was resumed would leave with this address.
        Ok(self.inner.actors.borrow_mut().present(id).unwrap_or(address))
    }

    /// How many actors are in memory because of their use; one that is passivated and not gone yet
    /// is not counted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.actors.borrow().active.len()
    }

    /// Whether no actor is in memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<A: DurableActor + Actor<Context = DurableContext<A>>> Inner<A> {
    /// Does not hold what it is kept in, or a start that nobody waits for would keep all of it.
    async fn start(inner: Weak<Self>, id: Rc<str>) -> Started<A> {
        let gone = || Arc::new(JournalError::Closed);
        // One that cannot be made holds nobody else up.
        let started = made(&ActorId::new(A::ACTOR_TYPE, &id), async {
            let (actor, journal) = {
                let inner = inner.upgrade().ok_or_else(gone)?;
                ((inner.create)(&id), inner.journal.clone())
            };
            actor.start_durable(&journal, &id).await.map_err(Arc::new)
        })
        .await;
        let inner = inner.upgrade().ok_or_else(gone)?;
        let mut actors = inner.actors.borrow_mut();
        actors.starting.remove(&id);
        let address = started?;
        actors.keep(id, address.clone());
        Ok(address)
    }

    /// Begins to resume, the first time.
    fn resume_once(self: &Rc<Self>) {
        if !self.resumed.replace(true) {
            actix::spawn(Self::resume(Rc::downgrade(self), self.journal.clone()));
            actix::spawn(Self::start_awaited(Rc::downgrade(self)));
        }
    }

    /// Starts the actors that have something left to do, until they have done it.
    async fn resume(inner: Weak<Self>, journal: EventJournal) {
        let actor_type = A::ACTOR_TYPE;
        let pending = match journal.pending().await {
            Ok(pending) => pending,
            Err(error) => {
                let error = error_text(&error);
                tracing::error!(
                    actor_type,
                    error,
                    "what is pending cannot be listed, and waits until its actors are asked for"
                );
                return;
            }
        };
        // Holding the journal would keep it open.
        drop(journal);
        let pending: Vec<_> =
            pending.into_iter().filter(|actor| actor.actor_type() == actor_type).collect();
        if pending.is_empty() {
            return;
        }
        tracing::info!(
            actor_type,
            actors = pending.len(),
            "actors resume what was received before"
        );
        let failed = Self::resume_all(&inner, futures::stream::iter(pending)).await;
        tracing::info!(actor_type, failed, "actors have resumed");
    }

    /// Starts actors that do not run and have timers that are due.
    async fn start_awaited(inner: Weak<Self>) {
        while let Some(mut awaited) = inner.upgrade().map(|inner| inner.journal.awaited()) {
            let awaited = futures::stream::poll_fn(|cx| awaited.poll_recv(cx));
            let awaited = awaited.filter(|actor| ready(actor.actor_type() == A::ACTOR_TYPE));
            Self::resume_all(&inner, awaited).await;
            if inner.upgrade().is_none_or(|inner| inner.journal.stopped().is_some()) {
                return;
            }
            // The journal is opened again.
            actix::clock::sleep(REOPENING).await;
        }
    }

    /// Says how many could not be started.
    async fn resume_all(inner: &Weak<Self>, actors: impl Stream<Item = ActorId>) -> usize {
        let failed = Cell::new(0);
        let count = &failed;
        let resumed = actors.for_each_concurrent(RESUMED_AT_ONCE, |actor| async move {
            if let Err(error) = Self::resume_one(inner, &actor).await {
                count.set(count.get() + 1);
                let error = error_text(&*error);
                tracing::warn!(%actor, error, "an actor cannot resume; what it received waits");
            }
        });
        resumed.await;
        failed.get()
    }

    async fn resume_one(inner: &Weak<Self>, actor: &ActorId) -> Result<(), Arc<JournalError>> {
        let Some(this) = inner.upgrade() else {
            return Ok(());
        };
        let id = actor.id();
        if this.actors.borrow_mut().is_known(id) {
            return Ok(());
        }
        let id = Rc::<str>::from(id);
        let (idle, told) = oneshot::channel();
        let start = Self::start_resumed(inner.clone(), id.clone(), idle).boxed_local().shared();
        this.actors.borrow_mut().starting.insert(id, start.clone());
        drop(this);
        let _address = match start.await {
            // It runs elsewhere, where what is pending is done.
            Err(error) if matches!(*error, JournalError::AlreadyActive { .. }) => return Ok(()),
            started => started?,
        };
        // Dropped without a word if the actor ends.
        let _ = actix::clock::timeout(RESUMING, told).await;
        Ok(())
    }

    /// As [`start`](Self::start), for an actor that leaves when it is done with what is pending.
    async fn start_resumed(
        inner: Weak<Self>,
        id: Rc<str>,
        idle: oneshot::Sender<()>,
    ) -> Started<A> {
        let gone = || Arc::new(JournalError::Closed);
        // One that cannot be made holds nobody else up.
        let started = made(&ActorId::new(A::ACTOR_TYPE, &id), async {
            let (actor, journal) = {
                let inner = inner.upgrade().ok_or_else(gone)?;
                ((inner.create)(&id), inner.journal.clone())
            };
            let create = |ctx: &mut DurableContext<A>| {
                ctx.tell_when_idle(idle);
                actor
            };
            A::create_durable(&journal, &id, create).await.map_err(Arc::new)
        })
        .await;
        let inner = inner.upgrade().ok_or_else(gone)?;
        let mut actors = inner.actors.borrow_mut();
        actors.starting.remove(&id);
        let address = started?;
        actors.let_go(id, &address);
        Ok(address)
    }
}

impl<A: Actor<Context = DurableContext<A>>> Actors<A> {
    /// The actor, if it is in memory.
    fn present(&mut self, id: &str) -> Option<Addr<A>> {
        if let Some(address) = self.active.get(id).filter(|address| address.connected()) {
            return Some(address.clone());
        }
        // It stopped of its own accord.
        self.active.pop(id);
        let (id, left) = self.leaving.remove_entry(id)?;
        let address = left.upgrade().filter(Addr::connected)?;
        self.keep(id, address.clone());
        Some(address)
    }

    fn keep(&mut self, id: Rc<str>, address: Addr<A>) {
        let Some((id, passivated)) = self.active.push(id, address) else {
            return;
        };
        self.let_go(id, &passivated);
    }

    /// Whether the actor is in memory or on its way there, as far as is known.
    fn is_known(&mut self, id: &str) -> bool {
        let is_leaving = |left: &WeakAddr<A>| left.upgrade().is_some_and(|it| it.connected());
        // One that has stopped of its own accord is still there.
        self.active.peek(id).is_some_and(Addr::connected)
            || self.starting.contains_key(id)
            || self.leaving.get(id).is_some_and(is_leaving)
    }

    /// Remembers an actor that is not kept.
    fn let_go(&mut self, id: Rc<str>, address: &Addr<A>) {
        self.leaving.insert(id, address.downgrade());
        if self.leaving.len() >= self.forget_at {
            self.leaving.retain(|_, address| address.upgrade().is_some());
            // Twice as many as are left: on average each is looked at a fixed number of times.
            self.forget_at = FORGET_AT.max(2 * self.leaving.len());
        }
    }
}

impl<A: Actor> Clone for VirtualActors<A> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<A: Actor> fmt::Debug for VirtualActors<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let actors = self.inner.actors.borrow();
        f.debug_struct("VirtualActors")
            .field("journal", &self.inner.journal)
            .field("active", &actors.active.len())
            .field("starting", &actors.starting.len())
            .finish_non_exhaustive()
    }
}
