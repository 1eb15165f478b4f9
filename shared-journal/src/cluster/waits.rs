//! Who waits for whom: an actor that asks one that waits for it would wait for ever, and so would the other.

use std::sync::{Arc, Mutex, PoisonError};

use rustc_hash::FxHashMap;

use crate::id::ActorId;

tokio::task_local! {
    /// The actor whose handler runs.
    static HANDLING: ActorId;
}

/// Runs a handler of an actor: whoever it asks, it waits for. Adapters do it that poll handlers themselves.
pub async fn handling<F: Future>(actor: ActorId, handler: F) -> F::Output {
    HANDLING.scope(actor, handler).await
}

/// The handlers of this node that wait for a reply. Those of other nodes are not known here.
#[derive(Debug, Clone, Default)]
pub(super) struct Waits(Arc<Mutex<FxHashMap<ActorId, Vec<ActorId>>>>);

/// A handler waits as long as this is there.
#[derive(Debug)]
pub(super) struct Wait {
    waits: Waits,
    asker: ActorId,
    asked: ActorId,
}

impl Waits {
    /// The handler that runs, if one does, asks an actor.
    ///
    /// # Errors
    /// That actor waits for this one: the way there, from the asked one.
    pub(super) fn begin(&self, asked: &ActorId) -> Result<Option<Wait>, Vec<ActorId>> {
        let Ok(asker) = HANDLING.try_with(ActorId::clone) else { return Ok(None) };
        let mut waiting = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut ways = vec![vec![asked.clone()]];
        while let Some(way) = ways.pop() {
            let Some(last) = way.last() else { continue };
            if *last == asker {
                return Err(way);
            }
            for next in waiting.get(last).into_iter().flatten().filter(|it| !way.contains(it)) {
                let mut way = way.clone();
                way.push(next.clone());
                ways.push(way);
            }
        }
        waiting.entry(asker.clone()).or_default().push(asked.clone());
        drop(waiting);
        Ok(Some(Wait { waits: self.clone(), asker, asked: asked.clone() }))
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        let mut waiting = self.waits.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = waiting.get_mut(&self.asker) {
            if let Some(at) = asked.iter().position(|it| *it == self.asked) {
                asked.swap_remove(at);
            }
            if asked.is_empty() {
                waiting.remove(&self.asker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_circle_is_found_and_nothing_else() {
        let actor = |id: &str| ActorId::new("a", id);
        let waits = Waits::default();
        let asks = async |from: &str, to: &str| {
            handling(actor(from), async { waits.begin(&actor(to)) }).await
        };
        assert_eq!(asks("1", "1").await.unwrap_err(), [actor("1")]);
        let one = asks("1", "2").await.unwrap();
        let two = asks("2", "3").await.unwrap();
        // Several may wait for one, and one for several.
        let more = (asks("1", "3").await.unwrap(), asks("4", "2").await.unwrap());
        let again = asks("1", "2").await.unwrap();
        assert_eq!(asks("3", "1").await.unwrap_err(), ["1", "2", "3"].map(actor));
        drop((one, more));
        assert!(asks("3", "1").await.is_err(), "it has asked twice");
        drop(again);
        let three = asks("3", "1").await.unwrap();
        assert!(asks("1", "2").await.is_err());
        // Code that is no handler's.
        assert!(waits.begin(&actor("2")).unwrap().is_none());
        drop((two, three));
        assert!(waits.0.lock().unwrap().is_empty());
    }
}
