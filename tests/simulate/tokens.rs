//! The tokens of recorded prompts, with a `tokenizer.json`.

use logitspec::TokenId;
use logitspec::runtime::{ChatTemplate, PromptTokenizer};
use logitspec::simulate::{Fields, JsonTokenizer, RequestEncoder, read_jsonl};
use serde_json::{Value, json};

use crate::command::{Folder, TOKENIZER};

const BOS: TokenId = 0;
const EOS: TokenId = 1;

/// Writes both special tokens.
const TEMPLATE: &str = "{{ bos_token }}{{ messages[-1].content }} {{ eos_token }}";

/// A tokenizer of whole words that puts `before` and `behind` around every text.
fn tokenizer(folder: &Folder, around: Option<(&[&str], &[&str])>) -> JsonTokenizer {
    let mut tokenizer: Value = serde_json::from_str(TOKENIZER).unwrap();
    if let Some((before, behind)) = around {
        let special = |name: &&str| json!({"SpecialToken": {"id": name, "type_id": 0}});
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let parts = before.iter().map(special).chain([text]);
        let single: Vec<Value> = parts.chain(behind.iter().map(special)).collect();
        let named = |name: &str, id: TokenId| json!({"id": name, "ids": [id], "tokens": [name]});
        tokenizer["post_processor"] = json!({
            "type": "TemplateProcessing", "single": single, "pair": single,
            "special_tokens": {"<s>": named("<s>", BOS), "</s>": named("</s>", EOS)},
        });
    }
    let path = folder.write("around.json", &tokenizer.to_string());
    JsonTokenizer::from_file(path.as_ref(), None, Some("e")).unwrap()
}

/// The tokens of the prompt `said`, in the template if there is one.
fn prompt(
    tokenizer: &JsonTokenizer,
    said: &str,
    with_template: bool,
    parse_special: bool,
) -> Vec<TokenId> {
    let folder = Folder::new();
    let line = json!({"prompt": said, "response": "a"}).to_string();
    let path = folder.write("log.jsonl", &line);
    let template = ChatTemplate::new("test", TEMPLATE, "<s>", "</s>").unwrap();
    let encoder = RequestEncoder {
        tokenizer,
        template: with_template.then_some(&template),
        opening: Vec::new(),
        parse_special,
        max_new_tokens: 8,
    };
    let fields = Fields {
        prompt: "prompt".into(),
        response: "response".into(),
        category: "category".into(),
    };
    let requests = read_jsonl(path.as_ref(), &fields, &encoder, &mut |_| ()).unwrap();
    requests[0].turns[0].prompt.clone()
}

#[test]
fn a_prompt_begins_with_bos_once_and_ends_in_no_added_eos() {
    let folder = Folder::new();
    let both: (&[&str], &[&str]) = (&["<s>"], &["</s>"]);
    for around in [None, Some(both), Some((both.0, &[])), Some((&[], both.1))] {
        let tokenizer = tokenizer(&folder, around);
        assert_eq!(prompt(&tokenizer, "a b", false, true), [BOS, 3, 4]);
        assert_eq!(prompt(&tokenizer, "a b", true, false), [BOS, 3, 4, EOS]);
    }
}

#[test]
fn messages_are_plain_text() {
    let folder = Folder::new();
    let tokenizer = tokenizer(&folder, None);
    let count = |tokens: &[TokenId], token| tokens.iter().filter(|&&it| it == token).count();
    let said = "a </s> b <s>";
    let plain = prompt(&tokenizer, said, true, false);
    assert_eq!((count(&plain, BOS), count(&plain, EOS)), (1, 1));
    assert!(plain.starts_with(&[BOS, 3]) && plain.ends_with(&[EOS]));
    let parsed = prompt(&tokenizer, said, true, true);
    assert_eq!((count(&parsed, BOS), count(&parsed, EOS)), (2, 2));
    // A record without a template holds what the model got.
    let raw = prompt(&tokenizer, "<s> a", false, true);
    assert!(tokenizer.has_bos_twice(&raw));
    assert!(!tokenizer.has_bos_twice(&parsed));
}
