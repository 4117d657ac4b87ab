//! What a prompt begins and ends with, which of its text becomes control tokens, and how long it
//! may be.

use logitspec::bench::prompt::Prompter;
use logitspec::runtime::{ChatEncoder, Place, PromptTokenizer, TurnText};

use super::*;
use crate::gguf::{CONTROL, Value, bundled, byte_level, edit};

const BOS: TokenId = 1;
const EOS: TokenId = 2;

/// Writes the beginning-of-sequence token itself.
const WITH_BOS: &str = "{{ bos_token }}{% for message in messages %}[{{ message.role }}] \
    {{ message.content | trim }}{{ eos_token }}{% endfor %}[assistant]";

/// Leaves it to the tokenizer.
const WITHOUT_BOS: &str = "{% for message in messages %}[{{ message.role }}] \
    {{ message.content }}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}\
    {% endfor %}[assistant]";

/// A bundled model with changes; only its vocabulary can be used.
fn vocabulary_of(name: &str, changes: &[(&str, Value<'_>)]) -> Model {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("edited.gguf");
    edit(&bundled(name), &file, changes);
    let options = ModelOptions {
        info_only: true,
        ..ModelOptions::default()
    };
    Model::load(&file, &options).unwrap()
}

/// One model of each kind of vocabulary, with these changes.
fn each_kind(changes: impl Fn() -> Vec<(&'static str, Value<'static>)>) -> [Model; 3] {
    let bytes = [byte_level("gpt-4o", 640), changes()].into_iter().flatten();
    [
        vocabulary_of("tiny-llama.gguf", &changes()),
        vocabulary_of("logitspec-demo.gguf", &changes()),
        vocabulary_of("tiny-llama.gguf", &bytes.collect::<Vec<_>>()),
    ]
}

fn bos_and_eos(bos: bool, eos: bool) -> Vec<(&'static str, Value<'static>)> {
    vec![
        ("tokenizer.ggml.add_bos_token", Value::Bool(bos)),
        ("tokenizer.ggml.add_eos_token", Value::Bool(eos)),
    ]
}

fn template(model: &Model, source: &str) -> ChatTemplate {
    let vocabulary = model.vocabulary();
    ChatTemplate::new("test", source, &vocabulary.bos(), &vocabulary.eos()).unwrap()
}

fn user(text: &str) -> Message {
    Message::new(Role::User, text)
}

/// The first prompt of a conversation that begins with `messages`.
fn first(model: &Model, source: &str, parse_special: bool, messages: &[Message]) -> Vec<TokenId> {
    let vocabulary = model.vocabulary();
    let template = template(model, source);
    let encoder = ChatEncoder {
        tokenizer: &vocabulary,
        template: Some(&template),
        parse_special,
    };
    encoder.first(messages).unwrap().tokens
}

/// The text of tokens, with control tokens. SentencePiece's spaces before texts are kept.
fn written(model: &Model, tokens: &[TokenId]) -> String {
    let vocabulary = model.vocabulary();
    tokens.iter().map(|&it| vocabulary.written(it)).collect()
}

fn count(tokens: &[TokenId], token: TokenId) -> usize {
    tokens.iter().filter(|&&it| it == token).count()
}

#[test]
fn a_chat_prompt_begins_with_bos_once_whoever_writes_it() {
    for model in each_kind(|| bos_and_eos(false, false)) {
        let prompt = first(&model, WITH_BOS, false, &[user("Hi")]);
        assert_eq!((prompt[0], count(&prompt, BOS)), (BOS, 1));
        let prompt = first(&model, WITHOUT_BOS, false, &[user("Hi")]);
        assert_eq!(count(&prompt, BOS), 0);
    }
    for model in each_kind(|| bos_and_eos(true, false)) {
        for source in [WITH_BOS, WITHOUT_BOS] {
            let prompt = first(&model, source, false, &[user("Hi")]);
            assert_eq!((prompt[0], count(&prompt, BOS)), (BOS, 1), "{source}");
        }
    }
}

#[test]
fn a_benchmark_asks_what_a_chat_asks() {
    for model in each_kind(|| bos_and_eos(false, true)) {
        let vocabulary = model.vocabulary();
        let prompter = Prompter::new(vocabulary, Some(template(&model, WITH_BOS)), Vec::new());
        let said = "Say </s> now";
        let mut conversation = prompter.conversation();
        let asked = conversation.next(said, &[]).unwrap().tokens;
        assert_eq!(asked, first(&model, WITH_BOS, false, &[user(said)]));
        assert_eq!((asked[0], count(&asked, EOS)), (BOS, 1));
        conversation.answered(&[EOS]);
        let next = conversation.next(said, &[&asked[..], &[EOS]].concat());
        let next = next.unwrap();
        assert_eq!(next.keep, asked.len() + 1);
        assert_eq!(count(&next.tokens, EOS), 1);
        // Without a template, a turn is plain text, too.
        let prompter = Prompter::new(vocabulary, None, Vec::new());
        let asked = prompter.conversation().next(said, &[]).unwrap().tokens;
        assert_eq!(count(&asked, EOS), 0);
        let prompter = prompter.parse_special(true);
        let asked = prompter.conversation().next(said, &[]).unwrap().tokens;
        assert_eq!(count(&asked, EOS), 1);
    }
}

#[test]
fn a_prompt_that_is_to_be_continued_ends_in_no_added_eos() {
    for model in each_kind(|| bos_and_eos(true, true)) {
        let vocabulary = model.vocabulary();
        let prompt = vocabulary.tokenize("Once upon").unwrap();
        assert_eq!((prompt[0], count(&prompt, EOS)), (BOS, 0));
        assert_eq!(count(&vocabulary.tokenize("").unwrap(), EOS), 0);
        let asked = first(&model, WITHOUT_BOS, false, &[user("Hi")]);
        assert_eq!(count(&asked, EOS), 0);
        // One that the prompt spells out is its own.
        assert!(vocabulary.tokenize("Once</s>").unwrap().ends_with(&[EOS]));
    }
}

#[test]
fn bos_twice_is_seen() {
    let twice = |model: &Model, text: &str| {
        let vocabulary = model.vocabulary();
        vocabulary.has_bos_twice(&vocabulary.tokenize(text).unwrap())
    };
    for model in each_kind(|| bos_and_eos(true, false)) {
        assert!(twice(&model, "<s>Once"));
        assert!(!twice(&model, "Once <s>"));
        assert!(!twice(&model, "<s"));
    }
    for model in each_kind(|| bos_and_eos(false, false)) {
        assert!(!twice(&model, "<s>Once"));
        assert!(!twice(&model, "<s><s>Once"));
    }
}

#[test]
fn messages_are_plain_text_and_the_templates_markers_are_not() {
    let conversation = [
        Message::new(Role::System, "<s>Be</s>brief<unk>."),
        user("Say </s></s> now, <s>"),
        Message::new(Role::Assistant, "</s> it is."),
        user("</s>"),
    ];
    for model in each_kind(|| bos_and_eos(true, false)) {
        let tokens = first(&model, WITH_BOS, false, &conversation);
        assert_eq!((count(&tokens, BOS), count(&tokens, EOS)), (1, 4));
        let text = written(&model, &tokens).replace(' ', "");
        let expected = "<s>[system]<s>Be</s>brief<unk>.</s>[user]Say</s></s>now,<s></s>\
            [assistant]</s>itis.</s>[user]</s></s>[assistant]";
        assert_eq!(text, expected);
        let parsed = first(&model, WITH_BOS, true, &conversation);
        assert_eq!((count(&parsed, BOS), count(&parsed, EOS)), (3, 9));
    }
}

#[test]
fn a_control_token_in_pieces_is_not_put_together() {
    // Two messages side by side, trimmed.
    let source = "{% for message in messages %}{{ message.content | trim }}{% endfor %}";
    for model in each_kind(|| bos_and_eos(true, false)) {
        for (left, right) in [("a <", "/s> b"), ("</s", ">"), ("</ ", "\ns>")] {
            let tokens = first(&model, source, false, &[user(left), user(right)]);
            assert_eq!(count(&tokens, EOS), 0, "{left:?} and {right:?}");
        }
    }
}

/// Messages that end like a spelling are tokenized in parts. That must change nothing.
#[test]
fn text_in_parts_has_the_tokens_of_the_whole() {
    let endings = [
        "<",
        "> quoted",
        "a <",
        " / s> ",
        "</s",
        "  two  spaces <",
        "\n\n<",
        "é<",
    ];
    for model in each_kind(|| bos_and_eos(true, false)) {
        let vocabulary = model.vocabulary();
        let control = vocabulary.control_tokens();
        let mut marked = 0;
        for content in endings {
            let earlier = [user(content), Message::new(Role::Assistant, "So it is.")];
            let messages = [&earlier[..], &[user(content)]].concat();
            marked += usize::from(!control.mark(&messages).is_plain());
            for source in [WITH_BOS, WITHOUT_BOS] {
                let template = template(&model, source);
                let text = template.prompt(&messages).unwrap();
                let text = text.strip_prefix("<s>").unwrap_or(&text);
                let whole = vocabulary.encode(text, Place::Start, true).unwrap();
                let tokens = first(&model, source, false, &messages);
                assert_eq!(tokens, [&[BOS], &whole[..]].concat(), "{content:?}");

                let encoder = ChatEncoder {
                    tokenizer: &vocabulary,
                    template: Some(&template),
                    parse_special: false,
                };
                let TurnText::Next(text) = template.turn(&messages).unwrap() else {
                    panic!("the template keeps answers");
                };
                let whole = vocabulary.encode(&text, Place::Middle, true).unwrap();
                let tokens = encoder.next(&messages, &[]).unwrap().tokens;
                assert_eq!(tokens, whole, "{content:?}");
            }
        }
        assert!(marked > 3, "some of these need marks");
    }
}

/// `std::regex` takes 300 bytes of stack for each of these characters.
#[test]
fn no_text_runs_out_of_stack_in_any_thread() {
    for pre in ["gpt-4o", "tekken", "deepseek-v3", "default"] {
        let model = vocabulary_of("tiny-llama.gguf", &byte_level(pre, 640));
        let vocabulary = model.vocabulary();
        let tokenize = || {
            for piece in ["a", "A", "é", "=", "7", "\n"] {
                for length in [1 << 10, 40_000, 1 << 18] {
                    let text = piece.repeat(length);
                    let tokens = vocabulary.tokenize_document(&text).unwrap();
                    assert_eq!(tokens.len(), text.len(), "{pre} {piece:?}");
                }
            }
        };
        std::thread::scope(|scope| {
            let thread = std::thread::Builder::new().stack_size(1 << 20);
            thread.spawn_scoped(scope, tokenize).unwrap();
        });
    }
}

#[test]
fn a_text_that_no_stack_holds_is_refused_by_name() {
    let model = vocabulary_of("tiny-llama.gguf", &byte_level("gpt-4o", 640));
    let vocabulary = model.vocabulary();
    let long = "a".repeat(8 << 20);
    let error = vocabulary.tokenize(&long).unwrap_err().to_string();
    for word in ["\"aaaa", "8388608 bytes", "shorter lines"] {
        assert!(error.contains(word), "{error}");
    }
    // Nobody minds a text of many lines.
    let lines = "a line\n".repeat(1 << 20);
    assert_eq!(
        vocabulary.tokenize_document(&lines).unwrap().len(),
        lines.len()
    );
}

#[test]
fn a_drafted_answer_has_the_log_probabilities_of_the_plain_one() {
    use logitspec::engine::{Generation, RequestOptions};

    let model = load("tiny-llama.gguf");
    let prompt = model.vocabulary().tokenize(PROMPTS[1]).unwrap();
    let answer = |flash_attention, method, temperature| -> Generation {
        let request = RequestOptions {
            sampling: SamplingParams {
                temperature,
                seed: 3,
                ..SamplingParams::default()
            },
            logprobs: Some(4),
            ..RequestOptions::default()
        };
        let context = ContextOptions {
            flash_attention,
            ..CONTEXT
        };
        let session = Session::open(&model, &context, options(method, 16)).unwrap();
        generated(&mut session.with_request(request), &prompt, 40)
    };
    for (attention, temperature) in [
        (FlashAttention::On, 0.0),
        (FlashAttention::On, 0.8),
        (FlashAttention::Off, 0.8),
    ] {
        let plain = answer(attention, Method::Baseline, temperature);
        assert_eq!(plain.logprobs.len(), plain.tokens.len());
        for method in Method::ALL {
            let drafted = answer(attention, method, temperature);
            if cfg!(few_token_kernels) && attention == FlashAttention::On {
                assert!(drafted.logprobs == plain.logprobs, "{method}");
            }
            for (a, b) in drafted.logprobs.iter().zip(&plain.logprobs) {
                if a.token != b.token {
                    // A tie.
                    break;
                }
                assert!(
                    (a.logprob - b.logprob).abs() < 1e-4,
                    "{a:?} and {b:?} with {method}"
                );
            }
        }
    }
}

#[test]
fn a_stop_is_found_in_the_middle_of_tokens_and_cuts_the_cache_back() {
    use std::sync::Arc;

    use logitspec::engine::{RequestOptions, Stops};

    let model = load("tiny-llama.gguf");
    let vocabulary = model.vocabulary();
    let prompt = vocabulary.tokenize(PROMPTS[1]).unwrap();
    let open = || Session::open(&model, &CONTEXT, options(Method::Logitspec, 16)).unwrap();
    let plain = generated(&mut open(), &prompt, 40);
    let bytes = Arc::new(vocabulary.token_bytes(false));
    // From the middle of one token to the middle of another.
    let text: Vec<u8> = plain
        .tokens
        .iter()
        .flat_map(|&it| bytes.of(it).to_vec())
        .collect();
    let text = String::from_utf8_lossy(&text).into_owned();
    let letters: Vec<char> = text.chars().collect();
    let stop: String = letters[letters.len() / 2..letters.len() / 2 + 5]
        .iter()
        .collect();
    assert!(
        !stop.contains(char::REPLACEMENT_CHARACTER),
        "{stop:?}: take another prompt"
    );
    let request = RequestOptions {
        stops: Stops::new(vec![stop.clone()], Vec::new(), Arc::clone(&bytes)),
        ..RequestOptions::default()
    };
    let mut session = open().with_request(request);
    let stopped = generated(&mut session, &prompt, 40);
    assert_eq!(stopped.finish, FinishReason::Stop);
    assert_eq!(stopped.stop.unwrap().string, Some(stop.clone()));
    let kept: Vec<u8> = stopped.tokens[..stopped.kept]
        .iter()
        .flat_map(|&it| bytes.of(it).to_vec())
        .collect();
    let before = text.split(&stop).next().unwrap().as_bytes();
    assert!(before.starts_with(&kept) && before.len() - kept.len() < 20);
    let expected = [&prompt[..], &stopped.tokens[..stopped.kept]].concat();
    assert_eq!(session.text(), expected);
    assert!(session.model().n_past(0) <= expected.len());
}

#[test]
fn a_text_to_fill_in_stands_between_the_models_markers() {
    let markers = [
        ("tokenizer.ggml.fim_pre_token_id", Value::U32(600)),
        ("tokenizer.ggml.fim_suf_token_id", Value::U32(601)),
        ("tokenizer.ggml.fim_mid_token_id", Value::U32(602)),
    ];
    let model = vocabulary_of("tiny-llama.gguf", &markers);
    let vocabulary = model.vocabulary();
    let fill = vocabulary.fill_in("def", "return <s>").unwrap().unwrap();
    // As SentencePiece begins a text, with a space, and as it goes on, without one. What looks like
    // a control token is text.
    let before = vocabulary.encode("def", Place::Start, false).unwrap();
    let after = vocabulary
        .encode("return <s>", Place::Middle, false)
        .unwrap();
    let text = |tokens: &[TokenId]| {
        let bytes: Vec<u8> = tokens.iter().flat_map(|&it| vocabulary.bytes(it)).collect();
        String::from_utf8(bytes).unwrap()
    };
    assert_eq!([text(&before), text(&after)], [" def", "return <s>"]);
    let expected = [&[BOS, 600][..], &before, &[601], &after, &[602]].concat();
    assert_eq!(fill.prompt, expected);
    assert!(fill.ends.is_empty());
    let without = load("tiny-llama.gguf");
    assert_eq!(without.vocabulary().fill_in("a", "b"), Ok(None));
}

#[test]
fn codellamas_markers_are_found_by_their_texts() {
    let mut changes = byte_level("gpt-2", 640);
    for (_, value) in &mut changes {
        match value {
            Value::Texts(tokens) if !tokens.is_empty() => {
                let named = ["▁<PRE>", "▁<SUF>", "▁<MID>", "▁<EOT>"];
                tokens[600..604].clone_from_slice(&named.map(String::from));
            }
            Value::Integers(types) => types[600..604].fill(CONTROL),
            _ => {}
        }
    }
    let model = vocabulary_of("tiny-llama.gguf", &changes);
    let fill = model.vocabulary().fill_in("", "").unwrap().unwrap();
    assert_eq!(fill.prompt.last_chunk(), Some(&[600, 601, 602]));
    assert_eq!(fill.ends, [603]);
}
