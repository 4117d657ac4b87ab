//! Many requests in one pass.

use logitspec::TokenId;
use logitspec::draft::PassCost;
use logitspec::engine::{CostModel, Event, NewRequest, Scheduler, SchedulerOptions};
use logitspec::logits::argmax;
use logitspec::runtime::ScriptedModel;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::checks::scheduler;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn each_request_gets_the_answer_that_it_gets_alone(
        setup in any::<[u8; 8]>(),
        failures in vec((any::<u8>(), prop::bool::weighted(0.3)), 0..3),
        actions in vec((any::<u8>(), any::<[u8; 6]>()), 0..60),
    ) {
        scheduler::check(setup, &failures, &actions);
    }
}

/// Passes of several tokens move the logits, and near ties are common.
#[test]
fn a_near_tie_is_decided_by_a_pass_without_other_requests() {
    let model = ScriptedModel::new(12, 3, 4, 2_000, 16)
        .with_slots(4)
        .with_rounding(0.3);
    let options = SchedulerOptions {
        max_batch_tokens: 32,
        exact: true,
    };
    let cost = CostModel::fixed(PassCost::flat());
    let mut scheduler = Scheduler::new(model.clone(), cost, options);
    for prompt in 0..4 {
        let request = NewRequest::new(vec![prompt], 200);
        assert_eq!(scheduler.submit(request), Ok(prompt.into()));
    }
    let (mut near_ties, mut drafted, mut finished) = (0, 0, 0);
    while !scheduler.is_idle() {
        for (prompt, event) in scheduler.step() {
            let Event::Finished(answer) = event else {
                continue;
            };
            finished += 1;
            near_ties += answer.near_ties;
            drafted += answer.tokens.len() - answer.accept_lengths.len();
            // The first token is read off a pass that had all prompts.
            let mut text = vec![TokenId::try_from(prompt).unwrap(), answer.tokens[0]];
            for &token in &answer.tokens[1..] {
                assert_eq!(token, argmax(&model.logits_after(&text)));
                text.push(token);
            }
            assert_eq!(text.len(), 201, "{:?}", answer.finish);
        }
    }
    assert_eq!(finished, 4);
    assert!(near_ties > 10 && drafted > 10, "{near_ties} {drafted}");
}
