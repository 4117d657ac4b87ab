//! The categories of question sets, grouped into the rows of a report.

/// The categories of MT-Bench, which are reported as one row.
const MT_BENCH: [&str; 8] = [
    "writing",
    "roleplay",
    "reasoning",
    "math",
    "coding",
    "extraction",
    "stem",
    "humanities",
];

/// The order of Spec-Bench's tasks. Other categories follow, sorted by name.
const ORDER: [&str; 6] = [
    "mt_bench",
    "translation",
    "summarization",
    "qa",
    "math_reasoning",
    "rag",
];

/// The row of answers without a category: some tools write none.
const NONE: &str = "(none)";

/// The row of a report that a category belongs to.
pub fn row_of(category: &str) -> &str {
    if category.is_empty() {
        NONE
    } else if MT_BENCH.contains(&category) {
        ORDER[0]
    } else {
        category
    }
}

/// The rows of `categories`, each once, in the order of a report.
pub fn rows<'a>(categories: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut rows: Vec<&str> = categories.into_iter().map(row_of).collect();
    let place = |row: &str| ORDER.iter().position(|known| *known == row);
    rows.sort_by(|a, b| {
        let key = |row| (place(row).unwrap_or(ORDER.len()), row);
        key(*a).cmp(&key(*b))
    });
    rows.dedup();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_rows_come_first_and_mt_bench_is_one() {
        let categories = ["zoo", "rag", "math", "apes", "writing", "qa", "zoo"];
        assert_eq!(rows(categories), ["mt_bench", "qa", "rag", "apes", "zoo"]);
    }
}
