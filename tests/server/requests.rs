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
