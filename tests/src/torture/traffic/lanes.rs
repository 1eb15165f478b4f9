//! Senders: the operations that were begun and are not over, in order.

use std::collections::VecDeque;

use super::program::{Step, Traffic};

/// One sender.
#[derive(Debug, Clone, Default)]
struct Lane {
    next: usize,
    flying: VecDeque<Step>,
}

/// All of them.
#[derive(Debug, Clone)]
pub(super) struct Lanes(Vec<Lane>);

impl Lanes {
    pub(super) fn new(program: &Traffic) -> Self {
        Self(program.senders.iter().map(|_| Lane::default()).collect())
    }

    /// Whether nothing is left to do.
    pub(super) fn are_done(&self, program: &Traffic) -> bool {
        let mut lanes = self.0.iter().zip(&program.senders);
        lanes.all(|(lane, steps)| lane.flying.is_empty() && lane.next == steps.len())
    }

    /// The next operation that may begin, and its sender.
    pub(super) fn next(&mut self, program: &Traffic) -> Option<(u32, Step)> {
        for (sender, (lane, steps)) in (0..).zip(self.0.iter_mut().zip(&program.senders)) {
            if lane.flying.len() < program.in_flight
                && let Some(step) = steps.get(lane.next)
            {
                lane.next += 1;
                lane.flying.push_back(*step);
                return Some((sender, *step));
            }
        }
        None
    }

    /// Those that were begun and are not over, with their senders.
    pub(super) fn flying(&self) -> Vec<(u32, Step)> {
        let lanes = (0..).zip(&self.0);
        lanes.flat_map(|(sender, lane)| lane.flying.iter().map(move |it| (sender, *it))).collect()
    }

    pub(super) fn find(&self, (sender, number): (u32, u64)) -> Option<Step> {
        let lane = self.0.get(sender as usize)?;
        lane.flying.iter().find(|step| step.number == number).copied()
    }

    /// It is over.
    pub(super) fn over(&mut self, (sender, number): (u32, u64)) {
        if let Some(lane) = self.0.get_mut(sender as usize) {
            lane.flying.retain(|step| step.number != number);
        }
    }
}
