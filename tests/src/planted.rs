//! Bugs planted to try the simulators of many nodes and of calls: each one change of one line, found by the seeds or
//! the seeds are not worth much.
//!
//! ```text
//!   sources --copied, every bug beside what it replaces--> one build --PLANTED=n--> with the nth bug
//! ```
//!
//! `cargo run -p mpreg-tests --bin planted` makes that copy and that build, and plays seeds with each bug
//! until one fails. It takes minutes, so it runs on request; that each line is still there is a test.
//! What is released has none of this.
//!
//! What a bug replaces is a whole expression or whole statements, and so is what it puts there: the
//! copy chooses between the two while it runs.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

mod bugs;

pub use bugs::ALL;

/// One change that breaks something.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    pub name: &'static str,
    pub file: &'static str,
    pub from: &'static str,
    pub to: &'static str,
}

impl Planted {
    /// The argument of `sim` that plays where it is to be found.
    pub fn simulator(&self) -> &'static str {
        let is_of_calls = ["fabric/src/call.rs", "fabric/src/call/", "fabric/src/function"];
        let is_of_calls = is_of_calls.iter().any(|start| self.file.starts_with(start));
        if is_of_calls { "--calls" } else { "--mesh" }
    }
}

/// Seeds within which each is found.
pub const SEEDS: u64 = 600;

/// The number of the bug that a simulator with all of them has.
pub const VARIABLE: &str = "PLANTED";

/// By its number, from 1 on, or its name. Its number.
pub fn find(name: &str) -> Option<usize> {
    let number = name.parse::<usize>().ok().filter(|number| (1..=ALL.len()).contains(number));
    number.or_else(|| Some(1 + ALL.iter().position(|bug| bug.name == name)?))
}

/// A simulator that has the bug which [`VARIABLE`] names. The copy of the sources that it is made of
/// and its build stay in the target directory.
pub fn build() -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests is in the workspace");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let copy = target.join("planted");
    copy_tracked(root, &copy)?;
    let args = ["build", "-q", "--offline", "--locked", "--profile", "checked"];
    let of = ["-p", "mpreg-tests", "--no-default-features", "--bin", "sim"];
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()));
    cargo.current_dir(&copy).env("CARGO_TARGET_DIR", copy.join("target")).args(args).args(of);
    // What is never so, and parentheses.
    cargo.env("RUSTFLAGS", "-Awarnings");
    let built = cargo.output().map_err(|error| error.to_string())?;
    if !built.status.success() {
        return Err(format!("does not build:\n{}", String::from_utf8_lossy(&built.stderr)));
    }
    Ok(copy.join("target/checked/sim"))
}

/// What git knows of, as it is now, with the bugs. Files that did not change keep their age, so little
/// is rebuilt.
fn copy_tracked(root: &Path, copy: &Path) -> Result<(), String> {
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(root).output();
    let listed = listed.expect("git lists the files").stdout;
    let paths = listed.split(|&byte| byte == 0).filter(|path| !path.is_empty());
    for path in paths.map(|path| Path::new(OsStr::from_bytes(path))) {
        let Ok(bytes) = fs::read(root.join(path)) else { continue };
        let bytes = match path.extension() == Some(OsStr::new("rs")) {
            true => plant(path, String::from_utf8(bytes).expect("sources are text"))?.into_bytes(),
            false => bytes,
        };
        let to = copy.join(path);
        if fs::read(&to).is_ok_and(|old| old == bytes) {
            continue;
        }
        fs::create_dir_all(to.parent().expect("it is under the copy")).expect("a directory");
        fs::write(&to, bytes).expect("a copy");
    }
    Ok(())
}

/// A line of a source with the choice between it and each of its bugs, or why that cannot be.
pub fn plant(path: &Path, text: String) -> Result<String, String> {
    let text = match path.to_str() {
        Some("fabric/src/lib.rs") => text + SWITCH,
        Some("tests/src/bin/sim.rs") => text.replacen(MAIN, THROWS, 1),
        _ => text,
    };
    let mut planted: Vec<(usize, &str, String)> = Vec::new();
    for (at, bug) in ALL.iter().enumerate().filter(|(_, bug)| Path::new(bug.file) == path) {
        let Planted { name, file, from, to } = bug;
        let mut places = text.match_indices(from).map(|(place, _)| place);
        let (Some(place), None) = (places.next(), places.next()) else {
            return Err(format!("{name}: {from:?} is not once in {file}"));
        };
        let choice = format!("if crate::has({}) {{ {to} }} else {{ {from} }}", at + 1);
        let is_statement = from.ends_with([';', '}']);
        let choice = if is_statement { choice } else { format!("({choice})") };
        planted.push((place, from, choice));
    }
    planted.sort();
    let (mut out, mut done) = (String::new(), 0);
    for (place, from, choice) in planted {
        let Some(between) = text.get(done..place) else {
            return Err(format!("two bugs at {from:?}"));
        };
        out.extend([between, &choice]);
        done = place + from.len();
    }
    Ok(out + &text[done..])
}

/// What the fabric of the copy asks.
const SWITCH: &str = "
/// The bug that this process has. None: zero.
pub static PLANTED: core::sync::atomic::AtomicUsize = core::sync::atomic::AtomicUsize::new(0);

pub(crate) fn has(bug: usize) -> bool {
    PLANTED.load(core::sync::atomic::Ordering::Relaxed) == bug
}
";

/// The simulator of the copy is told before it plays.
const MAIN: &str = "fn main() -> ExitCode {\n";
const THROWS: &str = "fn main() -> ExitCode {
    let planted = std::env::var(mpreg_tests::planted::VARIABLE).ok().and_then(|bug| bug.parse().ok());
    mpreg_fabric::PLANTED.store(planted.unwrap_or(0), Ordering::Relaxed);
";
