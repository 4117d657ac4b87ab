//! Requests that are wrong: each is told so, and none takes the server down.

use serde_json::{Value, json};

use crate::client::Server;

const CHAT: &str = "/v1/chat/completions";

#[test]
fn every_wrong_field_is_named() {
    let server = Server::start(&["-c", "128"]);
    let hi = json!([{"role": "user", "content": "Hi"}]);
    let chat = |more: Value| {
        let mut body = json!({"messages": hi, "max_tokens": 2});
        body.as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        body
    };
    let chats = [
        (json!({"messages": null}), "messages"),
        (json!({"messages": []}), "messages"),
        (json!({"messages": "Hi"}), "messages"),
        (json!({"messages": [3]}), "messages[0]"),
        (
            json!({"messages": [{"role": "user"}]}),
            "messages[0].content",
        ),
        (
            json!({"messages": [{"role": "king", "content": ""}]}),
            "messages[0].role",
        ),
        (json!({"messages": [{"content": ""}]}), "messages[0].role"),
        (
            json!({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}),
            "messages[0].content",
        ),
        (
            json!({"messages": [{"role": "assistant", "tool_calls": [{"id": 1}]}]}),
            "messages[0].tool_calls",
        ),
        (json!({"model": 1}), "model"),
        (json!({"max_tokens": 0}), "max_tokens"),
        (json!({"max_tokens": 1.5}), "max_tokens"),
        (
            json!({"max_completion_tokens": "9"}),
            "max_completion_tokens",
        ),
        (json!({"temperature": 2.5}), "temperature"),
        (json!({"temperature": "hot"}), "temperature"),
        (json!({"top_p": -0.1}), "top_p"),
        (json!({"min_p": 2}), "min_p"),
        (json!({"top_k": "all"}), "top_k"),
        (json!({"repeat_penalty": 0}), "repeat_penalty"),
        (json!({"presence_penalty": 3}), "presence_penalty"),
        (json!({"frequency_penalty": -3}), "frequency_penalty"),
        (json!({"seed": 0.5}), "seed"),
        (json!({"stop": 1}), "stop"),
        (json!({"stop": ["a", 1]}), "stop"),
        (json!({"n": 0}), "n"),
        (json!({"n": 1000}), "n"),
        (json!({"stream": "yes"}), "stream"),
        (json!({"stream_options": 1}), "stream_options"),
        (
            json!({"stream_options": {"include_usage": 1}}),
            "stream_options.include_usage",
        ),
        (json!({"logit_bias": {"99999": 1}}), "logit_bias"),
        (json!({"logit_bias": {"1": 101}}), "logit_bias"),
        (json!({"logit_bias": [1]}), "logit_bias"),
        (json!({"top_logprobs": 3}), "top_logprobs"),
        (
            json!({"logprobs": true, "top_logprobs": 21}),
            "top_logprobs",
        ),
        (
            json!({"response_format": {"type": "xml"}}),
            "response_format",
        ),
        (
            json!({"response_format": {"type": "json_schema"}}),
            "response_format",
        ),
        (json!({"tools": [{"type": "function"}]}), "tools"),
        (json!({"tools": {}}), "tools"),
        (json!({"tool_choice": "maybe"}), "tool_choice"),
        (json!({"tool_choice": "required"}), "tool_choice"),
        (
            json!({
                "tools": [{"type": "function", "function": {"name": "a"}}],
                "tool_choice": {"type": "function", "function": {"name": "b"}},
            }),
            "tool_choice",
        ),
        (
            json!({"prediction": {"type": "content"}}),
            "prediction.content",
        ),
        (
            json!({"prediction": {"type": "x", "content": ""}}),
            "prediction.type",
        ),
        (json!({"prediction": "x"}), "prediction"),
        (
            json!({"speculative": {"method": "magic"}}),
            "speculative.method",
        ),
        (
            json!({"speculative": {"draft_tree_capacity": 65}}),
            "speculative.draft_tree_capacity",
        ),
        (json!({"speculative": 1}), "speculative"),
        (json!({"shared_pool": {"read": 1}}), "shared_pool.read"),
        (json!({"shared_pool": 1}), "shared_pool"),
        (json!({"cache_prompt": 1}), "cache_prompt"),
        (json!({"return_drafts": 1}), "return_drafts"),
        (json!({"parallel_tool_calls": 1}), "parallel_tool_calls"),
        (json!({"chat_template_kwargs": 1}), "chat_template_kwargs"),
    ];
    for (more, param) in chats {
        let answer = server.post(CHAT, &chat(more.clone()));
        assert_eq!(answer.status, 400, "{more}: {}", answer.text);
        assert_eq!(answer.error()["param"], param, "{more}: {}", answer.text);
        assert_eq!(answer.error()["type"], "invalid_request_error");
    }
    let others = [
        ("/v1/completions", json!({}), "prompt"),
        ("/v1/completions", json!({"prompt": []}), "prompt"),
        ("/v1/completions", json!({"prompt": [-1]}), "prompt"),
        ("/v1/completions", json!({"prompt": [99999]}), "prompt"),
        (
            "/v1/completions",
            json!({"prompt": "x", "logprobs": true}),
            "logprobs",
        ),
        ("/v1/completions", json!({"prompt": "x", "echo": 1}), "echo"),
        (
            "/v1/completions",
            json!({"prompt": "x", "echo": true, "logprobs": 1}),
            "echo",
        ),
        ("/completion", json!({"prompt": {}}), "prompt"),
        (
            "/completion",
            json!({"prompt": "x", "n_predict": -2}),
            "n_predict",
        ),
        ("/completion", json!({"prompt": "x", "n": 2}), "n"),
        ("/v1/responses", json!({}), "input"),
        ("/v1/responses", json!({"input": 1}), "input"),
        (
            "/v1/responses",
            json!({"input": [{"type": "item_reference"}]}),
            "input",
        ),
        (
            "/v1/responses",
            json!({"input": "x", "tools": [{}]}),
            "tools",
        ),
        ("/tokenize", json!({}), "content"),
        ("/tokenize", json!({"content": 1}), "content"),
        ("/detokenize", json!({"tokens": [640]}), "tokens"),
        ("/detokenize", json!({"tokens": "x"}), "tokens"),
        ("/apply-template", json!({}), "messages"),
    ];
    for (path, body, param) in others {
        let answer = server.post(path, &body);
        assert_eq!(answer.status, 400, "{path} {body}: {}", answer.text);
        let expected = if body == json!({"prompt": []}) {
            Value::Null
        } else {
            param.into()
        };
        assert_eq!(
            answer.error()["param"],
            expected,
            "{path} {body}: {}",
            answer.text
        );
    }
    let long = "word ".repeat(500);
    let answer = server.post(
        CHAT,
        &chat(json!({
            "messages": [{"role": "user", "content": long}],
        })),
    );
    assert_eq!(answer.error()["code"], "context_length_exceeded");
    // Every private character, and a spelling that one of them would have to stand for.
    let private: String = ('\u{F0000}'..=char::MAX).collect();
    let answer = server.post(
        CHAT,
        &chat(json!({
            "messages": [{"role": "user", "content": private + "</s>"}],
        })),
    );
    assert_eq!(answer.error()["param"], "messages");
    // After all that it answers.
    assert_eq!(server.post(CHAT, &chat(json!({}))).status, 200);
}

#[test]
fn the_smallest_contexts_are_served() {
    for size in ["1", "2", "5", "9"] {
        let server = Server::start(&["-c", size, "-np", "64"]);
        let answer = server.post("/v1/completions", &json!({"prompt": "a", "max_tokens": 1}));
        assert!([200, 400].contains(&answer.status), "{}", answer.text);
    }
}

#[test]
fn other_addresses_methods_and_bodies_are_refused() {
    let server = Server::start(&["--max-body", "1"]);
    let missing = server.get("/v1/nothing");
    assert_eq!(
        (missing.status, missing.error()["type"].as_str()),
        (404, Some("not_found_error"))
    );
    assert_eq!(server.get(CHAT).status, 405);
    assert!(server.get(CHAT).error()["message"].is_string());
    for body in [
        "",
        "{",
        "[]",
        "3",
        "\"x\"",
        "{\"a\":}",
        "\u{0}",
        "nul",
        "{\"messages\":[}",
    ] {
        let answer = server.post_text(CHAT, body);
        assert_eq!(answer.status, 400, "{body:?}");
        answer.error();
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(server.post_text(CHAT, &deep).status, 400);
    let large = format!("{{\"prompt\": \"{}\"}}", "x".repeat(2 << 20));
    assert_eq!(server.post_text("/v1/completions", &large).status, 413);
}

/// Values of all kinds.
fn some_value(random: &mut fastrand::Rng, depth: usize) -> Value {
    match random.usize(0..if depth > 0 { 11 } else { 8 }) {
        0 => Value::Null,
        1 => random.bool().into(),
        2 => random.i64(..).into(),
        3 => random.i64(-3..4).into(),
        4 => (random.f64() * 10.0 - 5.0).into(),
        5 => "".into(),
        6 => "\u{0}</s><|im_end|>\u{10FFFF}".into(),
        7 => "user".into(),
        8 => (0..random.usize(0..4))
            .map(|_| some_value(random, depth - 1))
            .collect(),
        _ => {
            let names = [
                "role", "content", "type", "text", "function", "name", "0", "schema",
            ];
            let fields = (0..random.usize(0..4)).map(|_| {
                let name = random.choice(names).unwrap_or("name").to_owned();
                (name, some_value(random, depth - 1))
            });
            Value::Object(fields.collect())
        }
    }
}

#[test]
fn hundreds_of_malformed_requests_are_answered_each() {
    const NAMES: [&str; 34] = [
        "messages",
        "prompt",
        "input",
        "content",
        "tokens",
        "input_prefix",
        "input_suffix",
        "input_extra",
        "model",
        "max_tokens",
        "n_predict",
        "temperature",
        "top_p",
        "top_k",
        "seed",
        "stop",
        "n",
        "stream",
        "stream_options",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "response_format",
        "tools",
        "tool_choice",
        "prediction",
        "speculative",
        "shared_pool",
        "cache_prompt",
        "grammar",
        "json_schema",
        "instructions",
        "echo",
        "return_drafts",
    ];
    const PATHS: [&str; 9] = [
        CHAT,
        "/v1/completions",
        "/v1/responses",
        "/completion",
        "/infill",
        "/tokenize",
        "/detokenize",
        "/apply-template",
        "/v1/models",
    ];
    let server = Server::start(&["-c", "64", "-n", "2"]);
    let mut random = fastrand::Rng::with_seed(29);
    let mut refused = 0;
    for round in 0..600 {
        let fields = (0..random.usize(1..5)).map(|_| {
            let name = random.choice(NAMES).unwrap_or("n").to_owned();
            (name, some_value(&mut random, 3))
        });
        let mut text = Value::Object(fields.collect()).to_string();
        if round % 5 == 0 {
            // Cut anywhere.
            let cuts: Vec<usize> = text.char_indices().map(|(at, _)| at).collect();
            text.truncate(*random.choice(&cuts).unwrap_or(&0));
        }
        let path = random.choice(PATHS).unwrap_or(CHAT);
        let answer = server.post_text(path, &text);
        match answer.status {
            200 => {}
            400..=499 => {
                answer.error();
                refused += 1;
            }
            other => panic!("{other} for {path} {text}: {}", answer.text),
        }
    }
    assert!(refused > 300, "{refused}");
    assert_eq!(server.get("/health").status, 200);
}

#[test]
fn wrong_flags_are_refused_in_one_line() {
    use crate::program::{assert_refused, tiny};
    let server = Server::start(&[]);
    let port = server.url.rsplit(':').next().unwrap();
    let refused = |args: &[&str], words: &[&str]| {
        assert_refused(&tiny("serve", args).output().unwrap(), words);
    };
    refused(&["--port", port], &["cannot listen on 127.0.0.1", port]);
    refused(&["--host", "nowhere"], &["--host"]);
    refused(&["--parallel", "0"], &["--parallel"]);
    refused(&["--api-key", ""], &["--api-key is empty"]);
    refused(
        &["--api-key-file", "/nothing"],
        &["--api-key-file /nothing"],
    );
    refused(&["--temperature", "-1"], &["--temperature"]);
}
