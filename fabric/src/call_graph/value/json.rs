//! JSON (RFC 8259), opened a level at a time, and written from MessagePack.

use alloc::borrow::Cow;
use alloc::format;
use alloc::vec::Vec;
use core::fmt;

use rmp::Marker;
use rmp::decode;
use serde::Deserialize;
use serde::de::{Deserializer as _, MapAccess, SeqAccess, Visitor};
use serde_json::Deserializer;
use serde_json::value::RawValue;

use super::message_pack::{self, Head};
use super::{Key, Malformed, NotEmbedded, Shape};
use crate::limits::CALL_VALUE_DEPTH_MAX;

pub(super) fn open<'a>(
    bytes: &'a [u8],
    each: impl FnMut(Key<'a>, &'a [u8]),
) -> Result<Shape, Malformed> {
    let mut reader = Deserializer::from_slice(bytes);
    let first = bytes.iter().find(|byte| !b" \t\r\n".contains(byte));
    let shape = match first {
        Some(b'{') => reader.deserialize_map(Level(each)).map(|()| Shape::Map),
        Some(b'[') => reader.deserialize_seq(Level(each)).map(|()| Shape::List),
        _ => <&RawValue>::deserialize(&mut reader).map(|_| Shape::Leaf),
    };
    let shape = shape.map_err(|_| Malformed)?;
    reader.end().map_err(|_| Malformed)?;
    Ok(shape)
}

struct Level<F>(F);

/// A field's name, copied only if it is written with escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a, F: FnMut(Key<'a>, &'a [u8])> Visitor<'a> for Level<F> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a map or a list")
    }

    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some((Name(name), part)) = map.next_entry::<Name<'a>, &'a RawValue>()? {
            self.0(Key::Field(name), part.get().as_bytes());
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut list: A) -> Result<(), A::Error> {
        let mut index = 0;
        while let Some(part) = list.next_element::<&'a RawValue>()? {
            self.0(Key::Index(index), part.get().as_bytes());
            index += 1;
        }
        Ok(())
    }
}

pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    out.extend(serde_json::to_vec(text).expect("a text is JSON"));
}

pub(super) fn from_message_pack(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), NotEmbedded> {
    let mut reader = decode::Bytes::new(bytes);
    part(&mut reader, 0, out)?;
    reader.remaining_slice().is_empty().then_some(()).ok_or(NotEmbedded::Malformed)
}

fn part(
    reader: &mut decode::Bytes<'_>,
    depth: usize,
    out: &mut Vec<u8>,
) -> Result<(), NotEmbedded> {
    if depth == CALL_VALUE_DEPTH_MAX {
        return Err(NotEmbedded::Untranslatable);
    }
    let before = *reader;
    match message_pack::head(reader)? {
        Head::List(count) => {
            out.push(b'[');
            for index in 0..count {
                out.extend((index != 0).then_some(b','));
                part(reader, depth + 1, out)?;
            }
            out.push(b']');
        }
        Head::Map(count) => {
            out.push(b'{');
            for index in 0..count {
                out.extend((index != 0).then_some(b','));
                match message_pack::head(reader)? {
                    Head::Text(bytes) => write_text(message_pack::take_text(reader, bytes)?, out),
                    Head::List(_) | Head::Map(_) | Head::Blob(_) | Head::Scalar(_) => {
                        return Err(NotEmbedded::Untranslatable);
                    }
                }
                out.push(b':');
                part(reader, depth + 1, out)?;
            }
            out.push(b'}');
        }
        Head::Text(bytes) => write_text(message_pack::take_text(reader, bytes)?, out),
        Head::Blob(_) => return Err(NotEmbedded::Untranslatable),
        Head::Scalar(_) => {
            *reader = before;
            scalar(reader, out)?;
        }
    }
    Ok(())
}

/// A number keeps its value; a float of four bytes is written as the double it is.
fn scalar(reader: &mut decode::Bytes<'_>, out: &mut Vec<u8>) -> Result<(), NotEmbedded> {
    let marker = reader.remaining_slice().first().copied().map(Marker::from_u8);
    match marker {
        Some(Marker::Null) => out.extend(b"null"),
        Some(Marker::True) => out.extend(b"true"),
        Some(Marker::False) => out.extend(b"false"),
        Some(Marker::F32) => {
            let number = decode::read_f32(reader).map_err(|_| NotEmbedded::Malformed)?;
            return float(number.into(), out);
        }
        Some(Marker::F64) => {
            return float(decode::read_f64(reader).map_err(|_| NotEmbedded::Malformed)?, out);
        }
        _ => {
            let number: i128 = decode::read_int(reader).map_err(|_| NotEmbedded::Malformed)?;
            out.extend(format!("{number}").as_bytes());
            return Ok(());
        }
    }
    message_pack::head(reader)?;
    Ok(())
}

fn float(number: f64, out: &mut Vec<u8>) -> Result<(), NotEmbedded> {
    if !number.is_finite() {
        return Err(NotEmbedded::Untranslatable);
    }
    out.extend(serde_json::to_vec(&number).expect("a finite number is JSON"));
    Ok(())
}
