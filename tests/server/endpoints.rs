//! Every address, with an answer that is as it should be.

use serde_json::{Value, json};

use crate::client::Server;
use crate::program::gguf::{Gguf, Value as Meta};
use crate::program::{self, model_path};

const CHAT: &str = "/v1/chat/completions";

/// What `generate` answers.
fn generated(args: &[&str]) -> Value {
    let output = program::generate(&[args, &["--json"]].concat());
    program::json(&output)
}

fn count(value: &Value) -> usize {
    usize::try_from(value.as_u64().unwrap()).unwrap()
}

#[test]
fn a_chat_says_what_the_command_says() {
    let server = Server::start(&["--no-shared-pool"]);
    let expected = generated(&["--chat", "-p", "Who are you?", "-n", "40"]);
    let body = json!({
        "model": "any",
        "messages": [{"role": "user", "content": "Who are you?"}],
        "max_tokens": 40,
        "user": "me",
        "unknown": {"to": "all"},
    });
    let answer = server.post(CHAT, &body).json();
    assert_eq!(answer["object"], "chat.completion");
    assert_eq!(answer["model"], "tiny-llama");
    let choice = &answer["choices"][0];
    assert_eq!(choice["message"]["role"], "assistant");
    assert_eq!(choice["message"]["content"], expected["text"]);
    assert_eq!(choice["finish_reason"], expected["finish_reason"]);
    let usage = &answer["usage"];
    assert_eq!(usage["prompt_tokens"], expected["prompt_tokens"]);
    assert_eq!(usage["completion_tokens"], expected["new_tokens"]);
    let total = count(&expected["prompt_tokens"]) + count(&expected["new_tokens"]);
    assert_eq!(usage["total_tokens"], total);
    let timings = &answer["timings"];
    assert_eq!(timings["predicted_n"], expected["new_tokens"]);
    assert_eq!(timings["prompt_n"], expected["prompt_tokens"]);
    assert!(timings["predicted_per_second"].as_f64().unwrap() > 0.0);
    let metrics = &answer["metrics"]["speculative_decoding"];
    assert_eq!(metrics["num_draft_tokens"], timings["draft_n"]);
    assert_eq!(
        metrics["num_accepted_draft_tokens"],
        timings["draft_n_accepted"]
    );
    let steps = metrics["acceptance_histogram"].as_array().unwrap();
    assert_eq!(
        steps.iter().map(count).sum::<usize>(),
        count(&metrics["num_spec_steps"])
    );
    let accepted = steps
        .iter()
        .enumerate()
        .map(|(size, steps)| size * count(steps));
    assert_eq!(accepted.sum::<usize>(), count(&timings["draft_n_accepted"]));
}

#[test]
fn parts_and_all_roles_make_the_same_prompt() {
    let server = Server::start(&[]);
    let prompt = |messages: Value| {
        let body = json!({"messages": messages});
        server.post("/apply-template", &body).json()["prompt"].clone()
    };
    let plain = prompt(json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one two"},
    ]));
    let text = plain.as_str().unwrap();
    assert!(
        text.contains("Be brief.") && text.ends_with("USER: one two ASSISTANT:"),
        "{text}"
    );
    let parts = prompt(json!([
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "user", "content": [
            {"type": "text", "text": "one "},
            {"type": "text", "text": "two"},
        ]},
    ]));
    assert_eq!(parts, plain);
    // An answer that was begun goes on.
    let begun = prompt(json!([
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "one two"},
        {"role": "assistant", "content": " I am"},
    ]));
    assert_eq!(begun, format!("{text} I am"));
}

#[test]
fn templates_without_a_place_for_tools_are_told_of_them_all_the_same() {
    let server = Server::start(&[]);
    let tools = json!([{"type": "function", "function": {
        "name": "add",
        "parameters": {"type": "object"},
    }}]);
    let call = json!({"id": "1", "type": "function", "function": {
        "name": "add",
        "arguments": "{\"a\": 1}",
    }});
    let mut body = json!({"tools": tools, "messages": [
        {"role": "user", "content": "Add."},
        {"role": "assistant", "content": null, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "seven"},
    ]});
    let prompt = |body: &Value| {
        let answer = server.post("/apply-template", body).json();
        answer["prompt"].as_str().unwrap().to_owned()
    };
    let text = prompt(&body);
    assert!(
        text.contains(r#"{"name":"add","parameters":{"type":"object"}}"#),
        "{text}"
    );
    assert!(
        text.contains(
            r#"<tool_call>
{"name":"add","arguments":{"a":1}}
</tool_call>"#
        ),
        "{text}"
    );
    assert!(
        text.contains("<tool_response>\nseven\n</tool_response>"),
        "{text}"
    );
    body["tool_choice"] = "none".into();
    assert!(!prompt(&body).contains("parameters"));
    assert_eq!(server.post(CHAT, &body).status, 200);
}

#[test]
fn templates_with_a_place_for_tools_get_them() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("template.jinja");
    let source = "{% for tool in tools or [] %}[{{ tool.function.name }}]{% endfor %}\
        {% for m in messages %}{{ m.role }}:{{ m.content }}{% for c in m.tool_calls or [] %}\
        ({{ c.function.name }} {{ c.function.arguments.a }}){% endfor %};{% endfor %}";
    std::fs::write(&file, source).unwrap();
    let server = Server::start(&["--template", file.to_str().unwrap()]);
    let body = json!({
        "tools": [{"type": "function", "function": {"name": "add"}}],
        "messages": [
            {"role": "user", "content": "Add."},
            {"role": "assistant", "content": "", "tool_calls": [
                {"function": {"name": "add", "arguments": "{\"a\": 1}"}},
            ]},
            {"role": "tool", "content": "seven"},
        ],
    });
    let answer = server.post("/apply-template", &body).json();
    assert_eq!(
        answer["prompt"],
        "[add]user:Add.;assistant:(add 1);tool:seven;"
    );
    assert_eq!(
        server.get("/props").json()["chat_template_takes_tools"],
        true
    );
}

#[test]
fn completions_go_on_with_texts_and_tokens() {
    let server = Server::start(&[]);
    let expected = generated(&["-p", "one two three", "-n", "24"]);
    let body = |prompt: Value| json!({"prompt": prompt, "max_tokens": 24});
    let path = "/v1/completions";
    let answer = server.post(path, &body(json!("one two three"))).json();
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(answer["choices"][0]["text"], expected["text"]);
    let tokens = server.post(
        "/tokenize",
        &json!({
            "content": "one two three",
            "add_special": true,
        }),
    );
    let tokens = tokens.json()["tokens"].clone();
    let same = server.post(path, &body(tokens.clone())).json();
    assert_eq!(same["choices"][0]["text"], expected["text"]);
    let mut several = body(json!(["one two three", tokens, "four"]));
    several["n"] = 2.into();
    several["echo"] = true.into();
    let several = server.post(path, &several).json();
    let choices = several["choices"].as_array().unwrap();
    let texts: Vec<&str> = choices
        .iter()
        .map(|it| it["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts.len(), 6);
    let echoed = format!("one two three{}", expected["text"].as_str().unwrap());
    assert_eq!(texts[..2], [&echoed, &echoed]);
    assert!(
        texts[2].ends_with(&echoed) && texts[4].starts_with("four"),
        "{texts:?}"
    );
    let prompts = 2 * count(&expected["prompt_tokens"]);
    let usage = &several["usage"];
    assert!(count(&usage["prompt_tokens"]) > prompts);
    assert!(count(&usage["prompt_tokens"]) < 2 * prompts);
}

#[test]
fn responses_have_their_own_form() {
    let server = Server::start(&[]);
    let expected = generated(&["--system", "Be brief.", "-p", "Who are you?", "-n", "20"]);
    let body = json!({
        "instructions": "Be brief.",
        "input": "Who are you?",
        "max_output_tokens": 20,
    });
    let answer = server.post("/v1/responses", &body).json();
    assert_eq!(answer["object"], "response");
    let content = &answer["output"][0]["content"][0];
    assert_eq!(content["type"], "output_text");
    assert_eq!(content["text"], expected["text"]);
    assert_eq!(answer["usage"]["input_tokens"], expected["prompt_tokens"]);
    let status = match expected["finish_reason"].as_str() {
        Some("length") => "incomplete",
        _ => "completed",
    };
    assert_eq!(answer["status"], status);
    let list = json!({"input": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Who are you?"}]},
    ], "max_output_tokens": 20});
    let same = server.post("/v1/responses", &list).json();
    assert_eq!(same["output"][0]["content"][0]["text"], expected["text"]);
}

#[test]
fn llama_servers_completion_says_why_it_ended() {
    let server = Server::start(&[]);
    let expected = generated(&["-p", "one two three", "-n", "24"]);
    let text = expected["text"].as_str().unwrap();
    let mut body = json!({"prompt": "one two three", "n_predict": 24});
    let answer = server.post("/completion", &body).json();
    assert_eq!(answer["content"], text);
    assert_eq!(answer["stop_type"], "limit");
    assert_eq!(answer["tokens_predicted"], 24);
    assert_eq!(answer["tokens_evaluated"], expected["prompt_tokens"]);
    let (at, _) = text.char_indices().nth(text.chars().count() / 2).unwrap();
    let end = text[at..].char_indices().nth(3).unwrap().0;
    let stop = &text[at..at + end];
    body["stop"] = json!([stop]);
    let stopped = server.post("/completion", &body).json();
    let cut = text.find(stop).unwrap();
    assert_eq!(stopped["content"], text[..cut]);
    assert_eq!(stopped["stop_type"], "word");
    assert_eq!(stopped["stopping_word"], stop);
    body["n_predict"] = 0.into();
    assert_eq!(server.post("/completion", &body).json()["content"], "");
}

#[test]
fn infill_puts_the_models_marks_around_the_texts() {
    let plain = Server::start(&[]);
    let body = json!({
        "input_prefix": "one ",
        "input_suffix": " three",
        "input_extra": [{"filename": "a.txt", "text": "zero"}],
        "n_predict": 4,
    });
    let refused = plain.post("/infill", &body).error();
    assert!(
        refused["message"]
            .as_str()
            .unwrap()
            .contains("cannot fill in")
    );
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("fim.gguf");
    let marks = [("pre", 300), ("suf", 301), ("mid", 302)];
    let mut file = Gguf::read(model_path("tiny-llama.gguf"));
    for (name, token) in marks {
        file = file.set(
            &format!("tokenizer.ggml.fim_{name}_token_id"),
            Meta::U32(token),
        );
    }
    file.write(&model);
    let server = Server::with_model(model.to_str().unwrap(), &[]);
    assert_eq!(server.get("/props").json()["can_infill"], true);
    let answer = server.post("/infill", &body).json();
    assert_eq!(answer["tokens_predicted"], 4);
    let mark = |token: u32| {
        let text = server
            .post("/detokenize", &json!({"tokens": [token]}))
            .json();
        text["content"].as_str().unwrap().to_owned()
    };
    let [before, after, middle] = marks.map(|(_, token)| mark(token));
    let expected = format!("a.txt:\nzero{before}one {after} three{middle}");
    let prompt = answer["prompt"].as_str().unwrap();
    assert!(prompt.ends_with(&expected), "{prompt:?} {expected:?}");
    for missing in ["input_prefix", "input_suffix"] {
        let mut body = body.clone();
        body.as_object_mut().unwrap().remove(missing);
        assert_eq!(server.post("/infill", &body).error()["param"], missing);
    }
}

#[test]
fn texts_become_tokens_and_come_back() {
    let server = Server::start(&[]);
    let text = "one two é </s>";
    let tokens = |fields: Value| {
        let mut body = json!({"content": text});
        body.as_object_mut()
            .unwrap()
            .extend(fields.as_object().unwrap().clone());
        server.post("/tokenize", &body).json()["tokens"]
            .as_array()
            .unwrap()
            .clone()
    };
    let plain = tokens(json!({}));
    assert!(plain.contains(&json!(2)), "{plain:?}");
    assert!(!tokens(json!({"parse_special": false})).contains(&json!(2)));
    assert_eq!(tokens(json!({"add_special": true})).len(), plain.len() + 1);
    let pieces = tokens(json!({"with_pieces": true}));
    let ids: Vec<Value> = pieces.iter().map(|piece| piece["id"].clone()).collect();
    assert_eq!(ids, plain);
    let back = server.post("/detokenize", &json!({"tokens": plain})).json();
    assert_eq!(back["content"].as_str().unwrap().trim_start(), text);
}

#[test]
fn the_server_says_what_it_is_and_does() {
    let server = Server::start(&["--alias", "little", "-c", "512", "--fill-tree"]);
    assert_eq!(server.get("/health").json()["status"], "ok");
    let models = server.get("/v1/models").json();
    assert_eq!(models["data"][0]["id"], "little");
    assert_eq!(models["data"][0]["meta"]["n_ctx"], 512);
    let props = server.get("/props").json();
    assert_eq!(props["total_slots"], 4);
    assert_eq!(props["eos_token"], "</s>");
    let slots = server.get("/slots").json();
    assert_eq!(slots[0]["is_processing"], false);
    let page = server.get("/");
    assert!(page.text.starts_with("<!doctype html>"));
    assert!(
        page.headers["content-type"]
            .to_str()
            .unwrap()
            .starts_with("text/html")
    );
    // The page fetches nothing from elsewhere.
    assert!(!page.text.contains("http://") && !page.text.contains("https://"));
    let body = json!({"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 90});
    let answer = server.post(CHAT, &body).json();
    assert_eq!(answer["model"], "little");
    let metrics = server.get("/metrics").text;
    let number = |name: &str| -> f64 {
        let line = metrics.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in {metrics}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    };
    let timings = &answer["timings"];
    assert!(
        count(&timings["draft_n_accepted"]) > 0,
        "nothing was accepted: {timings}"
    );
    let same = [
        ("llamacpp:tokens_predicted_total", &timings["predicted_n"]),
        ("llamacpp:prompt_tokens_total", &timings["prompt_n"]),
        ("vllm:generation_tokens_total", &timings["predicted_n"]),
        (
            "vllm:spec_decode_num_draft_tokens_total",
            &timings["draft_n"],
        ),
        (
            "vllm:spec_decode_num_accepted_tokens_total",
            &timings["draft_n_accepted"],
        ),
    ];
    for (name, value) in same {
        assert_eq!(Some(number(name)), value.as_f64(), "{name}");
    }
    for (name, value) in [
        ("vllm:request_success_total", 1.0),
        ("vllm:e2e_request_latency_seconds_count", 1.0),
        ("vllm:time_to_first_token_seconds_count", 1.0),
        ("llamacpp:requests_processing", 0.0),
        ("vllm:num_requests_waiting", 0.0),
    ] {
        assert_eq!(number(name), value, "{name}");
    }
    assert!(number("llamacpp:kv_cache_tokens") > 0.0);
    assert!(metrics.contains("model_name=\"little\"") && metrics.ends_with("# EOF\n"));
    // Other spellings of the addresses.
    for path in ["/models", "/v1/health"] {
        assert_eq!(server.get(path).status, 200, "{path}");
    }
    assert_eq!(server.post("/chat/completions", &body).status, 200);
}

#[test]
fn prompts_are_logged_only_if_asked_for() {
    let body = json!({"messages": [{"role": "user", "content": "Xylophone"}], "max_tokens": 2});
    for (flags, is_logged) in [(&[][..], false), (&["--log-prompts"], true)] {
        let server = Server::start(flags);
        server.post(CHAT, &body).json();
        server.wait_until("the log", |server| server.log().contains("2 new tokens"));
        assert_eq!(server.log().contains("Xylophone"), is_logged);
    }
}
