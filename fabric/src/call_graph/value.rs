//! What functions take and give: bytes with a declared encoding, read only as far as a reference asks.
//!
//! A value is never made into a tree. A level of it is opened where it lies, and what is found is a
//! slice: a field put into an argument of the same encoding is the same bytes, however a number was
//! written. Only between encodings is anything written anew ([`Value::embed`]).
//!
//! Invariants:
//! - What [`Value::embed`] writes is exactly one value of the encoding asked for: a worker that declares
//!   JSON and answers `1, "admin": true` puts nothing else into anybody's argument.
//! - Looking up any number of references costs one reading of the value per level.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;
use mpreg_proto::envelope::Encoding;

mod json;
mod message_pack;

/// What a function takes or gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    pub encoding: Encoding,
    pub bytes: Bytes,
}

/// The bytes are not one value of their encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What one level of a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Map,
    List,
    /// Without parts.
    Leaf,
}

/// Where in its level a part is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key<'a> {
    Field(alloc::borrow::Cow<'a, str>),
    /// Of a map, and not a text: no reference leads there.
    Unnamed,
    Index(usize),
}

/// Why a value cannot stand in an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotEmbedded {
    Malformed,
    /// Bytes that nothing is known of, in JSON.
    Opaque,
    /// The other encoding has no word for it: bytes, an extension, a number that is not finite.
    Untranslatable,
}

/// One thing that is looked for in a value.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub(super) path: &'a [alloc::string::String],
    /// The step and the place in it that it is for.
    pub(super) of: (usize, usize),
    pub(super) found: Option<Bytes>,
}

impl Value {
    pub(super) fn is_structured(&self) -> bool {
        is_structured(self.encoding)
    }

    /// Finds all that is wanted, reading the value once per level. Of two fields of one name the last
    /// counts.
    pub(super) fn look_up(&self, wanted: &mut [Wanted<'_>]) -> Result<(), Malformed> {
        wanted.sort_by_key(|wanted| wanted.path);
        look_up(self, &self.bytes, wanted, 0)
    }

    /// Writes this value as a part of one with another encoding.
    pub(super) fn embed(&self, into: Encoding, out: &mut Vec<u8>) -> Result<(), NotEmbedded> {
        match (self.encoding, into) {
            (Encoding::Json, Encoding::MessagePack) => message_pack::from_json(&self.bytes, out),
            (Encoding::MessagePack, Encoding::Json) => json::from_message_pack(&self.bytes, out),
            (Encoding::Text, Encoding::MessagePack) => {
                message_pack::write_text(text(&self.bytes)?, out);
                Ok(())
            }
            (Encoding::Text, Encoding::Json) => {
                json::write_text(text(&self.bytes)?, out);
                Ok(())
            }
            (Encoding::Bytes, Encoding::MessagePack) => {
                message_pack::write_bytes(&self.bytes, out);
                Ok(())
            }
            (Encoding::Bytes, Encoding::Json) => Err(NotEmbedded::Opaque),
            (Encoding::Json, Encoding::Json)
            | (Encoding::MessagePack, Encoding::MessagePack)
            | (_, Encoding::Bytes | Encoding::Text) => {
                out.extend_from_slice(&self.bytes);
                Ok(())
            }
        }
    }
}

/// Whether a value of this encoding has parts.
pub(super) fn is_structured(encoding: Encoding) -> bool {
    match encoding {
        Encoding::Json | Encoding::MessagePack => true,
        Encoding::Bytes | Encoding::Text => false,
    }
}

/// Opens one level: what it is, and each part of it, in order. Checks all of it, and `each` may have
/// been called before something malformed is met.
pub(super) fn open<'a>(
    encoding: Encoding,
    bytes: &'a [u8],
    each: impl FnMut(Key<'a>, &'a [u8]),
) -> Result<Shape, Malformed> {
    match encoding {
        Encoding::Json => json::open(bytes, each),
        Encoding::MessagePack => message_pack::open(bytes, each),
        Encoding::Bytes | Encoding::Text => Ok(Shape::Leaf),
    }
}

/// The text that a part is.
pub(super) fn read_text(encoding: Encoding, part: &[u8]) -> Option<alloc::string::String> {
    match encoding {
        Encoding::Json => serde_json::from_slice(part).ok(),
        Encoding::MessagePack => message_pack::read_text(part),
        Encoding::Bytes | Encoding::Text => None,
    }
}

/// The number, not negative, that a part is.
pub(super) fn read_index(encoding: Encoding, part: &[u8]) -> Option<u64> {
    match encoding {
        Encoding::Json => serde_json::from_slice(part).ok(),
        Encoding::MessagePack => message_pack::read_index(part),
        Encoding::Bytes | Encoding::Text => None,
    }
}

/// Where `part` lies in `whole`.
pub(super) fn place(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = part.as_ptr().addr() - whole.as_ptr().addr();
    start..start + part.len()
}

fn text(bytes: &[u8]) -> Result<&str, NotEmbedded> {
    core::str::from_utf8(bytes).map_err(|_| NotEmbedded::Malformed)
}

/// All of `wanted` agree in the first `depth` fields, which lead to `part`. Sorted.
fn look_up(
    value: &Value,
    part: &[u8],
    wanted: &mut [Wanted<'_>],
    depth: usize,
) -> Result<(), Malformed> {
    let here = wanted.partition_point(|wanted| wanted.path.len() == depth);
    let (here, beyond) = wanted.split_at_mut(here);
    here.iter_mut().for_each(|wanted| wanted.found = Some(value.bytes.slice_ref(part)));
    let mut groups: Vec<&mut [Wanted<'_>]> =
        beyond.chunk_by_mut(|a, b| a.path[depth] == b.path[depth]).collect();
    let fields: BTreeMap<&str, usize> =
        groups.iter().enumerate().map(|(at, group)| (group[0].path[depth].as_str(), at)).collect();
    let indices: BTreeMap<usize, usize> =
        fields.iter().filter_map(|(&field, &at)| Some((as_index(field)?, at))).collect();
    let mut outcome = Ok(());
    open(value.encoding, part, |key, part| {
        let at = match &key {
            Key::Field(field) => fields.get(field.as_ref()),
            Key::Index(index) => indices.get(index),
            Key::Unnamed => None,
        };
        if let (Some(&at), Ok(())) = (at, outcome) {
            groups[at].iter_mut().for_each(|wanted| wanted.found = None);
            outcome = look_up(value, part, groups[at], depth + 1);
        }
    })?;
    outcome
}

/// One number has one way to be written.
fn as_index(field: &str) -> Option<usize> {
    let is_plain = field == "0" || !field.starts_with(['0', '+']);
    field.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests;
