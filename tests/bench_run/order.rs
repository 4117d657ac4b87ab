//! Who is asked what, and when.

use std::collections::BTreeSet;
use std::sync::Barrier;

use logitspec::bench::run::schedule;
use proptest::prelude::*;

use super::*;

fn order_of(asked: &[Asked]) -> Vec<(usize, &str)> {
    asked
        .iter()
        .map(|(method, question, _)| (*method, question.as_str()))
        .collect()
}

#[test]
fn methods_warm_up_on_the_last_question_and_then_take_turns() {
    let mut bench = Bench::new(&["a", "b"], 3);
    bench.warmup = 3;
    bench.run().unwrap();
    let asked = bench.take_asked();
    assert_eq!(order_of(&asked[..3]), [(0, "q2"); 3]);
    assert_eq!(order_of(&asked[3..6]), [(1, "q2"); 3]);
    let measured = [
        (0, "q0"),
        (1, "q0"),
        (1, "q1"),
        (0, "q1"),
        (0, "q2"),
        (1, "q2"),
    ];
    assert_eq!(order_of(&asked[6..]), measured);
    let told = [
        "0 of 6",
        "warm m0",
        "warm m1",
        "answered q0 m0 r0",
        "answered q0 m1 r0",
        "answered q1 m1 r0",
        "answered q1 m0 r0",
        "answered q2 m0 r0",
        "answered q2 m1 r0",
    ];
    assert_eq!(bench.told, told);
}

#[test]
fn in_sequence_a_method_is_through_before_the_next_is_made() {
    let mut bench = Bench::new(&["a", "b"], 2);
    bench.order = Order::Sequential;
    bench.warmup = 1;
    bench.run().unwrap();
    let asked = bench.take_asked();
    let all = [
        (0, "q1"),
        (0, "q0"),
        (0, "q1"),
        (1, "q1"),
        (1, "q0"),
        (1, "q1"),
    ];
    assert_eq!(order_of(&asked), all);
}

#[test]
fn every_choice_is_asked_for_by_its_number() {
    let mut bench = Bench::new(&["a"], 1);
    bench.num_choices = 3;
    bench.run().unwrap();
    let numbers: Vec<u32> = bench
        .take_asked()
        .iter()
        .map(|(_, _, choice)| *choice)
        .collect();
    assert_eq!(numbers, [0, 1, 2]);
    let answer = &bench.answers()[&(0, 0, 81)];
    let indices: Vec<u32> = answer.choices.iter().map(|choice| choice.index).collect();
    assert_eq!(indices, [0, 1, 2]);
    assert_eq!(answer.choices[2].turns, ["q0! (2)", "and then?! (2)"]);
}

#[test]
fn records_say_what_was_asked_and_by_whom() {
    let mut bench = Bench::new(&["a", "b"], 2);
    bench.repeats = 2;
    let finished = bench.run().unwrap();
    let answers = bench.answers();
    assert_eq!(answers.len(), 8);
    let answer = &answers[&(1, 1, 82)];
    assert_eq!(
        (answer.model_id.as_str(), answer.category.as_str()),
        ("model", "qa")
    );
    assert_eq!(
        (answer.method.as_deref(), answer.repeat),
        (Some("b"), Some(1))
    );
    let ids: BTreeSet<&str> = answers
        .values()
        .map(|answer| answer.answer_id.as_str())
        .collect();
    assert_eq!(ids.len(), 8, "every record has an id of its own");

    let summaries = finished.summaries(&bench.methods);
    assert_eq!(summaries[1].answers, 4);
    assert_eq!(summaries[1].files, [bench.path(1, 0), bench.path(1, 1)]);
    assert_eq!(summaries[1].mean_accepted_tokens, Some(2.5));
    assert_eq!(summaries[1].tokens_per_second, Some(10.0));
    assert_eq!(summaries[1].ratio_to_baseline, None);
}

#[test]
fn the_summary_sets_speeds_beside_the_baseline() {
    let mut bench = Bench::new(&["a", "baseline"], 2);
    let finished = bench.run().unwrap();
    let summaries = finished.summaries(&bench.methods);
    assert_eq!(summaries[0].ratio_to_baseline, Some(1.0));
}

#[test]
fn jobs_answer_at_the_same_time() {
    // Each answer waits for another one in progress: with one worker this would wait for ever.
    let both = Barrier::new(2);
    let mut bench = Bench::new(&["a"], 6);
    bench.jobs = 2;
    bench.does = Box::new(|_| {
        both.wait();
        Ok(())
    });
    let finished = bench.run().unwrap();
    assert_eq!(finished.logs[0].answers.len(), 6);
    assert_eq!(bench.answers().len(), 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Every task comes once, and in rotating order no method is first (or last) more often than
    /// another.
    #[test]
    fn the_schedule_is_whole_and_fair(
        questions in 0_usize..12,
        methods in 1_usize..5,
        repeats in 0_u32..4,
    ) {
        for order in [Order::Rotating, Order::Sequential] {
            let rounds = schedule(order, questions, methods, repeats);
            let tasks: BTreeSet<(u32, usize, usize)> = rounds
                .iter()
                .flatten()
                .map(|task| (task.repeat, task.question, task.method))
                .collect();
            prop_assert_eq!(tasks.len(), rounds.iter().map(Vec::len).sum::<usize>());
            prop_assert_eq!(tasks.len(), questions * methods * repeats as usize);
        }
        let rounds = schedule(Order::Rotating, questions, methods, repeats);
        for repeat in 0..repeats {
            for place in 0..methods {
                let mut times = vec![0; methods];
                let its = rounds.iter().filter(|round| round[place].repeat == repeat);
                its.for_each(|round| times[round[place].method] += 1);
                let (least, most) = (times.iter().min().unwrap(), times.iter().max().unwrap());
                prop_assert!(most - least <= 1, "{times:?}");
            }
        }
    }
}
