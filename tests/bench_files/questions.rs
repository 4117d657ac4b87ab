//! Question sets, good and bad.

use logitspec::bench::{QuestionError, read_questions};
use proptest::prelude::*;

use crate::file_with;

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
        len in 1_i64..20,
        begin in proptest::option::of(0_usize..25),
        end in proptest::option::of(0_usize..25),
    ) {
        let line = |id| {
            format!("{{\"question_id\":{id},\"category\":\"c\",\"turns\":[\"t\"]}}\n")
        };
        let text: String = (0..len).map(line).collect();
        let (_folder, path) = file_with(text);
        let mut set = read_questions(&path).unwrap();
        set.slice(begin, end);
        let (begin, end) = (begin.unwrap_or(0), end.unwrap_or(99));
        let expected: Vec<i64> = (0..len).take(end).skip(begin).collect();
        prop_assert_eq!(set.questions.iter().map(|q| q.question_id).collect::<Vec<_>>(), expected);
    }
}
