//! The greedy walk against the model's own continuation.

use std::hash::{DefaultHasher, Hash, Hasher};

use logitspec::TokenId;
use logitspec::logits::Row;
use logitspec::tree::{DraftTree, NodeId, ROOT, TreeLimits};
use logitspec::verify::{Accepted, Greedy, Select, walk};

const VOCABULARY: usize = 5;

/// The logits of a model after `path`. There are only four values, so ties are common.
fn row(seed: u8, path: &[TokenId]) -> Vec<f32> {
    let logit = |token: usize| {
        let mut hasher = DefaultHasher::new();
        (seed, path, token).hash(&mut hasher);
        f32::from(u8::try_from(hasher.finish() % 4).unwrap())
    };
    (0..VOCABULARY).map(logit).collect()
}

/// The greedy token after `path`: the first of the largest logits.
fn greedy(seed: u8, path: &[TokenId]) -> TokenId {
    let row = row(seed, path);
    let largest = row.iter().copied().fold(f32::MIN, f32::max);
    let first = row.iter().position(|&logit| logit == largest).unwrap();
    TokenId::try_from(first).unwrap()
}

fn tokens_to(tree: &DraftTree, node: NodeId) -> Vec<TokenId> {
    let path = tree.path_to(node);
    [ROOT]
        .iter()
        .chain(&path)
        .map(|&id| tree.token(id))
        .collect()
}

/// Grows a tree with many greedy tokens. Each push has a parent, a token, and whether to merge.
fn grown(seed: u8, root: TokenId, pushes: &[(u16, u8, bool)]) -> DraftTree {
    let mut tree = DraftTree::new(root, TreeLimits::nodes(256));
    for &(at, token, merges) in pushes {
        let at = match usize::from(at) {
            at if at % 3 == 0 => tree.len() - 1,
            at => at % tree.len(),
        };
        let token = match token {
            0..100 => TokenId::from(token) % VOCABULARY as TokenId,
            _ => greedy(seed, &tokens_to(&tree, at)),
        };
        if merges {
            tree.grow(at, token);
        } else {
            tree.push(at, token);
        }
    }
    tree
}

/// The longest path of greedy tokens, up to a stop token. Among equals, the one with the earlier
/// children.
fn expected(seed: u8, tree: &DraftTree, stop: Option<TokenId>) -> Vec<NodeId> {
    let agrees = |&node: &NodeId| {
        let tokens = tokens_to(tree, node);
        (1..tokens.len())
            .all(|at| Some(tokens[at - 1]) != stop && tokens[at] == greedy(seed, &tokens[..at]))
    };
    let mut paths: Vec<_> = (0..tree.len())
        .filter(agrees)
        .map(|node| tree.path_to(node))
        .collect();
    // Siblings have ascending ids, so lists of ids sort paths by their earlier children.
    paths.sort();
    paths.sort_by_key(|path| std::cmp::Reverse(path.len()));
    paths.swap_remove(0)
}

/// Checks the walk of one tree.
pub fn check(seed: u8, root: u8, stop: Option<u8>, pushes: &[(u16, u8, bool)]) {
    let root = TokenId::from(root) % VOCABULARY as TokenId;
    let stop = stop.map(|token| TokenId::from(token) % VOCABULARY as TokenId);
    let tree = grown(seed, root, pushes);
    let mut selected = 0;
    let accepted = walk(
        &tree,
        |node, path| {
            selected += 1;
            assert_eq!(
                path.len(),
                selected,
                "each position is selected once, in order"
            );
            assert_eq!(tokens_to(&tree, node), path, "the row of another path");
            Greedy.select(Row::from(&row(seed, path)), &[], path)
        },
        |tokens| tokens.last().copied() == stop,
    );
    let path = expected(seed, &tree, stop);
    let tokens = tokens_to(&tree, path.last().copied().unwrap_or(ROOT));
    let stopped = tokens.last().copied() == stop;
    let next = (!stopped).then(|| greedy(seed, &tokens));
    assert_eq!(accepted.last(), path.last().copied().unwrap_or(ROOT));
    assert_eq!(accepted, Accepted { path, next });
}
