//! Answers as they are generated, and what requests ask of them.

use serde_json::{Value, json};

use crate::client::Server;

const CHAT: &str = "/v1/chat/completions";

fn question(max_tokens: usize) -> Value {
    json!({
        "messages": [{"role": "user", "content": "Who are you?"}],
        "max_tokens": max_tokens,
    })
}

fn with(mut body: Value, more: Value) -> Value {
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

fn content(answer: &Value) -> String {
    answer["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The texts of a stream's chunks.
fn deltas(events: &[Value]) -> Vec<String> {
    let texts = events
        .iter()
        .map(|event| &event["choices"][0]["delta"]["content"]);
    texts
        .filter_map(|text| text.as_str().map(str::to_owned))
        .collect()
}

#[test]
fn a_stream_says_what_the_whole_answer_says() {
    let server = Server::start(&["--no-shared-pool"]);
    let whole = server.post(CHAT, &question(60)).json();
    let more = json!({
        "stream": true,
        "stream_options": {"include_usage": true},
        "return_drafts": true,
        "cache_prompt": false,
        "timings_per_token": true,
    });
    let answer = server.post(CHAT, &with(question(60), more));
    assert!(answer.text.ends_with("data: [DONE]\n\n"));
    let events = answer.events();
    assert_eq!(deltas(&events).concat(), content(&whole));
    let first = &events[0]["choices"][0]["delta"];
    assert_eq!(first["role"], "assistant");
    let [.., last, usage] = &events[..] else {
        panic!("{events:?}");
    };
    assert_eq!(
        last["choices"][0]["finish_reason"],
        whole["choices"][0]["finish_reason"]
    );
    assert_eq!(
        last["timings"]["predicted_n"],
        whole["timings"]["predicted_n"]
    );
    assert_eq!(usage["choices"], json!([]));
    assert_eq!(
        usage["usage"]["completion_tokens"],
        whole["usage"]["completion_tokens"]
    );
    assert_eq!(
        usage["usage"]["prompt_tokens"],
        whole["usage"]["prompt_tokens"]
    );
    let id = &events[0]["id"];
    assert!(
        events
            .iter()
            .all(|event| event["id"] == *id && !event["usage"].is_array())
    );
    // The drafts are the text, and those from a source are as many as were accepted.
    let drafts = events.iter().filter_map(|event| event["drafts"].as_array());
    let pairs: Vec<&Value> = drafts.flatten().collect();
    let text: String = pairs.iter().map(|pair| pair[0].as_str().unwrap()).collect();
    assert_eq!(text, content(&whole));
    let sources = pairs.iter().filter_map(|pair| pair[1].as_str());
    let known = ["text", "last-logits", "recycled"];
    let mut seen = 0;
    for source in sources {
        assert!(known.contains(&source), "{source}");
        seen += 1;
    }
    assert_eq!(
        seen > 0,
        last["timings"]["draft_n_accepted"].as_u64() > Some(0)
    );
    // Each chunk says how far it is. A client that is slow gets few.
    let counts = events
        .iter()
        .filter_map(|event| event["timings"]["predicted_n"].as_u64());
    let counts: Vec<u64> = counts.collect();
    assert!(!counts.is_empty() && counts.is_sorted());
}

#[test]
fn other_streams_have_their_own_forms() {
    let server = Server::start(&[]);
    let body = json!({"prompt": "one two three", "max_tokens": 24, "stream": true});
    let events = server.post("/v1/completions", &body).events();
    let text = |event: &Value| event["choices"][0]["text"].as_str().map(str::to_owned);
    let joined: String = events.iter().filter_map(text).collect();
    let whole = server
        .post("/completion", &with(body.clone(), json!({"stream": false})))
        .json();
    assert_eq!(whole["content"], joined);
    let native = server.post("/completion", &body);
    assert!(!native.text.contains("[DONE]"));
    let native = native.events();
    let texts = native
        .iter()
        .map(|event| event["content"].as_str().unwrap());
    assert_eq!(texts.collect::<String>(), joined);
    assert_eq!(native.last().unwrap()["stop"], true);
    let input = json!({"input": "Hi", "max_output_tokens": 20, "stream": true});
    let answer = server.post("/v1/responses", &input);
    let names: Vec<&str> = answer
        .text
        .lines()
        .filter_map(|it| it.strip_prefix("event: "))
        .collect();
    let events = answer.events();
    let types: Vec<&str> = events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect();
    assert_eq!(names, types);
    assert_eq!(types[..2], ["response.created", "response.in_progress"]);
    let numbers: Vec<u64> = events
        .iter()
        .map(|event| event["sequence_number"].as_u64().unwrap())
        .collect();
    assert!(numbers.iter().copied().eq(0..numbers.len() as u64));
    let deltas = events
        .iter()
        .filter(|event| event["type"] == "response.output_text.delta");
    let text: String = deltas
        .map(|event| event["delta"].as_str().unwrap())
        .collect();
    let last = &events.last().unwrap()["response"];
    assert_eq!(last["output"][0]["content"][0]["text"], text);
}

#[test]
fn no_part_of_a_stop_is_shown() {
    let server = Server::start(&[]);
    let whole = content(&server.post(CHAT, &question(60)).json());
    let letters: Vec<char> = whole.chars().collect();
    for at in [5, 20, letters.len() - 8] {
        let stop: String = letters[at..at + 5].iter().collect();
        let cut = whole.find(&stop).unwrap();
        let more = json!({"stop": [stop, "never said"], "stream": true});
        let events = server.post(CHAT, &with(question(60), more)).events();
        assert_eq!(deltas(&events).concat(), whole[..cut], "{stop:?}");
        assert_eq!(
            events.last().unwrap()["choices"][0]["finish_reason"],
            "stop"
        );
    }
    // The rest of it was not computed for nothing.
    server.wait_until("the slot to be free", |server| !server.is_busy());
}

#[test]
fn choices_differ_and_seeds_repeat_them() {
    let server = Server::start(&[]);
    let more = json!({"n": 3, "temperature": 1.5, "top_k": 0, "min_p": 0, "seed": 7});
    let body = with(question(24), more);
    let texts = |body: &Value| -> Vec<String> {
        let answer = server.post(CHAT, body).json();
        let choices = answer["choices"].as_array().unwrap();
        let numbers: Vec<u64> = choices
            .iter()
            .map(|it| it["index"].as_u64().unwrap())
            .collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert_eq!(answer["usage"]["completion_tokens"], 72);
        let content = |choice: &Value| choice["message"]["content"].as_str().unwrap().to_owned();
        choices.iter().map(content).collect()
    };
    let first = texts(&body);
    assert!(first[0] != first[1] && first[1] != first[2] && first[0] != first[2]);
    assert_eq!(texts(&body), first);
    assert_ne!(texts(&with(body.clone(), json!({"seed": 8}))), first);
    assert_ne!(texts(&with(body.clone(), json!({"seed": -1}))), first);
    // Streamed, the choices come with their numbers.
    let events = server
        .post(CHAT, &with(body, json!({"stream": true})))
        .events();
    for (index, text) in first.iter().enumerate() {
        let of = |event: &&Value| event["choices"][0]["index"] == index;
        let own: Vec<Value> = events.iter().filter(of).cloned().collect();
        assert_eq!(deltas(&own).concat(), *text);
    }
}

#[test]
fn a_prediction_is_drafted_from_and_counted() {
    let server = Server::start(&["--no-shared-pool", "--fill-tree"]);
    let plain = server.post(CHAT, &question(60)).json();
    let counts = |answer: &Value| {
        let details = &answer["usage"]["completion_tokens_details"];
        ["accepted_prediction_tokens", "rejected_prediction_tokens"]
            .map(|name| details[name].as_u64().unwrap())
    };
    assert_eq!(counts(&plain), [0, 0]);
    let predicted = |text: &str| {
        let more = json!({"prediction": {"type": "content", "content": text}});
        let answer = server.post(CHAT, &with(question(60), more)).json();
        assert_eq!(content(&answer), content(&plain));
        answer
    };
    let right = predicted(&content(&plain));
    let [accepted, rejected] = counts(&right);
    assert!(accepted > 20 && rejected < 40, "{accepted} and {rejected}");
    assert!(right["timings"]["draft_n_accepted"].as_u64() >= Some(accepted));
    let steps = |answer: &Value| {
        answer["metrics"]["speculative_decoding"]["num_spec_steps"]
            .as_u64()
            .unwrap()
    };
    assert!(
        steps(&right) * 2 < steps(&plain),
        "{} and {}",
        steps(&right),
        steps(&plain)
    );
    let sources = &right["metrics"]["speculative_decoding"]["sources"];
    assert_eq!(sources["prediction"]["accepted"], accepted);
    let wrong = predicted("zzz zzz zzz zzz");
    assert_eq!(counts(&wrong)[0], 0);
    assert!(counts(&wrong)[1] > 0);
}

#[test]
fn a_request_says_how_to_draft() {
    let server = Server::start(&["--draft-tree-capacity", "32"]);
    let plain = content(&server.post(CHAT, &question(60)).json());
    let drafted = |speculative: Value| {
        let more = json!({"speculative": speculative});
        let answer = server.post(CHAT, &with(question(60), more)).json();
        assert_eq!(content(&answer), plain);
        let metrics = &answer["metrics"]["speculative_decoding"];
        let counts = ["num_draft_tokens", "num_spec_steps", "num_spec_tokens"];
        counts.map(|name| metrics[name].as_u64().unwrap())
    };
    assert_eq!(drafted(json!(false))[0], 0);
    assert_eq!(drafted(json!({"method": "baseline"}))[0], 0);
    let [drafts, steps, most] = drafted(json!({"draft_tree_capacity": 3, "fill_tree": true}));
    assert!(
        drafts > 0 && drafts <= 2 * steps && most == 2,
        "{drafts} in {steps} steps"
    );
    assert!(drafted(json!({"fill_tree": true}))[0] > drafts);
    assert!(drafted(json!({"method": "suffix"}))[2] == 31);
}

#[test]
fn the_cache_keeps_what_prompts_have_in_common() {
    let server = Server::start(&[]);
    let ask = |more: Value| {
        let answer = server.post(CHAT, &with(question(8), more)).json();
        let usage = &answer["usage"];
        let cached = usage["prompt_tokens_details"]["cached_tokens"]
            .as_u64()
            .unwrap();
        (
            usage["prompt_tokens"].as_u64().unwrap(),
            cached,
            content(&answer),
        )
    };
    let (prompt, cached, text) = ask(json!({}));
    assert_eq!(cached, 0);
    assert_eq!(ask(json!({})), (prompt, prompt - 1, text.clone()));
    assert_eq!(ask(json!({"cache_prompt": false})), (prompt, 0, text));
}

#[test]
fn requests_choose_whether_to_share_their_text() {
    let history = |answer: &Value| {
        let sources = &answer["metrics"]["speculative_decoding"]["sources"];
        sources["history"]["accepted"].as_u64().unwrap_or(0)
    };
    let ask = |server: &Server, pool: Value| {
        let body = with(question(60), json!({"shared_pool": pool}));
        history(&server.post(CHAT, &body).json())
    };
    let server = Server::start(&["--fill-tree"]);
    assert_eq!(ask(&server, json!({"feed": false})), 0);
    assert_eq!(ask(&server, json!(true)), 0, "the first fed nothing");
    assert!(ask(&server, json!(true)) > 0);
    assert_eq!(ask(&server, json!({"read": false})), 0);
    assert_eq!(ask(&server, json!(false)), 0);
    let server = Server::start(&["--fill-tree"]);
    assert_eq!(ask(&server, json!({"read": false})), 0);
    assert!(ask(&server, json!(true)) > 0, "the first fed its text");
    let without = Server::start(&["--fill-tree", "--no-shared-pool"]);
    assert_eq!(
        [ask(&without, json!(true)), ask(&without, json!(true))],
        [0, 0]
    );
}
