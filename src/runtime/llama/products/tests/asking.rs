//! What is asked for ahead of time.

use super::super::ahead::{AHEAD, Ahead, Coming, LINE, Order, Share, Time};
use super::*;

const ONCE: Time = Time {
    first: true,
    last: true,
};

/// A matrix with rows of `stride` bytes that is nowhere.
fn nowhere(stride: usize) -> Matrix {
    Matrix {
        start: std::ptr::without_provenance(1 << 40),
        stride,
    }
}

/// All lines that turns over `R` rows ask for, in order, of which each goes over a row in steps of
/// so many `bytes`.
fn lines<const R: usize>(coming: Coming, turns: usize, [stride, bytes]: [usize; 2]) -> Vec<usize> {
    let steps = stride / bytes;
    let mut lines = Vec::new();
    for turn in 0..turns {
        let mut share = Share::of(coming, turn, turns, steps);
        for step in 0..steps {
            share.each_line::<R>(step, bytes, stride, |line| lines.push(line as usize));
        }
    }
    lines
}

/// The addresses of all lines of some rows.
fn of_rows(weights: Matrix, rows: Range<usize>) -> Vec<usize> {
    let [start, end] = [rows.start, rows.end].map(|row| weights.row(row) as usize);
    (start..end).step_by(LINE).collect()
}

#[test]
fn what_is_asked_for_is_the_thread_s_own() {
    let weights = nowhere(1 << 12);
    let row = |row| weights.row(row);
    let mut taken = 0;
    let mut next = || {
        taken += 1;
        Some(100)
    };
    let mut ahead = Ahead::new(weights, 50, Order::Rows, &mut next);
    let mut asked = |first, count| {
        let coming = ahead.of(row(first), count * weights.stride, ONCE);
        lines::<1>(coming, 1, [count * weights.stride, LINE])
    };
    // 16 rows are 64 KB.
    assert_eq!(asked(0, 4), of_rows(weights, 16..20));
    assert_eq!(asked(30, 4), of_rows(weights, 46..50));
    assert_eq!(asked(34, 4), of_rows(weights, 100..104));
    assert_eq!(asked(46, 4), of_rows(weights, 112..116));
    // Over the end.
    let both = [of_rows(weights, 48..50), of_rows(weights, 100..102)].concat();
    assert_eq!(asked(32, 4), both);
    // More at once than what is asked for ahead of time.
    let both = [of_rows(weights, 46..50), of_rows(weights, 100..116)].concat();
    assert_eq!(asked(30, 20), both);
    assert_eq!(taken, 1);
}

#[test]
fn the_next_piece_is_taken_late_and_only_if_there_is_one() {
    let weights = nowhere(1 << 12);
    let asked = |ahead: &mut Ahead<'_>, row, time| {
        let coming = ahead.of(weights.row(row), 4 * weights.stride, time);
        lines::<4>(coming, 1, [weights.stride, LINE])
    };
    let mut early = || unreachable!("not before it is needed");
    let mut ahead = Ahead::new(weights, 50, Order::Addresses, &mut early);
    assert_eq!(asked(&mut ahead, 30, ONCE), of_rows(weights, 46..50));
    // Tokens that will go over the piece again.
    let [first, middle, last] =
        [(true, false), (false, false), (false, true)].map(|(first, last)| Time { first, last });
    assert_eq!(asked(&mut ahead, 32, first), of_rows(weights, 48..50));
    assert!(asked(&mut ahead, 46, first).is_empty());
    assert!(asked(&mut ahead, 0, middle).is_empty());
    assert!(asked(&mut ahead, 46, middle).is_empty());
    assert!(asked(&mut ahead, 0, last).is_empty());
    let mut next = || Some(60);
    let mut ahead = Ahead::new(weights, 50, Order::Addresses, &mut next);
    assert_eq!(asked(&mut ahead, 32, last), of_rows(weights, 60..62));
    let mut none = || None;
    let mut ahead = Ahead::new(weights, 50, Order::Addresses, &mut none);
    assert_eq!(asked(&mut ahead, 32, ONCE), of_rows(weights, 48..50));
    assert!(asked(&mut ahead, 46, ONCE).is_empty());
}

#[test]
fn turns_share_what_is_asked_for() {
    let weights = nowhere(LINE);
    let mut none = || None;
    let mut ahead = Ahead::new(weights, 1 << 30, Order::Rows, &mut none);
    for turns in 1..12 {
        for steps in 1..40 {
            let coming = ahead.of(weights.row(0), steps * LINE, ONCE);
            let lines = lines::<1>(coming, turns, [steps * LINE, LINE]);
            let first = AHEAD / LINE;
            let expected = of_rows(weights, first..first + steps);
            assert_eq!(lines, expected, "{turns} turns of {steps} steps");
        }
    }
}

/// Four rows of 272 bytes a step, as in Q8_0.
#[test]
fn rows_ask_for_what_they_read_and_addresses_come_in_order() {
    let weights = nowhere(3 * 272);
    let asked = |order| {
        let mut none = || None;
        let mut ahead = Ahead::new(weights, 1 << 20, order, &mut none);
        let coming = ahead.of(weights.row(0), 4 * weights.stride, ONCE);
        lines::<4>(coming, 2, [weights.stride, 272])
    };
    let start = weights.row(0) as usize + AHEAD;
    let by_rows = (0..3).flat_map(|step| {
        let rows = (0..4).map(move |row| row * weights.stride + step * 272);
        rows.flat_map(|at| (0..5).map(move |line| start + at + line * LINE))
    });
    assert_eq!(asked(Order::Rows), by_rows.collect::<Vec<_>>());
    let in_order = (0..3 * 4 * 272).step_by(LINE).map(|at| start + at);
    assert_eq!(asked(Order::Addresses), in_order.collect::<Vec<_>>());
}
