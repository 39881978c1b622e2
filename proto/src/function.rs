//! Functions, as those who call and those who run them name them.
//!
//! A function is its name and its id, one to one within a cluster; what runs is a version of it, where
//! there are some resources. A call names a function, says which versions will do
//! ([`Constraint`]) and which resources it needs.
//!
//! Invariants:
//! - A value of these types was checked: it is within `limits`, and its text reads back as itself.
//! - Every refusal says what is wrong, and with what.
//!
//! Parts: `version.rs`, `constraint.rs`, `resource.rs` (words), `offer.rs` (what a node says in the
//! catalog that it runs), `shares.rs` (how calls are split between versions), `tests.rs`.

use alloc::string::String;
use alloc::sync::Arc;
use core::fmt;
use core::str::FromStr;

use crate::id::first_128_bits;
use crate::limits::{FUNCTION_NAME_BYTES_MAX, FUNCTION_NAME_SEGMENTS_MAX};

mod constraint;
mod offer;
mod resource;
mod shares;
mod version;

pub use constraint::{Constraint, ConstraintError};
pub use offer::{Offer, Offers};
pub use resource::{ResourceError, Resources};
pub use shares::Shares;
pub use version::{Version, VersionError};

/// Words of `a-z A-Z 0-9 - _`, separated by dots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionName(Arc<str>);

/// Why a text names no function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FunctionNameError {
    #[error("the name of a function has 1 to {FUNCTION_NAME_BYTES_MAX} bytes, this has {0}")]
    Length(usize),
    #[error("the name of a function is of letters, digits, -, _ and dots, this has {0:?}")]
    Character(char),
    #[error("the name of a function has words between its dots, {0:?} has not")]
    EmptyWord(String),
    #[error("the name of a function has at most {FUNCTION_NAME_SEGMENTS_MAX} words, this has {0}")]
    Words(usize),
}

/// What runs a call graph, on every router.
pub const GRAPH_FUNCTION: &str = "mpreg.graph";

impl FunctionName {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Routers run these themselves, and nobody registers them: all that begin with `mpreg.`.
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with("mpreg.")
    }

    pub fn is_graph(&self) -> bool {
        &*self.0 == GRAPH_FUNCTION
    }

    pub fn parse(bytes: &[u8]) -> Result<Self, FunctionNameError> {
        if bytes.is_empty() || FUNCTION_NAME_BYTES_MAX < bytes.len() {
            return Err(FunctionNameError::Length(bytes.len()));
        }
        let text = String::from_utf8_lossy(bytes);
        let is_allowed = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if let Some(other) = text.chars().find(|c| !is_allowed(c)) {
            return Err(FunctionNameError::Character(other));
        }
        if text.split('.').any(str::is_empty) {
            return Err(FunctionNameError::EmptyWord(text.into()));
        }
        match text.split('.').count() {
            words if FUNCTION_NAME_SEGMENTS_MAX < words => Err(FunctionNameError::Words(words)),
            _ => Ok(Self(text.into())),
        }
    }
}

impl FromStr for FunctionName {
    type Err = FunctionNameError;

    fn from_str(text: &str) -> Result<Self, FunctionNameError> {
        Self::parse(text.as_bytes())
    }
}

impl fmt::Display for FunctionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which function a name stands for, whatever it is called elsewhere: the first 128 bits of SHA-256
/// over a text of its makers. Where they give none, over its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FunctionId(pub u128);

impl FunctionId {
    pub fn of(text: &str) -> Self {
        Self(first_128_bits(text.as_bytes()))
    }
}

impl fmt::Display for FunctionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests;
