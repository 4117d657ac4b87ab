//! Runs that end before their time, and files that are not as a run leaves them.
#![cfg(unix)]

use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::time::Duration;

use super::*;

const METHODS: [&str; 3] = ["baseline", "logitspec", "prompt-lookup"];
/// Long answers, so that there is a middle of the run to end it in.
const LONG: [&str; 4] = ["-n", "150", "--methods", "baseline,logitspec,prompt-lookup"];

fn lines(set: &Set) -> usize {
    let lines = |method| {
        std::fs::read_to_string(set.answers(method)).map_or(0, |text| text.lines().count())
    };
    METHODS.into_iter().map(lines).sum()
}

/// Begins a run and returns when there are `answers` in all.
fn run_until(set: &Set, answers: usize) -> Child {
    begin(set, &[], answers)
}

fn begin(set: &Set, more: &[&str], answers: usize) -> Child {
    let mut child = set.command(&[&LONG[..], more].concat()).spawn().unwrap();
    while lines(set) < answers {
        assert_eq!(
            child.try_wait().unwrap(),
            None,
            "it ended before there were {answers} answers"
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    child
}

#[test]
fn a_run_that_is_killed_twice_ends_like_one_that_is_not() {
    let undisturbed = Set::of(8);
    undisturbed.done(&LONG);

    let set = Set::of(8);
    for answers in [5, 13] {
        let mut child = run_until(&set, answers);
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(status.signal(), Some(9), "it was killed in the middle");
        assert!(lines(&set) < 24);
    }
    // What a kill in the middle of a write leaves.
    let path = set.answers("logitspec");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, &text[..text.len() - 40]).unwrap();
    let cut = text.lines().count();

    let output = set.done(&LONG);
    let note = format!("tiny-logitspec-temp-0.0.jsonl:{cut}: the last line is half a record");
    assert!(stderr(&output).contains(&note), "{}", stderr(&output));
    for method in METHODS {
        let (ours, theirs) = (
            timeless(&set.answers(method)),
            timeless(&undisturbed.answers(method)),
        );
        assert_eq!(ours.len(), 8);
        assert_eq!(ours, theirs, "{method}");
        let order: Vec<i64> = read_answers(set.answers(method))
            .unwrap()
            .answers
            .iter()
            .map(|it| it.question_id)
            .collect();
        assert_eq!(order, (81..89).collect::<Vec<_>>());
    }
}

fn interrupt(child: Child) -> Output {
    let interrupt = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(interrupt.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    output
}

#[test]
fn a_run_that_began_afresh_goes_on_without_that_flag() {
    let set = Set::of(8);
    let output = interrupt(begin(&set, &["--overwrite"], 4));
    let advice = "the same command without --overwrite continues where it stopped";
    assert!(stderr(&output).contains(advice), "{}", stderr(&output));
}

#[test]
fn ctrl_c_finishes_the_answer_in_progress_and_keeps_all() {
    let set = Set::of(8);
    let output = interrupt(run_until(&set, 4));
    assert!(stderr(&output).contains("the same command continues where it stopped"));
    assert!(
        stdout(&output).contains("logitspec"),
        "the figures so far are shown"
    );
    let kept = lines(&set);
    assert!((4..24).contains(&kept), "{kept}");
    let kept_records: usize = METHODS
        .iter()
        .map(|method| timeless(&set.answers(method)).len())
        .sum();
    assert_eq!(kept_records, kept, "nothing is half");

    let output = set.done(&LONG);
    assert!(stderr(&output).contains(&format!("{kept} of 24 answers already exist")));
    assert_eq!(lines(&set), 24);
}

#[test]
fn a_foreign_line_is_refused_and_a_double_one_told() {
    let set = Set::of(3);
    set.done(&[]);
    let path = set.answers("logitspec");
    let text = std::fs::read_to_string(&path).unwrap();
    let all: Vec<&str> = text.lines().collect();

    let foreign = [all[0], r#"{"note": "mine"}"#, all[1]].join("\n") + "\n";
    std::fs::write(&path, &foreign).unwrap();
    let place = "tiny-logitspec-temp-0.0.jsonl:2: not an answer record";
    assert_refused(&set.bench(&[]), &[place, "correct or remove that line"]);
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        foreign,
        "it is left as it was"
    );

    std::fs::write(&path, [all[1], all[0], all[1]].join("\n") + "\n").unwrap();
    let output = set.done(&[]);
    let note =
        "tiny-logitspec-temp-0.0.jsonl:3: question 82 is on line 1 too; the later record counts";
    assert!(stderr(&output).contains(note), "{}", stderr(&output));
    assert_eq!(timeless(&path).len(), 3);
}

#[test]
fn a_calibration_that_came_between_is_another_setting() {
    let set = Set::of(1);
    let run = |args: &[&str]| {
        let mut command = logitspec(args, set.0.path());
        command.env("LOGITSPEC_CACHE", set.path("cache"));
        command.output().unwrap()
    };
    let model = model_path("tiny-llama.gguf");
    let engine = ["-m", &model, "-t", "1", "-fa", "off"];
    let bench = |more: &[&str]| {
        let common = ["bench", "--bench-name", "set", "--model-id", "tiny"];
        let short = ["--template", "none", "-n", "4", "--warmup", "0"];
        run(&[&common[..], &engine, &short, more].concat())
    };
    let output = bench(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let measured = [
        &["calibrate", "--repeats", "1", "--max-tokens", "4"],
        &engine[..],
    ]
    .concat();
    let output = run(&measured);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_refused(
        &bench(&[]),
        &["tiny-logitspec", "calibration was none, is "],
    );
    // It is nothing to methods that do not weigh what a pass costs.
    assert_eq!(bench(&["--methods", "baseline"]).status.code(), Some(0));
    let output = bench(&["--methods", "full=logitspec", "--fill-tree"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let manifest = logitspec::bench::Manifest::path_beside(set.answers("full"));
    let manifest = std::fs::read_to_string(manifest).unwrap();
    assert!(!manifest.contains("calibration"), "{manifest}");
}

#[test]
fn other_settings_do_not_mix() {
    let set = Set::of(2);
    set.done(&[]);
    let before = timeless(&set.answers("baseline"));
    let output = set.bench(&["-n", "25", "--seed", "5"]);
    assert_refused(
        &output,
        &[
            "max-new-tokens was 24, is 25",
            "seed was 0, is 5",
            "--overwrite",
        ],
    );
    let question = set.path("data/set/question.jsonl");
    let questions = std::fs::read_to_string(&question).unwrap();
    std::fs::write(&question, questions.replace("three", "four")).unwrap();
    assert_refused(&set.bench(&[]), &["questions-sha256 was"]);
    std::fs::write(&question, questions).unwrap();
    assert_eq!(timeless(&set.answers("baseline")), before);
    // The drafting flags are not the baseline's.
    let fewer = ["--draft-tree-capacity", "8"];
    assert_refused(
        &set.bench(&fewer),
        &["tiny-logitspec", "draft-tree-capacity was 64, is 8"],
    );
    set.done(&[&fewer[..], &["--methods", "baseline"]].concat());
    set.done(&["-n", "3", "--overwrite"]);
    assert!(
        timeless(&set.answers("baseline"))
            .values()
            .all(|it| it.choices[0].new_tokens[0] <= 3)
    );
}
