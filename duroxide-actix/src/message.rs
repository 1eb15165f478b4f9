//! The durable messages of one actor type, and what can be done with each.

use std::any::{Any, TypeId};
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};

use actix::{Actor, Handler, Message};
use rustc_hash::FxHashMap;
use serde::Serialize;
use serde::de::DeserializeOwned;
use shared_journal::mailbox::fingerprint;
use shared_journal::{Codec, CodecError, DurableMessage, Payload, StoredType};

use crate::actor::{DurableActor, MessageList};
use crate::job::{BoxJob, TypedJob};

/// The durable messages of actor `A`, by type and by name.
pub struct Table<A: Actor> {
    /// A `Arc<Form<M>>` for the `TypeId` of `M`. Actix gives us messages without any bound of
    /// serde's; here is where the bounds of the list are found again.
    forms: FxHashMap<TypeId, Box<dyn Any + Send + Sync>>,
    jobs: FxHashMap<&'static str, MakeJob<A>>,
    own: FxHashMap<TypeId, MakeOwnJob<A>>,
    /// Each message and its result.
    stored: FxHashMap<&'static str, [StoredType; 2]>,
}

type MakeJob<A> = Box<dyn Fn() -> BoxJob<A> + Send + Sync>;
type MakeOwnJob<A> = Box<dyn Fn(Box<dyn Any>) -> Option<BoxJob<A>> + Send + Sync>;

impl<A: Actor> std::fmt::Debug for Table<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.jobs.keys()).finish()
    }
}

/// The table of every actor type that was started, as a `Arc<Table<A>>` for the `TypeId` of `A`.
static TABLES: Mutex<BTreeMap<TypeId, Box<dyn Any + Send>>> = Mutex::new(BTreeMap::new());

impl<A: DurableActor> Table<A> {
    /// The table of the actor type, made once.
    pub(crate) fn of_type() -> Arc<Self> {
        let known = |tables: &BTreeMap<TypeId, Box<dyn Any + Send>>| {
            tables.get(&TypeId::of::<A>())?.downcast_ref::<Arc<Self>>().cloned()
        };
        let mut tables = TABLES.lock().unwrap_or_else(PoisonError::into_inner);
        known(&tables).unwrap_or_else(|| {
            let mut table = Self {
                forms: FxHashMap::default(),
                jobs: FxHashMap::default(),
                own: FxHashMap::default(),
                stored: FxHashMap::default(),
            };
            A::Messages::register(&mut table);
            let table = Arc::new(table);
            tables.insert(TypeId::of::<A>(), Box::new(table.clone()));
            table
        })
    }
}

impl<A: Actor> Table<A> {
    /// Enters the message type `M`.
    ///
    /// # Panics
    /// Another type of this actor has the same [`NAME`](DurableMessage::NAME).
    pub fn insert<M>(&mut self)
    where
        A: Handler<M>,
        M: Message + DurableMessage + Send + 'static,
        M::Result: Serialize + DeserializeOwned + Send,
    {
        let form = Arc::new(Form::<M>::of());
        let twin = self.forms.insert(TypeId::of::<M>(), Box::new(form.clone()));
        let own = form.clone();
        self.own.insert(
            TypeId::of::<M>(),
            Box::new(move |message| {
                let message = message.downcast::<M>().ok()?;
                Some(Box::new(TypedJob::new(own.clone(), *message, None, None)))
            }),
        );
        self.stored.insert(M::NAME, [StoredType::of::<M>(), StoredType::of::<M::Result>()]);
        let job: MakeJob<A> = Box::new(move || Box::new(TypedJob::recovered(form.clone())));
        let namesake = self.jobs.insert(M::NAME, job);
        assert!(
            twin.is_some() || namesake.is_none(),
            "two message types of {} have the name {:?}",
            std::any::type_name::<A>(),
            M::NAME
        );
    }

    /// How `M` is stored, if it is durable.
    pub(crate) fn form<M: Message + 'static>(&self) -> Option<&Arc<Form<M>>> {
        self.forms.get(&TypeId::of::<M>())?.downcast_ref()
    }

    /// A job for a message that the actor sends to itself, of which actix does not say that it is
    /// `Send`. Gives the message back if it is not durable.
    pub(crate) fn own_job<M: Message + 'static>(&self, message: M) -> Result<BoxJob<A>, M> {
        match self.own.get(&TypeId::of::<M>()) {
            // The type is the key's, so the job is there.
            Some(make) => make(Box::new(message)).ok_or_else(|| unreachable!()),
            None => Err(message),
        }
    }

    /// The messages and their results, by the names of the messages' types.
    pub(crate) fn stored(&self) -> impl Iterator<Item = (&'static str, [StoredType; 2])> + '_ {
        self.stored.iter().map(|(name, stored)| (*name, *stored))
    }

    /// A job for a stored message of the type with this name.
    pub(crate) fn job(&self, name: &str) -> Option<BoxJob<A>> {
        Some(self.jobs.get(name)?())
    }
}

/// How the message type `M` and its result are stored.
pub(crate) struct Form<M: Message> {
    pub(crate) name: &'static str,
    pub(crate) encode: fn(Codec, &M) -> Result<Payload<'static>, CodecError>,
    pub(crate) decode: fn(&Payload<'_>) -> Result<M, CodecError>,
    pub(crate) verify: fn(&Payload<'_>) -> Result<M, CodecError>,
    pub(crate) fingerprint: fn(&M) -> Result<u64, CodecError>,
    pub(crate) encode_result: fn(Codec, &M::Result) -> Result<Payload<'static>, CodecError>,
    pub(crate) decode_result: fn(&Payload<'_>) -> Result<M::Result, CodecError>,
    pub(crate) verify_result: fn(&Payload<'_>) -> Result<M::Result, CodecError>,
    message: PhantomData<fn(M)>,
}

impl<M> Form<M>
where
    M: Message + DurableMessage,
    M::Result: Serialize + DeserializeOwned,
{
    fn of() -> Self {
        Self {
            name: M::NAME,
            encode: Payload::encode,
            decode: |payload| payload.decode(),
            verify: |payload| payload.verify_as(),
            fingerprint: |message| fingerprint(M::NAME, message),
            encode_result: Payload::encode,
            decode_result: |payload| payload.decode(),
            verify_result: |payload| payload.verify_as(),
            message: PhantomData,
        }
    }
}
