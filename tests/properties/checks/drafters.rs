//! Drafters for tests.

use logitspec::TokenId;
use logitspec::draft::{DraftInput, Drafter, PassCost, Verified};
use logitspec::runtime::ScriptedModel;
use logitspec::tree::{DraftTree, NodeId, ROOT};

/// Passes all calls to another drafter. Panics if the engine breaks the contract of [`Drafter`].
pub struct Checked {
    pub inner: Box<dyn Drafter>,
    pub greedy: bool,
    pub n_vocab: usize,
    pub text: Vec<TokenId>,
}

impl Drafter for Checked {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn candidates(&self, capacity: usize, cost: &PassCost) -> usize {
        self.inner.candidates(capacity, cost)
    }

    fn begin(&mut self, text: &[TokenId]) {
        assert!(
            text.starts_with(&self.text),
            "the text does not continue the earlier text"
        );
        self.text = text.to_vec();
        self.inner.begin(text);
    }

    fn extend(&mut self, text: &[TokenId], fresh: usize) {
        assert_eq!(text.len(), self.text.len() + fresh, "some text is missing");
        assert!(
            text.starts_with(&self.text),
            "the text does not continue the earlier text"
        );
        self.text = text.to_vec();
        self.inner.extend(text, fresh);
    }

    fn revise(&mut self, text: &[TokenId], keep: usize) {
        assert!(keep < self.text.len(), "nothing is taken back");
        assert!(
            text.starts_with(&self.text[..keep]),
            "the text does not begin as before"
        );
        self.text = text.to_vec();
        self.inner.revise(text, keep);
    }

    fn draft(&mut self, input: &DraftInput<'_>, tree: &mut DraftTree) {
        assert_eq!(
            input.text, self.text,
            "the text of a draft is not the current text"
        );
        assert_eq!((tree.len(), tree.token(ROOT)), (1, input.root));
        let wanted = match tree.limits().capacity {
            1 => 0,
            capacity => self.candidates(capacity, input.cost).min(self.n_vocab),
        };
        assert_eq!(input.ranked.len(), wanted);
        assert!(input.ranked.is_sorted_by(|better, worse| {
            better.logit > worse.logit || better.logit == worse.logit && better.token < worse.token
        }));
        if let (true, Some(best)) = (self.greedy, input.ranked.first()) {
            assert_eq!(best.token, input.root);
        }
        self.inner.draft(input, tree);
    }

    fn observe(&mut self, verified: &Verified<'_>) {
        self.inner.observe(verified);
    }

    fn next_request(&mut self) {
        self.text.clear();
        self.inner.next_request();
    }

    fn rewind(&mut self) {
        self.text.clear();
        self.inner.rewind();
    }

    fn reset(&mut self) {
        self.text.clear();
        self.inner.reset();
    }
}

/// Grows random trees: with equal siblings, chains beyond the limits, truncations, and tokens that
/// are
/// not in the vocabulary.
pub struct RandomDrafter {
    pub random: fastrand::Rng,
    pub n_vocab: usize,
}

impl RandomDrafter {
    fn token(&mut self) -> TokenId {
        if self.random.u8(..) == 0 {
            return TokenId::MAX - 1;
        }
        TokenId::try_from(self.random.usize(..self.n_vocab)).unwrap()
    }
}

impl Drafter for RandomDrafter {
    fn name(&self) -> &'static str {
        "random"
    }
    fn candidates(&self, capacity: usize, _cost: &PassCost) -> usize {
        capacity / 2
    }
    fn begin(&mut self, _text: &[TokenId]) {}
    fn extend(&mut self, _text: &[TokenId], _fresh: usize) {}
    fn reset(&mut self) {}

    fn draft(&mut self, _input: &DraftInput<'_>, tree: &mut DraftTree) {
        for _ in 0..self.random.usize(..40) {
            let at: NodeId = self.random.usize(..tree.len());
            let chain: Vec<_> = (0..self.random.usize(..100))
                .map(|_| self.token())
                .collect();
            let short = &chain[..chain.len().min(3)];
            match self.random.u8(..12) {
                0 => tree.truncate(at),
                1 => tree.limit_leaves(1 + at),
                2 => drop(tree.push_chain(at, &chain)),
                3..6 => drop(tree.push_chain(at, short)),
                6..9 => drop(tree.merge_chain(at, short)),
                9 => drop(tree.grow(at, self.token())),
                _ => drop(tree.push(at, self.token())),
            }
        }
    }
}

/// Drafts the greedy continuation of the model several times, some of it with errors.
pub struct Oracle {
    pub random: fastrand::Rng,
    pub model: ScriptedModel,
}

impl Drafter for Oracle {
    fn name(&self) -> &'static str {
        "oracle"
    }
    fn begin(&mut self, _text: &[TokenId]) {}
    fn extend(&mut self, _text: &[TokenId], _fresh: usize) {}
    fn reset(&mut self) {}

    fn draft(&mut self, input: &DraftInput<'_>, tree: &mut DraftTree) {
        let mut text = input.text.to_vec();
        text.push(input.root);
        let known = text.len();
        for _ in 0..self.random.usize(1..12) {
            text.push(naive_argmax(&self.model.logits_after(&text)));
        }
        for _ in 0..self.random.usize(1..5) {
            let mut chain = text[known..].to_vec();
            chain.truncate(self.random.usize(1..=chain.len()));
            if self.random.bool() {
                let wrong = self.random.usize(..chain.len());
                chain[wrong] = chain[0];
            }
            if self.random.bool() {
                tree.push_chain(ROOT, &chain);
            } else {
                tree.merge_chain(ROOT, &chain);
            }
        }
    }
}

/// The first of the largest logits.
pub fn naive_argmax(row: &[f32]) -> TokenId {
    let mut best = 0;
    for token in 1..row.len() {
        if row[token] > row[best] {
            best = token;
        }
    }
    TokenId::try_from(best).unwrap()
}
