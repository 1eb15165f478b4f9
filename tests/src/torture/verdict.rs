//! What is found.

use serde::{Deserialize, Serialize};

/// What a program did to the promises.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Processes that were killed, or paused past their lease.
    pub kills: u64,
    /// Processes that a handler took with it.
    pub aborts: u64,
    /// Messages that were acknowledged: answered, received, or buried.
    pub acked: u64,
    /// Messages that are dead letters in the end.
    pub buried: u64,
    /// Acknowledged messages that are neither in the state of their actor nor dead letters; and messages
    /// of actors that did not arrive.
    pub lost: u64,
    /// In a state more than once.
    pub duplicated: u64,
    /// Handled in another order than that of their sender, or than an answer showed.
    pub reordered: u64,
    /// Anything else that should not be.
    pub unexplained: u64,
    /// Messages that were refused, or whose outcome was unknown, and were sent again.
    pub retried: u64,
    /// In words.
    pub problems: Vec<String>,
}

impl Verdict {
    /// Whether every promise was kept.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost + self.duplicated + self.reordered + self.unexplained == 0
    }

    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.aborts += other.aborts;
        self.acked += other.acked;
        self.buried += other.buried;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.reordered += other.reordered;
        self.unexplained += other.unexplained;
        self.retried += other.retried;
        self.problems.extend(other.problems);
    }

    pub(super) fn unexplained(&mut self, problem: String) {
        self.unexplained += 1;
        self.problems.push(problem);
    }

    pub(super) fn lost(&mut self, problem: String) {
        self.lost += 1;
        self.problems.push(problem);
    }

    pub(super) fn duplicated(&mut self, problem: String) {
        self.duplicated += 1;
        self.problems.push(problem);
    }

    pub(super) fn reordered(&mut self, problem: String) {
        self.reordered += 1;
        self.problems.push(problem);
    }
}
