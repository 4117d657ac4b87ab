//! What a request may ask for, by the program's flags.
#![cfg(feature = "cli")]

mod program;

use program::{assert_refused, generate, json, model_path, stderr, tiny, with_stdin};
use serde_json::Value;

const PROMPT: &str = "one two three one two three one two";

/// The JSON object of an answer of 40 tokens.
fn answer(args: &[&str]) -> Value {
    json(&generate(
        &[&["-p", PROMPT, "-n", "40", "--json"], args].concat(),
    ))
}

#[test]
fn an_answer_ends_before_its_stop() {
    let plain = answer(&[]);
    let text = plain["text"].as_str().unwrap();
    let letters: Vec<char> = text.chars().collect();
    let stop: String = letters[letters.len() / 2..letters.len() / 2 + 4]
        .iter()
        .collect();
    for flag in ["--stop", "--reverse-prompt", "-r"] {
        let stopped = answer(&[flag, "never said", flag, &stop]);
        assert_eq!(stopped["text"], text.split(&stop).next().unwrap());
        assert_eq!(stopped["finish_reason"], "stop");
        assert_eq!(stopped["stopping_word"], stop);
    }
    let shown = generate(&["-p", PROMPT, "-n", "40", "--stop", &stop]);
    let expected = text.split(&stop).next().unwrap().trim_end_matches('\n');
    assert_eq!(
        String::from_utf8_lossy(&shown.stdout).trim_end_matches('\n'),
        expected
    );
    assert_eq!(plain["stopping_word"], Value::Null);

    let token = plain["tokens"][7].to_string();
    let first = plain["tokens"].as_array().unwrap().iter();
    let first = first.take_while(|it| it.to_string() != token).count();
    let stopped = answer(&["--stop-token", &token]);
    assert_eq!(stopped["new_tokens"], first + 1);
    assert_eq!(stopped["finish_reason"], "stop");
}

#[test]
fn a_conversation_goes_on_behind_a_stop() {
    let chat = |stop: &[&str]| {
        let flags = ["--json", "-n", "30", "--template", "vicuna"];
        let questions = b"one two three\nfour five\n";
        let output = with_stdin(tiny("chat", &[&flags, stop].concat()), questions);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let lines = String::from_utf8(output.stdout).unwrap();
        let objects = lines
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        objects.collect::<Vec<Value>>()
    };
    let plain = chat(&[]);
    let text = plain[0]["text"].as_str().unwrap();
    let stop: String = text.chars().skip(9).take(3).collect();
    let stopped = chat(&["--stop", &stop]);
    assert_eq!(stopped[0]["text"], text.split(&stop).next().unwrap());
    assert_eq!(stopped[0]["finish_reason"], "stop");
    assert_eq!(stopped.len(), 2);
    assert!(stopped[1]["new_tokens"].as_u64().unwrap() > 0);
}

#[test]
fn the_log_probabilities_of_all_methods_are_the_same() {
    let of = |method: &str| answer(&["--method", method, "-fa", "on", "--logprobs", "3"]);
    let plain = of("baseline");
    let tokens = plain["logprobs"].as_array().unwrap();
    assert_eq!(tokens.len(), 40);
    for (entry, token) in tokens.iter().zip(plain["tokens"].as_array().unwrap()) {
        assert_eq!(&entry["id"], token);
        assert_eq!(entry["top_logprobs"].as_array().unwrap().len(), 3);
        // The answer is greedy.
        assert_eq!(entry["top_logprobs"][0]["id"], entry["id"]);
        let bytes = entry["bytes"].as_array().unwrap().iter();
        let bytes: Vec<u8> = bytes.map(|it| it.as_u64().unwrap() as u8).collect();
        assert_eq!(entry["token"], String::from_utf8_lossy(&bytes).into_owned());
    }
    let drafted = of("logitspec");
    for (a, b) in drafted["logprobs"].as_array().unwrap().iter().zip(tokens) {
        let gap = a["logprob"].as_f64().unwrap() - b["logprob"].as_f64().unwrap();
        assert!(a["id"] != b["id"] || gap.abs() < 1e-4, "{a} and {b}");
    }
    assert_eq!(answer(&[])["logprobs"], Value::Null);
}

#[test]
fn answers_have_the_form_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let schema = r#"{"type": "object", "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"], "additionalProperties": false}"#;
    let grammar = "root ::= \"yes\" | \"no\"";
    let (schema_file, grammar_file) = (file("schema", schema), file("grammar", grammar));
    for form in [
        ["--json-schema", schema],
        ["-j", &schema_file],
        ["-jf", &schema_file],
    ] {
        let text = answer(&form)["text"].as_str().unwrap().to_owned();
        assert!(
            ["{\"ok\": true}", "{\"ok\": false}"].contains(&&*text),
            "{form:?}: {text}"
        );
    }
    let said = answer(&["--json-schema", schema]);
    assert!(
        said["sources"]["grammar"]["accepted"].as_u64().unwrap() > 0,
        "{said}"
    );
    let said = answer(&["--json-schema", schema, "--leave-out", "grammar"]);
    assert_eq!(said["sources"]["grammar"], Value::Null);
    for form in [
        ["--grammar", grammar],
        ["--grammar", &grammar_file],
        ["--grammar-file", &grammar_file],
    ] {
        let said = answer(&form);
        assert!(
            said["text"] == "yes" || said["text"] == "no",
            "{form:?}: {}",
            said["text"]
        );
        assert_eq!(said["finish_reason"], "stop");
    }
    let said = answer(&["--regex", "[0-9]{3}-[a-c]+x"]);
    let text = said["text"].as_str().unwrap();
    let (digits, letters) = text.split_once('-').unwrap_or_else(|| panic!("{text}"));
    assert!(
        digits.len() == 3 && letters.starts_with(['a', 'b', 'c']),
        "{text}"
    );
}

#[test]
fn samplers_have_llama_cpps_names() {
    let flags = [
        "--samplers",
        "penalties;dry;top_n_sigma;top_k;typ_p;top_p;min_p;xtc;temperature",
        "--temp",
        "0.9",
        "--dynatemp-range",
        "0.2",
        "--dynatemp-exp",
        "1.1",
        "--top-k",
        "50",
        "--top-p",
        "0.98",
        "--min-p",
        "0.01",
        "--typical",
        "0.99",
        "--top-nsigma",
        "3",
        "--xtc-probability",
        "0.1",
        "--xtc-threshold",
        "0.2",
        "--repeat-last-n",
        "32",
        "--repeat-penalty",
        "1.1",
        "--presence-penalty",
        "-0.1",
        "--frequency-penalty",
        "0.1",
        "--dry-multiplier",
        "0.5",
        "--dry-base",
        "1.5",
        "--dry-allowed-length",
        "3",
        "--dry-penalty-last-n",
        "40",
        "--dry-sequence-breaker",
        "\\n",
        "--logit-bias",
        "300+1",
        "-l",
        "301-inf",
        "-s",
        "7",
    ];
    let said = answer(&flags);
    let baseline = answer(&[&flags[..], &["--method", "baseline"]].concat());
    assert_eq!(said["tokens"], baseline["tokens"]);
    let parameters = &said["parameters"];
    assert_eq!(parameters["samplers"].as_array().unwrap().len(), 9);
    assert_eq!(
        parameters["dry_sequence_breakers"],
        serde_json::json!(["\n"])
    );
    assert_eq!(parameters["presence_penalty"], -0.1);
    let short = answer(&["--sampler-seq", "kt", "--temp", "0.9"]);
    assert_eq!(
        short["parameters"]["samplers"],
        serde_json::json!(["top_k", "temperature"])
    );
    let mirostat = answer(&[
        "--mirostat",
        "2",
        "--mirostat-lr",
        "0.2",
        "--mirostat-ent",
        "3",
    ]);
    assert_eq!(mirostat["parameters"]["mirostat"], 2);
    // Without end tokens, the answer is as long as it may be.
    let long = [
        "-p",
        PROMPT,
        "-n",
        "200",
        "--json",
        "--ignore-eos",
        "--temp",
        "1.5",
    ];
    let end = json(&generate(&long));
    assert_eq!(end["new_tokens"], 200);
    let seeds = [0, 1].map(|_| answer(&["-s", "-1", "--temp", "1"])["parameters"]["seed"].clone());
    assert_ne!(seeds[0], seeds[1]);
}

#[test]
fn what_cannot_be_asked_for_is_refused_in_one_line() {
    let lora = model_path("tiny-llama.gguf");
    let cases: [(&[&str], &[&str]); 20] = [
        (&["--stop", ""], &["--stop", "empty"]),
        (
            &["--stop-token", "640"],
            &["--stop-token 640", "640 tokens"],
        ),
        (
            &["--stop-token", "<none>"],
            &["--stop-token <none>", "--stop"],
        ),
        (&["--logprobs", "2"], &["--json"]),
        (&["--mirostat", "1"], &["--mirostat 1", "2 (Mirostat 2.0)"]),
        (&["--samplers", "top_k;best"], &["best", "typ_p"]),
        (
            &["--sampler-seq", "kq"],
            &["--sampler-seq kq", "'q'", "k (top_k)"],
        ),
        (
            &["--logit-bias", "640+1"],
            &["--logit-bias 640", "640 tokens"],
        ),
        (&["--logit-bias", "x"], &["15043+1"]),
        (&["--typical", "1.5"], &["--typical 1.5", "0 to 1"]),
        (&["--seed", "x"], &["--seed", "-1"]),
        (
            &["--json-schema", "{\"type\": 1}"],
            &["--json-schema", "JSON schema"],
        ),
        (
            &["--json-schema", "none.json"],
            &["--json-schema none.json"],
        ),
        (
            &["--grammar", "root ::= x"],
            &["--grammar", "x, which is not defined"],
        ),
        (&["--regex", "("], &["--regex", "regular expression"]),
        (
            &["--regex", "a", "--grammar", "root ::= \"a\""],
            &["--regex", "--grammar"],
        ),
        (
            &["--regex", "a", "--ignore-eos"],
            &["--regex", "--ignore-eos"],
        ),
        (&["--lora", "none.gguf"], &["none.gguf"]),
        (&["--lora", &lora], &["tiny-llama.gguf", "LoRA"]),
        (&["--dry-base", "0.5"], &["--dry-base 0.5", "1 to 100"]),
    ];
    for (args, named) in cases {
        assert_refused(&generate(&[&["-p", "x"], args].concat()), named);
    }
    let folder = tempfile::tempdir().unwrap();
    let prefix = folder.path().join("prefix");
    std::fs::write(&prefix, "def add(").unwrap();
    let prefix = prefix.to_str().unwrap();
    let model = ["--prefix", "trained to fill in the middle"];
    assert_refused(&generate(&["--prefix", prefix]), &model);
    assert_refused(
        &generate(&["--suffix", "/no/such/file"]),
        &["/no/such/file", "--suffix"],
    );
    assert_refused(&generate(&["-p", "x", "--prefix", prefix]), &["--prefix"]);
}
