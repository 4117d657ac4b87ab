//! Chat templates at the command line: system prompts, typed content, and answers that a template
//! changes.
#![cfg(feature = "cli")]

mod gguf;
mod program;

use std::process::Output;

use gguf::{CONTROL, NORMAL, Value, bundled, edit};
use logitspec::bench::read_answers;
use program::{assert_refused, command, prompt_of, run, stderr, stdout, with_stdin};

/// A copy of the tiny model with this chat template.
struct Templated {
    folder: tempfile::TempDir,
    model: String,
}

fn templated(template: &str) -> Templated {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("templated.gguf");
    let changes = [("tokenizer.chat_template", Value::Text(template))];
    edit(&bundled("tiny-llama.gguf"), &file, &changes);
    let model = file.to_str().unwrap().to_owned();
    Templated { folder, model }
}

fn warnings(output: &Output) -> Vec<String> {
    assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
    let told = stderr(output);
    let lines = told.lines().filter(|line| line.starts_with("warning: "));
    lines.map(ToOwned::to_owned).collect()
}

/// A template that has `content` for messages that are no system messages.
fn without_system(content: &str) -> String {
    format!(
        "{{% for m in messages if m.role != 'system' %}}[{{{{ m.role }}}}]{content}{{% endfor %}}>"
    )
}

/// A template that wants typed content.
const TYPED: &str = "{% for m in messages %}[{{ m.role }}]\
    {% for part in m.content if part.type == 'text' %}{{ part.text }}{% endfor %}{% endfor %}>";

#[test]
fn a_system_prompt_without_a_place_begins_the_question_and_is_told() {
    let ignores = templated(&without_system("{{ m.content }}"));
    let refuses = templated(
        "{% if messages[0].role == 'system' %}{{ raise_exception('no system') }}{% endif %}\
         {% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}>",
    );
    for model in [&ignores.model, &refuses.model] {
        let chat = ["-m", model, "--chat", "-p"];
        let folded = prompt_of(&[&chat[..], &["Be brief.\n\nWho?"]].concat());
        let with_system = [&chat[..], &["Who?", "--system", "Be brief."]].concat();
        assert_eq!(prompt_of(&with_system), folded);
        let short = [&["generate"], &with_system[..], &["-n", "1"]].concat();
        let asked = warnings(&run(&short));
        let line = "no place for a system prompt";
        assert!(asked.len() == 1 && asked[0].contains(line), "{asked:?}");

        let chat = ["chat", "-m", model, "--system", "Be brief.", "-n", "1"];
        let asked = warnings(&with_stdin(command(&chat), b"Who?\n/reset\nWhy?\n"));
        assert!(asked.len() == 1 && asked[0].contains(line), "{asked:?}");
    }
    let plain = [
        "generate",
        "--template",
        "none",
        "--system",
        "Be brief.",
        "-p",
        "Who?",
    ];
    let asked = warnings(&run(
        &[&plain[..], &["-n", "1", "-m", &ignores.model]].concat()
    ));
    assert!(
        asked.len() == 1 && asked[0].contains("--system is left out"),
        "{asked:?}"
    );
}

#[test]
fn a_system_prompt_with_a_place_is_not_told_of() {
    let placed = templated("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}>");
    for template in [&placed, &templated(TYPED)] {
        let chat = [
            "generate",
            "-m",
            &template.model,
            "--system",
            "Be brief.",
            "-p",
            "Who?",
        ];
        let asked = warnings(&run(&[&chat[..], &["-n", "1"]].concat()));
        assert!(asked.is_empty(), "{asked:?}");
    }
}

#[test]
fn templates_that_want_typed_content_get_it() {
    let typed = templated(TYPED);
    let plain = templated("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}>");
    let args = [
        "--chat",
        "-p",
        "Who are you?",
        "--system",
        "Be brief.",
        "-m",
    ];
    let [typed, plain] = [&typed, &plain].map(|it| prompt_of(&[&args[..], &[&it.model]].concat()));
    assert_eq!(typed, plain);
}

/// What `generate` says of a prompt, and its tokens.
fn asked(model: &str, args: &[&str]) -> (String, Vec<u64>) {
    let trace = tempfile::NamedTempFile::new().unwrap();
    let common = ["generate", "-t", "1", "-p", "one two", "-m", model];
    let more = ["-n", "12", "--trace", trace.path().to_str().unwrap()];
    let output = run(&[&common[..], &more, args].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let steps = std::fs::read_to_string(trace.path()).unwrap();
    let header: serde_json::Value = serde_json::from_str(steps.lines().next().unwrap()).unwrap();
    let prompt = header["prompt"].as_array().unwrap();
    let prompt = prompt.iter().map(|token| token.as_u64().unwrap());
    (stderr(&output), prompt.collect())
}

#[test]
fn a_prompt_is_asked_where_there_is_a_template_and_continued_elsewhere() {
    let tiny = program::model_path("tiny-llama.gguf");
    let (told, question) = asked(&tiny, &[]);
    assert!(
        told.contains("note: asking with the chat template of the model"),
        "{told}"
    );
    assert_eq!(asked(&tiny, &["--chat"]).1, question);
    assert_eq!(asked(&tiny, &["--template", "vicuna"]).1, question);
    for flag in ["--raw", "-no-cnv", "--no-conversation"] {
        let (told, text) = asked(&tiny, &[flag]);
        assert!(
            told.contains("note: continuing the prompt as plain text\n"),
            "{told}"
        );
        assert!(text.len() < question.len() && question != text, "{flag}");
        assert_eq!(text, asked(&tiny, &["--template", "none"]).1);
    }
    let without = templated("");
    let (told, text) = asked(&without.model, &[]);
    assert!(
        told.contains("the model has no chat template (--template names one)"),
        "{told}"
    );
    assert_eq!(text, asked(&tiny, &["--raw"]).1);
    let both = run(&["generate", "-m", &tiny, "-p", "x", "--raw", "--system", "y"]);
    assert_refused(&both, &["--raw", "--system"]);
    // Programs that read the object get nothing else.
    let quiet = ["generate", "-m", &tiny, "-p", "x", "-n", "2", "--json"];
    assert_eq!(stderr(&run(&quiet)), "");
}

#[test]
fn an_empty_answer_is_told() {
    let ends = |args: &[&str]| {
        let tiny = program::model_path("tiny-llama.gguf");
        let common = ["generate", "-p", "one two", "-n", "1", "-t", "1", "--json"];
        let first = program::json(&run(&[&common[..], &["-m", &tiny], args].concat()));
        let first = u32::try_from(first["tokens"][0].as_u64().unwrap()).unwrap();
        // The same model, but the first token of its answer ends it.
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ends.gguf");
        let types = (0..640).map(|id| {
            if id < 3 || id == first {
                CONTROL
            } else {
                NORMAL
            }
        });
        let changes = [
            ("tokenizer.ggml.eos_token_id", Value::U32(first)),
            (
                "tokenizer.ggml.token_type",
                Value::Integers(types.collect()),
            ),
        ];
        edit(&bundled("tiny-llama.gguf"), &file, &changes);
        let (told, _) = asked(file.to_str().unwrap(), args);
        let chat = ["chat", "-t", "1", "-m", file.to_str().unwrap()];
        let chat = with_stdin(command(&chat), b"one two\n");
        (told, stderr(&chat))
    };
    let (told, chat) = ends(&[]);
    let line = "note: the answer is empty";
    assert!(
        told.contains(line) && told.contains("another --template"),
        "{told}"
    );
    assert!(told.contains(" s, 1 steps"), "no speed: {told}");
    assert!(chat.contains(line), "{chat}");
    let (told, _) = ends(&["--raw"]);
    assert!(told.contains("without --raw, it is asked"), "{told}");
    let (told, _) = asked(&program::model_path("tiny-llama.gguf"), &[]);
    assert!(!told.contains(line), "{told}");
}

/// `bench` on two questions, one of two turns.
fn bench(templated: &Templated, args: &[&str]) -> Output {
    let questions = templated.folder.path().join("question.jsonl");
    let lines = "{\"question_id\": 1, \"category\": \"qa\", \"turns\": [\"Who are you?\"]}\n\
        {\"question_id\": 2, \"category\": \"qa\", \"turns\": [\"one two three\", \"and four\"]}\n";
    std::fs::write(&questions, lines).unwrap();
    let common = [
        "bench", "-n", "8", "-t", "1", "--warmup", "0", "--json", "-m",
    ];
    let questions = ["--questions", questions.to_str().unwrap()];
    run(&[&common[..], &[&templated.model], &questions, args].concat())
}

#[test]
fn a_benchmark_stops_if_the_template_leaves_out_a_question() {
    assert_eq!(bench(&templated(TYPED), &[]).status.code(), Some(0));
    for source in [
        "USER: ASSISTANT:",
        "{{ messages[0].content[:3] }}>",
        "{{ messages[0].parts }}",
    ] {
        let words = [
            "template of the model",
            "leaves out or changes",
            "Who are you?",
            "--template",
        ];
        assert_refused(&bench(&templated(source), &[]), &words);
    }
    // The second turn counts, too.
    let words = [
        "template of the model",
        "leaves out later questions",
        "--template",
    ];
    assert_refused(
        &bench(&templated("{{ messages[0].content }}>"), &[]),
        &words,
    );
}

#[test]
fn an_empty_template_counts_as_none() {
    for source in ["", " \n"] {
        let empty = templated(source);
        let output = bench(&empty, &[]);
        assert_refused(&output, &["no chat template of its own", "--template"]);
        let file = empty.folder.path().join("empty.jinja");
        std::fs::write(&file, source).unwrap();
        let args = ["generate", "-m", &empty.model, "-p", "Hi", "--template"];
        let output = run(&[&args[..], &[file.to_str().unwrap()]].concat());
        assert_refused(&output, &["empty.jinja is empty", "none"]);
    }
}

/// The objects that `chat --json` prints for two questions, with answers of 12 tokens.
fn two_turns(model: &str, args: &[&str]) -> [serde_json::Value; 2] {
    let common = ["chat", "-m", model, "-n", "12", "-t", "1", "--json"];
    let output = with_stdin(command(&[&common[..], args].concat()), b"Who?\nAnd why?\n");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stdout(&output);
    let turns: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    turns.try_into().unwrap()
}

/// As templates of reasoning models do, leaves out the beginning of earlier answers.
const CUTS_ANSWERS: &str = "{% for m in messages %}[{{ m.role }}]\
    {% if m.role == 'assistant' %}{{ m.content[4:] }}{% else %}{{ m.content }}{% endif %}\
    {% endfor %}[assistant]";

#[test]
fn the_next_turn_has_the_history_that_the_template_gives() {
    let cut = templated(CUTS_ANSWERS);
    for method in [
        "baseline",
        "logitspec",
        "suffix",
        "prompt-lookup",
        "token-recycling",
    ] {
        let args = ["--method", method, "--fill-tree"];
        let [first, second] = two_turns(&cut.model, &args);
        let said = first["text"].as_str().unwrap().trim();
        let shown: String = said.chars().skip(4).collect();
        let whole = format!("[user]Who?[assistant]{shown}[user]And why?[assistant]");
        let prompt = prompt_of(&["-m", &cut.model, "-p", &whole]);
        // The same answer as to this text in a fresh context.
        let fresh = [
            "generate", "--raw", "-m", &cut.model, "-p", &whole, "-n", "12", "-t", "1", "--json",
        ];
        let fresh = program::json(&run(&fresh));
        assert_eq!(second["tokens"], fresh["tokens"], "{method}");
        // What both prompts begin with is not read again.
        let read = second["prompt_tokens"].as_u64().unwrap();
        assert!(
            read < prompt.len() as u64,
            "{method}: {read} of {}",
            prompt.len()
        );
    }
}

#[test]
fn answers_that_the_template_keeps_are_not_read_again() {
    let kept = templated(&CUTS_ANSWERS.replace("[4:]", ""));
    let [_, second] = two_turns(&kept.model, &[]);
    let next = prompt_of(&["-m", &kept.model, "-p", "[user]And why?[assistant]"]);
    // Besides BOS.
    let read = second["prompt_tokens"].as_u64().unwrap();
    assert!(read < next.len() as u64, "{read} of {}", next.len());
}

#[test]
fn a_refused_question_leaves_the_conversation_as_it_was() {
    let cut = templated(CUTS_ANSWERS);
    let [_, expected] = two_turns(&cut.model, &[]);
    let long = "word ".repeat(600);
    let lines = format!("Who?\n{long}\nAnd why?\n");
    let args = [
        "chat", "-m", &cut.model, "-n", "12", "-t", "1", "--json", "-c", "512",
    ];
    let output = with_stdin(command(&args), lines.as_bytes());
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    let text = stdout(&output);
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["tokens"], expected["tokens"]);
}

#[test]
fn bench_and_simulate_give_the_history_that_the_template_gives() {
    let cut = templated(CUTS_ANSWERS);
    let folder = cut.folder.path();
    let answers = folder.join("answers.jsonl");
    let file = answers.to_str().unwrap();
    let method = [
        "--methods",
        "prompt-lookup",
        "--fill-tree",
        "--answer-file",
        file,
    ];
    let done = program::json(&bench(&cut, &method));
    let recorded = read_answers(&answers).unwrap();
    let choice = &recorded.answers[1].choices[0];
    let shown: String = choice.turns[0].chars().skip(4).collect();
    let whole = format!("[user]one two three[assistant]{shown}[user]and four[assistant]");
    let prompt = prompt_of(&["-m", &cut.model, "-p", &whole]);
    let prompts = choice.prompt_tokens.as_ref().unwrap();
    assert_eq!(prompts[1], prompt.len() as u64);
    let read = choice.prefill_tokens.as_ref().unwrap();
    assert!(read[1] < prompts[1], "{read:?} of {prompts:?}");

    let questions = folder.join("question.jsonl");
    let args = [
        "simulate",
        "--questions",
        questions.to_str().unwrap(),
        "--answers",
        file,
        "-m",
        &cut.model,
        "-n",
        "8",
        "--methods",
        "prompt-lookup",
        "--json",
    ];
    let replayed = program::json(&run(&args));
    let mean = |it: &serde_json::Value| it["mean_accepted_tokens"].as_f64().unwrap();
    let figures = &replayed["methods"][0]["categories"][0];
    assert_eq!(mean(figures), mean(&done["methods"][0]));
}
