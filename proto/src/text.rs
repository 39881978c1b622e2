//! Short texts: one byte of length, then that many of UTF-8.

use alloc::vec::Vec;
use core::str::from_utf8;

use crate::error::ErrorCode;
use crate::number::take;

/// # Panics
/// At a text of more than 255 bytes.
pub(crate) fn put_text(text: &str, out: &mut Vec<u8>) {
    out.push(u8::try_from(text.len()).expect("a short text has at most 255 bytes"));
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn take_text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, ErrorCode> {
    let [bytes] = take(rest)?;
    let (text, left) = rest.split_at_checked(bytes.into()).ok_or(ErrorCode::Malformed)?;
    *rest = left;
    from_utf8(text).map_err(|_| ErrorCode::Malformed)
}
