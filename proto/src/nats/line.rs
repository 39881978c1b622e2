//! Every line, in any spelling nats-server takes.

use super::publication::{Layout, Span, publication};
use super::{Bounds, Command, Parsed, Violation, scan};

/// What a line is about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operation {
    Publish,
    PublishHeaded,
    Subscribe,
    Unsubscribe,
    Connect,
    Ping,
    Pong,
    Ok,
    Error,
    Info,
}

/// What has to follow the name of an operation.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    /// A space or tab, then arguments.
    Space,
    /// Arguments, with or without space in front.
    Arguments,
    /// Anything, which is ignored.
    Anything,
}

const OPERATIONS: [(&[u8], Operation, Then); 10] = [
    (b"PUB", Operation::Publish, Then::Space),
    (b"HPUB", Operation::PublishHeaded, Then::Space),
    (b"SUB", Operation::Subscribe, Then::Space),
    (b"UNSUB", Operation::Unsubscribe, Then::Space),
    (b"CONNECT", Operation::Connect, Then::Arguments),
    (b"PING", Operation::Ping, Then::Anything),
    (b"PONG", Operation::Pong, Then::Anything),
    (b"+OK", Operation::Ok, Then::Anything),
    (b"-ERR", Operation::Error, Then::Space),
    (b"INFO", Operation::Info, Then::Arguments),
];

/// Bytes a line may have beyond its arguments: the longest operation, a space, CRLF, and a few more
/// spaces.
const LINE_SLACK_BYTES: usize = 16;

/// Arguments of the longest command, `HPUB` with a reply.
const WORDS: usize = 4;

/// Reads the command at the front of `bytes`.
#[inline(never)]
pub(super) fn parse(bytes: &[u8], bounds: Bounds) -> Result<Parsed<'_>, Violation> {
    let line_bytes_max = bounds.control_line_bytes.saturating_add(LINE_SLACK_BYTES);
    let window = &bytes[..bytes.len().min(line_bytes_max)];
    let Some(end) = scan::line_feed(window) else {
        is_operation_begun(window)?;
        if window.len() == line_bytes_max {
            return Err(Violation::ControlLineTooLong);
        }
        return Ok(Parsed::Need(bytes.len() + 1));
    };
    let (operation, from) = operation(&window[..end])?;
    let to = if window[end - 1] == b'\r' { end - 1 } else { end };
    let arguments = Arguments::new(window, from, to.max(from));
    if arguments.is_over(bounds) && !operation.ignores_arguments() {
        return Err(Violation::ControlLineTooLong);
    }
    let length = end + 1;
    let command = match operation {
        Operation::Publish => return publish(bytes, &arguments, length, bounds),
        Operation::PublishHeaded => return publish_headed(bytes, &arguments, length, bounds),
        Operation::Subscribe => subscribe(&arguments)?,
        Operation::Unsubscribe => unsubscribe(&arguments)?,
        Operation::Connect => connect(&arguments)?,
        Operation::Ping => Command::Ping,
        Operation::Pong => Command::Pong,
        Operation::Ok => Command::Ok,
        Operation::Error => Command::Error,
        Operation::Info => Command::Info,
    };
    Ok(Parsed::Command { command, length })
}

/// Refuses what no further byte can make a command.
fn is_operation_begun(window: &[u8]) -> Result<(), Violation> {
    let is_begun = OPERATIONS.iter().any(|(name, _, then)| {
        let common = name.len().min(window.len());
        let follows = window.get(name.len()).is_none_or(|&byte| then.may_be(byte));
        name[..common].eq_ignore_ascii_case(&window[..common]) && follows
    });
    if is_begun { Ok(()) } else { Err(Violation::UnknownOperation) }
}

/// The operation of a line without its LF, and where its arguments may begin.
fn operation(line: &[u8]) -> Result<(Operation, usize), Violation> {
    let found = OPERATIONS.iter().find(|(name, _, then)| {
        let (head, rest) = line.split_at(name.len().min(line.len()));
        let follows = match rest.first() {
            Some(&byte) => then.may_be(byte),
            None => *then != Then::Space,
        };
        head.eq_ignore_ascii_case(name) && follows
    });
    found.map(|(name, is, _)| (*is, name.len())).ok_or(Violation::UnknownOperation)
}

impl Then {
    fn may_be(self, byte: u8) -> bool {
        match self {
            Self::Space => is_space(byte),
            Self::Arguments | Self::Anything => true,
        }
    }
}

impl Operation {
    fn ignores_arguments(self) -> bool {
        matches!(self, Self::Ping | Self::Pong | Self::Ok)
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// What follows the operation, spaces in front apart.
struct Arguments<'a> {
    window: &'a [u8],
    /// Where the operation ends.
    from: usize,
    begin: usize,
    to: usize,
}

impl<'a> Arguments<'a> {
    fn new(window: &'a [u8], from: usize, to: usize) -> Self {
        let spaces = window[from..to].iter().take_while(|&&byte| is_space(byte)).count();
        Self { window, from, begin: from + spaces, to }
    }

    fn is_over(&self, bounds: Bounds) -> bool {
        bounds.control_line_bytes < self.to - self.begin
    }

    fn text(&self) -> &'a [u8] {
        &self.window[self.begin..self.to]
    }

    /// Where the words are, and how many; more than [`WORDS`] of them, or a CR, are refused.
    fn spans(&self) -> Result<([Span; WORDS], usize), Violation> {
        let mut spans = [(0, 0); WORDS];
        let mut count = 0;
        let mut at = self.begin;
        while at < self.to {
            let rest = &self.window[at..self.to];
            let word_bytes = rest.iter().take_while(|&&byte| !is_space(byte)).count();
            if rest[..word_bytes].contains(&b'\r') {
                return Err(Violation::Malformed);
            }
            *spans.get_mut(count).ok_or(Violation::Malformed)? = (at, at + word_bytes);
            count += 1;
            at += word_bytes;
            at += self.window[at..self.to].iter().take_while(|&&byte| is_space(byte)).count();
        }
        Ok((spans, count))
    }

    fn words(&self) -> Result<([&'a [u8]; WORDS], usize), Violation> {
        let (spans, count) = self.spans()?;
        Ok((spans.map(|(from, to)| &self.window[from..to]), count))
    }

    /// Whether one space is in front of each of these words, CRLF after the last, and nothing else.
    fn is_plain(&self, words: &[Span]) -> bool {
        let bytes: usize = words.iter().map(|(from, to)| to - from + 1).sum();
        let all = &self.window[self.from..self.to];
        bytes == all.len() && !all.contains(&b'\t') && self.window[self.to] == b'\r'
    }
}

fn connect<'a>(arguments: &Arguments<'a>) -> Result<Command<'a>, Violation> {
    match arguments.text() {
        [] => Err(Violation::Malformed),
        options => Ok(Command::Connect { options }),
    }
}

fn subscribe<'a>(arguments: &Arguments<'a>) -> Result<Command<'a>, Violation> {
    match arguments.words()? {
        ([subject, sid, ..], 2) => Ok(Command::Subscribe { subject, group: &[], sid }),
        ([subject, group, sid, _], 3) => Ok(Command::Subscribe { subject, group, sid }),
        _ => Err(Violation::Malformed),
    }
}

fn unsubscribe<'a>(arguments: &Arguments<'a>) -> Result<Command<'a>, Violation> {
    match arguments.words()? {
        ([sid, ..], 1) => Ok(Command::Unsubscribe { sid, deliveries: 0 }),
        ([sid, deliveries, ..], 2) => {
            // Nine digits are within a u32.
            let deliveries = scan::number(deliveries).map_or(0, |number| number as u32);
            Ok(Command::Unsubscribe { sid, deliveries })
        }
        _ => Err(Violation::Malformed),
    }
}

fn publish<'a>(
    bytes: &'a [u8],
    arguments: &Arguments<'_>,
    line_bytes: usize,
    bounds: Bounds,
) -> Result<Parsed<'a>, Violation> {
    let (spans, count) = arguments.spans()?;
    let (reply, size) = match count {
        2 => ((0, 0), spans[1]),
        3 => (spans[1], spans[2]),
        _ => return Err(Violation::Malformed),
    };
    let layout = Layout { line_bytes, body_bytes: number(bytes, size)?, headers_bytes: 0 };
    let is_plain = arguments.is_plain(&spans[..count]) && is_plain_number(bytes, size);
    let tail_from = is_plain.then_some(spans[0].1 + 1);
    publication(bytes, &layout, spans[0], reply, tail_from, bounds)
}

fn publish_headed<'a>(
    bytes: &'a [u8],
    arguments: &Arguments<'_>,
    line_bytes: usize,
    bounds: Bounds,
) -> Result<Parsed<'a>, Violation> {
    let (spans, count) = arguments.spans()?;
    let (reply, headers, size) = match count {
        3 => ((0, 0), spans[1], spans[2]),
        4 => (spans[1], spans[2], spans[3]),
        _ => return Err(Violation::Malformed),
    };
    let headers_bytes = number(bytes, headers)?;
    let body_bytes = number(bytes, size)?;
    if body_bytes < headers_bytes {
        return Err(Violation::BadSize);
    }
    let layout = Layout { line_bytes, body_bytes, headers_bytes };
    let is_plain = arguments.is_plain(&spans[..count])
        && headers_bytes != 0
        && is_plain_number(bytes, headers)
        && is_plain_number(bytes, size);
    let tail_from = is_plain.then_some(spans[0].1 + 1);
    publication(bytes, &layout, spans[0], reply, tail_from, bounds)
}

fn number(bytes: &[u8], (from, to): Span) -> Result<usize, Violation> {
    scan::number(&bytes[from..to]).ok_or(Violation::BadSize)
}

fn is_plain_number(bytes: &[u8], (from, to): Span) -> bool {
    bytes[from] != b'0' || to - from == 1
}
