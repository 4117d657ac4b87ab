//! The reference drafter, node for node.

use logitspec::TokenId;
use logitspec::runtime::ScriptedModel;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::checks::published::{self, Published};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_step_equals_the_published_algorithm(
        (n_vocab, memory, seed) in (1usize..70, 0usize..4, any::<u64>()),
        (max_ngram_size, num_pred_tokens) in (0usize..6, 0usize..25),
        draft_tree_capacity in 1usize..=80,
        end in any::<Option<u8>>(),
        prompts in vec(vec(any::<u8>(), 1..30), 1..4),
        max_new_tokens in 0usize..50,
    ) {
        let token = |byte: u8| TokenId::try_from(usize::from(byte) % n_vocab).unwrap();
        let prompts: Vec<Vec<_>> = prompts
            .into_iter()
            .map(|prompt| prompt.into_iter().map(token).collect())
            .collect();
        let model = ScriptedModel::new(n_vocab, memory, seed, 400, 80);
        let published = Published {
            max_ngram_size,
            num_pred_tokens,
            draft_tree_capacity,
        };
        published::check(&model, published, end.map(token), &prompts, max_new_tokens);
    }
}
