//! The files of a benchmark, whole and broken in every way that a run or an editor can break them.

use std::fs;
use std::path::PathBuf;

use logitspec::bench::{
    Answer, AnswerError, AnswerFile, Choice, Manifest, ManifestError, ModelFile, QuestionError,
    Timings, read_answers, read_questions,
};
use proptest::prelude::*;
use tempfile::TempDir;

fn file_with(text: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file.jsonl");
    fs::write(&path, text).unwrap();
    (folder, path)
}

fn answer(question_id: i64, text: &str) -> Answer {
    Answer {
        question_id,
        category: "qa".into(),
        answer_id: format!("id-{question_id}"),
        model_id: "m-baseline".into(),
        choices: vec![Choice {
            index: 0,
            turns: vec![text.into()],
            decoding_steps: vec![2],
            new_tokens: vec![5],
            wall_time: vec![0.25],
            accept_lengths: vec![3, 2],
            ..Choice::default()
        }],
        tstamp: 1.5,
        ..Answer::default()
    }
}

fn line(question_id: i64, text: &str) -> String {
    serde_json::to_string(&answer(question_id, text)).unwrap() + "\n"
}

// ---- questions

const GOOD: &str =
    r#"{"question_id": 1, "category": "qa", "turns": ["Who?"], "reference": ["me"]}"#;

#[test]
fn a_question_keeps_its_other_keys() {
    let (_folder, path) = file_with(format!("\u{feff}{GOOD}\r\n\n"));
    let set = read_questions(&path).unwrap();
    assert_eq!(set.questions.len(), 1);
    assert_eq!(
        set.questions[0].extra["reference"],
        serde_json::json!(["me"])
    );
    assert!(set.skipped.is_empty());
}

#[test]
fn a_line_that_is_no_question_is_named() {
    let cases = [
        ("{not json", "key must be a string"),
        ("[1, 2]", "invalid type: sequence"),
        (
            r#"{"category": "qa", "turns": ["x"]}"#,
            "missing field `question_id`",
        ),
        (
            r#"{"question_id": 2, "turns": ["x"]}"#,
            "missing field `category`",
        ),
        (
            r#"{"question_id": 2, "category": "qa"}"#,
            "missing field `turns`",
        ),
        (
            r#"{"question_id": "two", "category": "qa", "turns": ["x"]}"#,
            "invalid type: string \"two\"",
        ),
        (
            r#"{"question_id": 2, "category": "qa", "turns": "x"}"#,
            "expected a sequence",
        ),
        (
            r#"{"question_id": 2, "category": "qa", "turns": [3]}"#,
            "expected a string",
        ),
        (
            r#"{"question_id": 2, "category": "qa", "turns": ["cut o"#,
            "EOF while parsing a string",
        ),
    ];
    for (bad, reason) in cases {
        let (_folder, path) = file_with(format!("{GOOD}\n\n{bad}\n"));
        let message = read_questions(&path).unwrap_err().to_string();
        let start = format!("{}:3: not a question: ", path.display());
        assert!(message.starts_with(&start), "{message}");
        assert!(message.contains(reason), "{message}");
        assert!(
            !message.contains('\n') && !message.contains("line 1"),
            "{message}"
        );
    }
}

#[test]
fn a_line_that_is_not_utf8_is_named() {
    let mut bytes = GOOD.as_bytes().to_vec();
    bytes.extend_from_slice(b"\n{\"question_id\": 2, \"category\": \"\xff\", \"turns\": [\"x\"]}");
    let (_folder, path) = file_with(bytes);
    assert!(matches!(
        read_questions(&path),
        Err(QuestionError::Line { line: 2, .. })
    ));
}

#[test]
fn a_question_without_text_is_left_out_and_said() {
    for (turns, reason) in [
        ("[]", "it has no turns"),
        (r#"["", "x"]"#, "turn 1 of 2 is empty"),
        (r#"["x", " \n"]"#, "turn 2 of 2 is empty"),
    ] {
        let bad = format!(r#"{{"question_id": 2, "category": "qa", "turns": {turns}}}"#);
        let (_folder, path) = file_with(format!("{GOOD}\n{bad}\n"));
        let set = read_questions(&path).unwrap();
        assert_eq!(set.questions.len(), 1);
        let said: Vec<String> = set.skipped.iter().map(ToString::to_string).collect();
        assert_eq!(
            said,
            [format!(
                "{}:2: question 2 left out: {reason}",
                path.display()
            )]
        );
    }
}

#[test]
fn a_repeated_question_is_left_out_but_a_shared_number_is_refused() {
    let (_folder, path) = file_with(format!("{GOOD}\n{GOOD}\n"));
    let set = read_questions(&path).unwrap();
    assert_eq!((set.questions.len(), set.skipped.len()), (1, 1));
    assert_eq!(set.skipped[0].line, 2);
    assert!(set.skipped[0].reason.contains("line 1"));

    let (_folder, path) = file_with(format!("{GOOD}\n{}\n", GOOD.replace("Who?", "What?")));
    let error = read_questions(&path).unwrap_err();
    assert!(
        matches!(
            error,
            QuestionError::SameId {
                line: 2,
                first_line: 1,
                question_id: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_turn_may_be_long() {
    let long = "é".repeat(100_000);
    let (_folder, path) = file_with(GOOD.replace("Who?", &long));
    assert_eq!(
        read_questions(&path).unwrap().questions[0].turns,
        [long.as_str()]
    );

    // A long value in the wrong place is not repeated in the message.
    let (_folder, path) = file_with(GOOD.replace(r#"["Who?"]"#, &format!("{long:?}")));
    assert!(read_questions(&path).unwrap_err().to_string().len() < 600);
}

#[test]
fn a_set_without_questions_is_refused() {
    for text in [
        "",
        "\n\n",
        r#"{"question_id": 2, "category": "qa", "turns": []}"#,
    ] {
        let (_folder, path) = file_with(text);
        let error = read_questions(&path).unwrap_err();
        assert!(matches!(error, QuestionError::Empty { .. }), "{error}");
    }
    let (_folder, path) = file_with("");
    let missing = path.with_file_name("absent.jsonl");
    assert!(
        read_questions(&missing)
            .unwrap_err()
            .to_string()
            .contains("absent.jsonl")
    );
}

proptest! {
    #[test]
    fn a_slice_is_what_a_slice_of_a_list_is(
        len in 1_i64..20, begin in proptest::option::of(0_usize..25), end in proptest::option::of(0_usize..25)
    ) {
        let text: String =
            (0..len).map(|id| format!("{{\"question_id\":{id},\"category\":\"c\",\"turns\":[\"t\"]}}\n")).collect();
        let (_folder, path) = file_with(text);
        let mut set = read_questions(&path).unwrap();
        set.slice(begin, end);
        let expected: Vec<i64> =
            (0..len).skip(begin.unwrap_or(0)).take(end.unwrap_or(99).saturating_sub(begin.unwrap_or(0))).collect();
        prop_assert_eq!(set.questions.iter().map(|q| q.question_id).collect::<Vec<_>>(), expected);
    }
}

// ---- answers

#[test]
fn a_record_has_the_keys_of_the_format_in_their_order() {
    let text = line(7, "yes");
    assert_eq!(
        text,
        "{\"question_id\":7,\"category\":\"qa\",\"answer_id\":\"id-7\",\"model_id\":\"m-baseline\",\"choices\":\
         [{\"index\":0,\"turns\":[\"yes\"],\"decoding_steps\":[2],\"new_tokens\":[5],\"wall_time\":[0.25],\
         \"accept_lengths\":[3,2]}],\"tstamp\":1.5}\n"
    );
}

#[test]
fn records_come_back_as_they_were_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deeper").join("a.jsonl");
    let mut full = answer(3, "a \"quote\", a\nline end, an é, a \u{2028}");
    full.method = Some("logitspec".into());
    full.repeat = Some(2);
    full.extra.insert("host".into(), "h".into());
    let choice = &mut full.choices[0];
    choice.timings = Some(Timings {
        prefill: vec![0.1],
        draft: vec![0.01],
        decode: vec![0.1],
        verify: vec![0.0],
        commit: vec![0.02],
    });
    choice.prompt_tokens = Some(vec![10]);
    choice.prefill_tokens = Some(vec![4]);
    choice.token_ids = Some(vec![vec![1, 2, 3, 4, 5]]);
    choice.step_us = Some(vec![vec![100, 200]]);
    choice
        .extra
        .insert("finish_reason".into(), serde_json::json!(["stop"]));

    let mut file = AnswerFile::create(&path).unwrap();
    file.append(&full).unwrap();
    file.append(&answer(1, "b")).unwrap();
    assert!(file.has(3) && file.has(1) && !file.has(2));
    // On the disk before the run ends.
    assert_eq!(read_answers(&path).unwrap().answers.len(), 2);
    let log = file.finish().unwrap();
    assert_eq!(log.answers, [answer(1, "b"), full]);
    assert_eq!(read_answers(&path).unwrap(), log);
}

#[test]
fn a_file_made_elsewhere_is_read_and_kept_byte_for_byte() {
    // Spaces after the separators, a key we do not know, an escape we would not write.
    let foreign = "{\"question_id\": 9, \"category\": \"qa\", \"answer_id\": \"x\", \"model_id\": \"m\", \"choices\": \
                   [{\"index\": 0, \"turns\": [\"\\u00e9\"], \"decoding_steps\": [1], \"new_tokens\": [1], \
                   \"wall_time\": [0.5], \"accept_lengths\": [1]}], \"tstamp\": 1.0, \"other\": {\"b\": 1, \"a\": 2}}";
    let (_folder, path) = file_with(format!("{foreign}\n"));
    let (mut file, log) = AnswerFile::resume(&path).unwrap();
    assert_eq!(log.answers[0].choices[0].turns, ["é"]);
    file.append(&answer(4, "new")).unwrap();
    file.finish().unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        format!("{}{foreign}\n", line(4, "new"))
    );
}

#[test]
fn the_last_record_of_a_question_counts_and_the_other_is_named() {
    let (_folder, path) = file_with(line(2, "old") + &line(1, "x") + "\n" + &line(2, "new"));
    let (file, log) = AnswerFile::resume(&path).unwrap();
    let said: Vec<String> = log.notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [format!(
            "{}:4: question 2 is on line 1 too; the later record counts",
            path.display()
        )]
    );
    file.finish().unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        line(1, "x") + &line(2, "new")
    );
}

#[test]
fn a_foreign_line_is_refused_and_the_file_left_alone() {
    let cases = [
        ("hello\n", "expected value"),
        ("hello", "expected value"),
        ("{\"question_id\": 5}\n", "missing field `category`"),
        // Whole, if without a line end: not what a killed run leaves.
        ("{\"question_id\": 5}", "missing field `category`"),
        ("{\"other\": ", "EOF"),
        ("[", "invalid type: sequence"),
    ];
    for (bad, reason) in cases {
        let text = line(1, "x") + bad;
        let (_folder, path) = file_with(&text);
        for message in [
            AnswerFile::resume(&path).unwrap_err().to_string(),
            read_answers(&path).unwrap_err().to_string(),
        ] {
            assert!(
                message.starts_with(&format!("{}:2: not an answer record: ", path.display())),
                "{message}"
            );
            assert!(message.contains(reason), "{bad}: {message}");
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }
    // Half a record anywhere but at the end was not left by a killed run either.
    let (_folder, path) =
        file_with(line(1, "x").trim_end()[..40].to_string() + "\n" + &line(2, "y"));
    assert!(matches!(
        read_answers(&path),
        Err(AnswerError::Line { line: 1, .. })
    ));
}

#[test]
fn a_record_whose_parts_do_not_fit_is_neither_read_nor_written() {
    type Break = fn(&mut Answer);
    let cases: [(Break, &str); 12] = [
        (|a| a.choices.clear(), "choices is empty"),
        (|a| a.tstamp = f64::NAN, "tstamp"),
        (|a| a.choices[0].turns.clear(), "turns is empty"),
        (
            |a| a.choices[0].decoding_steps.push(1),
            "decoding_steps has 2 entries for 1 turns",
        ),
        (
            |a| a.choices[0].new_tokens.clear(),
            "new_tokens has 0 entries",
        ),
        (
            |a| a.choices[0].wall_time.clear(),
            "wall_time has 0 entries",
        ),
        (
            |a| a.choices[0].wall_time[0] = f64::INFINITY,
            "wall_time holds inf",
        ),
        (|a| a.choices[0].wall_time[0] = -1.0, "wall_time holds -1"),
        (
            |a| a.choices[0].timings = Some(Timings::default()),
            "prefill has 0 entries",
        ),
        (
            |a| a.choices[0].prompt_tokens = Some(vec![]),
            "prompt_tokens has 0 entries",
        ),
        (
            |a| a.choices[0].token_ids = Some(vec![]),
            "token_ids has 0 entries",
        ),
        (
            |a| a.choices[0].step_us = Some(vec![vec![], vec![]]),
            "step_us has 2 entries",
        ),
    ];
    for (spoil, reason) in cases {
        let mut bad = answer(1, "x");
        spoil(&mut bad);
        let (_folder, path) = file_with("");
        let mut file = AnswerFile::create(&path).unwrap();
        let message = file.append(&bad).unwrap_err().to_string();
        assert!(message.contains(reason), "{message}");
        assert!(!file.has(1));
        assert_eq!(fs::read(&path).unwrap(), b"");
        drop(file);
        fs::write(&path, serde_json::to_string(&bad).unwrap() + "\n").unwrap();
        assert!(
            matches!(read_answers(&path), Err(AnswerError::Line { line: 1, .. })),
            "{reason}"
        );
    }
}

#[test]
fn two_runs_cannot_write_one_file() {
    let (_folder, path) = file_with("");
    let first = AnswerFile::create(&path).unwrap();
    assert!(matches!(
        AnswerFile::resume(&path),
        Err(AnswerError::InUse { .. })
    ));
    assert!(matches!(
        AnswerFile::create(&path),
        Err(AnswerError::InUse { .. })
    ));
    drop(first);
    AnswerFile::resume(&path).unwrap();
}

#[test]
fn create_starts_afresh_and_leaves_no_other_file() {
    let (folder, path) = file_with(line(1, "old"));
    let mut file = AnswerFile::create(&path).unwrap();
    assert_eq!(file.answered(), 0);
    file.append(&answer(3, "c")).unwrap();
    file.append(&answer(2, "b")).unwrap();
    file.finish().unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        line(2, "b") + &line(3, "c")
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[cfg(unix)]
#[test]
fn a_rewritten_file_stays_as_readable_as_it_was() {
    use std::os::unix::fs::PermissionsExt;
    let (_folder, path) = file_with(line(2, "b") + &line(1, "a"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    AnswerFile::resume(&path).unwrap().0.finish().unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o640
    );
}

#[test]
fn zero_bytes_of_a_power_cut_are_cut_off() {
    let (_folder, path) = file_with(line(1, "x") + "{\"question_id\":2,\0\0\0\0");
    let (_file, log) = AnswerFile::resume(&path).unwrap();
    assert_eq!((log.answers.len(), log.notices.len()), (1, 1));
    assert_eq!(fs::read_to_string(&path).unwrap(), line(1, "x"));
}

proptest! {
    // Each case waits for the disk some dozens of times.
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// A run killed after any byte, and resumed, ends with the same file as one that nobody disturbed.
    #[test]
    fn a_killed_and_resumed_run_equals_an_undisturbed_one(
        ids in proptest::sample::subsequence((1_i64..30).collect::<Vec<_>>(), 1..8).prop_shuffle(),
        texts in proptest::collection::vec("\\PC{0,12}", 8),
        cuts in proptest::collection::vec(0.0_f64..1.0, 3),
    ) {
        let answers: Vec<Answer> = ids.iter().zip(&texts).map(|(&id, text)| answer(id, text)).collect();
        let (_folder, undisturbed) = file_with("");
        let mut file = AnswerFile::create(&undisturbed).unwrap();
        answers.iter().for_each(|answer| file.append(answer).unwrap());
        let expected = file.finish().unwrap().answers;

        let (_folder, path) = file_with("");
        for cut in cuts {
            let (mut file, _) = AnswerFile::resume(&path).unwrap();
            for answer in &answers {
                if !file.has(answer.question_id) {
                    file.append(answer).unwrap();
                }
            }
            drop(file);
            let bytes = fs::read(&path).unwrap();
            let end = (bytes.len() as f64 * cut) as usize;
            fs::write(&path, &bytes[..end]).unwrap();
            // Reading alone repairs nothing, and sees what a resume sees.
            let seen = read_answers(&path).unwrap();
            prop_assert_eq!(fs::read(&path).unwrap().len(), end);
            let (file, log) = AnswerFile::resume(&path).unwrap();
            prop_assert_eq!(&log, &seen);
            prop_assert_eq!(file.answered(), log.answers.len());
            // Only the record that the cut went through is gone.
            let ends: Vec<usize> = bytes.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(i, _)| i).collect();
            prop_assert_eq!(file.answered(), ends.iter().filter(|&&line_end| line_end <= end).count());
        }
        let (mut file, _) = AnswerFile::resume(&path).unwrap();
        for answer in &answers {
            if !file.has(answer.question_id) {
                file.append(answer).unwrap();
            }
        }
        let log = file.finish().unwrap();
        prop_assert_eq!(&log.answers, &expected);
        prop_assert!(log.notices.is_empty());
        prop_assert_eq!(fs::read(&path).unwrap(), fs::read(&undisturbed).unwrap());
    }
}

// ---- manifests

fn manifest() -> Manifest {
    Manifest {
        method: "logitspec".into(),
        model: ModelFile {
            path: "m.gguf".into(),
            sha256: "ab".into(),
            quantization: "F16".into(),
        },
        llama_cpp: "b1".into(),
        commit: "c".into(),
        devices: vec!["CPU".into()],
        threads: 2,
        flags: [
            ("max-new-tokens".to_string(), 128.into()),
            ("seed".to_string(), 1.into()),
        ]
        .into(),
        time: 5.0,
    }
}

#[test]
fn a_manifest_lies_beside_its_answer_file() {
    let (_folder, answers) = file_with("");
    let path = Manifest::path_beside(answers.with_file_name("m-temp-0.0.jsonl"));
    assert_eq!(path, answers.with_file_name("m-temp-0.0.manifest.json"));
    assert_eq!(
        Manifest::path_beside("m-temp-0.0"),
        PathBuf::from("m-temp-0.0.manifest.json")
    );
    assert_eq!(Manifest::read(&path).unwrap(), None);
    manifest().write(&path).unwrap();
    assert_eq!(Manifest::read(&path).unwrap(), Some(manifest()));

    fs::write(&path, "{\n  \"method\": 3\n}").unwrap();
    let error = Manifest::read(&path).unwrap_err();
    assert!(
        matches!(error, ManifestError::Content { line: 2, .. }),
        "{error}"
    );
}

#[test]
fn differences_name_each_setting_and_nothing_else() {
    let mut now = manifest();
    now.time = 9.0;
    now.model.path = "elsewhere/m.gguf".into();
    assert_eq!(manifest().differences(&now), []);

    now.threads = 4;
    now.model.sha256 = "cd".into();
    now.devices = vec!["CUDA0".into()];
    now.flags.insert("max-new-tokens".into(), 1024.into());
    now.flags.remove("seed");
    now.flags.insert("flash-attn".into(), "on".into());
    let said: Vec<String> = manifest()
        .differences(&now)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        said,
        [
            "model.sha256 was ab, is cd",
            "devices was [\"CPU\"], is [\"CUDA0\"]",
            "threads was 2, is 4",
            "flash-attn was not set, is on",
            "max-new-tokens was 128, is 1024",
            "seed was 1, is not set",
        ]
    );
}
