//! `--history`, `--corpus` and `--ranked`.

use super::*;

/// Three times the same question.
fn same_thrice() -> Set {
    let line = |id: u32| {
        let turns = ["one two three one two three one two"];
        json!({"question_id": id, "category": "qa", "turns": turns}).to_string() + "\n"
    };
    Set::with(&[1, 2, 3].map(line).concat())
}

/// Decode steps of every answer in a file.
fn steps(path: &Path) -> Vec<u64> {
    let answers = read_answers(path).unwrap().answers;
    let of = |answer: &Answer| answer.choices[0].decoding_steps[0];
    answers.iter().map(of).collect()
}

fn tokens(path: &Path) -> Vec<Option<Vec<Vec<u32>>>> {
    let answers = read_answers(path).unwrap().answers;
    let of = |answer: &Answer| answer.choices[0].token_ids.clone();
    answers.iter().map(of).collect()
}

#[test]
fn a_history_holds_the_questions_before_and_no_others() {
    let set = same_thrice();
    let methods = "baseline,logitspec,suffix";
    set.done(&["--methods", methods]);
    let alone = steps(&set.answers("logitspec"));
    assert!(alone.iter().all(|&it| it == alone[0]), "{alone:?}");
    // Neither the warming up, whose question is the same, nor the first repeat is remembered.
    let flags = ["--history", "--overwrite", "--repeat", "2"];
    let mut args = [&["--methods", methods], &flags[..], &["--warmup", "1"]].concat();
    set.done(&args);
    let again = set.path("data/set/model_answer/tiny-logitspec-temp-0.0-repeat-1.jsonl");
    for path in [set.answers("logitspec"), again] {
        let with = steps(&path);
        assert_eq!(with[0], alone[0], "{path:?}");
        assert!(with[1] < alone[0] && with[2] < alone[0], "{with:?}");
    }
    for method in ["logitspec", "suffix"] {
        let said = tokens(&set.answers(method));
        assert_eq!(said, tokens(&set.answers("baseline")), "{method}");
    }
    let base = set.answers("baseline");
    let ours = set.answers("logitspec");
    let compared = [&ours, &base].map(|it| it.to_str().unwrap());
    let report = stdout(&set.report(&[compared[0], "--base", compared[1], "--json"]));
    let report: Value = serde_json::from_str(&report).unwrap();
    let history = &report["methods"][0]["sources"]["history"];
    assert!(history["accepted"].as_u64() > Some(10), "{report}");
    assert!(history["drafted"].as_u64() >= history["accepted"].as_u64());
    let table = stdout(&set.report(&[compared[0], "--base", compared[1]]));
    assert!(table.contains("Where drafts came from"), "{table}");
    let remembered = steps(&set.answers("suffix"));
    assert!(remembered[1] < remembered[0], "{remembered:?}");

    args.retain(|&it| it != "--overwrite");
    let output = set.done(&args);
    let said = stderr(&output);
    assert!(said.contains("are not in the history"), "{said}");
    assert_refused(
        &set.bench(&["--history", "--jobs", "2"]),
        &["--history", "--jobs"],
    );
}

#[test]
fn a_corpus_is_copied_from_and_changes_no_token() {
    let set = same_thrice();
    set.done(&["--methods", "baseline,logitspec"]);
    let alone = steps(&set.answers("logitspec"));
    let said = read_answers(set.answers("baseline")).unwrap();
    let text = &said.answers[0].choices[0].turns[0];
    let prompt = "one two three one two three one two";
    std::fs::write(set.path("text.txt"), format!("{prompt}{text}")).unwrap();
    let build = ["corpus", "build", "text.txt", "-o", "corpus", "-m"];
    let tiny = model_path("tiny-llama.gguf");
    let built = logitspec(&[&build[..], &[&tiny]].concat(), set.0.path());
    assert!({ built }.status().unwrap().success());

    let resumed = set.bench(&["--corpus", "corpus"]);
    assert_refused(&resumed, &["corpus"]);
    let flags = ["--corpus", "corpus", "--overwrite"];
    set.done(&[&["--methods", "baseline,logitspec"], &flags[..]].concat());
    assert!(steps(&set.answers("logitspec"))[0] < alone[0]);
    assert_eq!(
        tokens(&set.answers("logitspec")),
        tokens(&set.answers("baseline"))
    );
    // Another corpus of the same name is another setting.
    std::fs::write(set.path("text.txt"), "something else").unwrap();
    let built = logitspec(&[&build[..], &[&tiny]].concat(), set.0.path());
    assert!({ built }.status().unwrap().success());
    let other = set.bench(&["--methods", "baseline,logitspec", "--corpus", "corpus"]);
    assert_refused(&other, &["corpus"]);
    let idle = set.done(&[&["--methods", "suffix"], &flags[..]].concat());
    assert!(stderr(&idle).contains("--corpus does nothing for suffix"));
    assert_refused(
        &set.bench(&["--corpus", "absent", "--overwrite"]),
        &["absent"],
    );
}

#[test]
fn a_pool_file_is_begun_with_by_every_question_and_left_as_it_is() {
    let set = same_thrice();
    set.done(&["--methods", "logitspec"]);
    let alone = steps(&set.answers("logitspec"));
    let pool = set.path("pool");
    let prompt = "one two three one two three one two";
    let ask = [
        "generate", "--raw", "-t", "1", "-fa", "off", "-n", "24", "-p", prompt,
    ];
    let keep = ["--pool-file", pool.to_str().unwrap()];
    let tiny = model_path("tiny-llama.gguf");
    let kept = logitspec(&[&ask[..], &keep, &["-m", &tiny]].concat(), set.0.path());
    assert!({ kept }.output().unwrap().status.success());
    let before = std::fs::read(&pool).unwrap();
    set.done(&[&["--methods", "logitspec", "--overwrite"], &keep[..]].concat());
    let with = steps(&set.answers("logitspec"));
    assert!(with[0] < alone[0], "{with:?} {alone:?}");
    assert!(with.iter().all(|&it| it == with[0]), "{with:?}");
    assert_eq!(std::fs::read(&pool).unwrap(), before);
}

#[test]
fn inputs_are_not_written_over() {
    let set = same_thrice();
    let questions = set.path("data/set/question.jsonl");
    let before = std::fs::read(&questions).unwrap();
    let name = questions.to_str().unwrap();
    let answers = [
        "--methods",
        "baseline",
        "--overwrite",
        "--answer-file",
        name,
    ];
    assert_refused(&set.bench(&answers), &["that is the question file"]);
    set.done(&["--methods", "baseline"]);
    let base = set.answers("baseline");
    let base = base.to_str().unwrap();
    let page = ["report", base, "--base", base, "--html", name];
    assert_refused(
        &logitspec(&page, set.0.path()).output().unwrap(),
        &["--html", "is not an HTML page"],
    );
    assert_eq!(std::fs::read(&questions).unwrap(), before);
}

#[test]
fn ranked_candidates_are_recorded_and_replayed() {
    let set = same_thrice();
    set.done(&["--methods", "baseline", "--ranked", "5"]);
    let answers = read_answers(set.answers("baseline")).unwrap().answers;
    for answer in &answers {
        let choice = &answer.choices[0];
        let (ids, ranked) = (choice.token_ids.as_ref(), choice.ranked.as_ref());
        for (&token, row) in ids.unwrap()[0].iter().zip(&ranked.unwrap()[0]) {
            assert_eq!((row.len(), row[0].0), (5, token));
            assert!(row.is_sorted_by(|a, b| a.1 >= b.1), "{row:?}");
        }
        assert_eq!(ids.unwrap()[0].len(), ranked.unwrap()[0].len());
    }
    let drafted = |path: &Path| {
        let path = path.to_str().unwrap().to_owned();
        let replay = [
            "simulate",
            "--questions",
            "data/set/question.jsonl",
            "--answers",
            &path,
            "-m",
            &model_path("tiny-llama.gguf"),
            "--template",
            "none",
            "--methods",
            "token-recycling",
            "--json",
        ];
        let report = object(&logitspec(&replay, set.0.path()).output().unwrap());
        report["methods"][0]["categories"][0]["drafted_per_step"]
            .as_f64()
            .unwrap()
    };
    assert!(drafted(&set.answers("baseline")) > 0.0);
    let answers = set.answers("baseline");
    let read_with = |model: &str, template: &str| {
        let replay = [
            "simulate",
            "--questions",
            "data/set/question.jsonl",
            "--answers",
            answers.to_str().unwrap(),
            "-m",
            model,
            "--template",
            template,
            "--methods",
            "baseline",
        ];
        stderr(&logitspec(&replay, set.0.path()).output().unwrap())
    };
    let made_with = model_path("tiny-llama.gguf");
    assert_eq!(read_with(&made_with, "none"), "");
    let copy = set.0.path().join("copy.gguf");
    std::fs::copy(&made_with, &copy).unwrap();
    let note = read_with(copy.to_str().unwrap(), "none");
    assert!(note.contains("tiny-llama.gguf, read with "), "{note}");
    let note = read_with(&made_with, "vicuna");
    assert!(
        note.contains("made with --template none, read with --template vicuna"),
        "{note}"
    );
    set.done(&["--methods", "baseline", "--overwrite"]);
    let answers = read_answers(set.answers("baseline")).unwrap().answers;
    assert_eq!(answers[0].choices[0].ranked, None);
    assert!(drafted(&set.answers("baseline")).abs() < f64::EPSILON);
}
