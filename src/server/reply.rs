//! What a chat model's text means: reasoning, calls of tools, and the rest.

mod calls;

use crate::server::held::{Held, Piece, begun};
pub use calls::{ToolCall, hermes, llama, mistral};

/// A part of a reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Reasoning, which is not part of the reply proper.
    Reasoning(String),
    /// Text.
    Content(Vec<Piece>),
    /// A call of a tool.
    Call(ToolCall),
}

/// The spellings that mean something, wherever control tokens are shown.
pub const MARKERS: [&str; 6] = [
    THINK,
    THINK_END,
    HERMES,
    HERMES_END,
    MISTRAL,
    "<|python_tag|>",
];

const THINK: &str = "<think>";
const THINK_END: &str = "</think>";
const HERMES: &str = "<tool_call>";
const HERMES_END: &str = "</tool_call>";
const MISTRAL: &str = "[TOOL_CALLS]";
const LLAMA: &str = "<|python_tag|>";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing but white space has come.
    Start,
    Reasoning,
    Content,
    /// Within a call in Hermes' form.
    Hermes,
    /// All that follows may be calls in Mistral's form.
    Mistral,
    /// All may be calls in Llama's form.
    Llama,
}

/// Takes the text of a reply apart while it comes.
#[derive(Debug)]
pub struct ReplyParser {
    state: State,
    /// Names of the tools; without any, calls stay text.
    tools: Vec<String>,
    held: Held,
    /// Whether white space at the beginning of the content is left out.
    trims: bool,
}

impl ReplyParser {
    /// For a reply to a prompt with these tools. `reasons` says that the prompt opened the
    /// reasoning already.
    pub fn new(tools: Vec<String>, reasons: bool) -> Self {
        Self {
            state: if reasons {
                State::Reasoning
            } else {
                State::Start
            },
            tools,
            held: Held::default(),
            trims: true,
        }
    }

    /// Whether the reply is within its reasoning.
    pub fn is_reasoning(&self) -> bool {
        self.state == State::Reasoning
    }

    /// Adds text, and returns what is certain.
    pub fn push(&mut self, piece: &Piece) -> Vec<Part> {
        self.held.push(piece);
        let mut parts = Vec::new();
        while self.advance(&mut parts) {}
        parts
    }

    /// What is left at the end of the answer.
    pub fn finish(&mut self) -> Vec<Part> {
        let mut parts = Vec::new();
        let text = self.held.text().to_owned();
        let calls = match self.state {
            State::Hermes => hermes(text.strip_prefix(HERMES).unwrap_or(&text)),
            State::Mistral => mistral(text.strip_prefix(MISTRAL).unwrap_or(&text)),
            State::Llama => llama(text.strip_prefix(LLAMA).unwrap_or(&text)),
            State::Reasoning => {
                self.reason(text.len(), &mut parts);
                return parts;
            }
            State::Start | State::Content => Vec::new(),
        };
        if !calls.is_empty() && calls.iter().all(|call| self.tools.contains(&call.name)) {
            self.held.take_all();
            parts.extend(calls.into_iter().map(Part::Call));
        } else {
            self.show(text.len(), &mut parts);
        }
        parts
    }

    /// Goes on by one state. Returns whether there may be more.
    fn advance(&mut self, parts: &mut Vec<Part>) -> bool {
        match self.state {
            State::Start => self.start(),
            State::Reasoning => self.reasoning(parts),
            State::Content => self.content(parts),
            State::Hermes => self.hermes_call(parts),
            // Nobody knows where these end before the answer does.
            State::Mistral | State::Llama => false,
        }
    }

    fn start(&mut self) -> bool {
        let text = self.held.text();
        let body = text.trim_start();
        let blank = text.len() - body.len();
        if body.starts_with(THINK) {
            self.held.take(blank + THINK.len());
            self.state = State::Reasoning;
            return true;
        }
        let marks: &[&str] = match self.tools.is_empty() {
            true => &[THINK],
            false => &[THINK, LLAMA],
        };
        if marks.iter().any(|mark| mark.starts_with(body)) {
            return false;
        }
        let may_be_llama = body.starts_with('{') || body.starts_with(LLAMA);
        self.state = match may_be_llama && !self.tools.is_empty() {
            true => State::Llama,
            false => State::Content,
        };
        self.state == State::Content
    }

    fn reasoning(&mut self, parts: &mut Vec<Part>) -> bool {
        let text = self.held.text();
        if let Some(end) = text.find(THINK_END) {
            let shown = text[..end].trim_end().len();
            self.reason(shown, parts);
            self.held.take(end - shown + THINK_END.len());
            self.state = State::Content;
            self.trims = true;
            return true;
        }
        // White space before the end is left out.
        let sure = text.len() - begun(text, &[THINK_END]);
        self.reason(text[..sure].trim_end().len(), parts);
        false
    }

    fn content(&mut self, parts: &mut Vec<Part>) -> bool {
        let text = self.held.text();
        if self.tools.is_empty() {
            self.show(text.len(), parts);
            return false;
        }
        let marks = [(HERMES, State::Hermes), (MISTRAL, State::Mistral)];
        let found = marks.map(|(mark, state)| text.find(mark).map(|at| (at, state)));
        if let Some((at, state)) = found.into_iter().flatten().min_by_key(|it| it.0) {
            self.show(text[..at].trim_end().len(), parts);
            let blank = self.held.text().len() - self.held.text().trim_start().len();
            self.held.take(blank);
            self.state = state;
            return true;
        }
        // White space before a call is left out, too.
        let sure = text.len() - begun(text, &marks.map(|it| it.0));
        self.show(text[..sure].trim_end().len(), parts);
        false
    }

    fn hermes_call(&mut self, parts: &mut Vec<Part>) -> bool {
        let Some(end) = self.held.text().find(HERMES_END) else {
            return false;
        };
        let calls = hermes(&self.held.text()[HERMES.len()..end]);
        let len = end + HERMES_END.len();
        self.state = State::Content;
        if !calls.is_empty() {
            self.held.take(len);
            self.trims = true;
            parts.extend(calls.into_iter().map(Part::Call));
        } else {
            self.show(len, parts);
        }
        true
    }

    /// Shows the first `len` bytes as reasoning.
    fn reason(&mut self, len: usize, parts: &mut Vec<Part>) {
        let pieces = self.held.take(len);
        let text: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        let text = match self.trims {
            true => text.trim_start(),
            false => &text,
        };
        if !text.is_empty() {
            self.trims = false;
            parts.push(Part::Reasoning(text.to_owned()));
        }
    }

    /// Shows the first `len` bytes as text.
    fn show(&mut self, len: usize, parts: &mut Vec<Part>) {
        let mut pieces = self.held.take(len);
        if self.trims {
            for piece in &mut pieces {
                piece.text = piece.text.trim_start().to_owned();
                if !piece.text.is_empty() {
                    self.trims = false;
                    break;
                }
            }
        }
        pieces.retain(|piece| !piece.text.is_empty());
        if !pieces.is_empty() {
            parts.push(Part::Content(pieces));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reasoning, the text and the calls, when the reply comes in pieces of `size` characters.
    fn parse(reply: &str, tools: &[&str], size: usize) -> (String, String, Vec<(String, String)>) {
        let tools = tools.iter().map(|&name| name.to_owned()).collect();
        let mut parser = ReplyParser::new(tools, false);
        let letters: Vec<char> = reply.chars().collect();
        let mut parts = Vec::new();
        for text in letters.chunks(size) {
            let text = text.iter().collect();
            parts.extend(parser.push(&Piece { text, source: None }));
        }
        parts.extend(parser.finish());
        let mut parsed = (String::new(), String::new(), Vec::new());
        for part in parts {
            match part {
                Part::Reasoning(text) => parsed.0 += &text,
                Part::Content(pieces) => pieces.iter().for_each(|it| parsed.1 += &it.text),
                Part::Call(call) => parsed.2.push((call.name, call.arguments)),
            }
        }
        parsed
    }

    #[test]
    fn replies_are_taken_apart_however_they_come() {
        let tools = ["add", "get"];
        let call = |name: &str, arguments: &str| (name.to_owned(), arguments.to_owned());
        let add = call("add", r#"{"a":1}"#);
        let hermes = "<tool_call>\n{\"name\": \"add\", \"arguments\": {\"a\": 1}}\n</tool_call>";
        let cases = [
            (" Hi  there. \n", "", "Hi  there. \n", vec![]),
            ("<think>\nWhy?\n</think>\n\nSo.", "Why?", "So.", vec![]),
            ("\n<think>Why", "Why", "", vec![]),
            ("a <think> b", "", "a <think> b", vec![]),
            (hermes, "", "", vec![add.clone()]),
            (
                &format!("Let me see.\n{hermes}\n{hermes}"),
                "",
                "Let me see.",
                vec![add.clone(); 2],
            ),
            (
                "<tool_call>no</tool_call> x",
                "",
                "<tool_call>no</tool_call> x",
                vec![],
            ),
            (
                r#"{"name": "add", "parameters": {"a": 1}}"#,
                "",
                "",
                vec![add.clone()],
            ),
            (
                r#"<|python_tag|>{"name":"add","parameters":{"a":1}}"#,
                "",
                "",
                vec![add.clone()],
            ),
            (r#"{"name": "nobody"}"#, "", r#"{"name": "nobody"}"#, vec![]),
            (
                r#"[TOOL_CALLS][{"name": "add", "arguments": {"a": 1}}, {"name": "get"}]"#,
                "",
                "",
                vec![add.clone(), call("get", "{}")],
            ),
            (r#"[TOOL_CALLS]add[ARGS]{"a": 1}"#, "", "", vec![add]),
        ];
        for (reply, reasoning, content, calls) in cases {
            for size in [1, 2, 5, 1000] {
                let parsed = parse(reply, &tools, size);
                let expected = (reasoning.to_owned(), content.to_owned(), calls.clone());
                assert_eq!(parsed, expected, "{reply:?} in pieces of {size}");
            }
        }
    }

    #[test]
    fn without_tools_calls_are_text() {
        let reply = "<tool_call>{\"name\": \"add\"}</tool_call>";
        assert_eq!(parse(reply, &[], 3).1, reply);
    }

    #[test]
    fn a_prompt_that_opens_the_reasoning_is_known() {
        let mut parser = ReplyParser::new(Vec::new(), true);
        let text = "Hm.</think>Yes.".to_owned();
        let parts = parser.push(&Piece { text, source: None });
        assert_eq!(parts[0], Part::Reasoning("Hm.".into()));
        assert!(matches!(&parts[1], Part::Content(it) if it[0].text == "Yes."));
    }
}
