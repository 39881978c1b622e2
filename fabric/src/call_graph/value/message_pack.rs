//! MessagePack, opened a level at a time, and written from JSON.
//!
//! Lists and maps written here say their length in four bytes, however short they are: it is known
//! only when they end.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::fmt;

use rmp::Marker;
use rmp::decode;
use rmp::encode::{self, ByteBuf, ValueWriteError};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use super::{Key, Malformed, NotEmbedded, Shape};

/// How a value begins. What is counted follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Head {
    List(u32),
    /// Pairs.
    Map(u32),
    /// Bytes.
    Text(u32),
    /// Bytes, those of an extension's kind among them.
    Blob(u64),
    /// Bytes.
    Scalar(u8),
}

impl From<Malformed> for NotEmbedded {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

pub(super) fn head(reader: &mut decode::Bytes<'_>) -> Result<Head, Malformed> {
    Ok(match decode::read_marker(reader).map_err(|_| Malformed)? {
        Marker::FixArray(count) => Head::List(count.into()),
        Marker::Array16 => Head::List(u16::from_be_bytes(number(reader)?).into()),
        Marker::Array32 => Head::List(u32::from_be_bytes(number(reader)?)),
        Marker::FixMap(count) => Head::Map(count.into()),
        Marker::Map16 => Head::Map(u16::from_be_bytes(number(reader)?).into()),
        Marker::Map32 => Head::Map(u32::from_be_bytes(number(reader)?)),
        Marker::FixStr(bytes) => Head::Text(bytes.into()),
        Marker::Str8 => Head::Text(u8::from_be_bytes(number(reader)?).into()),
        Marker::Str16 => Head::Text(u16::from_be_bytes(number(reader)?).into()),
        Marker::Str32 => Head::Text(u32::from_be_bytes(number(reader)?)),
        Marker::Bin8 => Head::Blob(u8::from_be_bytes(number(reader)?).into()),
        Marker::Bin16 => Head::Blob(u16::from_be_bytes(number(reader)?).into()),
        Marker::Bin32 => Head::Blob(u32::from_be_bytes(number(reader)?).into()),
        Marker::Ext8 => Head::Blob(1 + u64::from(u8::from_be_bytes(number(reader)?))),
        Marker::Ext16 => Head::Blob(1 + u64::from(u16::from_be_bytes(number(reader)?))),
        Marker::Ext32 => Head::Blob(1 + u64::from(u32::from_be_bytes(number(reader)?))),
        Marker::FixExt1 => Head::Blob(2),
        Marker::FixExt2 => Head::Blob(3),
        Marker::FixExt4 => Head::Blob(5),
        Marker::FixExt8 => Head::Blob(9),
        Marker::FixExt16 => Head::Blob(17),
        Marker::FixPos(_) | Marker::FixNeg(_) => Head::Scalar(0),
        Marker::Null | Marker::True | Marker::False => Head::Scalar(0),
        Marker::U8 | Marker::I8 => Head::Scalar(1),
        Marker::U16 | Marker::I16 => Head::Scalar(2),
        Marker::U32 | Marker::I32 | Marker::F32 => Head::Scalar(4),
        Marker::U64 | Marker::I64 | Marker::F64 => Head::Scalar(8),
        Marker::Reserved => return Err(Malformed),
    })
}

fn number<const N: usize>(reader: &mut decode::Bytes<'_>) -> Result<[u8; N], Malformed> {
    take(reader, N as u64)?.try_into().map_err(|_| Malformed)
}

fn take<'a>(reader: &mut decode::Bytes<'a>, bytes: u64) -> Result<&'a [u8], Malformed> {
    let bytes = usize::try_from(bytes).map_err(|_| Malformed)?;
    let (taken, rest) = reader.remaining_slice().split_at_checked(bytes).ok_or(Malformed)?;
    *reader = decode::Bytes::new(rest);
    Ok(taken)
}

pub(super) fn take_text<'a>(
    reader: &mut decode::Bytes<'a>,
    bytes: u32,
) -> Result<&'a str, Malformed> {
    core::str::from_utf8(take(reader, bytes.into())?).map_err(|_| Malformed)
}

/// Takes one whole value, however deep it nests.
fn take_value<'a>(reader: &mut decode::Bytes<'a>) -> Result<&'a [u8], Malformed> {
    let all = reader.remaining_slice();
    let mut left = 1_u64;
    while 0 < left {
        left -= 1;
        match head(reader)? {
            Head::List(count) => left += u64::from(count),
            Head::Map(count) => left += 2 * u64::from(count),
            Head::Text(bytes) => {
                take_text(reader, bytes)?;
            }
            Head::Blob(bytes) => {
                take(reader, bytes)?;
            }
            Head::Scalar(bytes) => {
                take(reader, bytes.into())?;
            }
        }
    }
    Ok(&all[..all.len() - reader.remaining_slice().len()])
}

pub(super) fn open<'a>(
    bytes: &'a [u8],
    mut each: impl FnMut(Key<'a>, &'a [u8]),
) -> Result<Shape, Malformed> {
    let mut reader = decode::Bytes::new(bytes);
    let shape = match head(&mut reader)? {
        Head::List(count) => {
            for index in 0..count as usize {
                each(Key::Index(index), take_value(&mut reader)?);
            }
            Shape::List
        }
        Head::Map(count) => {
            for _ in 0..count {
                let key = take_value(&mut reader)?;
                let key = as_text(key).map_or(Key::Unnamed, |name| Key::Field(Cow::Borrowed(name)));
                each(key, take_value(&mut reader)?);
            }
            Shape::Map
        }
        Head::Text(_) | Head::Blob(_) | Head::Scalar(_) => {
            reader = decode::Bytes::new(bytes);
            take_value(&mut reader)?;
            Shape::Leaf
        }
    };
    reader.remaining_slice().is_empty().then_some(shape).ok_or(Malformed)
}

fn as_text(value: &[u8]) -> Option<&str> {
    let mut reader = decode::Bytes::new(value);
    let Ok(Head::Text(bytes)) = head(&mut reader) else { return None };
    take_text(&mut reader, bytes).ok()
}

pub(super) fn read_text(value: &[u8]) -> Option<String> {
    as_text(value).map(String::from)
}

pub(super) fn read_index(value: &[u8]) -> Option<u64> {
    decode::read_int(&mut decode::Bytes::new(value)).ok()
}

pub(super) fn write_text(text: &str, out: &mut Vec<u8>) {
    written(out, |out| encode::write_str(out, text));
}

pub(super) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    written(out, |out| encode::write_bin(out, bytes));
}

pub(super) fn from_json(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), NotEmbedded> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = Part(out).deserialize(&mut reader).and_then(|()| reader.end());
    // Numbers beyond a double, and what nests beyond what is read, are JSON all the same.
    read.map_err(|_| match super::json::open(bytes, |_, _| ()) {
        Ok(_) => NotEmbedded::Untranslatable,
        Err(Malformed) => NotEmbedded::Malformed,
    })
}

/// Writing to memory does not fail.
fn written<T>(
    out: &mut Vec<u8>,
    write: impl FnOnce(&mut ByteBuf) -> Result<T, ValueWriteError<Infallible>>,
) {
    let mut buffer = ByteBuf::from_vec(core::mem::take(out));
    write(&mut buffer).expect("memory takes what is written");
    *out = buffer.into_vec();
}

/// Writes what it reads.
struct Part<'a>(&'a mut Vec<u8>);

impl<'de> DeserializeSeed<'de> for Part<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_> {
    type Value = ();

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.push(Marker::Null.to_u8());
        Ok(())
    }

    fn visit_bool<E>(self, is_true: bool) -> Result<(), E> {
        self.0.push(if is_true { Marker::True } else { Marker::False }.to_u8());
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        written(self.0, |out| encode::write_uint(out, number));
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        written(self.0, |out| encode::write_sint(out, number));
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        written(self.0, |out| encode::write_f64(out, number));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        write_text(text, self.0);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let at = begin(self.0, Marker::Array32);
        let mut count = 0;
        while list.next_element_seed(Part(&mut *self.0))?.is_some() {
            count += 1;
        }
        end(self.0, at, count);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let at = begin(self.0, Marker::Map32);
        let mut count = 0;
        while map.next_key_seed(Part(&mut *self.0))?.is_some() {
            map.next_value_seed(Part(&mut *self.0))?;
            count += 1;
        }
        end(self.0, at, count);
        Ok(())
    }
}

/// Returns where the count goes.
fn begin(out: &mut Vec<u8>, marker: Marker) -> usize {
    out.extend([marker.to_u8(), 0, 0, 0, 0]);
    out.len() - size_of::<u32>()
}

fn end(out: &mut [u8], at: usize, count: u32) {
    out[at..at + size_of::<u32>()].copy_from_slice(&count.to_be_bytes());
}
