//! Chat templates: from a conversation to the text that the model was trained on.

mod builtin;
mod jinja;
mod shape;
mod turn;

use minijinja::value::{Serde, merge_maps};
use minijinja::{Environment, Error, Value, context};

use crate::TokenId;
use builtin::{LLAMA2, LLAMA2_SYSTEM, VICUNA};
pub use turn::TurnText;

/// The author of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Instructions for the whole conversation.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// What a tool that the model called says.
    Tool,
}

/// One message of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The author.
    pub role: Role,
    /// The text.
    pub content: String,
    /// Control tokens that the model wrote in it, for example around its reasoning. The template
    /// looks for their spellings, which are otherwise plain text.
    pub control: Vec<TokenId>,
    /// What else templates may look for in it, such as `tool_calls`.
    pub fields: serde_json::Map<String, serde_json::Value>,
}

impl Message {
    /// A message.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            control: Vec::new(),
            fields: serde_json::Map::new(),
        }
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
    /// It leaves out a question, or changes its text.
    #[error("the chat template {name} leaves out or changes the question that begins {question:?}")]
    LosesQuestion {
        /// The name of the template.
        name: String,
        /// How the question begins.
        question: String,
    },
    /// It has no place for a second question, so a conversation cannot continue.
    #[error(
        "the chat template {name} leaves out later questions, so the conversation cannot continue"
    )]
    OneTurn {
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
    /// The roles whose content must be a list of typed parts.
    typed: Vec<Role>,
    /// Whether the template has a place for system messages.
    takes_system: bool,
    /// Whether it has a place for the descriptions of tools.
    takes_tools: bool,
}

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
        let variables = [
            ("bos_token", bos),
            ("eos_token", eos),
            ("default_system", system),
        ];
        Some(Self::with_variables(name, source, &variables).expect("our own templates compile"))
    }

    /// A template from its Jinja source. `bos` and `eos` are the text of the model's special
    /// tokens.
    ///
    /// # Errors
    /// If the source is not valid Jinja.
    pub fn new(name: &str, source: &str, bos: &str, eos: &str) -> Result<Self, TemplateError> {
        Self::with_variables(name, source, &[("bos_token", bos), ("eos_token", eos)])
    }

    fn with_variables(
        name: &str,
        source: &str,
        variables: &[(&str, &str)],
    ) -> Result<Self, TemplateError> {
        let mut environment =
            jinja::environment(source).map_err(|error| jinja_error(name, &error))?;
        for (name, value) in variables {
            environment.add_global((*name).to_owned(), *value);
        }
        let mut template = Self {
            name: name.into(),
            environment,
            typed: Vec::new(),
            takes_system: true,
            takes_tools: false,
        };
        template.learn_shape();
        Ok(template)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it has a place for system messages. If not, they become the beginning of the first
    /// user message.
    pub fn takes_system(&self) -> bool {
        self.takes_system
    }

    /// Whether it has a place for the descriptions of tools.
    pub fn takes_tools(&self) -> bool {
        self.takes_tools
    }

    /// The text of a conversation, up to the start of the next answer.
    ///
    /// Begins with the beginning-of-sequence token if the template writes it. Many tokenizers add
    /// one, too: [`ChatEncoder`](crate::runtime::ChatEncoder) takes care of that.
    ///
    /// # Errors
    /// If the template fails on this conversation.
    pub fn prompt(&self, messages: &[Message]) -> Result<String, TemplateError> {
        self.render_values(context! { messages => self.values(messages) })
    }

    /// The same, with more variables for the template, such as `tools`.
    ///
    /// # Errors
    /// If the template fails on this conversation.
    pub fn prompt_with(
        &self,
        messages: &[Message],
        variables: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<String, TemplateError> {
        let messages = context! { messages => self.values(messages) };
        let variables = Value::from(Serde(variables));
        self.render_values(merge_maps([messages, variables]))
    }

    /// The text for these variables, of which `messages` is one, as transformers'
    /// `apply_chat_template` gives it. `add_generation_prompt` is true unless it is among them.
    ///
    /// # Errors
    /// If the template fails.
    pub fn render(&self, variables: &serde_json::Value) -> Result<String, TemplateError> {
        self.render_values(Value::from(Serde(variables)))
    }

    fn render_values(&self, variables: Value) -> Result<String, TemplateError> {
        let defaults = context! { add_generation_prompt => true };
        self.environment
            .get_template(jinja::NAME)
            .and_then(|template| template.render(merge_maps([defaults, variables])))
            .map_err(|error| jinja_error(&self.name, &error))
    }

    /// Checks that a prompt has a question's text.
    ///
    /// # Errors
    /// If it lacks it, or has another text.
    pub fn check_question(&self, prompt: &str, question: &str) -> Result<(), TemplateError> {
        match prompt.contains(question.trim()) {
            true => Ok(()),
            false => Err(TemplateError::LosesQuestion {
                name: self.name.clone(),
                question: question.trim().chars().take(32).collect(),
            }),
        }
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

    fn answer(content: &str) -> Message {
        Message::new(Role::Assistant, content)
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
        let turns = [user("Hi"), answer("Yes."), user("And?")];
        let next = vicuna.turn(&turns).unwrap();
        assert_eq!(next, TurnText::Next("</s>USER: And? ASSISTANT:".into()));
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
        let turns = [user("Hi"), answer("Yes."), user("And?")];
        let next = code.turn(&turns).unwrap();
        assert_eq!(next, TurnText::Next(" </s><s>[INST] And? [/INST]".into()));
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
        assert!(ChatTemplate::new("bad", "{% if %}", "", "").is_err());
    }
}
