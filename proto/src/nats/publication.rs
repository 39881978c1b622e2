//! `PUB` and `HPUB` in plain spelling, which is what clients write: single spaces, CRLF, no leading zeros.
//!
//! Anything else is not refused here but left to `line`, which gives the same answer for what is
//! handled here. Lines at the very end of the bytes may be left to it too: words are read eight bytes
//! at a time.

use super::{Bounds, Command, Parsed, Publication, Violation, scan};

/// Where the parts of a message are, its line having been read.
pub(super) struct Layout {
    /// Of the line, its end included.
    pub(super) line_bytes: usize,
    /// Of headers and payload.
    pub(super) body_bytes: usize,
    pub(super) headers_bytes: usize,
}

/// Where a word is: its first byte, and the one after its last.
pub(super) type Span = (usize, usize);

/// Operation and its space as a little-endian number, letters in upper case.
const PUB: u32 = u32::from_le_bytes(*b"PUB ");
const HPUB: u32 = u32::from_le_bytes(*b"HPUB");

/// Takes lower case to upper case. What it takes to a letter is that letter in either case, nothing
/// else.
const UPPER: u32 = u32::from_le_bytes([0xdf, 0xdf, 0xdf, 0xdf]);

/// Reads a publication in plain spelling. `None`: it is something else.
#[inline]
pub(super) fn parse_plain(bytes: &[u8], bounds: Bounds) -> Option<Result<Parsed<'_>, Violation>> {
    let (head, rest) = bytes.split_first_chunk::<4>()?;
    let head = u32::from_le_bytes(*head);
    if head & (UPPER | 0xff00_0000) == PUB {
        return unheaded(bytes, bounds);
    }
    let is_headed = head & UPPER == HPUB && rest.first() == Some(&b' ');
    if is_headed { headed(bytes, bounds) } else { None }
}

/// `PUB <subject> [reply] <size>`.
#[inline(always)]
fn unheaded(bytes: &[u8], bounds: Bounds) -> Option<Result<Parsed<'_>, Violation>> {
    let subject = word(bytes, 4)?;
    let mut size = next(bytes, subject)?;
    let mut reply = (0, 0);
    if bytes[size.1] != b'\r' {
        reply = size;
        size = next(bytes, size)?;
    }
    let line_bytes = line_end(bytes, size.1)?;
    let body_bytes = scan::plain_number(bytes, size.0, size.1)?;
    if bounds.control_line_bytes < size.1 - 4 {
        return None;
    }
    let layout = Layout { line_bytes, body_bytes, headers_bytes: 0 };
    Some(publication(bytes, &layout, subject, reply, Some(subject.1 + 1), bounds))
}

/// `HPUB <subject> [reply] <size of headers> <size>`.
#[inline]
fn headed(bytes: &[u8], bounds: Bounds) -> Option<Result<Parsed<'_>, Violation>> {
    let subject = word(bytes, 5)?;
    let mut headers = next(bytes, subject)?;
    let mut size = next(bytes, headers)?;
    let mut reply = (0, 0);
    if bytes[size.1] != b'\r' {
        reply = headers;
        headers = size;
        size = next(bytes, size)?;
    }
    let line_bytes = line_end(bytes, size.1)?;
    let headers_bytes = scan::plain_number(bytes, headers.0, headers.1)?;
    let body_bytes = scan::plain_number(bytes, size.0, size.1)?;
    let is_plain = 0 < headers_bytes && headers_bytes <= body_bytes;
    if !is_plain || bounds.control_line_bytes < size.1 - 5 {
        return None;
    }
    let layout = Layout { line_bytes, body_bytes, headers_bytes };
    Some(publication(bytes, &layout, subject, reply, Some(subject.1 + 1), bounds))
}

/// The word at `from`, of at least one byte.
#[inline(always)]
pub(super) fn word(bytes: &[u8], from: usize) -> Option<Span> {
    let to = scan::word_end(bytes, from)?;
    if from < to { Some((from, to)) } else { None }
}

/// The word after `before` and one space.
#[inline(always)]
pub(super) fn next(bytes: &[u8], before: Span) -> Option<Span> {
    if bytes[before.1] == b' ' { word(bytes, before.1 + 1) } else { None }
}

/// Bytes of the line whose CRLF is at `at`.
#[inline(always)]
pub(super) fn line_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at..at + 2) == Some(b"\r\n") { Some(at + 2) } else { None }
}

impl Layout {
    /// Of line, body and the CRLF after it.
    #[inline(always)]
    pub(super) fn length(&self) -> usize {
        self.line_bytes + self.body_bytes + 2
    }

    /// Headers and payload in one; `None` if they are not all there.
    #[inline(always)]
    pub(super) fn body<'a>(
        &self,
        bytes: &'a [u8],
        bounds: Bounds,
    ) -> Result<Option<&'a [u8]>, Violation> {
        if bounds.payload_bytes < self.body_bytes {
            return Err(Violation::PayloadTooLarge);
        }
        let Some(body) = bytes.get(self.line_bytes..self.length()) else { return Ok(None) };
        let (body, crlf) = body.split_at(self.body_bytes);
        if crlf != b"\r\n" {
            return Err(Violation::MissingCrlf);
        }
        Ok(Some(body))
    }
}

/// The publication with these words; its tail begins at `tail_from`.
#[inline(always)]
pub(super) fn publication<'a>(
    bytes: &'a [u8],
    layout: &Layout,
    subject: Span,
    reply: Span,
    tail_from: Option<usize>,
    bounds: Bounds,
) -> Result<Parsed<'a>, Violation> {
    let length = layout.length();
    let Some(body) = layout.body(bytes, bounds)? else { return Ok(Parsed::Need(length)) };
    let (headers, payload) = body.split_at(layout.headers_bytes);
    let command = Command::Publish(Publication {
        subject: &bytes[subject.0..subject.1],
        reply: &bytes[reply.0..reply.1],
        headers,
        payload,
        tail: tail_from.map_or(&[], |from| &bytes[from..length]),
    });
    Ok(Parsed::Command { command, length })
}
