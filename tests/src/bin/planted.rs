//! Plants each bug of `planted.rs` in a copy of the sources and plays seeds until one fails.
//!
//! Arguments: names of bugs; none means all. The copy and its build stay in the target directory.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};

use mpreg_tests::planted::{ALL, Planted, SEEDS, plant};

/// Seeds played at once: enough to be worth a process, few enough to end soon after the first failure.
const AT_ONCE: u64 = 50;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is in the workspace");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let copy = target.join("planted");
    let mut missed = 0;
    let is_wanted =
        |bug: &&Planted| wanted.is_empty() || wanted.iter().any(|name| name == bug.name);
    for bug in ALL.iter().filter(is_wanted) {
        copy_tracked(root, &copy);
        let found = plant(bug, &copy).and_then(|()| build(&copy)).and_then(|()| search(&copy));
        missed += u64::from(found.is_err());
        let (Ok(text) | Err(text)) = found;
        println!("{:<36} {text}", bug.name);
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What git knows of, as it is now. Files that did not change keep their age, so little is rebuilt.
fn copy_tracked(root: &Path, copy: &Path) {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
    let listed = listed.expect("git lists the files").stdout;
    let paths = listed.split(|&byte| byte == 0).filter(|path| !path.is_empty());
    for path in paths.map(|path| Path::new(OsStr::from_bytes(path))) {
        let Ok(bytes) = fs::read(root.join(path)) else { continue };
        let to = copy.join(path);
        if fs::read(&to).is_ok_and(|old| old == bytes) {
            continue;
        }
        fs::create_dir_all(to.parent().expect("it is under the copy")).expect("a directory");
        fs::write(&to, bytes).expect("a copy");
    }
}

fn build(copy: &Path) -> Result<(), String> {
    let args = ["build", "-q", "--offline", "--locked", "--profile", "checked"];
    let of = ["-p", "mpreg-tests", "--bin", "sim"];
    let built = cargo(copy).args(args).args(of).output().expect("cargo runs");
    if built.status.success() {
        Ok(())
    } else {
        Err(format!("does not build:\n{}", stderr(&built)))
    }
}

/// The first lines of the first failure.
fn search(copy: &Path) -> Result<String, String> {
    for from in (0..SEEDS).step_by(AT_ONCE as usize) {
        let seeds = format!("{from}..{}", from + AT_ONCE);
        let mut sim = Command::new(copy.join("target/checked/sim"));
        let played = sim.args(["--mesh", "--seeds", &seeds]).output().expect("sim runs");
        if !played.status.success() {
            let said = String::from_utf8_lossy(&played.stdout).into_owned() + &stderr(&played);
            let first = said.lines().find(|line| line.contains("seed ")).unwrap_or("?");
            return Ok(first.chars().take(120).collect());
        }
    }
    Err(format!("NOT FOUND in {SEEDS} seeds"))
}

fn cargo(copy: &Path) -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(copy).env("CARGO_TARGET_DIR", copy.join("target"));
    cargo
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
