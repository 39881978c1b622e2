//! Topics and patterns: parsed once, matched often.
//!
//! A topic is segments separated by dots. In a pattern `*` stands for exactly one segment, `#` for
//! zero or more segments anywhere, `>` for one or more and only at the end (the NATS spelling).
//! A wildcard is a whole segment: `a*` is an ordinary word. (`design`: fabric specification, 4.)
//!
//! To NATS clients `#` is a word like any other, and so is, in what they publish to, what would be a
//! wildcard in a subscription: [`Dialect::Nats`].
//!
//! Invariants: a [`Topic`] and a [`Pattern`] are within `limits`, are UTF-8 without spaces or
//! control characters, and have no empty segment. Only the fabric publishes under `mpreg.`.

use crate::error::ErrorCode;
use crate::limits::{TOPIC_BYTES_MAX, TOPIC_SEGMENTS_MAX};

/// Whose words these are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dialect {
    /// `*`, `#` and `>` are wildcards, and no topic has them as a segment.
    #[default]
    Native,
    /// `*` and `>` are wildcards in a pattern; in a topic every segment is a word.
    Nats,
}

/// A name messages are published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Topic<'a>(&'a str);

/// What a subscription asks for: a topic, or a shape of topics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern<'a> {
    text: &'a str,
    dialect: Dialect,
}

/// One part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment<'a> {
    /// This word.
    Word(&'a str),
    /// `*`: any one segment.
    One,
    /// `#`: any number of segments, none included.
    Any,
    /// `>`: at least one segment, to the end.
    Rest,
}

impl<'a> Topic<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ErrorCode> {
        Self::parse_as(bytes, Dialect::Native)
    }

    /// As [`Dialect::Nats`] every topic is one, whoever published to it.
    pub fn parse_as(bytes: &'a [u8], dialect: Dialect) -> Result<Self, ErrorCode> {
        let (text, is_literal) = parse_dotted(bytes).ok_or(ErrorCode::BadTopic)?;
        let is_topic = is_literal || dialect == Dialect::Nats;
        if is_topic { Ok(Self(text)) } else { Err(ErrorCode::BadTopic) }
    }

    pub fn as_str(self) -> &'a str {
        self.0
    }

    pub fn as_bytes(self) -> &'a [u8] {
        self.0.as_bytes()
    }

    pub fn segments(self) -> core::str::Split<'a, char> {
        self.0.split('.')
    }

    /// Under `mpreg.`: clients may subscribe there, never publish.
    pub fn is_reserved(self) -> bool {
        self.segments().next() == Some("mpreg")
    }
}

impl<'a> Pattern<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ErrorCode> {
        Self::parse_as(bytes, Dialect::Native)
    }

    pub fn parse_as(bytes: &'a [u8], dialect: Dialect) -> Result<Self, ErrorCode> {
        let (text, _) = parse_dotted(bytes).ok_or(ErrorCode::BadPattern)?;
        // Without a `#` both mean the same, and are the same.
        let is_native = dialect == Dialect::Native || !text.split('.').any(|part| part == "#");
        let pattern = Self { text, dialect: if is_native { Dialect::Native } else { dialect } };
        let mut parts = pattern.segments();
        let rest_ends_it = match parts.by_ref().find(|part| *part == Segment::Rest) {
            Some(_) => parts.next().is_none(),
            None => true,
        };
        if rest_ends_it { Ok(pattern) } else { Err(ErrorCode::BadPattern) }
    }

    pub fn as_str(self) -> &'a str {
        self.text
    }

    pub fn as_bytes(self) -> &'a [u8] {
        self.text.as_bytes()
    }

    pub fn segments(self) -> impl Iterator<Item = Segment<'a>> + Clone {
        self.text.split('.').map(move |part| match part {
            "*" => Segment::One,
            "#" if self.dialect == Dialect::Native => Segment::Any,
            ">" => Segment::Rest,
            word => Segment::Word(word),
        })
    }

    /// What to read its text as, to have it back.
    pub fn dialect(self) -> Dialect {
        self.dialect
    }

    /// Matches exactly one topic, the one it spells.
    pub fn is_literal(self) -> bool {
        self.segments().all(|part| matches!(part, Segment::Word(_)))
    }

    /// Whether `topic` has this shape. Cost is at most segments of one times segments of the other.
    pub fn matches(self, topic: Topic<'_>) -> bool {
        let mut pattern = self.segments();
        let mut words = topic.segments();
        // Where to resume when what follows the last `#` does not fit: one word further on.
        let mut resume = None;
        loop {
            let at_words = words.clone();
            let fits = match (pattern.next(), words.next()) {
                (None, None) => return true,
                (Some(Segment::Any), _) => {
                    words = at_words.clone();
                    resume = Some((pattern.clone(), at_words));
                    true
                }
                (Some(Segment::Rest), Some(_)) => return true,
                (Some(Segment::One), Some(_)) => true,
                (Some(Segment::Word(want)), Some(word)) => want == word,
                (Some(_), None) | (None, Some(_)) => false,
            };
            if fits {
                continue;
            }
            let Some((after_any, mut from)) = resume.take() else { return false };
            if from.next().is_none() {
                return false;
            }
            pattern = after_any.clone();
            words = from.clone();
            resume = Some((after_any, from));
        }
    }
}

impl core::fmt::Display for Topic<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.0)
    }
}

impl core::fmt::Display for Pattern<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(self.text)
    }
}

/// The rules topics and patterns share; and whether no segment is a wildcard.
///
/// One pass over the bytes: reply topics are used once each, so this is on the way of every request.
fn parse_dotted(bytes: &[u8]) -> Option<(&str, bool)> {
    if bytes.is_empty() || TOPIC_BYTES_MAX < bytes.len() {
        return None;
    }
    let (mut segments, mut from) = (1, 0);
    let (mut is_literal, mut is_ascii) = (true, true);
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'.' if at == from => return None,
            b'.' => {
                segments += 1;
                from = at + 1;
            }
            b'*' | b'#' | b'>' => {
                is_literal &= at != from || bytes.get(at + 1).is_some_and(|&next| next != b'.');
            }
            0..=b' ' | 0x7f => return None,
            0x80.. => is_ascii = false,
            _ => (),
        }
    }
    if from == bytes.len() || TOPIC_SEGMENTS_MAX < segments {
        return None;
    }
    let text = core::str::from_utf8(bytes).ok()?;
    let is_clean = is_ascii || !text.chars().any(|c| c.is_whitespace() || c.is_control());
    is_clean.then_some((text, is_literal))
}

#[cfg(test)]
mod tests;
