//! The command as its users meet it: text, JSON, traces, bad input.
#![cfg(feature = "cli")]

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

mod program;

use program::{
    assert_refused, command, generate, json, model_path, run, stderr, stdout, with_stdin,
};

#[test]
fn text_goes_to_stdout_and_statistics_to_stderr() {
    let output = generate(&["-p", "one two three one two", "-n", "20"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).ends_with('\n'));
    let statistics = stderr(&output);
    for word in [
        "logitspec",
        "tokens/s",
        "accepted",
        "draft",
        "decode",
        "verify",
        "commit",
    ] {
        assert!(statistics.contains(word), "{statistics}");
    }
}

#[test]
fn json_is_one_object_with_what_the_contract_promises() {
    let output = generate(&["-p", "one two three one two", "-n", "30", "--json"]);
    let report = json(&output);
    assert_eq!(stdout(&output).trim_end().lines().count(), 1);
    let tokens = report["tokens"].as_array().unwrap().len() as u64;
    assert_eq!(report["new_tokens"], tokens);
    let lengths = report["accept_lengths"].as_array().unwrap();
    let sum: u64 = lengths.iter().map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(sum, tokens);
    assert_eq!(report["decode_steps"], lengths.len());
    let mean = report["mean_accepted_tokens"].as_f64().unwrap();
    assert!((mean - tokens as f64 / lengths.len() as f64).abs() < 1e-9);
    assert_eq!(report["finish_reason"], "length");
    assert_eq!(report["method"], "logitspec");
    assert!(report["prompt_tokens"].as_u64().unwrap() > 5);
    assert!(report["tokens_per_second"].as_f64().unwrap() > 0.0);
    let timing = |part: &str| report["timings"][part].as_f64().unwrap();
    let parts: f64 = ["prefill", "draft", "decode", "verify", "commit"]
        .map(timing)
        .iter()
        .sum();
    assert!(timing("total") >= parts && timing("load") > 0.0);
    assert!(report["text"].as_str().unwrap().len() > 1);
}

#[test]
fn a_source_that_is_none_is_named_with_those_there_are() {
    let output = generate(&["-p", "one", "--leave-out", "text,tea-leaves"]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert!(
        said.contains("tea-leaves") && said.contains("last-logits, recycled"),
        "{said}"
    );
}

#[test]
fn all_methods_give_the_same_text_by_all_their_names() {
    let say = |args: &[&str]| {
        let args = [
            &["-p", "one two three one two", "-n", "40", "-fa", "off"],
            args,
        ]
        .concat();
        stdout(&generate(&args))
    };
    let plain = say(&["--method", "baseline"]);
    for method in [
        "logitspec",
        "logitspec-reference",
        "logitspec_reference",
        "prompt-lookup",
        "token-recycling",
        "suffix",
    ] {
        assert_eq!(say(&["--method", method]), plain, "{method}");
    }
    assert_eq!(
        say(&["--draft_tree_capacity", "7", "--max_ngram_size", "2"]),
        plain
    );
    assert_eq!(say(&["--fill-tree", "--leave-out", "text"]), plain);
    assert_eq!(
        say(&["-ngl", "0", "-ub", "64", "-b", "64", "-ctk", "f16"]),
        plain
    );
}

#[test]
fn prompts_come_from_files_and_pipes_as_well() {
    let tiny = model_path("tiny-llama.gguf");
    let text = "one two three one two";
    let given = json(&generate(&["-p", text, "-n", "9", "--json"]))["tokens"].clone();
    let piped = [
        "generate", "--raw", "-m", &tiny, "-t", "1", "-n", "9", "--json",
    ];
    assert_eq!(
        json(&with_stdin(command(&piped), text.as_bytes()))["tokens"],
        given
    );
    let dash = [&piped[..], &["-f", "-"]].concat();
    assert_eq!(
        json(&with_stdin(command(&dash), text.as_bytes()))["tokens"],
        given
    );
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("prompt.txt");
    std::fs::write(&file, text).unwrap();
    let from_file = generate(&["-f", file.to_str().unwrap(), "-n", "9", "--json"]);
    assert_eq!(json(&from_file)["tokens"], given);
}

#[test]
fn prompts_with_nul_bytes_and_invalid_utf8_are_read() {
    let tiny = model_path("tiny-llama.gguf");
    let args = ["generate", "-m", &tiny, "-t", "1", "-n", "5"];
    let output = with_stdin(command(&args), b"a\0b\xff\xfe hello");
    assert_eq!(output.status.code(), Some(0));
    assert!(stderr(&output).contains("not valid UTF-8"));
}

#[test]
fn a_prompt_that_looks_like_a_flag_is_a_prompt() {
    for prompt in ["--help", "-ngl", "-"] {
        let report = json(&generate(&["-p", prompt, "-n", "2", "--json"]));
        assert_eq!(report["new_tokens"], 2, "{prompt}");
    }
}

#[test]
fn the_trace_has_a_header_and_every_step() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("trace.jsonl");
    let trace = path.to_str().unwrap();
    let args = [
        "-p",
        "one two three one two",
        "-n",
        "30",
        "--json",
        "--trace",
        trace,
    ];
    let capacity = [
        "--draft-tree-capacity",
        "12",
        "--method",
        "logitspec-reference",
    ];
    let report = json(&generate(&[&args[..], &capacity].concat()));
    let text = std::fs::read_to_string(&path).unwrap();
    let mut lines = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let header = lines.next().unwrap();
    assert_eq!(header["method"], "logitspec-reference");
    assert_eq!(header["parameters"]["draft_tree_capacity"], 12);
    let mut past = header["prompt"].as_array().unwrap().len();
    assert_eq!(report["prompt_tokens"], past);
    let mut said = Vec::new();
    for (index, step) in lines.enumerate() {
        assert_eq!(step["step"], index);
        assert_eq!(step["n_past"], past);
        let array = |key: &str| step[key].as_array().unwrap().clone();
        assert_eq!(array("ranked").len(), 12);
        assert_eq!(array("ranked")[0], step["root"]);
        assert_eq!(array("nodes").len(), array("parents").len());
        for (node, parent) in array("parents").iter().enumerate() {
            assert!((-1..node as i64).contains(&parent.as_i64().unwrap()));
        }
        assert_eq!(array("accepted")[0], step["root"]);
        for part in ["draft", "decode", "verify", "commit"] {
            assert!(step["us"][part].as_f64().unwrap() >= 0.0);
        }
        past += array("accepted").len();
        said.extend(array("accepted"));
    }
    assert_eq!(report["tokens"], Value::from(said));
}

#[test]
fn chat_prompts_use_the_models_template() {
    let bare = json(&generate(&["-p", "Hi", "-n", "1", "--json"]));
    let chat = json(&generate(&["-p", "Hi", "-n", "1", "--json", "--chat"]));
    let vicuna = json(&generate(&[
        "-p",
        "Hi",
        "-n",
        "1",
        "--json",
        "--template",
        "vicuna",
    ]));
    let none = json(&generate(&[
        "-p",
        "Hi",
        "-n",
        "1",
        "--json",
        "--chat",
        "--template",
        "none",
    ]));
    assert_eq!(chat["prompt_tokens"], vicuna["prompt_tokens"]);
    assert_eq!(none["prompt_tokens"], bare["prompt_tokens"]);
    assert!(chat["prompt_tokens"].as_u64() > bare["prompt_tokens"].as_u64());
    let without = model_path("tiny-mamba.gguf");
    let chatless = run(&[
        "generate",
        "-m",
        &without,
        "-p",
        "Hi",
        "--template",
        "nonsense",
    ]);
    assert_refused(&chatless, &["--template nonsense", "vicuna"]);
}

#[test]
fn inspect_tells_what_a_gguf_is() {
    let tiny = model_path("tiny-llama.gguf");
    let info = json(&run(&["inspect", &tiny, "--json"]));
    assert_eq!(info["architecture"], "llama");
    assert_eq!(info["vocabulary"], 640);
    assert_eq!(info["layers"], 2);
    assert_eq!(info["context_length"], 2048);
    assert_eq!(info["quantization"], "F32");
    assert!(info["parameters"].as_u64().unwrap() > 100_000);
    assert!(
        info["chat_template"]
            .as_str()
            .unwrap()
            .contains("ASSISTANT")
    );
    let mamba = stdout(&run(&["inspect", "-m", &model_path("tiny-mamba.gguf")]));
    assert!(mamba.contains("speculation      no: mamba"), "{mamba}");
}

#[test]
fn edge_values_do_what_one_expects() {
    let nothing = json(&generate(&["-p", "Hi", "-n", "0", "--json"]));
    assert_eq!(
        (&nothing["new_tokens"], &nothing["text"]),
        (&0.into(), &"".into())
    );
    assert_eq!(nothing["finish_reason"], "length");
    let plain = json(&generate(&[
        "-p",
        "Hi",
        "-n",
        "6",
        "--json",
        "--draft-tree-capacity",
        "1",
    ]));
    assert_eq!(plain["drafted_tokens"], 0);
    let huge = json(&generate(&[
        "-p",
        "Hi",
        "-n",
        "3",
        "--json",
        "--draft-tree-capacity",
        "1024",
    ]));
    assert_eq!(
        huge["tokens"].as_array().unwrap()[..],
        plain["tokens"].as_array().unwrap()[..3]
    );
    let tight = json(&generate(&[
        "-p", "Hi there", "-c", "12", "-n", "99", "--json",
    ]));
    assert_eq!(tight["finish_reason"], "length");
    assert!(tight["new_tokens"].as_u64().unwrap() < 13);
    let whole = json(&generate(&["-p", "Hi", "-c", "0", "-n", "3", "--json"]));
    assert_eq!(whole["new_tokens"], 3);
}

#[test]
fn minus_one_is_no_limit() {
    let until_full = ["-p", "Hi", "-c", "64", "--json", "-n"];
    let unlimited = json(&generate(&[&until_full[..], &["-1"]].concat()));
    let many = json(&generate(&[&until_full[..], &["4000"]].concat()));
    assert_eq!(unlimited["tokens"], many["tokens"]);
    assert!(unlimited["new_tokens"].as_u64().unwrap() > 1);
    assert_eq!(unlimited["parameters"]["max_new_tokens"], -1);
}

#[test]
fn the_demo_model_is_used_where_no_model_is_named() {
    // Away from the source tree, which has one.
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("logitspec");
    program::copy_to(&program);
    let data = folder.path().join("share");
    let run = |args: &[&str]| {
        Command::new(&program)
            .args(args)
            .env_remove("LOGITSPEC_MODEL")
            .env("XDG_DATA_HOME", &data)
            .env("HOME", folder.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let ask = ["generate", "-p", "x", "-n", "3", "-t", "1"];
    assert_refused(&run(&ask), &["-m FILE", "-hf", "logitspec-demo.gguf"]);
    assert_refused(&run(&["inspect"]), &["-m FILE"]);

    let demo = "logitspec-demo.gguf";
    if cfg!(target_os = "linux") {
        let installed = data.join("logitspec");
        std::fs::create_dir_all(&installed).unwrap();
        std::fs::copy(model_path("tiny-mamba.gguf"), installed.join(demo)).unwrap();
        assert_eq!(json(&run(&["inspect", "--json"]))["architecture"], "mamba");
    }
    // The one beside the program goes before that.
    std::fs::copy(model_path("tiny-llama.gguf"), folder.path().join(demo)).unwrap();
    assert_eq!(json(&run(&["inspect", "--json"]))["architecture"], "llama");
    let answer = run(&ask);
    assert_eq!(answer.status.code(), Some(0), "{}", stderr(&answer));
    let note = stderr(&answer);
    let note = note.lines().next().unwrap();
    assert!(
        note.contains("demo model") && note.ends_with(demo),
        "{note}"
    );

    // A model that was named goes before all.
    let named = model_path("tiny-swa.gguf");
    let output = Command::new(&program)
        .args(["inspect", "--json"])
        .env("LOGITSPEC_MODEL", &named)
        .output()
        .unwrap();
    assert!(!stderr(&output).contains("demo"), "{}", stderr(&output));
    assert_ne!(
        json(&output)["name"],
        json(&run(&["inspect", "--json"]))["name"]
    );
    // One that was named and is not there is not made up for.
    let missing = Command::new(&program)
        .args(["inspect"])
        .env("LOGITSPEC_MODEL", "nowhere.gguf")
        .output()
        .unwrap();
    assert_refused(&missing, &["LOGITSPEC_MODEL", "nowhere.gguf"]);
}

#[test]
fn without_a_command_there_is_help_or_a_conversation() {
    let bare = run(&[]);
    assert_eq!((bare.status.code(), stderr(&bare).as_str()), (Some(0), ""));
    assert!(stdout(&bare).contains("Usage: logitspec") && stdout(&bare).contains("compare"));
    assert_refused(&run(&["corpus"]), &["no command given"]);

    let tiny = model_path("tiny-llama.gguf");
    let flags = ["-m", &tiny, "-t", "1", "-n", "6", "--json"];
    let talk = |words: &[&str]| {
        let output = with_stdin(command(&[words, &flags].concat()), b"Who are you?\n");
        json(&output)["tokens"].clone()
    };
    let expected = talk(&["chat"]);
    assert_eq!(talk(&[]), expected);
    assert_eq!(talk(&["run"]), expected);
    // With a prompt, it is one question and its answer.
    for prompt in [&["-p", "Who are you?"][..], &["--prompt=Who are you?"]] {
        let answer = json(&run(&[&flags[..], prompt].concat()));
        assert_eq!(answer["tokens"], expected);
    }
    assert_refused(
        &run(&["run", "x.GGUF"]),
        &["x.GGUF", "name the model with -m FILE"],
    );
    assert_eq!(run(&["--version"]).stdout, run(&["-V"]).stdout);
}

#[cfg(unix)]
#[test]
fn text_on_standard_input_beside_a_prompt_is_told() {
    use std::io::Write;

    let piped = |args: &[&str], input: &[u8]| {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(input).unwrap();
        drop(writer);
        let mut command = program::tiny("generate", &[args, &["-n", "2"]].concat());
        let output = command.stdin(reader).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        stderr(&output)
    };
    let note = "note: standard input is not read, because -p gives the prompt";
    assert!(piped(&["-p", "Hi"], b"an article").contains(note));
    for (args, input) in [(&["-p", "Hi"][..], ""), (&[], "Hi"), (&["-f", "-"], "Hi")] {
        assert!(
            !piped(args, input.as_bytes()).contains("not read"),
            "{args:?}"
        );
    }
    assert!(!stderr(&generate(&["-p", "Hi", "-n", "2"])).contains("not read"));
}

#[test]
fn help_teaches() {
    for args in [
        &["--help"][..],
        &["generate", "--help"],
        &["chat", "-h"],
        &["inspect", "-h"],
        &["pull", "--help"],
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(0));
        assert!(stdout(&output).contains("Usage:"));
    }
    let help = stdout(&run(&["generate", "--help"]));
    assert!(help.contains("logitspec generate -m"));
    let options = help.split("\nOptions:").nth(1).unwrap();
    let (general, chat) = options.split_once("\nChat:").unwrap();
    assert!(general.contains("--json") && chat.contains("--raw") && chat.contains("--system"));
}
