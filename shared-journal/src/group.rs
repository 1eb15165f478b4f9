//! Commits of several shards of one process that wait for one connection go together.
//!
//! Whoever comes while nobody writes, writes alone and at once. Whoever comes while somebody does
//! is kept; when that one is done, the first of those that were kept writes for all of them.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::id::{Epoch, Position, ShardId};
use crate::provider::Write;

/// Commits that go together have at most so many bytes: a store may send them as one statement, and
/// PostgreSQL takes 1 GiB. One that is larger goes alone.
const TOGETHER_BYTES: usize = 64 << 20;

/// A commit to append.
#[derive(Debug, Clone)]
pub(crate) struct Append<B> {
    pub(crate) shard: ShardId,
    pub(crate) epoch: Epoch,
    pub(crate) position: Position,
    pub(crate) batch: B,
}

impl<'a> Append<&'a [u8]> {
    pub(crate) fn of(write: &Write<'_>, (position, batch): (Position, &'a [u8])) -> Self {
        Self { shard: write.shard, epoch: write.epoch, position, batch }
    }
}

impl Append<Vec<u8>> {
    pub(crate) fn borrowed(&self) -> Append<&[u8]> {
        let Self { shard, epoch, position, batch } = self;
        Append { shard: *shard, epoch: *epoch, position: *position, batch }
    }
}

/// Takes turns at writing.
pub(crate) struct Group<T> {
    turn: Mutex<Turn<T>>,
}

struct Turn<T> {
    busy: bool,
    kept: Vec<Kept<T>>,
}

struct Kept<T> {
    append: Append<Vec<u8>>,
    call: SyncSender<Call<T>>,
}

/// What one that was kept is told.
enum Call<T> {
    /// Write for these, your own being the first.
    Lead(Vec<Kept<T>>),
    /// It was written.
    Done(T),
}

impl<T> Default for Group<T> {
    fn default() -> Self {
        Self { turn: Mutex::new(Turn { busy: false, kept: Vec::new() }) }
    }
}

impl<T> Group<T> {
    /// Appends a commit: `alone`, or with others `together`, which gives an outcome for each. If
    /// that fails, everybody tries alone.
    pub(crate) fn append<E>(
        &self,
        append: &Append<&[u8]>,
        alone: impl FnOnce(&Append<&[u8]>) -> Result<T, E>,
        together: impl FnOnce(&[&Append<Vec<u8>>]) -> Result<Vec<T>, E>,
    ) -> Result<T, E> {
        let called = {
            let mut turn = self.turn();
            if turn.busy {
                let (call, called) = sync_channel(1);
                let Append { shard, epoch, position, batch } = *append;
                let append = Append { shard, epoch, position, batch: batch.to_vec() };
                turn.kept.push(Kept { append, call });
                Some(called)
            } else {
                turn.busy = true;
                None
            }
        };
        let Some(called) = called else {
            let _next = Next(self);
            return alone(append);
        };
        let kept = match called.recv() {
            Ok(Call::Done(outcome)) => return Ok(outcome),
            Ok(Call::Lead(kept)) => kept,
            // Whoever led did not get through.
            Err(_) => return alone(append),
        };
        let _next = Next(self);
        if kept.len() == 1 {
            return alone(append);
        }
        let appends: Vec<_> = kept.iter().map(|kept| &kept.append).collect();
        let mut outcomes = together(&appends)?.into_iter();
        let own = outcomes.next();
        for (kept, outcome) in kept.iter().skip(1).zip(outcomes) {
            // It waits for this.
            let _ = kept.call.send(Call::Done(outcome));
        }
        match own {
            Some(own) => Ok(own),
            None => alone(append),
        }
    }

    fn turn(&self) -> MutexGuard<'_, Turn<T>> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the turn to those who were kept, also when a writer panics.
struct Next<'a, T>(&'a Group<T>);

impl<T> Drop for Next<'_, T> {
    fn drop(&mut self) {
        let mut turn = self.0.turn();
        let mut bytes = 0;
        let together = turn.kept.iter().take_while(|kept| {
            bytes += kept.append.batch.len();
            bytes <= TOGETHER_BYTES
        });
        // The others have the next turn.
        let count = together.count().max(1).min(turn.kept.len());
        let later = turn.kept.split_off(count);
        let kept = std::mem::replace(&mut turn.kept, later);
        match kept.first().map(|first| first.call.clone()) {
            Some(first) => drop(first.send(Call::Lead(kept))),
            None => turn.busy = false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    fn append(shard: u32) -> Append<&'static [u8]> {
        let shard = ShardId(shard);
        Append { shard, epoch: Epoch(1), position: Position(1), batch: b"batch" }
    }

    /// Nine come while the first writes: they are written in one go.
    #[test]
    fn those_that_wait_go_together() {
        let group = Arc::new(Group::<u32>::default());
        let (begun, has_begun) = mpsc::channel();
        let (go, goes) = mpsc::channel::<()>();
        let sizes = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let first = &group;
            scope.spawn(move || {
                let alone = |append: &Append<&[u8]>| {
                    begun.send(()).unwrap();
                    goes.recv().unwrap();
                    Ok::<_, ()>(append.shard.0)
                };
                assert_eq!(first.append(&append(0), alone, |_| Err(())), Ok(0));
            });
            has_begun.recv().unwrap();
            for shard in 1..10 {
                let (group, sizes) = (&group, &sizes);
                scope.spawn(move || {
                    let together = |all: &[&Append<Vec<u8>>]| {
                        sizes.lock().unwrap().push(all.len());
                        Ok::<_, ()>(all.iter().map(|it| it.shard.0).collect())
                    };
                    assert_eq!(group.append(&append(shard), |_| Err(()), together), Ok(shard));
                });
            }
            while group.turn().kept.len() < 9 {
                std::thread::yield_now();
            }
            go.send(()).unwrap();
        });
        assert_eq!(*sizes.lock().unwrap(), [9]);
        assert!(!group.turn().busy);
    }

    /// Three that are too large for one go come while the first writes.
    #[test]
    fn what_would_be_too_much_together_goes_in_turn() {
        let group = Arc::new(Group::<usize>::default());
        let (begun, has_begun) = mpsc::channel();
        let (go, goes) = mpsc::channel::<()>();
        let batch = vec![0; TOGETHER_BYTES / 2 + 1];
        let alone = |append: &Append<&[u8]>| Ok::<_, ()>(append.batch.len());
        std::thread::scope(|scope| {
            let (first, batch) = (&group, &batch[..]);
            scope.spawn(move || {
                let alone = |append: &Append<&[u8]>| {
                    begun.send(()).unwrap();
                    goes.recv().unwrap();
                    alone(append)
                };
                assert_eq!(first.append(&append(0), alone, |_| Err(())), Ok(5));
            });
            has_begun.recv().unwrap();
            for shard in 1..4 {
                let group = &group;
                scope.spawn(move || {
                    let large = Append { batch, ..append(shard) };
                    let together = |_: &[&Append<Vec<u8>>]| panic!("that is too much");
                    assert_eq!(group.append(&large, alone, together), Ok(batch.len()));
                });
            }
            while group.turn().kept.len() < 3 {
                std::thread::yield_now();
            }
            go.send(()).unwrap();
        });
        let turn = group.turn();
        assert!(!turn.busy && turn.kept.is_empty());
    }

    #[test]
    fn when_it_fails_together_everybody_tries_alone() {
        let group = Arc::new(Group::<u32>::default());
        let tried = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for shard in 0..8 {
                let (group, tried) = (&group, &tried);
                scope.spawn(move || {
                    for _ in 0..100 {
                        let alone = |append: &Append<&[u8]>| Ok(append.shard.0);
                        let written = group.append(&append(shard), alone, |_| {
                            tried.fetch_add(1, Ordering::Relaxed);
                            Err("not together")
                        });
                        assert!(written == Ok(shard) || written == Err("not together"));
                    }
                });
            }
        });
        assert!(!group.turn().busy);
    }
}
