//! Control tokens at the command line: in prompts, in messages and in answers.
#![cfg(feature = "cli")]

mod gguf;
mod program;

use gguf::{CONTROL, NORMAL, Value, bundled, byte_level, edit};
use program::{assert_refused, command, json, prompt_of, run, stderr, stdout, with_stdin};

const EOS: u64 = 2;

/// A folder with a changed copy of the tiny model.
struct Edited {
    folder: tempfile::TempDir,
    model: String,
}

fn edited(changes: &[(&str, Value<'_>)]) -> Edited {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edited.gguf");
    edit(&bundled("tiny-llama.gguf"), &file, changes);
    let model = file.to_str().unwrap().to_owned();
    Edited { folder, model }
}

fn tiny() -> String {
    bundled("tiny-llama.gguf").to_str().unwrap().to_owned()
}

fn count(tokens: &[u64], token: u64) -> usize {
    tokens.iter().filter(|&&it| it == token).count()
}

#[test]
fn bos_of_the_template_is_kept_where_the_tokenizer_adds_none() {
    let template = "{{ bos_token }}{{ messages[-1].content }}";
    let edited = edited(&[
        ("tokenizer.ggml.add_bos_token", Value::Bool(false)),
        ("tokenizer.chat_template", Value::Text(template)),
    ]);
    let with_bos = prompt_of(&["-m", &edited.model, "--chat", "-p", "Hi"]);
    let without = prompt_of(&["-m", &edited.model, "-p", "Hi"]);
    assert_eq!(with_bos, [&[1], &without[..]].concat());
}

#[test]
fn no_eos_comes_behind_a_prompt() {
    let edited = edited(&[("tokenizer.ggml.add_eos_token", Value::Bool(true))]);
    for args in [&["-p", "Once"][..], &["-p", "Once", "--chat"]] {
        let prompt = prompt_of(&[&["-m", &edited.model], args].concat());
        assert_eq!(prompt, prompt_of(&[&["-m", &tiny()], args].concat()));
        assert_eq!(count(&prompt, EOS), 0);
    }
}

#[test]
fn bos_twice_is_told_once() {
    let told = |model: &str, args: &[&str], lines: &str| {
        let all = [args, &["-m", model, "-n", "1", "-t", "1"]].concat();
        let output = with_stdin(command(&all), lines.as_bytes());
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let told = stderr(&output);
        let lines = told.lines().filter(|line| line.starts_with("warning: "));
        let warnings: Vec<&str> = lines.collect();
        assert!(
            warnings.iter().all(|it| it.contains("BOS token <s>")),
            "{told}"
        );
        warnings.len()
    };
    assert_eq!(
        told(&tiny(), &["generate", "--raw", "-p", "<s>Once"], ""),
        1
    );
    assert_eq!(
        told(&tiny(), &["generate", "--raw", "-p", "Once <s>"], ""),
        0
    );
    assert_eq!(
        told(&tiny(), &["generate", "-p", "<s>Once", "--chat"], ""),
        0
    );
    let plain = ["chat", "--template", "none"];
    let parsed = [&plain[..], &["--parse-special"]].concat();
    assert_eq!(told(&tiny(), &parsed, "<s>a\n/reset\n<s>b\n"), 1);
    assert_eq!(told(&tiny(), &plain, "<s>a\n"), 0);
    let edited = edited(&[("tokenizer.ggml.add_bos_token", Value::Bool(false))]);
    assert_eq!(
        told(&edited.model, &["generate", "--raw", "-p", "<s>Once"], ""),
        0
    );
}

#[test]
fn messages_are_plain_text_unless_told_otherwise() {
    let tiny = tiny();
    let prompt = |args: &[&str]| prompt_of(&[&["-m", &tiny, "-p", "Say </s> now"], args].concat());
    assert_eq!(count(&prompt(&["--chat"]), EOS), 0);
    assert_eq!(count(&prompt(&["--chat", "--parse-special"]), EOS), 1);
    assert_eq!(count(&prompt(&["--chat", "--template", "none"]), EOS), 0);
    assert_eq!(count(&prompt(&["--system", "Be </s> brief."]), EOS), 0);
    // A raw prompt is what the model is to go on with, markers and all.
    assert_eq!(count(&prompt(&[]), EOS), 1);
    let said = |args: &[&str]| {
        let all = [&["chat", "--json", "-m", &tiny, "-n", "1", "-t", "1"], args].concat();
        let output = with_stdin(command(&all), b"Hi\nSay </s> now\n");
        let last = stdout(&output).lines().last().unwrap().to_owned();
        let answer: serde_json::Value = serde_json::from_str(&last).unwrap();
        answer["prompt_tokens"].as_u64().unwrap()
    };
    assert!(said(&[]) > said(&["--parse-special"]));
}

#[test]
fn special_shows_control_tokens() {
    let tiny = tiny();
    let ask = ["--raw", "-p", "one two", "-n", "8", "-t", "1", "--json"];
    let plain = json(&run(&[&["generate", "-m", &tiny], &ask[..]].concat()));
    // The same model, but the second token of its answer is a control token.
    let token = plain["tokens"][1].as_u64().unwrap();
    let types = (0..640).map(|id| match id {
        _ if id == token => CONTROL,
        0 => 2,
        1 | 2 => CONTROL,
        3..259 => 6,
        _ => NORMAL,
    });
    let edited = edited(&[(
        "tokenizer.ggml.token_type",
        Value::Integers(types.collect()),
    )]);
    let answer = |args: &[&str]| {
        let all = [&["generate", "-m", &edited.model], &ask[..], args].concat();
        let answer = json(&run(&all));
        assert_eq!(answer["tokens"][1], token);
        answer["text"].as_str().unwrap().to_owned()
    };
    let (hidden, shown) = (answer(&[]), answer(&["--special"]));
    assert!(shown.len() > hidden.len(), "{hidden:?} {shown:?}");
    assert_eq!(answer(&["-sp"]), shown);
    let chat = |args: &[&str]| {
        let all = [
            "chat",
            "-m",
            &edited.model,
            "-n",
            "8",
            "-t",
            "1",
            "--template",
            "none",
        ];
        stdout(&with_stdin(
            command(&[&all[..], args].concat()),
            b"one two\n",
        ))
    };
    assert!(chat(&["--special"]).len() > chat(&[]).len());
}

/// Such texts ended the process: the tokenizer ran out of stack.
#[test]
fn a_long_word_is_no_reason_to_end() {
    let edited = edited(&byte_level("gpt-4o", 640));
    let path = |name: &str| edited.folder.path().join(name).to_str().unwrap().to_owned();
    let (text, out) = (path("text.txt"), path("out.corpus"));
    std::fs::write(&text, "a".repeat(300_000)).unwrap();
    let ask = ["generate", "--raw", "-m", &edited.model, "-f", &text];
    assert_refused(&run(&ask), &["300001 tokens", "shorten the prompt"]);
    let build = [
        "corpus",
        "build",
        "--json",
        "-m",
        &edited.model,
        "-o",
        &out,
        &text,
    ];
    assert_eq!(json(&run(&build))["tokens"], 300_000);

    // A text that no stack holds is left out, and the others are not.
    let texts = path("texts.jsonl");
    let line = |text: &str| format!("{}\n", serde_json::json!({ "text": text }));
    let long = "a".repeat(5 << 20);
    std::fs::write(&texts, line("one") + &line(&long) + &line("two")).unwrap();
    let build = [
        "corpus",
        "build",
        "--json",
        "-m",
        &edited.model,
        "-o",
        &out,
        &texts,
    ];
    let output = run(&build);
    assert!(stderr(&output).contains("texts.jsonl: left out: cannot tokenize"));
    let built = json(&output);
    assert_eq!(
        (&built["tokens"], &built["left_out"]),
        (&6.into(), &1.into())
    );
}

/// One question that cannot be asked is refused; the conversation and the benchmark go on.
#[test]
fn a_question_that_no_stack_holds_is_refused_alone() {
    let edited = edited(&byte_level("gpt-4o", 640));
    let long = "a".repeat(5 << 20);
    let common = [
        "--template",
        "none",
        "--json",
        "-m",
        &edited.model,
        "-n",
        "2",
        "-t",
        "1",
    ];
    let chat = command(&[&["chat"], &common[..]].concat());
    let output = with_stdin(chat, format!("{long}\nHi\n").as_bytes());
    assert_eq!(output.status.code(), Some(2));
    let lines: Vec<serde_json::Value> = stdout(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(
        lines[0]["error"]
            .as_str()
            .unwrap()
            .contains("shorter lines")
    );
    assert_eq!(lines[1]["new_tokens"], 2);

    let questions = edited.folder.path().join("question.jsonl");
    let question = |id: u32, text: &str| {
        let turns = [text];
        let line = serde_json::json!({"question_id": id, "category": "x", "turns": turns});
        format!("{line}\n")
    };
    std::fs::write(&questions, question(1, &long) + &question(2, "Hi")).unwrap();
    let bench = [
        "bench",
        "--methods",
        "baseline",
        "--warmup",
        "0",
        "--questions",
    ];
    let report = json(&run(
        &[&bench[..], &[questions.to_str().unwrap()], &common].concat()
    ));
    let baseline = &report["methods"][0];
    assert_eq!(
        (&baseline["answers"], &baseline["skipped"]),
        (&1.into(), &1.into())
    );
}
