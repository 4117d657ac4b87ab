//! Bad input: one clear line, or a question left out for all to see.

use super::*;

const GOOD: &str = r#"{"question_id": 1, "category": "qa", "turns": ["one two one two"]}"#;

#[test]
fn question_files_that_are_none_are_refused_with_their_line() {
    let place = "data/set/question.jsonl:2:";
    let cases = [
        ("nonsense", place),
        (
            r#"{"question_id": 2, "turns": ["x"]}"#,
            "missing field `category`",
        ),
        (
            r#"{"question_id": 2, "category": "qa"}"#,
            "missing field `turns`",
        ),
        (
            r#"{"question_id": 2, "category": "qa", "turns": "x"}"#,
            place,
        ),
        (
            r#"{"question_id": 1, "category": "qa", "turns": ["another"]}"#,
            "belongs to another question on line 1",
        ),
    ];
    for (line, words) in cases {
        let set = Set::with(&format!("{GOOD}\n{line}\n"));
        assert_refused(&set.bench(&[]), &[place, words]);
        assert!(
            !set.path("data/set/model_answer").exists(),
            "nothing was begun"
        );
    }
    let set = Set::with("");
    assert_refused(&set.bench(&[]), &["question.jsonl", "no question"]);
}

#[test]
fn questions_that_cannot_be_asked_are_left_out_and_listed() {
    let long = "word ".repeat(20_000);
    let lines = [
        GOOD.to_owned(),
        json!({"question_id": 2, "category": "qa", "turns": ["  "]}).to_string(),
        json!({"question_id": 3, "category": "qa", "turns": []}).to_string(),
        json!({"question_id": 4, "category": "qa", "turns": [long]}).to_string(),
        json!({"question_id": 5, "category": "qa", "turns": ["one two", long]}).to_string(),
        GOOD.to_owned(),
    ];
    let set = Set::with(&lines.join("\n"));
    let output = set.done(&["-c", "2000", "--json"]);
    let notes = stderr(&output);
    for note in [
        "question.jsonl:2: question 2 left out: turn 1 of 1 is empty",
        "question.jsonl:3: question 3 left out: it has no turns",
        "question.jsonl:6: question 1 left out: the same question is on line 1",
        "question 4 left out for baseline: turn 1 of 1: the text has",
        "question 5 left out for logitspec: turn 2 of 2: the text has",
    ] {
        assert!(notes.contains(note), "{note:?} is not in {notes}");
    }
    assert_eq!(
        timeless(&set.answers("logitspec"))
            .keys()
            .copied()
            .collect::<Vec<_>>(),
        [1]
    );
    assert_eq!(object(&output)["methods"][1]["skipped"], 5);
    let list = set.path("data/set/model_answer/tiny-logitspec-temp-0.0.skipped.json");
    let list: Value = serde_json::from_str(&std::fs::read_to_string(list).unwrap()).unwrap();
    let ids: Vec<i64> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["question_id"].as_i64().unwrap())
        .collect();
    assert_eq!(ids, [1, 2, 3, 4, 5]);
    // They stay on the list, and are not tried again.
    let again = set.done(&["-c", "2000", "--json"]);
    assert_eq!(object(&again)["methods"][1]["skipped"], 5);
    assert!(
        stderr(&again).contains("6 of 6 answers already exist"),
        "{}",
        stderr(&again)
    );
}

#[test]
fn a_turn_of_a_hundred_thousand_characters_stops_nothing() {
    let long = "one two ".repeat(12_500);
    assert_eq!(long.len(), 100_000);
    let line = json!({"question_id": 2, "category": "qa", "turns": [long]});
    let set = Set::with(&format!("{line}\n{GOOD}\n"));
    // The context grows with the longest question, up to what the model was trained on: 2,048
    // tokens.
    let output = set.done(&[]);
    let note = "question 2 left out for baseline: turn 1 of 1: the text has 50002 tokens, but the \
                context holds 2048";
    assert!(stderr(&output).contains(note), "{}", stderr(&output));
    assert_eq!(timeless(&set.answers("logitspec")).len(), 1);
}

#[cfg(unix)]
#[test]
fn devices_are_no_files() {
    let set = Set::of(1);
    // It can be read for ever.
    let answers = ["--methods", "baseline", "--answer-file", "/dev/zero"];
    assert_refused(&set.bench(&answers), &["/dev/zero: not a regular file"]);
    assert_refused(
        &set.bench(&["--questions", "/dev/zero"]),
        &["/dev/zero: not a regular file"],
    );
    let report = ["report", "/dev/zero", "--base", "/dev/zero"];
    let output = logitspec(&report, set.0.path()).output().unwrap();
    assert_refused(&output, &["/dev/zero: not a regular file"]);
}

#[test]
fn flags_that_make_no_run_are_refused() {
    let set = Set::of(2);
    let cases: [(&[&str], &[&str]); 15] = [
        (
            &["--bench-name", "nosuch"],
            &["nosuch", "--data-dir data", "scripts/fetch_data.sh"],
        ),
        (
            &["--questions", "nosuch.jsonl"],
            &["nosuch.jsonl", "cannot read"],
        ),
        (
            &["--questions", "x", "--bench_name", "y"],
            &["cannot be used with"],
        ),
        (&["--methods", "nosuch"], &["nosuch", "baseline"]),
        (&["--methods", "a/b=logitspec"], &["a/b", "file name"]),
        (
            &["--methods", "logitspec,logitspec"],
            &["twice", "again=logitspec"],
        ),
        (
            &["--answer-file", "one.jsonl"],
            &["--answer-file", "2 methods"],
        ),
        (
            &["--question-begin", "2"],
            &["--question-begin 2", "2 in the file"],
        ),
        (
            &["--answer-file", "data", "--methods", "baseline"],
            &["data: not a regular file"],
        ),
        (&["--questions", "data"], &["data: not a regular file"]),
        (&["--jobs", "0"], &["--jobs"]),
        (&["-n", "0"], &["--max-new-tokens"]),
        (&["--llama-server-args", "--x"], &["--llama-server"]),
        (
            &["--llama-server", "/no/such/program"],
            &["/no/such/program", "--llama-server"],
        ),
        (&["--llama-server", "x", "--jobs", "2"], &["--jobs"]),
    ];
    for (args, words) in cases {
        let output = set.bench(args);
        let line = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {line}");
        let error = line.lines().last().unwrap();
        assert!(error.starts_with("error: "), "{args:?}: {line}");
        for word in words {
            assert!(error.contains(word), "{args:?}: {word:?} is not in {line}");
        }
    }
    let nothing = logitspec(
        &["bench", "-m", &model_path("tiny-llama.gguf")],
        set.0.path(),
    )
    .output()
    .unwrap();
    assert_refused(&nothing, &["--bench-name", "--questions"]);
}

#[test]
fn places_for_answers_that_are_none_are_refused() {
    let set = Set::with(GOOD);
    let folder = set.path("data/set/question.jsonl");
    assert_refused(
        &set.bench(&["--answer-dir", folder.to_str().unwrap()]),
        &["question.jsonl", "--answer-dir"],
    );
    let diary = set.path("diary");
    std::fs::write(&diary, "Dear diary,").unwrap();
    let name = diary.to_str().unwrap();
    assert_refused(
        &set.bench(&[
            "--methods",
            "baseline",
            "--answer-file",
            name,
            "--overwrite",
        ]),
        &[name, "not an answer file", "another file"],
    );
    assert_eq!(std::fs::read(&diary).unwrap(), b"Dear diary,");
}

#[test]
fn question_sets_are_found_where_the_program_was_built() {
    let elsewhere = tempfile::tempdir().unwrap();
    let bench = |args: &[&str]| {
        let mut command = program::command(&["bench", "--bench-name", "demo_bench", "-n", "2"]);
        command
            .args(["-t", "1", "--question-end", "1", "--methods", "baseline"])
            .args(args)
            .current_dir(elsewhere.path())
            .output()
            .unwrap()
    };
    let output = bench(&[]);
    let built = std::path::Path::new(env!("CARGO_BIN_EXE_logitspec")).canonicalize();
    let tree = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).canonicalize();
    // A program that was built into a folder elsewhere has none beside it.
    if built.unwrap().starts_with(tree.unwrap()) {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let answers = elsewhere.path().join("data/demo_bench/model_answer");
        let files = std::fs::read_dir(answers).unwrap().count();
        assert_eq!(files, 2, "here, not beside the questions");
    } else {
        assert_refused(&output, &["data/demo_bench", "where the program was built"]);
    }
    let output = bench(&["--data-dir", "here"]);
    assert_refused(&output, &["here/demo_bench", "--data-dir here?"]);
}

#[test]
fn no_answers_are_lost_if_another_file_cannot_be_started_afresh() {
    let set = Set::of(1);
    set.done(&[]);
    let [base, ours] = ["baseline", "logitspec"].map(|method| set.answers(method));
    let kept = std::fs::read(&base).unwrap();
    std::fs::write(&ours, "Dear diary,").unwrap();
    assert_refused(&set.bench(&["--overwrite"]), &["not an answer file"]);
    assert_eq!(std::fs::read(&base).unwrap(), kept);
}
