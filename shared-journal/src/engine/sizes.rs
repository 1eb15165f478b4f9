//! How many bytes of log there are behind a checkpoint, so that not too many are kept.

use std::collections::VecDeque;

use crate::id::Position;

/// The whole has about so many parts.
const PARTS: u64 = 256;

/// The sizes of the commits that are kept, in parts of neighbours: a log may have very many.
pub(super) struct Sizes {
    /// The first commit of each part, and the bytes of all of them.
    parts: VecDeque<(Position, u64)>,
    total: u64,
    limit: u64,
}

impl Sizes {
    pub(super) fn new(limit: usize) -> Self {
        Self { parts: VecDeque::new(), total: 0, limit: limit as u64 }
    }

    /// The oldest commit that is known.
    pub(super) fn first(&self) -> Option<Position> {
        self.parts.front().map(|(first, _)| *first)
    }

    /// A commit after all others.
    pub(super) fn push(&mut self, position: Position, bytes: usize) {
        let bytes = bytes as u64;
        self.total += bytes;
        match self.parts.back_mut() {
            Some((_, part)) if *part + bytes <= self.limit / PARTS => *part += bytes,
            _ => self.parts.push_back((position, bytes)),
        }
    }

    /// Commits before all others, in their order.
    pub(super) fn prepend(&mut self, older: Self) {
        self.total += older.total;
        for part in older.parts.into_iter().rev() {
            self.parts.push_front(part);
        }
    }

    /// The oldest commit to keep: this one, or a later one if there would be too many bytes.
    pub(super) fn keep(&mut self, from: Position) -> Position {
        let mut keep = from;
        while let Some((next, _)) = self.parts.get(1)
            && (*next <= from || self.total > self.limit)
        {
            keep = from.max(*next);
            self.total -= self.parts.pop_front().map_or(0, |(_, bytes)| bytes);
        }
        keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(commits: impl IntoIterator<Item = (u64, usize)>) -> Sizes {
        let mut sizes = Sizes::new(1 << 20);
        commits.into_iter().for_each(|(at, bytes)| sizes.push(Position(at), bytes));
        sizes
    }

    #[test]
    fn large_commits_are_kept_up_to_the_limit() {
        let mut large = sizes((1..=10).map(|at| (at, 300 << 10)));
        assert_eq!(large.keep(Position(2)), Position(8), "three of 300 KiB");
        assert_eq!(large.keep(Position(9)), Position(9), "or fewer");
        let mut one = sizes([(1, 100), (2, 2 << 20)]);
        assert_eq!(one.keep(Position(1)), Position(2), "the last stays, whatever its size");
    }

    #[test]
    fn small_commits_take_little_memory_and_the_bound_holds() {
        let mut small = sizes((1..=100_000).map(|at| (at, 100)));
        let kept = small.keep(Position(1));
        assert!(small.parts.len() <= 2 * PARTS as usize);
        let bytes = (100_001 - kept.0) * 100;
        assert!(bytes <= 1 << 20 && bytes > (1 << 20) - (1 << 14), "{bytes}");
    }

    #[test]
    fn what_was_there_before_counts() {
        let mut all = sizes([(4, 300 << 10), (5, 300 << 10)]);
        all.prepend(sizes([(1, 300 << 10), (2, 300 << 10), (3, 300 << 10)]));
        assert_eq!(all.keep(Position(1)), Position(3));
    }
}
