//! What a request may ask for beside its prompt.

use serde_json::{Value, json};

use crate::client::Server;

const CHAT: &str = "/v1/chat/completions";

fn with(mut body: Value, more: Value) -> Value {
    let fields = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(fields);
    body
}

fn content(answer: &Value) -> String {
    let text = &answer["choices"][0]["message"]["content"];
    text.as_str().unwrap().to_owned()
}

#[test]
fn all_samplers_are_served_and_neutral_values_change_nothing() {
    let server = Server::start(&[]);
    let said = |more: Value| {
        let body = json!({
            "messages": [{"role": "user", "content": "Hi"}],
            "max_tokens": 24,
            "temperature": 0,
        });
        content(&server.post(CHAT, &with(body, more)).json())
    };
    let plain = said(json!({}));
    let neutral = json!({
        "presence_penalty": 0,
        "frequency_penalty": 0.0,
        "logit_bias": {},
        "logprobs": false,
        "ignore_eos": false,
        "typical_p": 1,
        "grammar": "",
        "response_format": {"type": "text"},
        "tool_choice": "auto",
    });
    assert_eq!(said(neutral), plain);
    // Each says something else.
    for more in [
        json!({"presence_penalty": 2, "frequency_penalty": 2}),
        json!({"temperature": 1, "seed": 3, "samplers": ["temperature"]}),
        json!({"temperature": 1, "seed": 3, "typical_p": 0.5}),
        json!({"temperature": 1, "seed": 3, "mirostat": 2}),
        json!({"grammar": "root ::= \"x\""}),
    ] {
        assert_ne!(said(more.clone()), plain, "{more}");
    }
    assert_eq!(said(json!({"grammar": "root ::= \"x\""})), "x");
    let refused = |more: Value| {
        let body = json!({"messages": [{"role": "user", "content": "Hi"}]});
        server.post(CHAT, &with(body, more)).error()
    };
    assert_eq!(refused(json!({"samplers": ["best"]}))["param"], "samplers");
    assert_eq!(refused(json!({"grammar": "root = 1"}))["param"], "grammar");
    assert_eq!(refused(json!({"mirostat": 1}))["param"], "mirostat");
}

#[test]
fn an_answer_follows_a_schema() {
    let server = Server::start(&[]);
    let schema = json!({
        "type": "object",
        "properties": {"yes": {"type": "boolean"}, "kind": {"enum": ["a", "b"]}},
        "required": ["yes", "kind"],
        "additionalProperties": false,
    });
    for temperature in [0, 1] {
        let body = json!({
            "messages": [{"role": "user", "content": "Hi"}],
            "temperature": temperature,
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": schema},
            },
        });
        let text = content(&server.post(CHAT, &body).json());
        let said: Value = serde_json::from_str(&text).expect(&text);
        assert!(said["yes"].is_boolean(), "{text}");
        assert!(
            ["a", "b"].contains(&said["kind"].as_str().unwrap()),
            "{text}"
        );
    }
}

/// A question with an answer of a few words.
fn short(more: Value) -> Value {
    let body = json!({
        "messages": [{"role": "user", "content": "Who are you?"}],
        "max_tokens": 16,
        "temperature": 0,
    });
    with(body, more)
}

/// The joined texts of some tokens with log-probabilities. Checks what each of them has.
fn text_of(tokens: &Value, rivals: usize) -> String {
    let tokens = tokens.as_array().unwrap();
    let one = |token: &Value| -> String {
        let logprob = token["logprob"].as_f64().unwrap();
        assert!(logprob <= 0.0);
        let top = token["top_logprobs"].as_array().unwrap();
        assert_eq!(top.len(), rivals);
        // Greedy: the best is the one that was taken.
        assert_eq!(top[0]["token"], token["token"]);
        assert_eq!(top[0]["logprob"], token["logprob"]);
        assert!(token["bytes"].is_array());
        token["token"].as_str().unwrap().to_owned()
    };
    tokens.iter().map(one).collect()
}

#[test]
fn log_probabilities_are_those_of_the_text_in_every_api() {
    let server = Server::start(&["--fill-tree"]);
    let wanted = json!({"logprobs": true, "top_logprobs": 3});
    let whole = server.post(CHAT, &short(wanted.clone())).json();
    let said = content(&whole);
    let tokens = &whole["choices"][0]["logprobs"]["content"];
    assert_eq!(text_of(tokens, 3).trim_start(), said);
    let plain = with(wanted.clone(), json!({"speculative": false}));
    let plain = server.post(CHAT, &short(plain)).json();
    assert_eq!(&plain["choices"][0]["logprobs"]["content"], tokens);

    let streamed = with(wanted, json!({"stream": true}));
    let chunks = server.post(CHAT, &short(streamed)).events();
    let of_chunks = chunks.iter().flat_map(|chunk| {
        let tokens = chunk["choices"][0]["logprobs"]["content"].as_array();
        tokens.cloned().unwrap_or_default()
    });
    assert_eq!(&of_chunks.collect::<Value>(), tokens);

    // A stop cuts the text and its tokens.
    let cut = json!({"logprobs": true, "top_logprobs": 3, "stop": [&said[said.len() - 2..]]});
    let cut = server.post(CHAT, &short(cut)).json();
    let shown = text_of(&cut["choices"][0]["logprobs"]["content"], 3);
    assert!(!shown.is_empty() && content(&cut).starts_with(shown.trim_start()));
    assert!(content(&cut).len() < said.len());

    let prompt = json!({"prompt": "Once upon a", "max_tokens": 12, "temperature": 0});
    let asked = with(prompt.clone(), json!({"logprobs": 2}));
    let choice = server.post("/v1/completions", &asked).json()["choices"][0].clone();
    let tokens = choice["logprobs"]["tokens"].as_array().unwrap();
    let joined: String = tokens.iter().map(|it| it.as_str().unwrap()).collect();
    let text = choice["text"].as_str().unwrap();
    assert_eq!(text, joined);
    assert_eq!(choice["logprobs"]["text_offset"][0], 0);
    for list in ["token_logprobs", "top_logprobs", "text_offset"] {
        let list = choice["logprobs"][list].as_array().unwrap();
        assert_eq!(list.len(), tokens.len());
    }

    let native = server.post("/completion", &with(prompt, json!({"n_probs": 2})));
    let native = native.json();
    assert_eq!(text_of(&native["completion_probabilities"], 2), joined);
    assert!(native["completion_probabilities"][0]["id"].is_u64());

    let asked = json!({"input": "Who are you?", "max_output_tokens": 16, "temperature": 0,
                       "top_logprobs": 2});
    let response = server.post("/v1/responses", &asked).json();
    let part = &response["output"][0]["content"][0];
    assert_eq!(text_of(&part["logprobs"], 2).trim_start(), part["text"]);
}

#[test]
fn a_call_of_a_tool_can_be_demanded() {
    let server = Server::start(&[]);
    let tool = |name: &str| {
        let city = json!({"type": "string", "enum": ["Rome", "Oslo"]});
        json!({"type": "function", "function": {"name": name, "parameters": {
            "$defs": {"city": city},
            "type": "object",
            "properties": {"city": {"$ref": "#/$defs/city"}},
            "required": ["city"],
            "additionalProperties": false,
        }}})
    };
    let tools = json!([tool("weather"), tool("map")]);
    let map = json!({"type": "function", "function": {"name": "map"}});
    for (choice, names) in [
        (json!("required"), ["weather", "map"]),
        (map, ["map", "map"]),
    ] {
        let asked = json!({"tools": tools, "tool_choice": choice, "max_tokens": 60});
        let answer = server.post(CHAT, &short(asked)).json();
        let choice = &answer["choices"][0];
        assert_eq!(choice["finish_reason"], "tool_calls", "{answer}");
        let call = &choice["message"]["tool_calls"][0]["function"];
        assert!(names.contains(&call["name"].as_str().unwrap()));
        let arguments: Value = serde_json::from_str(call["arguments"].as_str().unwrap()).unwrap();
        assert!(["Rome", "Oslo"].contains(&arguments["city"].as_str().unwrap()));
    }
}
