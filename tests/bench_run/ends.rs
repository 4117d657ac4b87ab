//! How a run ends before its time, and what it leaves.

use super::*;

fn count(bench: &Bench<'_>) -> usize {
    bench.answers().len()
}

/// The chain of an error's messages in one line, as the command prints it.
fn chain(error: &RunError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[test]
fn a_stop_finishes_the_answer_in_progress_and_asks_nothing_more() {
    let stop = AtomicBool::new(false);
    let mut bench = Bench::new(&["a", "b"], 4);
    // The flag lies outside the bench, as the one of a signal handler does.
    let flag = &stop;
    bench.does = Box::new(move |(method, question, _)| {
        if (*method, question.as_str()) == (1, "q1") {
            flag.store(true, Ordering::Relaxed);
        }
        Ok(())
    });
    let plan = Plan {
        warmup: 0,
        ..Plan::new("model", &bench.methods, &bench.questions)
    };
    let logs = bench.logs().unwrap();
    let finished = run(&plan, logs, &bench.script(), &stop, &mut |_| {}).unwrap();
    assert!(finished.interrupted);
    assert_eq!(bench.take_asked().len(), 3);
    assert_eq!(count(&bench), 3);
    assert!(bench.answers().contains_key(&(1, 0, 82)));

    // During the very last answer there is nothing left to interrupt.
    stop.store(false, Ordering::Relaxed);
    bench.does = Box::new(move |(_, question, _)| {
        flag.store(question == "q3", Ordering::Relaxed);
        Ok(())
    });
    let plan = Plan {
        warmup: 0,
        ..Plan::new("model", &bench.methods[..1], &bench.questions)
    };
    let mut logs = bench.logs().unwrap();
    logs.truncate(1);
    let finished = run(&plan, logs, &bench.script(), &stop, &mut |_| {}).unwrap();
    assert!(stop.load(Ordering::Relaxed) && !finished.interrupted);
}

#[test]
fn a_stop_before_the_first_answer_warms_nothing_up() {
    let mut bench = Bench::new(&["a"], 2);
    bench.warmup = 3;
    bench.stop = AtomicBool::new(true);
    assert!(bench.run().unwrap().interrupted);
    assert_eq!(bench.take_asked(), []);
}

#[test]
fn a_failure_keeps_what_was_answered_and_names_the_question() {
    let mut bench = Bench::new(&["a", "b"], 3);
    bench.does = Box::new(|(method, question, _)| match (method, question.as_str()) {
        (0, "q1") => Err(failure()),
        _ => Ok(()),
    });
    let error = bench.run().unwrap_err();
    let said = "question 82, a: no answer: the machine is on fire";
    assert_eq!(chain(&error), said);
    assert!(!error.is_input_error());
    // q0 by a and b, q1 by b; nothing after the failure.
    assert_eq!(count(&bench), 3);
    assert_eq!(bench.take_asked().len(), 4);
}

#[test]
fn a_failure_while_warming_up_is_the_methods() {
    let mut bench = Bench::new(&["a", "b"], 2);
    bench.warmup = 1;
    bench.does = Box::new(|(method, ..)| match method {
        1 => Err(failure()),
        _ => Ok(()),
    });
    let error = bench.run().unwrap_err();
    assert_eq!(chain(&error), "b cannot start: the machine is on fire");
    assert_eq!(count(&bench), 0);
}

#[test]
fn an_answerer_that_cannot_be_made_ends_the_run() {
    struct Failing;
    impl AnswererFactory for Failing {
        type Shared = ();

        fn answerer(&self, _: usize, _: &mut ()) -> Result<Box<dyn Answerer + '_>, BoxError> {
            Err("no memory".into())
        }
    }
    let bench = Bench::new(&["a"], 2);
    let plan = Plan::new("model", &bench.methods, &bench.questions);
    let logs = bench.logs().unwrap();
    let error = run(&plan, logs, &Failing, &bench.stop, &mut |_| {}).unwrap_err();
    assert_eq!(chain(&error), "a cannot start: no memory");
}

/// Counts the threads and the answerers that it makes.
struct Counting<'a> {
    script: Script<'a>,
    made: Mutex<(usize, usize)>,
}

impl AnswererFactory for Counting<'_> {
    /// Whether the thread was counted.
    type Shared = bool;

    fn answerer(
        &self,
        method: usize,
        counted: &mut bool,
    ) -> Result<Box<dyn Answerer + '_>, BoxError> {
        let mut made = self.made.lock().unwrap();
        made.0 += usize::from(!std::mem::replace(counted, true));
        made.1 += 1;
        Ok(Box::new(self.script.scripted(method)))
    }
}

#[test]
fn the_answerers_of_a_thread_share_one_state() {
    let mut bench = Bench::new(&["a", "b", "c"], 4);
    bench.overwrite = true;
    for jobs in [1, 2] {
        let plan = Plan {
            jobs,
            warmup: 0,
            ..Plan::new("model", &bench.methods, &bench.questions)
        };
        let factory = Counting {
            script: bench.script(),
            made: Mutex::new((0, 0)),
        };
        let logs = bench.logs().unwrap();
        run(&plan, logs, &factory, &bench.stop, &mut |_| {}).unwrap();
        let (threads, answerers) = *factory.made.lock().unwrap();
        // A thread that finds no round left makes none.
        assert!((1..=jobs).contains(&threads), "{threads}");
        assert_eq!(answerers, 3 * threads);
    }
}

#[test]
fn a_record_that_cannot_be_kept_ends_the_run_at_once() {
    struct Broken<'a>(&'a Mutex<u32>);
    impl Answerer for Broken<'_> {
        fn answer(&mut self, turns: &[String], choice: u32) -> Result<Choice, AskError> {
            *self.0.lock().unwrap() += 1;
            let wall_time = vec![f64::NAN; turns.len()];
            Ok(Choice {
                wall_time,
                ..choice_of(turns, choice)
            })
        }
    }
    struct BrokenFactory<'a>(&'a Mutex<u32>);
    impl AnswererFactory for BrokenFactory<'_> {
        type Shared = ();

        fn answerer(&self, _: usize, _: &mut ()) -> Result<Box<dyn Answerer + '_>, BoxError> {
            Ok(Box::new(Broken(self.0)))
        }
    }
    let bench = Bench::new(&["a"], 200);
    let asked = Mutex::new(0);
    let plan = Plan {
        warmup: 0,
        ..Plan::new("model", &bench.methods, &bench.questions)
    };
    let logs = bench.logs().unwrap();
    let factory = BrokenFactory(&asked);
    let error = run(&plan, logs, &factory, &bench.stop, &mut |_| {}).unwrap_err();
    assert!(chain(&error).contains("the record of question 81 cannot be written"));
    assert_eq!(*asked.lock().unwrap(), 1);
}

#[test]
fn a_question_that_cannot_be_asked_is_recorded_and_not_asked_again() {
    let mut bench = Bench::new(&["a", "b"], 3);
    bench.warmup = 1;
    let too_long = |(_, question, _): &Asked| match question.as_str() {
        // The last one, so that warming up meets it too.
        "q2" => Err(AskError::Unaskable("it is too long".into())),
        _ => Ok(()),
    };
    bench.does = Box::new(too_long);
    let finished = bench.run().unwrap();
    assert_eq!(count(&bench), 4);
    assert!(
        bench
            .told
            .contains(&"skipped q2 m1 r0: it is too long".into())
    );
    assert_eq!(finished.summaries(&bench.methods)[0].skipped, 1);
    let list = std::fs::read_to_string(bench.folder.path().join("a-0.skipped.json")).unwrap();
    let list: serde_json::Value = serde_json::from_str(&list).unwrap();
    let expected = serde_json::json!([{"question_id": 83, "reason": "it is too long"}]);
    assert_eq!(list, expected);

    bench.take_asked();
    bench.told.clear();
    let finished = bench.run().unwrap();
    assert_eq!(bench.take_asked(), []);
    assert_eq!(bench.told, ["6 of 6"]);
    assert_eq!(finished.summaries(&bench.methods)[1].skipped, 1);

    // A fresh start asks again, and forgets the list when it can be asked.
    bench.overwrite = true;
    bench.does = Box::new(|_| Ok(()));
    bench.run().unwrap();
    assert_eq!(count(&bench), 6);
    assert!(!bench.folder.path().join("a-0.skipped.json").exists());
}
