//! How a session is set up.

use crate::engine::method::{Method, MethodParams};

/// How a session drafts. What a request asks for is in
/// [`RequestOptions`](crate::engine::RequestOptions).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SessionOptions {
    /// The drafter.
    pub method: Method,
    /// Its parameters.
    pub method_params: MethodParams,
    /// Most tokens in one verification pass, the root counted; 1 drafts nothing.
    pub draft_tree_capacity: usize,
    /// Grow trees to their capacity whatever a pass costs. Methods that do not look at the cost
    /// always do.
    pub fill_tree: bool,
    /// Keep the cells of the cache in the order that plain decoding gives them, so that rounding is
    /// the same. Costs decoding accepted tokens again where they left the tree's likeliest path.
    pub exact: bool,
    /// Rank at least this many of the last logits in every step although the drafter may want
    /// fewer: for traces.
    pub ranked: usize,
}

impl SessionOptions {
    /// Whether anything depends on what a pass costs; if not, learning it in every step is wasted.
    pub fn weighs_cost(&self) -> bool {
        self.method.weighs_cost() && !self.fill_tree
    }
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            method: Method::default(),
            method_params: MethodParams::default(),
            draft_tree_capacity: 64,
            fill_tree: false,
            exact: true,
            ranked: 0,
        }
    }
}
