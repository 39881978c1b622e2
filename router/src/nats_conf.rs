//! Configuration files of nats-server: what they say, turned into what this router runs on.
//!
//! ```text
//!   text --parse--> Document (keys, values, places) --options--> Options --cli--> config::File
//! ```
//!
//! A subset: keys that have a meaning here are taken, keys without an effect are named in
//! [`Options::notes`], whatever would promise something this router does not do (accounts that are
//! kept apart, clusters, JWTs) is refused with its place. `docs/OPERATING.md` lists them.
//!
//! Invariant: nothing is passed over in silence that would let in somebody whom nats-server
//! would keep out.
//!
//! Tests: `nats_conf/tests.rs`.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

mod access;
mod options;
mod parse;
mod value;

pub use access::Access;
pub use options::{NO_ROUTES, Options, TlsOptions, WebsocketOptions};
pub use value::{Entry, Value};

/// Where something is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    file: Rc<Path>,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file.display(), self.line)
    }
}

/// Why a file is not taken. The caller says it and ends.
#[derive(Debug, thiserror::Error)]
pub enum ConfError {
    #[error("reading {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// Not the language.
    #[error("{place}: {message}")]
    Syntax { place: Place, message: &'static str },
    /// A variable that neither the file above nor the environment has.
    #[error("{place}: there is no variable {name:?}")]
    NoVariable { place: Place, name: String },
    /// A key that nats-server does not have either, most often.
    #[error("{place}: unknown key {key:?}")]
    Unknown { place: Place, key: String },
    #[error("{place}: {key} must be {must}")]
    Meaningless { place: Place, key: String, must: &'static str },
    /// What nats-server does and this router does not.
    #[error("{place}: {key}: {why}")]
    NotServed { place: Place, key: String, why: &'static str },
}

/// Reads the file at `path` and all it includes.
pub fn read(path: &Path) -> Result<Options, ConfError> {
    Options::of(&parse::file(path)?)
}

#[cfg(test)]
mod tests;
