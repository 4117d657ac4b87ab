//! Whether a method and the base can be set beside each other, and what to know when they are.

use std::collections::BTreeMap;

use super::ReportError;
use super::load::{Entry, Method};

/// Settings that a method has of its own, so that it differs from the base's by its nature.
const OWN: [&str; 17] = [
    "method",
    "calibration",
    "corpus",
    "draft-tree-capacity",
    "fill-tree",
    "history",
    "leave-out",
    "llama-server-args",
    "max-ngram-size",
    "max-spec-factor",
    "max-spec-offset",
    "min-token-prob",
    "num-pred-tokens",
    "pool-file",
    "pool-max-tokens",
    // What is said of this one is a refusal, not a notice.
    "questions-sha256",
    "tree-spec",
];

/// Says where a method's figures and the base's are not of the same thing.
pub(super) fn sets(
    method: &Method,
    base: &Method,
    notices: &mut Vec<String>,
) -> Result<(), ReportError> {
    let (runs, base_runs) = (method.runs.len(), base.runs.len());
    if base_runs != 1 && base_runs != runs {
        return Err(ReportError::RunCount {
            method: method.name.clone(),
            runs,
            base_runs,
        });
    }
    same_questions(method, base)?;
    let (ours, theirs) = (method.question_ids(), base.question_ids());
    let mut differ = |questions: Vec<&i64>, who: &str, whose: &str| {
        if let [first, ..] = questions[..] {
            let count = questions.len();
            notices.push(format!(
                "{who} has no answer to {count} of {whose}'s questions, the first being {first}: the paired figures \
                 leave them out, the means do not"
            ));
        }
    };
    differ(ours.difference(&theirs).collect(), &base.name, &method.name);
    differ(theirs.difference(&ours).collect(), &method.name, &base.name);
    for (index, run) in method.runs.iter().enumerate() {
        if runs > 1 && run.len() != ours.len() {
            notices.push(format!(
                "run {} of {} has {} of its {} questions: the runs are not of the same questions",
                index + 1,
                method.name,
                run.len(),
                ours.len()
            ));
        }
    }
    let spread = |entry: &Entry| {
        let extra = &entry.choice().extra;
        extra.get("accept_lengths_spread") == Some(&true.into())
    };
    if method.entries().any(spread) {
        notices.push(format!(
            "{} recorded the mean of its accept lengths only: their histogram shows even shares",
            method.name
        ));
    }
    for side in [method, base] {
        let untimed = side
            .entries()
            .filter(|entry| entry.speed().is_none())
            .count();
        let notice = format!(
            "{untimed} answers of {} have no wall_time: they do not count in speeds",
            side.name
        );
        if untimed > 0 && !notices.contains(&notice) {
            notices.push(notice);
        }
    }
    notices.extend(settings(method, base));
    Ok(())
}

/// Where the settings of the two differ, those left out that only some methods have.
fn settings(method: &Method, base: &Method) -> Vec<String> {
    let (Some(ours), Some(theirs)) = (method.manifest(), base.manifest()) else {
        return Vec::new();
    };
    theirs
        .differences(ours)
        .iter()
        .filter(|difference| !OWN.contains(&difference.setting.as_str()))
        .map(|difference| {
            format!(
                "{} was not made like {}: {difference}",
                method.name, base.name
            )
        })
        .collect()
}

/// Refuses answers to other questions than the base's: their figures say nothing about each other.
fn same_questions(method: &Method, base: &Method) -> Result<(), ReportError> {
    let theirs: BTreeMap<i64, &Entry> = by_question(base);
    for (question_id, ours) in by_question(method) {
        let Some(theirs) = theirs.get(&question_id) else {
            continue;
        };
        let (path, other) = (&method.files[ours.file], &base.files[theirs.file]);
        let (category, other_category) = (&ours.answer.category, &theirs.answer.category);
        // Some tools write no category.
        if category != other_category && !category.is_empty() && !other_category.is_empty() {
            return Err(ReportError::Category {
                path: path.clone(),
                other: other.clone(),
                question_id,
                category: category.clone(),
                other_category: other_category.clone(),
            });
        }
        let (set, other_set) = (
            method.question_set(ours.file),
            base.question_set(theirs.file),
        );
        if set.zip(other_set).is_some_and(|(set, other)| set != other) {
            return Err(ReportError::QuestionSets {
                path: path.clone(),
                other: other.clone(),
            });
        }
    }
    // Sets without a question in common. Those of several files may stand in another order on the
    // other side.
    let sets: Option<Vec<&str>> = (0..base.files.len())
        .map(|file| base.question_set(file))
        .collect();
    let foreign = |file: &usize| {
        let set = method.question_set(*file);
        set.zip(sets.as_ref())
            .is_some_and(|(set, sets)| !sets.contains(&set))
    };
    match (0..method.files.len()).find(foreign) {
        None => Ok(()),
        Some(file) => Err(ReportError::QuestionSets {
            path: method.files[file].clone(),
            other: base.files[0].clone(),
        }),
    }
}

/// An answer to each question, of whichever run.
fn by_question(method: &Method) -> BTreeMap<i64, &Entry> {
    let entries = method.entries();
    entries
        .map(|entry| (entry.answer.question_id, entry))
        .collect()
}
