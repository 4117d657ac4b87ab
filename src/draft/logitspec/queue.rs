//! What the tree can grow by next, best first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::tree::NodeId;

/// Something to do, and its priority.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Probability that the path down to what it adds is accepted.
    pub(super) probability: f32,
    pub(super) action: Action,
    /// Its number among all entries so far.
    number: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Action {
    /// Add a candidate to the tree.
    Take {
        parent: NodeId,
        /// Its index among all candidates found.
        candidate: usize,
        /// Probability that the path down to its parent is accepted and no better sibling is.
        remaining: f32,
    },
    /// Look for a node's candidates.
    Expand(NodeId),
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    /// By probability; among equals the older entry is greater.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_probability = self.probability.total_cmp(&other.probability);
        by_probability.then(other.number.cmp(&self.number))
    }
}

/// The entries, and those that were deferred for one of two reasons.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    entries: BinaryHeap<Entry>,
    /// They do not pay as things stand.
    unprofitable: Vec<Entry>,
    /// They would add a leaf too many.
    too_wide: Vec<Entry>,
    pushed: usize,
}

impl Queue {
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.unprofitable.clear();
        self.too_wide.clear();
        self.pushed = 0;
    }

    pub(super) fn push(&mut self, probability: f32, action: Action) {
        let number = self.pushed;
        self.pushed += 1;
        self.entries.push(Entry {
            probability,
            action,
            number,
        });
    }

    /// The best entry.
    pub(super) fn pop(&mut self) -> Option<Entry> {
        self.entries.pop()
    }

    /// Puts back an entry that has just been popped.
    pub(super) fn put_back(&mut self, popped: Entry) {
        self.entries.push(popped);
    }

    /// Defers an entry that does not pay.
    pub(super) fn defer_unprofitable(&mut self, popped: Entry) {
        self.unprofitable.push(popped);
    }

    /// Puts back all entries that did not pay.
    pub(super) fn restore_unprofitable(&mut self) {
        self.entries.extend(self.unprofitable.drain(..));
    }

    /// Defers an entry that would add a leaf too many.
    pub(super) fn defer_too_wide(&mut self, popped: Entry) {
        self.too_wide.push(popped);
    }

    /// Puts back all entries that would have added a leaf too many. Whether there were any.
    pub(super) fn restore_too_wide(&mut self) -> bool {
        let any = !self.too_wide.is_empty();
        self.entries.extend(self.too_wide.drain(..));
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(queue: &mut Queue) -> Vec<NodeId> {
        let popped = std::iter::from_fn(|| queue.pop());
        popped
            .map(|entry| match entry.action {
                Action::Expand(node) => node,
                Action::Take { .. } => unreachable!("no entry takes a candidate here"),
            })
            .collect()
    }

    #[test]
    fn the_best_comes_first_and_of_equals_the_oldest() {
        let mut queue = Queue::default();
        for (node, probability) in [0.5, 0.25, 0.5, 0.75, 0.25].into_iter().enumerate() {
            queue.push(probability, Action::Expand(node));
        }
        let best = queue.pop().unwrap();
        queue.put_back(best);
        assert_eq!(nodes(&mut queue), [3, 0, 2, 1, 4]);
    }

    #[test]
    fn a_deferred_entry_comes_back_to_its_old_place() {
        let mut queue = Queue::default();
        for (node, probability) in [0.5, 0.5, 0.75, 0.5].into_iter().enumerate() {
            queue.push(probability, Action::Expand(node));
        }
        let [first, second] = [(); 2].map(|()| queue.pop().unwrap());
        queue.defer_unprofitable(first);
        queue.defer_too_wide(second);
        assert_eq!(queue.pop().map(|it| it.number), Some(1));
        assert!(queue.restore_too_wide() && !queue.restore_too_wide());
        queue.restore_unprofitable();
        assert_eq!(nodes(&mut queue), [2, 0, 3]);
    }

    #[test]
    fn clearing_leaves_nothing() {
        let mut queue = Queue::default();
        (0..3).for_each(|node| queue.push(0.5, Action::Expand(node)));
        let [first, second] = [(); 2].map(|()| queue.pop().unwrap());
        queue.defer_unprofitable(first);
        queue.defer_too_wide(second);
        queue.clear();
        queue.restore_unprofitable();
        assert!(!queue.restore_too_wide() && queue.pop().is_none());
        queue.push(0.5, Action::Expand(3));
        assert_eq!(queue.pop().map(|it| it.number), Some(0));
    }
}
