//! Selects among the tokens that a grammar allows.

use llguidance::Matcher;

use crate::TokenId;
use crate::logits::Row;
use crate::tree::{DraftTree, ROOT};
use crate::verify::{Constraint, Select};

/// Selects as another selector does, but only tokens that a grammar allows.
///
/// The state of the grammar is that after the answer so far. It is moved to whatever text it is
/// asked about: back to where that departs, and on from there.
pub(super) struct Constrained {
    /// The parser, after `consumed`.
    matcher: Matcher,
    /// The parser before the answer.
    fresh: Matcher,
    inner: Box<dyn Select>,
    /// Where the answer begins.
    start: usize,
    consumed: Vec<TokenId>,
    row: Vec<f32>,
    failure: Option<String>,
}

impl Constrained {
    pub(super) fn new(fresh: Matcher, inner: Box<dyn Select>) -> Self {
        Self {
            matcher: fresh.deep_clone(),
            fresh,
            inner,
            start: 0,
            consumed: Vec::new(),
            row: Vec::new(),
            failure: None,
        }
    }

    /// Moves the parser behind `text` and `path`.
    fn move_to(&mut self, text: &[TokenId], path: &[TokenId]) -> anyhow::Result<()> {
        let answer = text.get(self.start..).unwrap_or_default();
        let wanted = || answer.iter().chain(path).copied();
        let pairs = wanted().zip(&self.consumed);
        let common = pairs.take_while(|(a, b)| a == *b).count();
        if common < self.consumed.len() {
            self.matcher.rollback(self.consumed.len() - common)?;
            self.consumed.truncate(common);
        }
        for token in wanted().skip(common) {
            self.matcher.consume_token(token)?;
            self.consumed.push(token);
        }
        Ok(())
    }

    /// Selects from what of the row is allowed.
    fn select_allowed(
        &mut self,
        row: Row<'_>,
        text: &[TokenId],
        path: &[TokenId],
    ) -> anyhow::Result<Option<TokenId>> {
        self.move_to(text, path)?;
        let mask = self.matcher.compute_mask_or_eos()?;
        let mut allowed = std::mem::take(&mut self.row);
        allowed.clear();
        allowed.resize(row.logits().len(), f32::NEG_INFINITY);
        let mut only = None;
        let mut count = 0;
        mask.iter_set_entries(|token| {
            if let (Some(to), Some(&logit)) = (allowed.get_mut(token), row.logits().get(token)) {
                *to = logit;
                only = Some(token);
                count += 1;
            }
        });
        // What is certain needs no probability.
        if let (1, Some(token)) = (count, only) {
            allowed[token] = 0.0;
        }
        let selected = self.inner.select(Row::from(&allowed), text, path);
        self.row = allowed;
        Ok(selected)
    }

    /// The tree without forbidden nodes, and with forced ones.
    fn constrained(
        &mut self,
        text: &[TokenId],
        drafted: &DraftTree,
        forces: bool,
    ) -> anyhow::Result<Constraint> {
        self.move_to(text, &[drafted.token(ROOT)])?;
        let mut allowed = vec![true; drafted.len()];
        for leaf in (ROOT + 1..drafted.len()).filter(|&node| drafted.is_leaf(node)) {
            let path = drafted.path_to(leaf);
            let tokens: Vec<TokenId> = path.iter().map(|&node| drafted.token(node)).collect();
            let valid = self.matcher.validate_tokens(&tokens)?;
            path[valid..].iter().for_each(|&node| allowed[node] = false);
        }
        let forced = match forces && !self.matcher.is_stopped() {
            true => self.matcher.compute_ff_tokens(),
            false => Vec::new(),
        };
        Ok(Constraint::new(drafted, &forced, &allowed))
    }

    /// Keeps why the grammar cannot be followed.
    fn keep_failure<T>(&mut self, result: anyhow::Result<T>) -> Option<T> {
        result
            .inspect_err(|error| self.failure = Some(error.to_string()))
            .ok()
    }
}

impl Select for Constrained {
    fn select(&mut self, row: Row<'_>, text: &[TokenId], path: &[TokenId]) -> Option<TokenId> {
        if !row.has_finite() {
            return None;
        }
        let selected = self.select_allowed(row, text, path);
        let selected = self.keep_failure(selected)?;
        if selected.is_none() {
            self.failure = Some("the model gives no probability to what it allows".to_owned());
        }
        selected
    }

    fn begin(&mut self, text: &[TokenId]) {
        self.start = text.len();
        self.matcher = self.fresh.deep_clone();
        self.consumed.clear();
        self.failure = None;
        self.inner.begin(text);
    }

    fn constrain(
        &mut self,
        text: &[TokenId],
        drafted: &DraftTree,
        forces: bool,
    ) -> Option<Constraint> {
        let constrained = self.constrained(text, drafted, forces);
        self.keep_failure(constrained)
    }

    fn failure(&self) -> Option<String> {
        self.failure.clone()
    }
}
