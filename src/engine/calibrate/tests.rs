use super::*;
use crate::runtime::{Failure, ScriptedModel};

#[test]
fn every_size_that_fits_is_measured_and_nothing_stays() {
    let mut model = ScriptedModel::new(20, 2, 1, 60, 8);
    let plan = CalibrationPlan {
        contexts: vec![4, 40, 500],
        sizes: vec![1, 2, 5, 16, 64],
        repeats: 2,
        steady: Duration::ZERO,
        most_ratio: f64::INFINITY,
        ..CalibrationPlan::default()
    };
    let mut told = Vec::new();
    let times = calibrate(&mut model, &plan, &mut |done, all| {
        told.push((done, all));
        ControlFlow::Continue(())
    })
    .unwrap();
    let measured: Vec<_> = times.iter().map(|t| (t.n_past, t.tokens)).collect();
    let expected = [
        (4, 1),
        (4, 2),
        (4, 5),
        (4, 16),
        (40, 1),
        (40, 2),
        (40, 5),
        (40, 16),
    ];
    assert_eq!(measured, expected);
    assert_eq!(told.last(), Some(&(16, 16)));
    assert!(times.iter().all(|t| t.reused > 0.0 && t.rebuilt > 0.0));
    model.assert_cache_holds(&[]);
}

#[test]
fn what_takes_long_is_measured_twice_and_not_at_every_length() {
    let mut model = ScriptedModel::new(20, 2, 1, 60, 16);
    let plan = CalibrationPlan {
        contexts: vec![4, 20],
        sizes: vec![1, 2, 12],
        repeats: 9,
        budget: Duration::ZERO,
        steady: Duration::from_secs(1),
        most_ratio: 0.0,
    };
    let mut told = Vec::new();
    let times = calibrate(&mut model, &plan, &mut |done, all| {
        told.push((done, all));
        ControlFlow::Continue(())
    })
    .unwrap();
    // The text before, two rounds of three sizes, nothing at the longer context but its text, and
    // the end.
    assert_eq!(told.len(), 1 + 2 * 3 + 1 + 1, "{told:?}");
    assert_eq!(times.len(), 3);
    assert_eq!(told.last(), Some(&(27, 27)));
}

#[test]
fn short_passes_are_measured_more_often_than_asked_for() {
    let passes = |steady: Duration| {
        let mut model = ScriptedModel::new(20, 2, 1, 60, 16);
        let plan = CalibrationPlan {
            contexts: vec![4],
            sizes: vec![1, 2, 12],
            repeats: 3,
            steady,
            ..CalibrationPlan::default()
        };
        let mut told = Vec::new();
        calibrate(&mut model, &plan, &mut |done, all| {
            told.push((done, all));
            ControlFlow::Continue(())
        })
        .unwrap();
        assert!(told.iter().all(|&(done, all)| done <= all), "{told:?}");
        // But for the text before and the end.
        told.len() - 2
    };
    assert_eq!(passes(Duration::ZERO), 3 * 3);
    assert_eq!(passes(Duration::from_secs(3600)), 3 * MOST_REPEATS);
}

#[test]
fn rows_are_what_a_pass_takes_beyond_one_that_gives_the_last_row_alone() {
    let ms = |all: &[u64]| all.iter().copied().map(Duration::from_millis).collect();
    let mut samples = Samples {
        reused: ms(&[9, 7, 8]),
        last_row: ms(&[5, 4, 6]),
        ..Samples::default()
    };
    assert!((samples.medians(0, 4).rows - 0.003).abs() < 1e-9);
    samples.last_row = ms(&[10]);
    assert_eq!(samples.medians(0, 4).rows, 0.0, "noise");
    samples.last_row.clear();
    assert_eq!(samples.medians(0, 1).rows, 0.0, "its only row");
}

#[test]
fn what_rows_cost_takes_two_more_passes_of_each_size_but_one_token() {
    let passes = |sizes: &[usize]| {
        let plan = CalibrationPlan {
            contexts: vec![4],
            sizes: sizes.to_vec(),
            repeats: 1,
            steady: Duration::ZERO,
            ..CalibrationPlan::default()
        };
        let fails = |at: &usize| {
            let mut model = ScriptedModel::new(20, 2, 1, 60, 8);
            model = model.with_failures([(*at, Failure::NoRoom)]);
            calibrate(&mut model, &plan, &mut |_, _| ControlFlow::Continue(())).is_err()
        };
        // The text before them is one.
        (1..50).take_while(fails).count()
    };
    assert_eq!(passes(&[1]), 2);
    assert_eq!(passes(&[1, 2, 12]), 2 + 4 + 4);
}

#[test]
fn a_cost_model_takes_passes_and_graphs_apart() {
    let time = |n_past, tokens, reused, rebuilt| PassTimes {
        n_past,
        tokens,
        reused,
        fastest: reused,
        rebuilt,
        rows: 0.0,
        kv: 0.1,
        argmax: 0.0,
        top_k: 0.0,
    };
    let times = [
        time(0, 1, 1.0, 1.4),
        time(0, 4, 2.0, 2.5),
        time(0, 64, 20.0, 26.0),
        time(1000, 1, 1.2, 1.6),
    ];
    let model = cost_model(&times);
    let cost = model.cost();
    assert!((cost.of(4) / cost.of(1) - 2.1 / 1.1).abs() < 1e-9);
    // The median of the small passes, 0.4 of a pass.
    let build = (cost.of_tree(4) - cost.of(4)) / cost.of(1);
    assert!((build - 0.4).abs() < 1e-9, "{build}");
}

#[test]
fn models_that_cannot_take_tokens_back_are_not_measured() {
    let mut model = ScriptedModel::new(20, 2, 1, 60, 8).uncuttable();
    let times = calibrate(&mut model, &CalibrationPlan::default(), &mut |_, _| {
        ControlFlow::Continue(())
    });
    assert_eq!(times, Ok(Vec::new()));
}

#[test]
fn it_can_be_called_off_and_nothing_stays() {
    // In the text before, which takes three pieces, or after so many passes.
    for last in 1..8 {
        let mut model = ScriptedModel::new(20, 2, 1, 60, 8);
        let plan = CalibrationPlan {
            contexts: vec![20],
            sizes: vec![1, 2],
            repeats: 9,
            ..CalibrationPlan::default()
        };
        let mut told = 0;
        let outcome = calibrate(&mut model, &plan, &mut |_, _| {
            told += 1;
            match told < last {
                true => ControlFlow::Continue(()),
                false => ControlFlow::Break(()),
            }
        });
        assert_eq!((outcome, told), (Err(DecodeError::Aborted), last));
        model.assert_cache_holds(&[]);
    }
}

#[test]
fn a_pass_has_a_graph_to_use_only_after_one_of_the_same_shape() {
    let mut model = ScriptedModel::new(20, 2, 1, 60, 8);
    let mut passes = Passes::of(&mut model);
    let mut samples = Samples::default();
    let mut go_on = |_: usize, _: usize| ControlFlow::Continue(());
    let mut count = Count {
        done: 0,
        all: 0,
        progress: &mut go_on,
    };
    passes.fill(4, &mut count).unwrap();
    let mut graph = |passes: &mut Passes<'_, _>, size| passes.tree(size, &mut samples).unwrap();
    use Graph::{Rebuilt, Reused};
    assert_eq!(graph(&mut passes, 3), Rebuilt, "the first");
    assert_eq!(graph(&mut passes, 3), Reused);
    assert_eq!(graph(&mut passes, 2), Rebuilt, "another size");
    assert_eq!(graph(&mut passes, 3), Rebuilt);
    passes.last_row(3, &mut Samples::default()).unwrap();
    assert_eq!(graph(&mut passes, 3), Rebuilt, "another number of rows");
    passes.fill(6, &mut count).unwrap();
    assert_eq!(graph(&mut passes, 3), Rebuilt, "another text");
    assert_eq!(graph(&mut passes, 3), Reused);
    assert_eq!((samples.reused.len(), samples.rebuilt.len()), (2, 5));
}

#[test]
fn every_round_has_a_pass_with_its_graph_and_one_without() {
    let samples = |sizes: &[usize]| {
        let mut model = ScriptedModel::new(20, 2, 1, 60, 16);
        let plan = CalibrationPlan {
            repeats: 4,
            steady: Duration::ZERO,
            ..CalibrationPlan::default()
        };
        let mut count = Count {
            done: 0,
            all: 0,
            progress: &mut |_, _| ControlFlow::Continue(()),
        };
        let measured = measure_sizes(&mut Passes::of(&mut model), &plan, sizes, &mut count);
        let measured = measured.unwrap();
        let lens = measured
            .iter()
            .map(|it| (it.reused.len(), it.rebuilt.len()));
        lens.collect::<Vec<_>>()
    };
    assert_eq!(samples(&[1, 2, 12]), [(4, 4); 3]);
    // Of one token there is no last row to measure, so nothing comes in between.
    assert_eq!(samples(&[1]), [(4, 1)]);
}

#[test]
fn a_large_pass_that_took_no_time_beside_a_small_one_is_noticed() {
    let time = |n_past, tokens, reused: f64| PassTimes {
        n_past,
        tokens,
        reused,
        fastest: 0.1 * reused,
        rebuilt: reused,
        rows: 0.0,
        kv: 0.0,
        argmax: 0.0,
        top_k: 0.0,
    };
    let good = [
        time(0, 1, 1.0),
        time(0, 6, 2.9),
        time(0, 8, 2.7),
        time(900, 1, 1.4),
    ];
    assert!(!contradictory(&good));
    assert!(contradictory(&[
        time(0, 1, 1.0),
        time(0, 32, 90.0),
        time(0, 96, 3.0)
    ]));
    assert!(
        !contradictory(&[time(0, 8, 9.0), time(900, 16, 1.0)]),
        "other contexts"
    );
    let steady = PassTimes {
        fastest: 8.5,
        ..time(0, 48, 9.0)
    };
    assert!(
        !contradictory(&[steady, time(0, 64, 4.0)]),
        "a faster kernel from 64 tokens on"
    );
}
