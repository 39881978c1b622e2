//! Constraints: which versions will do.
//!
//! ```text
//!   constraint = "*" | part *("," part)          all parts hold
//!   part       = whole                           exactly this
//!              | "=" whole
//!              | (">" | ">=" | "<" | "<=" | "^" | "~") (whole | M | M.N)
//!              | M ".*" | M.N ".*"
//! ```
//!
//! `^1.2.3` goes up to the next number that is allowed to break (2.0.0; of 0.2.3 it is 0.3.0), `~1.2.3`
//! to 1.3.0. Of parts with fewer than three numbers, `>1.2` starts at 1.3.0, `<=1.2` ends before it.
//! `1.2` alone is refused: whether it means 1.2.0 or any 1.2 is for the caller to say.
//!
//! A pre-release will do only where a part names one with the same three numbers: who asks for `^1.2`
//! or `*` gets releases. Beside a part that names one, all are whole: `<2` does not say on which side
//! 2.0.0-rc.1 is.

use alloc::string::{String, ToString as _};
use core::fmt;
use core::str::FromStr;

use semver::{Comparator, Op, VersionReq};

use super::Version;
use crate::limits::CONSTRAINT_BYTES_MAX;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Constraint(VersionReq);

/// Why a text is no constraint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    #[error("a constraint has 1 to {CONSTRAINT_BYTES_MAX} bytes, this has {0}")]
    Length(usize),
    #[error("{text:?} has nothing on one side of a comma")]
    EmptyPart { text: String },
    #[error("{part:?} is no constraint: {what}")]
    Malformed { part: String, what: String },
    #[error("{part:?} names no whole version: write {part}.* for all that start so")]
    Partial { part: String },
    #[error("{part:?} has an operator and a wildcard: one of them will do")]
    OperatorAndWildcard { part: String },
    #[error("{part:?} is beside a pre-release: write all three numbers")]
    PartialBesidePreRelease { part: String },
    #[error("{text:?} has a * beside other parts, which says nothing")]
    AnyAmongOthers { text: String },
}

impl Constraint {
    /// `*`: all releases.
    pub const ANY: Self = Self(VersionReq::STAR);

    pub fn allows(&self, version: &Version) -> bool {
        self.0.matches(version.semver())
    }
}

impl FromStr for Constraint {
    type Err = ConstraintError;

    fn from_str(text: &str) -> Result<Self, ConstraintError> {
        if text.is_empty() || CONSTRAINT_BYTES_MAX < text.len() {
            return Err(ConstraintError::Length(text.len()));
        }
        if text.trim_matches(' ') == "*" {
            return Ok(Self::ANY);
        }
        let parts = text.split(',').map(|part| match part.trim_matches(' ') {
            "" => Err(ConstraintError::EmptyPart { text: text.into() }),
            "*" => Err(ConstraintError::AnyAmongOthers { text: text.into() }),
            part => comparator(part),
        });
        let all = parts.collect::<Result<VersionReq, _>>()?;
        let has_pre = all.comparators.iter().any(|part| !part.pre.is_empty());
        match all.comparators.iter().find(|part| has_pre && part.patch.is_none()) {
            Some(part) => Err(ConstraintError::PartialBesidePreRelease { part: part.to_string() }),
            None => Ok(Self(all)),
        }
    }
}

fn comparator(part: &str) -> Result<Comparator, ConstraintError> {
    let malformed = |what: String| ConstraintError::Malformed { part: part.into(), what };
    // Numbers and wildcards only: what follows are words.
    let numbers = part.split(['-', '+']).next().unwrap_or_default();
    if let Some(letter) = numbers.chars().find(char::is_ascii_alphabetic) {
        return Err(malformed(alloc::format!("unexpected character {letter:?}")));
    }
    let mut comparator: Comparator =
        part.parse().map_err(|error: semver::Error| malformed(error.to_string()))?;
    let is_bare = part.starts_with(|c: char| c.is_ascii_digit());
    if !is_bare && numbers.contains('*') {
        return Err(ConstraintError::OperatorAndWildcard { part: part.into() });
    }
    if is_bare && comparator.op != Op::Wildcard {
        comparator.op = Op::Exact;
    }
    if comparator.op == Op::Exact && comparator.patch.is_none() {
        let part = part.trim_start_matches(['=', ' ']).into();
        return Err(ConstraintError::Partial { part });
    }
    Ok(comparator)
}

impl fmt::Display for Constraint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
