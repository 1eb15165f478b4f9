//! The messages that wait for their turn, in their order, and what they take.

use std::collections::VecDeque;
use std::ops::Deref;

use super::delivery::{Acknowledge, Delivery};
use super::duplicates::{FOLLOWER_BYTES, Follower};
use crate::id::Sequence;

/// Knows the size of what waits without looking at each message.
pub(super) struct Waiting<W> {
    deliveries: VecDeque<Delivery<W>>,
    bytes: usize,
}

impl<W> Waiting<W> {
    /// What waits takes about so many bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push_back(&mut self, delivery: Delivery<W>) {
        self.bytes += delivery.size();
        self.deliveries.push_back(delivery);
    }

    pub(super) fn push_front(&mut self, delivery: Delivery<W>) {
        self.bytes += delivery.size();
        self.deliveries.push_front(delivery);
    }

    pub(super) fn pop_front(&mut self) -> Option<Delivery<W>> {
        let delivery = self.deliveries.pop_front();
        if self.deliveries.is_empty() {
            // Idle actors keep no room: there may be a million of them.
            self.deliveries = VecDeque::new();
        }
        self.bytes -= delivery.as_ref().map_or(0, Delivery::size);
        delivery
    }

    pub(super) fn take_all(&mut self) -> VecDeque<Delivery<W>> {
        self.bytes = 0;
        std::mem::take(&mut self.deliveries)
    }

    pub(super) fn front_mut(&mut self) -> Option<&mut Delivery<W>> {
        self.deliveries.front_mut()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Delivery<W>> {
        self.deliveries.iter_mut()
    }

    /// The messages whose receipts are not written: receipts are written in order.
    pub(super) fn unwritten(&mut self) -> impl Iterator<Item = &mut Delivery<W>> {
        let written = self.deliveries.partition_point(|delivery| delivery.receipt);
        self.deliveries.range_mut(written..)
    }

    /// A duplicate of a message that waits; given back if that one does not. The acknowledgement is
    /// of a receipt that is submitted already.
    pub(super) fn follow(
        &mut self,
        first: Sequence,
        follower: Follower<W>,
    ) -> Result<Option<Acknowledge>, Follower<W>> {
        let index = self.index(first);
        let Some(delivery) = index.and_then(|index| self.deliveries.get_mut(index)) else {
            return Err(follower);
        };
        self.bytes += FOLLOWER_BYTES;
        Ok(delivery.follow(follower))
    }

    /// Whether this message waits.
    pub(super) fn has(&self, sequence: Sequence) -> bool {
        self.index(sequence).is_some()
    }

    /// Takes a message out of the order, if it waits.
    pub(super) fn remove(&mut self, sequence: Sequence) -> Option<Delivery<W>> {
        let index = self.index(sequence)?;
        if index == 0 {
            return self.pop_front();
        }
        let delivery = self.deliveries.remove(index)?;
        self.bytes -= delivery.size();
        Some(delivery)
    }

    fn index(&self, sequence: Sequence) -> Option<usize> {
        self.deliveries.binary_search_by_key(&sequence, |delivery| delivery.sequence).ok()
    }
}

impl<W> Deref for Waiting<W> {
    type Target = VecDeque<Delivery<W>>;

    fn deref(&self) -> &VecDeque<Delivery<W>> {
        &self.deliveries
    }
}

impl<W> FromIterator<Delivery<W>> for Waiting<W> {
    fn from_iter<I: IntoIterator<Item = Delivery<W>>>(deliveries: I) -> Self {
        let deliveries: VecDeque<_> = deliveries.into_iter().collect();
        let bytes = deliveries.iter().map(Delivery::size).sum();
        Self { deliveries, bytes }
    }
}
