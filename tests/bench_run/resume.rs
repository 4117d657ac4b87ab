//! Runs that were broken off, and runs that meet files of other runs.

use std::sync::atomic::AtomicUsize;

use logitspec::bench::AnswerError;
use proptest::prelude::*;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Wherever and however often a run fails, what is there in the end is what an undisturbed run
    /// leaves, and no question is answered twice.
    #[test]
    fn a_run_that_fails_again_and_again_comes_to_the_same_end(
        questions in 1_usize..7,
        methods in 1_usize..4,
        repeats in 1_u32..3,
        jobs in 1_usize..4,
        sequential: bool,
        good in proptest::collection::vec(0_usize..6, 0..6),
    ) {
        let names = &["a", "b", "c"][..methods];
        let setup = |bench: &mut Bench<'_>| {
            bench.repeats = repeats;
            bench.order = if sequential { Order::Sequential } else { Order::Rotating };
            bench.jobs = jobs;
        };
        let mut undisturbed = Bench::new(names, questions);
        setup(&mut undisturbed);
        undisturbed.run().unwrap();

        let left = AtomicUsize::new(0);
        let mut bench = Bench::new(names, questions);
        setup(&mut bench);
        bench.does = Box::new(|_| {
            let relaxed = Ordering::Relaxed;
            let took = left.fetch_update(relaxed, relaxed, |it| it.checked_sub(1));
            took.map(|_| ()).map_err(|_| failure())
        });
        let mut kept = 0;
        // After so many answers each run fails; the last one does not.
        for good in good.into_iter().chain([usize::MAX]) {
            left.store(good, Ordering::Relaxed);
            let finished = bench.run();
            let now = bench.answers().len();
            if good == usize::MAX {
                prop_assert!(finished.is_ok());
                let asked = bench.take_asked();
                prop_assert_eq!(asked.len(), now - kept);
            } else {
                bench.take_asked();
                prop_assert_eq!(now - kept, good.min(undisturbed.answers().len() - kept));
            }
            kept = now;
        }
        prop_assert_eq!(bench.answers(), undisturbed.answers());
    }
}

#[test]
fn a_slice_can_be_added_to_a_file() {
    let mut bench = Bench::new(&["a"], 4);
    let all = bench.questions.clone();
    bench.questions.truncate(2);
    bench.run().unwrap();
    bench.questions = all[2..].to_vec();
    let finished = bench.run().unwrap();
    assert_eq!(bench.told.last().unwrap(), "answered q1 m0 r0");
    assert_eq!(finished.logs[0].answers.len(), 4);
}

#[test]
fn other_settings_are_refused_and_named() {
    let mut bench = Bench::new(&["a"], 2);
    bench.manifest.threads = 2;
    bench
        .manifest
        .flags
        .insert("max-new-tokens".into(), 128.into());
    bench.run().unwrap();
    let before = std::fs::read(bench.path(0, 0)).unwrap();

    bench.manifest.threads = 4;
    bench
        .manifest
        .flags
        .insert("max-new-tokens".into(), 1024.into());
    let error = bench.run().unwrap_err();
    assert!(error.is_input_error());
    let said = format!(
        "{}: holds answers made with other settings: threads was 2, is 4, max-new-tokens was 128, \
         is 1024",
        bench.path(0, 0).display()
    );
    assert_eq!(error.to_string(), said);
    assert_eq!(std::fs::read(bench.path(0, 0)).unwrap(), before);

    bench.overwrite = true;
    bench.take_asked();
    bench.run().unwrap();
    assert_eq!(bench.take_asked().len(), 2);
    let manifest = Manifest::read(bench.folder.path().join("a-0.manifest.json")).unwrap();
    assert_eq!(manifest.unwrap().threads, 4);
}

#[test]
fn another_version_of_the_program_goes_on_and_says_so() {
    let mut bench = Bench::new(&["a"], 2);
    bench.manifest.commit = "0.1.0 abc".into();
    bench.run().unwrap();
    bench.manifest.commit = "0.1.0 def".into();
    let log = bench.logs().unwrap().remove(0);
    let difference = log.other_commit.as_ref().unwrap().to_string();
    assert_eq!(difference, "commit was 0.1.0 abc, is 0.1.0 def");
    assert!(log.is_done(81) && !log.is_done(83));
}

#[test]
fn answers_without_a_manifest_are_refused() {
    let mut bench = Bench::new(&["a"], 1);
    bench.run().unwrap();
    std::fs::remove_file(bench.folder.path().join("a-0.manifest.json")).unwrap();
    let error = bench.run().unwrap_err();
    assert!(error.is_input_error() && error.to_string().contains("has no manifest beside it"));
    std::fs::write(bench.folder.path().join("a-0.manifest.json"), "{").unwrap();
    let error = bench.run().unwrap_err();
    assert!(
        error.is_input_error()
            && error
                .to_string()
                .contains("a-0.manifest.json:1: not a manifest")
    );
}

#[test]
fn an_empty_file_has_no_settings_to_differ_in() {
    let mut bench = Bench::new(&["a"], 1);
    std::fs::write(bench.path(0, 0), "").unwrap();
    assert_eq!(bench.run().unwrap().logs[0].answers.len(), 1);
}

#[test]
fn a_broken_list_of_questions_left_out_is_named() {
    let mut bench = Bench::new(&["a"], 1);
    bench.run().unwrap();
    std::fs::write(bench.folder.path().join("a-0.skipped.json"), "[{").unwrap();
    let error = bench.run().unwrap_err().to_string();
    assert!(
        error.contains("a-0.skipped.json: cannot read") && error.contains("remove it"),
        "{error}"
    );
}

#[test]
fn a_file_that_another_run_writes_is_left_alone() {
    let mut bench = Bench::new(&["a"], 1);
    let logs = bench.logs().unwrap();
    let error = bench.run().unwrap_err();
    assert!(
        matches!(&error, RunError::Answers(AnswerError::InUse { .. })),
        "{error}"
    );
    assert!(error.is_input_error());
    drop(logs);
    bench.run().unwrap();
}
