//! Who may depend on whom: between packages, and what the pure ones may bring in.

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand};

use super::source;

/// Which packages of ours each may name, tests included. `tests` may name all.
const PACKAGE_EDGES: [(&str, &[&str]); 7] = [
    ("mpreg-proto", &[]),
    ("mpreg-fabric", &["mpreg-proto"]),
    (
        "mpreg-router",
        &["mpreg-client", "mpreg-fabric", "mpreg-loadgen", "mpreg-proto", "mpreg-tuning"],
    ),
    ("mpreg-client", &["mpreg-proto"]),
    ("mpreg-loadgen", &["mpreg-proto"]),
    ("mpreg-bench", &["mpreg-fabric", "mpreg-proto", "mpreg-router"]),
    ("mpreg-tuning", &[]),
];

/// What the pure packages may bring in: nothing that reads a clock, a socket or a file.
const OUTSIDE_EDGES: [(&str, &[&str]); 2] = [
    ("mpreg-proto", &["rkyv", "semver", "serde", "sha2", "thiserror"]),
    (
        "mpreg-fabric",
        &[
            "ahash",
            "bytes",
            "ed25519-dalek",
            "foca",
            "hashbrown",
            "postcard",
            "rand_core",
            "rmp",
            "serde",
            "serde_json",
            "slab",
            "thiserror",
        ],
    ),
];

/// Packages that only the router's command line may name, not the router.
const COMMAND_LINE_ONLY: [&str; 2] = ["mpreg_client", "mpreg_loadgen"];

/// Declared by glommio, unused, with advisories: ours are empty.
const EMPTIED: [&str; 2] = ["bitmaps", "lockfree"];

#[test]
fn packages_depend_as_the_table_says() {
    let metadata = metadata();
    let mut complaints = Vec::new();
    for package in metadata.workspace_packages() {
        let name = package.name.as_str();
        let Some((_, edges)) = PACKAGE_EDGES.iter().find(|(from, _)| *from == name) else {
            assert_eq!(name, "mpreg-tests", "every package is in the table");
            continue;
        };
        let outside = OUTSIDE_EDGES.iter().find(|(from, _)| *from == name).map(|(_, to)| to);
        for dependency in &package.dependencies {
            let to = dependency.name.as_str();
            let is_ours = to.starts_with("mpreg-");
            let is_outside_allowed = dependency.kind != DependencyKind::Normal
                || outside.is_none_or(|allowed| allowed.contains(&to));
            if if is_ours { !edges.contains(&to) } else { !is_outside_allowed } {
                complaints.push(format!("{name} depends on {to}"));
            }
        }
    }
    assert_eq!(complaints, Vec::<String>::new());
}

#[test]
fn crates_with_advisories_are_our_empty_ones() {
    let lock = std::fs::read_to_string(source::root().join("Cargo.lock"));
    let lock = lock.expect("the lock file is committed");
    for package in lock.split("[[package]]") {
        let is_emptied =
            EMPTIED.iter().any(|name| package.contains(&format!("\nname = \"{name}\"\n")));
        assert!(!is_emptied || !package.contains("\nsource = "), "not ours: {package}");
    }
}

#[test]
fn pure_crates_say_no_std_and_safe_crates_say_safe() {
    let mut complaints = Vec::new();
    for source in source::all() {
        let (package, file) = source.path.split_once("/src/").unwrap_or_default();
        let is_root = matches!(file, "lib.rs" | "main.rs") || file.starts_with("bin/");
        if !is_root || package == "tests" {
            continue;
        }
        if matches!(package, "proto" | "fabric") && !source.text.contains("\n#![no_std]\n") {
            complaints.push(format!("{}: a pure crate is no_std", source.path));
        }
        let has_unsafe = file == "lib.rs"
            && super::UNSAFE_FILES.iter().any(|(path, _)| path.starts_with(&format!("{package}/")));
        let want =
            if has_unsafe { "\n#![deny(unsafe_code)]\n" } else { "\n#![forbid(unsafe_code)]\n" };
        if !source.text.contains(want) {
            complaints.push(format!("{}: does not say {}", source.path, want.trim()));
        }
    }
    assert_eq!(complaints, Vec::<String>::new());
}

#[test]
fn client_and_load_generator_are_named_by_the_command_line_alone() {
    let mut complaints = Vec::new();
    for source in source::all() {
        let is_command_line =
            source.path == "router/src/main.rs" || source.path.starts_with("router/src/cli");
        if source.package() != "router" || is_command_line {
            continue;
        }
        for path in &source.found.paths {
            if COMMAND_LINE_ONLY.contains(&path.segments[0].as_str()) {
                let name = path.segments.join("::");
                complaints.push(format!("{}:{}: {name}", source.path, path.line));
            }
        }
    }
    assert_eq!(complaints, Vec::<String>::new());
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(source::root().join("Cargo.toml"))
        // What the manifests say; resolving it would need crates of other platforms.
        .no_deps()
        .exec()
        .expect("cargo describes the workspace")
}
