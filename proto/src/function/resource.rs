//! Resources: what a call needs where it runs, and what a worker has. Names, that mean what those who
//! give them agree on.

use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::error::ErrorCode;
use crate::limits::{RESOURCE_BYTES_MAX, RESOURCES_MAX};
use crate::number::take;
use crate::text::{put_text, take_text};

/// A set: sorted, none twice.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resources(Vec<Arc<str>>);

/// Why some texts are no set of resources.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResourceError {
    #[error("a set has at most {RESOURCES_MAX} resources, this has more")]
    TooMany,
    #[error("the name of a resource has 1 to {RESOURCE_BYTES_MAX} bytes, this has {0}")]
    Length(usize),
    #[error("the name of a resource is of printable ASCII without spaces, {0:?} is not")]
    Character(String),
}

impl Resources {
    /// What is named twice is there once.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, ResourceError> {
        let mut set = Vec::new();
        for name in names {
            check(name)?;
            if let Err(at) = set.binary_search_by(|known: &Arc<str>| (**known).cmp(name)) {
                if set.len() == RESOURCES_MAX {
                    return Err(ResourceError::TooMany);
                }
                set.insert(at, name.into());
            }
        }
        Ok(Self(set))
    }

    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(|name| &**name)
    }

    pub fn is_subset(&self, of: &Self) -> bool {
        self.0.iter().all(|name| of.0.binary_search(name).is_ok())
    }

    /// How many in one byte, then each as a text, in order.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        out.push(self.0.len() as u8);
        self.names().for_each(|name| put_text(name, out));
    }

    pub(crate) fn take(rest: &mut &[u8]) -> Result<Self, ErrorCode> {
        let [count] = take(rest)?;
        let names = (0..count).map(|_| take_text(rest)).collect::<Result<Vec<_>, _>>()?;
        let set = Self::new(names.iter().copied()).map_err(|_| ErrorCode::Malformed)?;
        if set.names().eq(names) { Ok(set) } else { Err(ErrorCode::Malformed) }
    }
}

fn check(name: &str) -> Result<(), ResourceError> {
    if name.is_empty() || RESOURCE_BYTES_MAX < name.len() {
        return Err(ResourceError::Length(name.len()));
    }
    match name.bytes().all(|byte| byte.is_ascii_graphic()) {
        true => Ok(()),
        false => Err(ResourceError::Character(name.into())),
    }
}
