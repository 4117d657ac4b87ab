//! Templates render as jinja2, set up as in transformers, renders them.
//!
//! The expected texts in `cases` are of `reference.py`. Where Python has jinja2, the test runs it
//! again, and also on every `.jinja` file of the folder that `LOGITSPEC_TEMPLATES` names. Those of
//! llama.cpp are in its `models/templates`.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use logitspec::runtime::ChatTemplate;
use serde_json::{Value, json};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/templates")
}

/// The templates of a folder by their names.
fn templates(folder: &Path) -> BTreeMap<String, String> {
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path());
    let templates = files.filter(|path| path.extension() == Some(OsStr::new("jinja")));
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, fs::read_to_string(path).unwrap())
    };
    templates.map(read).collect()
}

fn variables() -> Value {
    let text = fs::read_to_string(folder().join("variables.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn render(name: &str, source: &str, variables: &Value) -> Result<String, String> {
    let template = ChatTemplate::new(name, source, "<s>", "</s>");
    let text = template.and_then(|template| template.render(variables));
    text.map_err(|error| error.to_string())
}

/// The text or the error that jinja2 has for each of these. `None` if there is no jinja2.
fn reference(tasks: &[(&str, &Value)]) -> Option<Vec<Result<String, String>>> {
    let python = |args: &[&str]| {
        let mut command = Command::new("python3");
        command.current_dir(folder()).args(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        command.stderr(Stdio::null());
        command
    };
    if !python(&["-c", "import jinja2"]).status().ok()?.success() {
        return None;
    }
    let mut child = python(&["reference.py"]).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let lines = tasks.iter().map(|(template, variables)| {
        let mut variables = (*variables).clone();
        // What `ChatTemplate` adds by itself.
        let defaults = json!({
            "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>",
            "tools": null, "documents": null,
        });
        for (name, value) in defaults.as_object().unwrap() {
            variables
                .as_object_mut()
                .unwrap()
                .entry(name)
                .or_insert(value.clone());
        }
        json!({"template": template, "variables": variables}).to_string() + "\n"
    });
    let lines: String = lines.collect();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let results = String::from_utf8(output.stdout).unwrap();
    let results = results.lines().map(|line| {
        let result: Value = serde_json::from_str(line).unwrap();
        match result["text"].as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(result["error"].as_str().unwrap().to_owned()),
        }
    });
    Some(results.collect())
}

#[test]
fn templates_have_the_expected_texts() {
    let cases = folder().join("cases");
    let variables = variables();
    let templates = templates(&cases);
    assert_eq!(templates.len(), 10);
    for (name, source) in templates {
        let text = render(&name, &source, &variables).unwrap();
        let file = cases.join(format!("{name}.txt"));
        assert_eq!(text, fs::read_to_string(file).unwrap(), "{name}");
    }
}

#[test]
fn jinja2_has_the_expected_texts() {
    let cases = folder().join("cases");
    let variables = variables();
    let templates = templates(&cases);
    let tasks: Vec<_> = templates
        .values()
        .map(|it| (it.as_str(), &variables))
        .collect();
    let Some(texts) = reference(&tasks) else {
        eprintln!("left out: python3 has no jinja2");
        return;
    };
    for (name, text) in templates.keys().zip(texts) {
        let file = cases.join(format!("{name}.txt"));
        assert_eq!(text.unwrap(), fs::read_to_string(file).unwrap(), "{name}");
    }
}

/// Conversations for templates of others.
fn conversations() -> Vec<Value> {
    let message = |role: &str, text: &str| json!({"role": role, "content": text});
    let turns = [
        message("user", "Who are you?"),
        message("assistant", "A model. It's <b>one</b> & only."),
        message("user", "  Why?\n"),
    ];
    let system = message("system", "Be brief & kind.");
    let all = [&[system][..], &turns].concat();
    let tools = variables()["tools"].clone();
    let call = variables()["messages"][4]["tool_calls"].clone();
    let mut called = all.clone();
    called.extend([
        json!({"role": "assistant", "content": "", "tool_calls": call}),
        json!({
            "role": "tool", "name": "get_weather", "tool_call_id": "call00001", "content": "{}",
        }),
    ]);
    let mut reasoned = all.clone();
    reasoned[2] = message("assistant", "<think>\nWho?\n</think>\n\nA model.");
    vec![
        json!({"messages": &turns[..1]}),
        json!({"messages": turns}),
        json!({"messages": all}),
        json!({"messages": reasoned}),
        json!({"messages": all, "tools": tools}),
        json!({"messages": called, "tools": tools}),
        json!({"messages": all, "enable_thinking": false, "thinking": false}),
    ]
}

/// What jinja2 refuses may be rendered: templates of tools, for example, are usable without any.
#[test]
fn templates_of_others_render_as_in_jinja2() {
    let Some(folder) = std::env::var_os("LOGITSPEC_TEMPLATES") else {
        eprintln!("left out: LOGITSPEC_TEMPLATES names no folder");
        return;
    };
    let templates = templates(Path::new(&folder));
    let conversations = conversations();
    let tasks: Vec<(&str, &Value)> = templates
        .values()
        .flat_map(|source| conversations.iter().map(|it| (source.as_str(), it)))
        .collect();
    let names = templates
        .keys()
        .flat_map(|name| (0..conversations.len()).map(move |it| (name, it)));
    let expected = reference(&tasks).expect("python3 has jinja2");
    let mut different = Vec::new();
    let mut count = 0;
    for (((name, number), (source, variables)), expected) in names.zip(tasks).zip(expected) {
        let Ok(expected) = expected else { continue };
        count += 1;
        match render(name, source, variables) {
            Ok(text) if text == expected => {}
            Ok(_) => different.push(format!("{name} {number}: another text")),
            Err(error) => different.push(format!("{name} {number}: {error}")),
        }
    }
    let all = different.join("\n");
    assert!(
        different.is_empty(),
        "{} of {count} differ:\n{all}",
        different.len()
    );
}
