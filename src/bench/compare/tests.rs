use std::cell::RefCell;
use std::collections::VecDeque;

use super::*;

/// Answers with these seconds and texts, in turn, and writes down its name.
struct Fake<'t> {
    name: &'static str,
    tokens: u64,
    answers: VecDeque<(f64, &'static str)>,
    asked: &'t RefCell<Vec<String>>,
}

impl Answerer for Fake<'_> {
    fn answer(&mut self, turns: &[String], _choice: u32) -> Result<Choice, AskError> {
        self.asked
            .borrow_mut()
            .push(format!("{} {}", self.name, turns[0]));
        let Some((seconds, text)) = self.answers.pop_front() else {
            return Err(AskError::Unaskable("too long".into()));
        };
        Ok(Choice {
            turns: vec![text.into()],
            new_tokens: vec![self.tokens],
            wall_time: vec![seconds],
            accept_lengths: vec![self.tokens / 2; 2],
            ..Choice::default()
        })
    }
}

fn prompts(names: &[&str]) -> Vec<Prompt> {
    let prompt = |name: &&str| Prompt {
        name: (*name).into(),
        turns: vec![format!("{name}?")],
    };
    names.iter().map(prompt).collect()
}

/// Compares two answerers by the seconds and texts of their answers, the first of which is the
/// warm-up.
fn compared(
    names: &[&str],
    runs: u32,
    plain: &[(f64, &'static str)],
    fast: &[(f64, &'static str)],
) -> (Result<Answers, CompareError>, Vec<String>) {
    let asked = RefCell::new(Vec::new());
    let fake = |name, answers: &[(f64, &'static str)]| {
        let answers = answers.iter().copied().collect();
        let answerer: Box<dyn Answerer> = Box::new(Fake {
            name,
            tokens: 10,
            answers,
            asked: &asked,
        });
        (name.to_owned(), answerer)
    };
    let mut answerers = [fake("plain", plain), fake("fast", fast)];
    let stop = AtomicBool::new(false);
    let answers = compare(&prompts(names), &mut answerers, runs, &stop, &mut || {});
    drop(answerers);
    (answers, asked.into_inner())
}

#[test]
fn figures_are_medians_over_runs_and_the_warm_up_does_not_count() {
    let plain = [
        (9.0, "x"),
        (8.0, "a"),
        (4.0, "b"),
        (2.0, "a"),
        (4.0, "b"),
        (2.0, "a"),
        (4.0, "b"),
    ];
    let fast = [
        (9.0, "x"),
        (0.5, "a"),
        (4.0, "b"),
        (1.0, "a"),
        (4.0, "c"),
        (1.0, "a"),
        (4.0, "b"),
    ];
    let (answers, _) = compared(&["one", "two"], 3, &plain, &fast);
    let figures = answers.unwrap().figures();
    let one = &figures.prompts[0].answers;
    assert_eq!(figures.prompts[0].name, "one");
    assert_eq!(
        (one[0].tokens_per_second, one[1].tokens_per_second),
        (5.0, 10.0)
    );
    assert_eq!((one[0].ratio, one[1].ratio), (1.0, 2.0));
    assert_eq!(one[1].seconds, [0.5, 1.0, 1.0]);
    assert_eq!((one[1].new_tokens, one[1].mean_accepted_tokens), (10, 5.0));
    let same = |prompt: usize| figures.prompts[prompt].answers[1].same_text;
    assert!(same(0) && !same(1), "one of its texts is another");
    assert!(figures.prompts[1].answers[0].same_text);

    let [plain, fast] = &figures.overall[..] else {
        panic!("two answerers")
    };
    assert_eq!(
        (plain.tokens_per_second, fast.tokens_per_second),
        (20.0 / 6.0, 20.0 / 5.0)
    );
    assert!((fast.ratio - 1.2).abs() < 1e-9 && (plain.ratio - 1.0).abs() < 1e-9);
    // The runs took 12, 6 and 6 seconds, and 4.5, 5 and 5.
    let [low, high] = fast.ratio_of_runs;
    assert!(
        (low - 1.2).abs() < 1e-9 && (high - 12.0 / 4.5).abs() < 1e-9,
        "{low} {high}"
    );
    assert!(!fast.same_text && plain.same_text);
}

#[test]
fn the_answerers_take_turns_at_being_first() {
    let answers = [(1.0, "a"); 5];
    let (_, asked) = compared(&["one", "two"], 2, &answers, &answers);
    let expected = [
        "plain one?",
        "fast one?",
        "plain one?",
        "fast one?",
        "fast two?",
        "plain two?",
        "fast one?",
        "plain one?",
        "plain two?",
        "fast two?",
    ];
    assert_eq!(asked, expected);
}

#[test]
fn a_prompt_without_an_answer_is_named() {
    let answers = [(1.0, "a"); 5];
    let (failed, _) = compared(&["one", "two"], 2, &answers, &answers[..2]);
    let error = failed.unwrap_err().to_string();
    assert_eq!(error, "fast cannot answer the prompt \"two\": too long");
}

#[test]
fn a_stop_is_heard_before_the_next_answer() {
    let stop = AtomicBool::new(true);
    let stopped = compare(&prompts(&["one"]), &mut [], 1, &stop, &mut || {});
    assert!(stopped.is_ok(), "there is nobody to ask");
    let asked = RefCell::new(Vec::new());
    let fake = Fake {
        name: "plain",
        tokens: 1,
        answers: VecDeque::new(),
        asked: &asked,
    };
    let mut answerers: [(String, Box<dyn Answerer + '_>); 1] = [("plain".into(), Box::new(fake))];
    let stopped = compare(&prompts(&["one"]), &mut answerers, 1, &stop, &mut || {});
    assert!(matches!(stopped, Err(CompareError::Stopped)));
    drop(answerers);
    assert!(asked.borrow().is_empty());
}
