//! What a template wants its messages to be.

use minijinja::value::{Serde, merge_maps};
use minijinja::{Value, context};
use serde_json::json;

use super::{ChatTemplate, Message, Role};

/// A text that templates have no reason to change.
pub(super) const PROBE: &str = "LOGITSPEC-Probe_text";

impl ChatTemplate {
    /// Finds out which messages must be typed parts and whether there is a place for system
    /// messages, by rendering small conversations.
    pub(super) fn learn_shape(&mut self) {
        let message = Message::new;
        let (hello, probe) = (message(Role::User, "Hello."), |role| message(role, PROBE));
        self.learn_type(Role::User, &[probe(Role::User)]);
        let answered = [hello.clone(), probe(Role::Assistant), hello.clone()];
        self.learn_type(Role::Assistant, &answered);
        self.takes_system = self.learn_type(Role::System, &[probe(Role::System), hello.clone()]);
        let tool = json!({"type": "function", "function": {
            "name": PROBE,
            "description": "",
            "parameters": {"type": "object", "properties": {}},
        }});
        let variables = [("tools".to_owned(), json!([tool]))].into_iter().collect();
        let shown = self.prompt_with(&[hello], &variables);
        self.takes_tools = shown.is_ok_and(|text| text.contains(PROBE));
    }

    /// Finds out whether messages of this role must be typed parts. Returns whether their text
    /// appears in the prompt at all.
    fn learn_type(&mut self, role: Role, messages: &[Message]) -> bool {
        let render = |template: &Self| template.prompt(messages).unwrap_or_default();
        if render(self).contains(PROBE) {
            return true;
        }
        self.typed.push(role);
        let text = render(self);
        // A template that knows no parts may print them as Python or JSON writes them.
        let in_quotes = ['\'', '"'].map(|quote| format!("{quote}{PROBE}{quote}"));
        let is_shown = text.contains(PROBE) && !in_quotes.iter().any(|it| text.contains(it));
        if !is_shown {
            self.typed.pop();
        }
        is_shown
    }

    /// The messages as the template wants them.
    pub(super) fn values(&self, messages: &[Message]) -> Vec<Value> {
        let folded;
        let messages = match self.takes_system {
            true => messages,
            false => {
                folded = fold_system(messages);
                &folded
            }
        };
        messages.iter().map(|message| self.value(message)).collect()
    }

    fn value(&self, message: &Message) -> Value {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        };
        let text = message.content.as_str();
        let value = if self.typed.contains(&message.role) {
            let part = context! { type => "text", text };
            context! { role, content => [part] }
        } else {
            context! { role, content => text }
        };
        match message.fields.is_empty() {
            true => value,
            false => merge_maps([value, Value::from(Serde(&message.fields))]),
        }
    }
}

/// The messages with the text of system messages at the beginning of the next user message.
fn fold_system(messages: &[Message]) -> Vec<Message> {
    let mut folded = Vec::with_capacity(messages.len());
    let mut system = String::new();
    for message in messages {
        match message.role {
            Role::System => {
                system.push_str(&message.content);
                system.push_str("\n\n");
            }
            Role::User => {
                let content = std::mem::take(&mut system) + &message.content;
                folded.push(Message::new(Role::User, content));
            }
            Role::Assistant | Role::Tool => folded.push(message.clone()),
        }
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(source: &str) -> ChatTemplate {
        ChatTemplate::new("test", source, "<s>", "</s>").unwrap()
    }

    fn prompt(source: &str) -> String {
        let messages = [
            Message::new(Role::System, "Be brief."),
            Message::new(Role::User, "Who?"),
            Message::new(Role::Assistant, "I."),
            Message::new(Role::User, "Why?"),
        ];
        template(source).prompt(&messages).unwrap()
    }

    #[test]
    fn content_is_typed_for_the_roles_that_need_it() {
        let parts = "{% for part in m.content if part.type == 'text' %}{{ part.text }}{% endfor %}";
        let typed = format!("{{% for m in messages %}}[{{{{ m.role }}}}]{parts}{{% endfor %}}");
        let all = "[system]Be brief.[user]Who?[assistant]I.[user]Why?";
        assert_eq!(prompt(&typed), all);
        let plain = "{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}";
        assert_eq!(prompt(plain), all);
        let only_users = format!(
            "{{% for m in messages %}}[{{{{ m.role }}}}]\
             {{% if m.role == 'user' %}}{parts}{{% else %}}{{{{ m.content }}}}{{% endif %}}\
             {{% endfor %}}"
        );
        assert_eq!(prompt(&only_users), all);
        let first = "{% for m in messages %}[{{ m.role }}]{{ m.content[0]['text'] }}{% endfor %}";
        assert_eq!(prompt(first), all);
        assert_eq!(template(plain).typed, []);
        // Printed parts are no content.
        assert_eq!(template("{{ messages[0].content[:3] }}").typed, []);
        assert_eq!(template("{{ messages[0].content[:3] | tojson }}").typed, []);
    }

    #[test]
    fn tools_and_calls_reach_the_template() {
        let source = "{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}\
            [{{ m.role }}]{{ m.content }}{% for call in m.tool_calls or [] %}\
            {{ call.function.name }}{{ call.function.arguments.x }}{% endfor %}{% endfor %}";
        let template = template(source);
        assert!(template.takes_tools());
        let mut call = Message::new(Role::Assistant, "");
        let calls = json!([{"function": {"name": "add", "arguments": {"x": 7}}}]);
        call.fields.insert("tool_calls".into(), calls);
        let messages = [
            Message::new(Role::User, "Add."),
            call,
            Message::new(Role::Tool, "9"),
        ];
        let variables = [("tools".to_owned(), json!(["T"]))].into_iter().collect();
        let text = template.prompt_with(&messages, &variables).unwrap();
        assert_eq!(text, "[\"T\"][user]Add.[assistant]add7[tool]9");
    }

    #[test]
    fn a_template_that_ignores_tools_is_known() {
        assert!(!template("{% for m in messages %}{{ m.content }}{% endfor %}").takes_tools());
    }

    #[test]
    fn a_system_message_without_a_place_begins_the_first_question() {
        let ignored = "{% for m in messages if m.role != 'system' %}[{{ m.content }}]{% endfor %}";
        let refused = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}\
            {% for m in messages %}[{{ m.content }}]{% endfor %}";
        for source in [ignored, refused] {
            assert!(!template(source).takes_system());
            assert_eq!(prompt(source), "[Be brief.\n\nWho?][I.][Why?]");
        }
        assert!(template("{{ messages[0].content }}").takes_system());
    }
}
