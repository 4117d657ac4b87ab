//! What a turn adds to a conversation.

use super::shape::PROBE;
use super::{ChatTemplate, Message, Role, TemplateError};

/// The text that leads from a conversation to its next answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnText {
    /// The whole conversation. The first turn has no other text. Later turns have it if the
    /// template writes earlier turns differently than before: many leave out the reasoning of
    /// earlier answers.
    Whole(String),
    /// What comes after the last answer. All before it is as it was.
    Next(String),
}

impl ChatTemplate {
    /// The text from the last answer to the next one, or of the whole conversation.
    ///
    /// `messages` are the whole conversation. The last one is the new question.
    ///
    /// # Errors
    /// If the template fails on this conversation, or has no place for a second question.
    pub fn turn(&self, messages: &[Message]) -> Result<TurnText, TemplateError> {
        let whole = self.prompt(messages)?;
        let is_answer = |message: &Message| message.role == Role::Assistant;
        let Some(at) = messages.iter().rposition(is_answer) else {
            return Ok(TurnText::Whole(whole));
        };
        self.check_later_question(messages, &whole)?;
        let (before, answer) = (&messages[..at], messages[at].content.trim());
        // The template may fail on what it was never asked to render.
        let Ok(before) = self.prompt(before) else {
            return Ok(TurnText::Whole(whole));
        };
        let next = whole.strip_prefix(&before).and_then(|rest| {
            let rest = rest.trim_start();
            rest.strip_prefix(answer)
        });
        Ok(match next {
            Some(next) => TurnText::Next(next.into()),
            None => TurnText::Whole(whole),
        })
    }

    /// Fails if the template has no place for the last question.
    fn check_later_question(&self, messages: &[Message], whole: &str) -> Result<(), TemplateError> {
        let Some((question, before)) = messages.split_last() else {
            return Ok(());
        };
        if self.check_question(whole, &question.content).is_ok() {
            return Ok(());
        }
        // The template may only change its text.
        let probe = Message::new(question.role, PROBE);
        let probed = self.prompt(&[before, &[probe]].concat())?;
        match probed.contains(PROBE) {
            true => Ok(()),
            false => Err(TemplateError::OneTurn {
                name: self.name.clone(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(source: &str, answer: &str) -> Result<TurnText, TemplateError> {
        let template = ChatTemplate::new("test", source, "<s>", "</s>").unwrap();
        template.turn(&[
            Message::new(Role::User, "Who?"),
            Message::new(Role::Assistant, answer),
            Message::new(Role::User, "Why?"),
        ])
    }

    /// Leaves out what an answer has before `</think>`.
    const REASONING: &str = "{% for m in messages %}<{{ m.role }}>\
        {{ m.content.split('</think>')[-1] | trim }}</s>{% endfor %}<assistant>";

    #[test]
    fn an_answer_that_stays_is_not_written_again() {
        let next = TurnText::Next("</s><user>Why?</s><assistant>".into());
        assert_eq!(turn(REASONING, "I am.").unwrap(), next);
        // White space around it does not matter.
        assert_eq!(turn(REASONING, " I am.\n").unwrap(), next);
        assert_eq!(turn(REASONING, "").unwrap(), next);
    }

    #[test]
    fn a_template_that_changes_an_answer_gives_the_whole_conversation() {
        let whole = "<user>Who?</s><assistant>I am.</s><user>Why?</s><assistant>";
        let answer = "<think>Who am I?</think>I am.";
        let given = turn(REASONING, answer).unwrap();
        assert_eq!(given, TurnText::Whole(whole.into()));
        // So does one whose prompt begins the answer.
        let thinking = format!("{REASONING}<think>");
        let given = turn(&thinking, "Who am I?</think>I am.").unwrap();
        assert_eq!(given, TurnText::Whole(format!("{whole}<think>")));
    }

    #[test]
    fn a_template_that_moves_the_system_prompt_gives_the_whole_conversation() {
        let source = "{% for m in messages %}{% if loop.last %}[Be brief.]{% endif %}\
            {{ m.content }};{% endfor %}";
        let whole = "Who?;I am.;[Be brief.]Why?;";
        assert_eq!(
            turn(source, "I am.").unwrap(),
            TurnText::Whole(whole.into())
        );
    }

    #[test]
    fn a_template_of_one_turn_is_refused() {
        let one = turn("{{ messages[0].content }}>", "I am.");
        assert!(matches!(one, Err(TemplateError::OneTurn { .. })));
        // Answers may go, and questions may be changed.
        let last = turn("{{ messages[-1].content }}>", "I am.").unwrap();
        assert_eq!(last, TurnText::Whole("Why?>".into()));
        let changed = turn("{{ messages[-1].content | replace('?', '') }}>", "I am.").unwrap();
        assert_eq!(changed, TurnText::Whole("Why>".into()));
    }
}
