//! Versions: three numbers, perhaps a pre-release, perhaps a build (semver 2.0.0).

use alloc::string::{String, ToString as _};
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::str::FromStr;

use crate::limits::VERSION_BYTES_MAX;

/// In order of precedence (semver 2.0.0 §11): by numbers, pre-releases before their release. The build
/// says how a version was made, not which it is: two that differ only in it are one.
#[derive(Clone, Debug)]
pub struct Version(semver::Version);

/// Why a text is no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    #[error("a version has 1 to {VERSION_BYTES_MAX} bytes, this has {0}")]
    Length(usize),
    #[error("{text:?} is no version: {what}")]
    Malformed { text: String, what: String },
}

impl Version {
    pub(super) fn semver(&self) -> &semver::Version {
        &self.0
    }
}

impl FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        if text.is_empty() || VERSION_BYTES_MAX < text.len() {
            return Err(VersionError::Length(text.len()));
        }
        let malformed = |error: semver::Error| VersionError::Malformed {
            text: text.into(),
            what: error.to_string(),
        };
        text.parse().map(Self).map_err(malformed)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp_precedence(&other.0)
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Version {}

impl Hash for Version {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let semver::Version { major, minor, patch, pre, build: _ } = &self.0;
        (major, minor, patch, pre).hash(state);
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
