//! The dead letters of one actor: an index in its record, and the letters beside it.
//!
//! A letter is a row of its own in the store, so that a record does not grow with what its actor
//! gave up. What is here is what the record needs to know of them, and what a checkpoint has still
//! to save or to delete.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::Sequence;
use crate::ordered::in_order;
use crate::rare::Empty;
use crate::record::DeadLetter;

/// Dead letters, in the order of their receipt.
#[derive(Debug, Clone, Default)]
pub(crate) struct DeadLetters {
    index: BTreeMap<Sequence, Indexed>,
    bytes: u64,
    /// Letters whose rows are not saved.
    unsaved: BTreeMap<Sequence, DeadLetter>,
    /// Letters that are gone, and whose rows may be there.
    removed: BTreeSet<Sequence>,
}

/// What is known of a letter without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Indexed {
    pub(crate) bytes: u64,
    /// When it was given up, as in the letter.
    pub(crate) at_ms: u64,
}

/// How many letters there are, and when the oldest was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) count: usize,
    pub(crate) oldest_ms: u64,
}

impl DeadLetters {
    /// None if there is none.
    pub(crate) fn summary(&self) -> Option<Summary> {
        let oldest_ms = self.index.values().map(|it| it.at_ms).min()?;
        Some(Summary { count: self.len(), oldest_ms })
    }

    pub(crate) fn push(&mut self, letter: DeadLetter) {
        let indexed = Indexed { bytes: letter.size() as u64, at_ms: letter.at_ms };
        self.bytes = self.bytes.saturating_add(indexed.bytes);
        self.index.insert(letter.sequence, indexed);
        self.unsaved.insert(letter.sequence, letter);
    }

    /// A letter has another content, if it is not gone.
    pub(crate) fn replace(&mut self, letter: DeadLetter) {
        if let Some(indexed) = self.index.get(&letter.sequence) {
            self.bytes = self.bytes.saturating_sub(indexed.bytes);
            self.push(letter);
        }
    }

    /// Forgets all letters.
    pub(crate) fn clear(&mut self) {
        for sequence in self.sequences().collect::<Vec<_>>() {
            self.remove(sequence);
        }
    }

    /// Forgets a letter. One that is gone already stays so.
    pub(crate) fn remove(&mut self, sequence: Sequence) {
        if let Some(indexed) = self.index.remove(&sequence) {
            self.bytes = self.bytes.saturating_sub(indexed.bytes);
            // Also if it is not known to be saved: a checkpoint may be about to do so, or one that
            // was cut short has.
            self.unsaved.remove(&sequence);
            self.removed.insert(sequence);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Count and bytes.
    pub(crate) fn totals(&self) -> (usize, u64) {
        (self.len(), self.bytes)
    }

    /// Of all letters together.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn contains(&self, sequence: Sequence) -> bool {
        self.index.contains_key(&sequence)
    }

    pub(crate) fn after(
        &self,
        sequence: Sequence,
    ) -> impl Iterator<Item = (Sequence, Indexed)> + '_ {
        let after = (std::ops::Bound::Excluded(sequence), std::ops::Bound::Unbounded);
        self.index.range(after).map(|(sequence, indexed)| (*sequence, *indexed))
    }

    pub(crate) fn in_range(
        &self,
        range: RangeInclusive<Sequence>,
    ) -> impl DoubleEndedIterator<Item = Sequence> + '_ {
        // A range that ends before it begins would panic.
        let range = (!range.is_empty()).then(|| self.index.range(range));
        range.into_iter().flatten().map(|(sequence, _)| *sequence)
    }

    pub(crate) fn sequences(&self) -> impl Iterator<Item = Sequence> + '_ {
        self.index.keys().copied()
    }

    /// The letter, if its row is not saved.
    pub(crate) fn unsaved(&self, sequence: Sequence) -> Option<&DeadLetter> {
        self.unsaved.get(&sequence)
    }

    /// The letters whose rows are to be saved.
    pub(crate) fn to_save(&self) -> impl Iterator<Item = &DeadLetter> {
        self.unsaved.values()
    }

    /// The rows that are to be deleted.
    pub(crate) fn to_delete(&self) -> impl Iterator<Item = Sequence> + '_ {
        self.removed.iter().copied()
    }

    /// Its row is there.
    pub(crate) fn saved(&mut self, sequence: Sequence) {
        self.unsaved.remove(&sequence);
    }

    /// Its row is gone.
    pub(crate) fn deleted(&mut self, sequence: Sequence) {
        self.removed.remove(&sequence);
    }

    /// Only the index is wanted.
    pub(crate) fn forget_letters(&mut self) {
        self.unsaved.clear();
        self.removed.clear();
    }
}

impl Empty for DeadLetters {
    const EMPTY: &'static Self = &Self {
        index: BTreeMap::new(),
        bytes: 0,
        unsaved: BTreeMap::new(),
        removed: BTreeSet::new(),
    };

    fn holds_nothing(&self) -> bool {
        self.index.is_empty() && self.unsaved.is_empty() && self.removed.is_empty()
    }
}

/// Letters as old records have them: inside.
impl FromIterator<DeadLetter> for DeadLetters {
    fn from_iter<I: IntoIterator<Item = DeadLetter>>(letters: I) -> Self {
        let mut all = Self::default();
        letters.into_iter().for_each(|letter| all.push(letter));
        all
    }
}

/// What is stored of them in the record is the same.
impl PartialEq for DeadLetters {
    fn eq(&self, other: &Self) -> bool {
        self.index == other.index
    }
}

impl Eq for DeadLetters {}

impl Serialize for DeadLetters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.index.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for DeadLetters {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let index: BTreeMap<_, Indexed> = in_order(deserializer)?;
        let bytes = index.values().fold(0_u64, |sum, it| sum.saturating_add(it.bytes));
        Ok(Self { index, bytes, ..Self::default() })
    }
}

/// How much a running actor has given up: for its mailbox. What the actor does to its letters it counts itself,
/// as it does it; what others do is counted as it is folded, and they wait for that.
#[derive(Debug, Default)]
pub(crate) struct DeadTotals {
    count: AtomicUsize,
    bytes: AtomicU64,
}

impl DeadTotals {
    pub(crate) fn of(dead: &DeadLetters) -> Self {
        Self { count: dead.len().into(), bytes: dead.bytes().into() }
    }

    /// One letter more, of so many bytes.
    pub(crate) fn add(&self, bytes: usize) {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// One letter less.
    pub(crate) fn remove(&self, bytes: usize) {
        self.changed((1, bytes as u64), (0, 0));
    }

    /// From so many letters and bytes to so many.
    pub(crate) fn changed(&self, before: (usize, u64), after: (usize, u64)) {
        // Wraps where it becomes less.
        self.count.fetch_add(after.0.wrapping_sub(before.0), Ordering::Relaxed);
        self.bytes.fetch_add(after.1.wrapping_sub(before.1), Ordering::Relaxed);
    }

    /// Count and bytes.
    pub(crate) fn get(&self) -> (usize, u64) {
        (self.count.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{Codec, Payload};

    fn letter(sequence: u64) -> DeadLetter {
        DeadLetter {
            sequence: Sequence(sequence),
            id: None,
            kind: "k".into(),
            payload: Payload::new(Codec::Json, vec![b'1'; 10]),
            attempts: 3,
            error: "boom".into(),
            at_ms: sequence,
        }
    }

    #[test]
    fn a_letter_that_is_gone_is_to_be_deleted_whether_it_was_saved_or_not() {
        let mut dead: DeadLetters = (1..=3).map(letter).collect();
        assert_eq!((dead.len(), dead.bytes()), (3, 45));
        dead.saved(Sequence(1));
        for gone in [1, 2, 2] {
            dead.remove(Sequence(gone));
        }
        assert_eq!((dead.len(), dead.bytes()), (1, 15));
        assert!(dead.to_delete().eq([1, 2].map(Sequence)));
        assert!(dead.to_save().map(|letter| letter.sequence.0).eq([3]));
        dead.deleted(Sequence(1));
        assert!(dead.to_delete().eq([Sequence(2)]));
    }

    #[test]
    fn what_was_never_there_is_not_deleted() {
        let mut dead: DeadLetters = [letter(1)].into_iter().collect();
        dead.remove(Sequence(7));
        assert_eq!(dead.to_delete().count(), 0);
    }
}
