//! What is prefetched.

use super::*;
use crate::prefetch::{CACHE_LINE, DISTANCE, Order, Prefetcher, Schedule, Visit, Window};

const ONCE: Visit = Visit {
    first: true,
    last: true,
};

/// A matrix without memory, with rows of `stride` bytes.
fn nowhere(stride: usize) -> Matrix {
    Matrix {
        data: std::ptr::without_provenance(1 << 40),
        stride,
    }
}

/// The lines that passes over `R` rows prefetch, in order. A step of a pass reads `bytes` bytes of
/// each row.
fn lines<const R: usize>(window: Window, passes: usize, [stride, bytes]: [usize; 2]) -> Vec<usize> {
    let steps = stride / bytes;
    let mut lines = Vec::new();
    for pass in 0..passes {
        let mut schedule = Schedule::new(window, pass, passes, steps);
        for step in 0..steps {
            schedule.for_each_line::<R>(step, bytes, stride, |line| lines.push(line as usize));
        }
    }
    lines
}

/// The addresses of all lines of some rows.
fn of_rows(weights: Matrix, rows: Range<usize>) -> Vec<usize> {
    let [start, end] = [rows.start, rows.end].map(|row| weights.row(row) as usize);
    (start..end).step_by(CACHE_LINE).collect()
}

#[test]
fn a_thread_prefetches_its_own_chunks() {
    let weights = nowhere(1 << 12);
    let row = |row| weights.row(row);
    let mut taken = 0;
    let mut next = || {
        taken += 1;
        Some(100)
    };
    let mut prefetcher = Prefetcher::new(weights, 50, Order::Row, &mut next);
    let mut fetched = |first, count| {
        let window = prefetcher.window(row(first), count * weights.stride, ONCE);
        lines::<1>(window, 1, [count * weights.stride, CACHE_LINE])
    };
    // 16 rows are 64 KB.
    assert_eq!(fetched(0, 4), of_rows(weights, 16..20));
    assert_eq!(fetched(30, 4), of_rows(weights, 46..50));
    assert_eq!(fetched(34, 4), of_rows(weights, 100..104));
    assert_eq!(fetched(46, 4), of_rows(weights, 112..116));
    // Across the end.
    let both = [of_rows(weights, 48..50), of_rows(weights, 100..102)].concat();
    assert_eq!(fetched(32, 4), both);
    // More at once than the distance.
    let both = [of_rows(weights, 46..50), of_rows(weights, 100..116)].concat();
    assert_eq!(fetched(30, 20), both);
    assert_eq!(taken, 1);
}

#[test]
fn the_next_chunk_is_taken_late_and_only_if_there_is_one() {
    let weights = nowhere(1 << 12);
    let fetched = |prefetcher: &mut Prefetcher<'_>, row, visit| {
        let window = prefetcher.window(weights.row(row), 4 * weights.stride, visit);
        lines::<4>(window, 1, [weights.stride, CACHE_LINE])
    };
    let mut early = || unreachable!("not before it is needed");
    let mut prefetcher = Prefetcher::new(weights, 50, Order::Address, &mut early);
    assert_eq!(fetched(&mut prefetcher, 30, ONCE), of_rows(weights, 46..50));
    // There are more tokens, for which the chunk is visited again.
    let [first, middle, last] =
        [(true, false), (false, false), (false, true)].map(|(first, last)| Visit { first, last });
    assert_eq!(
        fetched(&mut prefetcher, 32, first),
        of_rows(weights, 48..50)
    );
    assert!(fetched(&mut prefetcher, 46, first).is_empty());
    assert!(fetched(&mut prefetcher, 0, middle).is_empty());
    assert!(fetched(&mut prefetcher, 46, middle).is_empty());
    assert!(fetched(&mut prefetcher, 0, last).is_empty());
    let mut next = || Some(60);
    let mut prefetcher = Prefetcher::new(weights, 50, Order::Address, &mut next);
    assert_eq!(fetched(&mut prefetcher, 32, last), of_rows(weights, 60..62));
    let mut none = || None;
    let mut prefetcher = Prefetcher::new(weights, 50, Order::Address, &mut none);
    assert_eq!(fetched(&mut prefetcher, 32, ONCE), of_rows(weights, 48..50));
    assert!(fetched(&mut prefetcher, 46, ONCE).is_empty());
}

#[test]
fn passes_share_the_prefetching() {
    let weights = nowhere(CACHE_LINE);
    let mut none = || None;
    let mut prefetcher = Prefetcher::new(weights, 1 << 30, Order::Row, &mut none);
    for passes in 1..12 {
        for steps in 1..40 {
            let window = prefetcher.window(weights.row(0), steps * CACHE_LINE, ONCE);
            let lines = lines::<1>(window, passes, [steps * CACHE_LINE, CACHE_LINE]);
            let first = DISTANCE / CACHE_LINE;
            let expected = of_rows(weights, first..first + steps);
            assert_eq!(lines, expected, "{passes} passes of {steps} steps");
        }
    }
}

/// Four rows of 272 bytes a step, as in Q8_0.
#[test]
fn lines_come_in_the_order_of_rows_or_of_addresses() {
    let weights = nowhere(3 * 272);
    let fetched = |order| {
        let mut none = || None;
        let mut prefetcher = Prefetcher::new(weights, 1 << 20, order, &mut none);
        let window = prefetcher.window(weights.row(0), 4 * weights.stride, ONCE);
        lines::<4>(window, 2, [weights.stride, 272])
    };
    let start = weights.row(0) as usize + DISTANCE;
    let by_rows = (0..3).flat_map(|step| {
        let rows = (0..4).map(move |row| row * weights.stride + step * 272);
        rows.flat_map(|at| (0..5).map(move |line| start + at + line * CACHE_LINE))
    });
    assert_eq!(fetched(Order::Row), by_rows.collect::<Vec<_>>());
    let in_order = (0..3 * 4 * 272).step_by(CACHE_LINE).map(|at| start + at);
    assert_eq!(fetched(Order::Address), in_order.collect::<Vec<_>>());
}
