//! What a server says, read: the other side of the protocol, for load generators.
//!
//! As total as what clients say, and no stricter than a generator needs.

use super::publication::{Layout, Span, line_end, next, word};
use super::{Bounds, Violation, scan};

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said<'a> {
    /// The JSON as it is written.
    Info {
        options: &'a [u8],
    },
    /// `MSG` and `HMSG`.
    Message(Message<'a>),
    Ping,
    Pong,
    Ok,
    /// The text between the quotes.
    Error {
        text: &'a [u8],
    },
}

/// A message as a subscriber gets it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub subject: &'a [u8],
    pub sid: &'a [u8],
    /// Empty: none.
    pub reply: &'a [u8],
    /// The whole header block with its `NATS/1.0` line. Empty: none.
    pub headers: &'a [u8],
    pub payload: &'a [u8],
}

/// What some bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    Said {
        said: Said<'a>,
        /// Bytes it took.
        length: usize,
    },
    /// Not whole yet: come back with at least this many bytes.
    Need(usize),
}

/// Reads what a server says at the front of `bytes`.
#[inline]
pub fn parse_said(bytes: &[u8], bounds: Bounds) -> Result<Heard<'_>, Violation> {
    match message(bytes, bounds) {
        Some(heard) => heard,
        None => line(bytes, bounds),
    }
}

/// A message in plain spelling with at least eight bytes after its sizes.
#[inline]
fn message(bytes: &[u8], bounds: Bounds) -> Option<Result<Heard<'_>, Violation>> {
    let (is_headed, from) = match bytes.first_chunk::<4>()? {
        b"MSG " => (false, 4),
        b"HMSG" if bytes.get(4) == Some(&b' ') => (true, 5),
        _ => return None,
    };
    let subject = word(bytes, from)?;
    let sid = next(bytes, subject)?;
    let mut reply = (0, 0);
    let mut first = next(bytes, sid)?;
    let mut last = if is_headed { next(bytes, first)? } else { first };
    if bytes[last.1] != b'\r' {
        reply = first;
        first = next(bytes, first)?;
        last = if is_headed { next(bytes, first)? } else { first };
    }
    let line_bytes = line_end(bytes, last.1)?;
    let body_bytes = scan::plain_number(bytes, last.0, last.1)?;
    let headers_bytes = if is_headed { scan::plain_number(bytes, first.0, first.1)? } else { 0 };
    if body_bytes < headers_bytes || bounds.control_line_bytes < last.1 {
        return None;
    }
    let layout = Layout { line_bytes, body_bytes, headers_bytes };
    Some(layout_message(bytes, &layout, [subject, sid, reply], bounds))
}

#[inline(always)]
fn layout_message<'a>(
    bytes: &'a [u8],
    layout: &Layout,
    words: [Span; 3],
    bounds: Bounds,
) -> Result<Heard<'a>, Violation> {
    let length = layout.length();
    let Some(body) = layout.body(bytes, bounds)? else { return Ok(Heard::Need(length)) };
    let (headers, payload) = body.split_at(layout.headers_bytes);
    let [subject, sid, reply] = words.map(|(from, to)| &bytes[from..to]);
    let said = Said::Message(Message { subject, sid, reply, headers, payload });
    Ok(Heard::Said { said, length })
}

/// Any line.
#[inline(never)]
fn line(bytes: &[u8], bounds: Bounds) -> Result<Heard<'_>, Violation> {
    let window = &bytes[..bytes.len().min(bounds.control_line_bytes)];
    let Some(end) = scan::line_feed(window) else {
        if window.len() == bounds.control_line_bytes {
            return Err(Violation::ControlLineTooLong);
        }
        return Ok(Heard::Need(bytes.len() + 1));
    };
    let text = window[..end].trim_ascii();
    let (operation, rest) = text.split_at(text.iter().take_while(|byte| **byte != b' ').count());
    let rest = rest.trim_ascii();
    let said = match operation {
        b"MSG" => return spelled_message(bytes, end, false, bounds),
        b"HMSG" => return spelled_message(bytes, end, true, bounds),
        b"INFO" => Said::Info { options: rest },
        b"PING" => Said::Ping,
        b"PONG" => Said::Pong,
        b"+OK" => Said::Ok,
        b"-ERR" => Said::Error { text: unquoted(rest) },
        _ => return Err(Violation::UnknownOperation),
    };
    Ok(Heard::Said { said, length: end + 1 })
}

fn unquoted(text: &[u8]) -> &[u8] {
    text.strip_prefix(b"'").and_then(|text| text.strip_suffix(b"'")).unwrap_or(text)
}

/// A message whose line ends at `end`.
fn spelled_message(
    bytes: &[u8],
    end: usize,
    is_headed: bool,
    bounds: Bounds,
) -> Result<Heard<'_>, Violation> {
    let mut spans = [(0, 0); 6];
    let mut count = 0;
    let mut at = 0;
    for word in bytes[..end].trim_ascii_end().split(|byte| *byte == b' ') {
        if !word.is_empty() {
            *spans.get_mut(count).ok_or(Violation::Malformed)? = (at, at + word.len());
            count += 1;
        }
        at += word.len() + 1;
    }
    let sizes = if is_headed { 2 } else { 1 };
    let reply = match count.checked_sub(sizes) {
        Some(3) => (0, 0),
        Some(4) => spans[3],
        _ => return Err(Violation::Malformed),
    };
    let number = |(from, to): Span| scan::number(&bytes[from..to]).ok_or(Violation::BadSize);
    let body_bytes = number(spans[count - 1])?;
    let headers_bytes = if is_headed { number(spans[count - 2])? } else { 0 };
    if body_bytes < headers_bytes {
        return Err(Violation::BadSize);
    }
    let layout = Layout { line_bytes: end + 1, body_bytes, headers_bytes };
    layout_message(bytes, &layout, [spans[1], spans[2], reply], bounds)
}
