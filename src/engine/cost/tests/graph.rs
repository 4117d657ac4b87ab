//! What is learned of graphs.

use super::*;

#[test]
fn the_time_to_build_a_graph_is_told_from_the_time_of_the_pass() {
    let mut model = CostModel::cpu(false);
    let truth = |n: usize| 0.001 * [0.0, 1.0, 1.5, 1.8, 2.0][n];
    let sizes = [1, 1, 1, 1, 4, 1, 1, 2, 2, 1, 1, 1, 4, 4, 1];
    let mut last = 0;
    for i in 0..600 {
        let n = sizes[i % sizes.len()];
        let noise = 1.0 + 0.02 * ((i * 7 % 11) as f64 - 5.0);
        let build = if n == last { 0.0 } else { 0.0003 };
        model.observe(pass(n, 100), truth(n) * noise + build);
        last = n;
    }
    let cost = model.cost();
    assert!((ratio(&model, 2) / 1.5 - 1.0).abs() < 0.1);
    assert!((ratio(&model, 4) / 2.0 - 1.0).abs() < 0.1);
    let build = (cost.of_tree(4) - cost.of(4)) / cost.of(1);
    assert!((build - 0.3).abs() < 0.05, "{build}");
    assert_eq!(cost.of_tree(1), cost.of(1), "the last pass had one token");
    model.forget_graph();
    let cost = model.cost();
    assert!(cost.of_tree(1) > 1.2 * cost.of(1), "its graph is gone");
}

#[test]
fn a_change_of_size_costs_what_building_a_graph_costs_and_nothing_more() {
    let curve = Curve::anywhere(&[(1, 1.0), (2, 1.1), (8, 2.0)]);
    for build in [0.0, 0.5] {
        let mut model = CostModel::learned(vec![curve.clone()]).with_build_time(build);
        for step in 0..100 {
            model.observe(pass(1 + step % 2, 0), 0.1);
        }
        let mut model = model.with_build_time(build);
        model.prepare(0, 0);
        let cost = model.cost();
        let extra = |nodes| (cost.of_tree(nodes) - cost.of(nodes)) / cost.of(1);
        assert_eq!(extra(2), 0.0, "as large as the last pass");
        assert!((extra(7) - build).abs() < 1e-9, "{}", extra(7));
    }
}

#[test]
fn a_graph_serves_as_long_as_the_cache_has_as_many_blocks() {
    let mut model = CostModel::gpu().with_build_time(0.5);
    model.observe(pass(4, 100), 0.1);
    // Four tokens after 252 fill one block of 256 cells, after 253 they need two.
    for (n_past, serves) in [(252, true), (253, false)] {
        model.prepare(n_past, 0);
        let cost = model.cost();
        assert_eq!(cost.of_tree(4) == cost.of(4), serves, "{n_past}");
    }
    // A large pass needed two blocks. The next pass as large reuses its graph.
    model.observe(pass(64, 200), 0.1);
    model.prepare(203, 0);
    assert_eq!(model.cost().of_tree(64), model.cost().of(64));
    // Redecoded tokens are part of the pass.
    model.prepare(203, 10);
    assert_eq!(model.cost().of_tree(54), model.cost().of(64));
}

#[test]
fn a_pass_on_more_sequences_builds_its_own_graph() {
    let shape = |sequences| Pass {
        tokens: 8,
        sequences,
        n_past: 100,
    };
    let mut model = CostModel::gpu().with_build_time(0.0);
    for step in 0..400 {
        // Every other pass has as many sequences as the one before, and takes half as long.
        let sequences = [2, 2, 5, 5][step % 4];
        model.observe(shape(sequences), [0.2, 0.1][step % 2]);
    }
    let cost = model.cost();
    assert!((cost.of(8) / 0.1 - 1.0).abs() < 0.1, "{}", cost.of(8));
}
