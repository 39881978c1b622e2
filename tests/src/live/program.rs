//! The `mpreg` binary under test.
//!
//! A test of this package is not told where another package's binary is, so the first one to ask
//! builds it, with the profile and into the target folder the test itself was built with. For
//! `cargo test --workspace` that is a check of time stamps: the router's own tests have it built.
//! `MPREG_BINARY` names another one, such as a release build.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Where the binary is. Built when first asked for.
///
/// # Panics
///
/// If it cannot be built.
pub fn path() -> &'static Path {
    static PATH: LazyLock<PathBuf> = LazyLock::new(|| match std::env::var_os("MPREG_BINARY") {
        Some(path) => path.into(),
        None => built(),
    });
    &PATH
}

fn built() -> PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    // target/debug/deps/it-0123456789abcdef
    let profile_folder = test.ancestors().nth(2).expect("tests are built into deps");
    let target_folder = profile_folder.parent().expect("a profile's folder is in another");
    let profile = match profile_folder.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("packages are in the root");
    // Of the whole workspace: features of dependencies are then those of `cargo test --workspace`.
    let mut build = Command::new(cargo);
    build.current_dir(root).args(["build", "--quiet", "--locked", "--workspace", "--bin", "mpreg"]);
    build.args(["--profile", profile, "--target-dir"]).arg(target_folder);
    let status = build.status().expect("cargo can be run");
    assert!(status.success(), "the router does not build");
    profile_folder.join("mpreg")
}
