//! Answer files: their records, and what a broken run or an editor leaves of them.

use std::fs;

use logitspec::bench::{Answer, AnswerError, AnswerFile, Timings, read_answers};
use proptest::prelude::*;

use crate::{answer, file_with, line};

#[test]
fn a_record_has_the_keys_of_the_format_in_their_order() {
    let text = line(7, "yes");
    assert_eq!(
        text,
        "{\"question_id\":7,\"category\":\"qa\",\"answer_id\":\"id-7\",\"model_id\":\"m-baseline\",\
         \"choices\":[{\"index\":0,\"turns\":[\"yes\"],\"decoding_steps\":[2],\"new_tokens\":[5],\
         \"wall_time\":[0.25],\"accept_lengths\":[3,2]}],\"tstamp\":1.5}\n"
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
    let foreign = "{\"question_id\": 9, \"category\": \"qa\", \"answer_id\": \"x\", \
                   \"model_id\": \"m\", \"choices\": [{\"index\": 0, \"turns\": [\"\\u00e9\"], \
                   \"decoding_steps\": [1], \"new_tokens\": [1], \"wall_time\": [0.5], \
                   \"accept_lengths\": [1]}], \"tstamp\": 1.0, \"other\": {\"b\": 1, \"a\": 2}}";
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

/// FastChat records only the texts; EAGLE and Medusa have another key for steps; some tools write
/// whole numbers as floats.
#[test]
fn records_of_related_tools_are_read_as_far_as_they_go() {
    let fastchat = r#"{"question_id": 81, "answer_id": "a", "model_id": "vicuna-7b-v1.3",
        "choices": [{"index": 0, "turns": ["x", "y"]}], "tstamp": 1686884832.2}"#;
    let eagle = r#"{"question_id": 82.0, "answer_id": "b", "model_id": "vicuna-7b-v1.3",
        "choices": [{"index": 0.0, "turns": ["x", "y"], "idxs": [11, 12.0],
        "new_tokens": [30.0, 40], "wall_time": [1, 2.5]}], "tstamp": 1686884832}"#;
    let bare = r#"{"question_id": 83, "choices": [{"turns": ["x"], "accept_lengths": [1.0, 3]}]}"#;
    let lines = [fastchat, eagle, bare].map(|record| record.replace('\n', ""));
    let (_folder, path) = file_with(lines.join("\n") + "\n");
    let answers = read_answers(&path).unwrap().answers;
    let [fastchat, eagle, bare] = &answers[..] else {
        panic!("{answers:?}")
    };
    let choice = &fastchat.choices[0];
    assert_eq!(choice.turns, ["x", "y"]);
    assert!(choice.new_tokens.is_empty() && choice.wall_time.is_empty());
    assert_eq!((fastchat.category.as_str(), fastchat.question_id), ("", 81));
    let choice = &eagle.choices[0];
    assert_eq!((eagle.question_id, choice.index), (82, 0));
    assert_eq!(choice.decoding_steps, [11, 12]);
    assert_eq!(choice.new_tokens, [30, 40]);
    assert_eq!(choice.wall_time, [1.0, 2.5]);
    assert_eq!(bare.choices[0].accept_lengths, [1, 3]);
    assert_eq!((bare.model_id.as_str(), bare.tstamp), ("", 0.0));
}

#[test]
fn numbers_that_are_no_counts_are_refused() {
    let record = |list: &str| {
        format!(r#"{{"question_id": 1, "choices": [{{"turns": ["x"], {list}}}]}}"#) + "\n"
    };
    let cases = [
        r#""new_tokens": [3.5]"#,
        r#""new_tokens": [-1]"#,
        r#""new_tokens": [-3.0]"#,
        r#""new_tokens": [1e300]"#,
        r#""new_tokens": ["3"]"#,
        r#""new_tokens": [3, 4]"#,
        r#""new_tokens": []"#,
        r#""idxs": [1.5]"#,
        r#""idxs": 3"#,
        r#""idxs": [1, 2]"#,
        r#""wall_time": []"#,
        r#""wall_time": [null]"#,
        r#""index": -1"#,
    ];
    for list in cases {
        let (_folder, path) = file_with(record(list));
        let error = read_answers(&path).unwrap_err();
        assert!(
            matches!(error, AnswerError::Line { line: 1, .. }),
            "{list}: {error}"
        );
    }
    let (_folder, path) = file_with(record(r#""new_tokens": [18446744073709551615]"#));
    let answers = read_answers(&path).unwrap().answers;
    assert_eq!(answers[0].choices[0].total_new_tokens(), u64::MAX);
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
        ("{\"question_id\": 5}\n", "missing field `choices`"),
        // Whole, if without a line end: not what a killed run leaves.
        ("{\"question_id\": 5}", "missing field `choices`"),
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
    /// A run killed after any byte, and resumed, ends with the same file as one that nobody
    /// disturbed.
    #[test]
    fn a_killed_and_resumed_run_equals_an_undisturbed_one(
        ids in proptest::sample::subsequence((1_i64..30).collect::<Vec<_>>(), 1..8).prop_shuffle(),
        texts in proptest::collection::vec("\\PC{0,12}", 8),
        cuts in proptest::collection::vec(0.0_f64..1.0, 3),
    ) {
        let pairs = ids.iter().zip(&texts);
        let answers: Vec<Answer> = pairs.map(|(&id, text)| answer(id, text)).collect();
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
            let line_ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
            let before_the_cut = line_ends.filter(|&(at, _)| at <= end).count();
            prop_assert_eq!(file.answered(), before_the_cut);
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

#[test]
fn only_answers_are_started_afresh() {
    let question = br#"{"question_id": 1, "category": "qa", "turns": ["x"]}"#;
    let response = br#"{"id": "x", "object": "chat.completion", "choices": [{"index": 0}]}"#;
    let choices = br#"{"question_id": 1, "question": "x", "choices": ["a", "b"]}"#;
    for foreign in [
        &b"GGUF\x03\0\0\0"[..],
        b"Dear diary,",
        b"[]",
        question,
        response,
        choices,
    ] {
        let (_folder, path) = file_with(foreign);
        let error = AnswerFile::create(&path).unwrap_err();
        assert!(matches!(error, AnswerError::Foreign { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), foreign);
    }
    // Of a damaged one something may be left.
    let whole = line(7, "yes");
    for ours in ["", "\n", &whole, &whole[..whole.len() / 2 + 40]] {
        let (_folder, path) = file_with(ours.as_bytes());
        AnswerFile::create(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }
}
