//! Chat templates: from a conversation to the text that the model was trained on.

mod jinja;

use minijinja::{Environment, Error, Value, context};

/// The author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The author.
    pub role: Role,
    /// The text.
    pub content: String,
}

impl Message {
    /// A message.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
        }
    }

    fn to_value(&self) -> Value {
        let role = match self.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        Value::from_pairs([("role", role), ("content", &self.content)])
    }
}

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// It is not valid Jinja, or it cannot render this conversation.
    #[error("the chat template {name} fails: {cause}")]
    Jinja {
        /// The name of the template.
        name: String,
        /// The message of the template engine or of the template.
        cause: String,
    },
    /// It leaves out earlier answers, so a conversation cannot have a second turn.
    #[error(
        "the chat template {name} leaves out earlier answers, so the conversation cannot continue"
    )]
    HidesAnswers {
        /// The name of the template.
        name: String,
    },
}

/// A chat template in Jinja, with the helpers that Hugging Face templates use.
///
/// ```
/// use logitspec::runtime::{ChatTemplate, Message, Role};
///
/// let vicuna = ChatTemplate::builtin("vicuna", "<s>", "</s>").unwrap();
/// let question = Message::new(Role::User, "Who are you?");
/// let prompt = vicuna.prompt(&[question]).unwrap();
/// assert!(prompt.ends_with("questions. USER: Who are you? ASSISTANT:"));
/// ```
#[derive(Debug)]
pub struct ChatTemplate {
    name: String,
    environment: Environment<'static>,
    bos: String,
    eos: String,
}

/// FastChat's Vicuna v1.1. A space separates the turns, except between an answer and the next
/// question.
const VICUNA: &str = concat!(
    "{% if messages[0].role == 'system' %}{{ messages[0].content }}{% else %}",
    "A chat between a curious user and an artificial intelligence assistant. ",
    "The assistant gives helpful, detailed, and polite answers to the user's questions.",
    "{% endif %}",
    "{% for message in messages %}",
    "{% if message.role == 'user' %}",
    "{% if not loop.previtem or loop.previtem.role != 'assistant' %}{{ ' ' }}{% endif %}",
    "USER: {{ message.content }}",
    "{% elif message.role == 'assistant' %}",
    "{{ ' ' }}ASSISTANT: {{ message.content }}{{ eos_token }}",
    "{% endif %}",
    "{% endfor %}",
    "{% if add_generation_prompt %}{{ ' ' }}ASSISTANT:{% endif %}",
);

/// Llama-2-chat, and CodeLlama-Instruct with an empty `default_system`.
const LLAMA2: &str = concat!(
    "{% set ns = namespace(system=default_system) %}",
    "{% if messages[0].role == 'system' %}{% set ns.system = messages[0].content %}{% endif %}",
    "{% for message in messages %}",
    "{% if message.role == 'user' %}",
    "{{ bos_token }}[INST]{{ ' ' }}",
    "{% if ns.system %}",
    "{{ '<<SYS>>\\n' ~ ns.system ~ '\\n<</SYS>>\\n\\n' }}{% set ns.system = '' %}",
    "{% endif %}",
    "{{ message.content | trim }} [/INST]",
    "{% elif message.role == 'assistant' %}",
    "{{ ' ' }}{{ message.content | trim }}{{ ' ' }}{{ eos_token }}",
    "{% endif %}",
    "{% endfor %}",
);

const LLAMA2_SYSTEM: &str = concat!(
    "You are a helpful, respectful and honest assistant. Always answer as helpfully as possible, ",
    "while being safe. Your answers should not include any harmful, unethical, racist, sexist, ",
    "toxic, dangerous, or illegal content. Please ensure that your responses are socially ",
    "unbiased and positive in nature.\n\n",
    "If a question does not make any sense, or is not factually coherent, explain why instead of ",
    "answering something not correct. If you don't know the answer to a question, please don't ",
    "share false information.",
);

/// A marker in place of an answer, to find the text after it.
const ANSWER_MARKER: &str = "LOGITSPEC-ANSWER_MARKER-TEXT";

impl ChatTemplate {
    /// Names of the templates that come with the program.
    pub const BUILTIN: [&'static str; 3] = ["vicuna", "llama2", "codellama-instruct"];

    /// The built-in template of this name. `None` if there is none.
    pub fn builtin(name: &str, bos: &str, eos: &str) -> Option<Self> {
        let (source, system) = match name {
            "vicuna" => (VICUNA, ""),
            "llama2" => (LLAMA2, LLAMA2_SYSTEM),
            "codellama-instruct" => (LLAMA2, ""),
            _ => return None,
        };
        let mut template = Self::new(name, source, bos, eos).expect("our own templates compile");
        template.environment.add_global("default_system", system);
        Some(template)
    }

    /// A template from its Jinja source. `bos` and `eos` are the text of the model's special
    /// tokens.
    ///
    /// # Errors
    /// If the source is not valid Jinja.
    pub fn new(name: &str, source: &str, bos: &str, eos: &str) -> Result<Self, TemplateError> {
        let environment = jinja::environment(source).map_err(|error| jinja_error(name, &error))?;
        Ok(Self {
            name: name.into(),
            environment,
            bos: bos.into(),
            eos: eos.into(),
        })
    }

    /// The text of a conversation, up to the start of the next answer.
    ///
    /// Begins with the beginning-of-sequence token if the template writes it. Many tokenizers add
    /// one, too: [`ChatEncoder`](crate::runtime::ChatEncoder) takes care of that.
    ///
    /// # Errors
    /// If the template fails on this conversation.
    pub fn prompt(&self, messages: &[Message]) -> Result<String, TemplateError> {
        self.render(messages)
    }

    /// The text from the end of the last answer to the start of the next one.
    ///
    /// `before` is the conversation before the last answer. `next` is the new user message.
    ///
    /// # Errors
    /// If the template fails on this conversation or leaves out answers.
    pub fn next_turn(&self, before: &[Message], next: &Message) -> Result<String, TemplateError> {
        let mut messages = before.to_vec();
        messages.push(Message::new(Role::Assistant, ANSWER_MARKER));
        messages.push(next.clone());
        let text = self.render(&messages)?;
        // Users may write the marker too. The answer comes after all of their messages.
        let skip = before
            .iter()
            .map(|message| message.content.matches(ANSWER_MARKER).count())
            .sum();
        match text.match_indices(ANSWER_MARKER).nth(skip) {
            Some((at, _)) => Ok(text[at + ANSWER_MARKER.len()..].into()),
            None => Err(TemplateError::HidesAnswers {
                name: self.name.clone(),
            }),
        }
    }

    /// Temporary.
    pub fn render_variables(&self, variables: &serde_json::Value) -> Result<String, TemplateError> {
        self.environment
            .get_template("chat")
            .and_then(|template| template.render(Value::from(minijinja::value::Serde(variables))))
            .map_err(|error| jinja_error(&self.name, &error))
    }

    fn render(&self, messages: &[Message]) -> Result<String, TemplateError> {
        self.environment
            .get_template("chat")
            .and_then(|template| {
                template.render(context! {
                    messages => messages.iter().map(Message::to_value).collect::<Vec<_>>(),
                    bos_token => self.bos.as_str(),
                    eos_token => self.eos.as_str(),
                    add_generation_prompt => true,
                })
            })
            .map_err(|error| jinja_error(&self.name, &error))
    }
}

fn jinja_error(name: &str, error: &Error) -> TemplateError {
    let cause = match (error.detail(), error.line()) {
        (Some(detail), Some(line)) => format!("{detail} (line {line})"),
        _ => error.to_string(),
    };
    TemplateError::Jinja {
        name: name.into(),
        cause: cause.replace('\n', " "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(content: &str) -> Message {
        Message::new(Role::User, content)
    }

    #[test]
    fn vicuna_renders_like_fastchat() {
        let vicuna = ChatTemplate::builtin("vicuna", "<s>", "</s>").unwrap();
        let first = [user("Hi")];
        let system = "A chat between a curious user and an artificial intelligence assistant. \
            The assistant gives helpful, detailed, and polite answers to the user's questions.";
        assert_eq!(
            vicuna.prompt(&first).unwrap(),
            format!("{system} USER: Hi ASSISTANT:")
        );
        let next = vicuna.next_turn(&first, &user("And?")).unwrap();
        assert_eq!(next, "</s>USER: And? ASSISTANT:");
        let own = [Message::new(Role::System, "Be brief."), user("Hi")];
        assert_eq!(
            vicuna.prompt(&own).unwrap(),
            "Be brief. USER: Hi ASSISTANT:"
        );
    }

    #[test]
    fn llama2_and_codellama_differ_only_in_the_system_text() {
        let llama2 = ChatTemplate::builtin("llama2", "<s>", "</s>").unwrap();
        let prompt = llama2.prompt(&[user(" Hi ")]).unwrap();
        assert!(
            prompt.starts_with("<s>[INST] <<SYS>>\nYou are a helpful, respectful"),
            "{prompt}"
        );
        assert!(
            prompt.ends_with("false information.\n<</SYS>>\n\nHi [/INST]"),
            "{prompt}"
        );
        let code = ChatTemplate::builtin("codellama-instruct", "<s>", "</s>").unwrap();
        assert_eq!(code.prompt(&[user("Hi")]).unwrap(), "<s>[INST] Hi [/INST]");
        let next = code.next_turn(&[user("Hi")], &user("And?")).unwrap();
        assert_eq!(next, " </s><s>[INST] And? [/INST]");
    }

    #[test]
    fn a_marker_in_a_user_message_is_ignored() {
        let vicuna = ChatTemplate::builtin("vicuna", "<s>", "</s>").unwrap();
        let before = [user(&format!("Say {ANSWER_MARKER}"))];
        let next = vicuna.next_turn(&before, &user(ANSWER_MARKER)).unwrap();
        assert_eq!(next, format!("</s>USER: {ANSWER_MARKER} ASSISTANT:"));
    }

    #[test]
    fn hugging_face_helpers_work() {
        let source = "{{ bos_token }}{%- set loop_messages = messages[1:] -%}\n\
            {% if messages[0]['role'] != 'user' %}\
            {{ raise_exception('Roles must alternate') }}{% endif %}\n\
            {{ messages[0]['content'].strip().upper() }} {{ strftime_now('%Y') | length }} \
            {{ {'a': 1} | tojson }}\n\
            {% if add_generation_prompt %}>>{% endif %}";
        let template = ChatTemplate::new("own", source, "<s>", "</s>").unwrap();
        assert_eq!(
            template.prompt(&[user(" hi ")]).unwrap(),
            "<s>HI 4 {\"a\": 1}\n>>"
        );
        let refused = template.prompt(&[Message::new(Role::Assistant, "no")]);
        assert!(
            refused
                .unwrap_err()
                .to_string()
                .contains("Roles must alternate")
        );
        let hidden = template.next_turn(&[user("hi")], &user("more"));
        assert!(matches!(hidden, Err(TemplateError::HidesAnswers { .. })));
        assert!(ChatTemplate::new("bad", "{% if %}", "", "").is_err());
    }
}
