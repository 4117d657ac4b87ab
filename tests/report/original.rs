//! The figures of the original evaluation, computed again from the files' JSON in the plainest way.

use std::path::Path;

use logitspec::report::{Options, Report};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

const TASKS: [&str; 7] = [
    "mt_bench",
    "translation",
    "summarization",
    "qa",
    "math_reasoning",
    "rag",
    "overall",
];
const MT_BENCH: [&str; 8] = [
    "writing",
    "roleplay",
    "reasoning",
    "math",
    "coding",
    "extraction",
    "stem",
    "humanities",
];
const CATEGORIES: [&str; 14] = [
    "writing",
    "roleplay",
    "reasoning",
    "math",
    "coding",
    "extraction",
    "stem",
    "humanities",
    "translation",
    "summarization",
    "qa",
    "math_reasoning",
    "rag",
    "of our own",
];

struct Naive {
    accepted: f64,
    ours: f64,
    base: f64,
}

fn records(path: &Path, task: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let record: Value = serde_json::from_str(line).unwrap();
        let category = record["category"].as_str().unwrap();
        if task == "overall"
            || category == task
            || task == "mt_bench" && MT_BENCH.contains(&category)
        {
            found.push(record);
        }
    }
    found
}

fn floats(value: &Value) -> Vec<f64> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|number| number.as_f64().unwrap())
        .collect()
}

fn average(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// `words`: whether the base's tokens are the words of its answers, which is what the tests'
/// tokenizer makes of them.
fn naive(answers: &Path, base: &Path, task: &str, words: bool) -> Option<Naive> {
    let mut accepted = Vec::new();
    let mut speeds = Vec::new();
    for record in records(answers, task) {
        let choice = &record["choices"][0];
        accepted.extend(floats(&choice["accept_lengths"]));
        let tokens: f64 = floats(&choice["new_tokens"]).iter().sum();
        speeds.push(tokens / floats(&choice["wall_time"]).iter().sum::<f64>());
    }
    let mut base_speeds = Vec::new();
    for record in records(base, task) {
        let choice = &record["choices"][0];
        let mut tokens = 0.0;
        if words {
            for turn in choice["turns"].as_array().unwrap() {
                let with_bos = 1 + turn.as_str().unwrap().split_whitespace().count();
                tokens += (with_bos - 1) as f64;
            }
        } else {
            tokens = floats(&choice["new_tokens"]).iter().sum();
        }
        base_speeds.push(tokens / floats(&choice["wall_time"]).iter().sum::<f64>());
    }
    if speeds.is_empty() {
        return None;
    }
    Some(Naive {
        accepted: average(&accepted),
        ours: average(&speeds),
        base: average(&base_speeds),
    })
}

/// One token a word, a begin-of-sequence token first. It also asks for truncation and padding, as
/// some do.
pub const TOKENIZER: &str = r#"{"version": "1.0",
    "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
    "padding": {"strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "[UNK]"},
    "added_tokens": [{"id": 1, "content": "<s>", "single_word": false, "lstrip": false,
        "rstrip": false, "normalized": false, "special": true}],
    "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
    "post_processor": {"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}},
    "decoder": null,
    "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "<s>": 1}, "unk_token": "[UNK]"}}"#;

/// An answer with one to three turns.
fn any_answer() -> impl Strategy<Value = Answer> {
    let turn = (
        "[a-z]{1,3}( [a-z]{1,3}){0,9}|",
        proptest::collection::vec(1_u64..6, 1..6),
        0.01_f64..3.0,
    );
    (0..CATEGORIES.len(), proptest::collection::vec(turn, 1..4)).prop_map(|(category, turns)| {
        let mut choice = Choice::default();
        for (text, lengths, seconds) in turns {
            choice.turns.push(text);
            choice.decoding_steps.push(lengths.len() as u64);
            choice.new_tokens.push(lengths.iter().sum());
            choice.wall_time.push(seconds);
            choice.accept_lengths.extend(lengths);
        }
        // Of several choices the original takes the first.
        let second = Choice {
            new_tokens: vec![1000; choice.turns.len()],
            ..choice.clone()
        };
        let category = CATEGORIES[category].into();
        Answer {
            category,
            choices: vec![choice, second],
            ..Answer::default()
        }
    })
}

fn any_answers() -> impl Strategy<Value = Vec<Answer>> {
    proptest::collection::vec(any_answer(), 1..30).prop_map(|mut answers| {
        answers
            .iter_mut()
            .zip(1..)
            .for_each(|(answer, id)| answer.question_id = id);
        answers
    })
}

fn close(ours: Option<f64>, naive: f64) -> bool {
    ours.is_some_and(|ours| (ours - naive).abs() <= 1e-12 * naive.abs())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_original_figures_come_out(ours in any_answers(), seconds in 0.5_f64..4.0, words: bool) {
        let files = Files::new();
        let mut base = ours.clone();
        let times = base.iter_mut().flat_map(|it| &mut it.choices[0].wall_time);
        times.for_each(|time| *time *= seconds);
        let (ours, base) = (files.answers("ours", &ours), files.answers("base", &base));
        let tokenizer = words.then(|| files.text("tokenizer.json", TOKENIZER));
        let options = Options { tokenizer, ..Options::default() };
        let report = Report::new(from_ref(&ours), from_ref(&base), &options).unwrap();
        let rows = &report.methods[0].categories;
        for task in TASKS.into_iter().chain(["of our own"]) {
            let Some(naive) = naive(&ours, &base, task, words) else {
                prop_assert!(rows.iter().all(|row| row.category != task));
                continue;
            };
            let row = row(&report.methods[0], task);
            prop_assert!(close(row.mean_accepted_tokens, naive.accepted), "{task} {row:?}");
            prop_assert!(close(row.tokens_per_second, naive.ours), "{task} {row:?}");
            prop_assert!(close(row.base_tokens_per_second, naive.base), "{task} {row:?}");
            if naive.base > 0.0 {
                prop_assert!(close(row.speedup, naive.ours / naive.base), "{task} {row:?}");
            }
            // The paired figure goes by recorded tokens, of which both have the same.
            let paired = row.paired.as_ref().map(|it| (it.speedup * 1e9).round());
            prop_assert!(close(paired, (seconds * 1e9).round()));
        }
        let has_row = |task: &&&str| rows.iter().any(|row| row.category == **task);
        let known = TASKS.iter().filter(has_row).count();
        prop_assert!(rows.len() - known <= 1);
    }

    /// However a run is sliced into files, and in whatever order they are given, the report is the
    /// same.
    #[test]
    fn slices_merge(
        answers in any_answers(),
        of in proptest::collection::vec(0_usize..4, 30),
        turn in 0_usize..4,
    ) {
        let files = Files::new();
        let whole = files.answers_of("whole", "m", &answers);
        let base = files.answers("base", &answers);
        let mut slices: Vec<PathBuf> = (0..4)
            .map(|slice| {
                let its = answers.iter().zip(&of).filter(|(_, of)| **of == slice);
                (slice, its.map(|(answer, _)| answer.clone()).collect::<Vec<_>>())
            })
            .filter(|(_, its)| !its.is_empty())
            .map(|(slice, its)| files.answers_of(&format!("slice{slice}"), "m", &its))
            .collect();
        let turn = turn % slices.len();
        slices.rotate_left(turn);
        let mut whole = report(&[whole], from_ref(&base)).unwrap();
        for sliced in [report(&slices, from_ref(&base)), mean_report(&slices, &[base])] {
            let mut sliced = sliced.unwrap();
            prop_assert_eq!(&sliced.methods[0].files, &slices);
            sliced.methods[0].files.clear();
            whole.methods[0].files.clear();
            // One run has no deviation, which is said where one was asked for.
            let is_said = |notice: &String| notice.contains("there is no deviation");
            let said = sliced.notices.iter().filter(|it| is_said(it)).count();
            prop_assert_eq!(said, usize::from(sliced.mean_report));
            sliced.notices.retain(|notice| !is_said(notice));
            sliced.mean_report = false;
            prop_assert_eq!(&sliced, &whole);
        }
    }
}

#[test]
fn repeated_runs_give_means_and_sample_deviations() {
    let files = Files::new();
    let run = |name: &str, model: &str, seconds: f64| {
        files.answers_of(
            name,
            model,
            &[
                answer(1, "qa", &[2, 2], seconds),
                answer(2, "rag", &[4], seconds),
            ],
        )
    };
    // 4 tokens in 1, 2 and 4 seconds against 4 tokens in 8.
    let runs = [run("a", "m", 1.0), run("b", "m", 2.0), run("c", "m", 4.0)];
    let report = mean_report(&runs, &[run("base", "base", 8.0)]).unwrap();
    let method = &report.methods[0];
    assert_eq!((method.runs, method.questions), (3, 2));
    let overall = row(method, "overall");
    assert_eq!(overall.tokens_per_second, Some((4.0 + 2.0 + 1.0) / 3.0));
    assert_eq!(overall.base_tokens_per_second, Some(0.5));
    assert_eq!(overall.speedup, Some(14.0 / 3.0));
    let deviation = overall.deviation.as_ref().unwrap();
    // Of 8, 4 and 2: mean 14/3, squares 100/9 + 4/9 + 64/9 over 2.
    let expected = (168.0_f64 / 9.0 / 2.0).sqrt();
    assert!((deviation.speedup.unwrap() - expected).abs() < 1e-12);
    assert!((deviation.tokens_per_second.unwrap() - expected / 2.0).abs() < 1e-12);
    assert_eq!(deviation.base_tokens_per_second, Some(0.0));
    assert_eq!(deviation.mean_accepted_tokens, Some(0.0));
    // 24 tokens in 14 seconds against 8 in 16: a question's runs are added up.
    let paired = overall.paired.as_ref().unwrap();
    assert!((paired.speedup - (12.0 / 7.0) / 0.5).abs() < 1e-12);

    // Runs are paired with the base's in order.
    let bases = [
        run("x", "base", 2.0),
        run("y", "base", 4.0),
        run("z", "base", 8.0),
    ];
    let report = mean_report(&runs, &bases).unwrap();
    let overall = row(&report.methods[0], "overall");
    assert_eq!(overall.speedup, Some(2.0));
    assert_eq!(overall.deviation.as_ref().unwrap().speedup, Some(0.0));

    let error = mean_report(&runs, &bases[..2]).unwrap_err();
    assert!(
        matches!(
            error,
            ReportError::RunCount {
                runs: 3,
                base_runs: 2,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_tokenizer_without_a_first_token_is_told() {
    let files = Files::new();
    let one = [answer(1, "qa", &[2], 1.0)];
    let paths = ([files.answers("a", &one)], [files.answers("b", &one)]);
    let mut tokenizer: Value = serde_json::from_str(TOKENIZER).unwrap();
    tokenizer["post_processor"] = Value::Null;
    let options = |text: String| Options {
        tokenizer: Some(files.text("tokenizer.json", text)),
        ..Options::default()
    };
    let report = Report::new(&paths.0, &paths.1, &options(tokenizer.to_string())).unwrap();
    // Five words, and nothing to take off.
    assert_eq!(
        row(&report.methods[0], "qa").base_tokens_per_second,
        Some(5.0)
    );
    assert!(
        report
            .notices
            .iter()
            .any(|notice| notice.contains("puts 0 special tokens around a text"))
    );

    for (text, path) in [
        ("{}", "tokenizer.json"),
        ("", "tokenizer.json"),
        (TOKENIZER, "absent.json"),
    ] {
        let mut options = options(text.into());
        if path == "absent.json" {
            options.tokenizer = Some(files.path(path));
        }
        let message = Report::new(&paths.0, &paths.1, &options)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains(path) && !message.contains('\n'),
            "{message}"
        );
    }
}
