//! What a tree may grow by, best first.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::tree::NodeId;

/// What to do next, and how much speaks for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Probability that the path down to what it adds is accepted.
    pub(super) gain: f32,
    pub(super) what: What,
    /// Its number among all that ever waited.
    turn: usize,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum What {
    /// Take a candidate into the tree.
    Take {
        parent: NodeId,
        /// Its number among all candidates found.
        candidate: usize,
        /// Probability that the path down to its parent is accepted and no better sibling follows.
        mass: f32,
    },
    /// Look for a node's candidates.
    Expand(NodeId),
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Waiting {}
impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Waiting {
    /// By gain; among equals the one that waits longest.
    fn cmp(&self, other: &Self) -> Ordering {
        let by_gain = self.gain.total_cmp(&other.gain);
        by_gain.then(other.turn.cmp(&self.turn))
    }
}

/// What waits, and what has been put off for one of two reasons.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    waiting: BinaryHeap<Waiting>,
    /// What does not pay as things stand.
    unpaid: Vec<Waiting>,
    /// What would be a leaf too many.
    too_wide: Vec<Waiting>,
    turns: usize,
}

impl Queue {
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.unpaid.clear();
        self.too_wide.clear();
        self.turns = 0;
    }

    pub(super) fn push(&mut self, gain: f32, what: What) {
        let turn = self.turns;
        self.turns += 1;
        self.waiting.push(Waiting { gain, what, turn });
    }

    /// The best of what waits.
    pub(super) fn pop(&mut self) -> Option<Waiting> {
        self.waiting.pop()
    }

    /// Puts back what has just been popped.
    pub(super) fn put_back(&mut self, popped: Waiting) {
        self.waiting.push(popped);
    }

    /// Puts off what does not pay.
    pub(super) fn put_off_unpaid(&mut self, popped: Waiting) {
        self.unpaid.push(popped);
    }

    /// What did not pay waits again.
    pub(super) fn take_up_unpaid(&mut self) {
        self.waiting.extend(self.unpaid.drain(..));
    }

    /// The most that anything brings which did not pay.
    pub(super) fn most_unpaid(&self) -> f32 {
        self.unpaid.iter().map(|it| it.gain).fold(0.0, f32::max)
    }

    /// Puts off what would be a leaf too many.
    pub(super) fn put_off_too_wide(&mut self, popped: Waiting) {
        self.too_wide.push(popped);
    }

    /// What was a leaf too many waits again. Whether there is any.
    pub(super) fn take_up_too_wide(&mut self) -> bool {
        let any = !self.too_wide.is_empty();
        self.waiting.extend(self.too_wide.drain(..));
        any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(queue: &mut Queue) -> Vec<NodeId> {
        let popped = std::iter::from_fn(|| queue.pop());
        popped
            .map(|it| match it.what {
                What::Expand(node) => node,
                What::Take { .. } => unreachable!("nothing is taken here"),
            })
            .collect()
    }

    #[test]
    fn the_best_comes_first_and_of_equals_the_one_that_waits_longest() {
        let mut queue = Queue::default();
        for (node, gain) in [0.5, 0.25, 0.5, 0.75, 0.25].into_iter().enumerate() {
            queue.push(gain, What::Expand(node));
        }
        let best = queue.pop().unwrap();
        queue.put_back(best);
        assert_eq!(nodes(&mut queue), [3, 0, 2, 1, 4]);
    }

    #[test]
    fn what_was_put_off_waits_again_in_its_old_place() {
        let mut queue = Queue::default();
        for (node, gain) in [0.5, 0.5, 0.75, 0.5].into_iter().enumerate() {
            queue.push(gain, What::Expand(node));
        }
        assert_eq!(queue.most_unpaid(), 0.0);
        let [first, second] = [(); 2].map(|()| queue.pop().unwrap());
        queue.put_off_unpaid(first);
        queue.put_off_too_wide(second);
        assert_eq!(queue.most_unpaid(), 0.75);
        assert_eq!(queue.pop().map(|it| it.turn), Some(1));
        assert!(queue.take_up_too_wide() && !queue.take_up_too_wide());
        queue.take_up_unpaid();
        assert_eq!(nodes(&mut queue), [2, 0, 3]);
    }

    #[test]
    fn nothing_is_left_of_what_was_cleared() {
        let mut queue = Queue::default();
        (0..3).for_each(|node| queue.push(0.5, What::Expand(node)));
        let [first, second] = [(); 2].map(|()| queue.pop().unwrap());
        queue.put_off_unpaid(first);
        queue.put_off_too_wide(second);
        queue.clear();
        assert_eq!(queue.most_unpaid(), 0.0);
        queue.take_up_unpaid();
        assert!(!queue.take_up_too_wide() && queue.pop().is_none());
        queue.push(0.5, What::Expand(3));
        assert_eq!(queue.pop().map(|it| it.turn), Some(0));
    }
}
