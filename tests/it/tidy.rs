//! The house rules a machine can hold: who may depend on whom, how files open, what is banned.
//!
//! Each rule is a function from a source to complaints, tried on every source and, below, on a
//! line it must refuse. Exceptions are in the tables here, each with its reason; an exception that
//! nothing needs is a complaint too. `docs/STYLE.md` says why the rules are there.

mod advisories;
mod edges;
mod modules;
mod source;
mod surface;

use source::Source;

/// Folders of the packages, in reading order.
const PACKAGES: [&str; 8] =
    ["proto", "fabric", "router", "client", "loadgen", "bench", "tests", "tuning"];

const FILE_LINES_MAX: usize = 800;

/// Files over [`FILE_LINES_MAX`], and why.
const LONG_FILES: &[(&str, &str)] = &[];

const FUNCTION_LINES_MAX: usize = 70;

/// Functions over [`FUNCTION_LINES_MAX`], and why.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[];

/// The only files with unsafe code, and what for.
const UNSAFE_FILES: &[(&str, &str)] = &[
    ("bench/src/floor/ring.rs", "memory shared with the kernel"),
    ("router/src/drive.rs", "the executor awaits a foreign descriptor in no other way"),
    ("router/src/ring.rs", "memory shared with the kernel"),
];

/// The only files that name the executor, and what for.
const GLOMMIO_FILES: &[(&str, &str)] = &[
    ("router/src/drive.rs", "yields to it, and parks in it"),
    ("router/src/node.rs", "starts one per core"),
];

/// Names that say nothing about what a file holds.
const EMPTY_FILE_NAMES: [&str; 13] = [
    "common", "factory", "handler", "handlers", "helper", "helpers", "impls", "manager", "misc",
    "types", "util", "utils", "wrapper",
];

/// Endings that say nothing about what a type is.
const EMPTY_TYPE_ENDINGS: [&str; 12] = [
    "Factory",
    "Handler",
    "Helper",
    "Helpers",
    "Impl",
    "Manager",
    "Processor",
    "Provider",
    "Service",
    "Util",
    "Utils",
    "Wrapper",
];

/// Marks of work put off.
const PUT_OFF: [&str; 4] = ["TODO", "FIXME", "XXX", "HACK"];

type Rule = fn(&Source) -> Vec<String>;

#[test]
fn every_file_says_first_what_it_is() {
    holds(header);
}

#[test]
fn files_are_short() {
    holds(file_length);
}

#[test]
fn functions_are_short() {
    holds(function_length);
}

#[test]
fn names_say_what_a_thing_is() {
    holds(names);
}

#[test]
fn only_tests_unwrap() {
    holds(unwrap);
}

#[test]
fn nothing_is_put_off() {
    holds(put_off);
}

#[test]
fn lints_are_expected_not_allowed() {
    holds(allow);
}

#[test]
fn channels_are_bounded() {
    holds(bounded);
}

#[test]
fn bounds_are_in_limits() {
    holds(bounds);
}

#[test]
fn the_fabric_has_no_map_with_a_random_order() {
    holds(random_order);
}

#[test]
fn unsafe_code_and_the_executor_stay_in_their_files() {
    holds(confined);
}

#[test]
fn exceptions_are_needed() {
    let sources = source::all();
    let mut stale = Vec::new();
    let mut check = |path: &str, what: &str, is_needed: fn(&Source) -> bool| {
        let source = sources.iter().find(|source| source.path == path);
        if !source.is_some_and(is_needed) {
            stale.push(format!("{path}: listed for {what}, which it is not in need of"));
        }
    };
    for (path, _) in LONG_FILES {
        check(path, "length", |source| FILE_LINES_MAX < source.text.lines().count());
    }
    for (path, _) in UNSAFE_FILES {
        check(path, "unsafe code", |source| !source.found.unsafes.is_empty());
    }
    for (path, _) in GLOMMIO_FILES {
        check(path, "the executor", |source| source.found.paths.iter().any(is_executor));
    }
    for (path, name, _) in LONG_FUNCTIONS {
        let is_long = sources.iter().filter(|source| source.path == *path).any(|source| {
            let mut all = source.found.functions.iter();
            all.any(|function| function.name == *name && FUNCTION_LINES_MAX < function.lines)
        });
        if !is_long {
            stale.push(format!("{path}: {name} is listed as long and is not"));
        }
    }
    assert_eq!(stale, Vec::<String>::new());
}

#[track_caller]
fn holds(rule: Rule) {
    let complaints: Vec<String> = source::all()
        .iter()
        .flat_map(|source| {
            rule(source).into_iter().map(|complaint| format!("{}:{complaint}", source.path))
        })
        .collect();
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

fn header(source: &Source) -> Vec<String> {
    let Some(first) = source.text.lines().next().and_then(|line| line.strip_prefix("//! ")) else {
        return vec!["1: does not open with what it is (//!)".to_owned()];
    };
    let start = first.to_lowercase();
    let is_empty = ["this module", "this file", "this crate", "module for", "placeholder"]
        .into_iter()
        .any(|phrase| start.starts_with(phrase));
    if is_empty { vec![format!("1: {first:?} does not say what it is")] } else { Vec::new() }
}

fn file_length(source: &Source) -> Vec<String> {
    let lines = source.text.lines().count();
    let is_listed = LONG_FILES.iter().any(|(path, _)| *path == source.path);
    if lines <= FILE_LINES_MAX || is_listed {
        return Vec::new();
    }
    vec![format!("1: {lines} lines, at most {FILE_LINES_MAX}: which nouns does it hold?")]
}

fn function_length(source: &Source) -> Vec<String> {
    let is_listed = |name: &str| {
        LONG_FUNCTIONS.iter().any(|(path, function, _)| *path == source.path && *function == name)
    };
    let functions = source.found.functions.iter();
    functions
        .filter(|function| FUNCTION_LINES_MAX < function.lines && !is_listed(&function.name))
        .map(|function| {
            let (line, name, lines) = (function.line, &function.name, function.lines);
            format!("{line}: {name} has {lines} lines, at most {FUNCTION_LINES_MAX}")
        })
        .collect()
}

fn names(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    let stem = source.path.rsplit('/').next().and_then(|file| file.strip_suffix(".rs"));
    let stem = stem.expect("only .rs files are sources");
    if EMPTY_FILE_NAMES.contains(&stem) {
        complaints.push(format!("1: a file is named for the noun it defines, not {stem:?}"));
    }
    for (name, line) in &source.found.types {
        if EMPTY_TYPE_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
            complaints.push(format!("{line}: {name} does not say what it is"));
        }
    }
    complaints
}

fn unwrap(source: &Source) -> Vec<String> {
    let lines = source.found.unwraps.iter();
    lines.map(|line| format!("{line}: unwrap says nothing; expect(the invariant)")).collect()
}

fn put_off(source: &Source) -> Vec<String> {
    // This file names the marks.
    if source.path == "tests/it/tidy.rs" {
        return Vec::new();
    }
    let numbered = source.text.lines().enumerate();
    let marked = numbered.filter(|(_, line)| {
        let mut words = line.split(|c: char| !c.is_ascii_alphanumeric());
        words.any(|word| PUT_OFF.contains(&word))
    });
    marked.map(|(at, line)| format!("{}: {}", at + 1, line.trim())).collect()
}

fn allow(source: &Source) -> Vec<String> {
    let lines = source.found.allows.iter();
    lines.map(|line| format!("{line}: expect with a reason, not allow")).collect()
}

fn bounded(source: &Source) -> Vec<String> {
    let named = source.found.paths.iter().filter(|path| {
        path.segments.iter().any(|segment| segment.to_lowercase().contains("unbounded"))
    });
    let named = named.map(|path| (path.line, "is unbounded"));
    let bare = source.found.bare_channels.iter().map(|&line| (line, "is a channel without bound"));
    named.chain(bare).map(|(line, what)| format!("{line}: {what}; say how much")).collect()
}

fn bounds(source: &Source) -> Vec<String> {
    let is_strict = matches!(source.package(), "proto" | "fabric" | "client");
    let is_product = is_strict || source.package() == "router";
    if source.path.ends_with("/limits.rs") || source.is_test || !is_product {
        return Vec::new();
    }
    let consts = source.found.consts.iter();
    consts
        .filter(|found| found.name.ends_with("_MAX") && (is_strict || !found.is_private))
        .map(|found| format!("{}: {} belongs in limits.rs", found.line, found.name))
        .collect()
}

fn random_order(source: &Source) -> Vec<String> {
    if source.package() != "fabric" {
        return Vec::new();
    }
    let used = source.found.paths.iter().filter(|path| !path.is_test);
    used.filter(|path| path.segments.iter().any(|name| name == "HashMap" || name == "HashSet"))
        .map(|path| format!("{}: iteration order is part of a decision", path.line))
        .collect()
}

fn confined(source: &Source) -> Vec<String> {
    let is_in = |table: &[(&str, &str)]| table.iter().any(|(path, _)| *path == source.path);
    let mut complaints = Vec::new();
    if !is_in(UNSAFE_FILES) {
        let lines = source.found.unsafes.iter();
        complaints.extend(lines.map(|line| format!("{line}: unsafe code has its own files")));
    }
    if !is_in(GLOMMIO_FILES) {
        let uses = source.found.paths.iter().filter(|path| is_executor(path));
        let line = |path: &source::PathUse| format!("{}: glommio has its own files", path.line);
        complaints.extend(uses.map(line));
    }
    complaints
}

fn is_executor(path: &source::PathUse) -> bool {
    path.segments[0] == "glommio"
}

#[test]
fn each_rule_refuses_what_it_is_for() {
    let header_line = "//! A sample.\n";
    let long_body = "    step();\n".repeat(FUNCTION_LINES_MAX);
    let table: [(Rule, &str, &str); 24] = [
        (header, "router/src/a.rs", "fn f() {}"),
        (header, "router/src/a.rs", "//! This module does things.\n"),
        (file_length, "router/src/a.rs", &"//\n".repeat(FILE_LINES_MAX + 1)),
        (function_length, "router/src/a.rs", &format!("fn f() {{\n{long_body}}}")),
        (function_length, "router/src/a.rs", &format!("impl A {{ fn f() {{\n{long_body}}} }}")),
        (names, "router/src/utils.rs", header_line),
        (names, "router/src/a.rs", "struct QueueManager;"),
        (unwrap, "router/src/a.rs", "fn f() { g().unwrap() }"),
        (unwrap, "router/src/a.rs", "fn f() { println!(\"{}\", g().unwrap()) }"),
        (put_off, "router/src/a.rs", "// TODO: later\n"),
        (allow, "router/src/a.rs", "#[allow(dead_code)] fn f() {}"),
        (allow, "router/src/a.rs", "#![allow(dead_code)]"),
        (bounded, "router/src/a.rs", "use crossbeam::channel::unbounded;"),
        (bounded, "router/src/a.rs", "fn f() { tokio::sync::mpsc::unbounded_channel() }"),
        (bounded, "router/src/a.rs", "fn f() { std::sync::mpsc::channel() }"),
        (bounds, "router/src/a.rs", "pub(crate) const QUEUES_MAX: usize = 1;"),
        (bounds, "fabric/src/a.rs", "const QUEUES_MAX: usize = 1;"),
        (random_order, "fabric/src/a.rs", "use hashbrown::HashMap;"),
        (random_order, "fabric/src/a.rs", "struct A { a: std::collections::HashSet<u8> }"),
        (confined, "router/src/a.rs", "fn f() { unsafe { g() } }"),
        (confined, "router/src/a.rs", "unsafe impl Send for A {}"),
        (confined, "router/src/a.rs", "unsafe fn f() {}"),
        (confined, "router/src/a.rs", "use glommio::Task;"),
        (confined, "router/src/a.rs", "fn f() { glommio::yield_if_needed() }"),
    ];
    for (rule, path, text) in table {
        let complaints = rule(&Source::parse(path, text.to_owned()));
        assert!(!complaints.is_empty(), "nothing said about {text}");
    }
}

#[test]
fn rules_let_pass_what_they_are_not_for() {
    let table: [(Rule, &str, &str); 10] = [
        (header, "router/src/a.rs", "//! Wakes sleeping shards.\n"),
        (unwrap, "router/src/a.rs", "#[cfg(test)] mod tests { fn f() { g().unwrap() } }"),
        (unwrap, "router/src/a.rs", "#[test] fn f() { g().unwrap() }"),
        (unwrap, "router/src/a/tests.rs", "fn f() { g().unwrap() }"),
        (bounded, "router/src/a.rs", "fn f() { tokio::sync::mpsc::channel(4) }"),
        (bounded, "router/src/a.rs", "fn f() { oneshot::channel() }"),
        (bounds, "router/src/a/tests.rs", "pub const ROUNDS_MAX: usize = 1;"),
        (bounds, "fabric/src/limits.rs", "pub const QUEUES_MAX: usize = 1;"),
        (random_order, "fabric/src/a.rs", "use hashbrown::HashTable;"),
        (put_off, "router/src/a.rs", "// A hack saw.\n"),
    ];
    for (rule, path, text) in table {
        let complaints = rule(&Source::parse(path, text.to_owned()));
        assert!(complaints.is_empty(), "{text}: {complaints:?}");
    }
}
