//! Control tokens that a text spells out, and how to keep them apart from a template's own.
//!
//! A tokenizer that parses special tokens makes a control token of every spelling that it finds. In
//! a chat this must only happen to the markers of the chat template. So [`ControlTokens::mark`]
//! replaces each spelling in a message by a mark, a private-use character. The template is rendered
//! with the marks, the text is split at the control tokens that are left, and
//! [`Marked::restore`] puts the spellings back as plain text.

use std::collections::HashSet;
use std::ops::Range;

use memchr::memmem::Finder;
use serde_json::{Map, Value};

use crate::TokenId;
use crate::runtime::{Message, Role};

/// A token that text can spell out, but that stands for more than its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlToken {
    /// The token.
    pub id: TokenId,
    /// Its spelling.
    pub text: String,
    /// Whether the white space before it belongs to it.
    pub strips_left: bool,
    /// Whether the white space after it belongs to it.
    pub strips_right: bool,
    /// Whether it is the token for unknown text, which plain text may hold, too.
    pub is_unknown: bool,
}

/// The control tokens of a vocabulary.
#[derive(Debug, Default)]
pub struct ControlTokens {
    /// Longest first: a spelling may contain another one.
    tokens: Vec<(ControlToken, Finder<'static>)>,
    controls: HashSet<TokenId>,
}

/// A part of a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'t> {
    /// Text without control tokens.
    Text(&'t str),
    /// A control token.
    Control(TokenId),
}

impl ControlTokens {
    /// From all control tokens of a vocabulary. Tokens without text cannot be spelled out.
    pub fn new(tokens: impl IntoIterator<Item = ControlToken>) -> Self {
        let mut tokens: Vec<_> = tokens
            .into_iter()
            .filter(|token| !token.text.is_empty())
            .map(|token| {
                let finder = Finder::new(&token.text).into_owned();
                (token, finder)
            })
            .collect();
        tokens.sort_by_key(|(token, _)| std::cmp::Reverse(token.text.len()));
        let controls = tokens.iter().filter(|(token, _)| !token.is_unknown);
        Self {
            controls: controls.map(|(token, _)| token.id).collect(),
            tokens,
        }
    }

    /// Whether `token` is a control token.
    pub fn contains(&self, token: TokenId) -> bool {
        self.controls.contains(&token)
    }

    /// Splits a text at its control tokens, as llama.cpp does: longest tokens first, and the first
    /// occurrence before later ones.
    pub fn split<'t>(&self, text: &'t str) -> Vec<Part<'t>> {
        let mut parts = Vec::new();
        let mut begin = 0;
        for (place, at) in self.spellings(text) {
            let (token, _) = &self.tokens[at];
            let mut before = &text[begin.min(place.start)..place.start];
            if token.strips_left {
                before = before.trim_end_matches(is_c_space);
            }
            push_text(&mut parts, before);
            parts.push(Part::Control(token.id));
            begin = place.end;
            if token.strips_right {
                begin += text[begin..].len() - text[begin..].trim_start_matches(is_c_space).len();
            }
        }
        push_text(&mut parts, &text[begin..]);
        parts
    }

    /// The spellings in a text, from left to right, each with the index of its token.
    pub(super) fn spellings(&self, text: &str) -> Vec<(Range<usize>, usize)> {
        let mut found: Vec<(Range<usize>, usize)> = Vec::new();
        for (at, (token, finder)) in self.tokens.iter().enumerate() {
            if finder.find(text.as_bytes()).is_none() {
                continue;
            }
            // The gaps that longer tokens leave.
            let mut gaps = Vec::new();
            let mut begin = 0;
            for (place, _) in &found {
                gaps.push(begin..place.start);
                begin = place.end;
            }
            gaps.push(begin..text.len());
            for gap in gaps {
                let places = finder.find_iter(&text.as_bytes()[gap.clone()]);
                found.extend(places.map(|place| {
                    let start = gap.start + place;
                    (start..start + token.text.len(), at)
                }));
            }
            found.sort_unstable_by_key(|(place, _)| place.start);
        }
        found
    }

    /// Replaces what could become a control token in these messages: the spellings themselves, and
    /// the parts of spellings at the ends of a message, which what the template writes beside them
    /// could complete.
    ///
    /// The spellings of control tokens that the model wrote stay.
    pub fn mark(&self, messages: &[Message]) -> Marked {
        self.mark_with(messages, &Map::new())
    }

    /// The same, and with the texts in the variables of a template: [`Marked::variables`].
    pub fn mark_with(&self, messages: &[Message], variables: &Map<String, Value>) -> Marked {
        let mut taken = HashSet::new();
        take_marks(&Value::Object(variables.clone()), &mut taken);
        for message in messages {
            take_marks(&Value::Object(message.fields.clone()), &mut taken);
            taken.extend(message.content.chars().filter(|&c| c >= FIRST_MARK));
        }
        let mut marked = Marked {
            free: FreeMarks::beside(taken),
            ..Marked::plain(&[])
        };
        for message in messages {
            let content = self.mark_text(&message.content, &message.control, &mut marked);
            let fields = self.mark_map(&message.fields, &mut marked);
            marked.messages.push(Message {
                content,
                fields,
                ..message.clone()
            });
        }
        marked.variables = self.mark_map(variables, &mut marked);
        marked
    }

    fn mark_map(&self, map: &Map<String, Value>, marked: &mut Marked) -> Map<String, Value> {
        let entries = map.iter();
        entries
            .map(|(key, value)| (key.clone(), self.mark_value(value, marked)))
            .collect()
    }

    fn mark_value(&self, value: &Value, marked: &mut Marked) -> Value {
        match value {
            Value::String(text) => self.mark_text(text, &[], marked).into(),
            Value::Array(items) => {
                let items = items.iter().map(|item| self.mark_value(item, marked));
                Value::Array(items.collect())
            }
            Value::Object(map) => Value::Object(
                map.iter()
                    .map(|(key, value)| {
                        let key = self.mark_text(key, &[], marked);
                        (key, self.mark_value(value, marked))
                    })
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    fn mark_text(&self, text: &str, kept: &[TokenId], marked: &mut Marked) -> String {
        let mut places = self.spellings(text);
        places.retain(|(_, at)| !kept.contains(&self.tokens[*at].0.id));
        let mut places: Vec<Range<usize>> = places.into_iter().map(|it| it.0).collect();
        // A template may trim a message.
        let body = text.trim();
        let from = text.len() - text.trim_start().len();
        let to = from + body.len();
        let head = self.longest(|spelling| longest_end_at_start(body, spelling));
        let tail = self.longest(|spelling| longest_start_at_end(body, spelling));
        for end in [from..from + head, to - tail..to] {
            let is_free = |place: &Range<usize>| place.end <= end.start || end.end <= place.start;
            if !end.is_empty() && places.iter().all(is_free) {
                places.push(end);
            }
        }
        places.sort_unstable_by_key(|place| place.start);
        let mut result = String::new();
        let mut begin = 0;
        for place in places {
            result += &text[begin..place.start];
            result.push(marked.mark(&text[place.clone()]));
            begin = place.end;
        }
        result + &text[begin..]
    }

    fn longest(&self, length: impl Fn(&str) -> usize) -> usize {
        let lengths = self.tokens.iter().map(|(token, _)| length(&token.text));
        lengths.max().unwrap_or(0)
    }
}

/// Bytes of the longest proper start of `spelling` that `text` ends with.
fn longest_start_at_end(text: &str, spelling: &str) -> usize {
    let cuts = spelling.char_indices().map(|(at, _)| at).rev();
    cuts.take_while(|&cut| cut > 0)
        .find(|&cut| text.ends_with(&spelling[..cut]))
        .unwrap_or(0)
}

/// Bytes of the longest proper end of `spelling` that `text` begins with.
fn longest_end_at_start(text: &str, spelling: &str) -> usize {
    let cuts = spelling.char_indices().map(|(at, _)| at).skip(1);
    cuts.map(|cut| &spelling[cut..])
        .find(|end| text.starts_with(end))
        .map_or(0, str::len)
}

fn push_text<'t>(parts: &mut Vec<Part<'t>>, text: &'t str) {
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
}

/// What C's `isspace` calls white space.
fn is_c_space(c: char) -> bool {
    c.is_ascii_whitespace() || c == '\u{b}'
}

/// Messages with marks in place of what could become a control token.
#[derive(Clone, Debug)]
pub struct Marked {
    messages: Vec<Message>,
    variables: Map<String, Value>,
    /// The text behind each mark.
    hidden: Vec<(char, String)>,
    free: FreeMarks,
}

impl Marked {
    /// These messages, without marks.
    pub fn plain(messages: &[Message]) -> Self {
        Self {
            messages: messages.to_vec(),
            variables: Map::new(),
            hidden: Vec::new(),
            free: FreeMarks::beside(HashSet::new()),
        }
    }

    /// The same, with these variables for the template.
    pub fn plain_with(messages: &[Message], variables: &Map<String, Value>) -> Self {
        Self {
            variables: variables.clone(),
            ..Self::plain(messages)
        }
    }

    /// The variables for the template.
    pub fn variables(&self) -> &Map<String, Value> {
        &self.variables
    }

    /// The messages.
    pub fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// Takes the last message away if it is the model's, and returns its text.
    pub(super) fn take_begun_answer(&mut self) -> Option<String> {
        let last = self.messages.last()?;
        let is_begun = last.role == Role::Assistant && last.fields.is_empty();
        let begun = is_begun.then(|| self.messages.pop())??;
        Some(begun.content)
    }

    /// Whether there are no marks.
    pub fn is_plain(&self) -> bool {
        self.hidden.is_empty()
    }

    /// The text with its marks replaced by what they stand for.
    pub fn restore(&self, text: &str) -> String {
        let mut result = String::with_capacity(text.len());
        for c in text.chars() {
            let hidden = self.hidden.iter();
            let mut hidden = hidden.filter(|(mark, _)| c >= FIRST_MARK && *mark == c);
            match hidden.next() {
                Some((_, hidden)) => result += hidden,
                None => result.push(c),
            }
        }
        result
    }

    /// The mark for a text.
    fn mark(&mut self, text: &str) -> char {
        if let Some((mark, _)) = self.hidden.iter().find(|(_, hidden)| hidden == text) {
            return *mark;
        }
        let mark = self.free.next();
        self.hidden.push((mark, text.to_owned()));
        mark
    }
}

/// The first character of the private planes of Unicode.
const FIRST_MARK: char = '\u{F0000}';

/// The characters that marks can be.
#[derive(Clone, Debug)]
struct FreeMarks {
    taken: HashSet<char>,
    next: char,
}

impl FreeMarks {
    /// Marks beside those that are taken.
    fn beside(taken: HashSet<char>) -> Self {
        Self {
            taken,
            next: FIRST_MARK,
        }
    }

    fn next(&mut self) -> char {
        let mark = (self.next..=char::MAX)
            .find(|c| !self.taken.contains(c))
            .expect("no text holds all 131,072 private characters and as many spellings");
        self.taken.insert(mark);
        self.next = mark;
        mark
    }
}

/// Adds the private characters in the texts of a value.
fn take_marks(value: &Value, taken: &mut HashSet<char>) {
    let mut add = |text: &str| taken.extend(text.chars().filter(|&c| c >= FIRST_MARK));
    match value {
        Value::String(text) => add(text),
        Value::Array(items) => items.iter().for_each(|item| take_marks(item, taken)),
        Value::Object(map) => {
            map.keys().for_each(|key| add(key));
            map.values().for_each(|value| take_marks(value, taken));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn control(tokens: &[&str]) -> ControlTokens {
        ControlTokens::new((0..).zip(tokens).map(|(id, text)| ControlToken {
            id,
            text: (*text).into(),
            strips_left: text.starts_with("<l"),
            strips_right: text.starts_with("<r"),
            is_unknown: false,
        }))
    }

    fn user(text: &str) -> Message {
        Message::new(Role::User, text)
    }

    #[test]
    fn a_text_is_split_at_its_control_tokens() {
        use Part::{Control, Text};
        let control = control(&["</s>", "<a>", "<a><a>", "<l>", "<r>", ""]);
        assert_eq!(control.split(""), []);
        assert_eq!(control.split("plain </s"), [Text("plain </s")]);
        assert_eq!(
            control.split("x</s></s>é"),
            [Text("x"), Control(0), Control(0), Text("é")]
        );
        // The longest first.
        assert_eq!(control.split("<a><a><a>"), [Control(2), Control(1)]);
        assert_eq!(
            control.split("a \n<l> b <r> \t</s>"),
            [Text("a"), Control(3), Text(" b "), Control(4), Control(0)]
        );
    }

    #[test]
    fn marks_hide_spellings_and_come_back_as_text() {
        let control = control(&["</s>", "<|im_end|>"]);
        let text = "a </s> b <|im_end|></s> c";
        let marked = control.mark(&[user(text)]);
        let [message] = marked.messages() else {
            panic!("one message");
        };
        assert!(!marked.is_plain());
        assert_eq!(control.spellings(&message.content), []);
        assert_eq!(marked.restore(&message.content), text);
        // The spellings that the template writes are no message's.
        let rendered = format!("<|im_end|>{}</s>", message.content);
        assert_eq!(control.split(&rendered).len(), 3);
    }

    #[test]
    fn ordinary_messages_have_no_marks() {
        let control = control(&["</s>", "<|im_end|>"]);
        let ordinary = ["", " ", "a < b", "x > y", "«é»", "|im_end|", "\u{F0000}"];
        let messages = ordinary.map(user);
        let marked = control.mark(&messages);
        assert!(marked.is_plain());
        assert_eq!(marked.messages(), messages);
    }

    #[test]
    fn spellings_that_neighbours_would_complete_are_hidden() {
        let control = control(&["</s>", "<|im_end|>"]);
        for (left, right) in [("a<", "/s>b"), ("<|im_ ", "\nend|>"), ("<|im_end|", ">")] {
            let marked = control.mark(&[user(left), user(right)]);
            let [left, right] = marked.messages() else {
                panic!("two messages");
            };
            let joined = format!("{}{}", left.content.trim(), right.content.trim());
            assert_eq!(control.spellings(&joined), [], "{joined:?}");
        }
    }

    #[test]
    fn spellings_that_the_model_wrote_stay() {
        let control = control(&["</s>", "</think>"]);
        let answer = Message {
            control: vec![1],
            ..Message::new(Role::Assistant, "a</think>b</s>c</think>d")
        };
        let marked = control.mark(&[answer, user("</think>")]);
        let [answer, user] = marked.messages() else {
            panic!("two messages");
        };
        assert_eq!(answer.content.matches("</think>").count(), 2);
        assert!(!answer.content.contains("</s>") && !user.content.contains("</think>"));
    }

    #[test]
    fn private_characters_of_a_message_are_no_marks() {
        let control = control(&["</s>"]);
        let text = "\u{F0000}</s>\u{F0001}";
        let marked = control.mark(&[user(text), user("</s>")]);
        let contents: String = marked.messages().iter().map(|it| &*it.content).collect();
        assert_eq!(marked.restore(&contents), format!("{text}</s>"));
    }

    #[test]
    fn texts_in_fields_and_variables_are_hidden_too() {
        let control = control(&["</s>"]);
        let nested = serde_json::json!({"a": [1, {"b</s>": "x</s>y"}, null]});
        let variables = nested.as_object().unwrap();
        let mut message = user("plain");
        message.fields = variables.clone();
        let marked = control.mark_with(&[message], variables);
        assert!(!marked.is_plain());
        for map in [marked.variables(), &marked.messages()[0].fields] {
            let text = Value::Object(map.clone()).to_string();
            assert!(!text.contains("</s>"), "{text}");
            assert_eq!(marked.restore(&text), nested.to_string());
        }
    }

    #[test]
    fn many_spellings_take_no_time() {
        let spellings: Vec<String> = (0..1000).map(|n| format!("<|reserved_{n}|>")).collect();
        let names: Vec<&str> = spellings.iter().map(String::as_str).collect();
        let control = control(&names);
        let text = "<|reserved_7|> ".repeat(50_000);
        assert_eq!(control.split(&text).len(), 100_000);
    }
}
