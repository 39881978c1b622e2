//! Header blocks: names and values that travel with a message, as NATS writes them.
//!
//! ```text
//!   NATS/1.0[ status[ description]]\r\n
//!   Name: value\r\n        any number, names may repeat
//!   \r\n
//! ```
//!
//! The router carries a block as it came and never looks inside. Reading is lenient, as clients of
//! NATS are: what is no header line is skipped. Writing refuses what would not read back.

use alloc::vec::Vec;

use crate::error::ErrorCode;

/// What every block begins with.
pub const VERSION: &[u8] = b"NATS/1.0";

const LINE_END: &[u8] = b"\r\n";

/// A block, read in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headers<'a>(&'a [u8]);

impl<'a> Headers<'a> {
    /// `None` if the block does not begin like one.
    pub fn parse(block: &'a [u8]) -> Option<Self> {
        block.starts_with(VERSION).then_some(Self(block))
    }

    /// The status after the version, `503` when nobody answers a request. Empty: none.
    pub fn status(self) -> &'a [u8] {
        let (first, _) = split_line(self.0);
        let after = first[VERSION.len()..].trim_ascii_start();
        let end = after.iter().position(u8::is_ascii_whitespace).unwrap_or(after.len());
        &after[..end]
    }

    /// Names and values in the order they were written.
    pub fn iter(self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> {
        let (_, mut rest) = split_line(self.0);
        core::iter::from_fn(move || {
            loop {
                if rest.is_empty() {
                    return None;
                }
                let (line, after) = split_line(rest);
                rest = after;
                if let Some(at) = line.iter().position(|&byte| byte == b':') {
                    return Some((&line[..at], line[at + 1..].trim_ascii()));
                }
            }
        })
    }

    /// The first value of this name, its letters' case disregarded.
    pub fn get(self, name: &[u8]) -> Option<&'a [u8]> {
        self.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Writes a block with these names and values.
pub fn put<'a>(
    pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
    out: &mut Vec<u8>,
) -> Result<(), ErrorCode> {
    let from = out.len();
    out.extend_from_slice(VERSION);
    out.extend_from_slice(LINE_END);
    for (name, value) in pairs {
        if !is_name(name) || value.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
            out.truncate(from);
            return Err(ErrorCode::Malformed);
        }
        [name, b": ", value, LINE_END].into_iter().for_each(|part| out.extend_from_slice(part));
    }
    out.extend_from_slice(LINE_END);
    Ok(())
}

/// Printable ASCII without the colon that ends it (RFC 822, 3.1.2).
fn is_name(name: &[u8]) -> bool {
    !name.is_empty() && name.iter().all(|&byte| byte.is_ascii_graphic() && byte != b':')
}

/// A line without its end, and what follows it.
fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.windows(LINE_END.len()).position(|two| two == LINE_END) {
        Some(at) => (&bytes[..at], &bytes[at + LINE_END.len()..]),
        None => (bytes, &[]),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_block_is_read_as_it_is_written_by_others() {
        let block = b"NATS/1.0 503 No Responders\r\nA: 1\r\nB:two \r\na:  3\r\nnonsense\r\n\r\n";
        let headers = Headers::parse(block).unwrap();
        assert_eq!(headers.status(), b"503");
        let all: Vec<_> = headers.iter().collect();
        assert_eq!(all, [(&b"A"[..], &b"1"[..]), (b"B", b"two"), (b"a", b"3")]);
        assert_eq!(headers.get(b"b"), Some(&b"two"[..]));
        assert_eq!(headers.get(b"nonsense"), None);
        assert_eq!(Headers::parse(b"NATS/1.0").map(Headers::status), Some(&b""[..]));
        assert_eq!(Headers::parse(b"HTTP/1.1 200\r\n\r\n"), None);
    }

    #[test]
    fn what_would_not_read_back_is_refused() {
        let mut out = b"before".to_vec();
        for (name, value) in [("", "v"), ("a:b", "v"), ("a b", "v"), ("a", "v\r\nb: w")] {
            let pair = (name.as_bytes(), value.as_bytes());
            assert_eq!(put([pair], &mut out), Err(ErrorCode::Malformed), "{name} {value}");
            assert_eq!(out, b"before");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(
            pairs in prop::collection::vec(("[!-9;-~]{1,8}", "[a-z0-9:;]{0,8}"), 0..6)
        ) {
            let mut out = Vec::new();
            let bytes = pairs.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
            put(bytes.clone(), &mut out).unwrap();
            let read: Vec<_> = Headers::parse(&out).unwrap().iter().collect();
            prop_assert_eq!(read, bytes.collect::<Vec<_>>());
        }

        #[test]
        fn reading_is_total(block in prop::collection::vec(any::<u8>(), 0..64)) {
            let mut whole = VERSION.to_vec();
            whole.extend(block);
            let headers = Headers::parse(&whole).unwrap();
            prop_assert!(headers.status().len() + headers.iter().count() <= whole.len());
        }
    }
}
