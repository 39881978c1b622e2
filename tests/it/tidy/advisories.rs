//! Each NATS advisory of 2026 has an answer, and each test an answer names exists.

use super::source;

const ADVISORIES: usize = 28;

#[test]
fn every_advisory_is_answered_by_tests_that_exist() {
    let path = source::root().join("docs/SECURITY-ADVISORIES.md");
    let text = std::fs::read_to_string(path).expect("the advisories have a document");
    let mut complaints = Vec::new();
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| no."));
    let mut answered = 0;
    for (row, number) in rows.zip(1..) {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let [said, _, _, shown] = cells[..] else { panic!("four cells: {row}") };
        assert_eq!(said, format!("{number:02}"), "in order and none missing");
        answered = number;
        if shown != "none" && !shown.starts_with("open: ") {
            let missing = named(shown).into_iter().filter(|(file, test)| !exists(file, test));
            complaints.extend(missing.map(|(file, test)| format!("{said}: {file} has no {test}")));
        }
    }
    assert_eq!(answered, ADVISORIES);
    assert_eq!(complaints, Vec::<String>::new());
}

/// Files and tests, each in back ticks, in turn.
fn named(shown: &str) -> Vec<(&str, &str)> {
    let names: Vec<&str> = shown.split('`').skip(1).step_by(2).collect();
    assert!(!names.is_empty() && names.len().is_multiple_of(2), "a file and a test each: {shown}");
    names.chunks(2).map(|pair| (pair[0], pair[1])).collect()
}

fn exists(file: &str, test: &str) -> bool {
    let found = source::all().iter().find(|source| source.path == file);
    found.is_some_and(|source| source.text.contains(&format!("fn {test}(")))
}
