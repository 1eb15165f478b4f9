//! The way of a state through the store.

use shared_journal::{Codec, DurableState, Payload};

/// Stores the state of `actor` and restores it into `fresh`, in each codec.
pub(crate) fn recover<A: DurableState>(actor: &A, fresh: impl Fn() -> A) -> [A; 2] {
    [Codec::Json, Codec::MessagePack].map(|codec| {
        let stored = Payload::encode(codec, &actor.snapshot()).expect("the state encodes");
        let state = stored.decode::<A::State>().expect("the state decodes");
        let mut recovered = fresh();
        recovered.restore(state);
        recovered
    })
}
