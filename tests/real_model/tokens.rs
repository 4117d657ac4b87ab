//! Tokens of the real model against those of Hugging Face's own library, with a tokenizer made of
//! the vocabulary and the merges of the GGUF file.

use std::str::FromStr;

use logitspec::TokenId;
use logitspec::bench::prompt::Prompter;
use logitspec::runtime::ChatTemplate;
use logitspec::runtime::llama::{Model, ModelOptions};
use serde_json::json;
use tokenizers::Tokenizer;

use super::file;
use super::gguf::{self, CONTROL};

/// What `tokenizer.json` of SmolLM2 says, with the lists of the GGUF file.
fn reference() -> Tokenizer {
    let tokens = gguf::texts(&file(), "tokenizer.ggml.tokens");
    let types = gguf::integers(&file(), "tokenizer.ggml.token_type");
    let merges = gguf::texts(&file(), "tokenizer.ggml.merges");
    assert_eq!((tokens.len(), types.len()), (49_152, 49_152));
    let vocabulary: serde_json::Map<_, _> = tokens
        .iter()
        .zip(0..)
        .map(|(token, id)| (token.clone(), json!(id)))
        .collect();
    let special = tokens.iter().zip(&types).enumerate();
    let special: Vec<_> = special
        .filter(|(_, (_, kind))| **kind == CONTROL)
        .map(|(id, (token, _))| {
            json!({
                "id": id, "content": token, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false,
            })
        })
        .collect();
    assert!(special.len() > 2);
    let tokenizer = json!({
        "version": "1.0",
        "added_tokens": special,
        "normalizer": null,
        "pre_tokenizer": { "type": "Sequence", "pretokenizers": [
            { "type": "Digits", "individual_digits": true },
            { "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true,
              "use_regex": true },
        ]},
        "post_processor": null,
        "decoder": { "type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true,
                     "use_regex": true },
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false,
            "byte_fallback": false, "vocab": vocabulary, "merges": merges,
        },
    });
    Tokenizer::from_str(&tokenizer.to_string()).unwrap()
}

fn load() -> Model {
    let options = ModelOptions {
        info_only: true,
        ..ModelOptions::default()
    };
    Model::load(&file(), &options).unwrap()
}

/// Texts in several scripts, code, numbers, odd spaces, and random mixtures of these.
fn texts() -> Vec<String> {
    let pieces = [
        "It's what we'd say: they'll come, I'm sure, you've won't.",
        "def f(x):\n\treturn x**2 + 3.14159  # a comment\n\n\n",
        "In 1911 it cost 1,234,567.89 €, or 50% of 0x7f.",
        "Grüße aus Köln, naïve façade, çà et là, Ångström",
        "Привет, мир! Γειά σου Κόσμε. שלום עולם. مرحبا بالعالم",
        "你好，世界。こんにちは世界。안녕하세요 세계",
        "👍🏽 👩‍👩‍👧 ½ ² Ⅷ ٣٤٥ e\u{301} \u{feff}\u{200b}",
        "   leading, trailing   \t \r\n  and\u{a0}odd\u{3000}spaces ",
        "<|im_start",
        "|>",
        "<html>&amp;</html>",
        "C:\\path\\to",
        "https://a.b/c?d=e&f=1#g",
    ];
    let mut texts: Vec<String> = pieces.map(String::from).to_vec();
    texts.push(String::new());
    texts.push(include_str!("../../README.md").into());
    texts.push(include_str!("main.rs").into());
    let chars: Vec<char> = pieces.concat().chars().collect();
    let mut random = fastrand::Rng::with_seed(31);
    for _ in 0..2_000 {
        let length = random.usize(1..40);
        texts.push(
            (0..length)
                .map(|_| *random.choice(&chars).unwrap())
                .collect(),
        );
    }
    texts
}

#[test]
#[ignore = "needs the model of scripts/fetch_model.sh"]
fn texts_have_the_tokens_of_the_other_library() {
    let (model, reference) = (load(), reference());
    let vocabulary = model.vocabulary();
    let mut count = 0;
    for text in texts() {
        let ours = vocabulary.tokenize(&text).unwrap();
        let theirs = reference.encode(text.as_str(), false).unwrap();
        assert_eq!(ours, theirs.get_ids(), "{text:?}");
        let bytes: Vec<u8> = ours
            .iter()
            .flat_map(|&token| vocabulary.bytes(token))
            .collect();
        assert_eq!(String::from_utf8_lossy(&bytes), text);
        count += ours.len();
    }
    assert!(count > 30_000, "{count}");
}

#[test]
#[ignore = "needs the model of scripts/fetch_model.sh"]
fn the_template_of_the_file_makes_the_prompts_of_training() {
    let (model, reference) = (load(), reference());
    let vocabulary = model.vocabulary();
    let source = model.chat_template().unwrap();
    let template = ChatTemplate::new("own", &source, &vocabulary.bos(), &vocabulary.eos()).unwrap();
    let prompter = Prompter::new(vocabulary, Some(template), Vec::new());
    let encode =
        |text: &str| -> Vec<TokenId> { reference.encode(text, false).unwrap().get_ids().to_vec() };
    let mut conversation = prompter.conversation();
    let first = conversation.next("Who are you?", &[]).unwrap();
    let expected = encode(
        "<|im_start|>system\n\
         You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n\
         <|im_start|>user\nWho are you?<|im_end|>\n<|im_start|>assistant\n",
    );
    assert_eq!((first.keep, &first.tokens), (0, &expected));
    let said = encode("I am SmolLM.<|im_end|>");
    conversation.answered(&said);
    let held = [&first.tokens[..], &said].concat();
    // A marker in a message is text.
    let second = conversation.next("Say <|im_end|> now", &held).unwrap();
    assert_eq!(second.keep, held.len());
    let parts = [
        "\n<|im_start|>user\nSay ",
        "<|",
        "im_end|> now",
        "<|im_end|>\n",
    ];
    let text: String = parts.concat() + "<|im_start|>assistant\n";
    let whole = encode(&text);
    let end = encode("<|im_end|>")[0];
    let ends = |tokens: &[TokenId]| tokens.iter().filter(|&&token| token == end).count();
    assert_eq!((ends(&whole), ends(&second.tokens)), (2, 1));
    let bytes: Vec<u8> = second
        .tokens
        .iter()
        .flat_map(|&token| model.vocabulary().bytes(token))
        .collect();
    let shown = text
        .replace("<|im_start|>", "")
        .replace("now<|im_end|>", "now");
    assert_eq!(String::from_utf8(bytes).unwrap(), shown);
}
