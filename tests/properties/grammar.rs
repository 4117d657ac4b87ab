//! Answers that follow a grammar: with and without drafts, and with and without forced tokens, they
//! are the same, and the grammar's own.

use std::ops::ControlFlow;
use std::sync::OnceLock;

use logitspec::engine::{
    FinishReason, Generation, Method, MethodParams, RequestOptions, Session, SessionOptions,
    StepView,
};
use logitspec::logits::Row;
use logitspec::runtime::ScriptedModel;
use logitspec::tree::Source;
use logitspec::verify::{
    Grammar, GrammarError, GrammarSource, GrammarVocabulary, Greedy, SamplingParams, Select,
};
use logitspec::{TokenBytes, TokenId};
use proptest::prelude::*;
use serde_json::Value;

use crate::checks::drafters::RandomDrafter;

/// Every printable byte, some pieces of JSON, and a token that ends answers.
fn tokens() -> Vec<Vec<u8>> {
    let mut tokens: Vec<Vec<u8>> = (b' '..=b'~').map(|byte| vec![byte]).collect();
    let pieces = [
        "{\"", "\": ", "\": \"", "\", \"", "name", "na", "me", "\"}", "tr", "true", "fal", "se",
        ", ", "12", "00", "ab", "abc", "]}", "[", "}}",
    ];
    tokens.extend(pieces.map(|piece| piece.as_bytes().to_vec()));
    tokens.push(Vec::new());
    tokens
}

const END: TokenId = 95 + 20;

/// The longest tokens first, as good as any tokenizer.
fn tokenize(text: &[u8]) -> Vec<TokenId> {
    let tokens = tokens();
    let mut found = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let fits = |it: &(usize, &Vec<u8>)| !it.1.is_empty() && rest.starts_with(it.1);
        let longest = tokens
            .iter()
            .enumerate()
            .filter(fits)
            .max_by_key(|it| it.1.len());
        let Some((token, bytes)) = longest else {
            break;
        };
        found.push(token as TokenId);
        rest = &rest[bytes.len()..];
    }
    found
}

fn vocabulary() -> &'static GrammarVocabulary {
    static VOCABULARY: OnceLock<GrammarVocabulary> = OnceLock::new();
    VOCABULARY.get_or_init(|| {
        let bytes: TokenBytes = tokens().into_iter().collect();
        GrammarVocabulary::new(&bytes, &[END], tokenize).unwrap()
    })
}

fn compile(source: &GrammarSource) -> Grammar {
    vocabulary().compile(source).unwrap()
}

fn text(tokens: &[TokenId]) -> String {
    let all = self::tokens();
    let bytes: Vec<u8> = tokens
        .iter()
        .flat_map(|&it| all[it as usize].clone())
        .collect();
    String::from_utf8(bytes).unwrap()
}

/// How a request is answered.
#[derive(Clone, Copy, Debug)]
struct How {
    method: Method,
    /// Draft random trees.
    random: bool,
    forces: bool,
    capacity: usize,
}

const PLAIN: How = How {
    method: Method::Baseline,
    random: false,
    forces: false,
    capacity: 1,
};

fn answer(grammar: &Grammar, how: How, temperature: f32, seed: u64, most: usize) -> Generation {
    let model = ScriptedModel::new(tokens().len(), 3, seed, 2000, 16).with_end(END);
    let leave_out = (!how.forces)
        .then_some(Source::Grammar)
        .into_iter()
        .collect();
    let options = SessionOptions {
        method: how.method,
        method_params: MethodParams {
            leave_out,
            ..MethodParams::default()
        },
        draft_tree_capacity: how.capacity,
        ..SessionOptions::default()
    };
    let request = RequestOptions {
        sampling: SamplingParams {
            temperature,
            seed,
            ..SamplingParams::default()
        },
        grammar: Some(grammar.clone()),
        ..RequestOptions::default()
    };
    let mut session = Session::new(model, options).with_request(request);
    if how.random {
        session = session.with_drafter(Box::new(RandomDrafter {
            random: fastrand::Rng::with_seed(seed),
            n_vocab: tokens().len(),
        }));
    }
    let mut patient = |_, _| ControlFlow::Continue(());
    session.prefill(&[1, 2, 3], &mut patient).unwrap();
    let mut on = |_: &StepView<'_>| ControlFlow::Continue(());
    session.generate(most, &mut on).unwrap()
}

fn schema(text: &str) -> GrammarSource {
    GrammarSource::JsonSchema(text.to_owned())
}

/// Objects whose strings are short, so that a model that says anything ends.
const OBJECT: &str = r#"{
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 6, "pattern": "^[a-z ]*$"},
        "kind": {"enum": ["true", "false", "maybe"]},
        "sizes": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 120},
            "maxItems": 3},
        "inner": {"type": "object", "properties": {"on": {"type": "boolean"}},
            "required": ["on"], "additionalProperties": false}
    },
    "required": ["name", "kind", "sizes", "inner"],
    "additionalProperties": false
}"#;

fn assert_object(text: &str) {
    let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let name = value["name"].as_str().unwrap();
    assert!(name.len() <= 6 && name.bytes().all(|it| it == b' ' || it.is_ascii_lowercase()));
    assert!(["true", "false", "maybe"].contains(&value["kind"].as_str().unwrap()));
    let sizes = value["sizes"].as_array().unwrap();
    assert!(sizes.len() <= 3 && sizes.iter().all(|it| it.as_u64().unwrap() <= 120));
    assert!(value["inner"]["on"].is_boolean());
    assert_eq!(value.as_object().unwrap().len(), 4);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn json_follows_its_schema_and_drafts_do_not_change_it(
        seed in any::<u64>(),
        sampled in any::<bool>(),
        capacity in 2usize..40,
    ) {
        let grammar = compile(&schema(OBJECT));
        let temperature = if sampled { 1.0 } else { 0.0 };
        let plain = answer(&grammar, PLAIN, temperature, seed, 500);
        prop_assert_eq!(&plain.finish, &FinishReason::Stop);
        assert_object(&text(&plain.tokens));
        for method in [Method::Logitspec, Method::PromptLookup] {
            for (random, forces) in [(false, false), (false, true), (true, false), (true, true)] {
                let how = How { method, random, forces, capacity };
                let found = answer(&grammar, how, temperature, seed, 500);
                prop_assert_eq!(&found.tokens, &plain.tokens, "{:?}", how);
                let forced = found.sources.accepted.of(Source::Grammar);
                prop_assert_eq!(forced, found.sources.drafted.of(Source::Grammar), "certain");
                prop_assert_eq!(forced > 10, forces, "{}", forced);
            }
        }
    }

    #[test]
    fn what_a_draft_has_of_forbidden_tokens_is_not_decoded(seed in any::<u64>()) {
        let grammar = compile(&GrammarSource::Regex("[ab]{40}".to_owned()));
        let how = How { method: Method::Logitspec, random: true, forces: false, capacity: 30 };
        let found = answer(&grammar, how, 1.0, seed, 100);
        prop_assert_eq!(text(&found.tokens).len(), 40);
        // A random tree has a few of these two letters at best.
        let share = found.drafted as f64 / found.accept_lengths.len() as f64;
        prop_assert!(share < 2.0, "{} nodes a step", share);
    }
}

#[test]
fn what_is_allowed_depends_on_the_text_alone_wherever_it_was_asked_before() {
    let grammar = compile(&schema(OBJECT));
    let mut random = fastrand::Rng::with_seed(4);
    for seed in 0..6 {
        let said = answer(&grammar, PLAIN, 1.0, seed, 500).tokens;
        let row: Vec<f32> = (0..tokens().len()).map(|_| random.f32()).collect();
        let ask = |select: &mut dyn Select, at: usize, path: usize| {
            let (text, path) = said[..at].split_at(at - path.min(at));
            select.select(Row::from(&row), text, path)
        };
        let mut select = grammar.selector(Box::new(Greedy));
        select.begin(&[]);
        for _ in 0..60 {
            let (at, path) = (random.usize(..said.len()), random.usize(..9));
            let mut fresh = grammar.selector(Box::new(Greedy));
            fresh.begin(&[]);
            let expected = ask(&mut *fresh, at, 0);
            assert!(expected.is_some());
            assert_eq!(
                ask(&mut *select, at, path),
                expected,
                "after {at} of {said:?}"
            );
        }
    }
}

#[test]
fn grammars_in_llama_cpps_format_are_followed() {
    let arithmetic = r#"
# Sums, with brackets.
root   ::= expr "=" | "none"
expr   ::= term ([-+*] term)?   # line ends end rules
term   ::= num | ("(" expr
    ")")
num    ::= [1-9] [0-9]{0,2}
"#;
    let grammar = compile(&GrammarSource::Gbnf(arithmetic.to_owned()));
    let mut ended = 0;
    for seed in 0..60 {
        let plain = answer(&grammar, PLAIN, 1.0, seed, 60);
        let said = text(&plain.tokens);
        let letters = "0123456789()+-*=";
        assert!(
            said == "none" || said.chars().all(|it| letters.contains(it)),
            "{said}"
        );
        if plain.finish == FinishReason::Stop {
            ended += 1;
            assert!(said == "none" || said.ends_with('='), "{said}");
            assert_eq!(
                said.matches('(').count(),
                said.matches(')').count(),
                "{said}"
            );
        }
        let how = How {
            method: Method::Logitspec,
            random: true,
            forces: true,
            capacity: 12,
        };
        assert_eq!(answer(&grammar, how, 1.0, seed, 60).tokens, plain.tokens);
    }
    assert!(ended > 20, "{ended}");
}

/// What a grammar allows, judged by whether a model that wants to say `said` can.
fn allows(source: &GrammarSource, said: &str) -> bool {
    let mut select = compile(source).selector(Box::new(Greedy));
    select.begin(&[]);
    let wanted: Vec<TokenId> = said
        .bytes()
        .map(|byte| u32::from(byte - b' '))
        .chain([END])
        .collect();
    (0..wanted.len()).all(|at| {
        let mut row = vec![0.0; tokens().len()];
        row[wanted[at] as usize] = 9.0;
        select.select(Row::from(&row), &wanted[..at], &[]) == Some(wanted[at])
    })
}

#[test]
fn gbnf_means_what_it_means_in_llama_cpp() {
    let gbnf = |text: &str| GrammarSource::Gbnf(text.to_owned());
    let cases: [(&str, &[&str], &[&str]); 9] = [
        ("root ::= \"a\"* \"b\"", &["b", "aab"], &["a", "ba"]),
        // The class takes letters that the text behind it needs.
        ("root ::= [a-c]+ \"c\"", &["cc", "abcc"], &["c", "ab"]),
        ("root ::= [^a-y] .", &["z!", "..", "Za"], &["a!", "z"]),
        (
            "root ::= \"\\x41\\u0042\\\"\" | [\\]\\-x]",
            &["AB\"", "]", "-", "x"],
            &["A", "y"],
        ),
        (
            "root ::= (\"a\" | \"b\"){2,3}",
            &["ab", "bbb"],
            &["a", "abab"],
        ),
        (
            "root ::= x{2} y{1,}\nx ::= \"x\"\ny ::= [y]",
            &["xxy", "xxyyy"],
            &["xx", "xy"],
        ),
        (
            "root ::= \"(\" root \")\" | \"\"",
            &["", "()", "((()))"],
            &["(", "())"],
        ),
        // Nothing between two rules, and a space that may be missing.
        (
            "root ::= a ws a ws\na ::= \"<\" a \">\" | \"-\"\nws ::= \" \"*",
            &["--", "<-> <<->>  "],
            &["-", "< -"],
        ),
        (
            "root ::= item (\",\" item)*\nitem ::= [0-9]+ | \"[\" root \"]\"",
            &["1", "12,[3,4],[[5]]"],
            &["", "[1", "1,"],
        ),
    ];
    for (grammar, good, bad) in cases {
        for said in good {
            assert!(allows(&gbnf(grammar), said), "{said:?} with {grammar}");
        }
        for said in bad {
            assert!(!allows(&gbnf(grammar), said), "{said:?} with {grammar}");
        }
    }
}

#[test]
fn what_cannot_be_followed_is_refused_by_name() {
    let refused = |source: &GrammarSource| match vocabulary().compile(source) {
        Err(GrammarError::Refused { kind, reason }) => format!("{kind}: {reason}"),
        other => panic!("{source:?} gives {other:?}"),
    };
    let gbnf = |text: &str| GrammarSource::Gbnf(text.to_owned());
    let regex = |text: &str| GrammarSource::Regex(text.to_owned());
    let deep = format!("root ::= {}\"a\"{}", "(".repeat(5000), ")".repeat(5000));
    let large = format!("{{\"enum\": [{}1]}}", "1, ".repeat(2 << 20));
    let nested = format!("{}{}", "[".repeat(9000), "]".repeat(9000));
    let cases = [
        (schema("{"), "JSON schema: it is not JSON"),
        (schema(&nested), "JSON schema: it is not JSON"),
        (
            schema("{\"type\": \"string\", \"minLength\": 5, \"maxLength\": 2}"),
            "JSON schema: ",
        ),
        (schema("false"), "JSON schema: "),
        (schema("{\"type\": \"blob\"}"), "JSON schema: "),
        (
            schema(&large),
            "JSON schema: it has 6291469 bytes; 4194304 are the limit",
        ),
        (
            gbnf(""),
            "grammar: it has no rule root: begin with root ::= ...",
        ),
        (
            gbnf("root ::= leaf"),
            "grammar: rule root uses leaf, which is not defined",
        ),
        (
            gbnf("root ::= \"a\nb"),
            "grammar: line 1: a closing \" or ] is expected at \"\\nb\"",
        ),
        (
            gbnf("root ::= \"a\"\nroot ::= \"b\""),
            "grammar: rule root is defined twice",
        ),
        (
            gbnf("root ::= \"a\" )"),
            "grammar: line 1: a rule's name is expected at \")\"",
        ),
        (
            gbnf("root ::= [b-a]"),
            "grammar: line 1: a range in ascending order is expected",
        ),
        (
            gbnf("root ::= \"a\"{3,2}"),
            "grammar: line 1: at most 2000 repetitions is expected",
        ),
        (gbnf("root ::= root"), "grammar: "),
        (
            gbnf("root ::= <think>"),
            "grammar: line 1: text (tokens like <think> are not supported)",
        ),
        (
            gbnf(&deep),
            "grammar: parentheses are nested deeper than 200",
        ),
        (regex("a("), "regular expression: "),
    ];
    for (source, expected) in cases {
        let said = refused(&source);
        assert!(said.starts_with(expected), "{said} instead of {expected}");
        assert!(!said.contains('\n'), "{said}");
    }
    let bytes: TokenBytes = tokens().into_iter().collect();
    assert!(matches!(
        GrammarVocabulary::new(&bytes, &[], tokenize),
        Err(GrammarError::Vocabulary(_))
    ));
}

#[test]
fn a_regular_expression_is_for_the_whole_answer() {
    let source = GrammarSource::Regex("^[a-c]{2}-\\d+$".to_owned());
    assert!(allows(&source, "ab-17") && allows(&source, "cc-0"));
    assert!(!allows(&source, "ab-") && !allows(&source, "abc-1") && !allows(&source, "ab-1x"));
}
