//! Whether a method and the base can be compared, and notices about what differs.

use std::collections::BTreeMap;

use super::ReportError;
use super::load::{Entry, Method};

/// Settings that differ between a method and the base by their nature.
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
    // A difference in this one is an error, not a notice.
    "questions-sha256",
    "tree-spec",
];

/// Checks that a method and the base can be compared, and adds notices about what differs.
pub(super) fn check(
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
    notices.extend(missing_answers(method, base));
    notices.extend(missing_answers(base, method));
    notices.extend(unequal_runs(method));
    if method.entries().any(has_spread_lengths) {
        notices.push(format!(
            "{} recorded only the mean of its accept lengths: their histogram shows even shares",
            method.name
        ));
    }
    for side in [method, base] {
        for notice in [without_time(side), without_lengths(side)] {
            let new = notice.filter(|notice| !notices.contains(notice));
            notices.extend(new);
        }
    }
    notices.extend(settings(method, base));
    Ok(())
}

/// A notice if `other` lacks answers to questions that `method` answered.
fn missing_answers(method: &Method, other: &Method) -> Option<String> {
    let (ours, theirs) = (method.question_ids(), other.question_ids());
    let missing: Vec<&i64> = ours.difference(&theirs).collect();
    let first = missing.first()?;
    Some(format!(
        "{} has no answer to {} of {}'s questions, the first being {first}: the paired figures \
         leave them out, the means do not",
        other.name,
        missing.len(),
        method.name
    ))
}

/// A notice for each run that lacks questions of the other runs.
fn unequal_runs(method: &Method) -> Vec<String> {
    let all = method.question_ids().len();
    let runs = method.runs.iter().enumerate();
    runs.filter(|(_, run)| run.len() != all)
        .map(|(index, run)| {
            format!(
                "run {} of {} has {} of its {all} questions: the runs are over different questions",
                index + 1,
                method.name,
                run.len(),
            )
        })
        .collect()
}

/// Whether only the mean of an answer's accept lengths was recorded.
fn has_spread_lengths(entry: &Entry) -> bool {
    let extra = &entry.choice().extra;
    extra.get("accept_lengths_spread") == Some(&true.into())
}

/// A notice if answers have no time or no tokens.
fn without_time(method: &Method) -> Option<String> {
    let entries = method.entries();
    let count = entries.filter(|entry| entry.speed().is_none()).count();
    (count > 0).then(|| {
        format!(
            "{count} answers of {} have no wall_time or no new_tokens: they do not count in speeds",
            method.name
        )
    })
}

/// A notice if answers of new tokens have no accept lengths.
fn without_lengths(method: &Method) -> Option<String> {
    let lacks_them = |entry: &&Entry| {
        let choice = entry.choice();
        choice.accept_lengths.is_empty() && (choice.new_tokens.iter()).any(|&tokens| tokens > 0)
    };
    let count = method.entries().filter(lacks_them).count();
    (count > 0).then(|| {
        format!(
            "{count} answers of {} have no accept_lengths: they do not count in the mean of \
             accepted tokens",
            method.name
        )
    })
}

/// Notices about settings that differ, except those that only some methods have.
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
                "{} has other settings than {}: {difference}",
                method.name, base.name
            )
        })
        .collect()
}

/// Refuses answers to other questions than the base's: their figures cannot be compared.
fn same_questions(method: &Method, base: &Method) -> Result<(), ReportError> {
    let theirs: BTreeMap<i64, &Entry> = by_question(base);
    for (question_id, ours) in by_question(method) {
        let Some(theirs) = theirs.get(&question_id) else {
            continue;
        };
        let (path, other) = (&method.files[ours.file], &base.files[theirs.file]);
        let (category, other_category) = (&ours.answer.category, &theirs.answer.category);
        if category != other_category {
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
    // Question files without a common question. The files of the two sides may be in different
    // orders.
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

/// An answer to each question, from any run.
fn by_question(method: &Method) -> BTreeMap<i64, &Entry> {
    let entries = method.entries();
    entries
        .map(|entry| (entry.answer.question_id, entry))
        .collect()
}
