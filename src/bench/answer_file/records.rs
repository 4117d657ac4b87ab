//! Parsing the lines of an answer file.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::{AnswerError, AnswerNotice, AnswerRecords};
use crate::bench::answer::Answer;
use crate::files::{self, json_reason};

/// The parsed lines of an answer file.
pub(super) struct Records<'a> {
    pub list: Vec<Record<'a>>,
    pub tail: Tail,
    notices: Vec<AnswerNotice>,
}

pub(super) struct Record<'a> {
    pub text: &'a [u8],
    pub answer: Answer,
}

/// The end of the file.
pub(super) enum Tail {
    Clean,
    /// A whole record without its line end.
    NoLineEnd,
    /// Half a record, which begins at this byte.
    Half {
        start: usize,
    },
}

impl<'a> Records<'a> {
    pub(super) fn parse(path: &Path, bytes: &'a [u8]) -> Result<Self, AnswerError> {
        let mut this = Self {
            list: Vec::new(),
            tail: Tail::Clean,
            notices: Vec::new(),
        };
        let mut line_of: HashMap<i64, usize> = HashMap::new();
        for line in files::lines(bytes).filter(|line| !line.is_blank()) {
            let refused = |reason| AnswerError::Line {
                path: path.into(),
                line: line.number,
                reason,
            };
            let mut answer: Answer = match serde_json::from_slice(line.text) {
                Ok(answer) => answer,
                Err(error) if !line.finished && is_half_a_record(line.text, &error) => {
                    this.tail = Tail::Half { start: line.start };
                    this.notices.push(AnswerNotice::HalfLine {
                        path: path.into(),
                        line: line.number,
                        bytes: line.text.len(),
                    });
                    continue;
                }
                Err(error) => return Err(refused(json_reason(&error))),
            };
            answer.adopt_other_names().map_err(refused)?;
            answer.check_consistent().map_err(refused)?;
            if !line.finished {
                this.tail = Tail::NoLineEnd;
            }
            if let Some(earlier_line) = line_of.insert(answer.question_id, line.number) {
                this.notices.push(AnswerNotice::Duplicate {
                    path: path.into(),
                    line: line.number,
                    earlier_line,
                    question_id: answer.question_id,
                });
            }
            this.list.push(Record {
                text: line.text,
                answer,
            });
        }
        Ok(this)
    }

    pub(super) fn into_answers(self, path: &Path) -> AnswerRecords {
        let by_id: BTreeMap<i64, Answer> = self
            .list
            .into_iter()
            .map(|record| (record.answer.question_id, record.answer))
            .collect();
        AnswerRecords {
            path: path.into(),
            answers: by_id.into_values().collect(),
            notices: self.notices,
        }
    }
}

/// Whether an unreadable last line is the start of a record and may be cut off. Every record starts
/// with its `question_id`. After a power cut, there may be zero bytes in place of the rest.
fn is_half_a_record(text: &[u8], error: &serde_json::Error) -> bool {
    const START: &[u8] = br#"{"question_id":"#;
    let written = &text[..text
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1)];
    let breaks_off = error.is_eof() || written.len() < text.len();
    breaks_off && (written.starts_with(START) || START.starts_with(written))
}
