//! Replays against what is known by hand, and against sessions with a model that says the same.

use std::ops::ControlFlow;

use logitspec::TokenId;
use logitspec::draft::{DraftInput, Drafter, PassCost, PromptLookup, Verified};
use logitspec::engine::{FinishReason, Method, MethodParams, Session, SessionOptions};
use logitspec::logits::{Candidate, top_k};
use logitspec::runtime::ScriptedModel;
use logitspec::simulate::{Request, Settings, Tally, Turn, read_trace, replay};
use logitspec::tree::{DraftTree, NodeId, ROOT, Source};
use proptest::prelude::*;

fn request(turns: Vec<Turn>) -> Request {
    let category = "test".into();
    Request { category, turns }
}

fn turn(prompt: &[TokenId], answer: &[TokenId], ended: bool) -> Turn {
    Turn {
        keep: usize::MAX,
        prompt: prompt.to_vec(),
        answer: answer.to_vec(),
        ended,
        ranked: Vec::new(),
    }
}

#[test]
fn a_copied_prompt_takes_two_steps() {
    let request = request(vec![turn(&[1, 2, 3, 4, 5], &[1, 2, 3, 4, 5, 9], true)]);
    let settings = Settings::new(Method::PromptLookup, 64);
    let replayed = replay(&request, &mut PromptLookup::new(3, 10), &settings);
    let steps: Vec<_> = replayed.steps.iter().collect();
    // The root 1 stood at the beginning: 2 3 4 5 and the root itself are drafted, four of them are
    // right. The end is known before it is verified.
    assert_eq!(steps.len(), 2);
    assert_eq!(
        (steps[0].accepted, steps[0].drafted, steps[0].verified),
        (5, 5, true)
    );
    assert_eq!(steps[0].drafted_from.of(Source::Text), 5);
    assert_eq!(steps[0].accepted_from.of(Source::Text), 4);
    assert_eq!(
        (steps[1].accepted, steps[1].drafted, steps[1].verified),
        (1, 0, false)
    );
    let mut tally = Tally::default();
    tally.add(&replayed);
    let figures = tally.figures(Some(&PassCost::from_times(vec![
        1.0, 1.0, 1.0, 1.0, 1.0, 2.5,
    ])));
    assert!((figures.mean_accepted_tokens - 3.0).abs() < 1e-12);
    // Five passes of one token against one of six.
    assert!((figures.expected_speedup.unwrap() - 2.0).abs() < 1e-12);
}

#[test]
fn a_later_turn_sees_the_turns_before_it_and_an_answer_cut_off_is_not_overrun() {
    let turns = vec![
        turn(&[1, 2], &[3, 4, 5, 6, 7], false),
        turn(&[8], &[3, 4, 5], false),
    ];
    let settings = Settings::new(Method::PromptLookup, 64);
    let replayed = replay(&request(turns), &mut PromptLookup::new(3, 10), &settings);
    let accepted: Vec<_> = replayed.steps.iter().map(|step| step.accepted).collect();
    assert_eq!(accepted, [1, 1, 1, 1, 1, 3]);
    // No deeper than the answer may still go.
    assert_eq!(replayed.steps[5].drafted, 2);
}

#[test]
fn plain_decoding_is_as_fast_as_plain_decoding() {
    let request = request(vec![turn(&[1], &[2, 3, 4], true), turn(&[5], &[6], true)]);
    let settings = Settings::new(Method::Baseline, 64);
    let mut drafter = Method::Baseline.drafter(MethodParams::default());
    let mut tally = Tally::default();
    tally.add(&replay(&request, drafter.as_mut(), &settings));
    let figures = tally.figures(Some(&PassCost::from_times(vec![0.25])));
    assert_eq!(figures.expected_speedup, Some(1.0));
    assert_eq!(figures.steps, 4);
}

/// Notes the text of each turn, and how much of the text before was kept.
#[derive(Default)]
struct Turns(Vec<(Option<usize>, Vec<TokenId>)>);

impl Drafter for Turns {
    fn name(&self) -> &'static str {
        "turns"
    }
    fn begin(&mut self, text: &[TokenId]) {
        self.0.push((None, text.to_vec()));
    }
    fn revise(&mut self, text: &[TokenId], keep: usize) {
        self.0.push((Some(keep), text.to_vec()));
    }
    fn extend(&mut self, _text: &[TokenId], _fresh: usize) {}
    fn draft(&mut self, _input: &DraftInput<'_>, _tree: &mut DraftTree) {}
    fn reset(&mut self) {}
}

#[test]
fn a_turn_takes_the_place_of_what_the_template_writes_differently() {
    let revised = Turn {
        keep: 2,
        ..turn(&[7, 8], &[9], true)
    };
    let turns = vec![
        turn(&[1, 2, 3], &[4, 5], true),
        turn(&[6], &[4], false),
        revised,
    ];
    let mut told = Turns::default();
    replay(
        &request(turns),
        &mut told,
        &Settings::new(Method::Baseline, 8),
    );
    let expected = [
        (None, vec![1, 2, 3]),
        (None, vec![1, 2, 3, 4, 5, 6]),
        (Some(2), vec![1, 2, 7, 8]),
    ];
    assert_eq!(told.0, expected);
}

/// Notes what it is told.
#[derive(Default)]
struct Notes {
    ranked: Vec<Vec<TokenId>>,
    rows: Vec<Option<Vec<TokenId>>>,
    next: Vec<Option<TokenId>>,
}

impl Drafter for Notes {
    fn name(&self) -> &'static str {
        "notes"
    }
    fn candidates(&self, _capacity: usize, _cost: &PassCost) -> usize {
        2
    }
    fn begin(&mut self, _text: &[TokenId]) {}
    fn extend(&mut self, _text: &[TokenId], _fresh: usize) {}
    fn draft(&mut self, input: &DraftInput<'_>, tree: &mut DraftTree) {
        assert!(input.ranked.is_sorted_by(|a, b| a.logit > b.logit));
        let tokens = input.ranked.iter().map(|it| it.token);
        self.ranked.push(tokens.collect());
        tree.push_chain(ROOT, &[21]);
        tree.push_chain(ROOT, &[99]);
    }
    fn observe(&mut self, verified: &Verified<'_>) {
        self.next.push(verified.next);
        let mut found = vec![Candidate {
            token: 0,
            logit: 0.0,
        }];
        self.rows
            .extend((ROOT..verified.tree.len()).map(|node: NodeId| {
                let known = verified.rows.top_k(node, 3, &mut found);
                assert!(known || found.is_empty());
                known.then(|| found.iter().map(|it| it.token).collect())
            }));
    }
    fn reset(&mut self) {}
}

#[test]
fn a_trace_gives_its_candidates_where_its_steps_began() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.jsonl");
    let lines = [
        r#"{"model": "m", "method": "baseline", "parameters": {}, "prompt": [1, 2]}"#,
        concat!(
            r#"{"step": 0, "n_past": 2, "root": 20, "ranked": [20, 5, 6, 7], "#,
            r#""nodes": [], "parents": [], "accepted": [20]}"#
        ),
        concat!(
            r#"{"step": 1, "n_past": 3, "root": 21, "ranked": [21, 8, 9, 4], "#,
            r#""nodes": [22], "parents": [-1], "accepted": [21, 22]}"#
        ),
        concat!(
            r#"{"step": 2, "n_past": 5, "root": 23, "ranked": [23, 3], "#,
            r#""nodes": [], "parents": [], "accepted": [23]}"#
        ),
    ];
    std::fs::write(&path, lines.join("\n")).unwrap();
    let request = read_trace(&path).unwrap();
    assert_eq!(request.turns[0].prompt, [1, 2]);
    assert_eq!(request.turns[0].answer, [20, 21, 22, 23]);
    let mut notes = Notes::default();
    let settings = Settings::new(Method::Logitspec, 8);
    let replayed = replay(&request, &mut notes, &settings);
    let accepted: Vec<_> = replayed.steps.iter().map(|step| step.accepted).collect();
    assert_eq!(accepted, [2, 1, 1]);
    // Before 22 there was no step of the trace: that it came is all that is known.
    assert_eq!(notes.ranked, [vec![20, 5], vec![22]]);
    let known = |row: &[TokenId]| Some(row.to_vec());
    // After 20, after 21, after the rejected 99; then after 22 and two rejected nodes.
    let expected = [known(&[21, 8, 9]), None, None, known(&[23, 3]), None, None];
    assert_eq!(notes.rows, expected);
    assert_eq!(notes.next, [Some(22), Some(23)]);
}

#[test]
fn what_is_no_trace_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("trace.jsonl");
    let refused = |lines: &[&str]| {
        std::fs::write(&path, lines.join("\n")).unwrap();
        read_trace(&path).unwrap_err().to_string()
    };
    let header = r#"{"prompt": [1, 2]}"#;
    assert!(refused(&["{}"]).contains("trace.jsonl:1: not the header"));
    assert!(refused(&[header]).contains("holds no step"));
    assert!(refused(&[header, "{}"]).contains("trace.jsonl:2: not a step"));
    let gap = r#"{"n_past": 7, "ranked": [], "accepted": [3]}"#;
    assert!(refused(&[header, gap]).contains("does not continue"));
}

/// Methods that look at nothing a record does not have.
const TOLD_ALL: [Method; 4] = [
    Method::Baseline,
    Method::LogitspecReference,
    Method::PromptLookup,
    Method::Suffix,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn replays_take_the_steps_of_sessions(
        prompts in prop::collection::vec(prop::collection::vec(0u32..6, 1..12), 1..4),
        memory in 0usize..3,
        seed in any::<u64>(),
        end in prop::option::of(0u32..6),
        capacity in 1usize..30,
        max_new_tokens in 1usize..60,
        ngram in prop::option::of(0usize..5),
        pred in prop::option::of(0usize..12),
    ) {
        let mut model = ScriptedModel::new(6, memory, seed, 1000, 64);
        if let Some(end) = end {
            model = model.with_end(end);
        }
        let method_params = MethodParams {
            max_ngram_size: ngram,
            num_pred_tokens: pred,
            ..MethodParams::default()
        };
        for method in TOLD_ALL {
            let options = SessionOptions {
                method,
                method_params,
                draft_tree_capacity: capacity,
                ..SessionOptions::default()
            };
            let mut session = Session::new(model.clone(), options);
            let (mut lengths, mut drafted, mut turns) = (Vec::new(), 0, Vec::new());
            for prompt in &prompts {
                session.prefill(prompt, &mut |_, _| ControlFlow::Continue(())).unwrap();
                let before = session.text().len();
                let answer = session
                    .generate(max_new_tokens, &mut |_| ControlFlow::Continue(()))
                    .unwrap();
                lengths.extend_from_slice(&answer.accept_lengths);
                drafted += answer.drafted;
                let said = session.text();
                let before_each = (before..said.len()).map(|at| &said[..at]);
                let ranked = before_each.map(|text| top_k(&model.logits_after(text), 6));
                turns.push(Turn {
                    keep: usize::MAX,
                    prompt: prompt.clone(),
                    answer: answer.tokens,
                    ended: answer.finish == FinishReason::Stop,
                    ranked: ranked.collect(),
                });
            }
            let settings = Settings { max_new_tokens, ..Settings::new(method, capacity) };
            let mut drafter = method.drafter(method_params);
            let replayed = replay(&request(turns), drafter.as_mut(), &settings);
            let steps = replayed.steps.iter();
            let replayed_lengths: Vec<_> = steps.map(|step| step.accepted).collect();
            prop_assert_eq!(replayed_lengths, lengths, "{}", method);
            let replayed_drafted: usize = replayed.steps.iter().map(|step| step.drafted).sum();
            prop_assert_eq!(replayed_drafted, drafted, "{}", method);
        }
    }
}
